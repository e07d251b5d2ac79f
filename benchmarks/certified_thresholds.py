"""How often a chosen threshold breaks its promise: ``python -m benchmarks.certified_thresholds --data DIR``.

Hybrid LLM's own way (arXiv 2404.14618, §4.5) draws 500 queries with the outcomes of both models and takes the threshold
with the largest cost advantage among those that keep the promise on them. Here this is done on 1,000 random draws and
looked at on the rest of the table, beside the certified threshold from the same draws. What a certificate speaks of is
the population, here the whole table; the rest is what happens next, and has a chance of its own.

The difficulty is the embedded router's, which learnt from other models' outcomes on part of these queries. It is the
same for both rules and in all draws, so that it favours neither; the cost advantages are somewhat rosy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared_router.certificate import certified_threshold
from shared_router.knob import NEVER_LARGE, Knob
from shared_router.router import Router
from shared_router.training.outcomes import read_outcomes

Floats = npt.NDArray[np.float64]

PAIRS = (
    ("zeroeval", "gemma-2-9b-it", "gemma-2-27b-it"),
    ("zeroeval", "Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-70B-Instruct"),
    ("zeroeval", "gemma-2-2b-it", "gpt-4o-2024-08-06"),
    ("mmlu_pro", "Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct"),
)
PROMISES = (Knob("max_drop", 0.01), Knob("max_drop", 0.02), Knob("max_drop", 0.05), Knob("quality", 0.8))
ALWAYS_LARGE = 0.0


@dataclass(frozen=True, slots=True)
class Queries:
    """Outcomes of one pair; all of shape (n,)."""

    difficulty: Floats
    small: Floats
    large: Floats

    def rows(self, chosen: npt.NDArray[np.int64]) -> Queries:
        """Some of them."""
        return Queries(self.difficulty[chosen], self.small[chosen], self.large[chosen])


@dataclass(frozen=True, slots=True)
class Kept:
    """What one threshold did: to the queries that it was not chosen on, and to the whole table."""

    broken: bool
    broken_on_all: bool
    cost_advantage: float


def slack_if(queries: Queries, promise: Knob, to_large: npt.NDArray[np.bool_]) -> float:
    """How far a promise is kept on average, in quality; below 0 it is broken."""
    routed = np.where(to_large, queries.large, queries.small).mean()
    small, large = queries.small.mean(), queries.large.mean()
    value = float(promise.value)
    return float(
        routed - small - value * (large - small) if promise.name == "quality" else routed - (1 - value) * large
    )


def plain_threshold(sample: Queries, promise: Knob) -> float:
    """The paper's rule: the largest cost advantage that keeps the promise in the sample."""
    cuts = np.unique(sample.difficulty)
    order = np.argsort(sample.difficulty, kind="stable")
    lost = np.concatenate([[0.0], np.cumsum((sample.large - sample.small)[order])]) / len(order)
    # what is lost if all below a cut go to the small model; the last loses all
    below = np.append(np.searchsorted(sample.difficulty[order], cuts), len(order))
    value = float(promise.value)
    allowed = (1 - value) * lost[-1] if promise.name == "quality" else value * sample.large.mean()
    kept = np.flatnonzero(lost[below] <= allowed + 1e-12)
    return float(np.append(cuts, NEVER_LARGE)[kept[-1]]) if len(kept) else ALWAYS_LARGE


def certified(confidence: float) -> Callable[[Queries, Knob], float]:
    """The certified rule at a confidence."""

    def threshold(sample: Queries, promise: Knob) -> float:
        value = float(promise.value)
        found = certified_threshold(
            sample.difficulty,
            sample.small,
            sample.large,
            quality=value if promise.name == "quality" else None,
            max_drop=value if promise.name == "max_drop" else None,
            confidence=confidence,
        )
        return ALWAYS_LARGE if found.threshold is None else found.threshold

    return threshold


RULES: dict[str, Callable[[Queries, Knob], float]] = {"plain": plain_threshold, "certified": certified(0.95)}


def outcome(everything: Queries, rest: Queries, promise: Knob, threshold: float) -> Kept:
    """What a threshold does on the rest of the table, and on all of it."""
    to_large = rest.difficulty >= threshold
    return Kept(
        slack_if(rest, promise, to_large) < -1e-12,
        slack_if(everything, promise, everything.difficulty >= threshold) < -1e-12,
        1.0 - float(to_large.mean()),
    )


def best_possible(queries: Queries, promise: Knob) -> float:
    """Cost advantage of one who chooses on the whole table: what no rule can reach for certain."""
    return float((queries.difficulty < plain_threshold(queries, promise)).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--samples", type=int, nargs="+", default=[500], help="calibration queries")
    arguments = parser.parse_args()
    # wide enough for all columns wherever it goes
    console = Console(width=300)
    broken = (
        "plain: broken",
        "certified: broken",
        "plain: broken on all",
        "certified: broken on all",
        "certified nothing",
    )
    advantage = ("plain: advantage", "certified: advantage", "chosen on all: advantage")
    table = Table(box=MARKDOWN)
    for column in ("source", "pair", "samples", "promise", *broken, *advantage):
        table.add_column(column, no_wrap=True)
    router = Router.default()
    difficulties: dict[str, Floats] = {}
    with Progress(console=Console(stderr=True)) as progress:
        total = len(PAIRS) * len(PROMISES) * len(arguments.samples) * arguments.splits
        task = progress.add_task("splits", total=total)
        for source, small, large in PAIRS:
            outcomes = read_outcomes(arguments.data, source)
            if source not in difficulties:
                difficulties[source] = router.difficulty(outcomes.texts)
            everything = Queries(difficulties[source], outcomes.marks(small), outcomes.marks(large))
            known = np.isfinite(everything.small) & np.isfinite(everything.large)
            everything = everything.rows(np.flatnonzero(known))
            for size in arguments.samples:
                for promise in PROMISES:
                    generator = np.random.default_rng(0)
                    kept: dict[str, list[Kept]] = {name: [] for name in RULES}
                    for _ in range(arguments.splits):
                        rows = generator.permutation(len(everything.small))
                        sample, rest = everything.rows(rows[:size]), everything.rows(rows[size:])
                        for name, rule in RULES.items():
                            kept[name].append(outcome(everything, rest, promise, rule(sample, promise)))
                        progress.advance(task)
                    nothing = np.mean([one.cost_advantage == 0.0 for one in kept["certified"]])
                    table.add_row(
                        source,
                        f"{small} → {large}",
                        f"{size} of {len(everything.small)}",
                        f"{promise.name} {promise.value:g}",
                        *(f"{np.mean([one.broken for one in kept[name]]):.1%}" for name in RULES),
                        *(f"{np.mean([one.broken_on_all for one in kept[name]]):.1%}" for name in RULES),
                        f"{nothing:.1%}",
                        *(f"{np.mean([one.cost_advantage for one in kept[name]]):.1%}" for name in RULES),
                        f"{best_possible(everything, promise):.1%}",
                    )
    console.print(table)


if __name__ == "__main__":
    main()
