"""Who gets the small model, and what that costs them.

A router that keeps its promise on the whole may break it for some of those who ask. An audit looks at one router, one
knob and groups of prompts, and asks four questions of each column of groups:

    share        does the share of prompts that the small model gets differ between the groups?
    loss         does what a prompt loses against the large model differ? (quality(large) − quality(routed): the harm)
    if_short     of prompts on which the small model falls short, does the share that gets it all the same differ?
    if_as_good   of prompts on which it is as good, does the share that gets it differ?

The last two are equalised odds (Hardt, Price & Srebro 2016, arXiv 1610.02413): groups may well differ in how many hard
questions they ask, and then shall differ in their share; given how the small model does, they shall not. All but the
first need qualities.

The tests are those of ``disparity``: for losses one that does not mistake a wider spread for a higher mean, since a
group that gets the small model more often has wider losses even where the mean is the same. p-values are corrected over
the columns of an audit, each question by itself. Prompts count as independent of each other.

A report holds the groups' names and numbers, never a prompt.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from shared_router.errors import KnobError, OutcomeError
from shared_router.evaluation.disparity import AT_ONCE, PERMUTATIONS, Rate, holm, mean_p_value, rate_of, share_p_value
from shared_router.evaluation.metrics import Interval
from shared_router.evaluation.text_groups import GroupColumn, detected_column, given_column
from shared_router.knob import DEFAULT_KNOB, Knob
from shared_router.records import JSON
from shared_router.router import RouterLike, as_router
from shared_router.tables.labeled import read_labeled
from shared_router.tables.rows import BadRowError, checked_rows, present, read_rows, text_of

__all__ = [
    "MIN_GROUP",
    "Audit",
    "AuditedPrompts",
    "ColumnAudit",
    "Disparity",
    "GroupResult",
    "Harm",
    "Routed",
    "audit",
    "audit_groups",
    "audited_prompts",
    "csv_rows",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

Question: TypeAlias = Literal["share", "loss", "if_short", "if_as_good"]

MIN_GROUP = 20
"""Groups with fewer prompts are reported and not tested."""

FOUR_FIFTHS = 0.8
"""Ratio of selection rates below which the US Uniform Guidelines (29 CFR 1607.4 D) see a sign of adverse impact."""

LEVEL = 0.95
RESAMPLES = 2000

QUALITIES = ("small_quality", "large_quality")


@dataclass(frozen=True, slots=True)
class AuditedPrompts:
    """n prompts to audit a router on.

    Attributes:
        prompts: What was asked, length n.
        columns: All other columns of the file, each of length n, None where a row lacks it.
        small: Quality of the small model's answers, finite, shape (n,); None where it is not known.
        large: The large model's; None exactly where ``small`` is.
        skipped: What was wrong with each row that was left out.
        merged: Rows that were merged into an earlier one with the same prompt.
    """

    prompts: tuple[str, ...]
    columns: Mapping[str, tuple[object, ...]]
    small: Floats | None = None
    large: Floats | None = None
    skipped: tuple[str, ...] = ()
    merged: int = 0


@dataclass(frozen=True, slots=True)
class Routed:
    """What a router did with n prompts.

    Attributes:
        to_small: True where the small model answers, shape (n,).
        difficulty: In [0, 1], shape (n,).
        small: Quality of the small model's answers, finite, shape (n,); None where it is not known.
        large: The large model's; None exactly where ``small`` is.
    """

    to_small: Flags
    difficulty: Floats
    small: Floats | None = None
    large: Floats | None = None

    def __post_init__(self) -> None:
        """Reject arrays that do not fit each other.

        Raises:
            OutcomeError: Not all of one shape (n,), n ≥ 1, NaN, or one quality without the other.
        """
        if (self.small is None) != (self.large is None):
            raise OutcomeError("give the qualities of both models or of none")
        arrays = {"to_small": self.to_small, "difficulty": self.difficulty}
        if self.small is not None and self.large is not None:
            arrays |= {"small": self.small, "large": self.large}
        shapes = {name: array.shape for name, array in arrays.items()}
        if len(set(shapes.values())) != 1 or self.to_small.ndim != 1 or not self.to_small.size:
            raise OutcomeError(f"what was routed are arrays of one shape (n,), n ≥ 1, got {shapes}")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                bad = int((~np.isfinite(array)).sum())
                raise OutcomeError(f"{name} has {bad} values that are NaN or infinite; drop those prompts first")

    def part(self, rows: Flags) -> Routed:
        """The same for some of the prompts.

        Args:
            rows: Which, shape (n,), at least one.
        """
        if self.small is None or self.large is None:
            return Routed(self.to_small[rows], self.difficulty[rows])
        return Routed(self.to_small[rows], self.difficulty[rows], self.small[rows], self.large[rows])


@dataclass(frozen=True, slots=True)
class Harm:
    """What routing did to the quality of a group's answers.

    Attributes:
        small_quality: Mean quality, had the small model answered all.
        large_quality: Mean quality, had the large model answered all.
        routed_quality: Mean quality as routed.
        loss: Mean of quality(large) − quality(routed) over the prompts, with a bootstrap interval.
        drop: The same relative to the large model's mean quality; None where that is 0.
        if_short: Of prompts on which the small model falls short, how many got it; None where there are none.
        if_as_good: Of prompts on which it is as good or better, how many got it; None where there are none.
        varies: False where all prompts have the same loss, so that a bootstrap knows no spread, and the intervals
            collapse to a point that says nothing about other prompts.
    """

    small_quality: float
    large_quality: float
    routed_quality: float
    loss: Interval
    drop: Interval | None
    if_short: Rate | None
    if_as_good: Rate | None
    varies: bool


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One group.

    Attributes:
        name: As the column has it.
        n: Prompts.
        tested: True if it has at least ``MIN_GROUP``.
        rate: How many went to the small model.
        difficulty: Mean difficulty, in [0, 1].
        harm: None where qualities are not known.
    """

    name: str
    n: int
    tested: bool
    rate: Rate
    difficulty: float
    harm: Harm | None


@dataclass(frozen=True, slots=True)
class Disparity:
    """The answer to one question about one column.

    Attributes:
        question: Which.
        groups: Groups that are compared: with at least ``MIN_GROUP`` prompts of those that the question is about.
        p: How probable a difference as large is by chance; None where fewer than two groups can be compared.
        corrected: The same, corrected over the columns in which this question could be tested.
        columns: How many those are.
        differs: True if ``corrected`` is at most 1 − the audit's level.
        lowest: The group with the lowest value; empty where nothing is compared. The order of the others says nothing.
        highest: The group with the highest.
        low: The lowest value: a share that goes to the small model, or a mean loss; None where nothing is compared.
        high: The highest.
        large_ratio: Of shares, the lowest share that goes to the large model over the highest; None for losses, or
            where no group has any. Below 0.8 the "four-fifths rule" sees a sign of adverse impact.
    """

    question: Question
    groups: int
    p: float | None
    corrected: float | None
    columns: int
    differs: bool
    lowest: str
    highest: str
    low: float | None
    high: float | None
    large_ratio: float | None

    @property
    def difference(self) -> float | None:
        """Highest less lowest value: the size of the effect."""
        return None if self.low is None or self.high is None else self.high - self.low


@dataclass(frozen=True, slots=True)
class ColumnAudit:
    """One column of groups.

    Attributes:
        name: The column's.
        groups: All groups, in the order in which they are shown.
        disparities: One a question.
        verdict: In sentences.
    """

    name: str
    groups: tuple[GroupResult, ...]
    disparities: tuple[Disparity, ...]
    verdict: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """The whole report.

    Attributes:
        router_id: Which router.
        knob: The wish that held.
        level: Of the intervals; 1 − level is the chance of a false alarm, over all columns, for each question.
        overall: All prompts as one group.
        columns: One a column of groups.
    """

    router_id: str
    knob: Knob
    level: float
    overall: GroupResult
    columns: tuple[ColumnAudit, ...]

    @property
    def harmed(self) -> bool:
        """True if in some column groups differ in what they lose."""
        return any(one.question == "loss" and one.differs for column in self.columns for one in column.disparities)

    def as_json(self) -> dict[str, JSON]:
        """The report as JSON values: group names and numbers, never a prompt."""
        return {
            "router": self.router_id,
            "knob": dict(self.knob.settings),
            "level": self.level,
            "min_group": MIN_GROUP,
            "overall": cast("JSON", asdict(self.overall)),
            "columns": [
                {
                    "name": column.name,
                    "verdict": list(column.verdict),
                    "groups": [cast("JSON", asdict(group)) for group in column.groups],
                    "disparities": [
                        {**cast("dict[str, JSON]", asdict(one)), "difference": one.difference}
                        for one in column.disparities
                    ],
                }
                for column in self.columns
            ],
            "harmed": self.harmed,
        }


def audited_prompts(path: str | Path, *, skip_bad: bool = False) -> AuditedPrompts:
    """Read a file of prompts, with qualities if it has any.

    Args:
        path: ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet`` with a column ``prompt``. If any row has a
            ``small_quality`` or ``large_quality``, the file is read as ``tables.labeled`` describes, and each row needs
            both; of a prompt that stands in several rows the mean then counts. Else each row counts by itself.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.

    Raises:
        OutcomeError: The file cannot be read, a row cannot be used, or nothing is left.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    rows = list(read_rows(path, needed=("prompt",)))
    found = [row.values for row in rows if not isinstance(row.values, BadRowError)]
    if any(values.get(name) is not None for values in found for name in QUALITIES):
        labeled = read_labeled(path, skip_bad=skip_bad)
        columns = dict(labeled.columns)
        return AuditedPrompts(labeled.prompts, columns, labeled.small, labeled.large, labeled.skipped, labeled.merged)
    good, skipped = checked_rows(iter(rows), _prompt_row, skip_bad=skip_bad)
    if not good:
        raise OutcomeError(f"{path} has no usable row; a row needs a prompt")
    names = sorted({name for values in good for name in values} - {"prompt", *QUALITIES})
    columns = {name: tuple(values.get(name) for values in good) for name in names}
    return AuditedPrompts(tuple(str(values["prompt"]) for values in good), columns, skipped=skipped)


def _prompt_row(values: Mapping[str, object]) -> Mapping[str, object]:
    present(values, ("prompt",))
    return {**values, "prompt": text_of("prompt", values["prompt"])}


def audit(
    prompts: AuditedPrompts,
    router: RouterLike = None,
    knob: Knob = DEFAULT_KNOB,
    *,
    by: Sequence[str] = (),
    detect: Sequence[str] = (),
    level: float = LEVEL,
    seed: int = 0,
) -> Audit:
    """Route all prompts and compare groups of them.

    Best on prompts from which the router learned nothing.

    Args:
        prompts: With qualities, or without; then shares alone are compared.
        router: Whom to audit.
        knob: The wish that holds; not ``route``, which routes nothing.
        by: Names of columns of ``prompts``.
        detect: Keys of ``text_groups.DETECTORS``.
        level: Of the intervals, in (0, 1); 1 − level is the level of the tests.
        seed: Same seed, same report.

    Raises:
        KnobError: The knob is ``route``, or cannot be granted by this router.
        OutcomeError: No column is given, one is unknown, or one names no groups.
        HybridError: There is no such detector.
        MissingExtraError: A detector's library is not installed.
    """
    if knob.forced is not None:
        raise KnobError("route sends all to one model, which leaves nothing to compare; give another knob")
    columns = [given_column(name, _values(prompts, name)) for name in dict.fromkeys(by)]
    columns += [detected_column(name, prompts.prompts) for name in dict.fromkeys(detect)]
    if not columns:
        raise OutcomeError("say which groups to compare: columns of the file (by), or what is told of a text (detect)")
    served = as_router(router)
    decisions = served.route_many(prompts.prompts, [knob] * len(prompts.prompts))
    routed = Routed(
        np.array([decision.target == "small" for decision in decisions], dtype=np.bool_),
        np.array([decision.difficulty for decision in decisions], dtype=np.float64),
        prompts.small,
        prompts.large,
    )
    return audit_groups(routed, columns, router_id=served.router_id, knob=knob, level=level, seed=seed)


def _values(prompts: AuditedPrompts, name: str) -> tuple[object, ...]:
    if name not in prompts.columns:
        near = difflib.get_close_matches(name, prompts.columns, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OutcomeError(f"no column {name!r}{hint} (there are: {', '.join(prompts.columns) or 'none'})")
    return prompts.columns[name]


def audit_groups(
    routed: Routed,
    columns: Sequence[GroupColumn],
    *,
    router_id: str,
    knob: Knob,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Audit:
    """Compare groups of prompts that have been routed.

    Args:
        routed: n prompts.
        columns: Groups of the same n prompts.
        router_id: For the report.
        knob: For the report.
        level: Of the intervals, in (0, 1); 1 − level is the level of the tests.
        resamples: Bootstrap samples of each group, ≥ 1.
        permutations: Shuffles of each test, ≥ 1; the smallest p-value is 1 / (permutations + 1).
        seed: Same seed, same report.

    Raises:
        OutcomeError: Settings out of range, or a column of another length.
    """
    if not 0.0 < level < 1.0 or resamples < 1 or permutations < 1:
        raise OutcomeError(f"0 < level < 1, resamples ≥ 1, permutations ≥ 1, got {level}, {resamples}, {permutations}")
    for column in columns:
        if column.place.shape != routed.to_small.shape:
            raise OutcomeError(
                f"column {column.name!r} is of {len(column.place)} prompts, and {routed.to_small.size} were routed"
            )
    generator = np.random.default_rng(seed)

    def result(name: str, part: Routed) -> GroupResult:
        return _group_result(name, part, level, resamples, generator)

    everything = result("all", routed)
    found = [
        (
            column,
            tuple(result(name, routed.part(column.place == i)) for i, name in enumerate(column.names)),
            tuple(_disparity(question, routed, column, permutations, generator) for question in _questions(routed)),
        )
        for column in columns
    ]
    corrected = _corrected([disparities for _, _, disparities in found], 1.0 - level)
    audits = [
        ColumnAudit(column.name, groups, disparities, _verdict(groups, disparities))
        for (column, groups, _), disparities in zip(found, corrected, strict=True)
    ]
    return Audit(router_id, knob, level, everything, tuple(audits))


def _questions(routed: Routed) -> tuple[Question, ...]:
    return ("share",) if routed.small is None else ("share", "loss", "if_short", "if_as_good")


def _group_result(
    name: str, routed: Routed, level: float, resamples: int, generator: np.random.Generator
) -> GroupResult:
    n = len(routed.to_small)
    return GroupResult(
        name=name,
        n=n,
        tested=n >= MIN_GROUP,
        rate=rate_of(int(routed.to_small.sum()), n, level),
        difficulty=float(routed.difficulty.mean()),
        harm=_harm(routed, level, resamples, generator),
    )


def _harm(routed: Routed, level: float, resamples: int, generator: np.random.Generator) -> Harm | None:
    small, large = routed.small, routed.large
    if small is None or large is None:
        return None
    answered = np.where(routed.to_small, small, large)
    loss = large - answered
    drawn_loss, drawn_large = _resampled(np.column_stack([loss, large]), resamples, generator)
    mean_loss, mean_large = float(loss.mean()), float(large.mean())
    drop = None
    # a resample in which the large model's mean is 0 has no relative drop
    some = np.abs(drawn_large) > 1e-12
    if abs(mean_large) > 1e-12 and some.any():
        drop = _interval(mean_loss / abs(mean_large), drawn_loss[some] / np.abs(drawn_large[some]), level)
    short = small < large
    return Harm(
        small_quality=float(small.mean()),
        large_quality=mean_large,
        routed_quality=float(answered.mean()),
        loss=_interval(mean_loss, drawn_loss, level),
        drop=drop,
        if_short=_rate_of(routed.to_small[short], level),
        if_as_good=_rate_of(routed.to_small[~short], level),
        varies=bool((loss != loss[0]).any()),
    )


def _rate_of(to_small: Flags, level: float) -> Rate | None:
    return rate_of(int(to_small.sum()), len(to_small), level) if len(to_small) else None


def _resampled(values: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Means of bootstrap samples, shape (columns, resamples), of rows, shape (n, columns)."""
    # equal rows are drawn together: with qualities of 0 and 1 there are a handful of different ones
    different, counts = np.unique(values, axis=0, return_counts=True)
    n = len(values)
    at_once = max(1, AT_ONCE // len(different))
    means = [
        generator.multinomial(n, counts / n, size=min(at_once, resamples - start)) @ different / n
        for start in range(0, resamples, at_once)
    ]
    drawn: Floats = np.concatenate(means).T
    return drawn


def _interval(estimate: float, drawn: Floats, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def _asked(question: Question, routed: Routed) -> Flags:
    """The prompts that a question is about."""
    if question in ("share", "loss") or routed.small is None or routed.large is None:
        return np.ones(len(routed.to_small), dtype=np.bool_)
    short = routed.small < routed.large
    return short if question == "if_short" else ~short


def _disparity(
    question: Question, routed: Routed, column: GroupColumn, permutations: int, generator: np.random.Generator
) -> Disparity:
    rows = _asked(question, routed)
    counts = np.bincount(column.place[rows], minlength=len(column.names))
    compared = np.flatnonzero(counts >= MIN_GROUP)
    if len(compared) < 2:
        return Disparity(question, len(compared), None, None, 0, False, "", "", None, None, None)
    rows = rows & np.isin(column.place, compared)
    place = np.searchsorted(compared, column.place[rows])
    names = [column.names[i] for i in compared.tolist()]
    part = routed.part(rows)
    if question == "loss" and part.small is not None and part.large is not None:
        losses = np.where(part.to_small, part.large - part.small, 0.0)
        values = np.bincount(place, weights=losses) / counts[compared]
        p = mean_p_value(losses, place, len(compared), permutations=permutations, generator=generator)
        ratio = None
    else:
        small = np.bincount(place[part.to_small], minlength=len(compared))
        values = small / counts[compared]
        p = share_p_value(small, counts[compared], permutations=permutations, generator=generator)
        to_large = 1.0 - values
        ratio = float(to_large.min() / to_large.max()) if to_large.max() > 0.0 else None
    lowest, highest = int(values.argmin()), int(values.argmax())
    return Disparity(
        question=question,
        groups=len(compared),
        p=p,
        corrected=p,
        columns=1,
        differs=False,
        lowest=names[lowest],
        highest=names[highest],
        low=float(values[lowest]),
        high=float(values[highest]),
        large_ratio=ratio,
    )


def _corrected(columns: Sequence[tuple[Disparity, ...]], alpha: float) -> list[tuple[Disparity, ...]]:
    """The same with p-values corrected over the columns, each question by itself."""
    by_question: list[list[Disparity]] = []
    for same in zip(*columns, strict=True):
        p_values = [one.p for one in same if one.p is not None]
        rest = iter(holm(p_values))
        by_question.append([one if one.p is None else _decided(one, next(rest), len(p_values), alpha) for one in same])
    return [tuple(same) for same in zip(*by_question, strict=True)]


def _decided(disparity: Disparity, corrected: float, columns: int, alpha: float) -> Disparity:
    return replace(disparity, corrected=corrected, columns=columns, differs=corrected <= alpha)


def _verdict(groups: Sequence[GroupResult], disparities: Sequence[Disparity]) -> tuple[str, ...]:
    said = [_SENTENCES[one.question](one) for one in disparities if one.p is not None]
    differs = {one.question: one.differs for one in disparities if one.p is not None}
    if not said:
        said.append(f"Nothing was tested, as fewer than two groups have {MIN_GROUP} prompts.")
    if differs.get("share") and differs.get("loss") is False:
        said.append("So some groups get the small model more often, and no unequal loss by it was shown.")
    few = sum(not group.tested for group in groups)
    if few and differs:
        said.append(f"{few} of {len(groups)} groups have fewer than {MIN_GROUP} prompts and are not tested.")
    return tuple(said)


def _chance(disparity: Disparity) -> str:
    over = f", corrected for {disparity.columns} columns" if disparity.columns > 1 else ""
    return f"p = {disparity.corrected:.2g}{over}"


def _span(disparity: Disparity, form: str) -> str:
    low, high = format(disparity.low, form), format(disparity.high, form)
    if low == high:
        return f"{low} in each"
    return f"from {low} ({disparity.lowest}) to {high} ({disparity.highest})"


def _share_sentence(disparity: Disparity) -> str:
    differs = "differs more than by chance" if disparity.differs else "is not shown to differ"
    said = f"The share that the small model gets {differs}: {_span(disparity, '.0%')}; {_chance(disparity)}."
    ratio = disparity.large_ratio
    if disparity.differs and ratio is not None and ratio < FOUR_FIFTHS:
        said += (
            f" The lowest share of the large model is {ratio:.2f} of the highest; below four fifths, a rule of thumb "
            "sees adverse impact."
        )
    return said


def _loss_sentence(disparity: Disparity) -> str:
    start = "HARM: what" if disparity.differs else "What"
    differs = "differs more than by chance" if disparity.differs else "is not shown to differ"
    return (
        f"{start} a prompt loses against the large model {differs}: {_span(disparity, '+.3f')} of quality; "
        f"{_chance(disparity)}."
    )


def _odds_sentence(what: str) -> Callable[[Disparity], str]:
    def sentence(disparity: Disparity) -> str:
        differs = "differs more than by chance" if disparity.differs else "is not shown to differ"
        return (
            f"Where the small model {what}, the share that it gets {differs}: {_span(disparity, '.0%')}; "
            f"{_chance(disparity)}."
        )

    return sentence


_SENTENCES: dict[Question, Callable[[Disparity], str]] = {
    "share": _share_sentence,
    "loss": _loss_sentence,
    "if_short": _odds_sentence("falls short"),
    "if_as_good": _odds_sentence("is as good"),
}


def csv_rows(report: Audit) -> list[dict[str, str | int | float | bool | None]]:
    """The groups as a flat table, "all" first: one row a group.

    Args:
        report: From ``audit``.
    """
    rows = [_csv_row("", report.overall)]
    return rows + [_csv_row(column.name, group) for column in report.columns for group in column.groups]


def _csv_row(column: str, group: GroupResult) -> dict[str, str | int | float | bool | None]:
    row: dict[str, str | int | float | bool | None] = {
        "column": column,
        "group": group.name,
        "n": group.n,
        "tested": group.tested,
        "difficulty": group.difficulty,
        **_rate_cells("small_share", group.rate),
    }
    harm = group.harm
    if harm is not None:
        row |= {
            "small_quality": harm.small_quality,
            "large_quality": harm.large_quality,
            "routed_quality": harm.routed_quality,
            **_interval_cells("loss", harm.loss),
            **_interval_cells("drop", harm.drop),
            **_rate_cells("small_share_if_short", harm.if_short),
            **_rate_cells("small_share_if_as_good", harm.if_as_good),
        }
    return row


def _rate_cells(name: str, rate: Rate | None) -> dict[str, int | float | None]:
    parts = (None,) * 4 if rate is None else (rate.share, rate.low, rate.high, rate.of)
    return dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_of"), parts, strict=True))


def _interval_cells(name: str, interval: Interval | None) -> dict[str, float | None]:
    parts = (None,) * 3 if interval is None else (interval.estimate, interval.low, interval.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), parts, strict=True))
