"""Raw scores on labelled prompts → probabilities, an operating curve, and what can be promised."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from shared_router.artifact import Artifact
from shared_router.calibration import Calibrator, IsotonicCalibrator, LogisticCalibrator
from shared_router.calibration_set import CalibrationSet
from shared_router.certificate import CertifiedThreshold, certified_threshold
from shared_router.errors import HybridError, MissingExtraError, OutcomeError
from shared_router.knob import Knob, OperatingCurve, OperatingPoint, operating_point
from shared_router.scorers import scorer_class
from shared_router.tables.labeled import LabeledPrompts, teachable
from shared_router.training.fit_default import PairOutcomes, logistic_calibrator, measured_curve

__all__ = [
    "CALIBRATION_METHODS",
    "CalibrationMethod",
    "Promise",
    "calibrated",
    "calibrator_by",
    "isotonic_calibrator",
    "own_calibrator",
    "own_curve",
    "own_set",
    "promises",
]

Floats = npt.NDArray[np.float64]

CalibrationMethod: TypeAlias = Literal["platt", "isotonic", "keep"]
CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)

SHOWN_PROMISES = (
    Knob("quality", 0.5),
    Knob("quality", 0.8),
    Knob("quality", 0.9),
    Knob("quality", 0.95),
    Knob("max_drop", 0.05),
    Knob("max_drop", 0.01),
)

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Promise:
    """What a wish costs, as measured and as certified.

    Attributes:
        knob: The wish, with its confidence.
        measured: The cheapest operating point that kept it on the calibration set.
        certificate: What can be promised; None where the promise cannot be stated.
    """

    knob: Knob
    measured: OperatingPoint
    certificate: CertifiedThreshold | None


def own_calibrator(raw: Floats, small: Floats, large: Floats) -> LogisticCalibrator:
    """Platt's map from raw score to P(small falls short of large), with his correction for few labels.

    Platt (1999, §2.2) replaces the labels 1 and 0 by (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2). A soft label is the same as
    the row twice, with either label, weighted; so that scores that part the rows cleanly do not all become 0 or 1.

    Args:
        raw: Raw scores of prompts that the scorer did not learn from, shape (n,).
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, shape (n,).

    Raises:
        OutcomeError: The score does not rise with falling short.
    """
    short = small < large
    soft = np.where(short, (short.sum() + 1.0) / (short.sum() + 2.0), 1.0 / ((~short).sum() + 2.0))
    zeros, ones = np.zeros(len(raw)), np.ones(len(raw))
    # in units of their deviation: Newton's steps and their small ridge are made for scores of order 1
    scale = float(raw.std())
    if scale < 1e-12:
        raise OutcomeError("the score is the same for every prompt")
    twice = PairOutcomes(
        raw=np.concatenate([raw, raw]) / scale,
        small=np.concatenate([zeros, ones]),
        large=np.concatenate([ones, zeros]),
        weight=np.concatenate([soft, 1.0 - soft]),
    )
    calibration = logistic_calibrator(twice)
    return LogisticCalibrator(calibration.slope / scale, calibration.intercept)


def isotonic_calibrator(raw: Floats, small: Floats, large: Floats) -> IsotonicCalibrator:
    """Centred isotonic regression of falling short on the raw score (Oron & Flournoy 2017, arXiv 1701.05964).

    It follows any rising shape, which Platt's map cannot, and wants more labels for it (some 500).

    Args:
        raw: Raw scores of prompts that the scorer did not learn from, shape (n,).
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, shape (n,).

    Raises:
        MissingExtraError: scikit-learn is not installed.
        OutcomeError: The score does not rise with falling short.
    """
    try:
        isotonic: Any = importlib.import_module("sklearn.isotonic")
    except ImportError as error:
        raise MissingExtraError('isotonic calibration needs scikit-learn: pip install "hybrid-llm[train]"') from error
    fitted = isotonic.IsotonicRegression().fit(raw, (small < large).astype(np.float64)).predict(raw)
    levels, block = np.unique(fitted, return_inverse=True)
    count = np.bincount(block)
    middle = np.bincount(block, weights=raw) / count
    # no share of a sample shows that something never happens; where clipping makes two end blocks equal, one stays
    inside = np.clip(levels, 1.0 / (len(raw) + 2.0), 1.0 - 1.0 / (len(raw) + 2.0))
    kept = np.append(True, np.diff(inside) > 0)
    if kept.sum() < 2:
        raise OutcomeError("the score does not rise with falling short: isotonic regression finds one level only")
    return IsotonicCalibrator(tuple(map(float, middle[kept])), tuple(map(float, inside[kept])))


def calibrator_by(method: CalibrationMethod, raw: Floats, small: Floats, large: Floats) -> Calibrator:
    """A calibrator by the name of its method.

    Raises:
        HybridError: There is no such method, or it is "keep", which makes none.
        OutcomeError: The score does not rise with falling short.
    """
    if method == "platt":
        return own_calibrator(raw, small, large)
    if method == "isotonic":
        return isotonic_calibrator(raw, small, large)
    raise HybridError(f"a calibrator is made by platt or isotonic, got {method!r}")


def own_curve(raw: Floats, small: Floats, large: Floats, calibration: Calibrator) -> OperatingCurve:
    """The operating curve on prompts that the scorer did not learn from.

    Args:
        raw: Raw scores, shape (n,).
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, on average better, shape (n,).
        calibration: Raw score → difficulty.

    Raises:
        OutcomeError: The large model's mean quality is 0, or no better than the small one's.
    """
    mean = float(large.mean())
    if abs(mean) < 1e-12:
        raise OutcomeError(
            "the large model's mean quality is 0, of which no relative loss can be stated; shift the scale"
        )
    if mean <= float(small.mean()):
        raise OutcomeError(
            "on the prompts that were held out the large model is no better than the small one, so that there is no "
            "gain of which a share could be kept; label more prompts, or use the small model"
        )
    curve = measured_curve(PairOutcomes(raw, small, large, np.ones(len(raw))), calibration)
    # on a scale below 0, such as BARTScore's, a loss is relative to the size of the mean
    return curve if mean > 0.0 else replace(curve, drop=tuple(-lost for lost in curve.drop))


def own_set(
    difficulty: Floats, small: Floats, large: Floats, quality_range: tuple[float, float] | None
) -> CalibrationSet | None:
    """The calibration set, if the range of qualities is known.

    Args:
        difficulty: Calibrated difficulties of prompts that the scorer did not learn from, shape (n,).
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, shape (n,).
        quality_range: Lowest and highest quality that can occur; None for 0 to 1 if all lie in it.

    Returns:
        None where the range is not said and qualities lie outside 0 to 1: a promise needs to know how bad an answer can
        be, which a sample does not tell.

    Raises:
        OutcomeError: A quality lies outside the range that was said.
    """
    if quality_range is None:
        ends = min(small.min(), large.min()), max(small.max(), large.max())
        if ends[0] < 0.0 or ends[1] > 1.0:
            return None
        quality_range = (0.0, 1.0)
    return CalibrationSet(difficulty, small, large, quality_range)


def promises(
    curve: OperatingCurve,
    known: CalibrationSet,
    *,
    wishes: Sequence[Knob] = SHOWN_PROMISES,
    confidence: float = CONFIDENCE,
) -> list[Promise]:
    """What each of several wishes costs, as measured and as certified.

    Args:
        curve: Measured on the calibration set.
        known: The calibration set.
        wishes: ``quality`` and ``max_drop`` knobs.
        confidence: Of the certificates, in (0, 1).
    """
    found = []
    for wish in wishes:
        knob = Knob(wish.name, wish.value, confidence)
        try:
            certificate = certified_threshold(
                known.difficulty,
                known.small,
                known.large,
                quality_range=known.quality_range,
                confidence=confidence,
                **{wish.name: wish.value},  # type: ignore[arg-type]  # a promise's value is a number
            )
        except OutcomeError:  # a relative drop of qualities of both signs
            certificate = None
        found.append(Promise(knob, operating_point(wish, curve), certificate))
    return found


def calibrated(
    artifact: Artifact,
    labeled: LabeledPrompts,
    *,
    method: CalibrationMethod = "platt",
    quality_range: tuple[float, float] | None = None,
    name: str | None = None,
) -> Artifact:
    """A router with its difficulties, curve and certificates measured on one's own pair of models.

    The prompts must not have taught the router; they are what promises are certified on, and a difficulty that was
    learned from them would look better than it is. Platt's map, isotonic or not, is fitted on the same prompts: it
    changes no ranking, and a certificate rests on the ranking alone.

    Args:
        artifact: Any router, the embedded one too.
        labeled: Prompts with the quality of both models' answers, as a random sample of the traffic.
        method: "platt", "isotonic", or "keep" for the calibration that the router has.
        quality_range: Lowest and highest quality that can occur; None for 0 to 1 if all lie in it.
        name: A name for the new router; None for the old one's.

    Returns:
        The same scorer with new calibration, curve and calibration set.

    Raises:
        OutcomeError: The prompts cannot be used, or the score says nothing about them.
    """
    teachable(labeled)
    scorer = scorer_class(artifact.scorer_kind).from_state(artifact.scorer_config, artifact.tensors)
    raw = scorer.score(labeled.prompts)
    calibration = artifact.calibration if method == "keep" else calibrator_by(method, raw, labeled.small, labeled.large)
    return replace(
        artifact,
        name=artifact.name if name is None else name,
        calibration=calibration,
        curve=own_curve(raw, labeled.small, labeled.large, calibration),
        own_pair=True,
        calibration_set=own_set(calibration.probability(raw), labeled.small, labeled.large, quality_range),
        metadata={
            **artifact.metadata,
            "calibrated_on": len(labeled),
            "calibration_method": method,
            "small_quality": float(labeled.small.mean()),
            "large_quality": float(labeled.large.mean()),
        },
        content_hash="",
    )
