"""AutoMix' and RouterBench's figures on values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.errors import OutcomeError
from shared_router.evaluation.costs import (
    Costs,
    aiq,
    benefit_lift,
    constant_costs,
    cost_points,
    costs_from,
    incremental_benefit,
    non_decreasing_hull,
)
from shared_router.tables.labeled import LabeledPrompt, labeled_from

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


def test_benefit_per_cost_and_its_lift() -> None:
    assert incremental_benefit(0.8, 3.0, 0.5, 1.0) == pytest.approx(0.15)
    ends = {"small_quality": 0.5, "small_cost": 1.0, "large_quality": 0.9, "large_cost": 5.0}
    assert benefit_lift(0.8, 3.0, **ends) == pytest.approx(0.5)
    # a mixture at random lies on the line
    assert benefit_lift(0.7, 3.0, **ends) == pytest.approx(0.0)
    assert benefit_lift(0.9, 5.0, **ends) == pytest.approx(0.0)
    with pytest.raises(OutcomeError, match="undefined"):
        incremental_benefit(0.8, 1.0, 0.5, 1.0)
    with pytest.raises(OutcomeError, match="same mean quality"):
        benefit_lift(0.8, 3.0, **{**ends, "large_quality": 0.5})


def test_the_hull_drops_what_is_dominated_or_under_a_line() -> None:
    points = [(0, 1), (1, 2), (2, 5), (3, 4), (4, 6), (2, 3), (6, 5)]
    assert non_decreasing_hull(points).tolist() == [[0, 1], [2, 5], [4, 6]]
    assert non_decreasing_hull([(2, 3), (1, 3)]).tolist() == [[1, 3]]


@given(POINTS)
def test_the_hull_lies_on_or_above_all_points_and_bends_down(points: list[tuple[int, int]]) -> None:
    hull = non_decreasing_hull(points)
    cost, quality = np.array(points, dtype=float).T
    assert (np.interp(cost, hull[:, 0], hull[:, 1]) >= quality - 1e-9).all()
    steps = np.diff(hull, axis=0)
    assert (steps > 0).all()
    slopes = steps[:, 1] / steps[:, 0]
    assert (np.diff(slopes) < 0).all()
    assert {tuple(corner) for corner in hull.tolist()} <= {(float(x), float(y)) for x, y in points}


def test_aiq_is_the_mean_height_of_the_hull() -> None:
    assert aiq([(0, 0), (2, 1)], low=0, high=2) == pytest.approx(0.5)
    # level beyond the dearest point
    assert aiq([(0, 0), (2, 1)], low=0, high=4) == pytest.approx((1 + 2) / 4)
    assert aiq([(0, 0), (2, 1), (1, 1)], low=0, high=2) == pytest.approx(0.75)
    assert aiq([(0, 0), (2, 1)], low=1, high=2) == pytest.approx(0.75)
    for low, high in ((2, 2), (-1, 2)):
        with pytest.raises(OutcomeError, match="range of costs"):
            aiq([(0, 0), (2, 1)], low=low, high=high)
    with pytest.raises(OutcomeError, match=r"shape \(k, 2\)"):
        aiq([1, 2], low=0, high=1)


def test_points_of_a_route() -> None:
    costs = Costs(np.array([1.0, 3.0]), np.array([5.0, 11.0]))
    points = cost_points([2, 1], [0, 0], [1, 0], costs, [0.0, 0.5, 1.0])
    assert points == pytest.approx(np.array([[2, 0], [4, 0.5], [8, 0.5]]))
    with pytest.raises(OutcomeError, match="one shape"):
        cost_points([1], [0], [1], costs, [0.5])


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        ([1.0], [1.0], "no dearer"),
        ([-1.0], [2.0], "≥ 0"),
        ([1.0, 1.0], [2.0], "one shape"),
        ([np.nan], [2.0], "NaN"),
    ],
)
def test_costs_are_checked(small: list[float], large: list[float], message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        Costs(np.array(small), np.array(large))


def test_costs_come_from_the_file() -> None:
    def labeled(*rows: dict[str, object]) -> object:
        return labeled_from([LabeledPrompt(f"p{i}", (0.0,), (1.0,), row) for i, row in enumerate(rows)])

    found = costs_from(labeled({"small_cost": 1, "large_cost": "4.5"}, {"small_cost": 0.5, "large_cost": 3}))
    assert found is not None
    assert (found.small.tolist(), found.large.tolist()) == ([1.0, 0.5], [4.5, 3.0])
    assert costs_from(labeled({"task": "x"})) is None
    with pytest.raises(OutcomeError, match="not both"):
        costs_from(labeled({"small_cost": 1}))
    for bad in ("dear", None, True):
        with pytest.raises(OutcomeError, match="large_cost is a number"):
            costs_from(labeled({"small_cost": 1, "large_cost": 2}, {"small_cost": 1, "large_cost": bad}))
    assert constant_costs(2, 1, 2).extra.tolist() == [1.0, 1.0]
