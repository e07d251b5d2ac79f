"""APGR on values that can be worked out by hand, its invariances, and RouteLLM's published tables."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import apgr, mean_apgr, operating_curve, paired_bootstrap

DATA = Path(os.environ.get("HYBRID_LLM_DATA", Path(__file__).parents[2] / ".." / "shared" / "data" / "outcomes"))
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


@pytest.mark.shared
@pytest.mark.skipif(not (DATA / "routellm_mmlu.parquet").is_file(), reason="the outcome tables are not there")
@pytest.mark.parametrize(("table", "integral", "sweep"), [("mmlu", 1.285, 1.268), ("gsm8k", 1.121, 1.115)])
def test_the_oracle_on_routellms_tables(table: str, integral: float, sweep: float) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.read_parquet(DATA / f"routellm_{table}.parquet")
    quality = frame.pivot_table(index=["task", "query_id"], columns="model", values="quality")
    small = quality["mistralai/Mixtral-8x7B-Instruct-v0.1"].to_numpy(float)
    large = quality["gpt-4-1106-preview"].to_numpy(float)
    # the published figures leave 5 and 12 questions out that RouteLLM lists as contaminated; the tables have them
    assert apgr(large - small, small, large) == pytest.approx(integral, abs=0.005)
    guesses = np.random.default_rng(0).random((20, len(small)))
    assert np.mean([apgr(guess, small, large) for guess in guesses]) == pytest.approx(0.5, abs=0.02)
    # the sweep needs untied deciles: a hair of noise breaks the ties of the oracle at random
    oracle = [apgr(large - small + 1e-6 * guess, small, large, method="routellm") for guess in guesses]
    assert np.mean(oracle) == pytest.approx(sweep, abs=0.01)
