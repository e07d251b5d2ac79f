"""APGR and CPT on values that can be worked out by hand, and their invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import (
    apgr,
    cpt,
    mean_apgr,
    operating_curve,
    paired_bootstrap,
    random_apgr_deviation,
)

SMALL = np.array([0.0, 0.0, 1.0, 1.0])
LARGE = np.array([1.0, 1.0, 1.0, 1.0])


def test_the_best_order_of_four_queries_has_apgr_three_quarters() -> None:
    # PGR reaches 1 at share 0.5: a triangle of 0.25 and a rectangle of 0.5
    assert apgr([4, 3, 2, 1], SMALL, LARGE) == pytest.approx(0.75)


def test_the_worst_order_has_apgr_one_quarter() -> None:
    assert apgr([1, 2, 3, 4], SMALL, LARGE) == pytest.approx(0.25)


def test_a_constant_score_guesses() -> None:
    assert apgr(np.zeros(4), SMALL, LARGE) == pytest.approx(0.5)


def test_a_tied_block_is_worth_the_mean_over_its_orders() -> None:
    orders = [[4.0, 3.1, 3.0, 1.0], [4.0, 3.0, 3.1, 1.0]]
    mean = np.mean([apgr(order, [0, 0, 1, 0.5], [1, 1, 0, 1]) for order in orders])
    assert apgr([4.0, 3.0, 3.0, 1.0], [0, 0, 1, 0.5], [1, 1, 0, 1]) == pytest.approx(mean)


def test_routing_can_beat_always_large() -> None:
    # the large model is wrong where the small one is right
    assert apgr([3, 2, 1], [0, 0, 1], [1, 1, 0]) > 1.0


@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.floats(0, 1, width=16), st.floats(0, 1, width=16)), min_size=2, max_size=40
    )
)
def test_apgr_keeps_under_rising_maps_and_turns_round_with_the_score(rows: list[tuple[int, float, float]]) -> None:
    score, small, large = np.array(rows, dtype=float).T
    if abs(large.mean() - small.mean()) < 1e-3:
        return
    plain = apgr(score, small, large)
    assert apgr(np.exp(score), small, large) == pytest.approx(plain)
    assert apgr(-score, small, large) == pytest.approx(1.0 - plain)
    assert mean_apgr(score, [small, small], [large, large]) == pytest.approx(plain)


def test_the_curve_runs_from_never_to_always_large() -> None:
    curve = operating_curve([3, 1, 3, 2], SMALL, LARGE)
    assert curve.threshold.tolist() == [np.inf, 3, 2, 1]
    assert curve.large_share.tolist() == [0.0, 0.5, 0.75, 1.0]
    assert curve.pgr.tolist() == [0.0, 0.5, 0.5, 1.0]
    assert curve.quality.tolist() == [0.5, 0.75, 0.75, 1.0]


def test_routellms_sweep_on_ten_queries_with_one_gain() -> None:
    score = np.arange(11.0)
    small, large = np.zeros(11), np.zeros(11)
    large[10] = 1.0
    # the edges are 0 … 10: shares 11/11, 10/11 … 2/11 with PGR 1, and the last edge sends none, which leaves 0
    assert apgr(score, small, large, method="routellm") == pytest.approx(9 / 11 + (2 / 11) / 2)


def test_routellms_sweep_refuses_tied_deciles() -> None:
    with pytest.raises(OutcomeError, match="integral"):
        apgr(np.zeros(20), np.zeros(20), np.ones(20), method="routellm")


@pytest.mark.parametrize(
    ("difficulty", "small", "large", "message"),
    [
        ([1, 2], [0, 0, 0], [1, 1, 1], "one shape"),
        ([], [], [], "n ≥ 1"),
        ([[1, 2]], [[0, 0]], [[1, 1]], "one shape"),
        ([1, np.nan], [0, 0], [1, 1], "difficulty has 1 values"),
        ([1, 2], [0, np.nan], [1, 1], "small_quality"),
        ([1, 2], [0, 1], [1, 0], "no gap"),
    ],
)
def test_bad_input_says_what_is_wrong(difficulty: object, small: object, large: object, message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        apgr(difficulty, small, large)  # type: ignore[arg-type]


def test_the_bootstrap_is_seeded_and_sees_a_clear_difference() -> None:
    generator = np.random.default_rng(1)
    gain = generator.random(400)
    small, large = np.zeros(400), gain
    good, bad = gain + 0.1 * generator.random(400), generator.random(400)
    interval = paired_bootstrap(good, bad, [small], [large], resamples=200, seed=3)
    assert interval == paired_bootstrap(good, bad, [small], [large], resamples=200, seed=3)
    assert 0.0 < interval.low < interval.estimate < interval.high
    assert interval.estimate == pytest.approx(apgr(good, small, large) - apgr(bad, small, large))


def test_a_score_does_not_differ_from_itself() -> None:
    interval = paired_bootstrap([1, 2, 3, 3], [1, 2, 3, 3], [SMALL], [LARGE], resamples=50)
    assert (interval.estimate, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_a_query_counts_only_for_the_pairs_that_were_asked() -> None:
    asked = np.array([True, True, True, False])
    some = np.where(asked, SMALL, np.nan)
    score = np.array([4.0, 1.0, 2.0, 3.0])
    expected = (apgr(score, SMALL, LARGE) + apgr(score[asked], SMALL[asked], LARGE[asked])) / 2
    assert mean_apgr(score, [SMALL, some], [LARGE, LARGE]) == pytest.approx(expected)
    assert paired_bootstrap(score, -score, [some], [LARGE], resamples=20).low < 1.0


def test_pairs_must_match() -> None:
    with pytest.raises(OutcomeError, match="per pair"):
        mean_apgr([1, 2], [[0, 0]], [])
    with pytest.raises(OutcomeError, match="one shape"):
        mean_apgr([1, 2], [[0, 0, 0]], [[1, 1, 1]])


@pytest.mark.parametrize("settings", [{"resamples": 0}, {"level": 1.0}])
def test_the_bootstrap_checks_its_settings(settings: dict[str, float]) -> None:
    with pytest.raises(OutcomeError, match="resamples"):
        paired_bootstrap([1, 2], [2, 1], [[0, 0]], [[1, 1]], **settings)  # type: ignore[arg-type]


def test_cpt_is_the_first_large_share_that_reaches_the_target() -> None:
    # PGR rises to 1 at share 0.5
    assert cpt([4, 3, 2, 1], SMALL, LARGE, 0.5) == pytest.approx(0.25)
    assert cpt([4, 3, 2, 1], SMALL, LARGE, 1.0) == pytest.approx(0.5)
    assert cpt([4, 3, 2, 1], SMALL, LARGE, 0.0) == 0.0
    assert cpt([1, 2, 3, 4], SMALL, LARGE, 0.5) == pytest.approx(0.75)


@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
def test_the_cpt_of_a_constant_is_the_target(target: float) -> None:
    assert cpt(np.zeros(4), SMALL, LARGE, target) == pytest.approx(target)


def test_where_the_quality_turns_back_the_first_crossing_counts_and_routellms_code_differs() -> None:
    # along falling difficulty six gains, four losses, ten gains
    score = np.arange(20.0)[::-1]
    gains = np.repeat([1.0, -1.0, 1.0], [6, 4, 10])
    small, large = (gains < 0).astype(float), (gains > 0).astype(float)
    # 12 are gained in all: half of them after six queries, and again after fourteen, where the binary search of
    # numpy.interp ends
    assert cpt(score, small, large, 0.5) == pytest.approx(6 / 20)
    assert cpt(score, small, large, 0.5, method="routellm") == pytest.approx(14 / 20)


def test_routellms_cpt_is_interpolated_between_the_edges_of_the_deciles() -> None:
    # eleven queries: edge by edge one more goes to large, but for the last step of two
    score, small = np.arange(11.0), np.zeros(11)
    large = np.ones(11)
    shares = np.array([0, *range(2, 12)]) / 11
    for target in (0.1, 0.5, 0.8):
        expected = float(np.interp(target, shares, shares))
        assert cpt(score, small, large, target, method="routellm") == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("target", [-0.1, 1.1, np.nan])
def test_a_cpt_target_is_a_share(target: float) -> None:
    with pytest.raises(OutcomeError, match="PGR from 0 to 1"):
        cpt([1, 2], [0, 0], [1, 1], target)


def test_of_a_loss_no_part_can_be_reached() -> None:
    with pytest.raises(OutcomeError, match="worse on average"):
        cpt([1, 2], [1, 1], [0, 0], 0.5)


def test_the_deviation_of_guessing_by_hand() -> None:
    # two queries, one gain: APGR is 1/4 or 3/4
    assert random_apgr_deviation([0, 0], [1, 0]) == pytest.approx(0.25)
    assert random_apgr_deviation([0, 0, 0], [1, 1, 1]) == 0.0
    with pytest.raises(OutcomeError, match="no gap"):
        random_apgr_deviation([0, 1], [1, 0])
