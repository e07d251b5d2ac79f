"""Raw score → calibrated difficulty in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared_router.errors import ArtifactFormatError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["DIFFICULTY_DECIMALS", "LogisticCalibrator"]

DIFFICULTY_DECIMALS = 6
"""Difficulties are rounded to this many decimals: ``tanh`` differs in its last bit between maths libraries, and the
same text shall have the same difficulty on every machine."""


@dataclass(frozen=True, slots=True)
class LogisticCalibrator:
    """Platt scaling: ``1 / (1 + exp(-(slope * raw + intercept)))`` (Platt 1999, §2).

    Strictly increasing, so that it changes no ranking and makes no ties, as a step function (isotonic regression)
    would.

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
        """Calibrated difficulty of raw scores.

        Args:
            raw: Raw scores, any shape.

        Returns:
            Difficulties in [0, 1] of the same shape, rounded to ``DIFFICULTY_DECIMALS``.
        """
        import numpy as np  # takes as long as all else together: loaded with the first score, not with the package

        # tanh does not overflow where exp would
        probability = 0.5 * (1.0 + np.tanh(0.5 * (self.slope * raw + self.intercept)))
        return np.round(probability, DIFFICULTY_DECIMALS)
