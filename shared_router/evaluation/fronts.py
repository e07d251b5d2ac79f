"""How good a front of (cost, quality) points is: distance to a reference, evenness, and the area it covers.

All take points of shape (k, 2) with the columns cost (low is good) and quality (high is good), in any order, and
measure in the units given. With costs of 100 and qualities below 1 the cost decides alone, as it does in OptLLM's
published IGD (arXiv 2405.15130: raw dollars and accuracies); use ``scaled`` first where both shall count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError

__all__ = ["hypervolume", "inverted_generational_distance", "scaled", "spread"]

Floats = npt.NDArray[np.float64]

BLOCK = 512
"""Reference points compared at a time: 512 × 20,000 distances take 80 MB."""


def _points(name: str, values: npt.ArrayLike, at_least: int = 1) -> Floats:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < at_least:
        raise OutcomeError(
            f"{name} is an array of at least {at_least} (cost, quality) points of shape (k, 2), got {points.shape}"
        )
    if not np.isfinite(points).all():
        raise OutcomeError(f"{name} has values that are NaN or infinite")
    return points


def _along(points: Floats) -> Floats:
    """In order of rising cost, of equal costs of rising quality."""
    return points[np.lexsort((points[:, 1], points[:, 0]))]


def _nearest(points: Floats, others: Floats, *, skip_self: bool = False) -> Floats:
    """Distance of each point to the nearest of others, shape (len(points),)."""
    found = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        apart = np.hypot(block[:, :1] - others[:, 0], block[:, 1:] - others[:, 1])
        if skip_self:
            rows = np.arange(len(block))
            apart[rows, start + rows] = np.inf
        found[start : start + BLOCK] = apart.min(axis=1)
    return found


def scaled(points: npt.ArrayLike, reference: npt.ArrayLike) -> Floats:
    """Points in units of a reference front: its lowest cost and quality become 0, its highest 1.

    Args:
        points: Shape (k, 2).
        reference: Shape (r, 2); two different costs and two different qualities at least.

    Raises:
        OutcomeError: Wrong shapes, NaN, or a reference without extent.
    """
    values, whole = _points("points", points), _points("reference", reference)
    low, extent = whole.min(axis=0), np.ptp(whole, axis=0)
    if not (extent > 0.0).all():
        raise OutcomeError("the reference front has one cost or one quality only; there is nothing to scale by")
    result: Floats = (values - low) / extent
    return result


def inverted_generational_distance(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """IGD: mean Euclidean distance of the reference points to the nearest point (Coello Coello and Cortés 2005).

    Args:
        points: The front to judge, shape (k, 2).
        reference: The true or best known front, shape (r, 2).

    Returns:
        ≥ 0; 0 iff every reference point is met.

    Raises:
        OutcomeError: Wrong shapes or NaN.
    """
    return float(_nearest(_points("reference", reference), _points("points", points)).mean())


def spread(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Δ: how far the ends are from the reference's and how uneven the gaps between are; 0 is best.

    Δ = (d_f + d_l + Σ |d_i − d̄|) / (d_f + d_l + (N − 1) d̄) with d_f and d_l the distances of the first and last points
    to those of the reference and d̄ the mean distance of neighbours along the front (Deb et al. 2002, "A fast and
    elitist multiobjective genetic algorithm: NSGA-II"). As in OptLLM's program d_i is each of the N points' distance to
    its nearest other point; Deb has the N − 1 gaps between neighbours there.

    Args:
        points: The front to judge, at least 2 points, shape (k, 2).
        reference: The true or best known front, shape (r, 2).

    Raises:
        OutcomeError: Wrong shapes, NaN, or all points coincide.
    """
    front = _along(_points("points", points, at_least=2))
    whole = _along(_points("reference", reference))
    ends = float(np.hypot(*(front[0] - whole[0])) + np.hypot(*(front[-1] - whole[-1])))
    mean_gap = float(np.hypot(*np.diff(front, axis=0).T).mean())
    if mean_gap == 0.0:
        raise OutcomeError("all points of the front coincide; they have no spread")
    uneven = float(np.abs(_nearest(front, front, skip_self=True) - mean_gap).sum())
    return (ends + uneven) / (ends + (len(front) - 1) * mean_gap)


def hypervolume(points: npt.ArrayLike, *, cost: float, quality: float) -> float:
    """Area of all (cost, quality) that some point dominates, up to a bad corner (Zitzler and Thiele 1999).

    Args:
        points: The front to judge; dominated points add nothing, shape (k, 2).
        cost: The corner's cost; points that cost as much or more add nothing.
        quality: The corner's quality; points that are as bad or worse add nothing.

    Returns:
        ≥ 0, in units of cost × quality; more is better.

    Raises:
        OutcomeError: Wrong shapes, NaN, or a corner that is not finite.
    """
    front = _along(_points("points", points))
    corner = _points("the corner", [[cost, quality]])[0]
    from_cost = np.minimum(front[:, 0], corner[0])
    width = np.diff(np.append(from_cost, corner[0]))
    height = np.maximum(np.maximum.accumulate(front[:, 1]) - corner[1], 0.0)
    return float(width @ height)
