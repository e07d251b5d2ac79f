"""Outcomes of N experts → an expert router, and a report that says if it pays.

    outcomes ┬ learned from → clusters → mean outcomes of each cluster, shrunk → the best map under a budget ┐
             └ held out → beside the best single model, two models, guessing and the oracle → verdict ───────┴→ router

What is held out teaches nothing and chooses nothing. Prompts of one group stay on one side.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared_router.allocation import allocation_front
from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import Interval
from shared_router.evaluation.resampling import interval, resampled_weights
from shared_router.experts.clusters import UNKNOWN, Clusters
from shared_router.experts.router import ExpertRouter
from shared_router.records import JSON
from shared_router.tables.expert_outcomes import ExpertOutcomes
from shared_router.training.expert_clusters import Encoder, fit_clusters
from shared_router.training.fast_heads import METHODS, embedded_scorer, fitted, lesson_from

__all__ = [
    "SHRINKAGE",
    "ExpertMap",
    "ExpertReport",
    "System",
    "best_single",
    "cluster_means",
    "compared_systems",
    "expert_map",
    "fit_experts",
    "learned_router",
    "router_choices",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHRINKAGE = 50.0
"""Prompts of its own that a cluster needs before it is believed as much as the mean over all; fixed before any
measurement. Of 50 answers that are right or wrong, the mean is off by 7 points as often as not."""

HELD_OUT = 0.4
"""Share that is held out where the user does not say."""

MIN_ROWS = 100
"""Below, neither the clusters nor the verdict would mean anything."""

RESAMPLES = 2000
LEVEL = 0.95

MARGIN = 0.01
"""Loss of mean quality that counts as none where costs are compared; fixed before any measurement."""

SAVING = 0.05
"""Share of the cost that is worth a router; fixed before any measurement."""

TWO_MODEL_HEAD = "knn"

Verdict = Literal["better", "cheaper", "better_at_its_cost", "does_not_pay"]


@dataclass(frozen=True, slots=True)
class ExpertMap:
    """Whom each cluster goes to.

    Attributes:
        rankings: Experts of each cluster by number, best first, shape (k, m).
        overall: Experts by number, best overall first at the same price, shape (m,).
        price: Quality that one unit of cost has to bring; 0 where costs do not matter.
    """

    rankings: Ints
    overall: Ints
    price: float


def cluster_means(cluster: Ints, values: Floats, count: int, shrinkage: float = SHRINKAGE) -> Floats:
    """Mean of each cluster and expert, shrunk towards the expert's mean over all.

    (Σ values of the cluster + s · mean over all) / (prompts of the cluster + s): a cluster of n prompts keeps
    n / (n + s) of its difference. Experts share the prompts, so that differences between experts are shrunk alike.

    Args:
        cluster: Of each prompt, in [0, k), or ``UNKNOWN``, which counts for the mean over all only, shape (n,).
        values: Of each prompt and expert, shape (n, m).
        count: Clusters k.
        shrinkage: s, ≥ 0, in prompts.

    Returns:
        Shape (k, m).
    """
    if not shrinkage >= 0.0:
        raise OutcomeError(f"shrinkage is a number of prompts, at least 0, got {shrinkage!r}")
    overall = values.mean(axis=0)
    known = cluster != UNKNOWN
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, cluster[known], values[known])
    sizes = np.bincount(cluster[known], minlength=count)[:, None]
    # an empty cluster without shrinkage has nothing else to go by
    weight = np.where(sizes + shrinkage > 0.0, shrinkage, 1.0)
    means: Floats = (sums + weight * overall) / (sizes + weight)
    return means


def best_single(quality: Floats, cost: Floats, budget: float | None = None) -> int:
    """The expert with the best mean quality, of equally good ones the cheapest.

    Args:
        quality: Shape (n, m).
        cost: Shape (n, m).
        budget: Mean cost per prompt that it may have; None for any.

    Raises:
        OutcomeError: All cost more.
    """
    mean, price = quality.mean(axis=0), cost.mean(axis=0)
    affordable = np.flatnonzero(price <= (np.inf if budget is None else budget * (1.0 + 1e-9)))
    if not affordable.size:
        raise OutcomeError(f"a mean cost of {budget:g} is too small: the cheapest expert costs {price.min():g}")
    return int(affordable[np.lexsort((price[affordable], -mean[affordable]))[0]])


def expert_map(
    cluster: Ints,
    quality: Floats,
    cost: Floats,
    count: int,
    *,
    budget: float | None = None,
    shrinkage: float = SHRINKAGE,
) -> ExpertMap:
    """The best expert of each cluster for a mean cost.

    The clusters are the items of a multiple-choice knapsack (``shared_router.allocation``), weighed by how many
    prompts they have: its upper hull gives each cluster the expert with the highest quality − price · cost, at the
    lowest price that keeps the budget. Of equally good experts the cheaper one is taken.

    Args:
        cluster: Of each prompt, in [0, k), or ``UNKNOWN``, shape (n,).
        quality: Of each prompt and expert, shape (n, m).
        cost: The same; zeros where costs do not matter.
        count: Clusters k.
        budget: Mean cost per prompt; None for that of the best single expert, so that routing costs nothing extra.
        shrinkage: See ``cluster_means``.

    Raises:
        OutcomeError: The budget is below the cheapest expert's cost.
    """
    single = best_single(quality, cost, budget)
    limit = float(cost[:, single].mean()) if budget is None else budget
    means, costs = cluster_means(cluster, quality, count, shrinkage), cluster_means(cluster, cost, count, shrinkage)
    sizes = np.bincount(cluster[cluster != UNKNOWN], minlength=count) + 1.0
    share = (sizes / sizes.sum())[:, None]
    front = allocation_front(count * share * means, share * costs)
    affordable = np.flatnonzero(front.cost <= limit * (1.0 + 1e-9))
    chosen = np.full(count, single)
    price = 0.0
    if affordable.size:
        point = int(affordable[-1])
        # between two points of the hull, the best single expert may still be better than the one below it
        if front.quality[point] >= float((share[:, 0] * means[:, single]).sum()):
            chosen = front.assignment(point)
        if point < len(front) - 1:
            price = float(np.diff(front.quality)[point] / np.diff(front.cost)[point])
    worth, overall = means - price * costs, quality.mean(axis=0) - price * cost.mean(axis=0)
    rankings = np.array([_order(worth[row], costs[row], first) for row, first in enumerate(chosen.tolist())])
    return ExpertMap(rankings, _order(overall, cost.mean(axis=0), single), price)


def _order(worth: Floats, cost: Floats, first: int) -> Ints:
    rest = [expert for expert in np.lexsort((cost, -worth)).tolist() if expert != first]
    return np.array([first, *rest], dtype=np.int64)


def learned_router(
    clusters: Clusters,
    outcomes: ExpertOutcomes,
    *,
    budget: float | None = None,
    shrinkage: float = SHRINKAGE,
    name: str = "experts",
) -> ExpertRouter:
    """Clusters and outcomes → a router.

    Args:
        clusters: The classifier.
        outcomes: Of all experts.
        budget: See ``expert_map``.
        shrinkage: See ``cluster_means``.
        name: A short name for people.
    """
    assigned = clusters.assign(outcomes.prompts).cluster
    found = expert_map(assigned, outcomes.quality, outcomes.cost, len(clusters), budget=budget, shrinkage=shrinkage)
    names = outcomes.experts
    return ExpertRouter(
        clusters=clusters,
        rankings=tuple(tuple(names[expert] for expert in ranking) for ranking in found.rankings.tolist()),
        otherwise=tuple(names[expert] for expert in found.overall.tolist()),
        name=name,
    )


@dataclass(frozen=True, slots=True)
class System:
    """One way to answer the held-out prompts.

    Attributes:
        name: In a few words.
        quality: Mean quality.
        cost: Mean cost of a prompt; 0 where nobody knows.
        over_single: Mean quality less the best single model's, with its 95 % bootstrap interval; None for that itself.
        over_mix: The same less that of single models mixed at random at its cost; None but for the router.
    """

    name: str
    quality: float
    cost: float
    over_single: Interval | None
    over_mix: Interval | None = None


@dataclass(frozen=True, slots=True)
class ExpertReport:
    """What came of fitting an expert router.

    Attributes:
        learned: Prompts it was learned from.
        held_out: Prompts it was measured on.
        single: The best single expert, chosen on what was learned from.
        systems: The router and what it is compared with, on what was held out.
        shares: Share of the held-out prompts that each expert gets.
        sizes: Learned prompts of each cluster.
        verdict: "better" where the router's quality is higher than the best single expert's at no more cost; "cheaper"
            where it is no lower (by more than ``MARGIN``) at a cost lower by ``SAVING``; "better_at_its_cost" where it
            is higher than that of single experts mixed at random at the router's cost; each beyond chance, the first
            that holds. Else "does_not_pay".
        advice: In a sentence.
        router: What to save.
    """

    learned: int
    held_out: int
    single: str
    systems: tuple[System, ...]
    shares: dict[str, float]
    sizes: tuple[int, ...]
    verdict: Verdict
    advice: str
    router: ExpertRouter


def fit_experts(
    outcomes: ExpertOutcomes,
    *,
    clusters: int = 16,
    encoder: Encoder = "words",
    balanced: bool = False,
    budget: float | None = None,
    shrinkage: float = SHRINKAGE,
    held_out: float = HELD_OUT,
    seed: int = 0,
    name: str = "experts",
    advance: Callable[[str], None] | None = None,
) -> ExpertReport:
    """Fit an expert router and measure it.

    Args:
        outcomes: Of all experts.
        clusters: How many.
        encoder: "words" or "embedded"; see ``fit_clusters``.
        balanced: See ``fit_clusters``.
        budget: Mean cost per prompt; None for that of the best single expert.
        shrinkage: See ``cluster_means``.
        held_out: Share of the groups that is held out, in (0, 1).
        seed: Same outcomes and seed, same router.
        name: A short name for people, which stands in every decision.
        advance: Told the title of each step before it begins.

    Raises:
        OutcomeError: Too few prompts, or a setting that does not fit.
        MissingExtraError: scikit-learn is not installed.
    """
    tell = advance or (lambda title: None)
    learned, test = _split(outcomes, held_out, seed)
    tell("clustering")
    classifier = fit_clusters(learned.prompts, clusters, encoder=encoder, balanced=balanced, seed=seed)
    router = learned_router(classifier, learned, budget=budget, shrinkage=shrinkage, name=name)
    tell("measuring")
    single = best_single(learned.quality, learned.cost)
    chosen = router_choices(router, test)
    systems = compared_systems(learned, test, chosen, single, seed=seed)
    verdict = _verdict(systems)
    shares = np.bincount(chosen, minlength=len(test.experts)) / len(test)
    assigned = classifier.assign(learned.prompts).cluster
    report = ExpertReport(
        learned=len(learned),
        held_out=len(test),
        single=outcomes.experts[single],
        systems=systems,
        shares=dict(zip(test.experts, shares.tolist(), strict=True)),
        sizes=tuple(np.bincount(assigned[assigned != UNKNOWN], minlength=clusters).tolist()),
        verdict=verdict,
        advice=_advice(verdict, outcomes.experts[single], systems, with_costs=outcomes.has_costs),
        router=router,
    )
    return replace(
        report, router=replace(router, metadata=_metadata(report, encoder, balanced, budget, shrinkage, seed))
    )


def _split(outcomes: ExpertOutcomes, share: float, seed: int) -> tuple[ExpertOutcomes, ExpertOutcomes]:
    if not 0.0 < share < 1.0:
        raise OutcomeError(f"the share that is held out lies between 0 and 1, got {share!r}")
    names, group = np.unique(outcomes.groups, return_inverse=True)
    kept_back = (np.random.default_rng(seed).permutation(len(names)) < round(share * len(names)))[group.reshape(-1)]
    if len(outcomes) < MIN_ROWS or not kept_back.any() or kept_back.all():
        raise OutcomeError(
            f"{len(outcomes)} prompts in {len(names)} groups are too few to learn from and to measure on; {MIN_ROWS} "
            "prompts are the least, 1,000 are a start"
        )
    return outcomes.part(np.flatnonzero(~kept_back)), outcomes.part(np.flatnonzero(kept_back))


def router_choices(router: ExpertRouter, outcomes: ExpertOutcomes) -> Ints:
    """The expert of each prompt where all have time, by number, shape (n,)."""
    place = {name: number for number, name in enumerate(outcomes.experts)}
    return np.array([place[ranked.experts[0]] for ranked in router.rank(outcomes.prompts)], dtype=np.int64)


def compared_systems(
    learned: ExpertOutcomes,
    test: ExpertOutcomes,
    chosen: Ints,
    single: int,
    *,
    seed: int = 0,
    name: str = "expert router",
) -> tuple[System, ...]:
    """The router beside what it has to beat.

    Args:
        learned: What the router learned from, and the two-model router learns from.
        test: What it is measured on.
        chosen: The router's expert for each test prompt, by number, shape (n,).
        single: The best single expert, by number.
        seed: Of the bootstrap.
        name: What the router is called.

    Returns:
        The best single expert; the router; single experts mixed at random at the router's cost; the two experts that it
        uses most, routed by nearest neighbours at its cost (where their costs differ); a random expert; and the oracle,
        which knows the outcomes and takes the cheapest of the best.
    """
    rows = np.arange(len(test))
    price = test.cost.mean(axis=0)
    oracle = np.array([np.lexsort((price, -quality))[0] for quality in test.quality])
    routed = (test.quality[rows, chosen], test.cost[rows, chosen])
    mix = _mixed(learned, test, float(routed[1].mean()))
    ways: dict[str, tuple[Floats, Floats]] = {
        f"best single: {test.experts[single]}": (test.quality[:, single], test.cost[:, single]),
        name: routed,
        **({"single experts mixed at its cost": mix} if mix is not None else {}),
        **_two_models(learned, test, chosen, seed),
        "random expert": (test.quality.mean(axis=1), test.cost.mean(axis=1)),
        "oracle": (test.quality[rows, oracle], test.cost[rows, oracle]),
    }
    systems = []
    for place, (title, (quality, cost)) in enumerate(ways.items()):
        over = _over(quality - test.quality[:, single], test.groups, seed) if place else None
        over_mix = _over(quality - mix[0], test.groups, seed) if place == 1 and mix is not None else None
        systems.append(System(title, float(quality.mean()), float(cost.mean()), over, over_mix))
    return tuple(systems)


def _mixed(learned: ExpertOutcomes, test: ExpertOutcomes, cost: float) -> tuple[Floats, Floats] | None:
    """Two single experts, each for a share of the prompts at random, at a mean cost: expected quality and cost.

    The two are neighbours on the upper hull of what single experts cost and make where the router learned.
    """
    hull = allocation_front(learned.quality.mean(axis=0)[None], learned.cost.mean(axis=0)[None])
    experts = [int(hull.assignment(point)[0]) for point in range(len(hull))]
    costs = test.cost[:, experts].mean(axis=0)
    if len(experts) < 2 or not (np.diff(costs) > 0.0).all():
        return None
    upper = min(max(int(np.searchsorted(costs, cost)), 1), len(experts) - 1)
    share = min(max((cost - costs[upper - 1]) / (costs[upper] - costs[upper - 1]), 0.0), 1.0)
    low, high = experts[upper - 1], experts[upper]
    return (
        (1.0 - share) * test.quality[:, low] + share * test.quality[:, high],
        (1.0 - share) * test.cost[:, low] + share * test.cost[:, high],
    )


def _two_models(
    learned: ExpertOutcomes, test: ExpertOutcomes, chosen: Ints, seed: int
) -> dict[str, tuple[Floats, Floats]]:
    """The two experts that the router uses most, routed by nearest neighbours.

    The share of the dearer one is such that both routers cost the same on the test prompts.
    """
    used = np.bincount(chosen, minlength=len(test.experts))
    pair = np.argsort(-used, kind="stable")[:2]
    small, large = pair[np.argsort(test.cost[:, pair].mean(axis=0), kind="stable")].tolist()
    rows = np.arange(len(test))
    cost = float(test.cost[rows, chosen].mean())
    low, high = float(test.cost[:, small].mean()), float(test.cost[:, large].mean())
    if not used[pair].all() or not low < high:
        return {}
    share = min(max((cost - low) / (high - low), 0.0), 1.0)
    embedded = embedded_scorer()
    lesson = lesson_from(
        embedded, learned.prompts, learned.quality[:, small], learned.quality[:, large], learned.groups
    )
    scores = fitted(lesson, METHODS[TWO_MODEL_HEAD], seed).scorer(embedded).score(test.prompts)
    is_large = np.zeros(len(test), dtype=bool)
    is_large[np.argsort(-scores, kind="stable")[: round(share * len(test))]] = True
    picked = np.where(is_large, large, small)
    title = f"two models at its cost: {test.experts[small]}, {test.experts[large]}"
    return {title: (test.quality[rows, picked], test.cost[rows, picked])}


def _over(difference: Floats, groups: Ints, seed: int) -> Interval | None:
    draws = [
        weights @ difference / weights.sum(axis=1)
        for weights in resampled_weights(len(difference), groups=groups.tolist(), resamples=RESAMPLES, seed=seed)
    ]
    return interval(float(difference.mean()), np.concatenate(draws), LEVEL)


def _verdict(systems: tuple[System, ...]) -> Verdict:
    single, router = systems[0], systems[1]
    over = router.over_single
    if over is None:
        return "does_not_pay"
    if over.low > 0.0 and router.cost <= single.cost * (1.0 + MARGIN):
        return "better"
    if over.low > -MARGIN and router.cost <= single.cost * (1.0 - SAVING):
        return "cheaper"
    if router.over_mix is not None and router.over_mix.low > 0.0:
        return "better_at_its_cost"
    return "does_not_pay"


def _advice(verdict: Verdict, single: str, systems: tuple[System, ...], *, with_costs: bool) -> str:
    router, over = systems[1], systems[1].over_single
    found = "" if over is None else f"{over.estimate:+.3f} [{over.low:+.3f}, {over.high:+.3f}] of mean quality"
    if verdict == "better":
        at = " at no more cost" if with_costs else ""
        return f"The expert router pays: {found} over {single} for everything{at}."
    if verdict == "cheaper":
        saved = 1.0 - router.cost / systems[0].cost
        return f"The expert router pays: {saved:.0%} cheaper than {single} for everything, at {found}."
    if verdict == "better_at_its_cost" and router.over_mix is not None:
        more = router.over_mix
        return (
            f"The expert router pays if its cost is what you want to spend: {more.estimate:+.3f} [{more.low:+.3f}, "
            f"{more.high:+.3f}] of mean quality over single experts mixed at random at that cost ({found} over "
            f"{single} for everything)."
        )
    return (
        f"The expert router does not pay on this data: use {single} for everything ({found} is not shown to be "
        "better, nor as good for less). Experts pay where they differ in what they are good at: more prompts may show "
        "it, other experts may have it. Limits and spill serve load all the same."
    )


def _metadata(
    report: ExpertReport, encoder: str, balanced: bool, budget: float | None, shrinkage: float, seed: int
) -> dict[str, JSON]:
    return {
        "date": datetime.date.today().isoformat(),
        "learned_prompts": report.learned,
        "held_out_prompts": report.held_out,
        "encoder": encoder,
        "balanced": balanced,
        "budget": budget,
        "shrinkage": shrinkage,
        "seed": seed,
        "verdict": report.verdict,
        "cluster_sizes": list(report.sizes),
        "systems": [
            {
                "name": system.name,
                "quality": system.quality,
                "cost": system.cost,
                **(
                    {"over_single": [over.estimate, over.low, over.high]}
                    if (over := system.over_single) is not None
                    else {}
                ),
            }
            for system in report.systems
        ],
    }
