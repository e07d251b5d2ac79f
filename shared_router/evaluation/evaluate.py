"""A router's difficulties on labelled prompts, beside the baselines that it has to beat.

    difficulties + labelled prompts → sweeps → figures with paired bootstrap intervals → verdict

The baselines are always there: always small, always large, the better of the two, random at the same share, prompt
length, and the oracle, which knows the gap. Other scores, such as nearest neighbours among the labelled prompts, are
handed in: what learns from labels belongs to ``shared_router.training``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.evaluation.costs import Costs
from shared_router.evaluation.figures import (
    GRID,
    LENGTH,
    ORACLE,
    RANDOM,
    ROUTER,
    Bench,
    Figures,
    Measured,
    Pair,
    joined,
    relative_loss,
)
from shared_router.evaluation.metrics import Interval, random_apgr_deviation
from shared_router.evaluation.resampling import interval, resampled_weights
from shared_router.evaluation.results import (
    About,
    Curve,
    Evaluation,
    Histogram,
    KnobResult,
    Models,
    ScoreResult,
    TaskResult,
    Wish,
)
from shared_router.evaluation.shortfall import calibration
from shared_router.evaluation.sweeps import checked, gained_at
from shared_router.evaluation.verdict import Evidence, verdict
from shared_router.knob import Knob, OperatingCurve, operating_point
from shared_router.tables.labeled import LabeledPrompts

__all__ = ["QUALITIES", "evaluate", "prompt_lengths", "wishes_from"]

Floats = npt.NDArray[np.float64]

QUALITIES = (0.5, 0.8, 0.9, 0.95, 1.0)
"""Wishes that are looked up by ``wishes_from``."""

BINS = 20

MIN_TASK_ROWS = 20
"""Below, a task is listed without intervals."""

MAX_TASKS = 200

GROUP_COLUMN = "group"

TITLES = {
    RANDOM: "random",
    LENGTH: "prompt length",
    ROUTER: "the router",
    ORACLE: "oracle",
}


def prompt_lengths(labeled: LabeledPrompts) -> Floats:
    """Characters of each prompt, shape (n,): the difficulty that needs no router."""
    return np.array([float(len(prompt)) for prompt in labeled.prompts])


def wishes_from(curve: OperatingCurve | None, qualities: Sequence[float] = QUALITIES) -> tuple[Wish, ...]:
    """The operating points that a router would take for some qualities.

    Args:
        curve: The router's measured curve; without one ``quality`` q means the threshold 1 − q.
        qualities: Wishes, in (0, 1].

    Raises:
        KnobError: A quality out of range.
    """
    points = [operating_point(Knob("quality", quality), curve) for quality in qualities]
    return tuple(
        Wish(f"quality {quality:g}", point.threshold, point.large_share, point.quality)
        for quality, point in zip(qualities, points, strict=True)
    )


def evaluate(
    difficulty: npt.ArrayLike,
    labeled: LabeledPrompts,
    *,
    costs: Costs | None = None,
    others: Mapping[str, npt.ArrayLike] | None = None,
    titles: Mapping[str, str] | None = None,
    wishes: Sequence[Wish] = (),
    by: str | None = None,
    groups: Sequence[object] | None = None,
    data: str = "",
    router: str = ROUTER,
    small_model: str = "small",
    large_model: str = "large",
    date: str = "",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """Measure a router and say whether routing pays.

    The prompts must be such that the router did not learn from, nor was chosen on.

    Args:
        difficulty: The router's difficulties, higher = rather the large model, shape (n,).
        labeled: The n prompts with the quality of both models' answers.
        costs: Of both models' answers; None leaves out what is measured in money.
        others: Other scores to compare with, by name, each of shape (n,); such as out-of-fold scores of nearest
            neighbours.
        titles: What to call them; else their names.
        wishes: Thresholds that were fixed beforehand, see ``wishes_from``.
        by: Column of ``labeled`` for a table by task. Where tasks differ in their gap, a score gains by telling the
            tasks apart; ``Evaluation.within_tasks`` is the APGR without that: tasks weigh by their prompts, and random
            is random within each.
        groups: Group of each prompt, of which whole ones are resampled; else the column "group", if there is one.
        data: Name of the file, for people.
        router: The router's id, for people.
        small_model: Name of the small model, for people.
        large_model: Name of the large model, for people.
        date: ISO date, for people.
        level: Coverage of all intervals, in (0, 1).
        resamples: Bootstrap samples, ≥ 1.
        seed: Same data and seed, same evaluation.

    Raises:
        OutcomeError: Wrong shapes, NaN, a name that is taken, a column that is not there or has more than ``MAX_TASKS``
            values, or settings out of range.
    """
    if not 0.0 < level < 1.0:
        raise OutcomeError(f"level lies between 0 and 1, got {level!r}")
    scores = _scores(difficulty, labeled, others or {})
    names = {**{name: name for name in scores}, **TITLES, **(titles or {})}
    pair = _pair(labeled, costs)
    groups = labeled.columns.get(GROUP_COLUMN) if groups is None else groups
    tasks = _tasks(labeled, by)
    bench = Bench(scores, pair, tuple(wishes), tasks)
    here = bench.measured(np.ones((1, len(labeled))))
    weights = resampled_weights(len(labeled), groups=groups, resamples=resamples, seed=seed)
    sampled = joined([bench.measured(chunk) for chunk in weights])
    told = _Told(here, sampled, level)
    models = _models(told, costs)
    scored = {name: told.figures(here.scores[name], sampled.scores[name]) for name in scores}
    return Evaluation(
        about=About(
            data=data,
            router=router,
            small_model=small_model,
            large_model=large_model,
            date=date,
            rows=len(labeled),
            groups=None if groups is None else len({str(group) for group in groups}),
            level=level,
            resamples=resamples,
            seed=seed,
        ),
        verdict=verdict(_evidence(told, models, scored, names, len(labeled))),
        models=models,
        scores=tuple(
            ScoreResult(name, names[name], scored[name], told.router_minus(name) if name != ROUTER else {})
            for name in scores
        ),
        knobs=tuple(_knob(told, wish) for wish in wishes),
        by=by,
        tasks=tuple(_task(told, bench, name) for name in tasks),
        within_tasks=told.of(here.within, sampled.within) if by else None,
        random_deviation=random_apgr_deviation(pair.small, pair.large) if models.gap.estimate > 0.0 else None,
        calibration=calibration(scores[ROUTER], pair.small < pair.large) if _is_probability(scores[ROUTER]) else None,
        curves=tuple(_curve(told, bench, name) for name in scores),
        histogram=_histogram(scores[ROUTER], pair) if _is_probability(scores[ROUTER]) else None,
        notes=_notes(labeled, scores[ROUTER], groups),
    )


def _scores(
    difficulty: npt.ArrayLike, labeled: LabeledPrompts, others: Mapping[str, npt.ArrayLike]
) -> dict[str, Floats]:
    """All scores, in the order in which they are shown."""
    taken = [name for name in others if name in TITLES]
    if taken:
        raise OutcomeError(f"{', '.join(taken)} is always among the scores; give yours another name")
    scores = {RANDOM: np.zeros(len(labeled)), LENGTH: prompt_lengths(labeled)}
    for name, given in (*others.items(), (ROUTER, difficulty)):
        called = "difficulty" if name == ROUTER else f"others[{name!r}]"
        scores[name] = checked(**{called: given, "small_quality": labeled.small})[0]
    return {**scores, ORACLE: labeled.large - labeled.small}


def _pair(labeled: LabeledPrompts, costs: Costs | None) -> Pair:
    small, large = checked(small_quality=labeled.small, large_quality=labeled.large)
    if costs is not None:
        checked(costs=costs.small, small_quality=small)
    return Pair(small, large, None if costs is None else costs.extra)


def _tasks(labeled: LabeledPrompts, by: str | None) -> dict[str, npt.NDArray[np.int64]]:
    """Rows of each task, from the most frequent task on."""
    if by is None:
        return {}
    if by not in labeled.columns:
        raise OutcomeError(f"there is no column {by!r} (there are: {', '.join(labeled.columns) or 'no others'})")
    values = ["(none)" if value is None else str(value) for value in labeled.columns[by]]
    counts = Counter(values)
    if len(counts) > MAX_TASKS:
        raise OutcomeError(
            f"column {by!r} has {len(counts)} different values, which is no table; {MAX_TASKS} can be shown"
        )
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    column = np.array(values, dtype=object)
    return {name: np.flatnonzero(column == name) for name in ordered}


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Figures with their intervals."""

    here: Measured
    sampled: Measured
    level: float

    def of(self, here: Floats, sampled: Floats, level: float | None = None) -> Interval | None:
        return interval(float(here[0]), sampled, self.level if level is None else level)

    def sure(self, here: Floats, sampled: Floats, level: float | None = None) -> Interval:
        """The same of what is always defined."""
        told = self.of(here, sampled, level)
        if told is None:
            raise OutcomeError("the bootstrap gave no interval; give more resamples")
        return told

    def figures(self, here: Figures, sampled: Figures) -> dict[str, Interval | None]:
        return {key: self.of(here[key], sampled[key]) for key in here}

    def router_minus(self, name: str) -> dict[str, Interval | None]:
        here, sampled = self.here.scores, self.sampled.scores
        return {
            key: self.of(here[ROUTER][key] - here[name][key], sampled[ROUTER][key] - sampled[name][key])
            for key in here[name]
        }


def _models(told: _Told, costs: Costs | None) -> Models:
    here, sampled = told.here, told.sampled
    gap = told.sure(here.large - here.small, sampled.large - sampled.small)
    return Models(
        small_quality=told.sure(here.small, sampled.small),
        large_quality=told.sure(here.large, sampled.large),
        gap=gap,
        best="large" if gap.estimate > 0.0 else "small",
        # share 0, the first point of the grid
        small_drop=told.of(here.drop[:, 0], sampled.drop[:, 0]),
        small_cost=None if costs is None else float(costs.small.mean()),
        large_cost=None if costs is None else float(costs.large.mean()),
    )


def _evidence(
    told: _Told,
    models: Models,
    scored: Mapping[str, Mapping[str, Interval | None]],
    titles: Mapping[str, str],
    rows: int,
) -> Evidence:
    here = {name: figures["over_random"] for name, figures in told.here.scores.items()}
    sampled = {name: figures["over_random"] for name, figures in told.sampled.scores.items()}
    others = [name for name in here if name not in (RANDOM, ROUTER, ORACLE)]
    strict = 1.0 - (1.0 - told.level) / len(others)

    def over(level: float) -> dict[str, Interval]:
        return {name: told.sure(here[name], sampled[name], level) for name in others}

    def minus(level: float) -> dict[str, Interval]:
        return {name: told.sure(here[ROUTER] - here[name], sampled[ROUTER] - sampled[name], level) for name in others}

    return Evidence(
        rows=rows,
        level=told.level,
        gap=models.gap,
        router=told.sure(here[ROUTER], sampled[ROUTER]),
        router_apgr=scored[ROUTER]["apgr"],
        others=over(told.level),
        others_strict=over(strict),
        router_minus=minus(told.level),
        router_minus_strict=minus(strict),
        titles=titles,
        prices={name: _price(name, titles[name], scored) for name in (*others, ROUTER)},
    )


def _price(name: str, title: str, scored: Mapping[str, Mapping[str, Interval | None]]) -> str:
    lost_here, by_chance = scored[name]["drop_40"], scored[RANDOM]["drop_40"]
    if lost_here is None or by_chance is None:
        return ""
    low, high = 100 * lost_here.low, 100 * lost_here.high
    return (
        f"With 40 % of the calls left to the small model, {title} loses {100 * lost_here.estimate:.1f} % of the large "
        f"model's quality [{low:.1f}, {high:.1f}]; at random that is {100 * by_chance.estimate:.1f} %."
    )


def _knob(told: _Told, wish: Wish) -> KnobResult:
    here, sampled = told.here.wishes[wish.label], told.sampled.wishes[wish.label]
    return KnobResult(
        wish=wish,
        large_share=told.sure(here["large_share"], sampled["large_share"]),
        quality=told.of(here["quality"], sampled["quality"]),
        drop=told.of(here["drop"], sampled["drop"]),
        over_random=told.of(here["over_random"], sampled["over_random"]),
    )


def _task(told: _Told, bench: Bench, name: str) -> TaskResult:
    rows = bench.tasks[name]
    here, sampled = told.here.tasks[name], told.sampled.tasks[name]
    metrics = told.figures(here[ROUTER], sampled[ROUTER])
    lead = told.of(
        here[ROUTER]["over_random"] - here[LENGTH]["over_random"],
        sampled[ROUTER]["over_random"] - sampled[LENGTH]["over_random"],
    )
    enough = len(rows) >= MIN_TASK_ROWS
    return TaskResult(
        name=name,
        rows=len(rows),
        small_quality=float(bench.pair.small[rows].mean()),
        large_quality=float(bench.pair.large[rows].mean()),
        metrics={key: value if enough else None for key, value in metrics.items()},
        router_minus_length=lead if enough else None,
    )


def _curve(told: _Told, bench: Bench, name: str) -> Curve:
    sweep = bench.ordered[name].sweep()
    gained = gained_at(sweep, GRID)
    pgr = gained[0] / sweep.gap[0] if sweep.gap[0] > 0.0 else None
    drop = relative_loss(sweep, gained)[0]
    own = name == ROUTER
    return Curve(
        name=name,
        large_share=_numbers(GRID),
        pgr=None if pgr is None else _numbers(pgr),
        drop=_numbers(drop) if np.isfinite(drop).all() else None,
        pgr_band=_band(told.sampled.pgr, told.level) if own and pgr is not None else None,
        drop_band=_band(told.sampled.drop, told.level) if own and np.isfinite(drop).all() else None,
    )


def _band(sampled: Floats, level: float) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    kept = sampled[np.isfinite(sampled).all(axis=1)]
    if len(kept) < level * len(sampled):
        return None
    low, high = np.quantile(kept, [(1.0 - level) / 2, (1.0 + level) / 2], axis=0)
    return _numbers(low), _numbers(high)


def _numbers(values: Floats) -> tuple[float, ...]:
    # nobody reads more digits off a curve, and a file of them is ten times as long
    return tuple(round(float(value), 6) for value in values)


def _is_probability(difficulty: Floats) -> bool:
    return bool(((difficulty >= 0.0) & (difficulty <= 1.0)).all())


def _histogram(difficulty: Floats, pair: Pair) -> Histogram:
    low, high = float(difficulty.min()), float(difficulty.max())
    # a constant gets a bar of its own
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.005, low + 0.005])
    short = pair.small < pair.large
    return Histogram(
        edges=tuple(float(edge) for edge in edges),
        short=tuple(int(count) for count in np.histogram(difficulty[short], edges)[0]),
        well=tuple(int(count) for count in np.histogram(difficulty[~short], edges)[0]),
    )


def _notes(labeled: LabeledPrompts, difficulty: Floats, groups: Sequence[object] | None) -> tuple[str, ...]:
    notes = []
    if labeled.skipped:
        notes.append(f"{len(labeled.skipped)} rows of the file could not be used and were left out.")
    if labeled.merged:
        notes.append(f"{labeled.merged} rows repeat an earlier prompt; the mean of each prompt counts.")
    if groups is not None:
        notes.append("Intervals resample whole groups, because prompts of one group tell less than different ones.")
    levels = len(np.unique(difficulty))
    if levels < min(20, len(difficulty)):
        notes.append(
            f"The router gives these prompts only {levels} different difficulties; tied prompts count as sent in "
            "random order."
        )
    return tuple(notes)
