"""How well a difficulty score routes, measured on outcomes of both models.

All functions take arrays over the same n queries; shares are fractions, of which RouteLLM prints the percent. Tied
queries count as sent in random order, a straight line through their block, unless RouteLLM's own sweep is asked for.

PGR, APGR and CPT are RouteLLM's (Ong et al. 2024, arXiv 2406.18665, §3): PGR = (quality(routed) − quality(small)) /
(quality(large) − quality(small)) of means over the queries, APGR is PGR averaged over the share of calls sent to the
large model, 0 … 1, and CPT(x) is the smallest such share at which PGR reaches x. A router that guesses has APGR 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.evaluation.sweeps import Ordered, Sweep, area, checked, reaching

__all__ = [
    "Interval",
    "MeasuredCurve",
    "apgr",
    "cpt",
    "mean_apgr",
    "operating_curve",
    "paired_bootstrap",
    "random_apgr_deviation",
]

Floats = npt.NDArray[np.float64]

ROUTELLM_EDGES = 11


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """Operating points in order of growing large share, from "never large" to "always large".

    Attributes:
        threshold: A query goes to the large model iff its difficulty ≥ threshold; inf at the first point, shape (k,).
        large_share: Share of queries at or above the threshold, rising from 0 to 1, shape (k,).
        quality: Mean quality of the routed answers, shape (k,).
        pgr: Performance gap recovered; 0 at the first point, 1 at the last, shape (k,).
    """

    threshold: Floats
    large_share: Floats
    quality: Floats
    pgr: Floats


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a bootstrap percentile interval."""

    estimate: float
    low: float
    high: float


def _checked(difficulty: npt.ArrayLike, small: npt.ArrayLike, large: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    scores, small, large = checked(difficulty=difficulty, small_quality=small, large_quality=large)
    return scores, small, large


def _gap(small: Floats, large: Floats) -> float:
    gap = float(large.mean() - small.mean())
    if abs(gap) < 1e-12:
        raise OutcomeError("both models have the same mean quality: there is no gap to recover, PGR is undefined")
    return gap


def operating_curve(
    difficulty: npt.ArrayLike, small_quality: npt.ArrayLike, large_quality: npt.ArrayLike
) -> MeasuredCurve:
    """What every threshold costs and keeps.

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).

    Returns:
        One point per distinct difficulty, and "never large" before them.

    Raises:
        OutcomeError: Wrong shapes, NaN, or no gap between the models.
    """
    scores, small, large = _checked(difficulty, small_quality, large_quality)
    gap = _gap(small, large)
    levels, block = np.unique(-scores, return_inverse=True)
    counts = np.bincount(block.ravel())
    gained = np.bincount(block.ravel(), weights=large - small)
    share = np.concatenate([[0.0], np.cumsum(counts) / len(scores)])
    quality = small.mean() + np.concatenate([[0.0], np.cumsum(gained) / len(scores)])
    threshold = np.concatenate([[np.inf], -levels])
    return MeasuredCurve(threshold, share, quality, (quality - small.mean()) / gap)


def apgr(
    difficulty: npt.ArrayLike,
    small_quality: npt.ArrayLike,
    large_quality: npt.ArrayLike,
    *,
    method: Literal["integral", "routellm"] = "integral",
) -> float:
    """Average performance gap recovered.

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).
        method: "integral" is PGR integrated over all thresholds; tied queries count as sent in random order (a straight
            line through the block). "routellm" is what RouteLLM's code computes: trapezoids over the eleven edges of
            ``pandas.qcut(scores, 10)``, where ≥ sends, and > at the last edge.

    Returns:
        0.5 for a router that guesses; may be below 0 or above 1.

    Raises:
        OutcomeError: Wrong shapes, NaN, no gap, or (for "routellm") deciles that coincide.
    """
    scores, small, large = _checked(difficulty, small_quality, large_quality)
    if method == "routellm":
        return _trapezoid(*_routellm_points(scores, small, large))
    gap = _gap(small, large)
    return float(area(_sweep(scores, small, large))[0]) / gap


def _trapezoid(x: Floats, y: Floats) -> float:
    # numpy.trapezoid is new in numpy 2, numpy.trapz is gone in it
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2)


def _routellm_points(scores: Floats, small: Floats, large: Floats) -> tuple[Floats, Floats]:
    """Large share and PGR at the edges of the deciles, from never to always large, each of shape (11,)."""
    gap = _gap(small, large)
    edges = np.quantile(scores, np.linspace(0.0, 1.0, ROUTELLM_EDGES))
    if (np.diff(edges) <= 0).any():
        raise OutcomeError('two deciles of the scores coincide, which RouteLLM\'s sweep refuses; use method="integral"')
    sent = [scores >= edge if edge < edges[-1] else scores > edge for edge in edges]
    share = np.array([to_large.mean() for to_large in sent])
    pgr = np.array([np.where(to_large, large - small, 0.0).mean() / gap for to_large in sent])
    # from always large to never: the shares fall
    return share[::-1], pgr[::-1]


def cpt(
    difficulty: npt.ArrayLike,
    small_quality: npt.ArrayLike,
    large_quality: npt.ArrayLike,
    target: float,
    *,
    method: Literal["integral", "routellm"] = "integral",
) -> float:
    """Call-performance threshold: the smallest large share at which PGR reaches a target (RouteLLM §3).

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, on average better, shape (n,).
        target: PGR to reach, in [0, 1].
        method: "integral" goes along the whole curve up to its first crossing. "routellm" is what RouteLLM's code
            computes: ``numpy.interp`` of the share over the quality at the edges of the deciles, which is another point
            where the quality does not rise from edge to edge.

    Returns:
        In [0, 1]; about the target for a router that guesses. RouteLLM prints the percent.

    Raises:
        OutcomeError: Wrong shapes, NaN, a target out of range, a large model that is not better on average, or (for
            "routellm") deciles that coincide.
    """
    scores, small, large = _checked(difficulty, small_quality, large_quality)
    if not 0.0 <= target <= 1.0:
        raise OutcomeError(f"target is a PGR from 0 to 1, got {target!r}")
    if _gap(small, large) < 0.0:
        raise OutcomeError("the large model is worse on average: there is no gain of which a part could be reached")
    if method == "routellm":
        share, pgr = _routellm_points(scores, small, large)
        return float(np.interp(target, pgr, share))
    sweep = _sweep(scores, small, large)
    return float(reaching(sweep, target * sweep.gap)[0])


def _sweep(scores: Floats, small: Floats, large: Floats) -> Sweep:
    return Ordered(scores, small, large).sweep()


def random_apgr_deviation(small_quality: npt.ArrayLike, large_quality: npt.ArrayLike) -> float:
    """Standard deviation of the APGR of one router that orders the queries at random; its mean is 0.5.

    APGR = Σ g·(1 − u) / Σ g with u the middle ranks in (0, 1) and g the gains; over all orders its variance is
    Σ (g − ḡ)²·(n + 1) / (12 n) / (Σ g)² (sampling without replacement).

    Args:
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).

    Raises:
        OutcomeError: Wrong shapes, NaN, or no gap.
    """
    small, large = checked(small_quality=small_quality, large_quality=large_quality)
    _gap(small, large)
    gains = large - small
    n = len(gains)
    return float(np.sqrt(((gains - gains.mean()) ** 2).sum() * (n + 1) / (12 * n)) / abs(gains.sum()))


def _middle_share(order: npt.NDArray[np.int64], new_block: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """Middle of the stretch of large share over which each query's tie block is sent, in sorted order."""
    ends = np.cumsum(weight[order])
    block = np.cumsum(new_block) - 1
    block_end = ends[np.append(np.flatnonzero(new_block)[1:] - 1, len(order) - 1)]
    block_start = np.concatenate([[0.0], block_end[:-1]])
    middle: Floats = (((block_start + block_end) / 2) / ends[-1])[block]
    return middle


class _WeightedAPGR:
    """APGR of one score on one pair of models, for many weightings of the same queries.

    PGR rises by gain/total gain over the stretch in which a query's block is sent, and what is gained there is kept for
    the rest of the way: APGR = Σ w·g·(1 − middle of the stretch) / Σ w·g, equal to the integral.
    """

    def __init__(self, difficulty: Floats, small: Floats, large: Floats) -> None:
        self.known = np.flatnonzero(np.isfinite(small) & np.isfinite(large))
        scores, small, large = _checked(difficulty[self.known], small[self.known], large[self.known])
        _gap(small, large)
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.new_block = np.append(True, ranked[1:] != ranked[:-1])
        self.gains = (large - small)[self.order]

    def __call__(self, weight: Floats) -> float:
        of_known = weight[self.known]
        weighted = of_known[self.order] * self.gains
        middle = _middle_share(self.order, self.new_block, of_known)
        total = float(weighted.sum())
        return float(((1.0 - middle) * weighted).sum()) / total if abs(total) > 1e-12 else np.nan


def _per_pair(
    difficulty: npt.ArrayLike, small: Sequence[npt.ArrayLike], large: Sequence[npt.ArrayLike]
) -> list[_WeightedAPGR]:
    if not small or len(small) != len(large):
        raise OutcomeError(f"give one small and one large quality per pair, got {len(small)} and {len(large)}")
    scores = np.asarray(difficulty, dtype=np.float64)
    pairs = [
        (np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64))
        for one, other in zip(small, large, strict=True)
    ]
    for one, other in pairs:
        if not scores.shape == one.shape == other.shape:
            raise OutcomeError(
                "difficulty and all qualities are arrays of one shape (n,), "
                f"got {scores.shape}, {one.shape} and {other.shape}"
            )
    return [_WeightedAPGR(scores, one, other) for one, other in pairs]


def mean_apgr(
    difficulty: npt.ArrayLike, small_quality: Sequence[npt.ArrayLike], large_quality: Sequence[npt.ArrayLike]
) -> float:
    """APGR (integral) averaged over pairs of models.

    Args:
        difficulty: Scores, shape (n,).
        small_quality: Per pair the small model's quality, each of shape (n,); NaN where it was not asked, and the query
            then does not count for that pair.
        large_quality: Per pair the large model's, in the same order.

    Raises:
        OutcomeError: Wrong shapes, NaN among the scores, or a pair without a gap.
    """
    pairs = _per_pair(difficulty, small_quality, large_quality)
    every = np.ones(np.shape(difficulty))
    return float(np.mean([pair(every) for pair in pairs]))


def paired_bootstrap(
    difficulty: npt.ArrayLike,
    other_difficulty: npt.ArrayLike,
    small_quality: Sequence[npt.ArrayLike],
    large_quality: Sequence[npt.ArrayLike],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """How much better one score routes than another: mean APGR(a) − mean APGR(b), queries resampled in pairs.

    Args:
        difficulty: Scores of a, shape (n,).
        other_difficulty: Scores of b, shape (n,).
        small_quality: Per pair of models the small model's quality, each of shape (n,); NaN as in ``mean_apgr``.
        large_quality: Per pair the large model's, in the same order.
        resamples: Bootstrap samples of the queries, ≥ 1.
        level: Coverage of the percentile interval, in (0, 1).
        seed: Same seed, same interval.

    Raises:
        OutcomeError: Wrong shapes, NaN among the scores, no gap, or settings out of range.
    """
    if resamples < 1 or not 0.0 < level < 1.0:
        raise OutcomeError(f"resamples ≥ 1 and 0 < level < 1, got {resamples} and {level}")
    first = _per_pair(difficulty, small_quality, large_quality)
    second = _per_pair(other_difficulty, small_quality, large_quality)

    def difference(weight: Floats) -> float:
        return float(np.mean([a(weight) - b(weight) for a, b in zip(first, second, strict=True)]))

    generator = np.random.default_rng(seed)
    n = len(np.asarray(difficulty))
    drawn = (np.bincount(generator.integers(0, n, n), minlength=n).astype(np.float64) for _ in range(resamples))
    differences = np.array([difference(weight) for weight in drawn])
    # a resample in which a pair has no gap has no APGR
    kept = differences[np.isfinite(differences)]
    if not len(kept):
        raise OutcomeError("no resample has a gap between the models; there are too few queries")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(difference(np.ones(n)), float(low), float(high))
