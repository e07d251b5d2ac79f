"""How well a difficulty forecasts that the small model falls short: does it order the queries, is it a probability?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.evaluation.sweeps import Ordered, checked

__all__ = ["Calibration", "ReliabilityBin", "brier_score", "calibration", "shortfall_auc"]

Floats = npt.NDArray[np.float64]

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Queries of like difficulty.

    Attributes:
        rows: How many they are.
        difficulty: Their mean difficulty.
        observed: Share of them on which the small model falls short.
        low: Lower end of the 95 % Wilson interval of ``observed``.
        high: Its upper end.
    """

    rows: int
    difficulty: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a difficulty of 0.3 means that the small model falls short on 30 % of such queries.

    Attributes:
        ece: Expected calibration error: mean distance of difficulty and observed share over bins of equal mass.
        floor: The error that a perfectly calibrated difficulty would show with so many rows a bin, on average. Observed
            shares scatter, and the distance counts all scatter as error: an ``ece`` near ``floor`` shows none.
        debiased: Root of the mean squared distance without that scatter (Kumar, Liang and Ma 2019, arXiv 1909.10155,
            §4); 0 where the scatter explains all.
        brier: Mean squared distance of the difficulty and what happened, 0 or 1.
        brier_constant: The same of the best constant, which knows the base rate only.
        bins: From easy to hard.
    """

    ece: float
    floor: float
    debiased: float
    brier: float
    brier_constant: float
    bins: tuple[ReliabilityBin, ...]


def shortfall_auc(difficulty: npt.ArrayLike, small_quality: npt.ArrayLike, large_quality: npt.ArrayLike) -> float:
    """Probability that a query on which the small model falls short is scored above one on which it does not; ties ½.

    Args:
        difficulty: Scores, higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, shape (n,).
        large_quality: Quality of the large model's answers, shape (n,).

    Returns:
        0.5 for a router that guesses. All shortfalls weigh alike, however large the gap, and a query on which both
        models do badly counts against a router that sends it to the large one.

    Raises:
        OutcomeError: Wrong shapes, NaN, or a small model that falls short always or never.
    """
    scores, small, large = checked(difficulty=difficulty, small_quality=small_quality, large_quality=large_quality)
    short = int((small < large).sum())
    if short in (0, len(small)):
        raise OutcomeError(f"the small model falls short on {short} of {len(small)} queries: there are no two classes")
    return float(Ordered(scores, small, large).sweep().auc[0])


def _forecast(difficulty: npt.ArrayLike, falls_short: npt.ArrayLike) -> tuple[Floats, Floats]:
    forecast, happened = checked(difficulty=difficulty, falls_short=falls_short)
    for name, values in (("difficulty", forecast), ("falls_short", happened)):
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise OutcomeError(
                f"{name} is a probability from 0 to 1, got values from {values.min():g} to {values.max():g}"
            )
    return forecast, happened


def brier_score(difficulty: npt.ArrayLike, falls_short: npt.ArrayLike) -> float:
    """Mean squared distance of a forecast and what happened (Brier 1950).

    Args:
        difficulty: Forecasts, in [0, 1], shape (n,).
        falls_short: 1 where the small model falls short, else 0; or a share of samples, shape (n,).

    Returns:
        0 is best; base rate × (1 − base rate) is what the best constant has.

    Raises:
        OutcomeError: Wrong shapes, NaN, or values out of range.
    """
    forecast, happened = _forecast(difficulty, falls_short)
    return float(((forecast - happened) ** 2).mean())


def _bins(forecast: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The bin of each query, of about equal mass; queries of one difficulty are never parted."""
    _, block, counts = np.unique(forecast, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2.0) / len(forecast)
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[block.ravel()]


def calibration(difficulty: npt.ArrayLike, falls_short: npt.ArrayLike, *, bins: int = BINS) -> Calibration:
    """Compare difficulties with what happened, in bins of equal mass.

    Args:
        difficulty: Forecasts, in [0, 1], shape (n,).
        falls_short: 1 where the small model falls short, else 0, shape (n,).
        bins: At most so many; fewer where difficulties are tied, ≥ 1.

    Raises:
        OutcomeError: Wrong shapes, NaN, values out of range, or no bins.
    """
    forecast, happened = _forecast(difficulty, falls_short)
    if bins < 1:
        raise OutcomeError(f"calibration needs at least one bin, got {bins}")
    member = _bins(forecast, bins)
    rows = np.bincount(member)
    kept = rows > 0
    rows = rows[kept]
    expected = np.bincount(member, weights=forecast)[kept] / rows
    observed = np.bincount(member, weights=happened)[kept] / rows
    mass = rows / len(forecast)
    variance = observed * (1.0 - observed)
    # of a normal variable the mean distance from its centre is sqrt(2/π) deviations
    scatter = np.sqrt(2.0 / np.pi * expected * (1.0 - expected) / rows)
    # with one row the variance is not known: it counts whole
    squared = (expected - observed) ** 2 - np.where(rows > 1, variance / np.maximum(rows - 1, 1), 0.0)
    rate = float(happened.mean())
    return Calibration(
        ece=float(mass @ np.abs(expected - observed)),
        floor=float(mass @ scatter),
        debiased=math.sqrt(max(0.0, float(mass @ squared))),
        brier=brier_score(forecast, happened),
        brier_constant=float(((rate - happened) ** 2).mean()),
        bins=tuple(
            ReliabilityBin(int(count), float(mean), float(share), *_wilson(float(share), int(count)))
            for count, mean, share in zip(rows, expected, observed, strict=True)
        ),
    )


def _wilson(share: float, rows: int) -> tuple[float, float]:
    """Wilson's interval (1927) at 95 %: it stays in [0, 1] and does not collapse at 0 and 1."""
    z = 1.959964
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    # it holds the share itself, which rounding may deny at 0 and 1
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
