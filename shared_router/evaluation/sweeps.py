"""One score on one pair of models, swept from never to always large, for many weightings of the same queries at once.

A bootstrap sample is a weighting: how often each query was drawn. Sorting is done once; each weighting then costs a few
passes over the queries. Tied queries count as sent in random order, which is a straight line through their block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError

__all__ = ["Ordered", "Sweep", "area", "checked", "gained_at", "reaching", "spent_at"]

Floats = npt.NDArray[np.float64]

SLACK = 1e-12
"""Rounding that a curve's point may fall short of a target by and still count as reaching it."""


def checked(**columns: npt.ArrayLike) -> tuple[Floats, ...]:
    """The columns as arrays of one shape.

    Args:
        **columns: Each of shape (n,), by the name that messages shall call it.

    Returns:
        The same as float64, in the given order.

    Raises:
        OutcomeError: Different shapes, no rows, NaN or infinite values.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) != 1 or any(values.ndim != 1 or not values.size for values in arrays.values()):
        raise OutcomeError(f"{', '.join(shapes)} are arrays of one shape (n,), n ≥ 1, got {shapes}")
    for name, values in arrays.items():
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise OutcomeError(f"{name} has {bad} values that are NaN or infinite; drop those queries first")
    return tuple(arrays.values())


@dataclass(frozen=True, slots=True)
class Sweep:
    """b weightings, k tie blocks; every row runs from "never large" to "always large".

    Attributes:
        share: Share of queries sent to the large model, rising from 0 to 1, shape (b, k + 1).
        gained: Mean quality above always small, shape (b, k + 1).
        spent: Mean cost above always small, shape (b, k + 1); None without costs.
        small: Mean quality of the small model, shape (b,).
        large: Mean quality of the large model, shape (b,).
        auc: Area under the ROC curve of "the small model falls short", ties ½; NaN where it always or never does,
            shape (b,).
    """

    share: Floats
    gained: Floats
    spent: Floats | None
    small: Floats
    large: Floats
    auc: Floats

    @property
    def gap(self) -> Floats:
        """Large less small, shape (b,)."""
        difference: Floats = self.large - self.small
        return difference


class Ordered:
    """Queries in falling order of difficulty.

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small: Quality of the small model's answers, shape (n,).
        large: Quality of the large model's answers, shape (n,).
        extra_cost: What the large model costs above the small one, shape (n,); None where it is not known.
    """

    def __init__(self, difficulty: Floats, small: Floats, large: Floats, extra_cost: Floats | None = None) -> None:
        self.order = np.argsort(-difficulty, kind="stable")
        ranked = difficulty[self.order]
        self.ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
        self.gains = (large - small)[self.order]
        self.short = self.gains > 0.0
        self.quality = small
        self.extra = None if extra_cost is None else extra_cost[self.order]

    def sweep(self, weights: Floats | None = None) -> Sweep:
        """All thresholds under each weighting.

        Args:
            weights: How often each query counts, in the order of the queries, shape (b, n); None: each once, b = 1.
                A row of zeros gives NaN.
        """
        weights = np.ones((1, len(self.order))) if weights is None else weights
        ranked = weights[:, self.order]
        counts = self._along(ranked)
        total = counts[:, -1:]
        # where nothing was drawn, which happens to small parts of a sample, nothing is defined: all is NaN
        with np.errstate(invalid="ignore"):
            gained = self._along(ranked * self.gains) / total
            small = (weights @ self.quality) / total[:, 0]
            return Sweep(
                share=counts / total,
                gained=gained,
                spent=None if self.extra is None else self._along(ranked * self.extra) / total,
                small=small,
                large=small + gained[:, -1],
                auc=_auc(counts, self._along(ranked * self.short)),
            )

    def _along(self, values: Floats) -> Floats:
        sums = np.cumsum(values, axis=1)[:, self.ends]
        return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)


def _auc(counts: Floats, short: Floats) -> Floats:
    """From the numbers of queries, and of those that fall short, above each cut; ties ½."""
    well = counts - short
    # above a block that does well lie those that fall short before it, and half of its own
    pairs = (np.diff(well, axis=1) * (short[:, 1:] + short[:, :-1])).sum(axis=1) / 2
    possible = short[:, -1] * well[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = np.where(possible > 0.0, pairs / possible, np.nan)
    return result


def area(sweep: Sweep) -> Floats:
    """∫ gained d share, shape (b,)."""
    width = np.diff(sweep.share, axis=1)
    result: Floats = (width * (sweep.gained[:, 1:] + sweep.gained[:, :-1])).sum(axis=1) / 2
    return result


def _at(share: Floats, values: Floats, shares: Floats) -> Floats:
    return np.stack([np.interp(shares, xs, ys) for xs, ys in zip(share, values, strict=True)])


def gained_at(sweep: Sweep, shares: Floats) -> Floats:
    """Mean quality above always small where a share of the queries goes to the large model, shape (b, m).

    Args:
        sweep: b weightings.
        shares: In [0, 1], shape (m,).
    """
    return _at(sweep.share, sweep.gained, shares)


def spent_at(sweep: Sweep, shares: Floats) -> Floats:
    """Mean cost above always small where a share of the queries goes to the large model, shape (b, m).

    Args:
        sweep: b weightings with costs.
        shares: In [0, 1], shape (m,).

    Raises:
        OutcomeError: There are no costs.
    """
    if sweep.spent is None:
        raise OutcomeError("what routing costs is asked, but no costs were given")
    return _at(sweep.share, sweep.spent, shares)


def reaching(sweep: Sweep, target: Floats) -> Floats:
    """The smallest large share at which so much is gained, shape (b,); NaN where it never is.

    Args:
        sweep: b weightings.
        target: Mean quality above always small, shape (b,).
    """
    enough = sweep.gained >= target[:, None] - SLACK
    rows = np.arange(len(target))
    after = enough.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    start, end = sweep.gained[rows, before], sweep.gained[rows, after]
    rise = end - start
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(rise > 0.0, np.clip((target - start) / rise, 0.0, 1.0), 0.0)
    share = sweep.share[rows, before] + part * (sweep.share[rows, after] - sweep.share[rows, before])
    result: Floats = np.where(enough.any(axis=1), share, np.nan)
    return result
