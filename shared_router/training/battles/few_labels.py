"""What a router that was learned from battles promises for a pair: with a few labels of it, and without any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.calibration import Calibrator, LogisticCalibrator
from shared_router.calibration_set import CalibrationSet
from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import Interval, paired_bootstrap
from shared_router.knob import NEVER_LARGE, OperatingCurve
from shared_router.router import Router
from shared_router.scorers import Scorer
from shared_router.scorers.bradley_terry import sigmoid
from shared_router.tables.labeled import LabeledPrompts
from shared_router.training.calibrating import own_calibrator, own_curve, own_set

__all__ = ["MIN_LABELS", "LabelResult", "Promised", "promised_by_default", "promised_by_labels"]

Floats = npt.NDArray[np.float64]

MIN_LABELS = 20
"""Fewer say nothing of how often the small model falls short, let alone of where."""

CURVE_POINTS = 101
RESAMPLES = 1000

AS_LEARNED = LogisticCalibrator(1.0, 0.0)
"""Raw scores are logarithms of the odds that the large model is preferred: their probability needs no map."""


@dataclass(frozen=True, slots=True)
class LabelResult:
    """How the router did on labels that it did not learn from.

    Attributes:
        labels: How many.
        apgr: Average performance gap recovered, with its 95 % interval; 0.5 is guessing.
        over_embedded: APGR less that of the embedded default, with the paired 95 % interval.
        over_length: APGR less that of prompt length, with the paired 95 % interval.
        follows: True if harder scores mean more shortfalls, so that the labels could set the slope of the calibration.
    """

    labels: int
    apgr: Interval
    over_embedded: Interval
    over_length: Interval
    follows: bool


@dataclass(frozen=True, slots=True)
class Promised:
    """What goes into an artifact beside the scorer.

    Attributes:
        calibration: Raw score → difficulty.
        curve: What each cut costs and keeps.
        own_pair: True if that was measured on labels of the pair.
        calibration_set: The labels, for certificates; None without.
        result: How the router did on the labels; None without.
    """

    calibration: Calibrator
    curve: OperatingCurve
    own_pair: bool
    calibration_set: CalibrationSet | None = None
    result: LabelResult | None = None


def promised_by_labels(scorer: Scorer, labeled: LabeledPrompts, *, seed: int = 0) -> Promised:
    """Calibration and curve measured on labels of the pair.

    Args:
        scorer: Learned from other prompts.
        labeled: At least ``MIN_LABELS`` prompts with the quality of both models' answers.
        seed: Of the bootstrap.

    Raises:
        OutcomeError: Too few labels, or the large model is no better on them.
    """
    if len(labeled) < MIN_LABELS:
        raise OutcomeError(
            f"{len(labeled)} different labelled prompts; {MIN_LABELS} are the least by which a router can be "
            "calibrated: label more, or leave the labels out"
        )
    raw, small, large = scorer.score(labeled.prompts), labeled.small, labeled.large
    try:
        calibration, follows = own_calibrator(raw, small, large), True
    except OutcomeError:
        # so few labels may lie against the battles by chance: the order is the battles', the level the labels'
        calibration, follows = _shifted(raw, small < large), False
    return Promised(
        calibration=calibration,
        curve=own_curve(raw, small, large, calibration),
        own_pair=True,
        calibration_set=own_set(calibration.probability(raw), small, large, None),
        result=_result(raw, labeled, follows, seed),
    )


def _shifted(raw: Floats, short: npt.NDArray[np.bool_]) -> LogisticCalibrator:
    """Slope 1, and the intercept at which the mean difficulty is the share of shortfalls (Laplace's, never 0 or 1)."""
    share = (float(short.sum()) + 1.0) / (len(short) + 2.0)
    low, high = -60.0 - float(raw.max()), 60.0 - float(raw.min())
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sigmoid(raw + middle).mean() < share else (low, middle)
    return LogisticCalibrator(1.0, 0.5 * (low + high))


def _result(raw: Floats, labeled: LabeledPrompts, follows: bool, seed: int) -> LabelResult:
    def over(other: Floats) -> Interval:
        marks = [labeled.small], [labeled.large]
        return paired_bootstrap(raw, other, *marks, resamples=RESAMPLES, seed=seed)

    # a constant has an APGR of exactly 0.5
    above_chance = over(np.zeros(len(raw)))
    return LabelResult(
        labels=len(labeled),
        apgr=Interval(0.5 + above_chance.estimate, 0.5 + above_chance.low, 0.5 + above_chance.high),
        over_embedded=over(Router.default().difficulty(labeled.prompts)),
        over_length=over(np.array([float(len(prompt)) for prompt in labeled.prompts])),
        follows=follows,
    )


def promised_by_default(raw: Floats) -> Promised:
    """Calibration and curve without a label of the pair.

    The difficulty is the chance, learned from battles, that the large model's answer is preferred. Which threshold
    sends which share of calls is measured on prompts of the battles, as RouteLLM calibrates its thresholds; what that
    share keeps is taken from the embedded default's curve.

    Args:
        raw: Raw scores of prompts like those of the battles, shape (n,), n ≥ 1.

    Raises:
        OutcomeError: The embedded default has lost its curve.
    """
    default = Router.default().curve
    if default is None:
        raise OutcomeError("the embedded router has no operating curve; install hybrid-llm again")
    difficulty = AS_LEARNED.probability(raw)
    cuts = np.unique(np.quantile(difficulty, np.linspace(0.0, 1.0, CURVE_POINTS), method="lower"))[::-1]
    # the lowest cut sends all, as the point at 0 does
    inner = [float(cut) for cut in cuts[:-1]]
    share = np.array([0.0, *((difficulty >= cut).mean() for cut in inner), 1.0])
    quality, drop = (np.interp(share, default.large_share, column) for column in (default.quality, default.drop))
    return Promised(
        calibration=AS_LEARNED,
        curve=OperatingCurve(
            (NEVER_LARGE, *inner, 0.0), *(tuple(map(float, column)) for column in (share, quality, drop))
        ),
        own_pair=False,
    )
