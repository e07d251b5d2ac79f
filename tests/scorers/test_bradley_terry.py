"""Ratings from wins, and tiers from ratings, against known values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.scorers.bradley_terry import ratings, sigmoid, tiers, win_matrix


def simulated(strengths: np.ndarray, count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    size = len(strengths)
    first = generator.integers(0, size, count)
    second = (first + generator.integers(1, size, count)) % size
    won = (generator.random(count) < sigmoid(strengths[first] - strengths[second])).astype(np.float64)
    return win_matrix(first, second, won, np.ones(count), size)


def test_two_sides_have_the_odds_of_their_wins() -> None:
    theta = ratings(np.array([[0.0, 3000.0], [1000.0, 0.0]]), penalty=1e-9)
    assert theta[0] - theta[1] == pytest.approx(np.log(3.0))
    assert theta.sum() == pytest.approx(0.0, abs=1e-9)


def test_known_strengths_are_recovered() -> None:
    strengths = np.array([1.2, -0.4, 0.3, -1.1, 0.0])
    assert ratings(simulated(strengths, 40_000, 0)) == pytest.approx(strengths, abs=0.06)


def test_a_tie_is_half_as_in_doubled_battles() -> None:
    # RouteLLM's code doubles each battle, and takes a tie as one win of either side
    first, second, won = np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2]), np.array([1.0, 0.5, 0.5, 0.0])
    doubled = np.concatenate([np.floor(won), np.ceil(won)])
    once = win_matrix(first, second, won, np.ones(4), 3)
    twice = win_matrix(np.tile(first, 2), np.tile(second, 2), doubled, np.ones(8), 3)
    assert ratings(once, penalty=0.1) == pytest.approx(ratings(twice, penalty=0.2), abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 1e4]))
def test_the_slope_is_zero_there_from_any_start(seed: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    wins = generator.random((6, 6)) * 10.0 ** generator.integers(-2, 4, (6, 6))
    np.fill_diagonal(wins, 0.0)
    wins[generator.random((6, 6)) < 0.4] = 0.0
    theta = ratings(wins, penalty=0.1)
    chance = sigmoid(theta[:, None] - theta[None, :])
    slope = (wins - (wins + wins.T) * chance).sum(axis=1) - 0.1 * theta
    assert np.abs(slope).max() <= 1e-6 * max(1.0, wins.max())
    start = np.clip(spread * generator.normal(size=6), -20, 20)
    assert ratings(wins, penalty=0.1, start=start) == pytest.approx(theta, abs=1e-6)


def test_who_never_lost_has_a_finite_rating() -> None:
    theta = ratings(np.array([[0.0, 50.0], [0.0, 0.0]]))
    assert np.isfinite(theta).all()
    assert 3.0 < theta[0] - theta[1] < 10.0


def test_a_tie_is_half_a_win_of_either_and_oneself_is_no_opponent() -> None:
    first, second = np.array([0, 1, 2]), np.array([1, 2, 2])
    wins = win_matrix(first, second, np.array([0.5, 1.0, 1.0]), np.array([2.0, 3.0, 9.0]), 3)
    assert wins.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 3.0], [0.0, 0.0, 0.0]]
    none = np.zeros(0, dtype=np.int64)
    assert win_matrix(none, none, np.zeros(0), np.zeros(0), 2).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_tiers_hold_what_is_alike() -> None:
    rated = np.array([0.1, 5.0, 5.2, -3.0, 0.0, 0.2])
    assert tiers(rated, 3).tolist() == [1, 0, 0, 2, 1, 1]
    assert tiers(rated, 1).tolist() == [0] * 6
    assert tiers(rated, 6).tolist() == tiers(rated, 99).tolist() == [3, 1, 0, 5, 4, 2]


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=7), st.integers(1, 7))
def test_no_other_tiers_have_a_smaller_sum_of_variances(values: list[int], count: int) -> None:
    rated = np.array(values, dtype=np.float64) / 7.0
    count = min(count, len(values))
    tier = tiers(rated, count)
    assert sorted(set(tier.tolist())) == list(range(count))
    ordered = np.sort(rated)[::-1]

    def total(cuts: tuple[int, ...]) -> float:
        return sum(float(part.var()) for part in np.split(ordered, cuts))

    least = min(total(cuts) for cuts in itertools.combinations(range(1, len(values)), count - 1))
    assert sum(float(rated[tier == t].var()) for t in range(count)) == pytest.approx(least, abs=1e-9)
    # a stronger model is never in a weaker tier
    assert (np.diff(tier[np.argsort(-rated, kind="stable")]) >= 0).all()
