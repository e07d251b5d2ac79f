"""RouterArena's published scores, and files in its form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared_router.errors import OutcomeError
from shared_router.evaluation.routerarena import (
    ArenaQuery,
    arena_config,
    arena_predictions,
    arena_robustness,
    arena_score,
    read_arena_queries,
)
from shared_router.knob import Knob
from shared_router.router import Router

NAMES = {"small_model": "gpt-4o-mini", "large_model": "gpt-4o"}
QUERIES = (ArenaQuery("A_1", "easy"), ArenaQuery("A_2", "a hard one"), ArenaQuery("A_3", "simple"))
KNOB = Knob("threshold", 0.5)


def router() -> Router:
    return Router.from_callable(lambda text: 0.9 if "hard" in text else 0.1)


@pytest.mark.parametrize(
    ("accuracy", "cost", "published"),
    # from the leaderboard in RouterArena's README: accuracy and dollars per 1,000 queries are printed with two digits
    [(66.88, 0.15, 66.89), (68.09, 0.54, 66.66), (66.34, 0.21, 66.12), (73.96, 10.02, 64.32)],
)
def test_the_leaderboards_scores(accuracy: float, cost: float, published: float) -> None:
    assert 100 * arena_score(accuracy / 100, cost) == pytest.approx(published, abs=0.1)


def test_the_score_at_the_ends_of_the_costs() -> None:
    assert arena_score(1.0, 0.0044) == pytest.approx(1.0)
    # cheaper than the cheapest counts as that, dearer than the dearest as worth nothing
    assert arena_score(0.5, 1e-9) == arena_score(0.5, 0.0044)
    assert arena_score(0.9, 200.0) == arena_score(0.9, 1e6) == 0.0
    assert arena_score(0.0, 200.0) == 0.0
    for accuracy, cost in ((1.5, 1.0), (float("nan"), 1.0), (0.5, 0.0), (0.5, float("nan"))):
        with pytest.raises(OutcomeError):
            arena_score(accuracy, cost)


def test_predictions_have_the_fields_that_are_checked() -> None:
    predictions = arena_predictions(router(), QUERIES, knob=KNOB, **NAMES)
    assert [entry["prediction"] for entry in predictions] == ["gpt-4o-mini", "gpt-4o", "gpt-4o-mini"]
    assert predictions[0] == {
        "global index": "A_1",
        "prompt": "easy",
        "prediction": "gpt-4o-mini",
        "generated_result": None,
        "cost": None,
        "accuracy": None,
        "for_optimality": False,
    }
    assert arena_config("ours", **NAMES) == {
        "pipeline_params": {"router_name": "ours", "models": ["gpt-4o-mini", "gpt-4o"]}
    }
    json.dumps(predictions, allow_nan=False)


def test_for_the_public_tenth_the_other_model_is_listed_behind() -> None:
    predictions = arena_predictions(router(), QUERIES, knob=KNOB, optimality={"A_2", "A_3"}, **NAMES)
    others = [entry for entry in predictions if entry["for_optimality"]]
    assert len(predictions) == 5
    assert [(entry["global index"], entry["prediction"]) for entry in others] == [
        ("A_2", "gpt-4o-mini"),
        ("A_3", "gpt-4o"),
    ]


def test_robustness_is_the_share_of_decisions_that_stay() -> None:
    before = arena_predictions(router(), QUERIES, knob=KNOB, optimality={"A_1"}, **NAMES)
    changed = [ArenaQuery("A_1", "hardly easy"), ArenaQuery("A_2", "hard"), ArenaQuery("B_9", "new")]
    assert arena_robustness(before, arena_predictions(router(), changed, knob=KNOB, **NAMES)) == 0.5
    assert arena_robustness(before, []) is None


def test_queries_are_read_as_its_data_have_them(tmp_path: Path) -> None:
    path = tmp_path / "router_data_10.json"
    path.write_text(
        json.dumps(
            [
                {"global index": "A_1", "prompt_formatted": "formatted é", "prompt": "plain"},
                {"global index": "A_2", "prompt": "plain"},
            ]
        ),
        encoding="utf-8",
    )
    assert read_arena_queries(path) == (ArenaQuery("A_1", "formatted é"), ArenaQuery("A_2", "plain"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "a list of queries"),
        ('[{"global index": "A"}]', "entry 1: no .* no prompt"),
        ('[{"prompt": "x"}]', "entry 1"),
        ('["x"]', "entry 1"),
        ('[{"global index": "A", "prompt": "x"}, {"global index": "A", "prompt": "y"}]', "twice"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(content)
    with pytest.raises(OutcomeError, match=message):
        read_arena_queries(path)
    with pytest.raises(OutcomeError, match="cannot be read"):
        read_arena_queries(tmp_path / "none.json")


def test_two_models_have_two_names() -> None:
    with pytest.raises(OutcomeError, match="nothing can be routed"):
        arena_config("ours", small_model="a", large_model="a")
