"""AUC, Brier score and calibration on known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.errors import OutcomeError
from shared_router.evaluation.shortfall import brier_score, calibration, shortfall_auc


def pairs_auc(score: np.ndarray, short: np.ndarray) -> float:
    """By counting all pairs."""
    above = score[short][:, None] - score[~short]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def test_the_auc_of_orders_that_are_right_wrong_and_tied() -> None:
    small, large = [0, 0, 1, 1], [1, 1, 1, 1]
    assert shortfall_auc([4, 3, 2, 1], small, large) == 1.0
    assert shortfall_auc([1, 2, 3, 4], small, large) == 0.0
    assert shortfall_auc([7, 7, 7, 7], small, large) == 0.5
    assert shortfall_auc([3, 2, 2, 1], small, large) == pytest.approx(7 / 8)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_the_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    score, short = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if short.all() or not short.any():
        return
    assert shortfall_auc(score, ~short, np.ones(len(rows))) == pytest.approx(pairs_auc(score, short))


def test_with_one_class_there_is_no_auc() -> None:
    with pytest.raises(OutcomeError, match="0 of 2 queries"):
        shortfall_auc([1, 2], [1, 1], [0, 1])
    with pytest.raises(OutcomeError, match="2 of 2 queries"):
        shortfall_auc([1, 2], [0, 0], [1, 1])


def test_brier() -> None:
    assert brier_score([0, 1, 0.5], [0, 1, 1]) == pytest.approx(0.25 / 3)


def test_ece_by_hand() -> None:
    # two bins of two: 0.1 against 0.5, 0.9 against 1
    found = calibration([0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1], bins=2)
    assert found.ece == pytest.approx((0.4 + 0.1) / 2)
    assert [one.rows for one in found.bins] == [2, 2]
    assert [one.observed for one in found.bins] == [0.5, 1.0]
    # ((0.16 − 0.25/1) + (0.01 − 0)) / 2 is below 0: scatter explains all
    assert found.debiased == 0.0
    assert found.brier == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert found.brier_constant == pytest.approx(0.75 * 0.25)


def test_a_calibrated_difficulty_shows_its_floor_and_a_shifted_one_its_shift() -> None:
    generator = np.random.default_rng(0)
    true = generator.random(4000)
    short = generator.random(4000) < true
    fair, off = calibration(true, short), calibration(np.clip(true * 0.6, 0, 1), short)
    assert fair.ece == pytest.approx(fair.floor, abs=0.01)
    assert fair.debiased < 0.02
    assert off.ece > 5 * off.floor
    assert off.debiased > 0.15


def test_bins_hold_equal_mass_and_never_part_ties() -> None:
    found = calibration(np.linspace(0, 1, 100), np.zeros(100))
    assert [one.rows for one in found.bins] == [10] * 10
    tied = np.repeat([0.2, 0.4], [95, 5])
    order = np.random.default_rng(0).permutation(100)
    short = np.arange(100) % 2
    found = calibration(tied, short)
    assert [one.rows for one in found.bins] == [95, 5]
    assert found.ece == pytest.approx(calibration(tied[order], short[order]).ece)
    assert len(calibration(np.full(7, 0.3), np.ones(7)).bins) == 1


def test_the_interval_of_a_bin_stays_in_range_and_holds_the_share() -> None:
    found = calibration(np.linspace(0, 1, 40), np.arange(40) >= 20, bins=4)
    for one in found.bins:
        assert 0.0 <= one.low <= one.observed <= one.high <= 1.0
        assert one.low < one.high


@pytest.mark.parametrize(
    ("difficulty", "short", "bins", "message"),
    [
        ([1.2], [1], 10, "difficulty is a probability"),
        ([0.2], [2], 10, "falls_short is a probability"),
        ([0.2], [1], 0, "at least one bin"),
        ([0.2, 0.3], [1], 10, "one shape"),
    ],
)
def test_what_is_no_forecast(difficulty: list[float], short: list[float], bins: int, message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        calibration(difficulty, short, bins=bins)
