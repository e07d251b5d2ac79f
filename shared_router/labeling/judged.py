"""Collected answers → judged answers → labelled prompts: the step between ``collect`` and ``fit``.

    outcomes.jsonl ──measure──► labelled.judged-NAME.jsonl ──labels──► labelled.jsonl

Both files are written as a whole; what was judged before an interruption is kept and not judged again
(``shared_router.labeling.judgements``).
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from shared_router.errors import OutcomeError
from shared_router.labeling.judgements import (
    Judgements,
    appended,
    fits,
    judgement,
    kept_judgements,
    part_of,
    write_json_lines,
)
from shared_router.labeling.label_table import ENDINGS, GRID_POINTS, PromptLabels, prompt_labels, write_labeled
from shared_router.labeling.quality.measure import (
    Answers,
    JudgedPrompt,
    Measure,
    Quality,
    answers_by_prompt,
    identity,
    references_of,
)
from shared_router.records import JSON, TARGETS, Target
from shared_router.tables.labeled import LabeledPrompt
from shared_router.tables.outcomes import Outcome, labeled_prompts, read_outcomes

__all__ = ["BINS", "JudgingReport", "LabelReport", "judge_outcomes", "judged_path"]

BINS = 10
"""Of a histogram over [0, 1]; the last one holds 1 too."""

Advance: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class JudgingReport:
    """What came of judging.

    Attributes:
        file: The file of judged outcomes.
        measure: Identity of the measure: name, version, settings.
        quality_range: Lowest and highest quality that the measure can give.
        newly_judged: Answers that this run judged.
        reused: Answers that an earlier run had judged.
        unjudged: Answers without a quality.
        notes: What the measure says is worth counting, in words → how often in this run.
        usage: What judging took in this run, by name.
        faults: What was wrong with each answer that was left out.
        skipped: What was wrong with each row of the outcomes' file that was left out.
    """

    file: Path
    measure: Mapping[str, JSON]
    quality_range: tuple[float, float]
    newly_judged: int
    reused: int
    unjudged: int
    notes: Mapping[str, int]
    usage: Mapping[str, int]
    faults: tuple[str, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What came of judging and labelling.

    Attributes:
        file: The labelled file, from which routers are fitted.
        judging: What came of judging.
        prompts: Labelled prompts.
        answers: For either model, how many labelled prompts have how many judged answers.
        incomplete: Why prompts could not be labelled, the first reason each → how many.
        mean_quality: Of either model over the labelled prompts.
        t: t*, in units of quality.
        grid: The relaxations that were tried.
        spread: Gini mean difference of label_trans, in [0, 0.5].
        prob_spread: That of label_prob.
        collapsed: Why label_trans is label_prob; empty where it is not.
        histograms: For each label, how many prompts lie in each tenth of [0, 1].
        means: The mean of each label: the share of prompts on which the small model is good enough.
        prob_zero: Share of prompts with label_prob = 0; where it is near 1 (almost 90 % in the paper's large-gap pair,
            §3.3), label_prob teaches little and label_trans is the one to take.
        left_out: Columns of the prompts' file that the labelled file does not carry, as it has its own of that name.
    """

    file: Path
    judging: JudgingReport
    prompts: int
    answers: Mapping[Target, Mapping[int, int]]
    incomplete: Mapping[str, int]
    mean_quality: Mapping[Target, float]
    t: float
    grid: tuple[float, ...]
    spread: float
    prob_spread: float
    collapsed: str
    histograms: Mapping[str, tuple[int, ...]]
    means: Mapping[str, float]
    prob_zero: float
    left_out: tuple[str, ...]


def judged_path(out: Path, measure: Measure) -> Path:
    """Where the judged outcomes go if nothing else is said: beside the labelled file, with the measure's name."""
    return out.with_name(f"{out.stem}.judged-{measure.name}.jsonl")


def judge_outcomes(
    outcomes: str | Path,
    measure: Measure,
    out: str | Path,
    *,
    judged: str | Path | None = None,
    grid_points: int = GRID_POINTS,
    skip_bad: bool = False,
    again: bool = False,
    advance: Advance | None = None,
) -> LabelReport:
    """Judge collected answers and label their prompts.

    Args:
        outcomes: A file of outcomes; see ``shared_router.tables.outcomes``. It is not changed.
        measure: From ``shared_router.labeling.quality``.
        out: The labelled file to write: ``.jsonl``, ``.ndjson`` or ``.parquet``; see ``label_table``.
        judged: The file of judged outcomes to write, ``.jsonl``; by default ``judged_path``.
        grid_points: How many t to try for r_trans, ≥ 2.
        skip_bad: Leave out rows that cannot be used, and answers that cannot be judged, and count them, instead of
            stopping at the first.
        again: Judge all anew instead of keeping what an earlier run judged.
        advance: Called with the number of prompts that are judged, and that were to be judged.

    Returns:
        The report; both files have been written.

    Raises:
        OutcomeError: A file cannot be read or written, a row or an answer cannot be used (the message names it), an
            earlier run used another measure, or no prompt has a judged answer of both models.
        HybridError: What the measure needs is not there.
    """
    labeled_file = Path(out)
    judged_file = Path(judged) if judged is not None else judged_path(labeled_file, measure)
    _check_files(Path(outcomes), labeled_file, judged_file)
    if grid_points < 2:
        raise OutcomeError(f"a grid has at least 2 points, got {grid_points}")
    table = read_outcomes(outcomes, skip_bad=skip_bad)
    # two prompts under one id are found before anything is paid for
    labeled_prompts(table.rows)
    if measure.needs_reference and not skip_bad:
        _check_references(measure, table.rows)
    rows, report = _judged_rows(table.rows, measure, judged_file, skip_bad, again, advance or _nowhere)
    prompts, _ = labeled_prompts(rows)
    incomplete = _incomplete(rows)
    if not prompts:
        reasons = (Counter(incomplete) + Counter(report.notes)).most_common(5)
        told = "; ".join([*(f"{count} × {reason}" for reason, count in reasons), *report.faults[:1]])
        raise OutcomeError(f"no prompt of {outcomes} has a judged answer of both models ({told or 'it has no row'})")
    labels = prompt_labels(prompts, grid_points=grid_points)
    left_out = write_labeled(labeled_file, prompts, labels)
    return _report(labeled_file, replace(report, skipped=table.skipped), prompts, labels, incomplete, left_out)


def _nowhere(done: int, total: int) -> None:
    pass


def _check_files(outcomes: Path, labeled: Path, judged: Path) -> None:
    if labeled.suffix.lower() not in ENDINGS:
        raise OutcomeError(f"{labeled}: the ending says the format; use one of {', '.join(ENDINGS)}")
    if judged.suffix.lower() != ".jsonl":
        raise OutcomeError(f"{judged}: judged outcomes are written as .jsonl; choose such a name")
    names = [path.resolve() for path in (outcomes, labeled, judged, part_of(judged))]
    if len(set(names)) < len(names):
        raise OutcomeError(f"{outcomes}, {labeled} and {judged} must be different files: each is kept")


def _check_references(measure: Measure, outcomes: Sequence[Outcome]) -> None:
    without = [outcome for outcome in outcomes if not references_of(outcome.reference)]
    if without:
        raise OutcomeError(
            f"{measure.name} compares with references, and {len(without)} of {len(outcomes)} answers have none "
            f"({_named(without[0])} is the first); add the column reference to the prompts, take a measure that needs "
            "none (judge, judge_score, reward_model, function), or leave such answers out with --skip-bad "
            "(skip_bad=True)"
        )


def _named(outcome: Outcome) -> str:
    return f"id {outcome.id!r}, {outcome.target} model, sample {outcome.sample}"


@dataclass(slots=True)
class _Tally:
    """What is counted while the judging goes on."""

    notes: Counter[str] = field(default_factory=Counter)
    usage: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def _judged_rows(
    outcomes: Sequence[Outcome], measure: Measure, file: Path, skip_bad: bool, again: bool, advance: Advance
) -> tuple[tuple[Outcome, ...], JudgingReport]:
    judged_by = identity(measure)
    if again:
        part_of(file).unlink(missing_ok=True)
    kept = {} if again else kept_judgements(file, judged_by)
    todo = list(_unjudged(answers_by_prompt(outcomes), kept, measure))
    anew = {outcome.key for answers in todo for outcome in answers}
    found = {outcome.key: _quality(kept[outcome.key]) for outcome in outcomes if outcome.key not in anew}
    reused = len(found)
    tally = _Tally()
    for done, prompt in enumerate(_judged(todo, measure, file, skip_bad, tally), start=1):
        for outcome, quality in zip(prompt.outcomes, prompt.qualities, strict=True):
            if quality.value is not None:
                found[outcome.key] = quality.value
        advance(done, len(todo))
    rows = tuple(replace(outcome, quality=found.get(outcome.key)) for outcome in outcomes)
    here = {outcome.key for outcome in outcomes}
    elsewhere = [row for key, row in kept.items() if key not in here]
    write_json_lines(file, [*(judgement(row, row.quality, judged_by) for row in rows), *elsewhere])
    part_of(file).unlink(missing_ok=True)
    return rows, JudgingReport(
        file=file,
        measure=judged_by,
        quality_range=measure.quality_range,
        newly_judged=len(found) - reused,
        reused=reused,
        unjudged=len(rows) - len(found),
        notes=dict(tally.notes.most_common()),
        usage=dict(tally.usage),
        faults=tuple(tally.faults),
        skipped=(),
    )


def _quality(row: Mapping[str, JSON]) -> float:
    quality = row["quality"]
    assert isinstance(quality, int | float)  # or the row would not have been kept
    return float(quality)


def _unjudged(prompts: Sequence[Answers], kept: Judgements, measure: Measure) -> Iterator[Answers]:
    for answers in prompts:
        missing = tuple(answer for answer in answers if not fits(kept.get(answer.key), answer))
        if missing:
            yield answers if measure.compares else missing


def _judged(
    todo: Sequence[Answers], measure: Measure, file: Path, skip_bad: bool, tally: _Tally
) -> Iterator[JudgedPrompt]:
    if not todo:
        return
    judged_by = identity(measure)
    with appended(file) as append, contextlib.closing(measure.judged(todo)) as judging:
        for found in judging:
            prompt = _usable(found, measure, skip_bad, tally)
            append(
                judgement(outcome, quality.value, judged_by)
                for outcome, quality in zip(prompt.outcomes, prompt.qualities, strict=True)
                if quality.value is not None
            )
            tally.usage.update(prompt.usage)
            yield prompt


def _usable(prompt: JudgedPrompt, measure: Measure, skip_bad: bool, tally: _Tally) -> JudgedPrompt:
    usable = []
    for outcome, quality in zip(prompt.outcomes, prompt.qualities, strict=True):
        tally.notes.update(quality.notes)
        fault = quality.fault
        if quality.value is not None and not math.isfinite(quality.value):
            fault = f"the quality is {quality.value}, which is no number to compare"
        if fault and not skip_bad:
            raise OutcomeError(
                f"{measure.name}, {_named(outcome)}: {fault}; mend it, or leave such answers out with --skip-bad "
                "(skip_bad=True)"
            )
        if fault:
            tally.faults.append(f"{_named(outcome)}: {fault}")
        usable.append(Quality(None if fault else quality.value))
    return replace(prompt, qualities=tuple(usable))


def _incomplete(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return dict(Counter(reason for answers in answers_by_prompt(outcomes) if (reason := _why_incomplete(answers))))


def _why_incomplete(answers: Answers) -> str:
    by_target = {target: [answer for answer in answers if answer.target == target] for target in TARGETS}
    for target in TARGETS:
        if not by_target[target]:
            return f"no answer of the {target} model"
    for target in TARGETS:
        if all(answer.quality is None for answer in by_target[target]):
            return f"no answer of the {target} model has a quality"
    return ""


def _report(
    file: Path,
    judging: JudgingReport,
    prompts: Sequence[LabeledPrompt],
    labels: PromptLabels,
    incomplete: Mapping[str, int],
    left_out: tuple[str, ...],
) -> LabelReport:
    columns = {"label_det": labels.det, "label_prob": labels.prob, "label_trans": labels.trans}
    samples = {"small": [prompt.small for prompt in prompts], "large": [prompt.large for prompt in prompts]}
    return LabelReport(
        file=file,
        judging=judging,
        prompts=len(prompts),
        answers={target: dict(sorted(Counter(map(len, samples[target])).items())) for target in TARGETS},
        incomplete=incomplete,
        mean_quality={target: float(np.mean([np.mean(part) for part in samples[target]])) for target in TARGETS},
        t=labels.t,
        grid=labels.grid,
        spread=labels.spread,
        prob_spread=labels.prob_spread,
        collapsed=labels.collapsed,
        histograms={
            name: tuple(np.histogram(values, BINS, (0.0, 1.0))[0].tolist()) for name, values in columns.items()
        },
        means={name: float(values.mean()) for name, values in columns.items()},
        prob_zero=float((labels.prob == 0.0).mean()),
        left_out=left_out,
    )
