"""Labelled prompts of one's own pair → an artifact whose decisions are calibrated, and a report that says if it pays.

    labelled prompts ┬ learned from → out-of-fold scores of each head → choice → calibration → final fit ┐
                     └ held out → operating curve, calibration set, verdict ─────────────────────────────┴→ artifact

What is held out teaches nothing and chooses nothing, so that what is measured on it holds for traffic like it, and a
promise can be certified on it. Where there is too little to hold anything out, curve and verdict come from the
out-of-fold scores, and nothing can be certified: the head that is served then learned from all prompts.

Prompts of one group (a column ``group``, or else the same words) stay on one side of every split.
"""

from __future__ import annotations

import datetime
import difflib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared_router.artifact import Artifact
from shared_router.calibration import Calibrator, LogisticCalibrator
from shared_router.calibration_set import CalibrationSet
from shared_router.errors import HybridError, OutcomeError
from shared_router.evaluation.metrics import Interval, apgr, paired_bootstrap
from shared_router.knob import OperatingCurve
from shared_router.records import JSON
from shared_router.scorers import Scorer
from shared_router.tables.labeled import MIN_ROWS, LabeledPrompts, teachable
from shared_router.training.calibrating import (
    CalibrationMethod,
    calibrator_by,
    own_calibrator,
    own_curve,
    own_set,
)
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
from shared_router.training.soft_labels import examples_from

__all__ = [
    "AUTO",
    "FitReport",
    "HeadResult",
    "VerdictWord",
    "fit_own",
    "groups_of",
    "held_out_rows",
    "methods_named",
    "own_calibrator",
    "own_curve",
    "simplest",
]

Floats = npt.NDArray[np.float64]

AUTO = "auto"

CONSTANT = "constant"
"""Name of what is served where no head ranks better than chance."""

RESAMPLES = 1000

LEVEL = 0.95

SIMPLER_LEVEL = 0.8
"""A simpler head is kept unless the best one is better with an interval at this level; fixed before any measurement.

At 95 % a few hundred labels hardly ever prove one head better than another, and the simplest would always be taken."""

HELD_OUT = 0.4
"""Share that is held out where the user does not say: certificates need more queries than heads do."""

HOLDS_OUT_FROM = 200
"""Prompts from which something is held out where the user does not say."""

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
        held_out: Places of the prompts that were held out, rising; empty where none were.
        measured: The served head on the prompts that were held out, with nothing chosen on them; None where none were.
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
    held_out: tuple[int, ...]
    measured: HeadResult | None
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
    held_out: float | None = None,
    calibration: CalibrationMethod = "platt",
    quality_range: tuple[float, float] | None = None,
    advance: Callable[[str], None] | None = None,
) -> FitReport:
    """Fit a router for one's own pair of models.

    Args:
        labeled: Prompts with the quality of both models' answers.
        method: A key of ``METHODS``, or "auto": all are compared by nested cross-validation on APGR, and the simplest
            is kept that is not significantly worse than the best.
        seed: Same data and seed, same router.
        name: The router's name, which stands in every decision.
        held_out: Share of the prompts that is held out to measure and to certify on, in [0, 1); None for ``HELD_OUT``
            from ``HOLDS_OUT_FROM`` prompts on, and nothing below.
        calibration: "platt" or "isotonic".
        quality_range: Lowest and highest quality that can occur, for certificates; None for 0 to 1 if all lie in it.
        advance: Told the title of each step before it begins.

    Raises:
        HybridError: There is no such method.
        MissingExtraError: scikit-learn is not installed.
        OutcomeError: The prompts cannot teach a router (see ``teachable``), or the large model's mean quality is 0, so
            that no relative loss can be stated.
    """
    methods = methods_named(method)
    teachable(labeled)
    tell = advance or (lambda title: None)
    gap = _mean_interval(labeled.large - labeled.small)
    if gap.low <= 0.0:
        return _without_gap(labeled, gap)
    kept_back = held_out_rows(labeled, held_out, seed)
    learned = labeled.part(np.setdiff1d(np.arange(len(labeled)), kept_back))
    tell("counting words")
    # r_prob, which is whether the small model falls short where each was asked once
    short = 1.0 - examples_from(learned, "prob", 0.0).labels
    lesson = lesson_from(embedded_scorer(), learned.prompts, learned.small, learned.large, groups_of(learned), short)
    raw: dict[str, Floats] = {}
    for one in methods:
        tell(one.title)
        raw[one.name] = out_of_fold(lesson, one, seed)
    tell("comparing")
    heads = _compared(learned, methods, raw, seed)
    tell("fitting what is served")
    head = _served(lesson, raw, seed, calibration)
    tell("measuring")
    if len(kept_back):
        test = labeled.part(kept_back)
        scores = head.scorer.score(test.prompts)
        measured = _result(head.name, "", scores, test, seed)
        pays = measured.apgr.low > 0.5
    else:
        test, scores, measured = learned, head.out_of_fold, None
        # the best of several heads looks better than it is: its interval is that of as many questions
        level = 1.0 - (1.0 - LEVEL) / len(methods)
        pays = head.name != CONSTANT and _interval(scores, learned, seed, level=level).low > 0.5
    curve = own_curve(scores, test.small, test.large, head.calibration)
    difficulty = head.calibration.probability(scores)
    report = FitReport(
        rows=len(labeled),
        small_quality=float(labeled.small.mean()),
        large_quality=float(labeled.large.mean()),
        gap=gap,
        heads=heads,
        chosen=head.name,
        held_out=tuple(map(int, kept_back)),
        measured=measured,
        oracle=apgr(test.large - test.small, test.small, test.large),
        verdict="routing_pays" if pays else "does_not_pay",
        advice=_advice(pays, gap),
        artifact=None,
    )
    known = own_set(difficulty, test.small, test.large, quality_range) if len(kept_back) else None
    return replace(report, artifact=_artifact(report, head, curve, known, name, seed))


@dataclass(frozen=True, slots=True)
class _Served:
    """The head that is served, and how its raw scores become difficulties."""

    name: str
    scorer: Scorer
    calibration: Calibrator
    out_of_fold: Floats


def _served(lesson: Lesson, raw: Mapping[str, Floats], seed: int, method: CalibrationMethod) -> _Served:
    chosen = simplest(raw, lesson.small, lesson.large, seed)
    scores = raw[chosen]
    try:
        calibration = calibrator_by(method, scores, lesson.small, lesson.large)
    except OutcomeError:
        # harder scores do not mean more shortfalls out of fold: what was learned is noise, and must not be served
        return _Served(CONSTANT, constant_scorer(lesson.embedded), _base_rate(lesson), np.zeros(len(scores)))
    return _Served(chosen, fitted(lesson, METHODS[chosen], seed).scorer(lesson.embedded), calibration, scores)


def groups_of(labeled: LabeledPrompts) -> npt.NDArray[np.int64]:
    """Which prompts stay together: those of one ``group``, or else those that differ in case, spaces and signs only.

    Args:
        labeled: n prompts.

    Returns:
        A number for each group, shape (n,).
    """
    stated = labeled.columns.get("group", (None,) * len(labeled))
    names = [
        f"prompt {_bare(prompt)}" if group is None else f"group {group}"
        for prompt, group in zip(labeled.prompts, stated, strict=True)
    ]
    return np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _bare(text: str) -> str:
    words = "".join(sign if sign.isalnum() else " " for sign in unicodedata.normalize("NFKC", text).casefold())
    # a prompt of signs only is known by them
    return " ".join(words.split()) or text


def held_out_rows(labeled: LabeledPrompts, share: float | None, seed: int) -> npt.NDArray[np.int64]:
    """A random part of the prompts, whole groups at a time.

    Args:
        labeled: n prompts.
        share: Of the groups, in [0, 1); None for ``HELD_OUT`` from ``HOLDS_OUT_FROM`` prompts on, and nothing below.
        seed: Same seed, same rows.

    Returns:
        Places, rising.

    Raises:
        OutcomeError: A share out of range, or one that leaves either part too small to be of use.
    """
    if share is None:
        share = HELD_OUT if len(labeled) >= HOLDS_OUT_FROM else 0.0
    if not 0.0 <= share < 1.0:
        raise OutcomeError(f"the share that is held out lies in [0, 1), got {share!r}")
    names, group = np.unique(groups_of(labeled), return_inverse=True)
    chosen = np.random.default_rng(seed).permutation(len(names)) < round(share * len(names))
    rows = np.flatnonzero(chosen[group])
    left = len(labeled) - len(rows)
    if share and (len(rows) < MIN_ROWS // 2 or left < MIN_ROWS):
        raise OutcomeError(
            f"holding out {share:g} of {len(labeled)} prompts ({len(names)} groups) leaves {left} to learn from and "
            f"{len(rows)} to measure on; {MIN_ROWS} and {MIN_ROWS // 2} are the least: label more, or hold out nothing"
        )
    return rows


def methods_named(name: str) -> tuple[Method, ...]:
    """The methods that a name stands for: all for "auto".

    Raises:
        HybridError: There is none of that name.
    """
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
        held_out=(),
        measured=None,
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


def _interval(raw: Floats, labeled: LabeledPrompts, seed: int, *, level: float = LEVEL) -> Interval:
    # a constant has an APGR of exactly 0.5
    over = paired_bootstrap(
        raw, np.zeros(len(raw)), [labeled.small], [labeled.large], resamples=RESAMPLES, level=level, seed=seed
    )
    return Interval(0.5 + over.estimate, 0.5 + over.low, 0.5 + over.high)


def _compared(
    labeled: LabeledPrompts, methods: tuple[Method, ...], raw: Mapping[str, Floats], seed: int
) -> tuple[HeadResult, ...]:
    lengths = _lengths(labeled)
    length = HeadResult("length", "prompt length, for comparison", _interval(lengths, labeled, seed), Interval(0, 0, 0))
    return (length, *(_result(one.name, one.title, raw[one.name], labeled, seed) for one in methods))


def _lengths(labeled: LabeledPrompts) -> Floats:
    return np.array([float(len(prompt)) for prompt in labeled.prompts])


def _result(name: str, title: str, scores: Floats, labeled: LabeledPrompts, seed: int) -> HeadResult:
    over = paired_bootstrap(scores, _lengths(labeled), [labeled.small], [labeled.large], resamples=RESAMPLES, seed=seed)
    return HeadResult(name, title, _interval(scores, labeled, seed), over)


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


def _base_rate(lesson: Lesson) -> LogisticCalibrator:
    rate = (float((lesson.small < lesson.large).sum()) + 1.0) / (len(lesson.small) + 2.0)
    return LogisticCalibrator(1.0, float(np.log(rate / (1.0 - rate))))


def _artifact(
    report: FitReport, head: _Served, curve: OperatingCurve, known: CalibrationSet | None, name: str, seed: int
) -> Artifact:
    config, tensors = head.scorer.to_state()
    cross_validated: dict[str, JSON] = {one.name: _figures(one) for one in report.heads}
    return Artifact(
        name=name,
        scorer_kind=head.scorer.kind,
        scorer_config=config,
        tensors=tensors,
        calibration=head.calibration,
        curve=curve,
        own_pair=True,
        calibration_set=known,
        metadata={
            "rows": report.rows,
            "held_out": len(report.held_out),
            "method": report.chosen,
            "verdict": report.verdict,
            "cross_validated": cross_validated,
            "measured": None if report.measured is None else _figures(report.measured),
            "oracle_apgr": report.oracle,
            "small_quality": report.small_quality,
            "large_quality": report.large_quality,
            "seed": seed,
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        },
    )


def _figures(head: HeadResult) -> dict[str, JSON]:
    return {"apgr": head.apgr.estimate, "low": head.apgr.low, "high": head.apgr.high}
