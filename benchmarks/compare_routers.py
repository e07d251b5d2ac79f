"""Compare routers, each measured on sources it has not seen: ``python -m benchmarks.compare_routers --data DIR``.

Without ``--final``: rows marked train and validation, without those that stand in a benchmark; these figures chose the
method. With ``--final``: the embedded router beside length, chance and the oracle on rows that nobody trained or chose
on (marked test, or standing in a benchmark), and on RouteLLM's two tables. To be looked at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.compared_methods import METHODS, SENTENCE_METHODS, Lesson, Score, Texts, default_variants, learned
from benchmarks.sentence_vectors import SentenceVectors
from shared_router.evaluation.metrics import apgr, mean_apgr, paired_bootstrap
from shared_router.router import Router
from shared_router.training.fit_default import Start, start_from
from shared_router.training.outcomes import Outcomes, read_outcomes
from shared_router.training.sentence_encoder import SentenceEncoder, encoder_folder
from shared_router.training.sources import BENCHMARKS, PAIRS, SHIPPABLE, SOURCES
from shared_router.training.static_table import TableSettings

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bench:
    """What every comparison needs."""

    tables: dict[str, Outcomes]
    vectors: SentenceVectors
    start: Start
    progress: Progress

    def texts(self, table: Outcomes, with_vectors: bool = True) -> Texts:
        """A table's texts, with sentence vectors if asked."""
        return Texts(table.texts, self.vectors.of(table.texts, self.progress) if with_vectors else None)

    def lesson(self, left_out: str | None) -> Lesson:
        """Training rows of the shippable sources, without one source and whatever question stands in it too."""
        unseen = set(self.tables[left_out].groups) if left_out else set()
        tables = []
        for source in SHIPPABLE:
            table = self.tables[source]
            fresh = np.array([group not in unseen for group in table.groups], dtype=np.bool_)
            if source != left_out:
                tables.append(table.rows((table.split == "train") & ~table.overlap & fresh))
        texts = [text for table in tables for text in table.texts]
        return Lesson(tables, Texts(texts, self.vectors.of(texts, self.progress)), self.start)


def _marks(table: Outcomes) -> tuple[list[Floats], list[Floats]]:
    pairs = PAIRS[table.source]
    return [table.marks(pair.small) for pair in pairs], [table.marks(pair.large) for pair in pairs]


def _apgr(scores: Floats, table: Outcomes) -> float:
    return mean_apgr(scores, *_marks(table))


def _counting(table: Outcomes) -> int:
    """Queries that count for at least one pair."""
    asked = [np.isfinite(small) & np.isfinite(large) for small, large in zip(*_marks(table), strict=True)]
    return int(np.logical_or.reduce(asked).sum())


def _oracle(table: Outcomes) -> float:
    values = []
    for small, large in zip(*_marks(table), strict=True):
        known = np.isfinite(small) & np.isfinite(large)
        values.append(apgr(large[known] - small[known], small[known], large[known]))
    return float(np.mean(values))


def _within_tasks(scores: Floats, table: Outcomes) -> float:
    """Mean APGR inside tasks of 60 queries or more, over pairs whose gap there is .08 or more; NaN if there is none."""
    values = []
    for task in np.unique(table.tasks):
        inside = table.tasks == task
        for small, large in zip(*_marks(table), strict=True):
            known = inside & np.isfinite(small) & np.isfinite(large)
            if known.sum() >= 60 and (large - small)[known].mean() >= 0.08:
                values.append(apgr(scores[known], small[known], large[known]))
    return float(np.mean(values)) if values else float("nan")


def compared(bench: Bench) -> Table:
    """The table that chose the method: train and validation rows of each source left out in turn."""
    choosable = [source for source in SOURCES if source != "gsm8k_openai2021"]
    figures: dict[str, list[float]] = {}
    inside: dict[str, list[float]] = {}
    task = bench.progress.add_task("sources left out", total=len(choosable) + 1)
    for source in choosable:
        table = bench.tables[source]
        shown = table.rows((table.split != "test") & ~table.overlap)
        for name, score in _fitted(bench.lesson(source)).items():
            scores = score(bench.texts(shown))
            figures.setdefault(name, []).append(_apgr(scores, shown))
            inside.setdefault(name, []).append(_within_tasks(scores, shown))
        bench.progress.update(task, advance=1)
    known: dict[str, list[float]] = {}
    for name, score in _fitted(bench.lesson(None)).items():
        for source in SHIPPABLE:
            table = bench.tables[source]
            shown = table.rows((table.split == "validation") & ~table.overlap)
            known.setdefault(name, []).append(_apgr(score(bench.texts(shown)), shown))
    bench.progress.update(task, advance=1)
    result = Table("method", *choosable, "mean", "inside tasks", "own validation", title="APGR on sources left out")
    for name, row in figures.items():
        cells = [*row, float(np.mean(row)), float(np.nanmean(inside[name])), float(np.mean(known[name]))]
        result.add_row(name, *(f"{cell:.3f}" for cell in cells))
    return result


def _fitted(lesson: Lesson) -> dict[str, Score]:
    return {name: method(lesson) for name, method in METHODS.items()} | default_variants(lesson)


def _final_row(name: str, scores: Floats, table: Outcomes) -> list[str]:
    lengths = np.array([float(len(text)) for text in table.texts])
    interval = paired_bootstrap(scores, lengths, *_marks(table))
    return [
        name,
        str(_counting(table)),
        f"{_apgr(scores, table):.3f}",
        f"{_apgr(lengths, table):.3f}",
        f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]",
        f"{_oracle(table):.3f}",
        f"{_within_tasks(scores, table):.3f}",
    ]


def final(bench: Bench) -> list[Table]:
    """The embedded router, and the compared methods, on rows that nobody trained or chose on."""
    router = Router.default()
    columns = ("source", "rows", "router", "length", "router − length [95 %]", "oracle", "inside tasks")
    rows = Table(
        *columns, title="Final: rows marked test, or standing in a benchmark (a constant or random score: .500)"
    )
    only_test = Table(*columns, title="Final: rows marked test alone")
    values = []
    for source in SOURCES:
        table = bench.tables[source]
        seen = source in SHIPPABLE
        scorer = learned(bench.lesson(source), TableSettings()) if seen else None
        for shown, into in (
            (table.rows((table.split == "test") | table.overlap), rows),
            (table.rows(table.split == "test"), only_test),
        ):
            scores = scorer.score(shown.texts) if scorer else router.difficulty(shown.texts)
            into.add_row(*_final_row(f"{source}{' (left out)' if seen else ''}", scores, shown))
            if into is rows:
                values.append((_apgr(scores, shown), _apgr(np.array([float(len(t)) for t in shown.texts]), shown)))
    mean = np.mean(values, axis=0)
    rows.add_row("mean", "", f"{mean[0]:.3f}", f"{mean[1]:.3f}", f"{mean[0] - mean[1]:+.3f}", "", "")
    for source in BENCHMARKS:
        table = bench.tables[source]
        rows.add_row(*_final_row(source, router.difficulty(table.texts), table))
    return [rows, only_test, _methods_on_benchmarks(bench)]


def _methods_on_benchmarks(bench: Bench) -> Table:
    result = Table(
        "method", *BENCHMARKS, *(f"{name}, RouteLLM's sweep" for name in BENCHMARKS), title="RouteLLM's tables"
    )
    lesson = bench.lesson(None)
    for name, score in _fitted(lesson).items():
        if name in SENTENCE_METHODS:
            continue
        cells = []
        for source in BENCHMARKS:
            table = bench.tables[source]
            small, large = (marks[0] for marks in _marks(table))
            scores = score(bench.texts(table, with_vectors=False))
            cells.append((apgr(scores, small, large), apgr(scores, small, large, method="routellm")))
        result.add_row(name, *(f"{one:.3f}" for one, _ in cells), *(f"{other:.3f}" for _, other in cells))
    return result


def _bench(given: argparse.Namespace, sources: Sequence[str], progress: Progress) -> Bench:
    tables = {source: read_outcomes(given.data, source) for source in sources}
    encoder = SentenceEncoder(encoder_folder(given.encoder))
    start = start_from(encoder.tokenizer_json, encoder.token_vectors(), TableSettings())
    return Bench(tables, SentenceVectors(encoder, given.cache), start, progress)


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables (.parquet)")
    parser.add_argument("--encoder", type=Path, help="folder of all-MiniLM-L6-v2; default: the installed package")
    parser.add_argument("--cache", type=Path, help="file (.npz) that keeps sentence vectors between runs")
    parser.add_argument("--final", action="store_true", help="the final tables instead of those that choose")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    console = Console(width=220)
    with Progress(console=Console(stderr=True)) as progress:
        bench = _bench(given, [*SOURCES, *BENCHMARKS] if given.final else SOURCES, progress)
        tables = final(bench) if given.final else [compared(bench)]
    for table in tables:
        console.print(table)


if __name__ == "__main__":
    main()
