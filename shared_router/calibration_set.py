"""The labelled queries on which promises are certified: numbers only, no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared_router.errors import OutcomeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CalibrationSet"]


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationSet:
    """n queries from which the router learned nothing, as a random sample of the traffic.

    Attributes:
        difficulty: Calibrated difficulties in [0, 1], float64, shape (n,).
        small: Quality of the small model's answers within ``quality_range``, float64, shape (n,).
        large: Quality of the large model's answers within ``quality_range``, float64, shape (n,).
        quality_range: Lowest and highest quality that can occur.
    """

    difficulty: npt.NDArray[np.float64]
    small: npt.NDArray[np.float64]
    large: npt.NDArray[np.float64]
    quality_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Reject arrays that do not fit each other.

        Raises:
            OutcomeError: They are not of one shape (n,), n ≥ 1, or not of numbers in their range.
        """
        shapes = {name: getattr(self, name).shape for name in ("difficulty", "small", "large")}
        if len(set(shapes.values())) != 1 or len(self.difficulty.shape) != 1 or not len(self.difficulty):
            raise OutcomeError(f"a calibration set has three arrays of one shape (n,), n ≥ 1, got {shapes}")
        low, high = self.quality_range
        ranges = {"difficulty": (0.0, 1.0), "small": (low, high), "large": (low, high)}
        for name, (least, most) in ranges.items():
            values = getattr(self, name)
            # written so that NaN fails it
            if not ((values >= least) & (values <= most)).all():
                raise OutcomeError(f"a calibration set's {name} lies in [{least:g}, {most:g}]; it does not, or is NaN")

    def __len__(self) -> int:
        return len(self.difficulty)
