"""Raw score → calibrated difficulty in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, cast

from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["DIFFICULTY_DECIMALS", "Calibrator", "IsotonicCalibrator", "LogisticCalibrator", "calibrator_from"]

DIFFICULTY_DECIMALS = 6
"""Difficulties are rounded to this many decimals: ``tanh`` differs in its last bit between maths libraries, and the
same text shall have the same difficulty on every machine."""


class Calibrator(Protocol):
    """A strictly increasing map, so that it changes no ranking and makes no ties."""

    def probability(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Calibrated difficulty of raw scores.

        Args:
            raw: Raw scores, any shape.

        Returns:
            Difficulties in [0, 1] of the same shape, rounded to ``DIFFICULTY_DECIMALS``.
        """
        ...

    def to_state(self) -> dict[str, JSON]:
        """JSON values from which ``calibrator_from`` builds the same one."""
        ...


@dataclass(frozen=True, slots=True)
class LogisticCalibrator:
    """Platt scaling: ``1 / (1 + exp(-(slope * raw + intercept)))`` (Platt 1999, §2).

    Attributes:
        slope: Finite and above 0 (a raw score is high where the query is hard).
        intercept: Finite.
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        """Reject a map that would turn the orientation round or yield NaN."""
        if not (math.isfinite(self.slope) and self.slope > 0 and math.isfinite(self.intercept)):
            raise ArtifactFormatError(
                "a calibrator needs a finite slope > 0 and a finite intercept, "
                f"got {self.slope!r} and {self.intercept!r}"
            )

    def probability(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """See ``Calibrator``."""
        import numpy as np  # takes as long as all else together: loaded with the first score, not with the package

        # tanh does not overflow where exp would
        probability = 0.5 * (1.0 + np.tanh(0.5 * (self.slope * raw + self.intercept)))
        return np.round(probability, DIFFICULTY_DECIMALS)

    def to_state(self) -> dict[str, JSON]:
        """See ``Calibrator``."""
        return {"slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True)
class IsotonicCalibrator:
    """Centred isotonic regression: straight lines between the middles of isotonic blocks (Oron & Flournoy 2017).

    Plain isotonic regression is a step function: it would tie all queries of a block, which no threshold could part any
    more. Through the blocks' middles the map rises strictly; beyond the first and the last it approaches 0 and 1.

    Attributes:
        raw: Middles of the blocks, strictly rising, at least 2.
        difficulty: Share of shortfalls in each, strictly rising, within (0, 1).
    """

    raw: tuple[float, ...]
    difficulty: tuple[float, ...]

    def __post_init__(self) -> None:
        """Reject a map that does not rise."""
        columns = self.raw, self.difficulty
        rises = all(math.isfinite(a) and a < b for column in columns for a, b in pairwise((*column, math.inf)))
        inside = all(0.0 < value < 1.0 for value in self.difficulty)
        if len(self.raw) != len(self.difficulty) or len(self.raw) < 2 or not (rises and inside):
            raise ArtifactFormatError(
                "an isotonic calibrator has two strictly rising columns of one length, at least 2, "
                "the second within (0, 1)"
            )

    def probability(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """See ``Calibrator``."""
        import numpy as np  # with the first score, not with the package

        inner: npt.NDArray[np.float64] = np.interp(raw, self.raw, self.difficulty)
        width = self.raw[-1] - self.raw[0]
        below = np.exp(np.minimum(raw - self.raw[0], 0.0) / width)
        above = np.exp(np.minimum(self.raw[-1] - raw, 0.0) / width)
        probability: npt.NDArray[np.float64] = np.where(raw < self.raw[0], inner * below, 1.0 - (1.0 - inner) * above)
        rounded: npt.NDArray[np.float64] = np.round(probability, DIFFICULTY_DECIMALS)
        return rounded

    def to_state(self) -> dict[str, JSON]:
        """See ``Calibrator``."""
        return {"raw": list(self.raw), "difficulty": list(self.difficulty)}


def calibrator_from(state: Mapping[str, JSON]) -> Calibrator:
    """The calibrator that ``to_state`` described; its fields say which kind it is.

    Raises:
        ArtifactFormatError: Values that make no calibrator.
        TypeError: Fields of none.
    """
    if "raw" in state:
        columns = {name: tuple(map(float, cast("list[float]", values))) for name, values in state.items()}
        return IsotonicCalibrator(**columns)
    return LogisticCalibrator(**cast("dict[str, float]", dict(state)))
