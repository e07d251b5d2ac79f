"""Do groups differ by more than chance? Shares with intervals, permutation tests, and Holm's correction.

A permutation test asks: were the groups' names without meaning, how often would a shuffle of them show a difference as
large? It needs no distribution and no large groups. For shares the statistic is Pearson's χ². For means it is Welch's,
in which each group counts by its own spread: with the plain one a small group of wide spread is called different far
too often where only its spread differs and not its mean (Chung & Romano 2013, doi 10.1214/13-AOS1090).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["PERMUTATIONS", "Rate", "holm", "mean_p_value", "rate_of", "share_p_value"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PERMUTATIONS = 9999
"""Shuffles of a test; the smallest p-value is 1 / (PERMUTATIONS + 1)."""

PRIOR_ROWS = 1.0
"""A group's spread is mixed with that of all, which counts for so many rows: without it a group of equal values would
weigh without end."""

AT_ONCE = 2_000_000
"""Random numbers drawn at a time."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of how many went to the small model.

    Attributes:
        small: Prompts that went to the small model.
        of: Prompts, at least 1.
        share: Their ratio, in [0, 1].
        low: Lower end of Wilson's interval for it.
        high: Upper end.
    """

    small: int
    of: int
    share: float
    low: float
    high: float


def rate_of(small: int, of: int, level: float) -> Rate:
    """A share with Wilson's score interval (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    Args:
        small: Hits, in [0, of].
        of: Trials, ≥ 1.
        level: Coverage, in (0, 1).
    """
    z = NormalDist().inv_cdf((1.0 + level) / 2.0)
    share = small / of
    middle = (share + z * z / (2 * of)) / (1.0 + z * z / of)
    half = z * math.sqrt(share * (1.0 - share) / of + z * z / (4.0 * of * of)) / (1.0 + z * z / of)
    # at the ends the interval begins with the share itself, but for rounding
    low = 0.0 if small == 0 else max(0.0, middle - half)
    high = 1.0 if small == of else min(1.0, middle + half)
    return Rate(small, of, share, low, high)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that any one is below α with probability ≤ α if nothing differs.

    Holm's step-down procedure (Holm 1979, Scand. J. Statist. 6: 65–70).

    Args:
        p_values: In [0, 1].
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def share_p_value(
    small: Integers, sizes: Integers, *, permutations: int = PERMUTATIONS, generator: np.random.Generator
) -> float:
    """How probable it is by chance that groups differ so much in their share.

    Args:
        small: Prompts of each group that went to the small model, shape (k,), k ≥ 2.
        sizes: Prompts of each group, shape (k,).
        permutations: Shuffles, ≥ 1.
        generator: Source of chance.

    Returns:
        In (0, 1]; exact for any sizes, as the shuffles are drawn from the very distribution that holds by chance.
    """
    # to shuffle names is to deal out the prompts that went to the small model
    dealt = generator.multivariate_hypergeometric(sizes, int(small.sum()), size=permutations, method="marginals")
    expected = sizes * (small.sum() / sizes.sum())

    def spread(counts: npt.NDArray[np.int64]) -> Floats:
        # Pearson's χ² up to a factor that all shuffles share
        result: Floats = ((counts - expected) ** 2 / sizes).sum(axis=-1)
        return result

    return _p_value(float(spread(small)), spread(dealt))


def mean_p_value(
    values: Floats,
    place: Integers,
    groups: int,
    *,
    permutations: int = PERMUTATIONS,
    generator: np.random.Generator,
) -> float:
    """How probable it is by chance that groups differ so much in their mean.

    Args:
        values: Of each row, finite, shape (n,).
        place: Group of each row, in [0, groups), each with at least two rows, shape (n,).
        groups: Groups, ≥ 2.
        permutations: Shuffles, ≥ 1.
        generator: Source of chance.

    Returns:
        In (0, 1]. The level is kept exactly where values are distributed alike in all groups, and nearly, from some
        tens of rows a group on, where only the means are alike.
    """
    sizes = np.bincount(place, minlength=groups)
    # a 0 adds nothing to any sum, and most losses are 0
    filled = np.flatnonzero(values)
    kept = values[filled]
    observed = float(_welch(*_dealt(kept, place[filled][None, :], groups), sizes)[0])
    drawn: list[Floats] = []
    at_once = max(1, AT_ONCE // len(place))
    for start in range(0, permutations, at_once):
        count = min(at_once, permutations - start)
        shuffled = generator.permuted(np.tile(place, (count, 1)), axis=1)[:, : len(kept)]
        drawn.append(_welch(*_dealt(kept, shuffled, groups), sizes))
    return _p_value(observed, np.concatenate(drawn))


def _p_value(observed: float, drawn: Floats) -> float:
    # equal up to rounding counts as equal; what was observed is itself one of the shuffles
    as_large = int((drawn >= observed - 1e-9 * max(abs(observed), 1e-9)).sum())
    return (1 + as_large) / (1 + len(drawn))


def _dealt(values: Floats, place: Integers, groups: int) -> tuple[Floats, Floats]:
    """Sums and sums of squares a group, each of shape (b, groups), where value i lies in group ``place[:, i]``."""
    count = len(place)
    flat = (place + groups * np.arange(count)[:, None]).ravel()

    def sums(column: Floats) -> Floats:
        added = np.bincount(flat, weights=np.tile(column, count), minlength=count * groups)
        return added.astype(np.float64).reshape(count, groups)

    return sums(values), sums(values * values)


def _welch(sums: Floats, squares: Floats, sizes: Integers) -> Floats:
    """Spread of the groups' means, each weighted by how surely it is known; shape (b,)."""
    means = sums / sizes
    within = np.maximum(squares - sums * means, 0.0)
    pooled = within.sum(axis=1, keepdims=True) / (sizes.sum() - len(sizes))
    variance = (within + PRIOR_ROWS * pooled) / (sizes - 1 + PRIOR_ROWS)
    # where nothing varies within groups, the means alone tell
    weights = sizes / np.where(variance > 0.0, variance, 1.0)
    centre = (weights * means).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    spread: Floats = (weights * (means - centre) ** 2).sum(axis=1)
    return spread
