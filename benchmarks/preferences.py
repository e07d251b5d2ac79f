"""What battles teach about a pair that has few or no labels: ``python -m benchmarks.preferences --data DIR``.

Battles are made from outcome tables: for each query of the rows marked train, some random pairs of models, the better
mark wins, equal marks are a tie. Measured is APGR on the rows marked validation. "Left out" means that no battle is
between the two models of the pair; "new model" that the large model is in no battle, and its vector is learned from
``NEW_BATTLES`` battles with other models. For comparison a ridge that learned from labels of the very pair.

``python -m benchmarks.preferences --latency`` needs no tables: the time of one query with 50,000 battles in memory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import Interval, apgr
from shared_router.scorers.matrix_factorization import MatrixFactorizationScorer
from shared_router.scorers.query_vectors import StaticDirections, rounded_directions
from shared_router.tables.battles import Battle, Battles, battles_from
from shared_router.training.battles.factorization import FactorizationSettings
from shared_router.training.battles.methods import LEARNERS, LearnMethod, LearnSettings, lesson_of
from shared_router.training.battles.new_models import with_new_model
from shared_router.training.fast_heads import METHODS, Lesson, embedded_scorer, fitted, lesson_from
from shared_router.training.outcomes import Outcomes, read_outcomes
from shared_router.training.sources import PAIRS, Pair

Floats = npt.NDArray[np.float64]

BATTLES_PER_QUERY = {"zeroeval": 20, "mmlu_pro": 5, "alpaca_eval1": 40, "alpaca_eval2": 40}
"""Tables with many models, and how many battles are drawn for each query: some 20,000 to 35,000 in all."""

NEW_BATTLES = 100
FEW = 100
DRAWS = 3
RESAMPLES = 500
LATENCY_BATTLES = 50_000
LATENCY_QUERIES = 200
COLUMNS = (
    "mf",
    "mf, left out",
    "mf, new model",
    "sw, left out",
    "knn, left out",
    "length",
    "embedded",
    f"ridge, {FEW} labels",
    "ridge, all labels",
    "oracle",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One table: outcomes to learn from and to measure on, and battles made of the former."""

    learned: Outcomes
    measured: Outcomes
    battles: Battles
    encoder: StaticDirections


def made_battles(outcomes: Outcomes, per_query: int, seed: int) -> Battles:
    """Random battles between the models of a table."""
    generator = np.random.default_rng(seed)
    rows = []
    for text, marks in zip(outcomes.texts, outcomes.quality, strict=True):
        known = np.flatnonzero(np.isfinite(marks))
        for _ in range(per_query if len(known) > 1 else 0):
            one, other = generator.choice(known, 2, replace=False).tolist()
            won = 0.5 * (1.0 + float(np.sign(marks[one] - marks[other])))
            rows.append(Battle(text, outcomes.models[one], outcomes.models[other], won))
    return battles_from(rows)


def without(battles: Battles, pair: Pair, *, whole_model: bool) -> Battles:
    """The battles without those between the pair, or without all of the large model."""
    small, large = (battles.models.index(name) for name in (pair.small, pair.large))
    has_large = (battles.first == large) | (battles.second == large)
    has_small = (battles.first == small) | (battles.second == small)
    return battles.part(~has_large if whole_model else ~(has_large & has_small))


def battle_scores(case: Case, battles: Battles, pair: Pair, method: LearnMethod) -> Floats:
    """Raw scores of the measured texts by a router that was learned from battles; NaN where it cannot be learned."""
    directions = case.encoder.directions(battles.prompts)
    lesson = lesson_of(battles, directions, case.encoder, (pair.small, pair.large), 0)
    try:
        scorer, _ = LEARNERS[method](lesson, LearnSettings(method), lambda title: None)
    except OutcomeError:
        return np.full(len(case.measured.texts), np.nan)
    return scorer.score(case.measured.texts)


def new_model_scores(case: Case, pair: Pair, seed: int) -> Floats:
    """Raw scores where the large model is known from a hundred battles only."""
    rest = without(case.battles, pair, whole_model=True)
    # any known model does for the large one: the factors are the same
    other = next(name for name in rest.models if name not in (pair.small, pair.large))
    directions = case.encoder.directions(rest.prompts)
    lesson = lesson_of(rest, directions, case.encoder, (pair.small, other), 0)
    scorer, _ = LEARNERS["mf"](lesson, LearnSettings(), lambda title: None)
    assert isinstance(scorer, MatrixFactorizationScorer)
    factors = scorer.factors
    kept = [i for i, name in enumerate(factors.models) if name != pair.large]
    without_large = type(factors)(
        tuple(factors.models[i] for i in kept), factors.vectors[kept], factors.projection, factors.bias, factors.weight
    )
    known = MatrixFactorizationScorer(case.encoder, without_large, pair.small, other, scorer.sample)
    large = case.battles.models.index(pair.large)
    small = case.battles.models.index(pair.small)
    met = (case.battles.first == large) | (case.battles.second == large)
    met &= (case.battles.first != small) & (case.battles.second != small)
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(met))[:NEW_BATTLES]
    extended = with_new_model(known, pair.large, case.battles.part(chosen))
    return extended.for_pair(pair.small, pair.large).score(case.measured.texts)


def ridge_scores(lesson: Lesson, measured: Lesson, rows: npt.NDArray[np.int64]) -> Floats:
    """Raw scores of a ridge on labels of the pair."""
    return fitted(lesson.part(np.sort(rows)), METHODS["static"], 0).raw(measured)


def pair_scores(case: Case, pair: Pair) -> dict[str, list[Floats]]:
    """Scores of the measured texts by column; several where chance is averaged over."""
    embedded = embedded_scorer()
    left_out = without(case.battles, pair, whole_model=False)
    small, large = case.learned.marks(pair.small), case.learned.marks(pair.large)
    rows = np.flatnonzero(np.isfinite(small) & np.isfinite(large))
    texts = [case.learned.texts[i] for i in rows]
    lesson = lesson_from(embedded, texts, small[rows], large[rows])
    nothing = np.zeros(len(case.measured.texts))
    measured = lesson_from(embedded, case.measured.texts, nothing, nothing)
    everything = np.arange(len(rows))
    few = [np.random.default_rng(seed).permutation(everything)[:FEW] for seed in range(DRAWS)]
    gap = case.measured.marks(pair.large) - case.measured.marks(pair.small)
    return {
        "mf": [battle_scores(case, case.battles, pair, "mf")],
        "mf, left out": [battle_scores(case, left_out, pair, "mf")],
        "mf, new model": [new_model_scores(case, pair, 0)],
        "sw, left out": [battle_scores(case, left_out, pair, "sw")],
        "knn, left out": [battle_scores(case, left_out, pair, "knn")],
        "length": [np.array([float(len(text)) for text in case.measured.texts])],
        "embedded": [embedded.score(case.measured.texts)],
        f"ridge, {FEW} labels": [ridge_scores(lesson, measured, chosen) for chosen in few],
        "ridge, all labels": [ridge_scores(lesson, measured, everything)],
        "oracle": [np.nan_to_num(gap)],
    }


def mean_apgr_of(scores: Sequence[Floats], marks: tuple[Floats, Floats], rows: npt.NDArray[np.int64]) -> float:
    """APGR on some of the texts, averaged over draws; NaN where it is not defined."""
    small, large = marks[0][rows], marks[1][rows]
    known = np.isfinite(small) & np.isfinite(large)
    values = []
    for one in scores:
        chosen = one[rows][known]
        if not np.isfinite(chosen).all():
            return float("nan")
        try:
            values.append(apgr(chosen, small[known], large[known]))
        except OutcomeError:
            return float("nan")
    return float(np.mean(values))


def gain_over(
    by_pair: Sequence[dict[str, list[Floats]]], marks: Sequence[tuple[Floats, Floats]], column: str, other: str
) -> Interval:
    """Mean over pairs of one column's APGR less another's; queries resampled, the same for all pairs."""
    generator = np.random.default_rng(0)
    n = len(marks[0][0])

    def difference(rows: npt.NDArray[np.int64]) -> float:
        found = [
            mean_apgr_of(scores[column], mark, rows) - mean_apgr_of(scores[other], mark, rows)
            for scores, mark in zip(by_pair, marks, strict=True)
        ]
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    drawn = [difference(generator.integers(0, n, n)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(difference(np.arange(n)), float(low), float(high))


def read_case(folder: Path, source: str) -> Case:
    """A table and its battles."""
    outcomes = read_outcomes(folder, source)
    learned = outcomes.rows(outcomes.split == "train")
    return Case(
        learned=learned,
        measured=outcomes.rows(outcomes.split == "validation"),
        battles=made_battles(learned, BATTLES_PER_QUERY[source], 0),
        encoder=StaticDirections(embedded_scorer().encoder),
    )


def latencies() -> Table:
    """Time of one query, from its text to its raw score, by each method with random battles between 64 models."""
    generator = np.random.default_rng(0)
    encoder = StaticDirections(embedded_scorer().encoder)
    first = generator.integers(0, 64, LATENCY_BATTLES)
    battles = Battles(
        prompts=tuple(map(str, range(LATENCY_BATTLES))),
        models=tuple(f"m{i}" for i in range(64)),
        prompt=np.arange(LATENCY_BATTLES),
        first=first,
        second=(first + generator.integers(1, 64, LATENCY_BATTLES)) % 64,
        won=generator.integers(0, 3, LATENCY_BATTLES) / 2.0,
        weight=np.ones(LATENCY_BATTLES),
        sources=("",) * LATENCY_BATTLES,
    )
    directions = rounded_directions(generator.normal(size=(LATENCY_BATTLES, encoder.encoder.table.shape[1])))
    lesson = lesson_of(battles, directions, encoder, ("m0", "m63"), 0)
    table = Table("method", "p50, ms", "p95, ms", title=f"One query, {LATENCY_BATTLES:,} battles of 64 models")
    for method in LEARNERS:
        settings = LearnSettings(method, factorization=FactorizationSettings(epochs=1))
        scorer, _ = LEARNERS[method](lesson, settings, lambda title: None)
        times = []
        for _ in range(LATENCY_QUERIES):
            start = time.perf_counter()
            scorer.score(["Prove that the square root of two is irrational, then write a Python function for it."])
            times.append(1e3 * (time.perf_counter() - start))
        table.add_row(method, f"{np.median(times):.2f}", f"{np.quantile(times, 0.95):.2f}")
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the outcome tables")
    parser.add_argument("--latency", action="store_true", help="measure latency instead")
    arguments = parser.parse_args()
    console = Console(width=240)
    if arguments.latency:
        console.print(latencies())
        return
    if arguments.data is None:
        parser.error("give --data DIR or --latency")
    folder = arguments.data
    table = Table("source", "pair", *COLUMNS, title="APGR on validation rows; guessing has .500")
    gains = Table(
        "source", "pairs", "router", "over length, 95 %", "over embedded, 95 %", f"over ridge, {FEW} labels, 95 %"
    )
    started = time.perf_counter()
    with Progress(console=Console(stderr=True)) as progress:
        for source in progress.track(BATTLES_PER_QUERY, description="tables"):
            case = read_case(folder, source)
            pairs = PAIRS[source]
            by_pair = [pair_scores(case, pair) for pair in pairs]
            marks = [(case.measured.marks(pair.small), case.measured.marks(pair.large)) for pair in pairs]
            everything = np.arange(len(case.measured.texts))
            values = [
                [mean_apgr_of(scores[column], mark, everything) for column in COLUMNS]
                for scores, mark in zip(by_pair, marks, strict=True)
            ]
            for pair, row in zip(pairs, values, strict=True):
                table.add_row(source, f"{pair.small} → {pair.large}", *(f"{value:.3f}" for value in row))
            means = np.nanmean(np.array(values), axis=0)
            counted = f"{len(case.battles):,} battles, {case.battles.ties:,} ties; {len(everything):,} queries"
            table.add_row(source, f"mean ({counted})", *(f"{value:.3f}" for value in means), end_section=True)
            for column in ("mf, left out", "mf, new model", "sw, left out", "knn, left out"):
                shown = []
                for other in ("length", "embedded", f"ridge, {FEW} labels"):
                    gain = gain_over(by_pair, marks, column, other)
                    shown.append(f"{gain.estimate:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
                gains.add_row(source, str(len(pairs)), column, *shown)
    console.print(table)
    console.print(gains)
    console.print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
