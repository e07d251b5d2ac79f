"""Shares, permutation tests and Holm's correction, on known values and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared_router.evaluation.disparity import holm, mean_p_value, rate_of, share_p_value

SHUFFLES = 199


def test_wilsons_interval_has_its_known_values() -> None:
    # Newcombe 1998 (Stat. Med. 17: 857–872), table I, method 3
    rate = rate_of(81, 263, 0.95)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.2553, 0.3662)
    rate = rate_of(15, 148, 0.95)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.0624, 0.1605)
    rate = rate_of(0, 20, 0.95)
    assert (rate.low, round(rate.high, 4)) == (0.0, 0.1611)
    assert (rate_of(29, 29, 0.95).high, round(rate_of(29, 29, 0.95).low, 4)) == (1.0, 0.8830)


def test_more_coverage_is_a_wider_interval() -> None:
    wide, narrow = rate_of(7, 30, 0.99), rate_of(7, 30, 0.8)
    assert wide.low < narrow.low < narrow.share < narrow.high < wide.high


def test_holm_has_its_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_of_two_groups_the_share_test_is_fishers() -> None:
    # tables with the margins 10, 10 and 10 that are at least as uneven as 8 against 2
    exact = 2 * sum(math.comb(10, k) * math.comb(10, 10 - k) for k in (8, 9, 10)) / math.comb(20, 10)
    p = share_p_value(np.array([8, 2]), np.array([10, 10]), permutations=40_000, generator=np.random.default_rng(0))
    assert p == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("small", [[0, 0, 0], [30, 40, 50]])
def test_where_all_get_the_same_nothing_differs(small: list[int]) -> None:
    generator = np.random.default_rng(0)
    assert share_p_value(np.array(small), np.array([30, 40, 50]), permutations=99, generator=generator) == 1.0
    losses = np.full(60, 0.25)
    assert mean_p_value(losses, np.arange(60) % 2, 2, permutations=99, generator=generator) == 1.0
    assert mean_p_value(0 * losses, np.arange(60) % 2, 2, permutations=99, generator=generator) == 1.0


def test_a_clear_difference_has_the_smallest_p_value() -> None:
    generator = np.random.default_rng(0)
    assert share_p_value(np.array([45, 5]), np.array([50, 50]), permutations=999, generator=generator) == 0.001
    place = np.repeat([0, 1], 60)
    losses = (np.arange(120) % 3 == 0).astype(float) * place
    assert mean_p_value(losses, place, 2, permutations=999, generator=generator) == 0.001
    # means that differ, and no spread at all within groups
    assert mean_p_value(place.astype(float), place, 2, permutations=999, generator=generator) == 0.001


def test_many_rows_are_shuffled_in_parts() -> None:
    generator = np.random.default_rng(0)
    place = np.arange(300_000) % 2
    losses = (generator.random(len(place)) < 0.01).astype(float)
    p = mean_p_value(losses, place, 2, permutations=19, generator=generator)
    assert 0.05 <= p <= 1.0
    assert round(p * 20) == pytest.approx(p * 20)


def test_neither_scale_nor_numbering_of_groups_matters() -> None:
    generator = np.random.default_rng(1)
    place = generator.integers(0, 3, 90)
    losses = generator.choice([-1.0, 0.0, 1.0], 90)
    first, scaled = (
        mean_p_value(factor * losses, place, 3, permutations=499, generator=np.random.default_rng(5))
        for factor in (1.0, 7.0)
    )
    assert first == scaled
    renumbered = mean_p_value(losses, 2 - place, 3, permutations=499, generator=np.random.default_rng(5))
    assert renumbered == pytest.approx(first, abs=0.08)


def rejected(groups: list[tuple[int, float, float]], *, rounds: int = 300) -> float:
    """Share of tests at 5 % that find a difference between groups of (size, P(−1), P(+1))."""
    generator = np.random.default_rng(2)
    place = np.repeat(np.arange(len(groups)), [size for size, _, _ in groups])
    found = 0
    for _ in range(rounds):
        parts = [generator.choice([-1.0, 0.0, 1.0], size, p=[a, 1 - a - b, b]) for size, a, b in groups]
        losses = np.concatenate(parts)
        found += mean_p_value(losses, place, len(groups), permutations=SHUFFLES, generator=generator) <= 0.05
    return found / rounds


def test_equal_groups_are_called_different_at_the_level_only() -> None:
    # 300 rounds: 5 % has a standard error of 1.3 %
    assert rejected([(20, 0.03, 0.06), (60, 0.03, 0.06), (200, 0.03, 0.06)]) <= 0.09


def test_a_wider_spread_is_not_taken_for_a_higher_mean() -> None:
    # the plain statistic calls these different in more than 30 % of the rounds
    assert rejected([(50, 0.15, 0.15), (1000, 0.02, 0.02)], rounds=200) <= 0.12


def test_a_higher_mean_is_found() -> None:
    assert rejected([(100, 0.02, 0.16), (400, 0.02, 0.04)], rounds=100) >= 0.6


def test_equal_shares_are_called_different_at_the_level_only() -> None:
    generator = np.random.default_rng(3)
    sizes = np.array([20, 45, 150])
    found = [
        share_p_value(generator.binomial(sizes, 0.2), sizes, permutations=SHUFFLES, generator=generator) <= 0.05
        for _ in range(500)
    ]
    assert np.mean(found) <= 0.08
