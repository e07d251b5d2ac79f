"""Hybrid LLM's tables in shape, on real outcome tables: ``python -m benchmarks.paper_tables --data DIR --out FOLDER``.

Table 1 of the paper (arXiv 2404.14618): the drop of mean quality at 10, 20 and 40 % cost advantage for routers that
learned from r_det, r_prob and r_trans, on pairs of small, medium and large gap. Scores are out of fold in five parts,
whole groups at a time, over the rows marked train and validation; rows marked test are not read. Beside them guessing,
prompt length, a ridge on the gap, and the oracle. Intervals are of 1,000 bootstrap samples of the groups.

Qualities: answers marked 0 or 1 once (zeroeval), where the three labels are one; a task's metric between 0 and 1
(llmrouter_dc); a judge's probability of winning (alpaca_eval2); several sampled answers a query marked 0 or 1
(mot_cascade). The paper's router is a fine-tuned DeBERTa; here the heads are logistic with the same soft labels and the
same loss on words and surface features, so that the table shows what the labels do and not what the encoder adds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared_router.evaluation.drops import drop_at
from shared_router.evaluation.metrics import apgr
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training.fast_heads import METHODS, embedded_scorer, lesson_from, out_of_fold
from shared_router.training.fit_own import groups_of
from shared_router.training.soft_labels import LABEL_KINDS, examples_from, relaxation

Floats = npt.NDArray[np.float64]

ADVANTAGES = (0.1, 0.2, 0.4)
CURVE = tuple(np.linspace(0.0, 1.0, 41))
RESAMPLES = 1000
SEED = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A pair on a table, and whether its gap is small, medium or large beside the others of the table."""

    source: str
    gap: str
    small: str
    large: str


CASES = (
    Case("zeroeval", "small", "gemma-2-9b-it", "gemma-2-27b-it"),
    Case("zeroeval", "medium", "Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-70B-Instruct"),
    Case("zeroeval", "large", "gemma-2-2b-it", "gpt-4o-2024-08-06"),
    Case("llmrouter_dc", "small", "llama-3.1-8b-instruct", "llama-3.1-nemotron-51b-instruct"),
    Case("llmrouter_dc", "medium", "gemma-2-9b-it", "llama-3.1-nemotron-51b-instruct"),
    Case("llmrouter_dc", "large", "mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct"),
    Case("alpaca_eval2", "small", "claude-instant-1.2", "FuseChat-Llama-3.2-1B-Instruct"),
    Case("alpaca_eval2", "medium", "FuseChat-Llama-3.2-3B-Instruct", "FuseChat-Gemma-2-9B-Instruct"),
    Case("alpaca_eval2", "large", "gpt-3.5-turbo-1106", "gpt4_1106_preview"),
    Case("mot_cascade", "small", "llama-2-13b/cot1", "gpt-3.5-turbo/cot1"),
    Case("mot_cascade", "medium", "gpt-3.5-turbo/cot1", "gpt-4/cot1"),
    Case("mot_cascade", "large", "llama-2-13b/cot1", "gpt-4/cot1"),
)


def read_case(folder: Path, case: Case) -> LabeledPrompts:
    """The pair's rows marked train and validation, with every sampled answer."""
    table = pd.read_parquet(folder / f"{case.source}.parquet")
    # sample −1 is a success rate and no answer
    table = table[table["split"].isin(["train", "validation"]) & (table["sample"] >= 0)]
    table = table[table["model"].isin([case.small, case.large])].dropna(subset=["quality"])
    rows = []
    for _, answers in table.groupby(["task", "query_id"], sort=True):
        samples = {model: tuple(part["quality"].astype(float)) for model, part in answers.groupby("model")}
        if len(samples) == 2:
            text = str(answers["query"].iloc[0])
            rows.append(
                LabeledPrompt(text, samples[case.small], samples[case.large], {"group": answers["group"].iloc[0]})
            )
    return labeled_from(rows)


def scores_of(labeled: LabeledPrompts) -> tuple[dict[str, Floats], str]:
    """Out-of-fold difficulties by router, and a word on t*."""
    embedded, groups = embedded_scorer(), groups_of(labeled)
    scores: dict[str, Floats] = {"prompt length": np.array([float(len(prompt)) for prompt in labeled.prompts])}
    known: dict[bytes, Floats] = {}
    for kind in LABEL_KINDS:
        t = relaxation(labeled, kind)
        short = 1.0 - examples_from(labeled, kind, t).labels
        # where two kinds have the same labels they are one router
        if short.tobytes() not in known:
            lesson = lesson_from(embedded, labeled.prompts, labeled.small, labeled.large, groups, short)
            known[short.tobytes()] = out_of_fold(lesson, METHODS["logistic"], SEED)
        scores[f"r_{kind}"] = known[short.tobytes()]
    lesson = lesson_from(embedded, labeled.prompts, labeled.small, labeled.large, groups)
    scores["ridge on the gap"] = out_of_fold(lesson, METHODS["mixed"], SEED)
    scores["oracle"] = labeled.large - labeled.small
    return scores, f"t* = {t:.3g}" + (", all labels are one" if len(known) == 1 else "")


def intervals(labeled: LabeledPrompts, difficulty: Floats) -> list[tuple[float, float, float]]:
    """Drop at each cost advantage with the ends of its 95 % interval, in percent."""
    names, group = np.unique(groups_of(labeled), return_inverse=True)
    members = [np.flatnonzero(group == i) for i in range(len(names))]
    generator = np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[i] for i in generator.integers(0, len(names), len(names))])
        drawn.append(drop_at(difficulty[rows], labeled.small[rows], labeled.large[rows], ADVANTAGES))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    middle = drop_at(difficulty, labeled.small, labeled.large, ADVANTAGES)
    return [(100 * m, 100 * a, 100 * b) for m, a, b in zip(middle, low, high, strict=True)]


def guessing(labeled: LabeledPrompts) -> list[str]:
    """The drop of a router that guesses: in proportion."""
    gap = float((labeled.large.mean() - labeled.small.mean()) / abs(labeled.large.mean()))
    return [f"{100 * gap * share:.1f}" for share in ADVANTAGES]


def drawn(curves: Mapping[Case, Mapping[str, Floats]], out: Path) -> None:
    """The paper's figure 5 in shape: drop against cost advantage, one panel a pair."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sources = list(dict.fromkeys(case.source for case in curves))
    figure, axes = plt.subplots(len(sources), 3, figsize=(11, 3 * len(sources)), squeeze=False, sharex=True)
    styles = {
        "r_det": "#0072B2",
        "r_prob": "#009E73",
        "r_trans": "#D55E00",
        "guessing": "#888888",
        "prompt length": "#CC79A7",
    }
    for case, lines in curves.items():
        axis = axes[sources.index(case.source)][("small", "medium", "large").index(case.gap)]
        for name, line in lines.items():
            dashed = "--" if name in {"guessing", "prompt length"} else "-"
            axis.plot(100 * np.array(CURVE), 100 * line, dashed, color=styles[name], label=name, linewidth=1.4)
        axis.set_title(f"{case.source}, {case.gap} gap\n{case.small} → {case.large}", fontsize=7)
        axis.axhline(0.0, color="#cccccc", linewidth=0.8)
        axis.tick_params(labelsize=7)
    for row in axes:
        row[0].set_ylabel("drop of quality, %", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("cost advantage, % of calls to the small model", fontsize=8)
    axes[0][0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "paper_tables.png", dpi=150)
    figure.savefig(out / "paper_tables.svg")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figure")
    chosen = parser.parse_args(arguments)
    table = Table(box=MARKDOWN)
    for column in ("source", "pair, quality, queries", "router", "APGR", *(f"drop at {a:.0%}" for a in ADVANTAGES)):
        table.add_column(column, no_wrap=True)
    curves: dict[Case, dict[str, Floats]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        for case in progress.track(CASES, description="pairs"):
            labeled = read_case(chosen.data, case)
            scores, said = scores_of(labeled)
            pair = f"{case.small} → {case.large} ({labeled.small.mean():.3f} → {labeled.large.mean():.3f})"
            about = f"{case.gap}: {pair}, n = {len(labeled)}, {said}"
            table.add_row(case.source, about, "guessing", ".500", *guessing(labeled))
            for name, difficulty in scores.items():
                shown = [f"{m:.1f} [{a:.1f}, {b:.1f}]" for m, a, b in intervals(labeled, difficulty)]
                table.add_row("", "", name, f"{apgr(difficulty, labeled.small, labeled.large):.3f}", *shown)
            relative = (labeled.large.mean() - labeled.small.mean()) / abs(labeled.large.mean())
            curves[case] = {
                name: drop_at(scores[name], labeled.small, labeled.large, CURVE)
                for name in ("r_det", "r_prob", "r_trans", "prompt length")
            } | {"guessing": relative * np.array(CURVE)}
    Console(width=300).print(table)
    drawn(curves, chosen.out)


if __name__ == "__main__":
    main()
