"""The file of outcomes while it grows: whole lines, one writer, what is found at its end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared_router.errors import OutcomeError
from shared_router.labeling.journal import Journal
from shared_router.tables.outcomes import Outcome, read_outcomes


def outcome(sample: int, **fields: object) -> Outcome:
    return Outcome(
        **{"id": "é", "prompt": "p", "target": "small", "sample": sample, "model": "m", "response": "r"} | fields
    )


def written(path: Path, count: int) -> bytes:
    with Journal(path) as journal:
        for sample in range(count):
            journal.append(outcome(sample), {"messages": "x"})
    return path.read_bytes()


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    said = outcome(0, response="two\nlines\u2028\x85\0", reference=["x"], columns={"group": 1}, cost_usd=0.5)
    with Journal(path) as journal:
        assert journal.rows == ()
        journal.append(said, {"messages": "x"})
    assert path.read_bytes().count(b"\n") == 1
    assert read_outcomes(path).rows == (said,)
    with Journal(path) as journal:
        assert [(row.outcome, row.asked) for row in journal.rows] == [(said, {"messages": "x"})]
        assert journal.cut == 0


def test_a_line_that_was_torn_anywhere_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    content = written(path, 2)
    first = content.index(b"\n") + 1
    for end in (*range(first + 1, len(content) - 1, 13), len(content) - 2):
        path.write_bytes(content[:end])
        with Journal(path) as journal:
            assert (len(journal.rows), journal.cut) == (1, end - first)
            journal.append(outcome(1), {})
        assert [row.sample for row in read_outcomes(path).rows] == [0, 1]


@pytest.mark.parametrize("tail", [b"\0" * 100, b'{"id"', b'{"id": "x", "prompt": "\xc3', b'{"id": "x"\0\0'])
def test_what_a_machine_that_died_leaves_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(written(path, 1) + tail)
    with Journal(path) as journal:
        assert (len(journal.rows), journal.cut) == (1, len(tail))


def test_a_row_that_lacks_only_its_line_break_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(written(path, 2).rstrip(b"\n"))
    with Journal(path) as journal:
        assert (len(journal.rows), journal.cut) == (2, 0)
        journal.append(outcome(2), {})
        journal.append(outcome(3), {})
    assert [row.sample for row in read_outcomes(path).rows] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "content",
    [
        b"a shopping list",
        b'{"prompt": "a"}',
        b'{"prompt": "a"}\n{"prompt": "b"}\n',
        b'{"prompt": "a"}\n{"id": ',
        b'{"id": "1", "prompt": "a"}\n{"id": "2", "prompt": ',
    ],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutcomeError, match=r"something else than outcomes|a file of outcomes only"):
        Journal(path)
    assert path.read_bytes() == content


def test_a_broken_row_in_the_middle_is_named_and_nothing_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    content = written(path, 1) + b'{"id": broken}\n' + b'{"id": "to'
    path.write_bytes(content)
    with pytest.raises(OutcomeError, match="line 2: not JSON"):
        Journal(path)
    assert path.read_bytes() == content


def test_two_writers_in_one_process_and_in_two(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    code = f"from shared_router.labeling.journal import Journal; Journal({str(path)!r})"
    with Journal(path):
        with pytest.raises(OutcomeError, match="another collector is writing"):
            Journal(path)
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another collector is writing" in run.stderr
    with Journal(path):
        pass


def test_a_full_disk_leaves_no_part_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    before = written(path, 1)
    write = os.write
    with Journal(path) as journal:
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
        with pytest.raises(OutcomeError, match=r"cannot be written \(the disk is full\).*make room"):
            journal.append(outcome(1), {})
        monkeypatch.undo()
        assert path.read_bytes() == before
        journal.append(outcome(1), {})
    assert len(read_outcomes(path).rows) == 2


async def test_rows_that_end_together_share_one_way_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (sync(file), synced.append((tmp_path / "a.jsonl").stat().st_size)))
    with Journal(tmp_path / "a.jsonl") as journal:

        async def record(sample: int) -> int:
            journal.append(outcome(sample), {})
            size = (tmp_path / "a.jsonl").stat().st_size
            await journal.safe()
            # what is acknowledged was on the disk
            assert synced
            assert max(synced) >= size
            return size

        await asyncio.gather(*(record(sample) for sample in range(50)))
        assert len(synced) <= 3


def test_a_name_or_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match=r"collected in \.jsonl or \.ndjson"):
        Journal(tmp_path / "a.parquet")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutcomeError, match="cannot be written"):
        Journal(tmp_path / "file" / "a.jsonl")


def test_a_file_that_other_programs_wrote_has_nothing_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": 1, "prompt": "p", "target": "large", "response": ""}) + "\n")
    with Journal(path) as journal:
        assert [dict(row.asked) for row in journal.rows] == [{}]
