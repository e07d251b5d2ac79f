"""Labelled prompts of one's own pair of models, from a file.

One row a prompt, in JSON lines (``.jsonl``, ``.ndjson``), CSV (``.csv``, with a header) or Parquet (``.parquet``):

    prompt          string    what the user asked; what the router will judge
    small_quality   number    quality of the small model's answer, higher = better, on any one scale, best 0 to 1
    large_quality   number    quality of the large model's answer, on the same scale

    {"prompt": "What is the capital of Peru?", "small_quality": 1, "large_quality": 1}
    {"prompt": "Prove that 2 is irrational.", "small_quality": [0, 0.5, 0], "large_quality": [1, 1, 0.5]}

A quality may be a list (in CSV written as JSON), one number for each sampled answer: its mean counts. true and false
count as 1 and 0. Other columns are ignored. Of a prompt that stands in several rows the mean counts.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import MAX_CHARS
from shared_router.errors import MissingExtraError, OutcomeError

__all__ = ["COLUMNS", "MIN_ROWS", "LabeledPrompts", "labeled_from", "read_labeled"]

COLUMNS = ("prompt", "small_quality", "large_quality")

MIN_ROWS = 40
"""Below, five parts of eight rows would have to tell one head from another."""

CSV_FIELD_LIMIT = 2**27


@dataclass(frozen=True, slots=True)
class LabeledPrompts:
    """n prompts with the quality of both models' answers.

    Attributes:
        prompts: Different from each other, length n.
        small: Quality of the small model's answers, finite, shape (n,).
        large: Quality of the large model's answers, finite, shape (n,).
        skipped: What was wrong with each row that was left out.
        merged: Rows that were merged into an earlier one with the same prompt.
        clipped: Prompts of which the router reads only the first ``MAX_CHARS`` characters.
    """

    prompts: tuple[str, ...]
    small: npt.NDArray[np.float64]
    large: npt.NDArray[np.float64]
    skipped: tuple[str, ...] = ()
    merged: int = 0
    clipped: int = 0


class _BadRow(Exception):
    """What is wrong with one row, in words that follow its place."""


@dataclass(frozen=True, slots=True)
class _Row:
    place: str
    values: dict[str, object] | _BadRow


def read_labeled(path: str | Path, *, skip_bad: bool = False) -> LabeledPrompts:
    """Read a file of labelled prompts.

    Args:
        path: ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet``; the columns are described above.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.

    Raises:
        OutcomeError: The file cannot be read, a row cannot be used (the message names file and line), or what is left
            cannot teach a router: fewer than ``MIN_ROWS`` prompts, or a small model that falls short always or never.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    file = Path(path)
    readers = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv_rows, ".parquet": _parquet_rows}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise OutcomeError(f"{file}: the ending says the format; use one of {', '.join(readers)}")
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise OutcomeError(f"{file} {what}; pass a file of rows with {', '.join(COLUMNS)}")
    skipped: list[str] = []
    good: list[tuple[str, float, float]] = []
    for row in reader(file):
        try:
            good.append(_checked(row.values))
        except _BadRow as error:
            if not skip_bad:
                raise OutcomeError(
                    f"{row.place}: {error}; mend the row, or leave such rows out with --skip-bad (skip_bad=True)"
                ) from None
            skipped.append(f"{row.place}: {error}")
    return labeled_from(good, skipped=tuple(skipped), origin=str(file))


def labeled_from(
    rows: list[tuple[str, float, float]], *, skipped: tuple[str, ...] = (), origin: str = "the rows"
) -> LabeledPrompts:
    """Merge rows of one prompt, and refuse what cannot teach a router.

    Args:
        rows: Prompt, quality of the small model's answer, quality of the large one's; finite.
        skipped: What was wrong with rows that were left out.
        origin: Where the rows come from, for messages.

    Raises:
        OutcomeError: Fewer than ``MIN_ROWS`` prompts, or a small model that falls short always or never.
    """
    by_prompt: dict[str, list[tuple[float, float]]] = {}
    for prompt, small, large in rows:
        by_prompt.setdefault(prompt, []).append((small, large))
    left_out = f" ({len(skipped)} rows were left out; the first: {skipped[0]})" if skipped else ""
    if len(by_prompt) < MIN_ROWS:
        raise OutcomeError(
            f"{origin} has {len(by_prompt)} different usable prompts{left_out}; a router needs {MIN_ROWS} at the very "
            "least and some 500 to be of use: label more, or start with the embedded router, which needs none"
        )
    qualities = np.array([np.mean(pairs, axis=0) for pairs in by_prompt.values()], dtype=np.float64)
    small_quality, large_quality = qualities[:, 0].copy(), qualities[:, 1].copy()
    _refuse_one_class(small_quality, large_quality, origin)
    return LabeledPrompts(
        prompts=tuple(by_prompt),
        small=small_quality,
        large=large_quality,
        skipped=skipped,
        merged=len(rows) - len(by_prompt),
        clipped=sum(len(prompt.strip()) > MAX_CHARS for prompt in by_prompt),
    )


def _refuse_one_class(small: npt.NDArray[np.float64], large: npt.NDArray[np.float64], origin: str) -> None:
    short = small < large
    if not short.any():
        raise OutcomeError(
            f"{origin}: the small model falls short on none of {len(small)} prompts, which leaves nothing "
            "to tell apart: use the small model alone, or check that the columns are not interchanged"
        )
    if short.all():
        raise OutcomeError(
            f"{origin}: the small model falls short on each of {len(small)} prompts, which leaves nothing "
            "to tell apart: use the large model alone, or add prompts on which the small one does as well"
        )


def _checked(values: dict[str, object] | _BadRow) -> tuple[str, float, float]:
    if isinstance(values, _BadRow):
        raise values
    missing = [name for name in COLUMNS if values.get(name) is None]
    if missing:
        raise _BadRow(f"no value for {', '.join(missing)} (there are: {', '.join(map(str, values)) or 'none'})")
    prompt = values["prompt"]
    if not isinstance(prompt, str):
        raise _BadRow(f"prompt is a string, got {type(prompt).__name__}")
    if not prompt.strip():
        raise _BadRow("prompt is empty")
    if any("\ud800" <= sign <= "\udfff" for sign in prompt):
        raise _BadRow("prompt is not valid UTF-8")
    return (
        prompt,
        _quality("small_quality", values["small_quality"]),
        _quality("large_quality", values["large_quality"]),
    )


def _quality(name: str, value: object) -> float:
    samples = value if isinstance(value, list) else [value]
    if not samples:
        raise _BadRow(f"{name} is an empty list; give one number for each sampled answer")
    numbers = []
    for sample in samples:
        if not isinstance(sample, int | float):
            raise _BadRow(f"{name} is a number or a list of numbers, got {sample!r:.40}")
        try:
            number = float(sample)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise _BadRow(f"{name} is {number}; a quality is a finite number")
        numbers.append(number)
    return math.fsum(numbers) / len(numbers)


def _text(file: Path) -> str:
    # bytes that are no UTF-8 become lone surrogates, by which the row that holds them is found
    return file.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _json_lines(file: Path) -> Iterator[_Row]:
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if line.strip():
            yield _Row(f"{file}, line {number}", _json_row(line))


def _json_row(line: str) -> dict[str, object] | _BadRow:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _BadRow(f"not JSON ({error})")
    if not isinstance(values, dict):
        return _BadRow(f"a row is a JSON object, got {type(values).__name__}")
    return values


def _csv_rows(file: Path) -> Iterator[_Row]:
    csv.field_size_limit(CSV_FIELD_LIMIT)
    reader = csv.DictReader(io.StringIO(_text(file), newline=""))
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise OutcomeError(f"{file}, line 1: the header lacks {', '.join(missing)} (there are: {found})")
        while True:
            # a quoted prompt may run over several lines: the row is named by its last, as csv counts them
            cells = next(reader, None)
            if cells is None:
                return
            quality = {name: _number(cells[name]) for name in COLUMNS[1:]}
            yield _Row(f"{file}, line {reader.line_num}", {"prompt": cells["prompt"], **quality})
    except csv.Error as error:
        raise OutcomeError(f"{file}, line {reader.line_num}: not CSV ({error})") from error


def _number(cell: str | None) -> object:
    if cell is None or not cell.strip():
        return None
    try:
        return json.loads(cell.strip().lower())
    except (ValueError, RecursionError):
        return cell


def _parquet_rows(file: Path) -> Iterator[_Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError('reading Parquet needs pyarrow: pip install "hybrid-llm[train]"') from error
    try:
        names = pq.read_schema(file).names
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise OutcomeError(f"{file} lacks the columns {', '.join(missing)} (there are: {', '.join(names)})")
        table = pq.read_table(file, columns=list(COLUMNS))
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise OutcomeError(f"{file} cannot be read as Parquet ({error})") from error
    for number, values in enumerate(rows, start=1):
        yield _Row(f"{file}, row {number}", values)
