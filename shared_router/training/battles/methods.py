"""The three ways to learn from battles, and what held-out battles say of each.

Matrix factorisation keeps the factors that were stopped by the held-out battles; the other two, which fit nothing, take
the held-out battles into their memory afterwards.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from shared_router.errors import HybridError, OutcomeError
from shared_router.evaluation.metrics import Interval
from shared_router.scorers import Scorer
from shared_router.scorers.battle_memory import BattleMemory
from shared_router.scorers.battle_neighbours import NEIGHBOURS, BattleNeighboursScorer
from shared_router.scorers.bradley_terry import ratings, win_matrix
from shared_router.scorers.matrix_factorization import MatrixFactorizationScorer
from shared_router.scorers.query_vectors import QueryEncoder
from shared_router.scorers.similarity_weighted import GAMMA, TIERS, Scaling, SimilarityWeightedScorer
from shared_router.tables.battles import Battles
from shared_router.training.battles.factorization import FactorizationSettings, fit_factors, log_loss

__all__ = [
    "LEARNERS",
    "MAX_BATTLES",
    "METHODS",
    "SAMPLE",
    "BattleLesson",
    "BattleScorer",
    "HeldOut",
    "LearnMethod",
    "LearnSettings",
    "lesson_of",
    "memory_of",
    "overall_ratings",
    "split_by_prompt",
]

Floats = npt.NDArray[np.float64]

LearnMethod: TypeAlias = Literal["mf", "sw", "knn"]
METHODS: tuple[LearnMethod, ...] = get_args(LearnMethod)

MAX_BATTLES = 100_000
"""Battles that an artifact of sw or knn holds; of more, a random part is kept. 100,000 take some 8 MB."""

SAMPLE = 500
"""Prompts on which the spread of scores is measured."""

HELD_OUT_SHARE = 0.05
"""Of the prompts, as in RouteLLM's training script."""

HELD_OUT_LEAST = 100
"""Prompts that are held out at least, but no more than a fifth."""

JUDGED_PROMPTS = 500
"""Held-out prompts on which the gain of the text is measured; sw takes some milliseconds for each."""

RESAMPLES = 1000


@runtime_checkable
class BattleScorer(Scorer, Protocol):
    """A scorer that was learned from battles, and serves any pair of their models."""

    small: str
    large: str

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that it knows."""
        ...

    def score_directions(self, directions: npt.NDArray[np.int8]) -> Floats:
        """Raw difficulties of directions, shape (n, d)."""
        ...

    def sample_directions(self) -> npt.NDArray[np.int8]:
        """Directions of prompts by which to see how scores are spread."""
        ...

    def for_pair(self, small: str, large: str) -> BattleScorer:
        """The same for another pair."""
        ...


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How a router is learned.

    Attributes:
        method: "mf" (matrix factorisation), "sw" (similarity-weighted ranking) or "knn" (nearest battles).
        tiers: Tiers into which sw and knn merge the models, ≥ 2.
        gamma: How much more sw lets the most similar battles count, > 1.
        scaling: What sw divides cosines by.
        neighbours: Battles that knn asks, ≥ 1.
        factorization: How mf learns; its seed is replaced by the call's.
    """

    method: LearnMethod = "mf"
    tiers: int = TIERS
    gamma: float = GAMMA
    scaling: Scaling = "query"
    neighbours: int = NEIGHBOURS
    factorization: FactorizationSettings = field(default_factory=FactorizationSettings)

    def __post_init__(self) -> None:
        """Reject a method that there is not.

        Raises:
            HybridError: The method is none of ``METHODS``.
            OutcomeError: A number is out of range.
        """
        if self.method not in METHODS:
            near = difflib.get_close_matches(str(self.method), METHODS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise HybridError(f"unknown method {self.method!r}{hint} (there are: {', '.join(METHODS)})")
        if self.tiers < 2 or not 1.0 < self.gamma < float("inf") or self.neighbours < 1:
            raise OutcomeError(
                f"tiers ≥ 2, finite gamma > 1 and neighbours ≥ 1, got {self.tiers}, {self.gamma} and {self.neighbours}"
            )


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well winners of battles over unseen prompts are foretold.

    Attributes:
        battles: How many; of sw those between tiers, of knn those between the tiers of the pair.
        loss: Mean negative log likelihood with the prompt's text.
        constant_loss: The same by the models' (or tiers') overall ratings alone.
        gain: ``constant_loss − loss`` with its 95 % interval, prompts resampled: above 0 where the text tells
            something.
    """

    battles: int
    loss: float
    constant_loss: float
    gain: Interval


@dataclass(frozen=True, slots=True)
class BattleLesson:
    """What a method learns from.

    Attributes:
        whole: All battles.
        learned: Those that are learned from at first.
        held_out: The others, over other prompts.
        directions: Of all prompts, shape (p, d).
        encoder: Made the directions.
        pair: Names of the small and the large model.
        seed: Of all that is random.
    """

    whole: Battles
    learned: Battles
    held_out: Battles
    directions: npt.NDArray[np.int8]
    encoder: QueryEncoder
    pair: tuple[str, str]
    seed: int


def split_by_prompt(battles: Battles, seed: int) -> tuple[Battles, Battles]:
    """Battles to learn from, and battles over other prompts.

    Args:
        battles: All.
        seed: Same seed, same parts.
    """
    asked = np.unique(battles.prompt)
    count = max(int(HELD_OUT_SHARE * len(asked)), min(len(asked) // 5, HELD_OUT_LEAST))
    chosen = np.zeros(len(battles.prompts), dtype=np.bool_)
    chosen[np.random.default_rng(seed).permutation(asked)[:count]] = True
    return battles.part(~chosen[battles.prompt]), battles.part(chosen[battles.prompt])


def memory_of(battles: Battles, directions: npt.NDArray[np.int8], seed: int = 0) -> BattleMemory:
    """Battles as an artifact keeps them.

    Args:
        battles: At least one.
        directions: Of their prompts, shape (p, d).
        seed: Which part is kept of more than ``MAX_BATTLES``.
    """
    if len(battles) > MAX_BATTLES:
        battles = battles.part(np.sort(np.random.default_rng(seed).permutation(len(battles))[:MAX_BATTLES]))
    asked, prompt = np.unique(battles.prompt, return_inverse=True)
    return BattleMemory(
        models=battles.models,
        directions=directions[asked],
        prompt=prompt.astype(np.int32),
        first=battles.first.astype(np.int16),
        second=battles.second.astype(np.int16),
        halves=np.rint(2.0 * battles.won).astype(np.int8),
        weight=battles.weight.astype(np.float32),
    )


def lesson_of(
    battles: Battles, directions: npt.NDArray[np.int8], encoder: QueryEncoder, pair: tuple[str, str], seed: int
) -> BattleLesson:
    """Battles with a part of them held out.

    Args:
        battles: All.
        directions: Of their prompts, shape (p, d).
        encoder: Made the directions.
        pair: Names of the small and the large model.
        seed: Of all that is random.
    """
    return BattleLesson(battles, *split_by_prompt(battles, seed), directions, encoder, pair, seed)


def overall_ratings(battles: Battles) -> Floats:
    """Rating of each model, whatever was asked, shape (m,)."""
    return ratings(win_matrix(battles.first, battles.second, battles.won, battles.weight, len(battles.models)))


def _by_factors(
    lesson: BattleLesson, settings: LearnSettings, tell: Callable[[str], None]
) -> tuple[BattleScorer, HeldOut | None]:
    how = replace(settings.factorization, seed=lesson.seed)
    fitted = fit_factors(
        lesson.directions, lesson.learned, lesson.held_out, how, advance=lambda epoch: tell(f"epoch {epoch}")
    )
    prompts = np.unique(lesson.held_out.prompt)[:SAMPLE]
    scorer = MatrixFactorizationScorer(lesson.encoder, fitted.factors, *lesson.pair, lesson.directions[prompts])
    judged = lesson.held_out if how.ties == "half" else lesson.held_out.part(lesson.held_out.won != 0.5)
    row, strengths = np.arange(len(judged)), fitted.factors.strengths(lesson.directions[judged.prompt])
    rated = overall_ratings(lesson.learned)
    with_text = strengths[row, judged.first] - strengths[row, judged.second]
    return scorer, _compared(judged, with_text, rated[judged.first] - rated[judged.second], lesson.seed)


def _by_ranking(
    lesson: BattleLesson, settings: LearnSettings, tell: Callable[[str], None]
) -> tuple[BattleScorer, HeldOut | None]:
    def made(battles: Battles) -> SimilarityWeightedScorer:
        memory = memory_of(battles, lesson.directions, lesson.seed)
        return SimilarityWeightedScorer(
            lesson.encoder,
            memory,
            *lesson.pair,
            tiers=settings.tiers,
            gamma=settings.gamma,
            scaling=settings.scaling,
        )

    tell("rating models for held-out prompts")
    before, battles = made(lesson.learned), lesson.held_out
    first, second = before.tier[battles.first], before.tier[battles.second]
    prompts = np.unique(battles.prompt)[:JUDGED_PROMPTS]
    rows = np.flatnonzero((first != second) & np.isin(battles.prompt, prompts))
    rated = np.array([before.ratings(lesson.directions[prompt]) for prompt in prompts.tolist()])
    row = np.searchsorted(prompts, battles.prompt[rows])
    with_text = rated[row, first[rows]] - rated[row, second[rows]]
    constant = before.overall[first[rows]] - before.overall[second[rows]]
    return made(lesson.whole), _compared(battles.part(rows), with_text, constant, lesson.seed)


def _by_neighbours(
    lesson: BattleLesson, settings: LearnSettings, tell: Callable[[str], None]
) -> tuple[BattleScorer, HeldOut | None]:
    def made(battles: Battles) -> BattleNeighboursScorer:
        memory = memory_of(battles, lesson.directions, lesson.seed)
        return BattleNeighboursScorer(
            lesson.encoder, memory, *lesson.pair, tiers=settings.tiers, neighbours=settings.neighbours
        )

    tell("asking the neighbours of held-out prompts")
    before, battles = made(lesson.learned), lesson.held_out
    small, large = (before.tier[battles.models.index(name)] for name in lesson.pair)
    first, second = before.tier[battles.first], before.tier[battles.second]
    forward, backward = (first == large) & (second == small), (first == small) & (second == large)
    rows = np.flatnonzero(forward | backward)
    sign = np.where(forward[rows], 1.0, -1.0)
    scores = before.score_directions(lesson.directions[battles.prompt[rows]])
    constant = np.log(before.share / (1.0 - before.share))
    return made(lesson.whole), _compared(battles.part(rows), sign * scores, sign * constant, lesson.seed)


def _compared(battles: Battles, with_text: Floats, constant: Floats, seed: int) -> HeldOut | None:
    if not len(battles):
        return None
    loss, constant_loss = (log_loss(logits, battles.won) for logits in (with_text, constant))
    _, prompt = np.unique(battles.prompt, return_inverse=True)
    gained = np.bincount(prompt, weights=battles.weight * (constant_loss - loss))
    weight = np.bincount(prompt, weights=battles.weight)
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(0, len(weight), len(weight))
        means.append(gained[drawn].sum() / weight[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return HeldOut(
        battles=len(battles),
        loss=float(np.average(loss, weights=battles.weight)),
        constant_loss=float(np.average(constant_loss, weights=battles.weight)),
        gain=Interval(float(gained.sum() / weight.sum()), float(low), float(high)),
    )


Learner: TypeAlias = Callable[[BattleLesson, LearnSettings, Callable[[str], None]], tuple[BattleScorer, HeldOut | None]]

LEARNERS: dict[LearnMethod, Learner] = {"mf": _by_factors, "sw": _by_ranking, "knn": _by_neighbours}
"""Method → lesson, settings and who is told of each step → scorer, and what held-out battles say of it."""
