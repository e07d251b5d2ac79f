"""Battles as an artifact keeps them: directions of the prompts, who met whom, who won. Never texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError, OutcomeError
from shared_router.records import JSON
from shared_router.scorers.bradley_terry import ratings, tiers, win_matrix

__all__ = ["BattleMemory", "memory_from_state", "model_names", "pair_from_state", "place_of", "separating_tiers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ARRAYS = ("directions", "prompt", "first", "second", "halves", "weight")


@dataclass(frozen=True, slots=True)
class BattleMemory:
    """n battles between m models over p prompts.

    Attributes:
        models: Names, length m.
        directions: Of the prompts, int8, shape (p, d).
        prompt: Prompt of each battle, in [0, p), int32, shape (n,).
        first: One model of each, in [0, m), int16, shape (n,).
        second: The other, int16, shape (n,).
        halves: Half wins of the first model: 2, 1 for a tie, 0; int8, shape (n,).
        weight: How much each battle counts, above 0, float32, shape (n,).

    Raises:
        ArtifactFormatError: The arrays do not fit each other.
    """

    models: tuple[str, ...]
    directions: npt.NDArray[np.int8]
    prompt: npt.NDArray[np.int32]
    first: npt.NDArray[np.int16]
    second: npt.NDArray[np.int16]
    halves: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        """Reject what a scorer would stumble over."""
        columns = (self.prompt, self.first, self.second, self.halves, self.weight)
        if self.directions.ndim != 2 or not len(self.prompt) or any(c.shape != self.prompt.shape for c in columns):
            raise ArtifactFormatError(
                "battles are kept as directions of shape (p, d) and columns of one length, at least 1"
            )
        bounds = ((self.prompt, len(self.directions)), (self.first, len(self.models)), (self.second, len(self.models)))
        if any(column.min() < 0 or column.max() >= size for column, size in (*bounds, (self.halves, 3))):
            raise ArtifactFormatError("a battle names a prompt, a model or a result that there is not")
        if not (np.isfinite(self.weight).all() and (self.weight > 0).all()):
            raise ArtifactFormatError("weights of battles are finite and above 0")

    @property
    def won(self) -> Floats:
        """The first model's share of each win, shape (n,)."""
        return self.halves / 2.0

    def ratings(self) -> Floats:
        """Rating of each model over all battles, whatever was asked, shape (m,)."""
        first, second = self.first.astype(np.int64), self.second.astype(np.int64)
        return ratings(win_matrix(first, second, self.won, self.weight.astype(np.float64), len(self.models)))

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        return {"models": list(self.models)}, {f"battle.{name}": getattr(self, name) for name in _ARRAYS}


def memory_from_state(config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> BattleMemory:
    """The memory that ``to_state`` described.

    Raises:
        ArtifactFormatError: Settings or arrays are missing or do not fit each other.
    """
    try:
        return BattleMemory(
            models=model_names(config),
            directions=tensors["battle.directions"].astype(np.int8, casting="safe"),
            prompt=tensors["battle.prompt"].astype(np.int32, casting="safe"),
            first=tensors["battle.first"].astype(np.int16, casting="safe"),
            second=tensors["battle.second"].astype(np.int16, casting="safe"),
            halves=tensors["battle.halves"].astype(np.int8, casting="safe"),
            weight=tensors["battle.weight"].astype(np.float32, casting="safe"),
        )
    except (KeyError, TypeError) as error:
        raise ArtifactFormatError(f"not the state of a memory of battles: {error!r}") from error


def model_names(config: Mapping[str, JSON]) -> tuple[str, ...]:
    """The models that an artifact's settings name.

    Raises:
        ArtifactFormatError: They are no list of different names.
    """
    names = config.get("models")
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ArtifactFormatError("the artifact lacks the names of its models; train it again")
    if len(set(names)) != len(names):
        raise ArtifactFormatError("the artifact names a model twice")
    return tuple(cast("Sequence[str]", names))


def pair_from_state(config: Mapping[str, JSON]) -> tuple[str, str]:
    """Small and large model that an artifact's settings name.

    Raises:
        ArtifactFormatError: They are missing, or none of the models.
    """
    pair = (config.get("small"), config.get("large"))
    names = model_names(config)
    if pair[0] not in names or pair[1] not in names:
        raise ArtifactFormatError(f"the pair of the artifact is {pair[0]!r} and {pair[1]!r}, which are not its models")
    return cast("tuple[str, str]", pair)


def place_of(models: Sequence[str], name: str) -> int:
    """Place of a model among those that a router knows.

    Raises:
        OutcomeError: It does not know the model.
    """
    if name not in models:
        raise OutcomeError(f"the router knows no model {name!r} (it knows: {', '.join(models)})")
    return list(models).index(name)


def separating_tiers(ratings_of_models: Floats, one: int, other: int, wanted: int) -> Ints:
    """Tiers in which two models are apart: as many as wanted, or as few more as it takes.

    Args:
        ratings_of_models: Shape (m,).
        one: A model, in [0, m).
        other: Another.
        wanted: Tiers, ≥ 1.

    Returns:
        Tier of each model, 0 for the strongest, shape (m,).
    """
    for count in range(min(wanted, len(ratings_of_models)), len(ratings_of_models)):
        tier = tiers(ratings_of_models, count)
        if tier[one] != tier[other]:
            return tier
    return tiers(ratings_of_models, len(ratings_of_models))
