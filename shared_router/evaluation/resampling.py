"""Bootstrap samples as weights, and intervals from what they gave.

Queries are drawn with replacement (Efron and Tibshirani 1993, ch. 6); where queries belong to groups, such as several
questions of one conversation, whole groups are drawn (the cluster bootstrap: Davison and Hinkley 1997, §3.8), because
queries of one group tell less than as many of different ones. All scores are weighed by the same samples, so that the
interval of a difference is a paired one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import Interval

__all__ = ["interval", "resampled_weights"]

Floats = npt.NDArray[np.float64]

CHUNK = 2**18
"""Weights made at a time: 2 MB, which stays in a core's cache."""


def resampled_weights(
    n: int, *, groups: Sequence[object] | None = None, resamples: int = 2000, seed: int = 0
) -> Iterator[Floats]:
    """How often each query is drawn in each sample, some samples at a time.

    Args:
        n: Queries, ≥ 1.
        groups: The group of each query, length n; a query whose group is None stands for itself. None draws single
            queries.
        resamples: Samples in all, ≥ 1.
        seed: Same seed, same samples.

    Yields:
        Shape (b, n); the b sum to ``resamples``.

    Raises:
        OutcomeError: Counts out of range, groups of another length, or fewer than two groups.
    """
    if n < 1 or resamples < 1:
        raise OutcomeError(f"a bootstrap needs at least one query and one resample, got {n} and {resamples}")
    member = _members(groups, n)
    drawn_from = n if member is None else int(member.max()) + 1
    generator = np.random.default_rng(seed)
    return _chunks(generator, member, drawn_from, resamples, max(1, CHUNK // n))


def _members(groups: Sequence[object] | None, n: int) -> npt.NDArray[np.int64] | None:
    if groups is None:
        return None
    if len(groups) != n:
        raise OutcomeError(f"groups has {len(groups)} entries for {n} queries")
    place: dict[object, int] = {}
    keys = [row if group is None else str(group) for row, group in enumerate(groups)]
    member = np.array([place.setdefault(key, len(place)) for key in keys], dtype=np.int64)
    if len(place) < 2:
        raise OutcomeError("all queries are of one group; from one group no interval can be had")
    return member


def _chunks(
    generator: np.random.Generator,
    member: npt.NDArray[np.int64] | None,
    drawn_from: int,
    resamples: int,
    rows: int,
) -> Iterator[Floats]:
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = generator.integers(0, drawn_from, (count, drawn_from))
        drawn += np.arange(count)[:, None] * drawn_from
        times = np.bincount(drawn.ravel(), minlength=count * drawn_from).reshape(count, drawn_from)
        yield (times if member is None else times[:, member]).astype(np.float64)


def interval(estimate: float, samples: Floats, level: float) -> Interval | None:
    """The percentile interval.

    Args:
        estimate: On the queries themselves.
        samples: On each bootstrap sample; NaN where it is not defined there, shape (resamples,).
        level: Coverage, in (0, 1).

    Returns:
        None where the figure is not defined, or not on so many samples that an interval of that level could be told.
    """
    kept = samples[np.isfinite(samples)]
    if not np.isfinite(estimate) or len(kept) < level * len(samples):
        return None
    low, high = np.quantile(kept, [(1.0 - level) / 2, (1.0 + level) / 2])
    return Interval(float(estimate), float(low), float(high))
