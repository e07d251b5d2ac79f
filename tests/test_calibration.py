"""Raw score → difficulty, by two strictly increasing maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.calibration import Calibrator, IsotonicCalibrator, LogisticCalibrator, calibrator_from
from shared_router.errors import ArtifactFormatError

ISOTONIC = IsotonicCalibrator((-1.0, 0.0, 2.0), (0.1, 0.3, 0.8))


@pytest.mark.parametrize("calibrator", [ISOTONIC, LogisticCalibrator(1.5, -0.25)])
def test_rises_strictly_within_bounds_and_comes_back(calibrator: Calibrator) -> None:
    raw = np.linspace(-4.0, 4.0, 200)
    difficulty = calibrator.probability(raw)
    assert (np.diff(difficulty) > 0).all()
    assert difficulty.min() >= 0.0
    assert difficulty.max() <= 1.0
    assert calibrator_from(calibrator.to_state()) == calibrator


def test_isotonic_goes_straight_between_its_knots_and_levels_off_beyond() -> None:
    assert ISOTONIC.probability(np.array([-1.0, -0.5, 1.0, 2.0])).tolist() == [0.1, 0.2, 0.55, 0.8]
    assert ISOTONIC.probability(np.array([-1e9, 1e9])).tolist() == [0.0, 1.0]


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20, unique=True))
def test_one_score_is_mapped_alone_as_in_a_batch(raw: list[float]) -> None:
    together = ISOTONIC.probability(np.array(raw))
    assert together.tolist() == [float(ISOTONIC.probability(np.array([one]))[0]) for one in raw]


@pytest.mark.parametrize(
    ("raw", "difficulty"),
    [((0.0,), (0.5,)), ((0.0, 1.0), (0.5,)), ((1.0, 0.0), (0.1, 0.2)), ((0.0, 1.0), (0.2, 0.2)), ((0, 1), (0.0, 0.5))],
)
def test_a_map_that_does_not_rise_is_refused(raw: tuple[float, ...], difficulty: tuple[float, ...]) -> None:
    with pytest.raises(ArtifactFormatError, match="strictly rising"):
        IsotonicCalibrator(raw, difficulty)
