"""Expert Router on outcome tables of many models: ``python -m benchmarks.experts --data DIR``.

Clusters and their experts are learned from the rows marked train and measured on those marked validation; rows marked
test, and rows that stand in a benchmark, are not read. Compared are the paper's clusters (words), balanced and not,
clusters of the embedded encoder, and the table's own task labels as clusters, which no query carries; each at three
budgets: the mean cost of the best single model, half of it and three tenths. "Best single" is the best model within the
budget, "mixed" two single models at random at the router's own cost, "two models" the two that the router uses most,
routed by nearest neighbours at its own cost.

Costs are nominal: a price per million tokens (``PRICES``, of the order of public lists when the models came out) times
the characters of question and answer over four; 800 characters where a table has no answers.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import numpy as np
import pandas as pd
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import track
from rich.table import Table

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import Interval
from shared_router.experts.clusters import Clusters
from shared_router.tables.expert_outcomes import ExpertOutcomes
from shared_router.training.expert_clusters import Encoder, fit_clusters, fit_vectors
from shared_router.training.fit_experts import best_single, compared_systems, expert_map
from shared_router.training.sources import FORMAT_FAILURES, SHIPPABLE

PRICES: dict[str, float] = {
    "Llama-3.1-405B-Inst@sambanova": 3.0,
    "Llama-3.1-70B-Instruct": 0.9,
    "Llama-3.1-8B-Instruct": 0.2,
    "Meta-Llama-3-70B-Instruct": 0.9,
    "Meta-Llama-3-8B-Instruct": 0.2,
    "Meta-Llama-3.1-70B-Instruct": 0.9,
    "Meta-Llama-3.1-8B-Instruct": 0.2,
    "Mistral-7B-Instruct-v0.2": 0.2,
    "Mistral-Large-2": 3.0,
    "Mixtral-8x7B-Instruct-v0.1": 0.6,
    "Phi-3-mini-4k-instruct": 0.1,
    "Phi-3.5-mini-instruct": 0.1,
    "Qwen1.5-72B-Chat": 0.9,
    "Qwen1.5-7B-Chat": 0.2,
    "Qwen2-72B-Instruct": 0.9,
    "Qwen2-7B-Instruct": 0.2,
    "Qwen2.5-32B-Instruct": 0.8,
    "Qwen2.5-3B-Instruct": 0.1,
    "Qwen2.5-72B-Instruct": 0.9,
    "Qwen2.5-7B-Instruct": 0.2,
    "Yi-1.5-34B-Chat": 0.8,
    "Yi-1.5-9B-Chat": 0.2,
    "Yi-6B-Chat": 0.2,
    "c4ai-command-r-v01": 0.6,
    "claude-3-5-sonnet-20241022": 6.0,
    "claude-3-haiku-20240307": 0.5,
    "gemini-1.5-flash": 0.15,
    "gemini-1.5-flash-002": 0.15,
    "gemini-1.5-pro": 2.5,
    "gemini-1.5-pro-002": 2.5,
    "gemma-2-27b-it": 0.8,
    "gemma-2-2b-it": 0.1,
    "gemma-2-9b-it": 0.2,
    "gpt-3.5-turbo-0125": 0.8,
    "gpt-4o-2024-08-06": 5.0,
    "gpt-4o-mini-2024-07-18": 0.3,
    "llama-3.1-8b-instruct": 0.2,
    "llama-3.1-nemotron-51b-instruct": 0.8,
    "llama-3.3-nemotron-super-49b-v1": 0.8,
    "mathstral-7B": 0.2,
    "mistral-7b-instruct-v0.3": 0.2,
    "qwen2.5-7b-instruct": 0.2,
}
"""Of a million tokens, in dollars."""

BUDGETS = (1.0, 0.5, 0.3)
COUNT = 16
ANSWER_CHARS = 800
CHARS_PER_TOKEN = 4
WHOLE = 0.99
"""Share of the queries that a model has to have answered to take part."""


def read_outcomes(folder: Path, source: str) -> tuple[dict[str, ExpertOutcomes], dict[str, list[str]]]:
    """The outcomes of each split, and the task of each of their queries."""
    columns = ["task", "query_id", "query", "model", "quality", "response_chars", "group", "overlap", "split"]
    frame = pd.read_parquet(folder / f"{source}.parquet", columns=columns)
    frame = frame[frame["split"].isin(["train", "validation"]) & ~frame["model"].isin(FORMAT_FAILURES.get(source, ()))]
    overlap = frame["overlap"].astype("object")
    frame = frame[overlap.isna() | (overlap == "")]
    key = ["task", "query_id"]
    quality = frame.pivot_table(index=key, columns="model", values="quality")
    quality = quality.loc[:, quality.notna().mean() > WHOLE].dropna()
    models = list(quality.columns)
    if missing := [model for model in models if model not in PRICES]:
        raise OutcomeError(f"{source} has models without a price: {', '.join(missing)}")
    about = frame.drop_duplicates(key).set_index(key).loc[quality.index]
    if frame["response_chars"].notna().any():
        chars = frame.pivot_table(index=key, columns="model", values="response_chars").reindex(columns=models)
        answer = chars.loc[quality.index].fillna(ANSWER_CHARS).to_numpy(np.float64)
    else:
        answer = np.full(quality.shape, float(ANSWER_CHARS))
    texts = about["query"].astype(str)
    tokens = (texts.str.len().to_numpy(np.float64)[:, None] + answer) / CHARS_PER_TOKEN
    cost = tokens * np.array([PRICES[model] for model in models]) / 1e6
    groups = np.unique(about["group"].astype(str), return_inverse=True)[1].reshape(-1).astype(np.int64)
    whole = ExpertOutcomes(
        tuple(text.strip() for text in texts), tuple(models), quality.to_numpy(np.float64), cost, groups
    )
    tasks = [str(task).removesuffix("@test") for task in quality.index.get_level_values("task")]
    parts, of_part = {}, {}
    for split in ("train", "validation"):
        rows = np.flatnonzero((about["split"] == split).to_numpy())
        parts[split], of_part[split] = whole.part(rows), [tasks[row] for row in rows]
    return parts, of_part


def classifiers(train: ExpertOutcomes) -> Iterator[tuple[str, Clusters]]:
    """Each kind of clusters, fitted on the texts of the train rows."""
    encoders: tuple[Encoder, ...] = ("words", "embedded")
    for encoder in encoders:
        vectors = fit_vectors(train.prompts, encoder=encoder)
        yield f"{encoder}, {COUNT}", fit_clusters(train.prompts, COUNT, encoder=encoder, vectors=vectors)
        if encoder == "words":
            balanced = fit_clusters(train.prompts, COUNT, encoder=encoder, vectors=vectors, balanced=True)
            yield f"{encoder}, {COUNT}, balanced", balanced
        more = 4 * COUNT
        yield f"{encoder}, {more}", fit_clusters(train.prompts, more, encoder=encoder, vectors=vectors)


def measured(source: str, folder: Path, table: Table) -> None:
    """One row a kind of clusters and budget."""
    parts, tasks = read_outcomes(folder, source)
    train, test = parts["train"], parts["validation"]
    labels = {task: number for number, task in enumerate(sorted(set(tasks["train"])))}
    kinds = {"task labels": tuple(np.array([labels[task] for task in tasks[split]]) for split in parts)}
    counts = {"task labels": len(labels)}
    for name, clusters in classifiers(train):
        kinds[name] = (clusters.assign(train.prompts).cluster, clusters.assign(test.prompts).cluster)
        counts[name] = len(clusters)
    dearest = float(train.cost[:, best_single(train.quality, train.cost)].mean())
    for share in BUDGETS:
        budget = share * dearest
        single = best_single(train.quality, train.cost, budget)
        for name, (learned, asked) in sorted(kinds.items()):
            found = expert_map(learned, train.quality, train.cost, counts[name], budget=budget)
            # a query of which nothing is known goes to the best one overall
            chosen = np.where(asked >= 0, found.rankings[asked, 0], found.overall[0])
            systems = {one.name: one for one in compared_systems(train, test, chosen, single)}
            router = systems["expert router"]
            two = next((one for title, one in systems.items() if title.startswith("two models")), None)
            table.add_row(
                source,
                str(len(test)),
                f"{share:.0%}",
                name,
                f"{router.quality:.3f} at {router.cost / dearest:.0%}",
                f"{test.experts[single]} {test.quality[:, single].mean():.3f} at "
                f"{test.cost[:, single].mean() / dearest:.0%}",
                _shown(router.over_single),
                _shown(router.over_mix),
                "–" if two is None else f"{two.quality:.3f} at {two.cost / dearest:.0%}",
                f"{systems['random expert'].quality:.3f}",
                f"{systems['oracle'].quality:.3f} at {systems['oracle'].cost / dearest:.0%}",
                str(len(np.unique(chosen))),
            )


def _shown(one: Interval | None) -> str:
    return "–" if one is None else f"{one.estimate:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    arguments = parser.parse_args()
    titles = ("table", "rows", "budget", "clusters", "expert router", "best single", "over best single", "over mixed")
    table = Table(*titles, "two models", "random", "oracle", "experts used", box=MARKDOWN)
    for source in track(SHIPPABLE, console=Console(stderr=True)):
        measured(source, arguments.data, table)
    Console(width=300).print(table)


if __name__ == "__main__":
    main()
