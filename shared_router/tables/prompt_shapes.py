"""Where a prompt stands in a row: one function for each of the shapes that ``shared_router.tables.prompts`` lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from shared_router.tables.chat_messages import content_text, messages_from
from shared_router.tables.rows import BadRowError, Row, text_of

__all__ = ["TAKERS", "Found", "Taker", "parsed", "said_text", "shape_of"]

INPUT_NAMES = ("messages", "input", "question", "query", "prompt", "prompts", "text", "content", "user_input", "kwargs")
"""Under which a traced step's input is looked for, in this order; "kwargs" are those of a traced function."""

OUTPUT_NAMES = ("generations", "message", "messages", "choices", "output", "answer", "response", "text", "content")

NOISE = ("ls_", "langgraph_", "checkpoint", "__")
"""How the names of metadata begin that frameworks write and nobody compares."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a row holds, before it is checked.

    Attributes:
        conversation: Whatever ``messages_from`` reads.
        id: The row's own, None if it has none.
        reference: The right answer.
        answer: What a model answered when this was logged.
        columns: All that is carried along.
    """

    conversation: object
    id: object = None
    reference: object = None
    answer: object = None
    columns: Mapping[str, object] = field(default_factory=dict)


Taker = Callable[[Mapping[str, object]], "Found | None"]


def shape_of(values: Mapping[str, object]) -> str:
    """The shape of a row, judged by its columns; empty where it has none of them."""
    marks = {"prompt": "rows", "messages": "rows", "conversations": "sharegpt", "inputs": "langsmith"}
    marks |= {"request": "chat", "body": "chat", "input": "langfuse"}
    return next((shape for name, shape in marks.items() if name in values), "")


# -- shapes: the rows of a file → what takes a prompt from one of them


def _from_rows(rows: Sequence[Row]) -> Taker:
    def take(values: Mapping[str, object]) -> Found:
        name = "messages" if values.get("messages") is not None else "prompt"
        value = values.get(name)
        if value is None:
            raise BadRowError(f"no value for prompt or messages (there are: {', '.join(map(str, values)) or 'none'})")
        if name == "messages":
            value = parsed(value)
        elif not isinstance(value, list | tuple):
            # a prompt that happens to be JSON is still a text
            value = text_of("prompt", value)
        columns = {key: one for key, one in values.items() if key not in ("id", "prompt", "messages", "reference")}
        return Found(value, id=values.get("id"), reference=values.get("reference"), columns=columns)

    return take


def _from_langsmith(rows: Sequence[Row]) -> Taker:
    has_models = any(values.get("run_type") == "llm" for values in _readable(rows))

    def take(values: Mapping[str, object]) -> Found | None:
        run_type = values.get("run_type")
        if run_type is not None and not (run_type == "llm" if has_models else not values.get("parent_run_id")):
            return None
        extra = parsed(values.get("extra"))
        metadata = parsed(extra.get("metadata") if isinstance(extra, Mapping) else values.get("metadata"))
        return Found(
            _asked(parsed(values.get("inputs")), "inputs"),
            id=values.get("id"),
            # an example's outputs are what a person wrote or approved, a run's are what a model said
            reference=said_text(values.get("outputs")) if run_type is None else None,
            answer=values.get("outputs"),
            columns=_columns(values, metadata, ("thread_id", "session_id", "conversation_id")),
        )

    return take


def _from_langfuse(rows: Sequence[Row]) -> Taker:
    has_models = any(_is_generation(values) for values in _readable(rows))

    def take(values: Mapping[str, object]) -> Found | None:
        inner = values.get("parent_observation_id") or values.get("parentObservationId")
        if not (_is_generation(values) if has_models else not inner) or values.get("input") in (None, ""):
            return None
        session = values.get("session_id") or values.get("sessionId")
        columns = _columns(values, parsed(values.get("metadata")), ("session_id", "sessionId", "thread_id"))
        expected = values.get("expectedOutput") or values.get("expected_output")
        return Found(
            _asked(parsed(values["input"]), "input"),
            id=values.get("id"),
            reference=said_text(expected),
            answer=values.get("output"),
            columns={**columns, "group": session} if session else columns,
        )

    return take


def _is_generation(values: Mapping[str, object]) -> bool:
    return str(values.get("type")).upper() == "GENERATION"


def _from_chat(rows: Sequence[Row]) -> Taker:
    def take(values: Mapping[str, object]) -> Found:
        request = parsed(values.get("request") if values.get("request") is not None else values.get("body"))
        # some logs have the whole HTTP request, with the call in its body
        if isinstance(request, Mapping) and request.get("body") is not None:
            request = parsed(request["body"])
        known = ("id", "custom_id", "request_id", "request", "body", "response", "reference", "url", "method")
        own = [values[name] for name in known[:3] if values.get(name) is not None]
        return Found(
            _asked(request, "request"),
            id=own[0] if own else None,
            reference=values.get("reference"),
            answer=values.get("response"),
            columns={name: value for name, value in values.items() if name not in known},
        )

    return take


def _from_sharegpt(rows: Sequence[Row]) -> Taker:
    def take(values: Mapping[str, object]) -> Found:
        conversation = parsed(values.get("conversations"))
        system = values.get("system")
        if isinstance(system, str) and system.strip() and isinstance(conversation, list):
            conversation = [{"from": "system", "value": system}, *conversation]
        known = ("id", "conversations", "system", "reference")
        return Found(
            conversation,
            id=values.get("id"),
            reference=values.get("reference"),
            columns={name: value for name, value in values.items() if name not in known},
        )

    return take


TAKERS: Mapping[str, Callable[[Sequence[Row]], Taker]] = {
    "rows": _from_rows,
    "langsmith": _from_langsmith,
    "langfuse": _from_langfuse,
    "chat": _from_chat,
    "sharegpt": _from_sharegpt,
}


# -- what is inside


def _asked(value: object, name: str) -> object:
    """The conversation in a traced step's input, as ``messages_from`` reads it.

    Raises:
        BadRowError: There is neither text nor messages in it.
    """
    if isinstance(value, str | list | tuple) and value:
        return value
    if isinstance(value, Mapping):
        if "role" in value or "lc" in value:
            return [value]
        positional = value.get("args")
        if isinstance(positional, list) and len(positional) == 1 and not value.get("kwargs"):
            return _asked(positional[0], name)
        for key in INPUT_NAMES:
            if value.get(key):
                return _with_system(_asked(value[key], name), value)
        if len(value) == 1:
            return _asked(next(iter(value.values())), name)
        raise BadRowError(
            f"{name} has neither messages nor a text under {', '.join(INPUT_NAMES)} "
            f"(there are: {', '.join(map(str, value)) or 'none'})"
        )
    raise BadRowError(
        f"{name} has neither messages nor a text, got {'null' if value is None else type(value).__name__}"
    )


def _with_system(conversation: object, request: Mapping[str, object]) -> object:
    """Anthropic's ``system`` and OpenAI's ``instructions`` stand beside the messages."""
    system = request.get("system") or request.get("instructions")
    if not system or not isinstance(system, str | list):
        return conversation
    return [{"role": "system", "content": system}, *messages_from(conversation)]


def said_text(value: object) -> str | None:
    """The text of a logged answer; None where none can be made out."""
    return _text_in(parsed(value))


def _text_in(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, list | tuple):
        return _text_in(value[-1]) if value else None
    if not isinstance(value, Mapping):
        return None
    for key in (*OUTPUT_NAMES, "kwargs", "data"):
        found = content_text(value.get(key)) if key == "content" else _text_in(value.get(key))
        if found:
            return found
    return _text_in(next(iter(value.values()))) if len(value) == 1 else None


def _columns(values: Mapping[str, object], metadata: object, threads: Sequence[str]) -> dict[str, object]:
    """What is carried along of an export's row: who and what, not the payload, which is long."""
    columns: dict[str, object] = {}
    for name in ("name", "tags", "user_id", "userId", "environment", "group"):
        if values.get(name):
            columns["user_id" if name == "userId" else name] = parsed(values[name])
    if isinstance(metadata, Mapping):
        for name, value in metadata.items():
            if isinstance(value, str | int | float) and not str(name).startswith(NOISE):
                columns[f"metadata.{name}"] = value
        thread = next((metadata[name] for name in threads if metadata.get(name)), None)
        if thread is not None:
            # prompts of one conversation belong on one side of every split
            columns.setdefault("group", thread)
    return columns


def _readable(rows: Sequence[Row]) -> Iterator[Mapping[str, object]]:
    return (row.values for row in rows if not isinstance(row.values, BadRowError))


def parsed(value: object) -> object:
    """JSON in a string as what it says; all else as it is. CSV, Parquet and Langfuse hold objects so."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
