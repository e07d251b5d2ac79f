"""Batches under a budget: ``python -m benchmarks.allocation --data DIR``.

First the time of the whole front on 10,000 queries × 12 models, on one core. Then the eleven models of RouterBench
(ARC-c, Winogrande, MBPP; every model's mark and cost in dollars for every query): what it costs to match the best
single model with predictors of success and cost. They are fitted on the rows marked train and measured on those marked
validation; the oracle knows marks and costs.

Then three tables of many models with the bootstrap ensembles of ``shared_router.training.success_models``, whose p̄ + ασ
is chosen inside the train rows: RouterBench, and the open models of MMLU-Pro and ZeroEval, where a cost is active
parameters times tokens. On the same predictions the front stands beside OptLLM's search and pymoo's NSGA-II (needs
pymoo, which is in no extra). Rows marked test are read with ``--split test`` only, and then instead of validation.
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
from shared_router.tables.answers import Answers, answers_from
from shared_router.training.realised_front import realised as along
from shared_router.training.success_models import fit_success_models

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


PARAMETERS: dict[str, dict[str, float]] = {
    "mmlu_pro": {
        "Yi-6B-Chat": 6.1,
        "Mistral-7B-Instruct-v0.2": 7.2,
        "Qwen1.5-7B-Chat": 7.7,
        "c4ai-command-r-v01": 35.0,
        "mathstral-7B": 7.2,
        "Phi-3-mini-4k-instruct": 3.8,
        "Mixtral-8x7B-Instruct-v0.1": 12.9,
        "Llama-3.1-8B-Instruct": 8.0,
        "Qwen1.5-72B-Chat": 72.3,
        "Llama-3.1-70B-Instruct": 70.6,
    },
    "zeroeval": {
        "gemma-2-2b-it": 2.6,
        "Phi-3.5-mini-instruct": 3.8,
        "Qwen2-7B-Instruct": 7.6,
        "Meta-Llama-3-8B-Instruct": 8.0,
        "Meta-Llama-3.1-8B-Instruct": 8.0,
        "Yi-1.5-9B-Chat": 8.8,
        "gemma-2-9b-it": 9.2,
        "gemma-2-27b-it": 27.2,
        "Yi-1.5-34B-Chat": 34.4,
        "Meta-Llama-3-70B-Instruct": 70.6,
        "Meta-Llama-3.1-70B-Instruct": 70.6,
        "Qwen2-72B-Instruct": 72.7,
        "Mistral-Large-2": 123.0,
        "Llama-3.1-405B-Inst@sambanova": 405.0,
    },
}
"""Billions of parameters that work on a token, by the models' cards; models of which nobody tells it are left out."""

CHARS_PER_TOKEN = 4.0
RESAMPLES, FOREST_RESAMPLES = 100, 3
SEEDS = 3
POPULATION, GENERATIONS = 100, 200
REDRAWS = 200
FOREST_ROWS = 3000
"""Above, forests would take longer than all the rest."""


def read_table(folder: Path, name: str, split: str) -> Answers:
    """A table's complete queries of one split: costs in dollars, or in 10¹² parameters × tokens."""
    columns = ["task", "query_id", "query", "model", "quality", "cost_usd", "response_chars", "split", "group"]
    frame = pd.read_parquet(folder / f"{name}.parquet", columns=columns)
    frame = frame[frame["split"] == split]
    key = ["task", "query_id"]
    if name in PARAMETERS:
        active = frame["model"].map(PARAMETERS[name])
        frame = frame[active.notna()].copy()
        tokens = (frame["query"].str.len() + frame["response_chars"]) / CHARS_PER_TOKEN
        frame["cost_usd"] = active * tokens / 1000.0
    quality = frame.pivot_table(index=key, columns="model", values="quality").dropna()
    cost = frame.pivot_table(index=key, columns="model", values="cost_usd").loc[quality.index]
    first = frame.drop_duplicates(key).set_index(key).loc[quality.index]
    groups = pd.factorize(first["group"])[0]
    return answers_from(
        list(first["query"].astype(str)), list(quality.columns), quality.to_numpy(), cost.to_numpy(), groups=groups
    )


def _square(rows: Answers, best: int) -> Floats:
    """What real fronts are scaled to: from the cheapest model to quality 1 and the best single model's cost."""
    cheapest = int(rows.cost.sum(axis=0).argmin())
    return np.array([[rows.cost.min(axis=1).sum(), rows.quality[:, cheapest].mean()], [rows.cost[:, best].sum(), 1.0]])


def _volume(view: Predicted, rows: Answers, chosen: npt.NDArray[np.intp], best: int) -> float:
    part = rows.part(chosen)
    points = along(allocation_front(view.quality[chosen], view.cost[chosen]), part.quality, part.cost)
    return hypervolume(scaled(points, _square(part, best)), cost=1.0, quality=0.0)


def success_views(train: Answers, rows: Answers) -> dict[str, tuple[Predicted, str]]:
    """What ensembles say of the rows, with and without their uncertainty, and what there is to say about each."""
    views = {"oracle": (Predicted(rows.quality, rows.cost), "")}
    n = len(rows)
    means = Predicted(np.tile(train.quality.mean(axis=0), (n, 1)), np.tile(train.cost.mean(axis=0), (n, 1)))
    views["one mean for all"] = (means, "")
    for method, resamples in (("ridge", RESAMPLES), ("forest", FOREST_RESAMPLES)):
        if method == "forest" and len(train) > FOREST_ROWS:
            continue
        start = time.perf_counter()
        models = fit_success_models(train, method=method, resamples=resamples)  # type: ignore[arg-type]
        taken = time.perf_counter() - start
        said = models.forecast(rows.queries)
        about = f"{resamples} resamples in {taken:.1f} s, {100 * models.accuracy:.1f} % of labels"
        views[f"{method}, p̄"] = (Predicted(said.mean, said.cost), about)
        for alpha in (-1.0, 1.0):
            moved = Predicted(np.clip(said.mean + alpha * said.std, 0.0, 1.0), said.cost)
            views[f"{method}, α = {alpha:+g}"] = (moved, "")
        views[f"{method}, α chosen"] = (Predicted(said.success, said.cost), f"α = {models.alpha:g}")
    return views


def measure_tables(folder: Path, split: str) -> None:
    """Print what ensembles make of three tables, and what searches find on the same predictions."""
    for name in ("routerbench_zs", "mmlu_pro", "zeroeval"):
        train, rows = read_table(folder, name, "train"), read_table(folder, name, split)
        best = int(train.quality.mean(axis=0).argmax())
        paid, made = float(rows.cost[:, best].sum()), float(rows.quality[:, best].mean())
        unit = "10¹² parameters × tokens" if name in PARAMETERS else "$"
        print(f"\n{name}: {len(train)} train rows, {len(rows)} {split} rows, {len(rows.models)} models;", end=" ")
        print(f"best single model {rows.models[best]}: {made:.4f} for {paid:.4g} {unit}")
        print("| predictor | points | highest real | match, by outcome | predicted match | half the cost", end=" ")
        print("| hypervolume (sd) | over p̄ | notes |\n|---|---|---|---|---|---|---|---|---|")
        views = success_views(train, rows)
        generator = np.random.default_rng(0)
        draws = [generator.integers(0, len(rows), len(rows)) for _ in range(REDRAWS)]
        volumes = {
            key: np.array([_volume(view, rows, chosen, best) for chosen in draws]) for key, (view, _) in views.items()
        }
        for key, (view, about) in views.items():
            base = f"{key.split(',')[0]}, p̄"
            _print_view(rows, best, view, volumes[key], volumes.get(base) if key != base else None, (key, about))
        compare_optimisers(rows, best, views["ridge, α chosen"][0])


def _print_view(
    rows: Answers, best: int, view: Predicted, volumes: Floats, base: Floats | None, titles: tuple[str, str]
) -> None:
    at, paid = np.arange(len(rows)), float(rows.cost[:, best].sum())
    front = allocation_front(view.quality, view.cost)
    points = along(front, rows.quality, rows.cost)
    matching = front.assignment(front.reaching(float(view.quality[:, best].mean())))
    half = front.assignment(front.within_budget(max(float(view.cost[:, best].sum()) / 2, float(front.cost[0]))))
    apart = rows.quality[at, half] - rows.quality[:, best]
    spent = 100 * rows.cost[at, half].sum() / paid
    volume = _volume(view, rows, at, best)
    over = "" if base is None else f"{(volumes - base).mean():+.4f} ± {(volumes - base).std():.4f}"
    as_rows = Rows(list(rows.queries), np.array([]), rows.quality, rows.cost)
    print(f"| {titles[0]} | {len(front):,} | {points[:, 1].max():.4f} | {_match(points, rows, best)}", end=" ")
    print(
        f"| {_against(as_rows, matching, best)} | {apart.mean():+.4f} ± {apart.std() / np.sqrt(len(at)):.4f}",
        end=" ",
    )
    print(f"({spent:.0f} %) | {volume:.3f} ({volumes.std():.3f}) | {over} | {titles[1]} |", flush=True)


def _match(points: Floats, rows: Answers, best: int) -> str:
    enough = points[points[:, 1] >= rows.quality[:, best].mean() - 1e-12, 0]
    return f"{100 * (1 - enough.min() / rows.cost[:, best].sum()):.1f} %" if enough.size else "never"


def compare_optimisers(rows: Answers, best: int, view: Predicted) -> None:
    """Print the front beside OptLLM's search and NSGA-II, on one predictor."""
    front = allocation_front(view.quality, view.cost)
    whole = np.column_stack([front.cost, front.quality])
    print("\n| search | points | seconds | IGD | Δ | hypervolume | highest real | match, by outcome |", end="")
    print("\n|---|---|---|---|---|---|---|---|")
    start = time.perf_counter()
    allocation_front(view.quality, view.cost)
    _print_search("front", whole, whole, time.perf_counter() - start, along(front, rows.quality, rows.cost), rows, best)
    start = time.perf_counter()
    found = destroy_reconstruct(view.quality, view.cost)
    taken = time.perf_counter() - start
    points = np.column_stack([found.cost, found.quality])
    _print_search("destroy and reconstruct", whole, points, taken, _real(found.assignment, rows), rows, best)
    for title, seeded in (("NSGA-II", False), ("NSGA-II from single models and both ends", True)):
        for seed in range(SEEDS):
            start = time.perf_counter()
            assignment = nsga2(view, seed, seeded=seeded)
            taken = time.perf_counter() - start
            at = np.arange(len(rows))
            points = np.array([(view.cost[at, one].sum(), view.quality[at, one].mean()) for one in assignment])
            name = f"{title}, seed {seed}"
            _print_search(name, whole, points, taken, _real(assignment, rows), rows, best)


def _real(assignment: npt.NDArray[np.intp], rows: Answers) -> Floats:
    at = np.arange(len(rows))
    return np.array([(rows.cost[at, one].sum(), rows.quality[at, one].mean()) for one in assignment])


def _print_search(
    title: str, whole: Floats, points: Floats, taken: float, real: Floats, rows: Answers, best: int
) -> None:
    unit, others = scaled(whole, whole), scaled(points, whole)
    print(f"| {title} | {len(points):,} | {taken:.4f} | {inverted_generational_distance(others, unit):.4f}", end=" ")
    print(f"| {spread(others, unit):.2f} | {hypervolume(others, cost=1.0, quality=0.0):.4f}", end=" ")
    print(f"| {real[:, 1].max():.4f} | {_match(real, rows, best)} |", flush=True)


def nsga2(view: Predicted, seed: int, *, seeded: bool) -> npt.NDArray[np.intp]:
    """NSGA-II of pymoo with its operators for integers, a gene a query.

    Args:
        view: What is predicted.
        seed: Of the search.
        seeded: Whether the single models, the cheapest and the best assignment are in the first population.

    Returns:
        The non-dominated assignments of the last population, shape (k, n).
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.optimize import minimize

    n, m = view.quality.shape
    at = np.arange(n)

    class Assignment(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=n, n_obj=2, xl=0, xu=m - 1, vtype=int)

        def _evaluate(self, x: npt.NDArray[np.int64], out: dict[str, Floats], *args: object, **kwargs: object) -> None:
            out["F"] = np.column_stack([view.cost[at, x].sum(axis=1), -view.quality[at, x].mean(axis=1)])

    first = np.random.default_rng(seed).integers(0, m, (POPULATION, n))
    if seeded:
        first[:m] = np.arange(m)[:, None]
        first[m], first[m + 1] = view.cost.argmin(axis=1), view.quality.argmax(axis=1)
    repair = RoundingRepair()
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=first,
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=repair),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=repair),
        eliminate_duplicates=True,
    )
    found = minimize(Assignment(), algorithm, ("n_gen", GENERATIONS), seed=seed, verbose=False)
    return np.atleast_2d(found.X).astype(np.intp)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="validation", help="what ensembles are measured on"
    )
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if arguments.split == "validation":
        measure_time()
        measure_routerbench(arguments.data)
    measure_tables(arguments.data, arguments.split)


if __name__ == "__main__":
    main()
