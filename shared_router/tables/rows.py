"""Rows of a file, each with the place it stands at: JSON lines, CSV and Parquet alike.

``.jsonl`` and ``.ndjson`` hold one JSON object a line; ``.csv`` has a header, and its cells are text; ``.parquet`` is
read with pyarrow. Which columns a row must have is said by who reads it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from shared_router.errors import MissingExtraError, OutcomeError

__all__ = ["BadRowError", "Row", "checked_rows", "finite", "present", "read_rows", "text_of"]

CSV_FIELD_LIMIT = 2**27

Value = TypeVar("Value")


class BadRowError(OutcomeError):
    """What is wrong with one row, in words that follow its place."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was found.

    Attributes:
        place: File and line, for messages.
        values: Its columns, or why there are none.
    """

    place: str
    values: Mapping[str, object] | BadRowError


def read_rows(path: str | Path, *, needed: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a file.

    Args:
        path: ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet``.
        needed: Columns without which a CSV or Parquet file is refused as a whole; JSON lines differ from each other, so
            that whoever reads them looks.

    Raises:
        OutcomeError: The file is missing, unreadable, of an unknown ending, or lacks a needed column.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise OutcomeError(f"{file}: the ending says the format; use one of {', '.join(_READERS)}")
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise OutcomeError(f"{file} {what}; pass a file of rows{' with ' + ', '.join(needed) if needed else ''}")
    return reader(file, needed)


def checked_rows(
    rows: Iterator[Row], check: Callable[[Mapping[str, object]], Value], *, skip_bad: bool
) -> tuple[list[Value], tuple[str, ...]]:
    """Each row as the value that it stands for.

    Args:
        rows: From ``read_rows``.
        check: Columns → value; raises ``BadRowError`` where they cannot be used.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.

    Returns:
        The values, and what was wrong with each row that was left out.

    Raises:
        OutcomeError: A row cannot be used and ``skip_bad`` is not set; the message names file and line.
    """
    skipped: list[str] = []
    values: list[Value] = []
    for row in rows:
        try:
            if isinstance(row.values, BadRowError):
                raise row.values
            values.append(check(row.values))
        except BadRowError as error:
            if not skip_bad:
                raise OutcomeError(
                    f"{row.place}: {error}; mend the row, or leave such rows out with --skip-bad (skip_bad=True)"
                ) from None
            skipped.append(f"{row.place}: {error}")
    return values, tuple(skipped)


def present(values: Mapping[str, object], names: Sequence[str]) -> None:
    """Refuse a row that lacks a column.

    Raises:
        BadRowError: One is missing or null; the message names those that are there.
    """
    missing = [name for name in names if values.get(name) is None]
    if missing:
        raise BadRowError(f"no value for {', '.join(missing)} (there are: {', '.join(map(str, values)) or 'none'})")


def text_of(name: str, value: object, *, may_be_empty: bool = False) -> str:
    """A column's value as text.

    Raises:
        BadRowError: No string, empty, or bytes that were no UTF-8.
    """
    if not isinstance(value, str):
        raise BadRowError(f"{name} is a string, got {type(value).__name__}")
    if not may_be_empty and not value.strip():
        raise BadRowError(f"{name} is empty")
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        raise BadRowError(f"{name} is not valid UTF-8")
    return value


def finite(name: str, value: object, what: str = "a number") -> float:
    """A column's value as a finite number; true and false count as 1 and 0.

    Raises:
        BadRowError: Anything else.
    """
    if not isinstance(value, int | float):
        raise BadRowError(f"{name} is {what}, got {value!r:.40}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadRowError(f"{name} is {number}; it must be finite")
    return number


def _text(file: Path) -> str:
    # bytes that are no UTF-8 become lone surrogates, by which the row that holds them is found
    return file.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _json_lines(file: Path, needed: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if line.strip():
            yield Row(f"{file}, line {number}", _json_row(line))


def _json_row(line: str) -> Mapping[str, object] | BadRowError:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRowError(f"not JSON ({error})")
    if not isinstance(values, dict):
        return BadRowError(f"a row is a JSON object, got {type(values).__name__}")
    return values


def _csv_rows(file: Path, needed: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(CSV_FIELD_LIMIT)
    reader = csv.DictReader(io.StringIO(_text(file), newline=""))
    try:
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise OutcomeError(f"{file}, line 1: the header lacks {', '.join(missing)} (there are: {found})")
        while True:
            # a quoted cell may run over several lines: the row is named by its last, as csv counts them
            cells = next(reader, None)
            if cells is None:
                return
            values = {name: cell or None for name, cell in cells.items() if isinstance(name, str)}
            yield Row(f"{file}, line {reader.line_num}", values)
    except csv.Error as error:
        raise OutcomeError(f"{file}, line {reader.line_num}: not CSV ({error})") from error


def _parquet_rows(file: Path, needed: Sequence[str]) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError('reading Parquet needs pyarrow: pip install "hybrid-llm[train]"') from error
    try:
        names = pq.read_schema(file).names
        missing = [name for name in needed if name not in names]
        if missing:
            raise OutcomeError(f"{file} lacks the columns {', '.join(missing)} (there are: {', '.join(names)})")
        rows = pq.read_table(file).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise OutcomeError(f"{file} cannot be read as Parquet ({error})") from error
    for number, values in enumerate(rows, start=1):
        yield Row(f"{file}, row {number}", values)


_READERS = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv_rows, ".parquet": _parquet_rows}
