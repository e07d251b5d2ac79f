"""What the points of a predicted front really cost and make, where the outcomes are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared_router.allocation import AllocationFront

__all__ = ["realised"]

Floats = npt.NDArray[np.float64]


def realised(front: AllocationFront, quality: npt.ArrayLike, cost: npt.ArrayLike) -> Floats:
    """Total cost and mean quality of each point of a front, in its order.

    Args:
        front: Made from predictions for n queries and m models.
        quality: What the models really made, shape (n, m).
        cost: What they really cost, shape (n, m).

    Returns:
        (cost, quality) of each of the front's k points, shape (k, 2).
    """
    marks, prices = np.asarray(quality, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    n = len(front.cheapest)
    query, to = front.step_query, front.step_model
    # a step leaves the model of the step before it of the same query
    order = np.argsort(query, kind="stable")
    sorted_query = query[order]
    first = np.concatenate([[True], sorted_query[1:] != sorted_query[:-1]]) if len(order) else np.zeros(0, dtype=bool)
    left = np.empty_like(to)
    left[order] = np.where(first, front.cheapest[sorted_query], np.roll(to[order], 1))
    rows = np.arange(n)
    spent = prices[rows, front.cheapest].sum() + np.cumsum(prices[query, to] - prices[query, left])
    made = marks[rows, front.cheapest].sum() + np.cumsum(marks[query, to] - marks[query, left])
    start = [prices[rows, front.cheapest].sum(), marks[rows, front.cheapest].sum()]
    points: Floats = np.column_stack([np.append(start[0], spent), np.append(start[1], made) / n])
    return points
