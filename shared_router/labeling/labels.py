"""Hybrid LLM's three labels, from the qualities of sampled answers (Ding et al., ICLR 2024, arXiv 2404.14618, §3).

All functions take the small and the large model's qualities over the same queries, of shapes (queries, samples), where
the two models may have been asked a different number of times, and return one label a query, of shape (queries,),
float64 in [0, 1]. The orientation is the paper's: 1 = the small model is good enough. (A difficulty, as the online
half means it, is 1 minus a label.)

    r_det    one answer per model:   1[small ≥ large]
    r_prob   all cross pairs:        Pr[small ≥ large]
    r_trans  all cross pairs:        Pr[small ≥ large − t*], where t* spreads the labels most

Where the large model nearly always wins, r_prob is 0 for nearly all queries and teaches nothing; t* gives it back its
spread (§3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError

__all__ = [
    "BestTransformation",
    "best_transformation",
    "default_grid",
    "deterministic_labels",
    "gini_mean_difference",
    "probabilistic_labels",
    "transformed_labels",
]

Floats = npt.NDArray[np.float64]

COMPARISONS_AT_ONCE = 1 << 22
"""Cross pairs held in memory together: 4 MB of booleans."""

ROUNDING = 1e-12
"""Spreads nearer than this are the same number summed in another order, so that "ties → smallest t" means ties."""


@dataclass(frozen=True, slots=True, eq=False)
class BestTransformation:
    """The relaxation that tells the queries apart best.

    Attributes:
        t: The relaxation t* ≥ 0, in units of quality.
        labels: The labels at t*, in [0, 1], shape (queries,).
        spread: Their Gini mean difference, in [0, 0.5].
        collapsed: Whether t* changed nothing, so that r_trans is r_prob. Always so with qualities of 0 and 1 only: any
            t below 1 leaves every comparison as it is, and any t from 1 on makes every label 1.
    """

    t: float
    labels: Floats
    spread: float
    collapsed: bool


def _finite(name: str, values: npt.ArrayLike) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        # rows of different lengths end here too
        raise OutcomeError(f"{name} is no array of numbers of one shape ({error})") from error
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise OutcomeError(
            f"{name} has {bad} of {array.size} values that are NaN or infinite; drop those queries first"
        )
    return array


def _checked(small: npt.ArrayLike, large: npt.ArrayLike) -> tuple[Floats, Floats]:
    qualities = _finite("small", small), _finite("large", large)
    for name, values in zip(("small", "large"), qualities, strict=True):
        if values.ndim != 2:
            hint = "; for one answer a query use values[:, None]" if values.ndim == 1 else ""
            raise OutcomeError(f"{name} has shape (queries, samples), got {values.shape}{hint}")
        if not values.size:
            missing = "queries" if not values.shape[0] else "samples"
            raise OutcomeError(f"{name} has no {missing}: its shape is {values.shape}")
    if len(qualities[0]) != len(qualities[1]):
        raise OutcomeError(
            f"both models answer the same queries, got {len(qualities[0])} of small and {len(qualities[1])} of large"
        )
    return qualities


def _checked_t(t: npt.ArrayLike) -> Floats:
    values = _finite("t", t)
    if (values < 0).any():
        raise OutcomeError(f"t only relaxes the comparison: t ≥ 0, got {values.min():g}")
    return values


def _share_of_pairs(small: Floats, large: Floats, t: float) -> Floats:
    queries = len(small)
    chunk = max(1, COMPARISONS_AT_ONCE // (small.shape[1] * large.shape[1]))
    labels = np.empty(queries)
    for start in range(0, queries, chunk):
        rows = slice(start, start + chunk)
        labels[rows] = (small[rows, :, None] >= large[rows, None, :] - t).mean(axis=(1, 2))
    return labels


def deterministic_labels(small: npt.ArrayLike, large: npt.ArrayLike) -> Floats:
    """r_det: whether the small model's first answer is at least as good as the large one's (§3.1).

    Args:
        small: Qualities, shape (queries, samples); only sample 0 counts.
        large: The large model's, over the same queries.

    Returns:
        0 or 1, shape (queries,).

    Raises:
        OutcomeError: NaN, a wrong shape, no queries or samples, or different queries.
    """
    ours, theirs = _checked(small, large)
    labels: Floats = (ours[:, 0] >= theirs[:, 0]).astype(np.float64)
    return labels


def probabilistic_labels(small: npt.ArrayLike, large: npt.ArrayLike) -> Floats:
    """r_prob: how probably the small model's answer is at least as good, over all cross pairs of samples (§3.2).

    The authors' code compares every sample of one model with every sample of the other (10 × 10), which has less
    variance than ten draws in pairs, and so does this.

    Args:
        small: Qualities, shape (queries, samples).
        large: The large model's over the same queries, possibly of another number of samples.

    Returns:
        Shares in [0, 1], shape (queries,).

    Raises:
        OutcomeError: NaN, a wrong shape, no queries or samples, or different queries.
    """
    return _share_of_pairs(*_checked(small, large), 0.0)


def transformed_labels(small: npt.ArrayLike, large: npt.ArrayLike, t: float) -> Floats:
    """r_trans at a given t: how probably the small model's answer falls short by no more than t (§3.3).

    Args:
        small: Qualities, shape (queries, samples).
        large: The large model's over the same queries, possibly of another number of samples.
        t: How much worse is still good enough, ≥ 0, in units of quality; 0 gives ``probabilistic_labels``.

    Returns:
        Shares in [0, 1], not falling in t, shape (queries,).

    Raises:
        OutcomeError: NaN, a wrong shape, no queries or samples, different queries, or t < 0.
    """
    ours, theirs = _checked(small, large)
    relaxation = _checked_t(t)
    if relaxation.ndim:
        raise OutcomeError(
            f"t is one number, got an array of shape {relaxation.shape}; for many use best_transformation"
        )
    return _share_of_pairs(ours, theirs, float(relaxation))


def gini_mean_difference(labels: npt.ArrayLike) -> float:
    """Mean absolute difference over all N² ordered pairs of labels, what t* maximises (§3.3).

    Sorted ascending, label i is above i − 1 others and below N − i, so that the double sum is
    (2/N²) Σ (2i − N − 1) y_(i): O(N log N).

    Args:
        labels: Any finite numbers, shape (n,), n ≥ 1.

    Returns:
        ≥ 0; at most 0.5 for labels in [0, 1], and 2p(1 − p) for labels of which a share p is 1 and the rest 0.

    Raises:
        OutcomeError: NaN, or no array of shape (n,) with n ≥ 1.
    """
    values = _finite("labels", labels)
    if values.ndim != 1 or not values.size:
        raise OutcomeError(f"labels have shape (n,), n ≥ 1, got {values.shape}")
    n = len(values)
    weights = 2.0 * np.arange(1, n + 1) - n - 1
    # the weights sum to 0: taking the middle off changes nothing but the rounding
    return max(0.0, 2.0 * float(weights @ (np.sort(values) - np.median(values))) / n**2)


def default_grid(small: npt.ArrayLike, large: npt.ArrayLike, points: int = 50) -> Floats:
    """Relaxations worth trying: evenly from 0 to the largest gap, at which every label is 1.

    The paper says that it searched a grid and not which one; this one is ours.

    Args:
        small: Qualities, shape (queries, samples).
        large: The large model's over the same queries.
        points: How many, ≥ 2.

    Returns:
        Rising values from 0, shape (points,); only the 0 where no answer of the large model beats any of the small.

    Raises:
        OutcomeError: As for the labels, or fewer than 2 points.
    """
    ours, theirs = _checked(small, large)
    if points < 2:
        raise OutcomeError(f"a grid has at least 2 points, got {points}")
    largest = float((theirs.max(axis=1) - ours.min(axis=1)).max())
    return np.linspace(0.0, largest, points) if largest > 0.0 else np.zeros(1)


def best_transformation(small: npt.ArrayLike, large: npt.ArrayLike, *, grid: npt.ArrayLike) -> BestTransformation:
    """r_trans: the labels at the t of a grid that maximises their Gini mean difference (§3.3).

    Args:
        small: Qualities, shape (queries, samples).
        large: The large model's over the same queries, possibly of another number of samples.
        grid: Relaxations to try, each ≥ 0, in any order, shape (k,), k ≥ 1; ``default_grid`` has some.

    Returns:
        The best t (of several equally good ones the smallest, which says the least untruth about the small model), its
        labels, and their spread.

    Raises:
        OutcomeError: As for the labels, or a grid that is empty, not 1-dimensional, NaN or below 0.
    """
    ours, theirs = _checked(small, large)
    relaxations = _checked_t(grid)
    if relaxations.ndim != 1 or not relaxations.size:
        raise OutcomeError(f"grid is a sequence of at least one t ≥ 0, got an array of shape {relaxations.shape}")
    relaxations = np.unique(relaxations)
    spreads = np.array([gini_mean_difference(_share_of_pairs(ours, theirs, float(t))) for t in relaxations])
    best = int(np.flatnonzero(spreads >= spreads.max() - ROUNDING)[0])
    labels = _share_of_pairs(ours, theirs, float(relaxations[best]))
    collapsed = bool(np.array_equal(labels, _share_of_pairs(ours, theirs, 0.0)))
    return BestTransformation(float(relaxations[best]), labels, float(spreads[best]), collapsed)
