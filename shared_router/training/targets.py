"""Marks of many models → what a difficulty score shall learn. Pure functions of arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError

__all__ = ["centred", "fail_rate", "gap", "item_difficulty", "source_weights", "standardised"]

Floats = npt.NDArray[np.float64]


def _halves(quality: Floats) -> tuple[Floats, Floats]:
    if quality.ndim != 2 or quality.shape[1] < 2:
        raise OutcomeError(f"marks of at least two models are needed, shape (n, m), got {quality.shape}")
    everybody = _row_mean(quality, np.full(len(quality), np.nan))
    if np.isnan(everybody).any():
        raise OutcomeError(f"{int(np.isnan(everybody).sum())} queries have no mark at all; drop them first")
    quality = quality[:, np.isfinite(quality).any(axis=0)]
    order = np.argsort(np.nanmean(quality, axis=0), kind="stable")
    middle = (len(order) + 1) // 2
    small = _row_mean(quality[:, order[:middle]], everybody)
    return small, _row_mean(quality[:, order[middle:]], small)


def _row_mean(quality: Floats, otherwise: Floats) -> Floats:
    known = np.isfinite(quality)
    count = known.sum(axis=1)
    mean = np.where(known, quality, 0.0).sum(axis=1) / np.maximum(count, 1)
    result: Floats = np.where(count > 0, mean, otherwise)
    return result


def fail_rate(quality: Floats) -> Floats:
    """How badly the weaker half of the models did on each query.

    Args:
        quality: Marks in [0, 1], NaN where a model was not asked, shape (n, m).

    Returns:
        Shape (n,), in [0, 1].
    """
    return 1.0 - _halves(quality)[0]


def gap(quality: Floats) -> Floats:
    """How much better the stronger half of the models did than the weaker half, on each query.

    One pair's gap is mostly noise; the mean over all weak and all strong models is the gap of a typical pair.

    Args:
        quality: Marks in [0, 1], NaN where a model was not asked, shape (n, m).

    Returns:
        Shape (n,), in [−1, 1].
    """
    small, large = _halves(quality)
    return large - small


def item_difficulty(quality: Floats, *, prior_std: float = 1.5, steps: int = 200) -> Floats:
    """Difficulty of each query in a Rasch model: P(model m is right on query i) = sigmoid(ability_m − difficulty_i).

    Fitted by alternating Newton steps with a normal prior on the difficulties (Rasch 1960; Baker & Kim 2004, ch. 7).

    Args:
        quality: Marks in [0, 1], NaN where a model was not asked, shape (n, m).
        prior_std: Standard deviation of the prior, > 0.
        steps: Newton steps.

    Returns:
        Shape (n,), higher = harder.
    """
    known = np.isfinite(quality)
    marks = np.where(known, np.clip(quality, 0.0, 1.0), 0.0)
    ability, difficulty = np.zeros(quality.shape[1]), np.zeros(len(quality))
    precision = prior_std**-2
    for _ in range(steps):
        right, weight = _rasch(ability, difficulty, known)
        ability = ability + (known * (marks - right)).sum(axis=0) / (weight.sum(axis=0) + 1e-6)
        right, weight = _rasch(ability, difficulty, known)
        slope = -(known * (marks - right)).sum(axis=1) - precision * difficulty
        difficulty = difficulty + slope / (weight.sum(axis=1) + precision)
    return difficulty


def _rasch(ability: Floats, difficulty: Floats, known: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    right = 0.5 * (1.0 + np.tanh(0.5 * (ability[None] - difficulty[:, None])))
    return right, right * (1.0 - right) * known


def centred(values: Floats, labels: npt.NDArray[np.str_]) -> Floats:
    """Values less the mean of their group, so that only differences within a group are learned.

    Args:
        values: Shape (n,) or (n, d).
        labels: Group of each row, shape (n,).
    """
    result = np.array(values, dtype=np.float64)
    for label in np.unique(labels):
        rows = labels == label
        result[rows] -= result[rows].mean(axis=0)
    return result


def standardised(values: Floats, labels: npt.NDArray[np.str_]) -> Floats:
    """Values with mean 0 and standard deviation 1 within each group; a constant group becomes 0.

    Args:
        values: Shape (n,).
        labels: Group of each row, shape (n,).
    """
    result = centred(values, labels)
    for label in np.unique(labels):
        rows = labels == label
        std = result[rows].std()
        result[rows] = result[rows] / std if std > 1e-12 else 0.0
    return result


def source_weights(labels: npt.NDArray[np.str_], *, power: float = 0.5) -> Floats:
    """Weights that keep a large source from drowning a small one: size of the source to the power −``power``.

    Args:
        labels: Source of each row, shape (n,).
        power: 0 weighs rows alike, 1 weighs sources alike.

    Returns:
        Shape (n,), with mean 1.
    """
    _, index, count = np.unique(labels, return_inverse=True, return_counts=True)
    weight = (count.astype(np.float64) ** -power)[index.ravel()]
    result: Floats = weight / weight.mean()
    return result
