"""Outcomes from files, and gathered by prompt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared_router.errors import OutcomeError
from shared_router.tables.outcomes import Outcome, labeled_prompts, outcome_row, read_outcomes

ANSWER = Outcome(
    "q1", "How far is the moon?", "small", 0, "tiny", "far", 384_400, 0.5, 7, 1, 0.25, 0.1, {"topic": "sky"}
)


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    answers = [ANSWER, replace(ANSWER, target="large", response="", quality=None, cost_usd=None)]
    read = read_outcomes(written(tmp_path / "o.jsonl", [outcome_row(answer) for answer in answers]))
    assert read.rows == tuple(answers)
    assert read.skipped == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "medium"}, 'target is "small" or "large"'),
        ({"sample": -1}, "whole number"),
        ({"quality": "good"}, "quality is a number"),
        ({"prompt": " "}, "prompt is empty"),
        ({"response": None}, "no value for response"),
        ({"columns": [1]}, "columns is an object"),
        ({}, "a second time"),
    ],
)
def test_bad_rows_are_named_or_left_out(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path / "o.jsonl", [outcome_row(ANSWER), {**outcome_row(ANSWER), **change}])
    with pytest.raises(OutcomeError, match=rf"line 2: .*{said}"):
        read_outcomes(path)
    read = read_outcomes(path, skip_bad=True)
    assert (len(read.rows), len(read.skipped)) == (1, 1)


def test_outcomes_are_gathered_by_prompt() -> None:
    answers = [
        replace(ANSWER, sample=1, quality=0.0, cost_usd=0.75),
        ANSWER,
        replace(ANSWER, target="large", quality=1.0, cost_usd=None),
        replace(ANSWER, id="q2"),
        replace(ANSWER, id="q2", target="large", quality=None),
    ]
    complete, incomplete = labeled_prompts(answers)
    assert [row.prompt for row in complete] == [ANSWER.prompt]
    assert (complete[0].small, complete[0].large) == ((0.5, 0.0), (1.0,))
    assert complete[0].others == {"id": "q1", "topic": "sky", "small_cost": 0.5}
    assert incomplete == ["q2"]


def test_an_id_names_one_prompt() -> None:
    with pytest.raises(OutcomeError, match="'q1' have different prompts"):
        labeled_prompts([ANSWER, replace(ANSWER, target="large", prompt="?")])
