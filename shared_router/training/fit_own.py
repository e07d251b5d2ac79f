"""Labelled prompts of one's own pair → an artifact whose decisions are calibrated, and a report that says if it pays.

labelled prompts → out-of-fold scores of each head → choice → calibration and operating curve → final fit → artifact

Calibration and curve are measured on out-of-fold scores: no prompt is judged by a head that learned from it. The head
that is served learned from all prompts, and so sees somewhat more than those that were measured.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared_router.artifact import Artifact
from shared_router.calibration import LogisticCalibrator
from shared_router.errors import HybridError, OutcomeError
from shared_router.evaluation.metrics import Interval, apgr, paired_bootstrap
from shared_router.knob import OperatingCurve
from shared_router.records import JSON
from shared_router.scorers import Scorer
from shared_router.tables.labeled import LabeledPrompts, teachable
from shared_router.training.fast_heads import (
    METHODS,
    Lesson,
    Method,
    constant_scorer,
    embedded_scorer,
    fitted,
    lesson_from,
    out_of_fold,
)
from shared_router.training.fit_default import PairOutcomes, logistic_calibrator, measured_curve

__all__ = ["AUTO", "FitReport", "HeadResult", "VerdictWord", "fit_own", "own_calibrator", "own_curve", "simplest"]

Floats = npt.NDArray[np.float64]

AUTO = "auto"

RESAMPLES = 1000

LEVEL = 0.95

SIMPLER_LEVEL = 0.8
"""A simpler head is kept unless the best one is better with an interval at this level; fixed before any measurement.

At 95 % a few hundred labels hardly ever prove one head better than another, and the simplest would always be taken."""

VerdictWord = Literal["routing_pays", "does_not_pay", "use_small"]


@dataclass(frozen=True, slots=True)
class HeadResult:
    """How one head did in cross-validation.

    Attributes:
        name: Key in ``METHODS``, or "length" for the number of characters.
        title: In a few words.
        apgr: Average performance gap recovered, with its 95 % bootstrap interval; 0.5 is guessing.
        over_length: APGR less that of prompt length, with the paired 95 % interval.
    """

    name: str
    title: str
    apgr: Interval
    over_length: Interval


@dataclass(frozen=True, slots=True)
class FitReport:
    """What came of fitting a router.

    Attributes:
        rows: Prompts used.
        small_quality: Mean quality of the small model.
        large_quality: Mean quality of the large model.
        gap: Large less small, with its 95 % interval.
        heads: All heads that were compared, from simple to complex, prompt length first; empty for "use_small".
        chosen: Name of the head that is served; "constant" if none ranks better than chance; None for "use_small".
        oracle: APGR of a perfect forecast of the gap; None for "use_small".
        verdict: In a word.
        advice: In a sentence.
        artifact: What to save; None for "use_small", where there is no gap of which a share could be promised.
    """

    rows: int
    small_quality: float
    large_quality: float
    gap: Interval
    heads: tuple[HeadResult, ...]
    chosen: str | None
    oracle: float | None
    verdict: VerdictWord
    advice: str
    artifact: Artifact | None


def fit_own(
    labeled: LabeledPrompts,
    *,
    method: str = AUTO,
    seed: int = 0,
    name: str = "own",
    advance: Callable[[str], None] | None = None,
) -> FitReport:
    """Fit a router for one's own pair of models.

    Args:
        labeled: Prompts with the quality of both models' answers.
        method: A key of ``METHODS``, or "auto": all are compared by nested cross-validation on APGR, and the simplest
            is kept that is not significantly worse than the best.
        seed: Same data and seed, same router.
        name: The router's name, which stands in every decision.
        advance: Told the title of each step before it begins.

    Raises:
        HybridError: There is no such method.
        MissingExtraError: scikit-learn is not installed.
        OutcomeError: The prompts cannot teach a router (see ``teachable``), or the large model's mean quality is 0, so
            that no relative loss can be stated.
    """
    methods = _methods(method)
    teachable(labeled)
    tell = advance or (lambda title: None)
    gap = _mean_interval(labeled.large - labeled.small)
    if gap.low <= 0.0:
        return _without_gap(labeled, gap)
    tell("counting words")
    lesson = lesson_from(embedded_scorer(), labeled.prompts, labeled.small, labeled.large)
    raw: dict[str, Floats] = {}
    for one in methods:
        tell(one.title)
        raw[one.name] = out_of_fold(lesson, one, seed)
    tell("comparing")
    heads = _compared(labeled, methods, raw, seed)
    chosen = simplest(raw, lesson.small, lesson.large, seed)
    tell("fitting what is served")
    pays = _interval(raw[chosen], lesson, seed, level=1.0 - (1.0 - LEVEL) / len(methods)).low > 0.5
    scores = raw[chosen]
    scorer = fitted(lesson, METHODS[chosen], seed).scorer(lesson.embedded)
    try:
        calibration = own_calibrator(scores, lesson.small, lesson.large)
    except OutcomeError:
        # harder scores do not mean more shortfalls out of fold: what was learned is noise, and must not be served
        chosen, pays, scores, scorer = "constant", False, np.zeros(len(scores)), constant_scorer(lesson.embedded)
        calibration = _base_rate(lesson)
    curve = own_curve(scores, lesson.small, lesson.large, calibration)
    report = FitReport(
        rows=len(labeled.prompts),
        small_quality=float(labeled.small.mean()),
        large_quality=float(labeled.large.mean()),
        gap=gap,
        heads=heads,
        chosen=chosen,
        oracle=apgr(lesson.large - lesson.small, lesson.small, lesson.large),
        verdict="routing_pays" if pays else "does_not_pay",
        advice=_advice(pays, gap),
        artifact=None,
    )
    return replace(report, artifact=_artifact(report, scorer, calibration, curve, name, seed))


def _methods(name: str) -> tuple[Method, ...]:
    if name == AUTO:
        return tuple(METHODS.values())
    if name not in METHODS:
        near = difflib.get_close_matches(name, [AUTO, *METHODS], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise HybridError(f"unknown method {name!r}{hint} (there are: {AUTO}, {', '.join(METHODS)})")
    return (METHODS[name],)


def _mean_interval(values: Floats) -> Interval:
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    # normal quantile of 97.5 %
    return Interval(mean, mean - 1.96 * error, mean + 1.96 * error)


def _without_gap(labeled: LabeledPrompts, gap: Interval) -> FitReport:
    return FitReport(
        rows=len(labeled.prompts),
        small_quality=float(labeled.small.mean()),
        large_quality=float(labeled.large.mean()),
        gap=gap,
        heads=(),
        chosen=None,
        oracle=None,
        verdict="use_small",
        advice=(
            f"Routing does not pay on this data: use the small model. The large one is not significantly better "
            f"({gap.estimate:+.3f} on average, 95 % interval {gap.low:+.3f} to {gap.high:+.3f}). If you expected "
            "otherwise, label more prompts, or check that the columns are not interchanged."
        ),
        artifact=None,
    )


def _advice(pays: bool, gap: Interval) -> str:
    if pays:
        return "Routing pays on this data: the router tells where the large model is needed significantly above chance."
    return (
        "Routing does not pay on this data: no head ranks the prompts significantly above chance. Use the large model "
        f"if {gap.estimate:+.3f} in mean quality is worth its price, else the small one; or label more prompts."
    )


def _interval(raw: Floats, lesson: Lesson | LabeledPrompts, seed: int, *, level: float = LEVEL) -> Interval:
    # a constant has an APGR of exactly 0.5
    over = paired_bootstrap(
        raw, np.zeros(len(raw)), [lesson.small], [lesson.large], resamples=RESAMPLES, level=level, seed=seed
    )
    return Interval(0.5 + over.estimate, 0.5 + over.low, 0.5 + over.high)


def _compared(
    labeled: LabeledPrompts, methods: tuple[Method, ...], raw: Mapping[str, Floats], seed: int
) -> tuple[HeadResult, ...]:
    length = np.array([float(len(prompt)) for prompt in labeled.prompts])
    results = [
        HeadResult("length", "prompt length, for comparison", _interval(length, labeled, seed), Interval(0, 0, 0))
    ]
    for method in methods:
        scores = raw[method.name]
        over = paired_bootstrap(scores, length, [labeled.small], [labeled.large], resamples=RESAMPLES, seed=seed)
        results.append(HeadResult(method.name, method.title, _interval(scores, labeled, seed), over))
    return tuple(results)


def simplest(raw: Mapping[str, Floats], small: Floats, large: Floats, seed: int = 0) -> str:
    """The simplest head that is not significantly worse than the best.

    Args:
        raw: Out-of-fold scores by name, from simple to complex, each of shape (n,).
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, shape (n,).
        seed: Of the bootstrap.
    """
    best = max(raw, key=lambda name: apgr(raw[name], small, large))
    for name, scores in raw.items():
        if name == best:
            break
        lead = paired_bootstrap(
            raw[best], scores, [small], [large], resamples=RESAMPLES, level=SIMPLER_LEVEL, seed=seed
        )
        if lead.low <= 0.0:
            return name
    return best


def own_calibrator(raw: Floats, small: Floats, large: Floats) -> LogisticCalibrator:
    """Platt's map from raw score to P(small falls short of large), with his correction for few labels.

    Platt (1999, §2.2) replaces the labels 1 and 0 by (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2). A soft label is the same as
    the row twice, with either label, weighted; so that scores that part the rows cleanly do not all become 0 or 1.

    Args:
        raw: Out-of-fold scores, shape (n,).
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


def _base_rate(lesson: Lesson) -> LogisticCalibrator:
    rate = (float((lesson.small < lesson.large).sum()) + 1.0) / (len(lesson.small) + 2.0)
    return LogisticCalibrator(1.0, float(np.log(rate / (1.0 - rate))))


def own_curve(raw: Floats, small: Floats, large: Floats, calibration: LogisticCalibrator) -> OperatingCurve:
    """The operating curve on out-of-fold scores.

    Args:
        raw: Out-of-fold scores, shape (n,).
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, on average better, shape (n,).
        calibration: Raw score → difficulty.

    Raises:
        OutcomeError: The large model's mean quality is 0.
    """
    mean = float(large.mean())
    if abs(mean) < 1e-12:
        raise OutcomeError(
            "the large model's mean quality is 0, of which no relative loss can be stated; shift the scale"
        )
    curve = measured_curve(PairOutcomes(raw, small, large, np.ones(len(raw))), calibration)
    # on a scale below 0, such as BARTScore's, a loss is relative to the size of the mean
    return curve if mean > 0.0 else replace(curve, drop=tuple(-lost for lost in curve.drop))


def _artifact(
    report: FitReport,
    scorer: Scorer,
    calibration: LogisticCalibrator,
    curve: OperatingCurve,
    name: str,
    seed: int,
) -> Artifact:
    config, tensors = scorer.to_state()
    results: dict[str, JSON] = {
        head.name: {"apgr": head.apgr.estimate, "low": head.apgr.low, "high": head.apgr.high} for head in report.heads
    }
    return Artifact(
        name=name,
        scorer_kind=scorer.kind,
        scorer_config=config,
        tensors=tensors,
        calibration=calibration,
        curve=curve,
        own_pair=True,
        metadata={
            "rows": report.rows,
            "method": report.chosen,
            "verdict": report.verdict,
            "cross_validated": results,
            "oracle_apgr": report.oracle,
            "small_quality": report.small_quality,
            "large_quality": report.large_quality,
            "seed": seed,
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        },
    )
