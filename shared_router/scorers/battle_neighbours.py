"""How often the large model's tier won the k most similar battles with the small model's tier.

    raw = log (W + a·r) − log (L + a·(1 − r))

with W and L the weights of the neighbours that the large tier won and lost (a tie is half of either), r its share over
all battles of the two tiers and a = 2: two battles' worth of what is known without looking at the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError, OutcomeError
from shared_router.records import JSON
from shared_router.scorers.battle_memory import BattleMemory, memory_from_state, pair_from_state, place_of
from shared_router.scorers.bradley_terry import tiers as merged_tiers
from shared_router.scorers.query_vectors import QueryEncoder, encoder_from_state, encoder_state
from shared_router.scorers.static_difficulty import CHUNK

__all__ = ["NEIGHBOURS", "BattleNeighboursScorer", "crossing_tiers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEIGHBOURS = 100
PRIOR_BATTLES = 2.0

ENOUGH = 10
"""Battles of the two tiers for each neighbour asked; with fewer, the "nearest" would be most of all there are."""

MASS_SCALE = 1_000_000
"""Weights are summed in whole millionths, so that the order of the neighbours does not matter."""


def crossing_tiers(memory: BattleMemory, one: int, other: int, wanted: int, enough: int) -> Ints:
    """Tiers in which two models are apart and their tiers have met often.

    Args:
        memory: The battles.
        one: A model, in [0, m).
        other: Another.
        wanted: Tiers, ≥ 2. As many are taken, if the two tiers have met often enough; else fewer, which hold more
            models; else more; else the number at which they have met most.
        enough: How often that is.

    Returns:
        Tier of each model, 0 for the strongest, shape (m,).

    Raises:
        OutcomeError: They have never met, whatever the number of tiers.
    """
    rated, size = memory.ratings(), len(memory.models)
    most, best = 0, None
    for count in [*range(min(wanted, size), 1, -1), *range(wanted + 1, size + 1)]:
        tier = merged_tiers(rated, count)
        met = int(_across(memory, tier, one, other).sum()) if tier[one] != tier[other] else 0
        if met >= enough:
            return tier
        if met > most:
            most, best = met, tier
    if best is None:
        raise OutcomeError(
            f"no battle is between models like {memory.models[one]!r} and models like {memory.models[other]!r}; "
            "use the method mf or sw, which compare by way of other models"
        )
    return best


def _across(memory: BattleMemory, tier: Ints, one: int, other: int) -> npt.NDArray[np.bool_]:
    first, second = tier[memory.first], tier[memory.second]
    across: npt.NDArray[np.bool_] = ((first == tier[one]) & (second == tier[other])) | (
        (first == tier[other]) & (second == tier[one])
    )
    return across


class BattleNeighboursScorer:
    """Difficulty from the nearest battles between the tiers of the pair.

    Args:
        encoder: Texts → directions.
        memory: The battles.
        small: Name of the small model among the battles' models.
        large: Name of the large model.
        tiers: Tiers to merge the models into, as in ``crossing_tiers``.
        neighbours: How many battles are asked, ≥ 1; all, where there are fewer.

    Raises:
        ArtifactFormatError: The settings are out of range.
        OutcomeError: The battles know no such model, or the two tiers have never met.

    Attributes:
        tier: Tier of each model, 0 for the strongest, shape (m,).
        share: Share of the wins of the large model's tier over the small one's, whatever was asked, in (0, 1).
    """

    kind: ClassVar[str] = "battle_neighbours"

    def __init__(
        self,
        encoder: QueryEncoder,
        memory: BattleMemory,
        small: str,
        large: str,
        *,
        tiers: int = 10,
        neighbours: int = NEIGHBOURS,
    ) -> None:
        if tiers < 2 or neighbours < 1:
            raise ArtifactFormatError(f"tiers ≥ 2 and neighbours ≥ 1, got {tiers} and {neighbours}")
        self.encoder = encoder
        self.memory = memory
        self.small = small
        self.large = large
        self.tiers = tiers
        self.neighbours = neighbours
        one, other = place_of(memory.models, small), place_of(memory.models, large)
        self.tier = crossing_tiers(memory, one, other, tiers, ENOUGH * neighbours)
        across = np.flatnonzero(_across(memory, self.tier, one, other))
        self._known = memory.directions[memory.prompt[across]].astype(np.float32)
        large_is_first = self.tier[memory.first[across]] == self.tier[other]
        won = np.where(large_is_first, memory.won[across], 1.0 - memory.won[across])
        weight = memory.weight[across].astype(np.float64)
        weight = weight / weight.mean()
        self._won = np.rint(weight * won * MASS_SCALE).astype(np.int64)
        self._lost = np.rint(weight * (1.0 - won) * MASS_SCALE).astype(np.int64)
        # half a battle either way, so that a tier that never lost has finite odds
        self.share = float((self._won.sum() / MASS_SCALE + 0.5) / (len(across) + 1.0))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that it knows."""
        return self.memory.models

    def score(self, texts: Sequence[str]) -> Floats:
        """Raw difficulties: the logarithm of the odds that the large model's tier won.

        Args:
            texts: n texts.

        Returns:
            Shape (n,); the same number for the same text in every batch, and on every machine up to the last bits,
            which the calibration rounds away.
        """
        return self.score_directions(self.encoder.directions(texts))

    def score_directions(self, directions: npt.NDArray[np.int8]) -> Floats:
        """The same from directions, shape (n, d)."""
        parts = [self._scores(directions[start : start + CHUNK]) for start in range(0, len(directions), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _scores(self, directions: npt.NDArray[np.int8]) -> Floats:
        count = len(self._known)
        # exact: floats of 24 bits hold every dot product of whole directions
        similarity = (directions.astype(np.float32) @ self._known.T).astype(np.int64)
        # the place breaks ties, and makes every key different
        keys = similarity * count - np.arange(count, dtype=np.int64)
        k = min(self.neighbours, count)
        nearest = np.argpartition(-keys, k - 1, axis=1)[:, :k]
        won, lost = (mass[nearest].sum(axis=1) / MASS_SCALE for mass in (self._won, self._lost))
        odds: Floats = np.log(won + PRIOR_BATTLES * self.share) - np.log(lost + PRIOR_BATTLES * (1.0 - self.share))
        return odds

    def sample_directions(self) -> npt.NDArray[np.int8]:
        """Directions of known prompts, by which to see how scores are spread, shape (p, d)."""
        return self.memory.directions

    def for_pair(self, small: str, large: str) -> BattleNeighboursScorer:
        """The same for another pair of the battles' models; nothing is trained.

        Raises:
            OutcomeError: The battles know no such model, or the two tiers have never met.
        """
        return BattleNeighboursScorer(
            self.encoder, self.memory, small, large, tiers=self.tiers, neighbours=self.neighbours
        )

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        encoder_config, encoder_tensors = encoder_state(self.encoder)
        config, tensors = self.memory.to_state()
        own: dict[str, JSON] = {
            "small": self.small,
            "large": self.large,
            "tiers": self.tiers,
            "neighbours": self.neighbours,
        }
        return {**encoder_config, **config, **own}, {**encoder_tensors, **tensors}

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> BattleNeighboursScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or do not fit each other.
        """
        encoder, memory = encoder_from_state(config, tensors), memory_from_state(config, tensors)
        small, large = pair_from_state(config)
        try:
            tiers, neighbours = (int(cast("int", config[name])) for name in ("tiers", "neighbours"))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(encoder, memory, small, large, tiers=tiers, neighbours=neighbours)
