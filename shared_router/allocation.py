"""A batch of queries and a budget → which model answers which query.

Each of n queries goes to one of m models; the total cost shall be low and the mean quality high. Choosing one option
per query under a budget is the multiple-choice knapsack problem. Its upper hull, that is all that can be reached by
maximising quality − λ · cost for some price λ ≥ 0, is found exactly by greedy increments (Sinha and Zoltners 1979, "The
Multiple-Choice Knapsack Problem", Operations Research 27(3); Kellerer, Pferschy and Pisinger 2004, "Knapsack Problems",
ch. 11): per query the upper convex hull of its (cost, quality) points, then all steps of all hulls in order of falling
quality gained per cost. OptLLM's destroy-and-reconstruct search (Liu et al. 2024, arXiv 2405.15130) ends on this hull,
too (``shared_router.evaluation.optllm``), at some of its points only and after more work.

Between two neighbouring points of the front an assignment off the hull may fit a budget better;
``allocate(…, exact=True)`` looks for it. It can gain less than the front's next step, which changes one query's model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import KnobError, MissingExtraError, OutcomeError

__all__ = ["SLACK", "AllocationFront", "allocate", "allocation_front", "robust_prediction"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

SLACK = 1e-9
"""Limits are kept up to this relative amount: two ways to add up the same 10,000 costs differ in their last digits, and
a budget that is itself such a sum shall buy what it was computed from."""


@dataclass(frozen=True, slots=True, eq=False)
class AllocationFront:
    """Assignments that no other beats at any price of quality, from the cheapest to the best.

    Along the front cost and quality rise and the quality gained per cost falls. Each point differs from the one before
    in one query's model; stored are the first assignment and these steps, not k assignments.

    Attributes:
        cost: Total cost over the batch, in the unit of the costs given, shape (k,).
        quality: Mean quality over the batch, in the unit of the qualities given, shape (k,).
        cheapest: Model of each query at the first point, shape (n,).
        step_query: Which query changes from point i to i + 1, shape (k − 1,).
        step_model: To which model it changes, shape (k − 1,).
    """

    cost: Floats
    quality: Floats
    cheapest: Ints
    step_query: Ints
    step_model: Ints

    def __post_init__(self) -> None:
        """Make "frozen" hold for the arrays' contents as well."""
        for values in (self.cost, self.quality, self.cheapest, self.step_query, self.step_model):
            values.setflags(write=False)

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def _quality_slack(self) -> float:
        # qualities may be around 0 or negative, so that it comes from the largest of them and not from the wish
        return SLACK * float(np.abs(self.quality[[0, -1]]).max())

    def assignment(self, k: int) -> Ints:
        """The model of each query at a point of the front.

        Args:
            k: Position, 0 = cheapest, −1 = best; negative positions count from the end.

        Returns:
            Column numbers of the arrays the front was made from, shape (n,); a new array.

        Raises:
            IndexError: The front has no such point.
        """
        if not -len(self) <= k < len(self):
            raise IndexError(f"the front has {len(self)} points, there is no point {k}")
        steps = k % len(self)
        chosen: Ints = self.cheapest.copy()
        # a query may change several times; numpy keeps the last of several values assigned to one place
        chosen[self.step_query[:steps]] = self.step_model[:steps]
        return chosen

    def within_budget(self, budget: float) -> int:
        """The best point that costs no more than a budget.

        Args:
            budget: Total cost, ≥ 0, may be infinite; kept up to ``SLACK``.

        Raises:
            KnobError: Even the cheapest assignment costs more, or this is no amount.
        """
        amount = _number("budget", budget)
        if amount < 0.0:
            raise KnobError(f"budget is a total cost ≥ 0, got {amount:g}")
        k = int(np.searchsorted(self.cost, amount * (1.0 + SLACK), side="right")) - 1
        if k < 0:
            raise KnobError(
                f"a budget of {amount:g} is too small: the cheapest model for each of the {len(self.cheapest)} queries "
                f"costs {self.cost[0]:g} in all (the best assignment {self.cost[-1]:g})"
            )
        return k

    def reaching(self, quality: float) -> int:
        """The cheapest point with at least a mean quality.

        Args:
            quality: Mean quality over the batch; reached up to ``SLACK``.

        Raises:
            KnobError: Even the best assignment stays below, or this is no number.
        """
        wish = _number("accuracy", quality)
        k = int(np.searchsorted(self.quality, wish - self._quality_slack, side="left"))
        if k == len(self):
            raise KnobError(
                f"a mean quality of {wish:g} is out of reach: the best model for each of the {len(self.cheapest)} "
                f"queries makes {self.quality[-1]:g}, at a total cost of {self.cost[-1]:g}"
            )
        return k


def _number(name: str, value: object) -> float:
    # a bool is an int to Python, and budget=True is more likely a slip than a wish
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise KnobError(f"{name} is a number, got {value!r} of type {type(value).__name__}")
    if math.isnan(value):
        raise KnobError(f"{name} is a number, got NaN")
    return float(value)


def _checked(quality: npt.ArrayLike, cost: npt.ArrayLike) -> tuple[Floats, Floats]:
    try:
        marks, prices = np.asarray(quality, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OutcomeError(f"quality and cost are arrays of numbers of shape (queries, models) ({error})") from error
    if marks.shape != prices.shape or marks.ndim != 2 or not marks.size:
        raise OutcomeError(
            "quality and cost are arrays of one shape (queries, models) with at least one query and one model, "
            f"got {marks.shape} and {prices.shape}"
        )
    for name, values in (("quality", marks), ("cost", prices)):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise OutcomeError(
                f"{name} has {bad} values that are NaN or infinite; give every model a value for every query, "
                "or drop those queries first"
            )
    if (prices < 0.0).any():
        raise OutcomeError(f"costs are ≥ 0, got {prices.min():g}")
    return marks, prices


def _cheapest(marks: Floats, prices: Floats) -> Ints:
    """Per query the lowest cost; of several the best, of several the first."""
    at_lowest = prices == prices.min(axis=1, keepdims=True)
    chosen: Ints = np.where(at_lowest, marks, -np.inf).argmax(axis=1)
    return chosen


@dataclass(frozen=True, slots=True)
class _Steps:
    """Steps along the queries' hulls, all of shape (steps,)."""

    query: Ints
    model: Ints
    rate: Floats
    gain: Floats
    price: Floats


def _hull_steps(marks: Floats, prices: Floats, start: Ints) -> _Steps:
    """All steps of all hulls; for all queries at once the next one, as in gift wrapping, at most m − 1 times."""
    query, at = np.arange(len(marks)), start
    last = np.full(len(marks), np.inf)
    found: list[_Steps] = []
    while len(query):
        rows = np.arange(len(query))
        more = prices - prices[rows, at][:, None]
        better = marks - marks[rows, at][:, None]
        # a gain for (almost) nothing is worth any price: inf is right there
        with np.errstate(over="ignore"):
            rate = np.divide(better, more, out=np.full(more.shape, -np.inf), where=(better > 0.0) & (more > 0.0))
        best = rate.max(axis=1)
        # of models on one line the nearest, so that the front has all its points; then the first
        to = np.where(rate == best[:, None], prices, np.inf).argmin(axis=1)
        on = best > -np.inf
        rows, to = rows[on], to[on]
        # rounding must not turn the order of two steps of one query round
        last = np.minimum(best, last)[on]
        found.append(_Steps(query[on], to, last, better[rows, to], more[rows, to]))
        query, at, marks, prices = query[on], to, marks[on], prices[on]
    return _Steps(
        query=np.concatenate([steps.query for steps in found]),
        model=np.concatenate([steps.model for steps in found]),
        rate=np.concatenate([steps.rate for steps in found]),
        gain=np.concatenate([steps.gain for steps in found]),
        price=np.concatenate([steps.price for steps in found]),
    )


def allocation_front(quality: npt.ArrayLike, cost: npt.ArrayLike) -> AllocationFront:
    """The exact upper hull of total cost and mean quality over all assignments of models to queries.

    All corners of the hull are among its points, and between two corners, where steps of several queries gain the same
    per cost, as many points as there are steps. Ties are broken by costs, then by the order of the rows and columns;
    another order of either changes neither ``cost`` nor ``quality`` beyond rounding.

    Args:
        quality: Predicted or measured quality of each model on each query, usually in [0, 1], finite, shape (n, m).
        cost: What that answer costs, finite and ≥ 0, in any unit, shape (n, m).

    Returns:
        The front, of 1 … n (m − 1) + 1 points. The first is the cheapest assignment (the best of several), the last the
        best (the cheapest of several).

    Raises:
        OutcomeError: Wrong shapes, no query, no model, NaN, infinite values, or a negative cost.
    """
    return _front(*_checked(quality, cost))


def _front(marks: Floats, prices: Floats) -> AllocationFront:
    start = _cheapest(marks, prices)
    steps = _hull_steps(marks, prices, start)
    # at one rate: by the cost of the model changed to, which rises along each query's own steps, so that they keep
    # their order; the rest makes the points independent of the order of the queries
    order = np.lexsort((steps.query, steps.price, prices[steps.query, steps.model], -steps.rate))
    rows = np.arange(len(marks))
    spent, earned = prices[rows, start].sum(), marks[rows, start].sum()
    return AllocationFront(
        cost=spent + np.concatenate([[0.0], np.cumsum(steps.price[order])]),
        quality=(earned + np.concatenate([[0.0], np.cumsum(steps.gain[order])])) / len(marks),
        cheapest=start,
        step_query=steps.query[order],
        step_model=steps.model[order],
    )


def allocate(
    quality: npt.ArrayLike,
    cost: npt.ArrayLike,
    *,
    budget: float | None = None,
    accuracy: float | None = None,
    exact: bool = False,
) -> Ints:
    """Which model answers which query: the best within a budget, or the cheapest that reaches an accuracy.

    Args:
        quality: Predicted quality of each model on each query, usually in [0, 1], finite, shape (n, m).
        cost: What that answer costs, finite and ≥ 0, shape (n, m).
        budget: At most this total cost, in the unit of ``cost``, ≥ 0.
        accuracy: At least this mean of ``quality``.
        exact: Search for the integer optimum with HiGHS: seconds for 2,000 queries, minutes for 10,000, and no limit;
            otherwise the assignment lies on the front and misses less than its next step. The optimum is exact to
            HiGHS's own tolerances, about 1e-6 of the largest single quality or cost, and never worse than the
            assignment on the front.

    Returns:
        Column numbers, shape (n,).

    Raises:
        KnobError: Not exactly one of ``budget`` and ``accuracy`` is given, it is no number, or it cannot be kept.
        OutcomeError: The arrays cannot be used, see ``allocation_front``.
        MissingExtraError: ``exact`` is asked for and scipy is not installed.
    """
    if (budget is None) == (accuracy is None):
        found = "neither" if budget is None else f"budget={budget!r} and accuracy={accuracy!r}"
        raise KnobError(f"say one of budget and accuracy, got {found}")
    marks, prices = _checked(quality, cost)
    front = _front(marks, prices)
    if budget is not None:
        k = front.within_budget(budget)
        # at the end of the front there is nothing left to gain, in money or in quality
        if not exact or k == len(front) - 1:
            return front.assignment(k)
        gain, price = (
            len(marks) * float(front.quality[k + 1] - front.quality[k]),
            float(front.cost[k + 1] - front.cost[k]),
        )
        return _optimum(-marks, prices, budget * (1.0 + SLACK), front.assignment(k), _ratio(gain, price))
    assert accuracy is not None
    k = front.reaching(accuracy)
    if not exact or k == 0:
        return front.assignment(k)
    least = (accuracy - front._quality_slack) * len(marks)
    gain, price = len(marks) * float(front.quality[k] - front.quality[k - 1]), float(front.cost[k] - front.cost[k - 1])
    return _optimum(prices, -marks, -least, front.assignment(k), _ratio(price, gain))


def _ratio(value: float, weight: float) -> float:
    # 0 is a valid multiplier as well, only one that rules out little
    return value / weight if weight > 0.0 and math.isfinite(value / weight) else 0.0


def _possible(objective: Floats, weight: Floats, limit: float, known: Ints, multiplier: float) -> npt.NDArray[np.bool_]:
    """What an assignment better than a known one may hold, shape (n, m).

    Reduced-cost fixing: with any multiplier μ ≥ 0 no permitted assignment has an objective below Σᵢ minⱼ (objective + μ
    weight) − μ limit, and one that holds a model of query i other than the minimum exceeds that by the difference.
    Where the bound then lies above what is known, the model is out.
    """
    joint = objective + multiplier * weight
    lowest = joint.min(axis=1)
    bound = float(lowest.sum()) - multiplier * limit
    reached = float(objective[np.arange(len(known)), known].sum())
    # what rounding may add up to must not rule anything out
    tolerance = 1e-9 * float(np.abs(objective).max() + multiplier * np.abs(weight).max())
    allowed: npt.NDArray[np.bool_] = joint - lowest[:, None] <= reached - bound + tolerance
    return allowed


def _optimum(objective: Floats, weight: Floats, limit: float, known: Ints, multiplier: float) -> Ints:
    """Minimise the objective over assignments of summed weight ≤ limit, given one that keeps it.

    Args:
        objective: Shape (n, m).
        weight: Shape (n, m).
        limit: Of the weights' sum, slack included.
        known: Models of a permitted assignment, shape (n,); returned unless a better one is found.
        multiplier: Objective that a unit of weight is worth, ≥ 0; the nearer to the truth, the smaller the search.
    """
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array
    except ImportError as error:
        raise MissingExtraError(
            'exact=True needs scipy, which is not installed; run: pip install "hybrid-llm[eval]"'
        ) from error
    rows = np.arange(len(known))
    query, model = np.nonzero(_possible(objective, weight, limit, known, multiplier))
    values, weights = objective[query, model], weight[query, model]
    # HiGHS's tolerances are absolute, so that amounts of 0.0001 dollars have to be brought to the order of 1
    value_unit, weight_unit = (float(np.abs(numbers).max()) or 1.0 for numbers in (values, weights))
    one_each = LinearConstraint(csr_array((np.ones(len(query)), (query, np.arange(len(query))))), 1.0, 1.0)
    total = csr_array(weights[None, :] / weight_unit)
    # the second try for an answer that used HiGHS's tolerance to exceed the limit
    for reserve in (0.0, 1e-6):
        answer = milp(
            values / value_unit,
            integrality=np.ones(len(query)),
            bounds=Bounds(0.0, 1.0),
            constraints=[one_each, LinearConstraint(total, -np.inf, limit / weight_unit - reserve)],
            options={"mip_rel_gap": 0.0},
        )
        if answer.x is None:
            break
        chosen = known.copy()
        taken = np.asarray(answer.x) > 0.5
        chosen[query[taken]] = model[taken]
        if weight[rows, chosen].sum() <= limit:
            return chosen if objective[rows, chosen].sum() < objective[rows, known].sum() else known
    return known


def robust_prediction(mean: npt.ArrayLike, std: npt.ArrayLike, alpha: float) -> Floats:
    """Predicted success that counts its uncertainty, p̄ + ασ (OptLLM, arXiv 2405.15130).

    With α > 0 a model about which little is known is given the benefit of the doubt; with α < 0 it has to prove itself.
    No α is right for all tasks (the paper's best ones lie between −1 and 1): choose it on validation rows.

    Args:
        mean: Mean of an ensemble's predictions, in [0, 1], any shape.
        std: Their standard deviation, ≥ 0, the same shape.
        alpha: How many standard deviations to add, finite.

    Returns:
        Clipped to [0, 1], the same shape.

    Raises:
        OutcomeError: Different shapes, or values out of range.
    """
    centre, spread = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    if centre.shape != spread.shape:
        raise OutcomeError(f"mean and std have one shape, got {centre.shape} and {spread.shape}")
    # written so that NaN fails
    if not ((centre >= 0.0) & (centre <= 1.0)).all():
        raise OutcomeError("the mean of predicted success lies in [0, 1]; some values lie outside or are NaN")
    if not ((spread >= 0.0) & np.isfinite(spread)).all() or not math.isfinite(alpha):
        raise OutcomeError("std is finite and ≥ 0, alpha is finite")
    return np.clip(centre + alpha * spread, 0.0, 1.0)
