"""Labelled prompts → soft labels, whatever the numbers of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared_router.errors import HybridError, OutcomeError
from shared_router.labeling.labels import (
    best_transformation,
    default_grid,
    deterministic_labels,
    gini_mean_difference,
    probabilistic_labels,
)
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training.soft_labels import RouterExamples, examples_from, label_kind, relaxation


def rectangular(seed: int = 0) -> tuple[LabeledPrompts, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    small, large = generator.normal(-2.0, 0.4, (30, 5)), generator.normal(-1.0, 0.4, (30, 4))
    rows = [LabeledPrompt(f"p{i}", tuple(small[i]), tuple(large[i])) for i in range(30)]
    return labeled_from(rows), small, large


def test_labels_are_those_of_the_papers_formulas() -> None:
    labeled, small, large = rectangular()
    assert np.array_equal(examples_from(labeled, "det", 0.0).labels, deterministic_labels(small, large))
    examples = examples_from(labeled, "prob", 0.0)
    assert np.array_equal(examples.labels, probabilistic_labels(small, large))
    assert examples.texts == labeled.prompts
    assert examples.gap == pytest.approx(small.mean(axis=1) - large.mean(axis=1))


def test_the_relaxation_is_t_star() -> None:
    labeled, small, large = rectangular()
    best = best_transformation(small, large, grid=default_grid(small, large))
    assert best.t > 0.0
    assert relaxation(labeled, "trans") == best.t
    assert np.array_equal(examples_from(labeled, "trans", best.t).labels, best.labels)
    assert relaxation(labeled, "det") == relaxation(labeled, "prob") == 0.0


def ragged() -> LabeledPrompts:
    return labeled_from(
        [
            LabeledPrompt("a", (0.0, 1.0, 0.5), (0.5,)),
            LabeledPrompt("b", (0.2,), (1.0, 0.9)),
            LabeledPrompt("c", (1.0, 0.0, 0.0), (0.5,)),
            LabeledPrompt("d", (0.4,), (0.4,)),
        ]
    )


def test_rows_of_different_numbers_of_samples_are_labelled_in_their_order() -> None:
    labeled = ragged()
    assert examples_from(labeled, "prob", 0.0).labels == pytest.approx([2 / 3, 0.0, 1 / 3, 1.0])
    assert examples_from(labeled, "det", 0.0).labels.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert examples_from(labeled, "trans", 0.5).labels == pytest.approx([1.0, 0.0, 1.0, 1.0])


def test_t_star_of_ragged_rows_spreads_all_labels_together() -> None:
    labeled = ragged()
    found = relaxation(labeled, "trans")
    spread = {
        float(t): gini_mean_difference(examples_from(labeled, "trans", float(t)).labels)
        for t in np.linspace(0.0, 0.8, 50)
    }
    assert found == next(t for t, value in spread.items() if value == pytest.approx(max(spread.values())))


def test_where_the_large_model_never_wins_there_is_nothing_to_relax() -> None:
    labeled = labeled_from([LabeledPrompt("a", (1.0, 1.0), (0.0,)), LabeledPrompt("b", (1.0,), (1.0,))])
    assert relaxation(labeled, "trans") == 0.0


@pytest.mark.parametrize("call", [label_kind, lambda kind: relaxation(ragged(), kind)])
def test_other_kinds_are_refused(call: Callable[[Any], object]) -> None:
    with pytest.raises(HybridError, match="det, prob, trans"):
        call("hard")


@pytest.mark.parametrize(
    ("labels", "gap"),
    [
        ([0.5, 1.5], [0.0, 0.0]),
        ([0.5, -0.1], [0.0, 0.0]),
        ([0.5, np.nan], [0.0, 0.0]),
        ([0.5, 0.5], [0.0, np.inf]),
        ([0.5], [0.0, 0.0]),
    ],
)
def test_examples_that_teach_nothing_are_refused(labels: list[float], gap: list[float]) -> None:
    with pytest.raises(OutcomeError):
        RouterExamples(("a", "b"), np.array(labels), np.array(gap))
    with pytest.raises(OutcomeError):
        RouterExamples((), np.empty(0), np.empty(0))
