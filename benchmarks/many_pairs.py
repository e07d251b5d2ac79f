"""How routers do on many pairs at once: ``python -m benchmarks.many_pairs --data DIR``.

For each pair (small, large) of a table's models of which the large one is better by at least ``LEAST_GAP``: APGR of the
embedded router, of prompt length, and of a head that learned from 50, 100 and 500 labels of that very pair (ridge on
words and surface features on the gap, its penalty chosen by cross-validation inside the labels). Labels come from the
rows marked train, APGR from those marked validation; rows marked test are not read. Tables with more pairs than
``MOST_PAIRS`` are represented by as many, drawn at random.

A table's pairs share its queries, so that their figures are not independent: the interval of a table's mean comes from
1,000 bootstrap samples of the queries, the same for all pairs. The embedded router learned from the training rows of
the tables that are marked with a star; there it has an advantage that it would not have on other traffic.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import apgr, paired_bootstrap
from shared_router.training.fast_heads import METHODS, Lesson, embedded_scorer, fitted, lesson_from
from shared_router.training.outcomes import Outcomes, read_outcomes
from shared_router.training.sources import FORMAT_FAILURES, SHIPPABLE

Floats = npt.NDArray[np.float64]

TABLES = ("mmlu_pro", "zeroeval", "llmrouter_dc", "routerbench_zs", "bfcl", "alpaca_eval1", "alpaca_eval2")
LABELS = (50, 100, 500)
DRAWS = 2
LEAST_GAP = 0.05
MOST_PAIRS = 40
SEED = 0


@dataclass(frozen=True, slots=True)
class PairFigures:
    """APGR on one pair, by router."""

    small: str
    large: str
    gap: float
    apgr: dict[str, float]


def pairs_of(outcomes: Outcomes) -> list[tuple[str, str]]:
    """The pairs of a table, at random where there are many."""
    failed = FORMAT_FAILURES.get(outcomes.source, ())
    models = [model for model in outcomes.models if model not in failed]
    found = [
        (small, large)
        for small, large in permutations(models, 2)
        if np.nanmean(outcomes.marks(large) - outcomes.marks(small)) >= LEAST_GAP
    ]
    order = np.random.default_rng(SEED).permutation(len(found))[:MOST_PAIRS]
    return [found[i] for i in np.sort(order)]


def own_scores(
    lesson: Lesson, learned: npt.NDArray[np.int64], tested: npt.NDArray[np.int64], count: int
) -> list[Floats]:
    """Scores of the test rows by heads of so many labels, one a draw."""
    scores = []
    for draw in range(DRAWS):
        rows = np.sort(np.random.default_rng(draw).permutation(learned)[:count])
        try:
            head = fitted(lesson.part(rows), METHODS["mixed"], SEED)
        except OutcomeError:  # by chance no gap among so few
            scores.append(np.zeros(len(tested)))
            continue
        scores.append(head.raw(lesson.part(tested)))
    return scores


def measured(
    outcomes: Outcomes, progress: Progress
) -> tuple[list[PairFigures], dict[str, list[Floats]], list[list[Floats]]]:
    """Figures of every pair; scores by router and marks by model, per pair over the table's validation rows."""
    embedded = embedded_scorer()
    texts = outcomes.texts
    everything = lesson_from(embedded, texts, np.zeros(len(texts)), np.zeros(len(texts)))
    length = np.array([float(len(text)) for text in texts])
    plain = {"embedded": np.asarray(embedded.score(texts), dtype=np.float64), "length": length}
    tested = np.flatnonzero(outcomes.split == "validation")
    figures: list[PairFigures] = []
    marks: list[list[Floats]] = [[], []]
    for small_name, large_name in progress.track(pairs_of(outcomes), description=outcomes.source):
        small, large = outcomes.marks(small_name), outcomes.marks(large_name)
        known = np.isfinite(small) & np.isfinite(large)
        learned = np.flatnonzero((outcomes.split == "train") & known)
        rows = tested[known[tested]]
        if large[rows].mean() - small[rows].mean() < LEAST_GAP / 2:
            continue
        lesson = Lesson(
            everything.embedded,
            everything.dense,
            everything.pieces,
            everything.directions,
            np.nan_to_num(small),
            np.nan_to_num(large),
            everything.groups,
            (small < large).astype(np.float64),
        )
        found = {name: apgr(scores[rows], small[rows], large[rows]) for name, scores in plain.items()}
        for count in LABELS:
            if len(learned) >= count:
                each = own_scores(lesson, learned, rows, count)
                found[f"own {count}"] = float(np.mean([apgr(one, small[rows], large[rows]) for one in each]))
        found["oracle"] = apgr(large[rows] - small[rows], small[rows], large[rows])
        figures.append(PairFigures(small_name, large_name, float(large[rows].mean() - small[rows].mean()), found))
        marks[0].append(small[tested])
        marks[1].append(large[tested])
    return figures, {name: scores[tested] for name, scores in plain.items()}, marks


def main() -> None:
    """Print a line a table, and the pairs on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    parser.add_argument("--pairs", action="store_true", help="print every pair, too")
    arguments = parser.parse_args()
    names = ("length", "embedded", *(f"own {count}" for count in LABELS), "oracle")
    summary = Table(box=MARKDOWN)
    for column in ("table", "pairs", *names, "embedded − length", "pairs where embedded / own 500 is above length"):
        summary.add_column(column, no_wrap=True)
    console = Console(width=250)
    with Progress(console=Console(stderr=True)) as progress:
        for source in TABLES:
            outcomes = read_outcomes(arguments.data, source)
            figures, scores, (small, large) = measured(outcomes, progress)
            means = [np.mean([one.apgr[name] for one in figures if name in one.apgr] or [np.nan]) for name in names]
            over = paired_bootstrap(scores["embedded"], scores["length"], small, large, resamples=1000, seed=SEED)
            above = [
                sum(one.apgr.get(name, -np.inf) > one.apgr["length"] for one in figures)
                for name in ("embedded", "own 500")
            ]
            summary.add_row(
                f"{source}{'*' if source in SHIPPABLE else ''}",
                str(len(figures)),
                *("" if np.isnan(mean) else f"{mean:.3f}" for mean in means),
                f"{over.estimate:+.3f} [{over.low:+.3f}, {over.high:+.3f}]",
                f"{above[0]} / {above[1]} of {len(figures)}",
            )
            if arguments.pairs:
                table = Table("small", "large", "gap", *names, box=MARKDOWN, title=source)
                for one in figures:
                    shown = (f"{one.apgr[name]:.3f}" if name in one.apgr else "" for name in names)
                    table.add_row(one.small, one.large, f"{one.gap:.3f}", *shown)
                console.print(table)
    console.print(summary)


if __name__ == "__main__":
    main()
