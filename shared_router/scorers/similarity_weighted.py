"""Similarity-weighted ranking: for each query the models are rated again, battles over similar prompts counting more.

    raw = θ_large − θ_small,    θ = ratings of Bradley and Terry with battle weights w_i · γ^(1 + S_i)

S_i is the cosine between the query and the prompt of battle i (RouteLLM, Ong et al. 2024, arXiv 2406.18665, §4.2).
Where paper and code of RouteLLM differ:

- *Scale of S.* The code divides the cosines by the largest of them for this query, the paper by the training prompt's
  own largest, which is its cosine with itself, 1. Both are here, as ``scaling`` "query" and "none".
- *Sign.* The paper prints P(large wins) = 1 / (1 + e^(ξ_large − ξ_small)), which falls where the large model is better.
  The code has it the right way round, and so has this.
- *Tiers.* Models are merged into ten tiers, each rated as one. The code takes a battle within a tier for a battle of
  that tier against a rating of 0, an accident of how it fills its design matrix; here such battles are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.battle_memory import (
    BattleMemory,
    memory_from_state,
    pair_from_state,
    place_of,
    separating_tiers,
)
from shared_router.scorers.bradley_terry import ratings
from shared_router.scorers.query_vectors import QueryEncoder, encoder_from_state, encoder_state

__all__ = ["GAMMA", "TIERS", "Scaling", "SimilarityWeightedScorer"]

Floats = npt.NDArray[np.float64]

TIERS = 10
GAMMA = 10.0

Scaling = Literal["query", "none"]
"""What cosines are divided by: their largest for this query (RouteLLM's code), or nothing (its paper)."""

FULL_COSINE = 127.0**2
"""Dot product of two equal directions, up to rounding."""


class SimilarityWeightedScorer:
    """Difficulty from battles over similar prompts.

    Args:
        encoder: Texts → directions.
        memory: The battles.
        small: Name of the small model among the battles' models.
        large: Name of the large model.
        tiers: Tiers to merge the models into; more where the pair would share one.
        gamma: How much more a battle counts whose prompt is most similar, above 1.
        scaling: What cosines are divided by.

    Raises:
        ArtifactFormatError: The settings are out of range.
        OutcomeError: The battles know no such model.

    Attributes:
        tier: Tier of each model, 0 for the strongest, shape (m,).
        overall: Ratings of the tiers over all battles, whatever was asked, shape (number of tiers,).
    """

    kind: ClassVar[str] = "similarity_weighted"

    def __init__(
        self,
        encoder: QueryEncoder,
        memory: BattleMemory,
        small: str,
        large: str,
        *,
        tiers: int = TIERS,
        gamma: float = GAMMA,
        scaling: Scaling = "query",
    ) -> None:
        if tiers < 2 or not 1.0 < gamma < float("inf") or scaling not in ("query", "none"):
            raise ArtifactFormatError(
                f'tiers ≥ 2, finite gamma > 1, scaling "query" or "none"; got {tiers}, {gamma}, {scaling!r}'
            )
        self.encoder = encoder
        self.memory = memory
        self.small = small
        self.large = large
        self.tiers = tiers
        self.gamma = gamma
        self.scaling = scaling
        places = place_of(memory.models, small), place_of(memory.models, large)
        self.tier = separating_tiers(memory.ratings(), *places, tiers)
        self._small, self._large = (int(self.tier[place]) for place in places)
        self._size = int(self.tier.max()) + 1
        # floats of 24 bits hold the dot products of whole directions exactly, and are read twice as fast
        self._known = memory.directions.astype(np.float32)
        self._prompt, self._cell, self._mass = self._tier_wins()
        self.overall = ratings(self._wins(self._mass))

    def _tier_wins(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """What is to be weighted: for each prompt, which tier won how much against which; one entry a win."""
        memory = self.memory
        first, second = self.tier[memory.first], self.tier[memory.second]
        across, won = first != second, memory.won
        prompt, weight = memory.prompt.astype(np.int64), memory.weight.astype(np.float64)
        parts = []
        for winner, loser, share in ((first, second, won), (second, first, 1.0 - won)):
            some = across & (share > 0.0)
            parts.append((prompt[some], winner[some] * self._size + loser[some], (weight * share)[some]))
        prompts, cells, masses = (np.concatenate(column) for column in zip(*parts, strict=True))
        # the penalty of the ratings is in battles: a battle counts 1 on average
        return prompts, cells, masses / weight.mean()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that it knows."""
        return self.memory.models

    def ratings(self, direction: npt.NDArray[np.int8]) -> Floats:
        """Ratings of the tiers for one query.

        Args:
            direction: Of the query, shape (d,).

        Returns:
            Shape (number of tiers,).
        """
        cosine = (self._known @ direction.astype(np.float32)).astype(np.float64) / FULL_COSINE
        if self.scaling == "query":
            largest = float(cosine.max())
            # a query that resembles nothing: all battles count alike
            cosine = cosine / largest if largest > 0.0 else np.zeros_like(cosine)
        # γ^S: the other γ of γ^(1 + S) is the same for all battles
        weight = np.exp(np.log(self.gamma) * cosine)
        # in battles again, so that the penalty means the same for every query
        mass = self._mass * (weight / weight.mean())[self._prompt]
        return ratings(self._wins(mass), start=self.overall)

    def _wins(self, mass: Floats) -> Floats:
        wins = np.bincount(self._cell, weights=mass, minlength=self._size**2)
        return wins.astype(np.float64).reshape(self._size, self._size)

    def score(self, texts: Sequence[str]) -> Floats:
        """Raw difficulties: the logarithm of the odds that the large model's tier beats the small model's.

        Args:
            texts: n texts.

        Returns:
            Shape (n,); the same number for the same text in every batch, and on every machine up to the last bits,
            which the calibration rounds away.
        """
        return self.score_directions(self.encoder.directions(texts))

    def score_directions(self, directions: npt.NDArray[np.int8]) -> Floats:
        """The same from directions, shape (n, d)."""
        found = [self.ratings(direction) for direction in directions]
        return np.array([rated[self._large] - rated[self._small] for rated in found], dtype=np.float64)

    def sample_directions(self) -> npt.NDArray[np.int8]:
        """Directions of known prompts, by which to see how scores are spread, shape (p, d)."""
        return self.memory.directions

    def for_pair(self, small: str, large: str) -> SimilarityWeightedScorer:
        """The same for another pair of the battles' models; nothing is trained.

        Raises:
            OutcomeError: The battles know no such model.
        """
        return SimilarityWeightedScorer(
            self.encoder, self.memory, small, large, tiers=self.tiers, gamma=self.gamma, scaling=self.scaling
        )

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        encoder_config, encoder_tensors = encoder_state(self.encoder)
        config, tensors = self.memory.to_state()
        own: dict[str, JSON] = {
            "small": self.small,
            "large": self.large,
            "tiers": self.tiers,
            "gamma": self.gamma,
            "scaling": self.scaling,
        }
        return {**encoder_config, **config, **own}, {**encoder_tensors, **tensors}

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> SimilarityWeightedScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or do not fit each other.
        """
        encoder, memory = encoder_from_state(config, tensors), memory_from_state(config, tensors)
        small, large = pair_from_state(config)
        try:
            settings = int(cast("int", config["tiers"])), float(cast("float", config["gamma"]))
            scaling = cast("Scaling", config["scaling"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(encoder, memory, small, large, tiers=settings[0], gamma=settings[1], scaling=scaling)
