"""Bradley and Terry's model of paired comparisons: P(i beats j) = σ(θ_i − θ_j), and models merged into tiers.

A tie counts as half a win for either side, which is the same as RouteLLM's code does by doubling each battle and taking
a tie as one win each. Ratings are natural logarithms of odds; 400 / ln 10 times as much is Elo's scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["PENALTY", "ratings", "sigmoid", "tiers", "win_matrix"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PENALTY = 0.1
"""Precision of a normal prior on each rating, in battles: a model that never lost gets a finite rating. RouteLLM's code
has none; with a hundred battles a model it changes nothing that matters."""

STEPS = 100
TOLERANCE = 1e-10


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(−x)), without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def win_matrix(first: Ints, second: Ints, won: Floats, weight: Floats, size: int) -> Floats:
    """Weighted wins of each over each.

    Args:
        first: One side of each battle, in [0, size), shape (n,).
        second: The other, shape (n,). Battles of a side with itself say nothing and are left out.
        won: The first side's share of the win, in [0, 1], shape (n,).
        weight: Shape (n,).
        size: Number of sides.

    Returns:
        Entry (i, j) is what i won against j, shape (size, size), zeros on the diagonal.
    """
    cells = np.concatenate([first * size + second, second * size + first])
    mass = np.concatenate([weight * won, weight * (1.0 - won)])
    # of no battles bincount makes integers
    wins = np.bincount(cells, weights=mass, minlength=size * size).astype(np.float64).reshape(size, size)
    np.fill_diagonal(wins, 0.0)
    return wins


def ratings(wins: Floats, *, penalty: float = PENALTY, start: Floats | None = None) -> Floats:
    """The most probable ratings, by Newton's method.

    Maximises Σ wins_ij · log σ(θ_i − θ_j) − penalty / 2 · Σ θ_i², which is concave, so that there is one answer.

    Args:
        wins: From ``win_matrix``, shape (t, t).
        penalty: Above 0.
        start: Where to begin, shape (t,); 0 if not given.

    Returns:
        Shape (t,), with mean 0.
    """
    games = wins + wins.T
    theta = np.zeros(len(wins)) if start is None else start.copy()
    for _ in range(STEPS):
        chance = sigmoid(theta[:, None] - theta[None, :])
        slope = (wins - games * chance).sum(axis=1) - penalty * theta
        curvature = games * chance * (1.0 - chance)
        step = np.linalg.solve(np.diag(curvature.sum(axis=1) + penalty) - curvature, slope)
        size = float(np.abs(step).max())
        # far from the answer the curvature changes within a full step
        theta = theta + step * min(1.0, 1.0 / max(size, TOLERANCE))
        if size < TOLERANCE:
            break
    return theta


def tiers(ratings_of_models: Floats, count: int) -> Ints:
    """Models merged into tiers of similar rating: the sum of the tiers' variances is least (RouteLLM, §4.2 and code).

    Args:
        ratings_of_models: Shape (m,).
        count: Tiers, ≥ 1; with as many as there are models or more, each is its own.

    Returns:
        Tier of each model, 0 for the strongest, shape (m,).
    """
    m = len(ratings_of_models)
    order = np.argsort(-ratings_of_models, kind="stable")
    count = min(count, m)
    variance = _variances(ratings_of_models[order])
    # best[l]: least sum over the first l models in the tiers so far; cut[t, l]: where the last of t + 1 tiers begins
    best = variance[0]
    cut = np.zeros((count, m + 1), dtype=np.int64)
    for tier in range(1, count):
        total = best[:m, None] + variance
        # a tier holds a model at least
        total[:tier] = np.inf
        cut[tier] = np.argmin(total, axis=0)
        best = total.min(axis=0)
    of_sorted = np.zeros(m, dtype=np.int64)
    end = m
    for tier in range(count - 1, -1, -1):
        begin = int(cut[tier, end])
        of_sorted[begin:end] = tier
        end = begin
    result = np.empty(m, dtype=np.int64)
    result[order] = of_sorted
    return result


def _variances(values: Floats) -> Floats:
    """Variance of values[i:j] for all i < j, infinite elsewhere, shape (m, m + 1)."""
    m = len(values)
    centred = values - values.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(power)]) for power in (centred, centred**2))
    length = (np.arange(m + 1)[None, :] - np.arange(m)[:, None]).astype(np.float64)
    size = np.maximum(length, 1.0)
    mean = (sums[None, :] - sums[:m, None]) / size
    variance = np.maximum((squares[None, :] - squares[:m, None]) / size - mean**2, 0.0)
    # one value has none, whatever rounding leaves
    return np.where(length >= 1.0, np.where(length == 1.0, 0.0, variance), np.inf)
