"""Judged outcomes on disk: what is judged stays judged.

A row is an outcome with its quality, as ``shared_router.tables.outcomes`` describes it, and one more column:

    judged_by    object    the measure: name, version, and what else the quality depends on

While a file is being judged its rows are appended to one beside it (``x.jsonl``: ``x.part.jsonl``), a line a row; when
all is judged the whole file is written at once and the part removed. Whatever kills the process, the file is complete
or is not there, and the next run takes from both what fits: the same answer to the same prompt with the same reference,
judged by the same measure.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, cast

from shared_router.errors import OutcomeError
from shared_router.records import JSON, Target
from shared_router.tables.outcomes import Outcome, outcome_row
from shared_router.tables.rows import BadRowError, Row, finite, present, read_rows

__all__ = [
    "Judgements",
    "appended",
    "fits",
    "judgement",
    "kept_judgements",
    "part_of",
    "write_json_lines",
    "written_atomically",
]

Key: TypeAlias = "tuple[str, Target, int]"

Judgements: TypeAlias = "dict[Key, Mapping[str, JSON]]"
"""Rows with a quality, by id, target and sample."""

FSYNC_SECONDS = 1.0
"""How much work a failing machine may cost; a killed process costs none."""

SAME = ("prompt", "response", "reference")
"""What a quality depends on, besides the measure."""


def part_of(path: Path) -> Path:
    """Where the rows are appended before the file is complete."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def judgement(outcome: Outcome, quality: float | None, measure: Mapping[str, JSON]) -> dict[str, JSON]:
    """The row of a judged outcome.

    Args:
        outcome: What was judged.
        quality: Finite; None where there is none.
        measure: Its identity.
    """
    return {**outcome_row(replace(outcome, quality=quality)), "judged_by": dict(measure)}


def kept_judgements(path: Path, measure: Mapping[str, JSON]) -> Judgements:
    """What earlier runs judged, complete or not.

    Args:
        path: The file of judged outcomes; need not exist.
        measure: Identity of the measure that is about to judge.

    Raises:
        OutcomeError: A row is broken, or was judged by another measure, whose work must not be lost.
    """
    kept: Judgements = {}
    part = part_of(path)
    complete = list(read_rows(path)) if path.exists() else []
    begun = list(read_rows(part)) if part.exists() else []
    if begun and not part.read_bytes().endswith(b"\n"):
        # what a kill left of a row
        del begun[-1]
    for row in complete + begun:
        key, values = _checked(row, measure, path)
        if values.get("quality") is not None:
            kept[key] = values
    return kept


def fits(row: Mapping[str, JSON] | None, outcome: Outcome) -> bool:
    """Whether a judged row is of this very answer."""
    if row is None:
        return False
    # references from Parquet or CSV have the types that JSON gives them
    now = json.loads(json.dumps(outcome_row(outcome), default=str))
    return all(row.get(name) == now[name] for name in SAME)


@contextmanager
def appended(path: Path) -> Iterator[Callable[[Iterable[Mapping[str, JSON]]], None]]:
    """Append rows to the part of a file.

    Args:
        path: The file of judged outcomes.

    Yields:
        What is called with the rows of one prompt; once it returns they survive the end of this process.

    Raises:
        OutcomeError: The folder cannot be written to.
    """
    part = part_of(path)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("ab")
    except OSError as error:
        raise OutcomeError(f"{part} cannot be written ({error})") from error
    synced = time.monotonic()

    def append(rows: Iterable[Mapping[str, JSON]]) -> None:
        nonlocal synced
        file.write(b"".join(map(_line, rows)))
        file.flush()
        if time.monotonic() - synced > FSYNC_SECONDS:
            os.fsync(file.fileno())
            synced = time.monotonic()

    try:
        with file:
            _cut_last_line(file.fileno(), part)
            yield append
            os.fsync(file.fileno())
    finally:
        if not part.stat().st_size:
            part.unlink()


def written_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is there as a whole or as it was before.

    Args:
        path: The file; its folder is made.
        write: Writes to the path that it is given.

    Raises:
        OutcomeError: The folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutcomeError(f"{path} cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json_lines(path: Path, rows: Iterable[Mapping[str, JSON]]) -> None:
    """Write rows as JSON lines, as a whole.

    Args:
        path: The file.
        rows: One a line.

    Raises:
        OutcomeError: The folder cannot be written to.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.writelines(map(_line, rows))

    written_atomically(path, write)


def _line(row: Mapping[str, JSON]) -> bytes:
    # a lone surrogate has no UTF-8, and in this form it is its own JSON escape
    return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace") + b"\n"


def _cut_last_line(descriptor: int, part: Path) -> None:
    content = part.read_bytes()
    os.ftruncate(descriptor, content.rfind(b"\n") + 1)


def _checked(row: Row, measure: Mapping[str, JSON], path: Path) -> tuple[Key, Mapping[str, JSON]]:
    try:
        if isinstance(row.values, BadRowError):
            raise row.values
        values = row.values
        present(values, ("id", "prompt", "target", "judged_by"))
        if values.get("quality") is not None:
            finite("quality", values["quality"])
        sample = int(finite("sample", values.get("sample", 0)))
    except BadRowError as error:
        raise OutcomeError(f"{row.place}: {error}; mend the row, or judge all anew (--again)") from None
    if values["judged_by"] != json.loads(json.dumps(measure)):
        raise OutcomeError(
            f"{row.place}: judged by {json.dumps(values['judged_by'])}, and now it would be by {json.dumps(measure)}; "
            f"choose another file than {path} (--judged), or judge all anew (--again)"
        )
    key = (str(values["id"]), cast("Target", values["target"]), sample)
    return key, cast("Mapping[str, JSON]", values)
