"""Labelled prompts from files: what is read, and what every kind of bad input is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared_router.encoders.static import MAX_CHARS
from shared_router.errors import OutcomeError
from shared_router.tables.labeled import (
    MIN_ROWS,
    LabeledPrompt,
    LabeledPrompts,
    labeled_from,
    read_labeled,
    teachable,
    write_labeled_prompts,
)

GOOD = [{"prompt": f"question {i}", "small_quality": i % 2, "large_quality": 1} for i in range(MIN_ROWS)]


def prompts(rows: list[tuple[str, float, float]]) -> LabeledPrompts:
    return labeled_from([LabeledPrompt(prompt, (small,), (large,)) for prompt, small, large in rows])


def jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_json_lines(tmp_path: Path) -> None:
    read = read_labeled(jsonl(tmp_path / "a.jsonl", [*GOOD, "", {**GOOD[0], "prompt": "é", "other": [1]}]))
    assert read.prompts == (*(str(row["prompt"]) for row in GOOD), "é")
    assert read.small.tolist()[:2] == [0.0, 1.0]
    assert read.large.tolist() == [1.0] * (MIN_ROWS + 1)
    assert (read.skipped, read.merged, read.clipped) == ((), 0, 0)


def test_samples_are_averaged_and_truth_values_count(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "small_quality": [0, 1, 0.5, 0.5], "large_quality": True}, *GOOD]
    read = read_labeled(jsonl(tmp_path / "a.ndjson", rows))
    assert (read.small[0], read.large[0]) == (0.5, 1.0)


def test_csv_with_line_breaks_lists_and_a_byte_order_mark(tmp_path: Path) -> None:
    lines = ["prompt,large_quality,small_quality,note", '"two\nlines, one ""prompt""",1,"[0, 1]",x']
    lines += [f"{row['prompt']},{row['large_quality']},{row['small_quality']}," for row in GOOD]
    (tmp_path / "a.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    read = read_labeled(tmp_path / "a.csv")
    assert read.prompts[0] == 'two\nlines, one "prompt"'
    assert (read.small[0], read.large[0]) == (0.5, 1.0)
    assert len(read.prompts) == MIN_ROWS + 1


def test_parquet(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pd.DataFrame(GOOD).to_parquet(tmp_path / "a.parquet")
    assert read_labeled(tmp_path / "a.parquet").small.tolist() == [row["small_quality"] for row in GOOD]
    pd.DataFrame(GOOD).drop(columns="prompt").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(OutcomeError, match=r"lacks the columns prompt .*small_quality"):
        read_labeled(tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(OutcomeError, match="cannot be read as Parquet"):
        read_labeled(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1, 2]", "a row is a JSON object, got list"),
        ({"prompt": "a", "small_quality": 1}, "no value for large_quality .*small_quality"),
        ({"prompt": None, "small_quality": 1, "large_quality": 1}, "no value for prompt"),
        ({"prompt": "  ", "small_quality": 1, "large_quality": 1}, "prompt is empty"),
        ({"prompt": 5, "small_quality": 1, "large_quality": 1}, "prompt is a string, got int"),
        ({"prompt": "\ud800", "small_quality": 1, "large_quality": 1}, "prompt is not valid UTF-8"),
        ({"prompt": "a", "small_quality": float("nan"), "large_quality": 1}, "small_quality is nan"),
        ({"prompt": "a", "small_quality": 1, "large_quality": [1, float("inf")]}, "large_quality is inf"),
        ({"prompt": "a", "small_quality": 10**400, "large_quality": 1}, "small_quality is inf"),
        ({"prompt": "a", "small_quality": [], "large_quality": 1}, "small_quality is an empty list"),
        ({"prompt": "a", "small_quality": "good", "large_quality": 1}, "small_quality is a number .*'good'"),
        ({"prompt": "a", "small_quality": {"x": 1}, "large_quality": 1}, "small_quality is a number"),
    ],
)
def test_a_bad_row_is_named_by_its_line_or_skipped_and_counted(tmp_path: Path, row: object, what: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [GOOD[0], row, *GOOD[1:]])
    with pytest.raises(OutcomeError, match=rf"a\.jsonl, line 2: {what}.*--skip-bad"):
        read_labeled(path)
    read = read_labeled(path, skip_bad=True)
    assert len(read.prompts) == MIN_ROWS
    assert len(read.skipped) == 1
    assert "line 2" in read.skipped[0]


def test_bytes_that_are_no_utf_8_are_found(tmp_path: Path) -> None:
    bad = b'{"prompt": "caf\xe9", "small_quality": 1, "large_quality": 1}'
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*(json.dumps(row).encode() for row in GOOD), bad]))
    with pytest.raises(OutcomeError, match=rf"line {MIN_ROWS + 1}: prompt is not valid UTF-8"):
        read_labeled(tmp_path / "a.jsonl")
    assert len(read_labeled(tmp_path / "a.jsonl", skip_bad=True).skipped) == 1


@pytest.mark.parametrize("cell", ["", "good", "nan", "[]"])
def test_a_bad_cell_of_a_csv_is_named_by_its_line(tmp_path: Path, cell: str) -> None:
    lines = ["prompt,small_quality,large_quality", f"a,{cell},1", *(f"b{i},{i % 2},1" for i in range(MIN_ROWS))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(OutcomeError, match=r"a\.csv, line 2: .*small_quality"):
        read_labeled(tmp_path / "a.csv")
    assert len(read_labeled(tmp_path / "a.csv", skip_bad=True).prompts) == MIN_ROWS


def test_a_header_that_lacks_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,quality\na,1\n")
    with pytest.raises(OutcomeError, match=r"line 1: the header lacks small_quality, large_quality .*prompt, quality"):
        read_labeled(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("")
    with pytest.raises(OutcomeError, match="there are: nothing"):
        read_labeled(tmp_path / "b.csv")


def test_rows_of_one_prompt_are_merged() -> None:
    rows = [("a", 0.0, 1.0), ("a", 1.0, 1.0), *((f"b{i}", float(i % 2), 1.0) for i in range(MIN_ROWS))]
    read = prompts(rows)
    assert (read.prompts[0], read.small[0], read.merged) == ("a", 0.5, 1)


def test_long_prompts_are_counted() -> None:
    rows = [("a" * (MAX_CHARS + 1), 0.0, 1.0), *((f"b{i}", float(i % 2), 1.0) for i in range(MIN_ROWS))]
    assert prompts(rows).clipped == 1


@pytest.mark.parametrize(
    ("small", "way_out"), [(lambda i: 0.0, "use the large model alone"), (lambda i: 1.0, "use the small model alone")]
)
def test_one_class_only_is_refused(small: Callable[[int], float], way_out: str) -> None:
    with pytest.raises(OutcomeError, match=way_out):
        teachable(prompts([(f"b{i}", small(i), 1.0) for i in range(MIN_ROWS)]))


def test_too_few_rows_are_refused_and_say_what_was_left_out(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match=rf"39 different usable prompts.*needs {MIN_ROWS}"):
        teachable(read_labeled(jsonl(tmp_path / "a.jsonl", [*GOOD[1:]])))
    with pytest.raises(OutcomeError, match=r"1 rows were left out; the first: .*line 1"):
        teachable(read_labeled(jsonl(tmp_path / "a.jsonl", ["?", *GOOD[1:]]), skip_bad=True))
    with pytest.raises(OutcomeError, match="no usable row"):
        read_labeled(jsonl(tmp_path / "empty.jsonl", []))


def test_what_is_no_file_of_a_known_format(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="does not exist"):
        read_labeled(tmp_path / "none.jsonl")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutcomeError, match="is a folder"):
        read_labeled(tmp_path / "folder.csv")
    with pytest.raises(OutcomeError, match=r"the ending says the format.*\.parquet"):
        read_labeled(tmp_path / "a.txt")


def test_qualities_are_arrays_of_floats(tmp_path: Path) -> None:
    read = read_labeled(jsonl(tmp_path / "a.jsonl", list(GOOD)))
    assert read.small.dtype == read.large.dtype == np.float64


def test_samples_and_other_columns_are_kept_for_those_who_ask(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "small_quality": [0, 1], "large_quality": 1, "language": "qu"}, *GOOD]
    read = read_labeled(jsonl(tmp_path / "a.jsonl", rows))
    assert read.small_samples[0] == (0.0, 1.0)
    assert read.columns["language"][:2] == ("qu", None)
    part = read.part([1, 0])
    assert (part.prompts[1], part.small_samples[1], part.columns["language"]) == ("a", (0.0, 1.0), (None, "qu"))
    assert part.large.tolist() == [1.0, 1.0]


def test_an_id_names_one_prompt(tmp_path: Path) -> None:
    rows = [{**GOOD[0], "id": 7}, {**GOOD[0], "id": 7}, {**GOOD[1], "id": 7}, *GOOD]
    path = jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(OutcomeError, match="line 3: id '7' stands here for another prompt"):
        read_labeled(path)
    assert len(read_labeled(path, skip_bad=True).skipped) == 1


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [{"prompt": "é\n?", "small_quality": [0, 1], "large_quality": 1, "language": "qu"}, *GOOD]
    read = read_labeled(jsonl(tmp_path / "a.jsonl", rows))
    write_labeled_prompts(tmp_path / "b.jsonl", read)
    again = read_labeled(tmp_path / "b.jsonl")
    assert (again.prompts, again.small_samples, again.columns) == (read.prompts, read.small_samples, read.columns)
