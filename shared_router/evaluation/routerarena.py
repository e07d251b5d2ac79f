"""RouterArena's score, and a router's decisions in the form in which its leaderboard takes them.

Lu et al. 2025 (arXiv 2510.00202), repository RouteWorks/RouterArena (Apache-2.0), as read on 2026-11-25:

    score        llm_evaluation/run.py, ``compute_arena_score``: S = (1 + β)·A·C / (β·A + C), β = 0.1, A the accuracy
                 and C = (log2 200 − log2 cost) / (log2 200 − log2 0.0044), cost in dollars per 1,000 queries; in its
                 later version, which first clips the cost to that range
    robustness   global_utils/robustness.py, ``compute_robustness_score``: one less the share of flipped decisions
    predictions  router_inference/generate_prediction_file.py and check_config_prediction_files.py: a JSON list with
                 "global index", "prompt" and "prediction"; for the public tenth ("sub_10") the other models once more,
                 marked ``for_optimality``
    config       router_inference/config/*.json: ``pipeline_params`` with "router_name" and "models"

The answers are then generated and judged by RouterArena's own programs. Its optimality figures are not computed here:
they need the answers of all models. RouterArena is for evaluation only: nothing may be trained or tuned on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared_router.errors import OutcomeError
from shared_router.knob import DEFAULT_KNOB, Knob
from shared_router.records import JSON
from shared_router.router import Router

__all__ = [
    "ArenaQuery",
    "arena_config",
    "arena_predictions",
    "arena_robustness",
    "arena_score",
    "read_arena_queries",
]

BETA = 0.1
DEAREST, CHEAPEST = 200.0, 0.0044

INDEX, PREDICTION = "global index", "prediction"


@dataclass(frozen=True, slots=True)
class ArenaQuery:
    """One query of RouterArena's data.

    Attributes:
        index: Its "global index".
        prompt: What the model is asked, as its data have it.
    """

    index: str
    prompt: str


def arena_score(accuracy: float, cost_per_1000: float, *, beta: float = BETA) -> float:
    """RouterArena's score of accuracy and cost.

    Args:
        accuracy: Share of queries answered correctly, in [0, 1].
        cost_per_1000: Dollars per 1,000 queries, > 0.
        beta: Weight of the accuracy against the cost; the leaderboard's is 0.1.

    Returns:
        In [0, 1]; the leaderboard prints it times 100.

    Raises:
        OutcomeError: Values out of range.
    """
    # written so that NaN fails them
    if not 0.0 <= accuracy <= 1.0:
        raise OutcomeError(f"accuracy is a share from 0 to 1, got {accuracy!r}")
    if not (cost_per_1000 > 0.0 and beta > 0.0):
        raise OutcomeError(f"cost per 1,000 queries and beta are above 0, got {cost_per_1000!r} and {beta!r}")
    within = min(max(cost_per_1000, CHEAPEST), DEAREST)
    thrift = (math.log2(DEAREST) - math.log2(within)) / (math.log2(DEAREST) - math.log2(CHEAPEST))
    weight = beta * accuracy + thrift
    return (1.0 + beta) * accuracy * thrift / weight if weight > 0.0 else 0.0


def read_arena_queries(path: str | Path) -> tuple[ArenaQuery, ...]:
    """The queries of one of RouterArena's data files (``router_data.json``, ``router_data_10.json``, …).

    Args:
        path: A JSON list; of each entry "global index" and "prompt_formatted", else "prompt", are read.

    Raises:
        OutcomeError: The file cannot be read, or an entry lacks one of the two, or stands there twice.
    """
    file = Path(path)
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OutcomeError(f"{file} cannot be read as JSON ({error})") from error
    if not isinstance(entries, list):
        raise OutcomeError(f"{file} holds {type(entries).__name__}; RouterArena's data are a list of queries")
    queries = tuple(_query(file, place, entry) for place, entry in enumerate(entries, start=1))
    if len({query.index for query in queries}) < len(queries):
        raise OutcomeError(f"{file} has a global index twice; predictions could not be told apart")
    return queries


def _query(file: Path, place: int, entry: object) -> ArenaQuery:
    if isinstance(entry, dict):
        index, prompt = entry.get(INDEX), entry.get("prompt_formatted") or entry.get("prompt")
        if isinstance(index, str) and index and isinstance(prompt, str) and prompt:
            return ArenaQuery(index, prompt)
    raise OutcomeError(f'{file}, entry {place}: no "{INDEX}" or no prompt; is it one of RouterArena\'s data files?')


def arena_predictions(
    router: Router,
    queries: Sequence[ArenaQuery],
    *,
    small_model: str,
    large_model: str,
    knob: Knob = DEFAULT_KNOB,
    optimality: Collection[str] = (),
) -> list[dict[str, JSON]]:
    """The router's decisions in RouterArena's form; write them with ``json.dump``.

    Args:
        router: Decides by the query's text.
        queries: From ``read_arena_queries``.
        small_model: RouterArena's name of the small model.
        large_model: Its name of the large model.
        knob: The wish that holds for all.
        optimality: Global indices of the public tenth, for which the model that was not chosen is listed too.

    Raises:
        OutcomeError: Both models have one name.
        KnobError: The router cannot grant the knob.
    """
    models = _two(small_model, large_model)
    decisions = router.route_many([query.prompt for query in queries], [knob] * len(queries))
    chosen = [models[decision.target == "large"] for decision in decisions]
    others = [
        _entry(query, models[model == small_model], optimality=True)
        for query, model in zip(queries, chosen, strict=True)
        if query.index in optimality
    ]
    return [
        *(_entry(query, model, optimality=False) for query, model in zip(queries, chosen, strict=True)),
        *others,
    ]


def arena_config(name: str, *, small_model: str, large_model: str) -> dict[str, JSON]:
    """The config file that belongs to predictions.

    Args:
        name: The router's name on the leaderboard, and of both files.
        small_model: RouterArena's name of the small model.
        large_model: Its name of the large model.

    Raises:
        OutcomeError: Both models have one name.
    """
    return {"pipeline_params": {"router_name": name, "models": list(_two(small_model, large_model))}}


def _two(small_model: str, large_model: str) -> tuple[str, str]:
    if small_model == large_model:
        raise OutcomeError(f"both models are called {small_model!r}; between them nothing can be routed")
    return small_model, large_model


def _entry(query: ArenaQuery, model: str, *, optimality: bool) -> dict[str, JSON]:
    return {
        INDEX: query.index,
        "prompt": query.prompt,
        PREDICTION: model,
        # filled in by RouterArena's inference and evaluation
        "generated_result": None,
        "cost": None,
        "accuracy": None,
        "for_optimality": optimality,
    }


def arena_robustness(
    predictions: Sequence[Mapping[str, JSON]], perturbed: Sequence[Mapping[str, JSON]]
) -> float | None:
    """Share of queries on which a changed wording changes nothing of the decision.

    Args:
        predictions: From ``arena_predictions`` on the queries.
        perturbed: The same on their robustness variants, which have the same indices.

    Returns:
        In [0, 1]; None if no index is in both.
    """
    chosen = {entry[INDEX]: entry[PREDICTION] for entry in predictions if not entry.get("for_optimality")}
    pairs = [(chosen[entry[INDEX]], entry[PREDICTION]) for entry in perturbed if entry[INDEX] in chosen]
    if not pairs:
        return None
    return sum(before == after for before, after in pairs) / len(pairs)
