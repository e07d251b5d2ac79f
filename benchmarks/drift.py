"""What the monitor sees, how soon, and how often it sees what is not there: ``python -m benchmarks.drift --data DIR``.

The difficulties are the embedded router's, on rows marked train or validation, each question once. In every draw a
source is shuffled; the first queries are the calibration set, the following ones calm traffic, and then traffic
changes: to another source, or to the same with a text appended to some of the queries. Where nothing changes, the
shuffled rest of the source is exchangeable with the calibration set exactly, so that every alarm is a false one. The
router learnt from many of these rows, which here favours nothing: calibration and traffic are alike in this.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from benchmarks.certified_thresholds import Queries, plain_threshold
from shared_router.knob import Knob
from shared_router.monitor import DriftMonitor, PromiseMonitor, ReferenceHistogram, reference_histogram
from shared_router.router import Router
from shared_router.training.outcomes import Outcomes, read_outcomes

Floats = npt.NDArray[np.float64]

SOURCES = ("mmlu_pro", "zeroeval", "llmrouter_dc", "routerbench_zs", "mot_cascade", "bfcl", "alpaca_eval1")
BEFORE = ("mmlu_pro", "zeroeval", "llmrouter_dc", "routerbench_zs")
"""Sources with enough rows for calibration, calm traffic and a stream."""
LEVELS = (0.01, 0.05)
CALM = 500
LONGEST = 3000
"""Queries after a change that are waited for."""
KS_WINDOW = 200

ATTACKS = {
    "a harmless closing": " Please answer in one sentence. Thank you!",
    "hard words": " Prove it rigorously, derive the asymptotic complexity, and justify each step by a formal argument.",
    "a random trigger": " zx qv%%9 ;;rt kk~ [[oo]] #u2 vv/xq pl== {jj} w0w0 qz",
}
ATTACKED = (1.0, 0.2, 0.05)

PAIRS = (
    ("mmlu_pro", "Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct"),
    ("zeroeval", "Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-70B-Instruct"),
)
PROMISE = Knob("max_drop", 0.05)
WORSE = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Shares of the small model's right answers that become wrong."""


class CompositeJumper:
    """The test of Vovk et al. 2021 (arXiv 2102.10439, §3–4): bets on the conformal p-value, that it has a slope."""

    def __init__(self, reference: ReferenceHistogram, *, false_alarm: float = 0.01, seed: int = 0) -> None:
        self.reference, self.goal = reference, 1.0 / false_alarm
        self.places, self.chance = list(reference.places), random.Random(f"jumper {seed}")
        self.jumps = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
        self.capital = [[1.0 / 15.0] * 3 for _ in self.jumps]
        self.drifted = False

    def observe(self, difficulties: Iterable[float]) -> None:
        """Bet on each."""
        for difficulty in difficulties:
            found = self.reference.bin(difficulty, self.chance)
            below = sum(self.places[:found]) + self.chance.random() * self.places[found]
            height = below / sum(self.places) - 0.5
            self.places[found] += 1
            for i, jump in enumerate(self.jumps):
                whole = sum(self.capital[i])
                self.capital[i] = [
                    ((1 - jump) * held + jump / 3 * whole) * (1 + slope * height)
                    for held, slope in zip(self.capital[i], (-1, 0, 1), strict=True)
                ]
            self.drifted = self.drifted or sum(map(sum, self.capital)) >= self.goal


def ks_alarm(calibration: Floats, stream: Floats, level: float) -> bool:
    """Whether a Kolmogorov–Smirnov test of every ``KS_WINDOW`` queries ever rejects."""
    from scipy.stats import ks_2samp

    windows = (stream[end - KS_WINDOW : end] for end in range(KS_WINDOW, len(stream) + 1, KS_WINDOW))
    return any(ks_2samp(calibration, window, method="asymp").pvalue <= level for window in windows)


@dataclass(frozen=True, slots=True)
class Delays:
    """How long changes went unseen.

    Attributes:
        delays: Queries from the change to the alarm, inf where it was not seen, one a draw.
        early: Draws with an alarm before the change, which are not in ``delays``.
        draws: All draws.
    """

    delays: Floats
    early: int
    draws: int

    def cells(self) -> list[str]:
        """Median, 90 %, seen at all, and early."""
        if not len(self.delays):
            return ["–", "–", "–", str(self.early)]
        # an order statistic, as inf has no interpolation
        ordered = np.sort(self.delays)
        at = [ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] for share in (0.5, 0.9)]
        shown = [f"{value:.0f}" if math.isfinite(value) else "not seen" for value in at]
        return [*shown, f"{np.isfinite(self.delays).mean():.0%}", str(self.early)]


def delays(runs: Iterable[tuple[DriftMonitor | CompositeJumper, Iterable[float]]]) -> Delays:
    """Delays of monitors that have seen the calm traffic, on the streams that follow."""
    found, early, draws = [], 0, 0
    for monitor, stream in runs:
        draws += 1
        if monitor.drifted:
            early += 1
            continue
        found.append(_delay(monitor, stream))
    return Delays(np.array(found, dtype=np.float64), early, draws)


def _delay(monitor: DriftMonitor | CompositeJumper, stream: Iterable[float]) -> float:
    for position, difficulty in enumerate(stream, start=1):
        monitor.observe([difficulty])
        if monitor.drifted:
            return float(position)
    return math.inf


def known_rows(folder: Path, source: str) -> Outcomes:
    """The rows marked train or validation, each question once."""
    outcomes = read_outcomes(folder, source)
    first = np.zeros(len(outcomes.texts), dtype=bool)
    first[np.unique(outcomes.groups, return_index=True)[1]] = True
    return outcomes.rows(first & np.isin(outcomes.split, ["train", "validation"]))


def table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print one."""
    made = Table(box=MARKDOWN, title=title, title_justify="left")
    for column in columns:
        made.add_column(column, no_wrap=True)
    for row in rows:
        made.add_row(*row)
    console.print(made)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts share.

    Attributes:
        scores: Difficulties by source.
        texts: Queries by source.
        marks: Outcome tables by source.
        calibration: Queries of the calibration set.
        draws: Draws of the parts on detection.
        permutations: Draws of the part on false alarms.
        advance: Called once a row of a table.
    """

    scores: dict[str, Floats]
    texts: dict[str, tuple[str, ...]]
    marks: dict[str, Outcomes]
    calibration: int
    draws: int
    permutations: int
    advance: Callable[[], None]

    def shuffled(self, source: str, draw: int) -> npt.NDArray[np.int64]:
        """Rows of a source in the order of a draw."""
        return np.random.default_rng(draw).permutation(len(self.scores[source]))

    def calm(self, source: str, draw: int) -> DriftMonitor:
        """A monitor that has seen calm traffic."""
        scores = self.scores[source][self.shuffled(source, draw)]
        monitor = DriftMonitor(reference_histogram(scores[: self.calibration], seed=draw), seed=draw)
        monitor.observe(scores[self.calibration : self.calibration + CALM])
        return monitor


def false_alarms(bench: Bench) -> Iterable[list[str]]:
    """No change at all: how often the monitor, and a repeated test, ever raise an alarm."""
    for source in BEFORE:
        counts, repeated = dict.fromkeys(LEVELS, 0), 0
        stream_length = len(bench.scores[source]) - bench.calibration
        for draw in range(bench.permutations):
            scores = bench.scores[source][bench.shuffled(source, draw)]
            calibration, stream = scores[: bench.calibration], scores[bench.calibration :]
            monitor = DriftMonitor(reference_histogram(calibration, seed=draw), false_alarm=min(LEVELS), seed=draw)
            monitor.observe(stream)
            evidence = monitor.snapshot().log_evidence
            for level in LEVELS:
                counts[level] += evidence >= math.log(1.0 / level)
            repeated += ks_alarm(calibration, stream, 0.01)
        bench.advance()
        shares = [f"{counts[level] / bench.permutations:.1%}" for level in LEVELS]
        yield [source, f"{stream_length:,}", *shares, f"{repeated / bench.permutations:.0%}"]


def switches(bench: Bench) -> Iterable[list[str]]:
    """Traffic of one source, then of another."""
    for before in BEFORE:
        for after in SOURCES:
            if after == before:
                continue

            def runs(before: str = before, after: str = after) -> Iterable[tuple[DriftMonitor, Floats]]:
                for draw in range(bench.draws):
                    stream = bench.scores[after][bench.shuffled(after, 1_000_000 + draw)][:LONGEST]
                    yield bench.calm(before, draw), stream

            bench.advance()
            apart = distance(bench.scores[before], bench.scores[after])
            yield [
                before,
                after,
                f"{min(LONGEST, len(bench.scores[after])):,}",
                f"{apart:.2f}",
                *delays(runs()).cells(),
            ]


def distance(before: Floats, after: Floats) -> float:
    """Total variation over 20 bins of the first."""
    reference = reference_histogram(before.tolist())
    monitor = DriftMonitor(reference)
    monitor.observe(np.random.default_rng(0).permutation(after))
    seen, places = np.array(monitor.snapshot().histogram), np.array(reference.places)
    return float(np.abs(seen / seen.sum() - places / places.sum()).sum() / 2)


def attacks(bench: Bench, router: Router) -> Iterable[list[str]]:
    """A text appended to part of the queries."""
    for source in ("mmlu_pro", "zeroeval"):
        scores = bench.scores[source]
        threshold = float(np.quantile(scores, 0.7))
        for name, text in ATTACKS.items():
            attacked = router.difficulty([query + text for query in bench.texts[source]])
            for share in ATTACKED:

                def runs(
                    source: str = source, attacked: Floats = attacked, share: float = share
                ) -> Iterable[tuple[DriftMonitor, Floats]]:
                    for draw in range(bench.draws):
                        rows = bench.shuffled(source, draw)[bench.calibration + CALM :][:LONGEST]
                        hit = np.random.default_rng(2_000_000 + draw).random(len(rows)) < share
                        yield bench.calm(source, draw), np.where(hit, attacked[rows], bench.scores[source][rows])

                bench.advance()
                large = share * (attacked >= threshold).mean() + (1 - share) * (scores >= threshold).mean()
                length = len(scores) - bench.calibration - CALM
                yield [
                    source,
                    name,
                    f"{share:.0%}",
                    f"{(scores >= threshold).mean():.0%} → {large:.0%}",
                    f"{min(length, LONGEST):,}",
                    *delays(runs()).cells(),
                ]


SHIFTS: dict[str, Callable[[random.Random, int], float]] = {
    "mean +0.1 sd": lambda chance, _: chance.gauss(0.1, 1.0),
    "mean +0.25 sd": lambda chance, _: chance.gauss(0.25, 1.0),
    "mean +0.5 sd": lambda chance, _: chance.gauss(0.5, 1.0),
    "mean +1 sd": lambda chance, _: chance.gauss(1.0, 1.0),
    "spread × 1.5": lambda chance, _: chance.gauss(0.0, 1.5),
    "spread × 0.6": lambda chance, _: chance.gauss(0.0, 0.6),
    "20 % near the top": lambda chance, _: chance.gauss(2.2, 0.2) if chance.random() < 0.2 else chance.gauss(0.0, 1.0),
    "all near the top": lambda chance, _: chance.gauss(2.2, 0.2),
    "creeping, +1 sd in 2,000": lambda chance, t: chance.gauss(min(t / 2000.0, 1.0), 1.0),
}
SIMULATED = ((200, 0), (500, 0), (2000, 0), (500, 1000), (500, 100_000))
"""Calibration queries, and calm ones before the change."""


def _difficulty(value: float) -> float:
    return 0.5 * (1.0 + math.erf(value / math.sqrt(2.0)))


def simulated(bench: Bench, draws: int) -> Iterable[list[str]]:
    """Normal scores, this test beside the Composite Jumper: median delays."""
    for size, calm in SIMULATED:
        for test in (DriftMonitor, CompositeJumper):
            monitors: list[DriftMonitor | CompositeJumper] = []
            for draw in range(draws):
                chance = random.Random(draw)
                calibration = [_difficulty(chance.gauss(0.0, 1.0)) for _ in range(size)]
                monitor = test(reference_histogram(calibration, seed=draw), seed=draw)
                monitor.observe([_difficulty(chance.gauss(0.0, 1.0)) for _ in range(calm)])
                monitors.append(monitor)
            cells = []
            for shift in SHIFTS.values():

                def runs(
                    monitors: list[DriftMonitor | CompositeJumper] = monitors,
                    shift: Callable[[random.Random, int], float] = shift,
                ) -> Iterable[tuple[DriftMonitor | CompositeJumper, Iterable[float]]]:
                    for draw, monitor in enumerate(monitors):
                        chance = random.Random(-1 - draw)
                        # bound early: the generator runs within this turn of the loop
                        stream = (_difficulty(shift(chance, t)) for t in range(LONGEST))
                        yield copy.deepcopy(monitor), stream

                median, _, seen, _ = delays(runs()).cells()
                cells.append(f"{median} ({seen})")
            bench.advance()
            yield [f"{size:,}", f"{calm:,}", "this" if test is DriftMonitor else "jumper", *cells]


def promises(bench: Bench) -> Iterable[list[str]]:
    """Labels: the threshold that just keeps the promise on the table, and a small model that becomes worse."""
    for source, small, large in PAIRS:
        outcomes = bench.marks[source]
        known = np.isfinite(outcomes.marks(small)) & np.isfinite(outcomes.marks(large))
        queries = Queries(bench.scores[source][known], outcomes.marks(small)[known], outcomes.marks(large)[known])
        threshold = plain_threshold(queries, PROMISE)
        to_large = queries.difficulty >= threshold
        for worse in WORSE:
            drops, found = [], []
            for draw in range(bench.permutations if not worse else bench.draws):
                generator = np.random.default_rng(draw)
                fallen = np.where(generator.random(len(queries.small)) < worse, 0.0, queries.small)
                drops.append(1 - np.where(to_large, queries.large, fallen).mean() / queries.large.mean())
                found.append(_broken(generator.integers(len(fallen), size=LONGEST), to_large, fallen, queries.large))
            bench.advance()
            cells = Delays(np.array(found), 0, len(found)).cells()[:3]
            yield [source, f"{small} → {large}", f"{worse:.0%}", f"{np.mean(drops):.1%}", str(len(found)), *cells]


def _broken(rows: npt.NDArray[np.int64], to_large: npt.NDArray[np.bool_], small: Floats, large: Floats) -> float:
    monitor = PromiseMonitor(PROMISE)
    for position, row in enumerate(rows, start=1):
        monitor.observe("large" if to_large[row] else "small", float(small[row]), float(large[row]))
        if monitor.broken:
            return float(position)
    return math.inf


def speed(bench: Bench) -> str:
    """Microseconds a call with one query, the best of five rounds."""
    scores = bench.scores["mmlu_pro"].tolist()
    monitor = DriftMonitor(reference_histogram(scores[:500]), false_alarm=1e-12)
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        for score in scores:
            monitor.observe([score], [True], [0.5])
        best = min(best, (time.perf_counter() - begin) / len(scores))
    return f"{best * 1e6:.1f} µs a call of one query"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    parser.add_argument("--calibration", type=int, default=500, help="calibration queries")
    parser.add_argument("--permutations", type=int, default=500, help="draws for the false alarms")
    parser.add_argument("--draws", type=int, default=100, help="draws for the delays")
    parser.add_argument("--simulations", type=int, default=25, help="draws of the simulated streams")
    arguments = parser.parse_args()
    # wide enough for all columns wherever it goes
    console = Console(width=300)
    router = Router.default()
    marks = {source: known_rows(arguments.data, source) for source in SOURCES}
    scores = {source: router.difficulty(outcomes.texts) for source, outcomes in marks.items()}
    with Progress(console=Console(stderr=True)) as progress:
        rows = len(BEFORE) + len(BEFORE) * (len(SOURCES) - 1) + 2 * len(ATTACKS) * len(ATTACKED)
        task: TaskID = progress.add_task("rows", total=rows + 2 * len(SIMULATED) + len(PAIRS) * len(WORSE))
        bench = Bench(
            scores,
            {source: outcomes.texts for source, outcomes in marks.items()},
            marks,
            arguments.calibration,
            arguments.draws,
            arguments.permutations,
            lambda: progress.advance(task),
        )
        seen = ["median", "90 %", "seen", "early"]
        table(
            console,
            f"No change: draws of {arguments.permutations} with an alarm",
            ["source", "stream", *(f"this at {level:g}" for level in LEVELS), f"KS at 0.01 of every {KS_WINDOW}"],
            false_alarms(bench),
        )
        table(
            console,
            f"Another source after {CALM} calm queries: delay, at 0.01",
            ["from", "to", "stream", "distance", *seen],
            switches(bench),
        )
        table(
            console,
            f"A text appended after {CALM} calm queries: delay, at 0.01",
            ["source", "text", "attacked", "large share", "stream", *seen],
            attacks(bench, router),
        )
        table(
            console,
            f"Simulated: median delay (seen within {LONGEST:,}), at 0.01",
            ["calibration", "calm", "test", *SHIFTS],
            simulated(bench, arguments.simulations),
        )
        table(
            console,
            f"Labels: {PROMISE.name} {PROMISE.value:g} just kept, then the small model becomes worse, at 0.01",
            ["source", "pair", "made wrong", "drop", "draws", *seen[:3]],
            promises(bench),
        )
    console.print(speed(bench))


if __name__ == "__main__":
    main()
