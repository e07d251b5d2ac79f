"""What is lost when a share of the calls goes to the small model: Hybrid LLM's metrics.

Ding et al. 2024 (arXiv 2404.14618, §4): the cost advantage is the share of calls sent to the small model, and the
performance drop is the loss of mean quality there, relative to always asking the large model. Both are fractions here;
the paper's tables print the percent. Tied queries count as sent in random order.

``calls_saved`` is read off the curve of the very queries it is measured on, and so is a best case: a threshold that was
fixed beforehand does no better. Thresholds are judged by ``shared_router.evaluation.evaluate``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.evaluation.sweeps import Ordered, Sweep, checked, gained_at, reaching

__all__ = ["calls_saved", "drop_at", "gap_difference", "relative_drop"]

Floats = npt.NDArray[np.float64]


def _swept(difficulty: npt.ArrayLike, small: npt.ArrayLike, large: npt.ArrayLike) -> Sweep:
    return Ordered(*checked(difficulty=difficulty, small_quality=small, large_quality=large)).sweep()


def relative_drop(quality: npt.ArrayLike, large_quality: npt.ArrayLike) -> Floats:
    """Loss against always asking the large model: (q̄_L − q̄) / |q̄_L|; negative where routing beats it.

    The paper does not print its formula; with the size in the denominator the sign holds on scales below 0, such as
    BARTScore's, too.

    Args:
        quality: Mean quality of routed answers, of any shape.
        large_quality: Mean quality of the large model, a number or of a shape that fits.

    Returns:
        Fractions; Hybrid LLM's tables print the percent.

    Raises:
        OutcomeError: The large model's mean quality is 0, of which no relative loss can be stated.
    """
    routed, large = np.asarray(quality, dtype=np.float64), np.asarray(large_quality, dtype=np.float64)
    if (np.abs(large) < 1e-12).any():
        raise OutcomeError(
            "the large model's mean quality is 0, of which no relative loss can be stated; shift the scale"
        )
    result: Floats = (large - routed) / np.abs(large)
    return result


def drop_at(
    difficulty: npt.ArrayLike, small_quality: npt.ArrayLike, large_quality: npt.ArrayLike, cost_advantage: npt.ArrayLike
) -> Floats:
    """Relative loss of quality where a given share of the calls goes to the small model (Hybrid LLM, table 1).

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).
        cost_advantage: Shares sent to the small model, in [0, 1], shape (m,).

    Returns:
        Fractions, negative where routing beats always large, shape (m,).

    Raises:
        OutcomeError: Wrong shapes, NaN, shares out of range, or a large model of mean quality 0.
    """
    sweep, kept = _swept(difficulty, small_quality, large_quality), _shares(cost_advantage)
    return relative_drop(sweep.small + gained_at(sweep, 1.0 - kept)[0], sweep.large)


def _shares(values: npt.ArrayLike) -> Floats:
    (shares,) = checked(cost_advantage=np.atleast_1d(np.asarray(values, dtype=np.float64)))
    outside = shares[(shares < 0.0) | (shares > 1.0)]
    if len(outside):
        raise OutcomeError(f"cost_advantage is a fraction from 0 to 1, got {outside[0]:g}")
    return shares


def gap_difference(
    difficulty: npt.ArrayLike, small_quality: npt.ArrayLike, large_quality: npt.ArrayLike, cost_advantage: npt.ArrayLike
) -> Floats:
    """Mean quality gap (small − large) of the queries sent to the small model less that of the others (§4.3).

    About 0 for a router that guesses, above 0 for one that sends to the small model what it answers well.

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).
        cost_advantage: Shares sent to the small model, above 0 and below 1, shape (m,).

    Returns:
        In units of quality, shape (m,).

    Raises:
        OutcomeError: Wrong shapes, NaN, or a share at which one model is asked nothing.
    """
    sweep, kept = _swept(difficulty, small_quality, large_quality), _shares(cost_advantage)
    if ((kept == 0.0) | (kept == 1.0)).any():
        raise OutcomeError("at a cost advantage of 0 or 1 one model is asked nothing, and has no mean gap")
    gained = gained_at(sweep, 1.0 - kept)[0]
    result: Floats = gained / (1.0 - kept) - (sweep.gap - gained) / kept
    return result


def calls_saved(
    difficulty: npt.ArrayLike, small_quality: npt.ArrayLike, large_quality: npt.ArrayLike, max_drop: float
) -> float:
    """The largest share of calls that the small model can take at a given relative loss; tie-safe.

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).
        max_drop: Accepted loss against always large, ≥ 0, as a fraction of the large model's mean quality.

    Returns:
        In [0, 1].

    Raises:
        OutcomeError: Wrong shapes, NaN, a negative loss, or a large model of mean quality 0.
    """
    sweep = _swept(difficulty, small_quality, large_quality)
    # written so that NaN fails it
    if not max_drop >= 0.0:
        raise OutcomeError(f"max_drop is a loss, ≥ 0, got {max_drop!r}")
    relative_drop(sweep.small, sweep.large)
    return float(1.0 - reaching(sweep, sweep.gap - max_drop * np.abs(sweep.large))[0])
