"""The labels of prompts with different numbers of answers."""

from __future__ import annotations

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.labeling.label_table import prompt_labels
from shared_router.labeling.labels import (
    best_transformation,
    default_grid,
    deterministic_labels,
    probabilistic_labels,
)
from shared_router.tables.labeled import LabeledPrompt


def prompts(small: np.ndarray, large: np.ndarray) -> list[LabeledPrompt]:
    return [LabeledPrompt("p", tuple(a.tolist()), tuple(b.tolist())) for a, b in zip(small, large, strict=True)]


@pytest.fixture
def qualities() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(-1, 1, (80, 10)), draw.normal(0, 1, (80, 4))


def test_equal_numbers_of_answers_give_the_labels_of_the_arrays(qualities: tuple[np.ndarray, np.ndarray]) -> None:
    found = prompt_labels(prompts(*qualities))
    best = best_transformation(*qualities, grid=default_grid(*qualities))
    assert np.array_equal(found.det, deterministic_labels(*qualities))
    assert np.array_equal(found.prob, probabilistic_labels(*qualities))
    assert np.array_equal(found.trans, best.labels)
    assert (found.t, found.spread, bool(found.collapsed)) == (best.t, best.spread, best.collapsed)
    assert found.grid == tuple(default_grid(*qualities))


def test_repeating_a_prompts_answers_changes_no_label(qualities: tuple[np.ndarray, np.ndarray]) -> None:
    small, large = qualities
    ragged = [
        LabeledPrompt("p", part.small * (1 + i % 3), part.large * (1 + i % 2))
        for i, part in enumerate(prompts(small, large))
    ]
    even, uneven = prompt_labels(prompts(small, large)), prompt_labels(ragged)
    assert uneven.t == even.t
    for name in ("det", "prob", "trans"):
        assert getattr(uneven, name) == pytest.approx(getattr(even, name), abs=1e-12)


def test_the_order_of_the_prompts_is_kept() -> None:
    rows = [
        LabeledPrompt("p", (1.0,), (0.0, 2.0)),
        LabeledPrompt("p", (0.0, 0.0), (1.0,)),
        LabeledPrompt("p", (3.0,), (1.0, 1.0)),
    ]
    found = prompt_labels(rows)
    assert found.det.tolist() == [1.0, 0.0, 1.0]
    assert found.prob.tolist() == [0.5, 0.0, 1.0]
    reversed_labels = prompt_labels(rows[::-1])
    assert reversed_labels.prob.tolist() == [1.0, 0.0, 0.5]
    assert reversed_labels.t == found.t


def test_one_prompt_is_enough_and_none_is_not() -> None:
    assert prompt_labels([LabeledPrompt("p", (0.0,), (1.0,))]).det.tolist() == [0.0]
    with pytest.raises(OutcomeError, match="no prompt"):
        prompt_labels([])
    with pytest.raises(OutcomeError, match="at least 2 points"):
        prompt_labels([LabeledPrompt("p", (0.0,), (1.0,))], grid_points=1)
