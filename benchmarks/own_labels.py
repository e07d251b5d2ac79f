"""What labels of one's own pair give on other prompts of the kind: ``python -m benchmarks.own_labels --data DIR``.

RouteLLM's MMLU and GSM8K: trained on one half, measured on the other, both ways, averaged. Other tables: trained on the
rows marked train, measured on those marked validation. The router is what ``hybrid-llm fit`` writes: head and settings
are chosen by cross-validation inside the training rows, and the rows it is measured on choose nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared_router.evaluation.metrics import mean_apgr, paired_bootstrap
from shared_router.router import Router
from shared_router.tables.labeled import LabeledPrompt, labeled_from
from shared_router.training.fast_heads import METHODS, embedded_scorer, fitted, lesson_from
from shared_router.training.fit_own import fit_own
from shared_router.training.sources import Pair

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

ROUTELLM = Pair("mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview")

CASES: tuple[tuple[str, Pair], ...] = (
    ("routellm_gsm8k", ROUTELLM),
    ("zeroeval", Pair("gemma-2-9b-it", "gpt-4o-2024-08-06")),
    ("llmrouter_dc", Pair("gemma-2-9b-it", "llama-3.1-nemotron-51b-instruct")),
    ("bfcl", Pair("NousResearch_Hermes-2-Pro-Llama-3-8B", "claude-3-5-sonnet-20240620")),
    ("routerbench_zs", Pair("mistralai/mistral-7b-chat", "gpt-4-1106-preview")),
    ("routerbench_zs", Pair("mistralai/mixtral-8x7b-chat", "gpt-4-1106-preview")),
    ("mmlu_pro", Pair("Phi-3-mini-4k-instruct", "gemini-1.5-pro-002")),
    ("mmlu_pro", Pair("Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct")),
    ("routellm_mmlu", ROUTELLM),
)
"""The pairs for which the README of the outcome tables says what a plain own-label model gets."""

FEW = 500
DRAWS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One pair on one table.

    Attributes:
        name: For the table.
        texts: n queries.
        small: Marks of the small model, shape (n,).
        large: Marks of the large model, shape (n,).
        rounds: Training rows and test rows, once or in both directions.
    """

    name: str
    texts: tuple[str, ...]
    small: Floats
    large: Floats
    rounds: tuple[tuple[Rows, Rows], ...]

    def marks(self) -> tuple[list[Floats], list[Floats]]:
        """Marks of each round's test rows, NaN elsewhere: the mean over rounds is then the mean over "pairs"."""
        small, large = [], []
        for _, tested in self.rounds:
            inside = np.full((2, len(self.texts)), np.nan)
            inside[:, tested] = self.small[tested], self.large[tested]
            small.append(inside[0])
            large.append(inside[1])
        return small, large


def read_case(folder: Path, source: str, pair: Pair) -> Case:
    """A pair's marks and its rounds."""
    frame = pd.read_parquet(folder / f"{source}.parquet")
    frame = frame[frame["model"].isin([pair.small, pair.large])]
    key = ["task", "query_id"]
    marks = frame.pivot_table(index=key, columns="model", values="quality").dropna()
    facts = frame.drop_duplicates(key).set_index(key).loc[marks.index]
    part = (facts["half"] if "half" in facts else facts["split"]).astype(str).to_numpy()
    ways = [("A", "B"), ("B", "A")] if "half" in facts else [("train", "validation")]
    return Case(
        name=source if pair is ROUTELLM else f"{source}: {pair.small} → {pair.large}",
        texts=tuple(facts["query"].astype(str)),
        small=marks[pair.small].to_numpy(dtype=np.float64),
        large=marks[pair.large].to_numpy(dtype=np.float64),
        rounds=tuple((np.flatnonzero(part == learned), np.flatnonzero(part == tested)) for learned, tested in ways),
    )


def own_scores(case: Case, limit: int | None, seed: int) -> tuple[Floats, list[str]]:
    """Difficulties of the test rows by the router that ``fit`` makes, and what each round chose."""
    scores, chosen = np.zeros(len(case.texts)), []
    for learned, tested in case.rounds:
        rows = learned if limit is None else np.random.default_rng(seed).permutation(learned)[:limit]
        labeled = labeled_from(
            [LabeledPrompt(case.texts[i], (float(case.small[i]),), (float(case.large[i]),)) for i in np.sort(rows)]
        )
        report = fit_own(labeled, held_out=0.0, seed=seed)
        chosen.append(f"{report.chosen}{'' if report.verdict == 'routing_pays' else ' (' + report.verdict + ')'}")
        if report.artifact is not None:
            scores[tested] = Router.from_artifact(report.artifact).difficulty([case.texts[i] for i in tested])
    return scores, chosen


def head_scores(case: Case) -> dict[str, Floats]:
    """Raw scores of the test rows by each head, with all training rows."""
    lesson = lesson_from(embedded_scorer(), case.texts, case.small, case.large)
    scores = {name: np.zeros(len(case.texts)) for name in METHODS}
    for learned, tested in case.rounds:
        for name, method in METHODS.items():
            scores[name][tested] = fitted(lesson.part(learned), method, 0).raw(lesson.part(tested))
    return scores


def _difference(first: Floats, second: Floats, case: Case) -> str:
    interval = paired_bootstrap(first, second, *case.marks())
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


@dataclass(frozen=True, slots=True)
class Figures:
    """One pair's lines in the three tables."""

    whole: list[str]
    few: list[str]
    heads: list[str]


def measured(case: Case) -> Figures:
    """All figures of one pair."""
    marks = case.marks()
    length = np.array([float(len(text)) for text in case.texts])
    by_head = head_scores(case)
    plain = [f"{mean_apgr(scores, *marks):.3f}" for scores in (length, by_head["embedded"])]
    scores, chosen = own_scores(case, None, 0)
    whole = [
        case.name,
        " / ".join(str(len(learned)) for learned, _ in case.rounds),
        " / ".join(str(len(tested)) for _, tested in case.rounds),
        f"{mean_apgr(scores, *marks):.3f}",
        *plain,
        _difference(scores, length, case),
        _difference(scores, by_head["embedded"], case),
        f"{mean_apgr(case.large - case.small, *marks):.3f}",
        ", ".join(chosen),
    ]
    values, names = [], []
    for seed in range(DRAWS):
        scores, chosen = own_scores(case, FEW, seed)
        values.append(mean_apgr(scores, *marks))
        names += chosen
    counted = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    few = [case.name, *(f"{f(values):.3f}" for f in (np.mean, min, max)), *plain, counted]
    return Figures(whole, few, [case.name, *(f"{mean_apgr(scores, *marks):.3f}" for scores in by_head.values())])


def tables_of(figures: Sequence[Figures]) -> list[Table]:
    """Three tables: the router, the router of 500 labels, and each head."""
    columns = ("pair", "labels", "tested on", "router", "length", "embedded", "router − length", "router − embedded")
    whole = Table(*columns, "oracle", "served", title="All training rows")
    few = Table(
        "pair", "mean", "lowest", "highest", "length", "embedded", "served", title=f"{FEW} labels, {DRAWS} draws"
    )
    heads = Table("pair", *METHODS, title="Each head, all training rows")
    for one in figures:
        for table, row in ((whole, one.whole), (few, one.few), (heads, one.heads)):
            table.add_row(*row)
    return [whole, few, heads]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    folder = parser.parse_args().data
    figures = []
    with Progress(console=Console(stderr=True, width=240)) as progress:
        for source, pair in progress.track(CASES, description="pairs"):
            figures.append(measured(read_case(folder, source, pair)))
            # at once: the whole takes long
            progress.console.print(*figures[-1].whole, *figures[-1].few, *figures[-1].heads, sep=" | ", markup=False)
    console = Console(width=240)
    for table in tables_of(figures):
        console.print(table)


if __name__ == "__main__":
    main()
