"""Routers of others beside ours, in one run: ``python -m benchmarks.bench_peers --data DIR``.

Each peer runs in an environment of its own (made below ``--home`` at the first run, pinned), without network where the
system can take it away, without our settings and keys; one that cannot be installed, started or asked is a row that
says so. What is taken from each and how it is oriented stands in its adapter (``benchmarks/peers``).

- RouteLLM's MMLU and GSM8K, whole. Nothing is chosen on them here; but they have been looked at before, by us as by
  everyone else.
- The rows marked validation of the other tables, without those that stand in a benchmark; APGR is the mean over the
  pairs of models in ``shared_router/training/sources.py``. These rows helped to choose how the embedded router is
  built, and it learned from the training rows of the tables with a star; both are to its advantage.

APGR is the integral over the large share: .5 is guessing, and so is a constant score. Intervals (95 %) and the paired
differences to prompt length come from bootstrap samples of the queries. A text that a peer fails on gets its median.
Times are taken in turns, a stretch of each peer after the other, on one core; compare them with each other only.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.bench_router import WORDS
from benchmarks.peers import all_peers
from benchmarks.peers.protocol import Peer
from benchmarks.peers.workers import PeerError, Worker, installed, no_network_command
from shared_router.evaluation.metrics import Interval, apgr, mean_apgr, paired_bootstrap
from shared_router.training.outcomes import Outcomes, read_outcomes
from shared_router.training.sources import BENCHMARKS, PAIRS, SHIPPABLE, SOURCES

Floats = npt.NDArray[np.float64]

HOME = Path(__file__).parents[1] / ".venv-peers"
LENGTH, OURS = "prompt_length", "embedded_router"
CHOOSABLE = tuple(source for source in SOURCES if source != "gsm8k_openai2021")
"""All rows of the table that is missing here stand in GSM8K's test set."""

MEASURED = {**PAIRS, "mt_bench_routellm": PAIRS["routellm_mmlu"]}
"""Pairs of models by table."""

RESAMPLES = 1000
STARTS = 5
TURNS = 20
TEXTS_A_TURN = 25
SEED = 0


@dataclass(slots=True)
class Answers:
    """What a peer said of n texts.

    Attributes:
        scores: By name of the score, each of shape (n,); NaN where the peer failed.
        large: 1 where it would send the text to the large model, 0 where not; all NaN if it has no default, shape (n,).
        between: 1 where it would send it to a model between, shape (n,).
        errors: What it said where it failed, by message with their count.
    """

    scores: dict[str, Floats]
    large: Floats
    between: Floats
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Speed:
    """What a peer costs.

    Attributes:
        milliseconds: Of a query of 100 words, one a query.
        starts: Seconds from nothing to the first score, in fresh processes.
        resident: Bytes above a bare interpreter, after all texts; None where it could not be read.
        reached_for: Network addresses that it asked for.
    """

    milliseconds: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    resident: int | None = None
    reached_for: tuple[str, ...] = ()


def asked(worker: Worker, texts: Sequence[str]) -> Answers:
    """Every text to a worker.

    Args:
        worker: Of one peer.
        texts: n texts.

    Raises:
        PeerError: The worker is gone, or fails on every text.
    """
    n = len(texts)
    found = Answers({}, np.full(n, np.nan), np.zeros(n))
    for i, text in enumerate(texts):
        answer = worker.ask(text)
        if "error" in answer:
            message = str(answer["error"])
            found.errors[message] = found.errors.get(message, 0) + 1
            continue
        for name, score in answer["scores"].items():
            found.scores.setdefault(name, np.full(n, np.nan))[i] = score
        if answer["large"] is not None:
            found.large[i] = answer["large"]
        found.between[i] = answer["between"]
    found.scores = {name: scores for name, scores in found.scores.items() if np.isfinite(scores).any()}
    if not found.scores:
        raise PeerError(f"fails on every text: {next(iter(found.errors), 'no text')}")
    return found


def filled(scores: Floats) -> Floats:
    """Scores with the median in the place of those that are missing.

    Args:
        scores: NaN where missing, shape (n,).
    """
    return np.where(np.isfinite(scores), scores, np.nanmedian(scores))


def lengths(table: Outcomes) -> Floats:
    """Characters of each text, shape (n,)."""
    return np.array([float(len(text)) for text in table.texts])


def marks(table: Outcomes) -> tuple[list[Floats], list[Floats]]:
    """Marks of the small and of the large models of a table's pairs, each of shape (n,)."""
    pairs = MEASURED[table.source]
    return [table.marks(pair.small) for pair in pairs], [table.marks(pair.large) for pair in pairs]


def counting(table: Outcomes) -> int:
    """Queries that both models of at least one pair were asked."""
    known = [np.isfinite(small) & np.isfinite(large) for small, large in zip(*marks(table), strict=True)]
    return int(np.logical_or.reduce(known).sum())


def oracle(table: Outcomes) -> float:
    """Mean APGR of the score that knows the gap."""
    values = []
    for small, large in zip(*marks(table), strict=True):
        known = np.isfinite(small) & np.isfinite(large)
        values.append(apgr((large - small)[known], small[known], large[known]))
    return float(np.mean(values))


def above_half(scores: Floats, table: Outcomes, resamples: int = RESAMPLES) -> Interval:
    """APGR with its interval; the difference to a constant, of which APGR is .5 on every sample, plus .5."""
    over = paired_bootstrap(scores, np.zeros(len(scores)), *marks(table), resamples=resamples, seed=SEED)
    return Interval(over.estimate + 0.5, over.low + 0.5, over.high + 0.5)


def shown(interval: Interval, sign: str = "") -> str:
    """Estimate and interval as text."""
    low, high = (f"{value:{sign}.3f}" for value in (interval.low, interval.high))
    return f"{interval.estimate:{sign}.3f} [{low}, {high}]"


def default_share(answers: Answers, rows: npt.NDArray[np.bool_]) -> str:
    """Share sent to the large model by default, and to one between, as text.

    Args:
        answers: Of one peer.
        rows: Which texts count, shape (n,).
    """
    large, between = answers.large[rows], answers.between[rows]
    if not np.isfinite(large).any():
        return "–"
    middle = f" (+ {between.mean():.1%} between)" if between.any() else ""
    return f"{np.nanmean(large):.1%}{middle}"


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was measured.

    Attributes:
        tables: The outcome tables, in order.
        start: Where each table's texts begin among all texts, by source.
        peers: All peers by module.
        answers: Of the peers that answered.
        failed: Why the others did not.
        versions: By module.
        speed: By module.
    """

    tables: tuple[Outcomes, ...]
    start: dict[str, int]
    peers: dict[str, Peer]
    answers: dict[str, Answers]
    failed: dict[str, str]
    versions: dict[str, str]
    speed: dict[str, Speed]

    def rows(self, table: Outcomes) -> slice:
        """Where a table's texts stand among all texts."""
        return slice(self.start[table.source], self.start[table.source] + len(table.texts))

    def chosen(self, table: Outcomes) -> npt.NDArray[np.bool_]:
        """The same as a mask."""
        mask = np.zeros(sum(len(one.texts) for one in self.tables), dtype=np.bool_)
        mask[self.rows(table)] = True
        return mask

    def scored(self, table: Outcomes) -> list[tuple[str, str, Floats]]:
        """Module, name and scores of every score on a table."""
        found = []
        for module, answers in self.answers.items():
            for name, scores in answers.scores.items():
                found.append((module, name, filled(scores)[self.rows(table)]))
        return found

    def name(self, module: str, score: str) -> str:
        """What a score is called in the tables."""
        title = self.peers[module].title
        return f"{title}: {score}" if len(self.answers[module].scores) > 1 else title


def started(peers: dict[str, Peer], home: Path, stack: ExitStack) -> tuple[dict[str, Worker], dict[str, str]]:
    """A worker of every peer that can be had, and why the others cannot.

    Args:
        peers: By module.
        home: Folder of the environments.
        stack: Closes the workers.
    """
    before = no_network_command()
    workers: dict[str, Worker] = {}
    failed: dict[str, str] = {}
    for module, peer in peers.items():
        try:
            if peer.left_out:
                raise PeerError(peer.left_out)
            workers[module] = stack.enter_context(Worker(module, installed(peer, home), before))
        except PeerError as error:
            failed[module] = str(error)
    return workers, failed


def hundred_tokens() -> list[str]:
    """Queries of 100 words, each one token, that all differ, so that nobody answers from a cache."""
    return [
        " ".join(WORDS[(i * (turn % 7 + 1) + turn) % len(WORDS)] for i in range(98)) + f" case {turn}"
        for turn in range(TEXTS_A_TURN)
    ]


def timed(
    workers: dict[str, Worker], peers: dict[str, Peer], home: Path, progress: Progress
) -> tuple[dict[str, Speed], dict[str, str]]:
    """Latency and start-up of every peer, in turns.

    Args:
        workers: Running ones, by module.
        peers: By module.
        home: Folder of the environments.
        progress: Shows how far it is.

    Returns:
        Speed by module, and what those said that broke down.
    """
    speed = {module: Speed() for module in workers}
    failed: dict[str, str] = {}
    texts = hundred_tokens()
    before = no_network_command()
    task = progress.add_task("times", total=TURNS + STARTS)
    for turn in range(TURNS + STARTS):
        for module, worker in workers.items():
            try:
                if turn < TURNS:
                    found = worker.ask({"time": texts}).get("milliseconds", [])
                    # the first stretch warms up
                    speed[module].milliseconds += found if turn else []
                else:
                    with Worker(module, installed(peers[module], home), before) as fresh:
                        speed[module].starts.append(fresh.started.seconds)
            except PeerError as error:
                failed[module] = str(error)
        progress.advance(task)
    return speed, failed


def measured(tables: Sequence[Outcomes], home: Path, progress: Progress, *, with_speed: bool = True) -> Run:
    """Ask every peer about every text of the tables.

    Args:
        tables: The outcome tables.
        home: Folder of the environments.
        progress: Shows how far it is.
        with_speed: Take times, too.
    """
    peers = all_peers()
    texts = [text for table in tables for text in table.texts]
    ends = np.cumsum([0, *(len(table.texts) for table in tables)])
    start = {table.source: int(end) for table, end in zip(tables, ends, strict=False)}
    with ExitStack() as stack:
        workers, failed = started(peers, home, stack)
        speed = {module: Speed() for module in workers}
        if with_speed:
            speed, broken = timed(workers, peers, home, progress)
            failed |= broken
        answers: dict[str, Answers] = {}
        for module, worker in progress.track(workers.items(), description="scores"):
            try:
                answers[module] = asked(worker, texts)
                facts = worker.ask({"facts": True})
                speed[module].resident = facts["resident_bytes"]
                speed[module].reached_for = tuple(facts["reached_for"])
                failed.pop(module, None)
            except PeerError as error:
                failed[module] = str(error)
        versions = {module: worker.started.version for module, worker in workers.items()}
    return Run(tuple(tables), start, peers, answers, failed, versions, speed)


def one_table(run: Run, table: Outcomes) -> Table:
    """All scores on one outcome table."""
    result = Table(box=MARKDOWN)
    for column in ("router", "APGR [95 %]", "− length [95 %]", "distinct scores", "sent to large by default", "errors"):
        result.add_column(column, no_wrap=True)
    length = lengths(table)
    for module, name, scores in run.scored(table):
        over = paired_bootstrap(scores, length, *marks(table), resamples=RESAMPLES, seed=SEED)
        answers = run.answers[module]
        failures = int(np.isnan(answers.scores[name][run.rows(table)]).sum())
        result.add_row(
            run.name(module, name),
            shown(above_half(scores, table)),
            "" if module == LENGTH else shown(over, "+"),
            f"{len(np.unique(scores)):,}",
            default_share(answers, run.chosen(table)),
            str(failures),
        )
    return result


def _flag(scores: Floats, length: Floats, table: Outcomes) -> str:
    over = paired_bootstrap(scores, length, *marks(table), resamples=RESAMPLES, seed=SEED)
    return " ↑" if over.low > 0 else " ↓" if over.high < 0 else ""


def all_tables(run: Run, tables: Sequence[Outcomes]) -> Table:
    """APGR of every score on every table, and its mean over all and over those that no router here learned from."""
    names = [f"{table.source}{'*' if table.source in SHIPPABLE else ''} ({counting(table):,})" for table in tables]
    unlearned = [table.source not in SHIPPABLE for table in tables]
    result = Table(box=MARKDOWN)
    for column in ("router", *names, "mean", "mean without *"):
        result.add_column(column, no_wrap=True)
    cells: dict[str, list[str]] = {}
    values: dict[str, list[float]] = {}
    for table in tables:
        length = lengths(table)
        for module, name, scores in run.scored(table):
            row = run.name(module, name)
            value = mean_apgr(scores, *marks(table))
            values.setdefault(row, []).append(value)
            flag = "" if module == LENGTH else _flag(scores, length, table)
            cells.setdefault(row, []).append(f"{value:.3f}{flag}")
    for row, found in cells.items():
        each = np.array(values[row])
        result.add_row(row, *found, f"{each.mean():.3f}", f"{each[unlearned].mean():.3f}")
    result.add_row("oracle", *(f"{oracle(table):.3f}" for table in tables), "", "")
    return result


def shares(run: Run, tables: Sequence[Outcomes]) -> Table:
    """Share that each peer sends to the large model by default, on every table."""
    result = Table(box=MARKDOWN)
    for column in ("router", *(table.source for table in tables)):
        result.add_column(column, no_wrap=True)
    for module, answers in run.answers.items():
        if np.isfinite(answers.large).any():
            result.add_row(run.peers[module].title, *(default_share(answers, run.chosen(table)) for table in tables))
    return result


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def costs(run: Run) -> Table:
    """Latency, start-up, memory, network, side by side."""
    result = Table(box=MARKDOWN)
    columns = ("router", "version", "p50 ms", "×", "p95 ms", "×", "start s", "×", "memory MB", "asked for", "errors")
    for column in columns:
        result.add_column(column, no_wrap=True)
    ours = _cost(run.speed.get(OURS, Speed()))
    for module, answers in run.answers.items():
        one = run.speed[module]
        each = [f"{value:.3f} {value / our:.2f}".split() for value, our in zip(_cost(one), ours, strict=True)]
        reached = sorted({address.split(" ", 1)[1] for address in one.reached_for})
        result.add_row(
            run.peers[module].title,
            run.versions[module] or "–",
            *(cell for pair in each for cell in pair),
            "–" if one.resident is None else f"{one.resident / 2**20:.0f}",
            ", ".join(reached) or "nothing",
            "; ".join(f"{count} × {message}" for message, count in answers.errors.items()) or "0",
        )
    return result


def _cost(speed: Speed) -> tuple[float, float, float]:
    """Median and 95th percentile of the latency in ms, median of the start in s; NaN where nothing was measured."""
    late = float(np.quantile(speed.milliseconds, 0.95)) if speed.milliseconds else float("nan")
    return _median(speed.milliseconds), late, _median(speed.starts)


def report(run: Run, tables: Sequence[Outcomes], console: Console) -> None:
    """Print the full table of each outcome table, and who is missing."""
    for table in tables:
        pairs = f"{len(MEASURED[table.source])} pair(s) of models"
        print(f"{table.source}: {counting(table):,} queries, {pairs}, oracle {oracle(table):.3f}")
        console.print(one_table(run, table))
    for module, reason in run.failed.items():
        print(f"Not run: {run.peers[module].title}: {reason}")
    print()


def validation_rows(table: Outcomes) -> Outcomes:
    """Rows marked validation that stand in no benchmark."""
    return table.rows((table.split == "validation") & ~table.overlap)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables (.parquet)")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the peers' environments")
    parser.add_argument("--every", action="store_true", help="a full table of each source, too")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    benchmarks = [read_outcomes(given.data, source) for source in BENCHMARKS]
    others = [validation_rows(read_outcomes(given.data, source)) for source in CHOOSABLE]
    console = Console(width=250)
    with Progress(console=Console(stderr=True)) as progress:
        run = measured([*benchmarks, *others], given.home.resolve(), progress)
    offline = "without network" if no_network_command() else "with Python's sockets refused"
    print(f"The peers ran {offline}.\n")
    report(run, benchmarks, console)
    print(
        "Validation rows of the other tables, APGR; ↑ above, ↓ below prompt length by more than chance (95 %, paired)"
    )
    console.print(all_tables(run, others))
    print("Sent to the large model by default (between: to a model between the smallest and the large one)")
    console.print(shares(run, others))
    print(
        "Cost of a decision on a query of 100 tokens; start is import, set-up and first score; × is the ratio to ours"
    )
    console.print(costs(run))
    if given.every:
        report(run, others, console)


if __name__ == "__main__":
    main()
