"""Targets on marks that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.training.targets import centred, fail_rate, gap, item_difficulty, source_weights, standardised

# two weak models, two strong ones; the last query was put to the strong ones only
MARKS = np.array([[0, 0, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [np.nan, np.nan, 1, 0]], dtype=float)


def test_fail_rate_and_gap() -> None:
    assert fail_rate(MARKS).tolist() == [1.0, 0.5, 1.0, 0.0, 0.5]
    assert gap(MARKS).tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]


def test_a_model_that_was_never_asked_is_left_out() -> None:
    with_silent = np.concatenate([MARKS, np.full((5, 1), np.nan)], axis=1)
    assert gap(with_silent).tolist() == gap(MARKS).tolist()


def test_targets_do_not_depend_on_the_order_of_the_models() -> None:
    assert gap(MARKS[:, ::-1]).tolist() == gap(MARKS).tolist()


@pytest.mark.parametrize("marks", [np.zeros((3, 1)), np.zeros(3), np.full((2, 2), np.nan)])
def test_marks_without_enough_in_them_are_refused(marks: np.ndarray) -> None:
    with pytest.raises(OutcomeError):
        gap(marks)


def test_rasch_difficulty_follows_the_fail_rate_and_survives_gaps() -> None:
    difficulty = item_difficulty(MARKS)
    assert difficulty[2] > difficulty[0] > difficulty[1] > difficulty[3]
    assert np.isfinite(difficulty).all()


def test_rasch_recovers_simulated_difficulties() -> None:
    generator = np.random.default_rng(0)
    true, ability = generator.normal(size=400), generator.normal(size=40)
    marks = (generator.random((400, 40)) < 1 / (1 + np.exp(true[:, None] - ability))).astype(float)
    assert np.corrcoef(item_difficulty(marks), true)[0, 1] > 0.9


def test_only_differences_within_a_group_are_left() -> None:
    values, labels = np.array([1.0, 3.0, 10.0, 10.0]), np.array(["a", "a", "b", "b"])
    assert centred(values, labels).tolist() == [-1.0, 1.0, 0.0, 0.0]
    assert standardised(3 * values, labels).tolist() == [-1.0, 1.0, 0.0, 0.0]
    assert centred(np.stack([values, values], axis=1), labels).shape == (4, 2)


def test_source_weights() -> None:
    labels = np.array(["a"] * 3 + ["b"])
    assert source_weights(labels, power=0).tolist() == [1.0] * 4
    even = source_weights(labels, power=1)
    assert even[:3].sum() == pytest.approx(even[3])
    assert even.mean() == pytest.approx(1.0)
