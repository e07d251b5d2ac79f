"""What routing is worth in money: AutoMix' incremental benefit per cost, RouterBench's hull and AIQ.

A route pays for one model's answer, never for both; costs are of one answer each, in any one currency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.evaluation.sweeps import Ordered, checked, gained_at, spent_at
from shared_router.tables.labeled import LabeledPrompts

__all__ = [
    "Costs",
    "aiq",
    "benefit_lift",
    "constant_costs",
    "cost_points",
    "costs_from",
    "incremental_benefit",
    "non_decreasing_hull",
]

Floats = npt.NDArray[np.float64]

COST_COLUMNS = ("small_cost", "large_cost")


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Cost of each answer.

    Attributes:
        small: Of the small model's answer, ≥ 0, shape (n,).
        large: Of the large model's, on average dearer, shape (n,).

    Raises:
        OutcomeError: Wrong shapes, NaN, a cost below 0, or a large model that is not dearer on average.
    """

    small: Floats
    large: Floats

    def __post_init__(self) -> None:
        """Check both columns, and store them as float64."""
        small, large = checked(small_cost=self.small, large_cost=self.large)
        if (small < 0.0).any() or (large < 0.0).any():
            raise OutcomeError(f"a cost is ≥ 0, got {min(small.min(), large.min()):g}")
        if large.mean() <= small.mean():
            raise OutcomeError(
                f"the large model costs {large.mean():g} on average and the small one {small.mean():g}: where it "
                "is no dearer, no benefit per cost can be stated; check the costs, or leave them out"
            )
        object.__setattr__(self, "small", small)
        object.__setattr__(self, "large", large)

    @property
    def extra(self) -> Floats:
        """Large less small, shape (n,)."""
        difference: Floats = self.large - self.small
        return difference


def constant_costs(n: int, small: float, large: float) -> Costs:
    """The same cost for every answer of a model.

    Args:
        n: Queries.
        small: Mean cost of the small model's answers.
        large: Mean cost of the large model's.

    Raises:
        OutcomeError: A cost below 0, or a large model that is not dearer.
    """
    return Costs(np.full(n, float(small)), np.full(n, float(large)))


def costs_from(labeled: LabeledPrompts) -> Costs | None:
    """The costs that stand in a file of labelled prompts, in its columns ``small_cost`` and ``large_cost``.

    Args:
        labeled: Labelled prompts.

    Returns:
        None if it has neither column.

    Raises:
        OutcomeError: One column without the other, a row without a cost, or a cost that is no number ≥ 0.
    """
    there = [name for name in COST_COLUMNS if name in labeled.columns]
    if not there:
        return None
    if len(there) == 1:
        raise OutcomeError(
            f"there is a column {there[0]} but not both of {' and '.join(COST_COLUMNS)}; give both or none"
        )
    small, large = (np.array([_cost(name, value) for value in labeled.columns[name]]) for name in COST_COLUMNS)
    return Costs(small, large)


def _cost(name: str, value: object) -> float:
    # in CSV all other columns are text
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    raise OutcomeError(f"{name} is a number ≥ 0 in every row, got {value!r:.40}; mend the column, or leave both out")


def cost_points(
    difficulty: npt.ArrayLike,
    small_quality: npt.ArrayLike,
    large_quality: npt.ArrayLike,
    costs: Costs,
    shares: npt.ArrayLike,
) -> Floats:
    """Mean cost and mean quality where given shares of the queries go to the large model; tie-safe.

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).
        costs: Of the same n queries.
        shares: Large shares, in [0, 1], shape (m,).

    Returns:
        Columns cost and quality, shape (m, 2).

    Raises:
        OutcomeError: Wrong shapes or NaN.
    """
    scores, small, large, _ = checked(
        difficulty=difficulty, small_quality=small_quality, large_quality=large_quality, costs=costs.small
    )
    sweep = Ordered(scores, small, large, costs.extra).sweep()
    (at,) = checked(shares=shares)
    return np.stack([costs.small.mean() + spent_at(sweep, at)[0], small.mean() + gained_at(sweep, at)[0]], axis=1)


def incremental_benefit(quality: float, cost: float, small_quality: float, small_cost: float) -> float:
    """IBC: quality gained per unit of cost above always asking the small model (AutoMix, arXiv 2310.12963).

    Args:
        quality: Mean quality of the routed answers.
        cost: Their mean cost.
        small_quality: Mean quality of the small model.
        small_cost: Its mean cost.

    Raises:
        OutcomeError: The route costs what the small model costs; there is nothing to divide by.
    """
    if abs(cost - small_cost) < 1e-15:
        raise OutcomeError("the route costs what the small model costs: benefit per cost is undefined")
    return (quality - small_quality) / (cost - small_cost)


def benefit_lift(
    quality: float, cost: float, *, small_quality: float, small_cost: float, large_quality: float, large_cost: float
) -> float:
    """ΔIBC: how much more a route gains per cost than the line from the small to the large model.

    (IBC − IBC_base) / IBC_base with IBC_base = (q̄_L − q̄_S) / (c̄_L − c̄_S), as in AutoMix' paper and code, whose tables
    print the percent. 0 for a mixture of both models at random, in expectation.

    Args:
        quality: Mean quality of the routed answers.
        cost: Their mean cost.
        small_quality: Mean quality of the small model.
        small_cost: Its mean cost.
        large_quality: Mean quality of the large model.
        large_cost: Its mean cost.

    Returns:
        A fraction; above 0 is better than mixing at random.

    Raises:
        OutcomeError: Equal costs, or models of equal quality.
    """
    base = incremental_benefit(large_quality, large_cost, small_quality, small_cost)
    if abs(base) < 1e-15:
        raise OutcomeError("both models have the same mean quality: there is no benefit to compare with")
    return (incremental_benefit(quality, cost, small_quality, small_cost) - base) / base


def non_decreasing_hull(points: npt.ArrayLike) -> Floats:
    """RouterBench's non-decreasing convex hull (Hu et al. 2024, arXiv 2403.12031).

    Between two points any cost can be had by choosing one of them at random, so that the line counts as reached; and
    nobody pays more for less. For the points of two single models it is RouterBench's Zero router.

    Args:
        points: Columns cost and quality, at least one point, shape (k, 2).

    Returns:
        Corners in order of strictly rising cost and quality, shape (m, 2).

    Raises:
        OutcomeError: Another shape, NaN.
    """
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1:] != (2,) or not len(values) or not np.isfinite(values).all():
        raise OutcomeError(f"points are finite (cost, quality) pairs of shape (k, 2), k ≥ 1, got shape {values.shape}")
    hull: list[tuple[float, float]] = []
    # of one cost the best quality first
    for cost, quality in values[np.lexsort((-values[:, 1], values[:, 0]))].tolist():
        if hull and quality <= hull[-1][1]:
            continue
        while len(hull) > 1 and _below(hull[-2], hull[-1], (cost, quality)):
            hull.pop()
        hull.append((cost, quality))
    return np.array(hull)


def _below(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether the middle one lies on or under the line through the others."""
    return (middle[1] - first[1]) * (last[0] - first[0]) <= (last[1] - first[1]) * (middle[0] - first[0])


def aiq(points: npt.ArrayLike, *, low: float, high: float) -> float:
    """RouterBench's AIQ: mean quality of the non-decreasing hull over a range of costs.

    The paper's formula, ∫ hull(c) dc / (high − low). RouterBench's own code (evaluation/AIQ.py at 30e0925) integrates
    from the router's cheapest point and divides by the highest cost instead.

    Args:
        points: Columns cost and quality of one router's settings; a few, fixed beforehand: the hull takes the best of
            them on the data at hand, and of many that is luck. Shape (k, 2).
        low: Where the range begins; no lower than the cheapest point.
        high: Where it ends; beyond the dearest point the hull goes on level.

    Returns:
        In units of quality.

    Raises:
        OutcomeError: Another shape, NaN, or a range that is empty or begins below the points.
    """
    hull = non_decreasing_hull(points)
    # rounding of the cheapest point must not count as being outside
    if not (low < high and low >= hull[0, 0] - 1e-9 * max(abs(low), abs(high))):
        raise OutcomeError(f"AIQ needs a range of costs from {hull[0, 0]:g} or more upwards, got {low:g} to {high:g}")
    corners = hull[(hull[:, 0] > low) & (hull[:, 0] < high), 0]
    at = np.concatenate([[low], corners, [high]])
    quality = np.interp(at, hull[:, 0], hull[:, 1])
    return float((np.diff(at) * (quality[1:] + quality[:-1])).sum() / 2 / (high - low))
