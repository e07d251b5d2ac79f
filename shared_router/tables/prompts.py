"""Prompts to put to both models, from whatever holds them.

One row a prompt, in JSON lines (``.jsonl``, ``.ndjson``), a JSON list (``.json``), CSV (``.csv``) or Parquet
(``.parquet``), in one of these shapes, told apart by their columns:

    rows        prompt, or messages in OpenAI's chat format; and as you like: id, reference (the right answer), group
                (rows of one group stay on one side of every split) and whatever an audit shall compare
    langsmith   runs with inputs (messages, input, question …), as exported in bulk or listed by the API; or a dataset's
                examples, whose outputs are the right answers. Taken are the runs of models, where there are none the
                root runs; other steps are passed over
    langfuse    observations or traces with input: a text, messages, or JSON in a string. Taken are the generations,
                where there are none the rows without a parent
    chat        requests to chat endpoints as logged: {"request": {"messages": […]}}, or a batch file's "body"
    sharegpt    {"conversations": [{"from": "human", "value": "…"}, …]}

    {"id": "q1", "prompt": "What is the capital of Peru?", "reference": "Lima", "topic": "geography"}
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And of Chile?"}]}

What the router will judge is the text that ``query_text`` takes from the conversation; what the models are sent is the
whole conversation up to where the assistant is to speak: what it said last in the log is cut off, and kept as the
reference only if asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from shared_router.errors import OutcomeError
from shared_router.query import query_text
from shared_router.records import JSON
from shared_router.tables.chat_messages import Message, messages_from, turns_of, without_answer
from shared_router.tables.prompt_shapes import TAKERS, Found, Taker, said_text, shape_of
from shared_router.tables.rows import BadRowError, Row, checked_rows, read_rows, text_of

__all__ = ["FORMATS", "Prompt", "Prompts", "conversation_hash", "read_prompts"]

FORMATS = ("rows", "langsmith", "langfuse", "chat", "sharegpt")

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt.

    Attributes:
        id: The file's, or a hash of the conversation.
        text: What the router judges.
        messages: What the models are sent, in OpenAI's chat format; at least one.
        reference: The right answer, None where there is none.
        columns: All other columns of the row; of an export, its name, tags, user and metadata.
    """

    id: str
    text: str
    messages: tuple[Message, ...]
    reference: JSON = None
    columns: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a file, in its order.

    Attributes:
        rows: Different from each other by id, at least one.
        format: One of ``FORMATS``.
        skipped: What was wrong with each row that was left out.
        merged: Rows that say the same as an earlier one: the same id, or in logs and exports the same conversation.
        passed_over: Rows of an export that are no call to a model: tools, retrievers, inner steps.
    """

    rows: tuple[Prompt, ...]
    format: str
    skipped: tuple[str, ...] = ()
    merged: int = 0
    passed_over: int = 0


def read_prompts(
    path: str | Path, *, format: str = "auto", skip_bad: bool = False, logged_as_reference: bool = False
) -> Prompts:
    """Read prompts.

    Args:
        path: ``.jsonl``, ``.ndjson``, ``.json``, ``.csv`` or ``.parquet``; the shapes are described above.
        format: One of ``FORMATS``, or "auto": by the columns of the first row that fits one.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.
        logged_as_reference: Where a row has no reference, take the answer that was logged for one.

    Raises:
        OutcomeError: The file cannot be read, a row cannot be used or an id names two different prompts (the message
            names file and line), or nothing is left.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    if format not in ("auto", *FORMATS):
        raise OutcomeError(f"format is auto or one of {', '.join(FORMATS)}, got {format!r:.40}")
    rows = _rows(Path(path))
    shape = _shape(rows, Path(path)) if format == "auto" else format
    reader = _Reader(shape, TAKERS[shape](rows), logged_as_reference)
    found, skipped = checked_rows(reader.noting(rows), reader.check, skip_bad=skip_bad)
    prompts = tuple(prompt for prompt in found if prompt is not None)
    if not prompts:
        because = f" ({len(skipped)} rows were left out; the first: {skipped[0]})" if skipped else ""
        over = f"; {reader.passed_over} rows are no call to a model" if reader.passed_over else ""
        raise OutcomeError(f"{path} has no usable prompt, read as {shape!r}{because}{over}")
    return Prompts(prompts, shape, skipped, reader.merged, reader.passed_over)


def conversation_hash(messages: Sequence[Message]) -> str:
    """16 hexadecimal digits that stand for a conversation: the same for the same messages, on every machine."""
    text = json.dumps(list(messages), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


class _Reader:
    """Rows → prompts; remembers what it has seen and where."""

    def __init__(self, shape: str, take: Taker, logged_as_reference: bool) -> None:
        self.merged = 0
        self.passed_over = 0
        self._own_ids = shape == "rows"
        self._take = take
        self._logged_as_reference = logged_as_reference
        self._place = ""
        self._by_id: dict[str, tuple[str, str]] = {}
        self._conversations: set[str] = set()

    def noting(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows as they come, each one's place kept for messages."""
        for row in rows:
            self._place = row.place
            yield row

    def check(self, values: Mapping[str, object]) -> Prompt | None:
        """A row's prompt; None where it is no call to a model, or was seen before.

        Raises:
            BadRowError: The row cannot be used, or its id stands for another prompt.
        """
        _refuse_broken_text(values)
        found = self._take(values)
        if found is None:
            self.passed_over += 1
            return None
        prompt = _prompt(found, self._logged_as_reference)
        return prompt if self._new(prompt) else None

    def _new(self, prompt: Prompt) -> bool:
        asked = conversation_hash(prompt.messages)
        content = asked + json.dumps(prompt.reference, sort_keys=True)
        known, place = self._by_id.get(prompt.id, ("", ""))
        if known and known[:16] != asked:
            raise BadRowError(f"id {prompt.id!r} stands for another prompt in {place}; an id names one prompt")
        if known and known != content:
            raise BadRowError(
                f"this prompt stands with another reference in {place}; give the rows ids, or one reference"
            )
        # an id of a log names an event, and asking the same thing again would only cost money
        if known or (not self._own_ids and asked in self._conversations):
            self.merged += 1
            return False
        self._by_id[prompt.id] = (content, self._place)
        self._conversations.add(asked)
        return True


def _prompt(found: Found, logged_as_reference: bool) -> Prompt:
    messages, said = without_answer(messages_from(found.conversation))
    messages = tuple(cast("Message", _json(one)) for one in messages)
    text = text_of("prompt", query_text(turns_of(messages)))
    reference = _json(found.reference)
    if logged_as_reference and reference is None:
        reference = said_text(found.answer) or said or None
    return Prompt(
        id=conversation_hash(messages) if found.id is None else _id(found.id),
        text=text,
        messages=messages,
        reference=reference,
        columns={str(name): _json(value) for name, value in found.columns.items()},
    )


def _id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRowError(f"id is a string or a whole number, got {type(value).__name__}")
    return text_of("id", str(value))


# -- files


def _rows(file: Path) -> list[Row]:
    if file.suffix.lower() not in ENDINGS:
        raise OutcomeError(f"{file}: the ending says the format; use one of {', '.join(ENDINGS)}")
    if file.suffix.lower() != ".json":
        return list(read_rows(file))
    if not file.is_file():
        raise OutcomeError(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}; pass a file of prompts")
    text = file.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OutcomeError(f"{file} is not JSON ({error}); if it has one object a line, call it .jsonl") from error
    listed = _listed(document)
    if listed is None:
        raise OutcomeError(
            f"{file} holds no list of rows; a .json file is a list of objects, or an export that has one"
        )
    return [
        Row(
            f"{file}, item {number}",
            one if isinstance(one, dict) else BadRowError(f"a row is a JSON object, got {type(one).__name__}"),
        )
        for number, one in enumerate(listed, start=1)
    ]


def _listed(document: object) -> list[object] | None:
    """The list in a JSON file: the file itself, or under the name by which exports and APIs hand one out."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return None
    for name in ("data", "runs", "observations", "traces", "examples", "rows", "items"):
        if isinstance(document.get(name), list) and document[name]:
            return cast("list[object]", document[name])
    return [document] if shape_of(document) else None


def _shape(rows: Sequence[Row], file: Path) -> str:
    for row in rows:
        shape = "" if isinstance(row.values, BadRowError) else shape_of(row.values)
        if shape:
            return shape
    if not rows:
        raise OutcomeError(f"{file} has no row; one prompt a row is needed")
    first = next(((row.place, row.values) for row in rows if not isinstance(row.values, BadRowError)), None)
    if first is None:
        raise OutcomeError(f"{rows[0].place}: {rows[0].values}; no row of the file can be read")
    raise OutcomeError(
        f"{first[0]}: no column holds a prompt (there are: {', '.join(map(str, first[1])) or 'none'}); expected is one "
        "of prompt, messages, conversations, inputs (LangSmith), input (Langfuse), request or body (chat logs)"
    )


def _json(value: object) -> JSON:
    """A value that JSON can hold; what it cannot (dates in Parquet) as text, NaN as null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    return str(value)


def _refuse_broken_text(values: Mapping[str, object]) -> None:
    """Bytes that are no UTF-8 were read as lone surrogates, which could not be written again.

    Raises:
        BadRowError: There are some, in any column.
    """
    for name, value in values.items():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
        except UnicodeEncodeError:
            raise BadRowError(f"{name} is not valid UTF-8") from None
