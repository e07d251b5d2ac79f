"""The doubles that this project tests itself with, for your tests too.

They need no model, no file and no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from shared_router.calibration_set import CalibrationSet
from shared_router.knob import NEVER_LARGE, OperatingCurve
from shared_router.router import Router

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BrokenDifficulty", "TableDifficulty", "linear_calibration_set", "linear_curve", "table_router"]


class TableDifficulty:
    """Difficulties from a table of texts; remembers what it was asked.

    Args:
        table: Text → difficulty in [0, 1].
        otherwise: Difficulty of a text that is not in the table.

    Attributes:
        asked: One list of texts per call, in order.
    """

    def __init__(self, table: Mapping[str, float], *, otherwise: float = 0.5) -> None:
        self.table = dict(table)
        self.otherwise = otherwise
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str], /) -> npt.NDArray[np.float64]:
        """Look the texts up."""
        self.asked.append(list(texts))
        return np.array([self.table.get(text, self.otherwise) for text in texts], dtype=np.float64)


class BrokenDifficulty:
    """A scorer that raises on every call.

    Args:
        error: What it raises.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or OSError("the scorer is broken")

    def __call__(self, texts: Sequence[str], /) -> npt.NDArray[np.float64]:
        """Raise."""
        raise self.error


def linear_curve(points: int = 11) -> OperatingCurve:
    """A curve on which difficulty is uniform and every call to the large model gains the same: PGR = large share.

    The knob then reads off directly: ``quality=q`` and ``large_share=q`` both mean the threshold 1 − q. The large
    model's mean quality is twice the small one's, so that ``max_drop=d`` means a large share of 1 − 2d.

    Args:
        points: How many, evenly spaced, at least 2.
    """
    share = [round(i / (points - 1), 12) for i in range(points)]
    return OperatingCurve(
        thresholds=(NEVER_LARGE, *(round(1.0 - large, 12) for large in share[1:])),
        large_share=tuple(share),
        quality=tuple(share),
        drop=tuple(round((1.0 - large) / 2, 12) for large in share),
    )


def table_router(
    table: Mapping[str, float] | None = None,
    *,
    otherwise: float = 0.5,
    own_pair: bool = False,
    with_curve: bool = True,
    calibration_set: CalibrationSet | None = None,
) -> Router:
    """A router whose difficulties are given.

    Args:
        table: Text → difficulty in [0, 1].
        otherwise: Difficulty of any other text.
        own_pair: Whether decisions shall say ``calibrated=True``.
        with_curve: With ``linear_curve()``, or as a plain callable without one.
        calibration_set: What promises are certified on; ``linear_calibration_set()`` is one.
    """
    return Router(
        TableDifficulty(table or {}, otherwise=otherwise),
        curve=linear_curve() if with_curve else None,
        router_id="table",
        own_pair=own_pair,
        calibration_set=calibration_set,
    )


def linear_calibration_set(n: int = 1000) -> CalibrationSet:
    """Queries of evenly spread difficulty of which the small model answers the easier half and the large one all.

    So a threshold of 0.5 loses nothing, and every lower one keeps all promises.

    Args:
        n: How many, ≥ 2.
    """
    difficulty = (np.arange(n) + 0.5) / n
    return CalibrationSet(difficulty, (difficulty < 0.5).astype(np.float64), np.ones(n))
