"""Answers of many models, gathered into arrays."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.tables.answers import answers_from, read_answers

ROWS: list[dict[str, Any]] = [
    {"query": "a", "model": "tiny", "quality": 1, "cost": 0.1, "output_tokens": 7},
    {"query": "a", "model": "grand", "quality": 0.5, "cost": 2.0, "group": "g"},
    {"prompt": "b", "model": "grand", "quality": None, "cost_usd": 3.0},
    {"query": "b", "model": "tiny"},
]


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_rows_become_queries_by_models(tmp_path: Path) -> None:
    found = read_answers(written(tmp_path / "a.jsonl", ROWS))
    assert found.queries == ("a", "b")
    assert found.models == ("grand", "tiny")
    np.testing.assert_array_equal(found.quality, [[0.5, 1.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.cost, [[2.0, 0.1], [3.0, np.nan]])
    np.testing.assert_array_equal(found.output_tokens, [[np.nan, 7.0], [np.nan, np.nan]])
    assert found.complete.tolist() == [True, False]
    assert len(found) == 2


def test_parquet_and_csv_say_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = [{"query": "a", "model": m, "quality": q, "cost_usd": c} for m, q, c in (("x", 0.5, 1.0), ("y", None, 2.0))]
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for name in ("a.parquet", "a.csv"):
        found = read_answers(tmp_path / name)
        np.testing.assert_array_equal(found.quality, [[0.5, np.nan]])
        np.testing.assert_array_equal(found.cost, [[1.0, 2.0]])


def test_the_same_text_under_two_ids_is_two_queries_and_a_group_joins_them(tmp_path: Path) -> None:
    rows = [
        {"query": "a", "query_id": name, "model": model, "group": group}
        for name, group in (("1", "g"), ("2", "g"), ("3", None))
        for model in ("x", "y")
    ]
    found = read_answers(written(tmp_path / "a.jsonl", rows))
    assert found.ids == ("1", "2", "3")
    assert found.groups[0] == found.groups[1] != found.groups[2]


def test_samples_are_averaged(tmp_path: Path) -> None:
    rows = [*ROWS, {"query": "a", "model": "tiny", "quality": 0, "cost": 0.3}]
    found = read_answers(written(tmp_path / "a.jsonl", rows))
    assert found.quality[0, 1] == 0.5
    assert found.cost[0, 1] == pytest.approx(0.2)
    assert found.merged == 1


def test_only_the_models_that_were_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [*ROWS, {"query": "c", "model": "third"}])
    assert read_answers(path, models=["tiny", "grand"]).queries == ("a", "b")
    with pytest.raises(OutcomeError, match=r"no answers of huge \(there are: grand, third, tiny\)"):
        read_answers(path, models=["tiny", "huge"])
    with pytest.raises(OutcomeError, match="nothing to allocate below two"):
        read_answers(path, models=["tiny"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quality": 7}, r"in \[0, 1\], got 7"),
        ({"quality": -0.1}, "≥ 0"),
        ({"quality": "good"}, "quality is a number"),
        ({"cost": -1}, "cost is a number ≥ 0"),
        ({"model": None}, "no value for model"),
        ({"query": " "}, "query is empty"),
    ],
)
def test_a_bad_row_is_named_or_left_out(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path / "a.jsonl", [*ROWS, {**ROWS[0], **change}])
    with pytest.raises(OutcomeError, match=f"line 5: .*{said}"):
        read_answers(path)
    found = read_answers(path, skip_bad=True)
    assert len(found.skipped) == 1
    assert found.queries == ("a", "b")


def test_arrays_are_checked() -> None:
    found = answers_from(["a", "b"], ["x"], [[1.0], [np.nan]], groups=[3, 3])
    assert np.isnan(found.cost).all()
    assert found.part(np.array([1])).queries == ("b",)
    for wrong in ({"quality": [[1.0]]}, {"quality": [[2.0], [0.0]]}, {"cost": [[-1.0], [0.0]]}, {"groups": [1]}):
        arguments: Any = {"quality": [[1.0], [0.0]], **wrong}
        with pytest.raises(OutcomeError):
            answers_from(["a", "b"], ["x"], **arguments)
