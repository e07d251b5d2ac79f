"""All figures of all scores, under many weightings of the prompts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.evaluation.costs import aiq
from shared_router.evaluation.results import COST_ADVANTAGES, MAX_DROPS, PGR_TARGETS, Wish
from shared_router.evaluation.sweeps import Ordered, Sweep, area, gained_at, reaching, spent_at

__all__ = [
    "GRID",
    "LENGTH",
    "ORACLE",
    "RANDOM",
    "ROUTER",
    "Bench",
    "Figures",
    "Measured",
    "Pair",
    "joined",
    "relative_loss",
]

Floats = npt.NDArray[np.float64]
Figures = dict[str, Floats]

GRID = np.linspace(0.0, 1.0, 101)
"""Large shares at which curves are drawn."""

AIQ_SHARES = np.linspace(0.0, 1.0, 11)

RANDOM, LENGTH, ROUTER, ORACLE = "random", "length", "router", "oracle"
"""The scores that are always there."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """What all scores are measured on.

    Attributes:
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, shape (n,).
        extra: What the large model costs above the small one, shape (n,); None where it is not known.
    """

    small: Floats
    large: Floats
    extra: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Everything on the prompts themselves (b = 1), or on b bootstrap samples.

    Attributes:
        scores: Figures of each score by their keys in ``FIGURES``, each of shape (b,).
        pgr: The router's along ``GRID``, shape (b, 101).
        drop: The same for its relative loss, shape (b, 101).
        wishes: By label: ``large_share``, ``quality``, ``drop`` and ``over_random``, each of shape (b,).
        tasks: By task and score: ``apgr``, ``over_random`` and ``drop_20``, each of shape (b,).
        within: The router's APGR within tasks, shape (b,).
        small: Mean quality of the small model, shape (b,).
        large: Mean quality of the large model, shape (b,).
    """

    scores: Mapping[str, Figures]
    pgr: Floats
    drop: Floats
    wishes: Mapping[str, Figures]
    tasks: Mapping[str, Mapping[str, Figures]]
    within: Floats
    small: Floats
    large: Floats


class Bench:
    """Everything sorted once, to be weighed many times.

    Args:
        scores: Of the n prompts, each of shape (n,); among them the router's and prompt length.
        pair: Qualities and costs of the same prompts.
        wishes: Thresholds on the router's score.
        tasks: Rows of each task.
    """

    def __init__(
        self,
        scores: Mapping[str, Floats],
        pair: Pair,
        wishes: tuple[Wish, ...],
        tasks: Mapping[str, npt.NDArray[np.int64]],
    ) -> None:
        self.pair = pair
        self.tasks = tasks
        self.ordered = {name: Ordered(score, pair.small, pair.large, pair.extra) for name, score in scores.items()}
        self.sent = {wish.label: (scores[ROUTER] >= wish.threshold).astype(np.float64) for wish in wishes}
        self.by_task = {
            task: {name: Ordered(scores[name][rows], pair.small[rows], pair.large[rows]) for name in (LENGTH, ROUTER)}
            for task, rows in tasks.items()
        }

    def measured(self, weights: Floats) -> Measured:
        """All figures under b weightings.

        Args:
            weights: How often each prompt counts, shape (b, n).
        """
        sweeps = {name: ordered.sweep(weights) for name, ordered in self.ordered.items()}
        router = sweeps[ROUTER]
        gained = gained_at(router, GRID)
        tasks = {
            task: {name: _ranking_figures(one.sweep(weights[:, self.tasks[task]])) for name, one in ordered.items()}
            for task, ordered in self.by_task.items()
        }
        return Measured(
            scores={name: _all_figures(sweep) for name, sweep in sweeps.items()},
            pgr=_over(gained, np.where(router.gap > 0.0, router.gap, np.nan)[:, None]),
            drop=relative_loss(router, gained),
            wishes={label: _at_threshold(router, self.pair, sent, weights) for label, sent in self.sent.items()},
            tasks=tasks,
            within=self._within(router, tasks, weights),
            small=router.small,
            large=router.large,
        )

    def _within(self, router: Sweep, tasks: Mapping[str, Mapping[str, Figures]], weights: Floats) -> Floats:
        over = np.zeros(len(weights))
        for task, figures in tasks.items():
            part = weights[:, self.tasks[task]].sum(axis=1) / weights.sum(axis=1)
            # a task of which nothing was drawn has no figure, and no weight
            over += part * np.nan_to_num(figures[ROUTER]["over_random"])
        return 0.5 + _over(over, np.where(router.gap > 0.0, router.gap, np.nan))


def _over(values: Floats, by: Floats) -> Floats:
    """The quotient; NaN where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = values / by
    return np.where(np.isfinite(quotient), quotient, np.nan)


def relative_loss(sweep: Sweep, gained: Floats) -> Floats:
    """Relative loss against always large; NaN where that has a mean of 0.

    Args:
        sweep: b weightings.
        gained: Mean quality above always small at m points, shape (b, m).
    """
    size = np.where(np.abs(sweep.large) > 1e-12, np.abs(sweep.large), np.nan)
    return _over(sweep.gap[:, None] - gained, size[:, None])


def _ranking_figures(sweep: Sweep) -> Figures:
    total = area(sweep)
    return {
        "apgr": _over(total, np.where(sweep.gap > 0.0, sweep.gap, np.nan)),
        "over_random": total - sweep.gap / 2,
        "drop_20": relative_loss(sweep, gained_at(sweep, np.array([0.8])))[:, 0],
    }


def _all_figures(sweep: Sweep) -> Figures:
    """Every figure of ``FIGURES`` that the sweep has the data for."""
    total, gap = area(sweep), sweep.gap
    positive = np.where(gap > 0.0, gap, np.nan)
    kept = np.array(COST_ADVANTAGES)
    gained = gained_at(sweep, 1.0 - kept)
    lost = relative_loss(sweep, gained)
    apart = gained / (1.0 - kept) - (gap[:, None] - gained) / kept
    figures = {"apgr": _over(total, positive), "over_random": total - gap / 2, "auc": sweep.auc}
    for target in PGR_TARGETS:
        # a comparison with NaN is false: without a gap nothing is reached
        figures[f"cpt_{100 * target:g}"] = reaching(sweep, target * positive)
    for column, share in enumerate(COST_ADVANTAGES):
        figures[f"drop_{100 * share:g}"] = lost[:, column]
        figures[f"gap_difference_{100 * share:g}"] = apart[:, column]
    for drop in MAX_DROPS:
        figures[f"saved_{100 * drop:g}"] = 1.0 - reaching(sweep, gap - drop * np.abs(sweep.large))
    return figures if sweep.spent is None else {**figures, **_money(sweep, gained)}


def _money(sweep: Sweep, gained: Floats) -> Figures:
    spent = spent_at(sweep, 1.0 - np.array(COST_ADVANTAGES))
    whole = spent_at(sweep, np.array([1.0]))
    base = _over(sweep.gap[:, None], np.where(whole > 0.0, whole, np.nan))
    lift = _over(_over(gained, spent) - base, np.where(base > 0.0, base, np.nan))
    figures = {f"ibc_lift_{100 * share:g}": lift[:, column] for column, share in enumerate(COST_ADVANTAGES)}
    points = np.stack([spent_at(sweep, AIQ_SHARES), gained_at(sweep, AIQ_SHARES)], axis=2)
    figures["aiq"] = np.array(
        [
            start + aiq(row, low=0.0, high=float(end)) if end > 0.0 else np.nan
            for start, row, end in zip(sweep.small, points, whole[:, 0], strict=True)
        ]
    )
    return figures


def _at_threshold(sweep: Sweep, pair: Pair, sent: Floats, weights: Floats) -> Figures:
    total = weights.sum(axis=1)
    share = weights @ sent / total
    gained = weights @ (sent * (pair.large - pair.small)) / total
    return {
        "large_share": share,
        "quality": _over(gained, np.where(sweep.gap > 0.0, sweep.gap, np.nan)),
        "drop": relative_loss(sweep, gained[:, None])[:, 0],
        "over_random": gained - share * sweep.gap,
    }


def joined(chunks: Sequence[Measured]) -> Measured:
    """Several sets of bootstrap samples as one.

    Args:
        chunks: At least one.
    """

    def figures(parts: Sequence[Figures]) -> Figures:
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    first = chunks[0]
    return Measured(
        scores={name: figures([chunk.scores[name] for chunk in chunks]) for name in first.scores},
        pgr=np.concatenate([chunk.pgr for chunk in chunks]),
        drop=np.concatenate([chunk.drop for chunk in chunks]),
        wishes={label: figures([chunk.wishes[label] for chunk in chunks]) for label in first.wishes},
        tasks={
            task: {name: figures([chunk.tasks[task][name] for chunk in chunks]) for name in first.tasks[task]}
            for task in first.tasks
        },
        within=np.concatenate([chunk.within for chunk in chunks]),
        small=np.concatenate([chunk.small for chunk in chunks]),
        large=np.concatenate([chunk.large for chunk in chunks]),
    )
