"""OptLLM's search for good assignments, as reference for ``shared_router.allocation``.

Liu et al. 2024, "OptLLM: Optimal Assignment of Queries to Large Language Models", arXiv 2405.15130, with the details
that the paper leaves open as in its authors' program, but for one: where several exchanges are equally good, they are
made one after the other, not at once. A reconstructed assignment has one price λ at which no query wants to change, so
that it lies on the upper hull that ``allocation_front`` finds whole and in a fraction of the time: use that one; this
one is for comparing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError

__all__ = ["Reconstructed", "destroy_reconstruct"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Reconstructed:
    """Assignments none of which is dominated by another, in order of rising cost.

    Attributes:
        cost: Total cost, shape (k,).
        quality: Mean quality, shape (k,).
        assignment: Model of each query, shape (k, n).
    """

    cost: Floats
    quality: Floats
    assignment: Ints


class _State:
    """One assignment and what every single change of it would do."""

    def __init__(self, marks: Floats, prices: Floats, chosen: Ints) -> None:
        self.marks, self.prices = marks, prices
        self.chosen: Ints = chosen.copy()
        self.free = np.zeros(marks.shape, dtype=np.bool_)
        self.up = np.empty(marks.shape)
        self.down = np.empty(marks.shape)
        self.rescore(np.arange(len(marks)))

    def rescore(self, rows: Ints) -> None:
        """Sort the changes of some queries into free ones, upgrades and downgrades, with their quality per cost."""
        at = self.chosen[rows]
        better = self.marks[rows] - self.marks[rows, at][:, None]
        more = self.prices[rows] - self.prices[rows, at][:, None]
        self.free[rows] = (more <= 0.0) & (better >= 0.0) & ((more < 0.0) | (better > 0.0))
        rate = np.divide(better, more, out=np.zeros(more.shape), where=more != 0.0)
        self.up[rows] = np.where((better > 0.0) & (more > 0.0), rate, -np.inf)
        self.down[rows] = np.where((better < 0.0) & (more < 0.0), rate, np.inf)

    def change(self, query: int, model: int) -> None:
        self.chosen[query] = model
        self.rescore(np.array([query]))

    def take_free(self) -> None:
        """Make all changes that lose nothing, until there are none."""
        while (rows := np.flatnonzero(self.free.any(axis=1))).size:
            self.chosen[rows] = self.free[rows].argmax(axis=1)
            self.rescore(rows)


def _destroyed(gain: Floats, chosen: Ints, wanted: float) -> Ints | None:
    """Each query's largest gain, from the largest down until enough is gained; None if it is never enough."""
    to = gain.argmax(axis=1)
    largest = gain[np.arange(len(gain)), to]
    order = np.argsort(-largest, kind="stable")
    order = order[largest[order] > 0.0]
    enough = np.flatnonzero(np.cumsum(largest[order]) >= wanted)
    if not enough.size:
        return None
    changed = order[: enough[0] + 1]
    result: Ints = chosen.copy()
    result[changed] = to[changed]
    return result


def _reconstructed(marks: Floats, prices: Floats, chosen: Ints) -> Ints:
    """Exchange dear quality for cheap quality until none is cheaper than what is given up for it."""
    state = _State(marks, prices, chosen)
    state.take_free()
    # the price of quality bought falls and that of quality sold rises, so that every query passes each of its models at
    # most once each way; the bound only matters where rounding decides between models on one line
    for _ in range(2 * marks.size):
        bought, sold = divmod(int(state.up.argmax()), marks.shape[1]), divmod(int(state.down.argmin()), marks.shape[1])
        if not state.up[bought] > state.down[sold]:
            break
        state.change(*bought)
        # a query that would both rise and fall hangs below its own hull, and the rise alone brings it there
        if sold[0] != bought[0]:
            state.change(*sold)
        state.take_free()
    return state.chosen


def _extremes(marks: Floats, prices: Floats) -> tuple[Ints, Ints]:
    """The cheapest assignment (of equal costs the best) and the best (of equal qualities the cheapest)."""
    cheapest = np.where(prices == prices.min(axis=1, keepdims=True), marks, -np.inf).argmax(axis=1)
    best = np.where(marks == marks.max(axis=1, keepdims=True), prices, np.inf).argmin(axis=1)
    return cheapest, best


def _front_of(marks: Floats, prices: Floats, found: list[Ints]) -> Reconstructed:
    rows = np.arange(len(marks))
    assignment = np.stack(found)
    cost = np.array([prices[rows, chosen].sum() for chosen in found])
    quality = np.array([marks[rows, chosen].mean() for chosen in found])
    order = np.lexsort((-quality, cost))
    assignment, cost, quality = assignment[order], cost[order], quality[order]
    kept = np.concatenate([[True], quality[1:] > np.maximum.accumulate(quality)[:-1]])
    return Reconstructed(cost[kept], quality[kept], assignment[kept])


def destroy_reconstruct(quality: npt.ArrayLike, cost: npt.ArrayLike, *, grid: int = 50) -> Reconstructed:
    """Walk from the cheapest assignment up and from the best one down, mending after each stride.

    A stride upwards ("destruction") gives the queries with most to gain their best models until a ``grid``-th of the
    whole gain in quality is made; downwards the dearest are made cheapest until a ``grid``-th of the whole saving is
    made. Then ("reconstruction") the best upgrade and the mildest downgrade are exchanged while that gains quality per
    cost. Each walk goes on from its last reconstructed assignment and ends where a stride is not possible any more.

    Args:
        quality: Predicted quality of each model on each query, finite, shape (n, m).
        cost: What that answer costs, finite and ≥ 0, shape (n, m).
        grid: Strides into which the way is divided, ≥ 1; the paper has 50.

    Returns:
        The non-dominated ones among both ends and all reconstructed assignments, at most 2 ``grid``.

    Raises:
        OutcomeError: Wrong shapes, no query, no model, values that are not finite, a negative cost, or grid < 1.
    """
    marks, prices = np.asarray(quality, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    if marks.shape != prices.shape or marks.ndim != 2 or not marks.size:
        raise OutcomeError(
            f"quality and cost have one shape (queries, models), not empty, got {marks.shape} and {prices.shape}"
        )
    if not (np.isfinite(marks).all() and np.isfinite(prices).all() and (prices >= 0.0).all()):
        raise OutcomeError("quality and cost are finite and costs are ≥ 0; drop queries with NaN first")
    if grid < 1:
        raise OutcomeError(f"grid is at least 1, got {grid}")
    rows = np.arange(len(marks))
    cheapest, best = _extremes(marks, prices)
    stride_up = float(marks[rows, best].sum() - marks[rows, cheapest].sum()) / grid
    stride_down = float(prices[rows, best].sum() - prices[rows, cheapest].sum()) / grid
    found = [cheapest, best]
    for start, gains, sign, stride in ((cheapest, marks, 1.0, stride_up), (best, prices, -1.0, stride_down)):
        chosen = start
        for _ in range(grid - 1):
            destroyed = _destroyed(sign * (gains - gains[rows, chosen][:, None]), chosen, stride)
            if destroyed is None:
                break
            chosen = _reconstructed(marks, prices, destroyed)
            found.append(chosen)
    return _front_of(marks, prices, found)
