"""Hybrid LLM's metrics on values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.evaluation.drops import calls_saved, drop_at, gap_difference, relative_drop

# falling difficulty; the large model is needed on the two hardest, and wrong on the easiest
SCORE = np.array([4.0, 3.0, 2.0, 1.0])
SMALL = np.array([0.0, 0.0, 1.0, 1.0])
LARGE = np.array([1.0, 1.0, 1.0, 0.0])


def test_the_drop_along_the_cost_advantage() -> None:
    # quality of the route: 3/4 at 0, 1 at 1/4 and 1/2, 3/4 at 3/4, 1/2 at 1
    assert drop_at(SCORE, SMALL, LARGE, [0.0, 0.25, 0.5, 0.75, 1.0]) == pytest.approx([0, -1 / 3, -1 / 3, 0, 1 / 3])
    # between two queries the line
    assert drop_at(SCORE, SMALL, LARGE, 0.125) == pytest.approx([-1 / 6])


def test_tied_queries_are_the_straight_line_of_a_random_router() -> None:
    assert drop_at(np.zeros(4), SMALL, LARGE, [0.25, 0.5]) == pytest.approx([0.25 / 3, 0.5 / 3])


def test_on_a_scale_below_zero_a_loss_is_a_loss() -> None:
    # BARTScore: −2 is worse than −1
    assert relative_drop(-1.1, -1.0) == pytest.approx(0.1)
    assert relative_drop(-0.9, -1.0) == pytest.approx(-0.1)
    assert drop_at([2, 1], [-2, -2], [-1, -1], 1.0) == pytest.approx([1.0])


def test_the_gap_difference_is_zero_for_guessing_and_grows_with_knowing() -> None:
    assert gap_difference(np.zeros(4), SMALL, LARGE, [0.1, 0.5, 0.9]) == pytest.approx([0, 0, 0], abs=1e-12)
    # sent to small: gaps 0 and 1; to large: −1 and −1
    assert gap_difference(SCORE, SMALL, LARGE, 0.5) == pytest.approx([1.5])
    assert gap_difference(-SCORE, SMALL, LARGE, 0.5) == pytest.approx([-1.5])


def test_calls_saved_at_a_loss() -> None:
    assert calls_saved(SCORE, SMALL, LARGE, 0.0) == pytest.approx(0.75)
    assert calls_saved(SCORE, SMALL, LARGE, 1 / 6) == pytest.approx(0.875)
    assert calls_saved(SCORE, SMALL, LARGE, 1 / 3) == 1.0
    assert calls_saved(np.zeros(4), SMALL, LARGE, 1 / 6) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("function", "setting", "message"),
    [
        (drop_at, 1.5, "fraction from 0 to 1, got 1.5"),
        (drop_at, np.nan, "NaN"),
        (gap_difference, 0.0, "asked nothing"),
        (gap_difference, [0.5, 1.0], "asked nothing"),
        (calls_saved, -0.1, "loss, ≥ 0"),
        (calls_saved, np.nan, "loss, ≥ 0"),
    ],
)
def test_settings_out_of_range(function: object, setting: object, message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        function(SCORE, SMALL, LARGE, setting)  # type: ignore[operator]


def test_of_a_mean_of_zero_no_part_can_be_lost() -> None:
    for function in (drop_at, calls_saved):
        with pytest.raises(OutcomeError, match="shift the scale"):
            function([1, 2], [0, 1], [-1, 1], 0.1)
