"""Batches under a budget: ``python -m benchmarks.allocation --data DIR``.

First the time of the whole front on 10,000 queries × 12 models, on one core. Then the eleven models of RouterBench
(ARC-c, Winogrande, MBPP; every model's mark and cost in dollars for every query): what it costs to match the best
single model with predictors of success and cost. They are fitted on the rows marked train and measured on those marked
validation; the oracle knows marks and costs. Rows marked test are not read.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors

from shared_router.allocation import AllocationFront, allocate, allocation_front
from shared_router.evaluation.fronts import hypervolume, inverted_generational_distance, scaled, spread
from shared_router.evaluation.optllm import destroy_reconstruct

Floats = npt.NDArray[np.float64]

QUERIES, MODELS = 10_000, 12
NEIGHBOURS = 40
FOLDS = 5
LOSSES = (0.0, 0.02)
RIDGES = np.logspace(0.0, 3.0, 7)
"""Of these leave-one-out on the rows fitted chooses."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Queries with all models' marks and costs, both of shape (n, m)."""

    texts: list[str]
    tasks: npt.NDArray[np.str_]
    quality: Floats
    cost: Floats

    def part(self, chosen: npt.NDArray[np.intp]) -> Rows:
        """Some of the queries."""
        texts = [self.texts[i] for i in chosen]
        return Rows(texts, self.tasks[chosen], self.quality[chosen], self.cost[chosen])


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a predictor says of some rows, both of shape (n, m)."""

    quality: Floats
    cost: Floats


def _seconds(work: Callable[[], object], rounds: int = 7) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure_time() -> None:
    """Print the time of a whole front for three kinds of batches."""
    generator = np.random.default_rng(0)
    quality, cost = generator.random((QUERIES, MODELS)), generator.random((QUERIES, MODELS))
    concave = np.linspace(0.01, 1.0, MODELS) * generator.uniform(0.5, 1.5, (QUERIES, 1))
    kinds = {
        "quality and cost independent": (quality, cost),
        "dearer models always better": (np.sort(quality, axis=1), np.sort(cost, axis=1)),
        "every model on its query's hull": (np.sqrt(concave), concave),
    }
    print(f"{QUERIES:,} queries × {MODELS} models, whole front (limit: 200 ms)")
    for name, (marks, prices) in kinds.items():
        points = len(allocation_front(marks, prices))
        print(
            f"  {name:34}{1000 * _seconds(lambda m=marks, p=prices: allocation_front(m, p)):7.1f} ms  {points:,} points"
        )


def read_rows(folder: Path, split: str) -> Rows:
    """RouterBench's rows of one split, without the few queries that lack a model's mark."""
    columns = ["task", "query_id", "query", "model", "quality", "cost_usd", "split"]
    frame = pd.read_parquet(folder / "routerbench_zs.parquet", columns=columns)
    frame = frame[frame["split"] == split]
    key = ["task", "query_id"]
    quality = frame.pivot(index=key, columns="model", values="quality").dropna()
    cost = frame.pivot(index=key, columns="model", values="cost_usd").loc[quality.index]
    texts = frame.drop_duplicates(key).set_index(key).loc[quality.index, "query"]
    tasks = quality.index.get_level_values("task").to_numpy(dtype=np.str_)
    return Rows(list(texts.astype(str)), tasks, quality.to_numpy(np.float64), cost.to_numpy(np.float64))


def predictions(train: Rows, rows: Rows) -> dict[str, Predicted]:
    """Each predictor's view of the rows. All but the oracle know the train rows and the rows' texts only."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2))
    known, asked = vectorizer.fit_transform(train.texts), vectorizer.transform(rows.texts)
    neighbours = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(known)
    nearest = neighbours.kneighbors(asked, return_distance=False)
    success = RidgeCV(RIDGES).fit(known, train.quality).predict(asked)
    # answers' lengths, and with them costs, differ by factors
    log_cost = RidgeCV(RIDGES).fit(known, np.log(train.cost)).predict(asked)
    by_task = {task: train.tasks == task for task in np.unique(train.tasks)}
    n = len(rows.texts)
    return {
        "oracle": Predicted(rows.quality, rows.cost),
        "TF-IDF ridge": Predicted(np.clip(success, 0.0, 1.0), np.exp(log_cost)),
        f"TF-IDF {NEIGHBOURS}-NN": Predicted(train.quality[nearest].mean(axis=1), train.cost[nearest].mean(axis=1)),
        "the task's mean": Predicted(
            np.stack([train.quality[by_task[task]].mean(axis=0) for task in rows.tasks]),
            np.stack([train.cost[by_task[task]].mean(axis=0) for task in rows.tasks]),
        ),
        "one mean for all": Predicted(
            np.tile(train.quality.mean(axis=0), (n, 1)), np.tile(train.cost.mean(axis=0), (n, 1))
        ),
    }


def crossed(train: Rows) -> tuple[Rows, dict[str, Predicted]]:
    """The train rows, each predicted from folds that do not hold it."""
    parts, views = [], []
    for fitted, held in KFold(FOLDS, shuffle=True, random_state=0).split(train.texts):
        parts.append(held)
        views.append(predictions(train.part(fitted), train.part(held)))
    together = {
        name: Predicted(
            np.concatenate([view[name].quality for view in views]), np.concatenate([view[name].cost for view in views])
        )
        for name in views[0]
    }
    return train.part(np.concatenate(parts)), together


def realised(front: AllocationFront, rows: Rows) -> Floats:
    """What the points of a predicted front really cost and make, shape (k, 2)."""
    at = np.arange(len(rows.texts))
    chosen = [front.assignment(k) for k in range(len(front))]
    return np.array([(rows.cost[at, one].sum(), rows.quality[at, one].mean()) for one in chosen])


def rates(front: AllocationFront) -> Floats:
    """Quality gained per dollar by each step of the front, shape (k − 1,)."""
    return len(front.cheapest) * np.diff(front.quality) / np.diff(front.cost)


def learned_rate(rows: Rows, view: Predicted, best: int, loss: float) -> float | None:
    """The rate of the cheapest point that really comes within a loss of the best single model; None if none does."""
    front = allocation_front(view.quality, view.cost)
    points = realised(front, rows)
    enough = np.flatnonzero(points[:, 1] >= rows.quality[:, best].mean() - loss - 1e-12)
    if not enough.size:
        return None
    k = int(enough[points[enough, 0].argmin()])
    return float(rates(front)[k - 1]) if k else np.inf


def _against(rows: Rows, chosen: npt.NDArray[np.intp], best: int) -> str:
    at = np.arange(len(chosen))
    saved = 1.0 - rows.cost[at, chosen].sum() / rows.cost[:, best].sum()
    apart = rows.quality[at, chosen] - rows.quality[:, best]
    return f"{100 * saved:.1f} %, {apart.mean():+.4f} ± {apart.std(ddof=1) / np.sqrt(len(at)):.4f}"


def measure_routerbench(folder: Path) -> None:
    """Print what each predictor's front makes of the validation rows."""
    train, rows = read_rows(folder, "train"), read_rows(folder, "validation")
    n, m = rows.quality.shape
    at = np.arange(n)
    best = int(train.quality.mean(axis=0).argmax())
    best_cost, best_quality = float(rows.cost[:, best].sum()), float(rows.quality[:, best].mean())
    print(f"\nRouterBench: {len(train.texts)} rows to fit, {n} to measure, {m} models;", end=" ")
    print(f"best single model: {best_quality:.4f} for ${best_cost:.3f}")
    views = predictions(train, rows)
    train_rows, train_views = crossed(train)
    cheapest = int(train.cost.mean(axis=0).argmin())
    square = [[rows.cost.min(axis=1).sum(), rows.quality[:, cheapest].mean()], [best_cost, 1.0]]
    print(
        "| predictor | points | match, by outcome | learned, no loss | learned, loss ≤ .02 | predicted match", end=" "
    )
    print("| half the cost | hypervolume |\n|---|---|---|---|---|---|---|---|")
    for name, view in views.items():
        front = allocation_front(view.quality, view.cost)
        points = realised(front, rows)
        enough = points[points[:, 1] >= best_quality - 1e-12, 0]
        matched = f"{100 * (1 - enough.min() / best_cost):.1f} %" if enough.size else "never"
        learned = []
        for loss in LOSSES:
            rate = learned_rate(train_rows, train_views[name], best, loss)
            point = None if rate is None else int((rates(front) >= rate).sum())
            learned.append("never" if point is None else _against(rows, front.assignment(point), best))
        predicted = _against(rows, front.assignment(front.reaching(float(view.quality[:, best].mean()))), best)
        half = front.assignment(front.within_budget(float(view.cost[:, best].sum()) / 2))
        spent = 100 * rows.cost[at, half].sum() / best_cost
        volume = hypervolume(scaled(points, square), cost=1.0, quality=0.0)
        print(f"| {name} | {len(front):,} | {matched} | {learned[0]} | {learned[1]} | {predicted}", end=" ")
        print(f"| {rows.quality[at, half].mean():.4f} ({spent:.0f} %) | {volume:.3f} |")
    compare_searches({name: views[name] for name in ("oracle", "TF-IDF ridge")})


def compare_searches(views: dict[str, Predicted]) -> None:
    """Print the front beside OptLLM's search and HiGHS on what two predictors say."""
    for name, view in views.items():
        quality, cost = view.quality, view.cost
        at = np.arange(len(quality))
        front = allocation_front(quality, cost)
        taken = _seconds(lambda q=quality, c=cost: allocation_front(q, c))
        start = time.perf_counter()
        found = destroy_reconstruct(quality, cost)
        searched = time.perf_counter() - start
        off = float(np.abs(np.interp(found.cost, front.cost, front.quality) - found.quality).max())
        whole = np.column_stack([front.cost, front.quality])
        unit, others = scaled(whole, whole), scaled(np.column_stack([found.cost, found.quality]), whole)
        print(f"\n{name}: front of {len(front)} points in {1000 * taken:.1f} ms", end=", ")
        print(f"Δ {spread(unit, unit):.2f}, hypervolume {hypervolume(unit, cost=1.0, quality=0.0):.4f}")
        print(f"  destroy and reconstruct: {len(found.cost)} points in {1000 * searched:.0f} ms", end=", ")
        print(f"at most {off:.0e} off the front, IGD {inverted_generational_distance(others, unit):.4f}", end=", ")
        print(f"Δ {spread(others, unit):.2f}, hypervolume {hypervolume(others, cost=1.0, quality=0.0):.4f}")
        for share in (0.1, 0.3, 0.6):
            budget = float(front.cost[0] + share * (front.cost[-1] - front.cost[0]))
            start = time.perf_counter()
            optimum = allocate(quality, cost, budget=budget, exact=True)
            taken = time.perf_counter() - start
            greedy = allocate(quality, cost, budget=budget)
            gained = float(quality[at, optimum].mean() - quality[at, greedy].mean())
            print(f"  integer optimum at ${budget:.4f}: {gained:+.6f} of mean quality, in {taken:.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    measure_time()
    measure_routerbench(arguments.data)


if __name__ == "__main__":
    main()
