"""What an evaluation found, as frozen values that write themselves as JSON.

The JSON has these keys, in this order; a figure that is not defined on the data is null:

    format, format_version      "hybrid-llm-evaluation", 1
    about                       data, router, small_model, large_model, date, rows, groups, level, resamples, seed
    verdict                     word, text
    models                      small_quality, large_quality, gap: {estimate, low, high}; small_cost, large_cost: number
    figures                     what each key of ``metrics`` means
    scores                      one per score: name, title, metrics {key: {estimate, low, high}}, router_minus {key: …}
    knobs                       one per wish: what the router's curve said, and what its threshold did here
    tasks                       one per value of the column that was asked for: name, rows, metrics, router_minus_length
    within_tasks                the router's APGR when it gains nothing by telling the tasks apart
    calibration                 ece, floor, debiased, brier, brier_constant, bins; null if scores are no probabilities
    curves                      per score, at large shares 0, 0.01, … 1: pgr and drop, for the router with intervals
    histogram                   counts of queries by difficulty, 20 bins from the lowest to the highest
    notes                       what a reader has to know about these data, one sentence each

Shares, PGR and drops are fractions. ``router_minus`` holds paired intervals of the router's figure less that score's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal, cast

from shared_router.evaluation.metrics import Interval
from shared_router.evaluation.shortfall import Calibration
from shared_router.records import JSON

__all__ = [
    "COST_ADVANTAGES",
    "FIGURES",
    "FORMAT",
    "FORMAT_VERSION",
    "MAX_DROPS",
    "PGR_TARGETS",
    "About",
    "Curve",
    "Evaluation",
    "Histogram",
    "KnobResult",
    "Models",
    "ScoreResult",
    "TaskResult",
    "Verdict",
    "VerdictWord",
    "Wish",
]

FORMAT = "hybrid-llm-evaluation"
FORMAT_VERSION = 1

COST_ADVANTAGES = (0.1, 0.2, 0.4)
"""Where Hybrid LLM's tables state the drop."""

PGR_TARGETS = (0.5, 0.8)
"""Where RouteLLM's tables state the call-performance threshold."""

MAX_DROPS = (0.0, 0.01, 0.05)
"""Accepted losses at which the calls saved are stated; 1 % is Hybrid LLM's."""


def _percent(share: float) -> str:
    return f"{100 * share:g}"


FIGURES: Mapping[str, str] = {
    "apgr": "average performance gap recovered over all large shares; 0.5 is guessing (RouteLLM)",
    "over_random": "mean quality above a random router's at equal large share, over all shares; gap × (apgr − 0.5)",
    "auc": "area under the ROC curve of 'the small model falls short', ties 1/2; 0.5 is guessing",
    **{
        f"cpt_{_percent(target)}": f"smallest large share that recovers {_percent(target)} % of the gap (RouteLLM)"
        for target in PGR_TARGETS
    },
    **{
        f"drop_{_percent(kept)}": "relative loss against always large at a cost advantage, the share of calls sent to "
        f"the small model, of {_percent(kept)} % (Hybrid LLM)"
        for kept in COST_ADVANTAGES
    },
    **{
        f"gap_difference_{_percent(kept)}": "mean quality gap, small − large, of the queries sent to the small model "
        f"less that of the others, at a cost advantage of {_percent(kept)} % (Hybrid LLM §4.3)"
        for kept in COST_ADVANTAGES
    },
    **{
        f"saved_{_percent(lost)}": f"share of calls the small model can take at a relative loss of {_percent(lost)} %; "
        "read off these data, a best case"
        for lost in MAX_DROPS
    },
    **{
        f"ibc_lift_{_percent(kept)}": "benefit per cost above the line from small to large, relative to it, at a cost "
        f"advantage of {_percent(kept)} % (AutoMix)"
        for kept in COST_ADVANTAGES
    },
    "aiq": "mean quality of the non-decreasing hull between both models' costs, from 11 equal steps of the large share "
    "(RouterBench)",
}
"""What each figure means, by its key; the ``ibc_lift`` and ``aiq`` only where costs are known."""

VerdictWord = Literal["routing_pays", "use_length", "use_other", "use_small", "does_not_pay", "too_few"]


@dataclass(frozen=True, slots=True)
class About:
    """What was evaluated.

    Attributes:
        data: Name of the labelled prompts, for people.
        router: The router's id.
        small_model: Name of the small model.
        large_model: Name of the large model.
        date: ISO date of the evaluation; empty if nobody said.
        rows: Prompts.
        groups: Groups that were resampled as wholes; None where single prompts were.
        level: Coverage of all intervals.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.
    """

    data: str
    router: str
    small_model: str
    large_model: str
    date: str
    rows: int
    groups: int | None
    level: float
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True)
class Models:
    """The two models without routing: always small, always large.

    Attributes:
        small_quality: Mean quality of the small model.
        large_quality: Mean quality of the large model.
        gap: Large less small, paired.
        best: The better one on average: the best constant router.
        small_drop: Relative loss of always small against always large; None where always large has a mean of 0.
        small_cost: Mean cost of an answer; None where it is not known.
        large_cost: The large model's.
    """

    small_quality: Interval
    large_quality: Interval
    gap: Interval
    best: Literal["small", "large"]
    small_drop: Interval | None
    small_cost: float | None
    large_cost: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to route.

    Attributes:
        word: In a word.
        text: In plain sentences, with the evidence.
    """

    word: VerdictWord
    text: str


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What one score reaches.

    Attributes:
        name: "router", "random", "length", "oracle", or as the other score was named.
        title: In a few words.
        metrics: By the keys of ``FIGURES``; None where not defined on these data.
        router_minus: The router's figure less this one's, paired; empty for the router itself.
    """

    name: str
    title: str
    metrics: Mapping[str, Interval | None]
    router_minus: Mapping[str, Interval | None]


@dataclass(frozen=True, slots=True)
class Wish:
    """An operating point that was fixed before these data were seen.

    Attributes:
        label: What was wished, such as "quality 0.9".
        threshold: A query goes to the large model iff its difficulty ≥ threshold.
        large_share: The share that was measured where the threshold was chosen; None where nobody said.
        quality: The PGR measured there.
    """

    label: str
    threshold: float
    large_share: float | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class KnobResult:
    """What came of a wish.

    Attributes:
        wish: What was fixed beforehand.
        large_share: Share of these queries that goes to the large model.
        quality: PGR here; None without a gap.
        drop: Relative loss against always large; None where always large has a mean of 0.
        over_random: Mean quality above that of a random router which sends the same share to the large model.
    """

    wish: Wish
    large_share: Interval
    quality: Interval | None
    drop: Interval | None
    over_random: Interval | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The same on the queries of one task.

    Attributes:
        name: Value of the column.
        rows: Queries.
        small_quality: Mean quality of the small model.
        large_quality: Mean quality of the large model.
        metrics: ``apgr``, ``over_random`` and ``drop_20`` of the router.
        router_minus_length: ``over_random`` of the router less that of prompt length, paired.
    """

    name: str
    rows: int
    small_quality: float
    large_quality: float
    metrics: Mapping[str, Interval | None]
    router_minus_length: Interval | None


@dataclass(frozen=True, slots=True)
class Curve:
    """PGR and drop along the large share.

    Attributes:
        name: Which score.
        large_share: From 0 to 1, length m.
        pgr: Length m; None without a gap.
        drop: Length m; None where always large has a mean of 0.
        pgr_band: Lower and upper ends of pointwise intervals; None but for the router.
        drop_band: The same for the drop.
    """

    name: str
    large_share: tuple[float, ...]
    pgr: tuple[float, ...] | None
    drop: tuple[float, ...] | None
    pgr_band: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    drop_band: tuple[tuple[float, ...], tuple[float, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Queries by difficulty.

    Attributes:
        edges: Bin edges, length k + 1.
        short: Queries in each bin on which the small model falls short, length k.
        well: Queries in each bin on which it does not, length k.
    """

    edges: tuple[float, ...]
    short: tuple[int, ...]
    well: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A router on labelled prompts, beside the baselines.

    Attributes:
        about: What was evaluated.
        verdict: Whether to route.
        models: Always small, always large.
        scores: Random, prompt length, other scores, the router, the oracle.
        knobs: What fixed thresholds did.
        by: Column of ``tasks``; None where none was asked for.
        tasks: From the most frequent value on.
        within_tasks: APGR over single tasks, see ``evaluate``; None without tasks.
        random_deviation: Standard deviation of the APGR of one random router on these data; None without a gap.
        calibration: None where scores are no probabilities.
        curves: One a score.
        histogram: None where scores are no probabilities.
        notes: What a reader has to know about these data.
    """

    about: About
    verdict: Verdict
    models: Models
    scores: tuple[ScoreResult, ...]
    knobs: tuple[KnobResult, ...]
    by: str | None
    tasks: tuple[TaskResult, ...]
    within_tasks: Interval | None
    random_deviation: float | None
    calibration: Calibration | None
    curves: tuple[Curve, ...]
    histogram: Histogram | None
    notes: tuple[str, ...]

    def score(self, name: str) -> ScoreResult:
        """The result of one score.

        Raises:
            KeyError: There is none of that name.
        """
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)

    def to_json(self) -> dict[str, JSON]:
        """All of it as JSON values, which hold no NaN."""
        known = {key for score in self.scores for key in score.metrics}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **cast("dict[str, JSON]", _json(self)),
            "figures": {key: meaning for key, meaning in FIGURES.items() if key in known},
        }


def _json(value: object) -> JSON:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _json(held) for key, held in value.items()}
    if isinstance(value, tuple):
        return [_json(held) for held in value]
    if isinstance(value, float):
        # the sum makes a negative zero a plain one
        return round(value, 12) + 0.0 if math.isfinite(value) else None
    return cast("JSON", value)
