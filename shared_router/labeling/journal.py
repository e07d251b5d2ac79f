"""The outcomes of a collection while it runs: a file of JSON lines that only grows.

A line is written by one call to the system as soon as its answer is there. A process that is killed in the middle of
that call, a machine that dies or a full disk can leave part of a line at the end (a long line goes page by page); it is
cut off when the file is opened again. An answer counts as recorded when its line is safe on the disk (fsync); the lines
of calls that end at about the same time share one.

A row is an outcome as ``shared_router.tables.outcomes`` describes it, with one more column for the collector:

    asked    object    hash of the conversation that was sent, settings it was sent with, model that answered
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from shared_router.errors import OutcomeError
from shared_router.records import JSON
from shared_router.tables.outcomes import Outcome, outcome_row, read_outcomes

__all__ = ["Journal", "Recorded"]

ENDINGS = (".jsonl", ".ndjson")

ROW_START = b'{"id": '
"""How each line begins; what does not is not ours to cut."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the file.

    Attributes:
        outcome: What the row says.
        asked: The collector's own column; empty in files that others wrote.
    """

    outcome: Outcome
    asked: Mapping[str, JSON]


class Journal:
    """A file of outcomes, open for one collector; a context manager.

    Args:
        path: ``.jsonl`` or ``.ndjson``; made if it is missing.

    Attributes:
        path: The file.
        rows: What was in it when it was opened.
        cut: Bytes of an unfinished line that were cut off.

    Raises:
        OutcomeError: The file cannot be written, another collector has it, or it holds something else than outcomes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in ENDINGS:
            raise OutcomeError(f"{self.path}: outcomes are collected in {' or '.join(ENDINGS)}; choose such a name")
        self._file = _opened(self.path)
        self._written = self._safe = 0
        self._disk = asyncio.Lock()
        self._lock_file: int | None = None
        try:
            self._lock_file = _locked(self._file, self.path)
            content = _read(self.path)
            self.rows = content.rows
            self.cut = content.torn
            if content.torn:
                os.ftruncate(self._file, content.whole)
                os.fsync(self._file)
        except BaseException:
            self._close()
            raise
        self._missing_break = b"\n" if content.unbroken else b""

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def append(self, outcome: Outcome, asked: Mapping[str, JSON]) -> None:
        """Write a row; it is safe on the disk once ``safe`` has returned.

        Raises:
            OutcomeError: The disk is full, or the file cannot be written any more; nothing of the row is in it.
        """
        row = {**outcome_row(outcome), "asked": dict(asked)}
        line = self._missing_break + json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError("the disk is full")
        except OSError as error:
            os.ftruncate(self._file, before)
            raise OutcomeError(
                f"{self.path} cannot be written ({error}); what was recorded before is safe: make room and run the "
                "same command again"
            ) from error
        self._missing_break = b""
        self._written += 1

    async def safe(self) -> None:
        """Return once all rows that were written before are on the disk.

        Raises:
            OutcomeError: The disk does not take them.
        """
        wanted = self._written
        async with self._disk:
            if self._safe >= wanted:
                return
            reached = self._written
            try:
                await asyncio.to_thread(os.fsync, self._file)
            except OSError as error:
                raise OutcomeError(f"{self.path} cannot be written ({error})") from error
            self._safe = reached

    def close(self) -> None:
        """Bring everything to the disk and let other collectors have the file."""
        if self._file < 0:
            return
        try:
            os.fsync(self._file)
        finally:
            self._close()

    def _close(self) -> None:
        os.close(self._file)
        self._file = -1
        if self._lock_file is not None:
            os.close(self._lock_file)
            _lock_path(self.path).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Content:
    """What a file holds.

    Attributes:
        rows: Its rows.
        whole: Bytes up to the last line break.
        torn: Bytes of an unfinished line after it.
        unbroken: Whether a finished row stands there, without its line break.
    """

    rows: tuple[Recorded, ...]
    whole: int
    torn: int
    unbroken: bool


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    except OSError as error:
        raise OutcomeError(f"{path} cannot be written ({error})") from error


def _locked(file: int, path: Path) -> int | None:
    """Keep other collectors out; the system takes the lock back when the process ends, however it ends.

    Returns:
        A further file to close at the end, where the lock needs one.

    Raises:
        OutcomeError: Another collector has the file.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            # locked bytes cannot be read there, not even by who locked them: so a file of its own
            beside = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT)
            msvcrt.locking(beside, msvcrt.LK_NBLCK, 1)
            return beside
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except (BlockingIOError, PermissionError) as error:
        raise OutcomeError(
            f"another collector is writing {path}; wait for it or stop it, or choose another file"
        ) from error
    except OSError as error:
        raise OutcomeError(f"{path} cannot be locked ({error}); choose a file on a disk of this machine") from error


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _read(path: Path) -> _Content:
    """What the file holds, which is not changed by looking.

    Raises:
        OutcomeError: It holds something else than outcomes.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    rest = content[whole:]
    unbroken = _is_row(rest)
    torn = len(rest) if rest.strip() and not unbroken else 0
    start = rest.rstrip(b"\0")[: len(ROW_START)]
    if torn and start != ROW_START[: len(start)]:
        raise OutcomeError(f"{path} holds something else than outcomes ({rest[:40]!r}); choose another file")
    read = read_outcomes(path, skip_bad=True)
    if len(read.skipped) > bool(torn):
        raise OutcomeError(
            f"{read.skipped[0]}; outcomes are added to a file of outcomes only: mend it or choose another"
        )
    text = content[: whole if torn else None].decode("utf-8", "surrogateescape")
    lines = (json.loads(line) for line in text.split("\n") if line.strip())
    rows = tuple(Recorded(outcome, _asked(line)) for outcome, line in zip(read.rows, lines, strict=True))
    return _Content(rows, whole, torn, unbroken)


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _asked(line: Any) -> Mapping[str, JSON]:
    asked = line.get("asked")
    return cast("Mapping[str, JSON]", asked) if isinstance(asked, dict) else {}
