"""Probabilities, curves and promises from one's own labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from shared_router.artifact import Artifact
from shared_router.errors import HybridError, OutcomeError
from shared_router.knob import Knob
from shared_router.router import DEFAULT_ROUTER, Router
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training.calibrating import (
    calibrated,
    calibrator_by,
    isotonic_calibrator,
    own_calibrator,
    own_curve,
    own_set,
    promises,
)


def qualities(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    raw = generator.normal(size=n)
    chance = 1.0 / (1.0 + np.exp(-2.0 * raw))
    return raw, (generator.random(n) > chance).astype(np.float64), np.ones(n)


def prompts(n: int = 400, *, scale: float = 1.0) -> LabeledPrompts:
    generator = np.random.default_rng(1)
    rows = []
    for i in range(n):
        words = int(generator.integers(1, 60))
        small = float(generator.random() > words / 60)
        rows.append(LabeledPrompt(f"why {i} " + "and so on " * words, (scale * small,), (scale,)))
    return labeled_from(rows)


def test_scores_that_part_the_rows_cleanly_keep_their_order() -> None:
    small, large = np.repeat([0.0, 1.0], 30), np.ones(60)
    raw = np.linspace(1e-4, 0.0, 60)
    difficulty = own_calibrator(raw, small, large).probability(raw)
    assert len(np.unique(difficulty)) == 60
    assert ((difficulty > 0.0) & (difficulty < 1.0)).all()
    assert difficulty.mean() == pytest.approx(0.5)


@pytest.mark.parametrize("raw", [np.linspace(0, 1, 60), np.zeros(60)])
def test_scores_that_say_nothing_cannot_be_calibrated(raw: np.ndarray) -> None:
    with pytest.raises(OutcomeError):
        own_calibrator(raw, np.repeat([0.0, 1.0], 30), np.ones(60))


def test_the_curve_on_a_scale_below_zero_loses_a_positive_share() -> None:
    raw, small, large = qualities()
    calibration = own_calibrator(raw, small, large)
    below = own_curve(raw, small - 3.0, large - 3.0, calibration)
    assert below.drop[0] == pytest.approx((large.mean() - small.mean()) / (3.0 - large.mean()))
    assert math.isclose(below.drop[-1], 0.0, abs_tol=1e-12)
    with pytest.raises(OutcomeError, match="shift the scale"):
        own_curve(raw, small - 1.0, large - 1.0, calibration)
    with pytest.raises(OutcomeError, match="no better than the small one"):
        own_curve(raw, large, small, calibration)


def test_isotonic_is_near_the_truth_and_rises_strictly() -> None:
    raw, small, large = qualities(4000)
    difficulty = isotonic_calibrator(raw, small, large).probability(raw)
    truth = 1.0 / (1.0 + np.exp(-2.0 * raw))
    assert np.abs(difficulty - truth).mean() < 0.03
    order = np.argsort(raw)
    assert (np.diff(difficulty[order]) >= 0).all()
    # ties by rounding only
    assert len(np.unique(difficulty)) > 0.98 * len(raw)


def test_isotonic_refuses_a_score_that_falls() -> None:
    raw, small, large = qualities()
    with pytest.raises(OutcomeError, match="one level only"):
        isotonic_calibrator(-raw, small, large)
    with pytest.raises(HybridError, match="platt or isotonic"):
        calibrator_by("keep", raw, small, large)


def test_a_range_that_is_not_known_certifies_nothing() -> None:
    difficulty, small, large = np.array([0.1, 0.9]), np.array([0.0, 2.0]), np.array([1.0, 5.0])
    assert own_set(difficulty, small, large, None) is None
    known = own_set(difficulty, small, large, (0.0, 5.0))
    assert known is not None
    assert known.quality_range == (0.0, 5.0)
    with pytest.raises(OutcomeError, match=r"large lies in \[0, 4\]"):
        own_set(difficulty, small, large, (0.0, 4.0))


@pytest.mark.parametrize("method", ["platt", "isotonic", "keep"])
def test_the_embedded_router_calibrated_on_own_traffic(method: str, tmp_path: Path) -> None:
    rows = prompts()
    artifact = calibrated(Artifact.load(DEFAULT_ROUTER), rows, method=method, name="mine")  # type: ignore[arg-type]
    artifact.save(tmp_path / "mine")
    router = Router.load(tmp_path / "mine")
    assert router.own_pair
    assert router.router_id.startswith("mine@")
    decision = router.route("why", Knob("quality", 0.5, 0.9))
    assert decision.certified
    assert decision.target == "small"
    difficulty = router.difficulty(rows.prompts)
    ranking = Router.default().difficulty(rows.prompts)
    assert (np.argsort(difficulty, kind="stable") == np.argsort(ranking, kind="stable")).mean() > 0.9
    if method != "keep":
        assert difficulty.mean() == pytest.approx((rows.small < rows.large).mean(), abs=0.03)


def test_promises_are_told_as_measured_and_as_certified() -> None:
    artifact = calibrated(Artifact.load(DEFAULT_ROUTER), prompts())
    assert artifact.calibration_set is not None
    found = promises(artifact.curve, artifact.calibration_set)
    assert [promise.knob.name for promise in found] == ["quality"] * 4 + ["max_drop"] * 2
    for promise in found:
        assert promise.certificate is not None
        assert promise.measured.large_share is not None
        # a guarantee costs something
        assert promise.certificate.large_share >= promise.measured.large_share - 0.02
