"""Hybrid LLM's labels on values that can be worked out by hand, against the naive formulas, and on bad input."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared_router.errors import OutcomeError
from shared_router.labeling.labels import (
    best_transformation,
    default_grid,
    deterministic_labels,
    gini_mean_difference,
    probabilistic_labels,
    transformed_labels,
)

SMALL = np.array([[1.0, 3.0], [5.0, 1.0], [2.0, 2.0]])
LARGE = np.array([[2.0, 4.0, 1.0], [5.0, 6.0, 7.0], [9.0, 8.0, 7.0]])


@st.composite
def qualities(draw: st.DrawFn) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    # whole numbers: sums and differences are exact, ties are many
    queries = draw(st.integers(1, 8))
    sides = [
        draw(hnp.arrays(np.float64, (queries, draw(st.integers(1, 5))), elements=st.integers(-9, 9).map(float)))
        for _ in range(2)
    ]
    return sides[0], sides[1]


def test_the_deterministic_label_looks_at_the_first_sample_only() -> None:
    assert deterministic_labels(SMALL, LARGE).tolist() == [0.0, 1.0, 0.0]
    assert deterministic_labels(SMALL[:, ::-1], LARGE).tolist() == [1.0, 0.0, 0.0]


def test_the_probabilistic_label_counts_all_cross_pairs() -> None:
    # query 0: 1 beats {1}, 3 beats {2, 1}: 3 of 6; query 1: 5 beats {5}: 1 of 6
    assert probabilistic_labels(SMALL, LARGE).tolist() == pytest.approx([3 / 6, 1 / 6, 0.0])


def test_the_transformed_label_forgives_a_shortfall_of_t() -> None:
    # with t = 1: 1 beats {2, 1}, 3 beats all; 5 beats {5, 6}; 2 beats none of {9, 8, 7}
    assert transformed_labels(SMALL, LARGE, 1.0).tolist() == pytest.approx([5 / 6, 2 / 6, 0.0])
    assert transformed_labels(SMALL, LARGE, 7.0).tolist() == [1.0, 1.0, 1.0]


def test_labels_are_float64_of_one_value_a_query() -> None:
    for labels in (
        deterministic_labels([[1]], [[0]]),
        probabilistic_labels([[True]], [[False]]),
        transformed_labels([[1]], [[2]], 0),
    ):
        assert labels.dtype == np.float64
        assert labels.shape == (1,)


@given(qualities(), st.integers(0, 19))
def test_labels_are_the_naive_double_loop(pair: tuple[npt.NDArray[np.float64], ...], t: int) -> None:
    small, large = pair
    naive = [
        np.mean([[float(s >= b - t) for b in theirs] for s in ours]) for ours, theirs in zip(small, large, strict=True)
    ]
    assert transformed_labels(small, large, t) == pytest.approx(naive)


@given(qualities(), st.integers(0, 19), st.integers(0, 19), st.integers(-50, 50), st.randoms(use_true_random=False))
def test_labels_rise_with_t_and_care_for_neither_a_shift_nor_the_order_of_samples(
    pair: tuple[npt.NDArray[np.float64], ...], t: int, other: int, shift: int, random: object
) -> None:
    small, large = pair
    low, high = sorted((t, other))
    assert (transformed_labels(small, large, low) <= transformed_labels(small, large, high)).all()
    assert (transformed_labels(small + shift, large + shift, t) == transformed_labels(small, large, t)).all()
    assert transformed_labels(small[:, ::-1], large[:, ::-1], t) == pytest.approx(transformed_labels(small, large, t))
    assert transformed_labels(small[::-1], large[::-1], t)[::-1] == pytest.approx(transformed_labels(small, large, t))
    assert (transformed_labels(small, large, 0) == probabilistic_labels(small, large)).all()
    assert (transformed_labels(small, large, 18) == 1.0).all()


@given(qualities())
def test_one_sample_each_makes_the_probabilistic_label_deterministic(
    pair: tuple[npt.NDArray[np.float64], ...],
) -> None:
    small, large = pair[0][:, :1], pair[1][:, :1]
    assert (probabilistic_labels(small, large) == deterministic_labels(small, large)).all()


@given(qualities())
def test_both_sides_together_win_or_tie(pair: tuple[npt.NDArray[np.float64], ...]) -> None:
    small, large = pair
    ties = (small[:, :, None] == large[:, None, :]).mean(axis=(1, 2))
    assert probabilistic_labels(small, large) + probabilistic_labels(large, small) == pytest.approx(1.0 + ties)


def test_a_chunk_border_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    small, large = generator.random((11, 3)), generator.random((11, 2))
    whole = transformed_labels(small, large, 0.1)
    monkeypatch.setattr("shared_router.labeling.labels.COMPARISONS_AT_ONCE", 13)
    assert (transformed_labels(small, large, 0.1) == whole).all()


def test_the_gini_mean_difference_of_known_labels() -> None:
    assert gini_mean_difference([0.0, 1.0]) == pytest.approx(0.5)
    assert gini_mean_difference([0.0, 0.5, 1.0]) == pytest.approx(4 / 9)
    assert gini_mean_difference([0.3]) == 0.0
    assert gini_mean_difference(np.full(7, 0.1)) == 0.0
    # hard labels of which a share p is 1: 2p(1 − p)
    assert gini_mean_difference([1.0] * 3 + [0.0] * 7) == pytest.approx(2 * 0.3 * 0.7)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(-5, 5))
def test_the_gini_mean_difference_is_the_naive_double_sum(values: list[float], shift: float) -> None:
    labels = np.array(values)
    naive = np.abs(labels[:, None] - labels[None, :]).mean()
    assert gini_mean_difference(labels) == pytest.approx(naive, abs=1e-12)
    assert gini_mean_difference(labels[::-1] + shift) == pytest.approx(naive, abs=1e-12)
    assert 0.0 <= gini_mean_difference(labels) <= 0.5 + 1e-12


def test_the_best_t_spreads_the_labels_most() -> None:
    # shortfalls of 1, 2, 3 and 4: forgiving two of four makes half of the labels 1
    small, large = np.zeros((4, 1)), np.array([[1.0], [2.0], [3.0], [4.0]])
    best = best_transformation(small, large, grid=[4.0, 0.0, 3.0, 2.0, 1.0, 2.5])
    assert best.t == 2.0
    assert best.labels.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert best.spread == pytest.approx(0.5)
    assert not best.collapsed


@given(qualities(), st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_no_t_of_the_grid_spreads_more_and_no_smaller_as_much(
    pair: tuple[npt.NDArray[np.float64], ...], grid: list[int]
) -> None:
    best = best_transformation(*pair, grid=grid)
    spreads = {t: gini_mean_difference(transformed_labels(*pair, t)) for t in grid}
    assert best.spread == pytest.approx(max(spreads.values()), abs=1e-12)
    assert best.t == min(t for t, spread in spreads.items() if spread >= max(spreads.values()) - 1e-12)
    assert (best.labels == transformed_labels(*pair, best.t)).all()


def test_the_labels_collapse_with_binary_qualities() -> None:
    generator = np.random.default_rng(1)
    small, large = (generator.random((50, 4)) < 0.3).astype(float), (generator.random((50, 4)) < 0.9).astype(float)
    best = best_transformation(small, large, grid=np.linspace(0.0, 1.0, 21))
    assert best.collapsed
    assert best.t == 0.0
    assert (best.labels == probabilistic_labels(small, large)).all()
    for t in (1e-9, 0.5, 1.0 - 1e-9):
        assert (transformed_labels(small, large, t) == probabilistic_labels(small, large)).all()
    # 0 is not in the grid: the smallest of the equally good ones stands for it
    assert best_transformation(small, large, grid=[0.7, 0.2]).collapsed


def test_the_transformation_gives_a_hopeless_small_model_its_spread_back() -> None:
    # the case of the paper: the large model wins nearly always, and r_prob is 0 nearly everywhere
    generator = np.random.default_rng(2)
    hardness = generator.random((500, 1))
    large = generator.normal(0.0, 0.05, (500, 10))
    small = -0.3 - hardness + generator.normal(0.0, 0.05, (500, 10))
    prob = probabilistic_labels(small, large)
    best = best_transformation(small, large, grid=default_grid(small, large))
    assert (prob < 0.05).mean() > 0.9
    assert gini_mean_difference(prob) < 0.05
    assert best.spread > 0.4
    # easier queries get higher labels
    assert np.corrcoef(best.labels, hardness.ravel())[0, 1] < -0.8


def test_the_default_grid_runs_from_nothing_to_the_largest_gap() -> None:
    grid = default_grid(SMALL, LARGE, points=8)
    assert grid.tolist() == pytest.approx(np.linspace(0.0, 7.0, 8).tolist())
    assert (transformed_labels(SMALL, LARGE, grid[-1]) == 1.0).all()
    assert default_grid(LARGE + 9, SMALL).tolist() == [0.0]
    assert len(default_grid(SMALL, LARGE)) == 50


def test_ten_thousand_queries_of_ten_samples_take_no_time() -> None:
    generator = np.random.default_rng(0)
    small, large = generator.random((10_000, 10)), generator.random((10_000, 10))
    start = time.perf_counter()
    probabilistic_labels(small, large)
    # the limit only catches a loop over pairs
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("small", "large", "found"),
    [
        ([[np.nan]], [[0.0]], "small has 1 of 1 values that are NaN"),
        ([[0.0]], [[0.0, np.inf]], "large has 1 of 2 values"),
        ([0.0, 1.0], [[0.0], [1.0]], r"got \(2,\); for one answer a query"),
        ([[0.0]], np.zeros((1, 1, 1)), r"large has shape .* got \(1, 1, 1\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no queries"),
        (np.zeros((3, 0)), np.zeros((3, 2)), "no samples"),
        (np.zeros((3, 2)), np.zeros((4, 2)), "got 3 of small and 4 of large"),
        ([[0.0], [0.0, 1.0]], [[0.0], [0.0]], "small is no array of numbers"),
        ([["good"]], [[0.0]], "small is no array of numbers"),
    ],
)
def test_bad_qualities_are_named(small: npt.ArrayLike, large: npt.ArrayLike, found: str) -> None:
    for call in (
        deterministic_labels,
        probabilistic_labels,
        default_grid,
        lambda a, b: transformed_labels(a, b, 0.1),
        lambda a, b: best_transformation(a, b, grid=[0.0]),
    ):
        with pytest.raises(OutcomeError, match=found):
            call(small, large)


@pytest.mark.parametrize(
    ("grid", "found"),
    [([], "at least one t"), (0.5, r"shape \(\)"), ([-0.1], "got -0.1"), ([np.nan], "NaN"), ([[0.0]], r"\(1, 1\)")],
)
def test_bad_grids_are_named(grid: npt.ArrayLike, found: str) -> None:
    with pytest.raises(OutcomeError, match=found):
        best_transformation(SMALL, LARGE, grid=grid)


def test_bad_settings_are_named() -> None:
    with pytest.raises(OutcomeError, match="t ≥ 0, got -1"):
        transformed_labels(SMALL, LARGE, -1.0)
    with pytest.raises(OutcomeError, match="t is one number"):
        transformed_labels(SMALL, LARGE, [0.0, 1.0])  # type: ignore[arg-type]
    with pytest.raises(OutcomeError, match="at least 2 points, got 1"):
        default_grid(SMALL, LARGE, points=1)
    with pytest.raises(OutcomeError, match=r"got \(0,\)"):
        gini_mean_difference([])
    with pytest.raises(OutcomeError, match="1 of 2"):
        gini_mean_difference([0.0, np.nan])


def test_importing_loads_numpy_only() -> None:
    code = "import sys, shared_router.labeling.labels as _; print(*{'torch', 'pandas', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
