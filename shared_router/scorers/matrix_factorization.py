"""Matrix factorisation: how good a model is on a query, as a product of the two's vectors.

    δ(M, q) = wᵀ (v_M ⊙ (Pᵀ v_q + b)),    P(M₁ beats M₂ on q) = σ(δ(M₁, q) − δ(M₂, q))

(RouteLLM, Ong et al. 2024, arXiv 2406.18665, §4.2, with its W₁ as P and w₂ as w.) For one pair this is linear in the
query's direction: raw = uᵀ v_q + c with u = P (w ⊙ (v_large − v_small)) and c = bᵀ (w ⊙ (v_large − v_small)), so that a
query costs one dot product, and another pair of known models another u and c.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.battle_memory import model_names, pair_from_state, place_of
from shared_router.scorers.query_vectors import QueryEncoder, encoder_from_state, encoder_state

__all__ = ["Factors", "MatrixFactorizationScorer"]

Floats = npt.NDArray[np.float64]

WHOLE = 2**32
"""Parts of u are rounded to this fraction of 1, so that its products with whole directions are exact."""

_ARRAYS = ("vectors", "projection", "bias", "weight")


@dataclass(frozen=True, slots=True)
class Factors:
    """What was learned.

    Attributes:
        models: Names, length m.
        vectors: v_M, one a model, shape (m, k); of length 1 for models that were trained together.
        projection: P, for whole directions (whose length is 127), shape (d, k).
        bias: b, shape (k,).
        weight: w, shape (k,).

    Raises:
        ArtifactFormatError: The arrays do not fit each other, or hold NaN.
    """

    models: tuple[str, ...]
    vectors: Floats
    projection: Floats
    bias: Floats
    weight: Floats

    def __post_init__(self) -> None:
        """Reject arrays that do not fit."""
        k = self.weight.shape
        if len(k) != 1 or self.bias.shape != k or self.vectors.shape != (len(self.models), *k):
            raise ArtifactFormatError(
                f"{len(self.models)} models need vectors of shape (m, k), bias and weight of shape (k,), "
                f"got {self.vectors.shape}, {self.bias.shape} and {k}"
            )
        if self.projection.ndim != 2 or self.projection.shape[1:] != k:
            raise ArtifactFormatError(f"the projection has shape (d, {k[0]}), got {self.projection.shape}")
        if not all(np.isfinite(getattr(self, name)).all() for name in _ARRAYS):
            raise ArtifactFormatError("the factors are finite")

    def effects(self, directions: npt.NDArray[np.int8]) -> Floats:
        """What of queries meets a model's vector: w ⊙ (Pᵀ v_q + b), of which the product with v_M is δ(M, q).

        Args:
            directions: Shape (n, d).

        Returns:
            Shape (n, k).
        """
        result: Floats = (directions.astype(np.float64) @ self.projection + self.bias) * self.weight
        return result

    def strengths(self, directions: npt.NDArray[np.int8]) -> Floats:
        """δ of each model on each query; differences within a row are logarithms of odds.

        Args:
            directions: Shape (n, d).

        Returns:
            Shape (n, m).
        """
        result: Floats = self.effects(directions) @ self.vectors.T
        return result

    def between(self, small: int, large: int) -> tuple[Floats, float]:
        """The u and c of a pair.

        Args:
            small: Place of the small model.
            large: Place of the large model.

        Returns:
            Shape (d,), and a number.
        """
        difference = self.weight * (self.vectors[large] - self.vectors[small])
        # fsum is exact up to one rounding: the same on every machine, which no matrix product is
        along = np.array([math.fsum(row) for row in (self.projection * difference).tolist()], dtype=np.float64)
        return along, math.fsum((self.bias * difference).tolist())


class MatrixFactorizationScorer:
    """Difficulty from learned vectors of models and queries.

    Args:
        encoder: Texts → directions.
        factors: What was learned.
        small: Name of the small model among the factors' models.
        large: Name of the large model.
        sample: Directions of held-out prompts, by which to see how scores are spread, int8, shape (s, d), s ≥ 1.

    Raises:
        ArtifactFormatError: The arrays do not fit each other.
        OutcomeError: The factors know no such model.
    """

    kind: ClassVar[str] = "matrix_factorization"

    def __init__(
        self, encoder: QueryEncoder, factors: Factors, small: str, large: str, sample: npt.NDArray[np.int8]
    ) -> None:
        if sample.ndim != 2 or not len(sample) or sample.shape[1] != len(factors.projection):
            raise ArtifactFormatError(
                f"sampled directions have shape (s, {len(factors.projection)}), s ≥ 1, got {sample.shape}"
            )
        self.encoder = encoder
        self.factors = factors
        self.small = small
        self.large = large
        self.sample = sample
        along, self._constant = factors.between(place_of(factors.models, small), place_of(factors.models, large))
        if not np.abs(along).sum() * WHOLE * 127.0 < 2.0**62:
            raise ArtifactFormatError("the factors of the pair are too large to be products of any training")
        self._along = np.rint(along * WHOLE).astype(np.int64)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that it knows."""
        return self.factors.models

    def score(self, texts: Sequence[str]) -> Floats:
        """Raw difficulties: the logarithm of the odds that the large model's answer is preferred.

        Args:
            texts: n texts.

        Returns:
            Shape (n,); the same number for the same text in every batch and on every machine.
        """
        return self.score_directions(self.encoder.directions(texts))

    def score_directions(self, directions: npt.NDArray[np.int8]) -> Floats:
        """The same from directions, shape (n, d)."""
        whole = (directions.astype(np.int64) * self._along).sum(axis=1)
        scores: Floats = whole / WHOLE + self._constant
        return scores

    def sample_directions(self) -> npt.NDArray[np.int8]:
        """Directions of held-out prompts, by which to see how scores are spread, shape (s, d)."""
        return self.sample

    def for_pair(self, small: str, large: str) -> MatrixFactorizationScorer:
        """The same for another pair of known models; nothing is trained.

        Raises:
            OutcomeError: The factors know no such model.
        """
        return MatrixFactorizationScorer(self.encoder, self.factors, small, large, self.sample)

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        config, tensors = encoder_state(self.encoder)
        own: dict[str, JSON] = {"models": list(self.factors.models), "small": self.small, "large": self.large}
        learned = {name: getattr(self.factors, name) for name in _ARRAYS}
        return {**config, **own}, {**tensors, **learned, "sample": self.sample}

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> MatrixFactorizationScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or do not fit each other.
        """
        encoder, names = encoder_from_state(config, tensors), model_names(config)
        try:
            arrays = {name: tensors[name].astype(np.float64, casting="safe") for name in _ARRAYS}
            sample = tensors["sample"].astype(np.int8, casting="safe")
        except (KeyError, TypeError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(encoder, Factors(models=names, **arrays), *pair_from_state(config), sample)
