"""Front metrics on values that can be worked out by hand, their invariances and limits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.errors import OutcomeError
from shared_router.evaluation.fronts import hypervolume, inverted_generational_distance, scaled, spread

LINE = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=12)


def test_igd_is_the_mean_way_from_the_reference_to_the_nearest_point() -> None:
    # 0, √2 and 2√2 away from the origin
    assert inverted_generational_distance([[0.0, 0.0]], LINE) == pytest.approx(math.sqrt(2))
    assert inverted_generational_distance([[0.0, 3.0]], [[0.0, 0.0], [4.0, 0.0]]) == pytest.approx(4.0)


def test_igd_over_more_reference_points_than_are_compared_at_once() -> None:
    reference = np.column_stack([np.arange(1500.0), np.zeros(1500)])
    assert inverted_generational_distance([[0.0, 0.0]], reference) == pytest.approx(1499 / 2)


@given(POINTS, POINTS)
def test_igd_falls_with_more_points_and_is_0_on_the_reference_itself(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    assert inverted_generational_distance(first + second, second) == 0.0
    assert inverted_generational_distance(first[:1], second) >= inverted_generational_distance(first, second)


def test_spread_is_0_for_even_gaps_between_the_right_ends() -> None:
    assert spread(LINE, LINE) == pytest.approx(0.0)


def test_spread_by_hand() -> None:
    # along the cost axis: points 0, 1, 4 of a reference 0 … 6: d_f = 0, d_l = 2, d̄ = 2, nearest 1, 1, 3
    points = [[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]]
    assert spread(points, [[0.0, 0.0], [6.0, 0.0]]) == pytest.approx((2 + 1 + 1 + 1) / (2 + 2 * 2))


@given(POINTS, st.randoms(use_true_random=False), st.floats(0.1, 10))
def test_spread_does_not_depend_on_order_and_unit(points: list[tuple[int, int]], random: object, unit: float) -> None:
    points = sorted({*points, (0, 0), (9, 9)})
    mixed = list(points)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert spread(mixed, LINE) == pytest.approx(spread(points, LINE))
    assert spread(np.array(points) * unit, np.array(LINE) * unit) == pytest.approx(spread(points, LINE))


def test_hypervolume_by_hand() -> None:
    # to the corner (4, 0): 1 high from cost 1 to 2, 3 high from 2 to 4
    assert hypervolume([[1.0, 1.0], [2.0, 3.0]], cost=4.0, quality=0.0) == pytest.approx(1 + 6)
    # a dominated point, one at the corner's quality and one beyond its cost add nothing
    more = [[2.0, 3.0], [3.0, 2.0], [0.0, 0.0], [1.0, 1.0], [9.0, 9.0]]
    assert hypervolume(more, cost=4.0, quality=0.0) == pytest.approx(7.0)
    assert hypervolume([[5.0, 1.0]], cost=4.0, quality=0.0) == 0.0
    assert hypervolume([[1.0, -1.0]], cost=4.0, quality=0.0) == 0.0


@given(POINTS)
def test_hypervolume_counts_the_cells_that_are_dominated(points: list[tuple[int, int]]) -> None:
    cells = sum(any(c <= x and q > y for c, q in points) for x in range(7) for y in range(1, 8))
    assert hypervolume(points, cost=7.0, quality=1.0) == pytest.approx(cells)


@given(POINTS, POINTS)
def test_hypervolume_never_falls_with_more_points(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    assert hypervolume(first + second, cost=7.0, quality=1.0) >= hypervolume(first, cost=7.0, quality=1.0) - 1e-12


def test_scaled_puts_the_reference_into_the_unit_square() -> None:
    reference = [[100.0, 0.5], [300.0, 0.7]]
    assert scaled(reference, reference) == pytest.approx(np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert scaled([[200.0, 0.8]], reference) == pytest.approx(np.array([[0.5, 1.5]]))


def test_bad_input_is_named() -> None:
    wrong: list[tuple[npt.ArrayLike, str]] = [
        ([1.0, 2.0], "shape"),
        ([[1.0, 2.0, 3.0]], "shape"),
        (np.empty((0, 2)), "at least"),
        ([[1.0, math.nan], [0.0, 0.0]], "NaN"),
    ]
    for points, said in wrong:
        with pytest.raises(OutcomeError, match=said):
            inverted_generational_distance(points, LINE)
        with pytest.raises(OutcomeError, match=said):
            inverted_generational_distance(LINE, points)
        with pytest.raises(OutcomeError, match=said):
            spread(points, LINE)
        with pytest.raises(OutcomeError, match=said):
            hypervolume(points, cost=1.0, quality=0.0)
        with pytest.raises(OutcomeError, match=said):
            scaled(points, LINE)
    with pytest.raises(OutcomeError, match="corner"):
        hypervolume(LINE, cost=math.inf, quality=0.0)
    with pytest.raises(OutcomeError, match="at least 2"):
        spread(LINE[:1], LINE)
    with pytest.raises(OutcomeError, match="coincide"):
        spread([[1.0, 1.0], [1.0, 1.0]], LINE)
    with pytest.raises(OutcomeError, match="nothing to scale by"):
        scaled(LINE, [[0.0, 1.0], [1.0, 1.0]])
