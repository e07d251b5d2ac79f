"""The mean gap of the k most similar labelled texts, by the direction of their token sums.

All in whole numbers: directions are kept as int8, gaps as millionths, so that every similarity and every sum is exact
and the result does not depend on batch or machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.static_difficulty import CHUNK, StaticDifficultyScorer
from shared_router.scorers.text_columns import embedded_from_state, embedded_state, unit_vectors

__all__ = ["GAP_SCALE", "StaticNeighboursScorer", "mean_of_nearest", "whole_directions"]

GAP_SCALE = 1_000_000


def whole_directions(vectors: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """Directions of token sums in whole numbers from −127 to 127.

    Args:
        vectors: Sums of token vectors, shape (n, d).
    """
    return np.rint(127.0 * unit_vectors(vectors)).astype(np.int8)


def mean_of_nearest(
    directions: npt.NDArray[np.int8], known: npt.NDArray[np.int8], gaps: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.float64]:
    """Mean gap of the k known texts that are most similar; of equally similar ones, the first.

    Args:
        directions: Of the texts to judge, shape (n, d).
        known: Of the labelled texts, shape (l, d), l ≥ k.
        gaps: Their gaps in 1 / GAP_SCALE, shape (l,).
        k: Neighbours, ≥ 1.

    Returns:
        Shape (n,).
    """
    # floats hold these whole numbers exactly, so that the fast matrix product has only one possible result
    similarity = (directions.astype(np.float64) @ known.T.astype(np.float64)).astype(np.int64)
    # the place breaks ties, and makes every key different
    keys = similarity * len(known) - np.arange(len(known), dtype=np.int64)
    nearest = np.argpartition(-keys, k - 1, axis=1)[:, :k]
    means: npt.NDArray[np.float64] = gaps[nearest].sum(axis=1) / (k * GAP_SCALE)
    return means


class StaticNeighboursScorer:
    """Difficulty from labelled neighbours. The artifact holds directions and gaps, never texts.

    Args:
        embedded: The embedded default's scorer: tokenizer and token vectors.
        known: Directions of the labelled texts, int8, shape (l, d).
        gaps: Their quality gaps large − small, in 1 / GAP_SCALE, shape (l,).
        k: Neighbours, from 1 to l.

    Raises:
        ArtifactFormatError: The arrays do not fit each other.
    """

    kind: ClassVar[str] = "static_neighbours"

    def __init__(
        self, embedded: StaticDifficultyScorer, known: npt.NDArray[np.int8], gaps: npt.NDArray[np.int64], k: int
    ) -> None:
        width = embedded.encoder.table.shape[1]
        if known.ndim != 2 or known.shape[1] != width or gaps.shape != (len(known),):
            raise ArtifactFormatError(f"directions have shape (l, {width}), gaps (l,), got {known.shape}, {gaps.shape}")
        if not 1 <= k <= len(known):
            raise ArtifactFormatError(f"the number of neighbours lies from 1 to {len(known)}, got {k}")
        self.embedded = embedded
        self.known = known
        self.gaps = gaps
        self.k = k

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Raw difficulties: higher = the small model fell further short on similar texts.

        Args:
            texts: n texts.

        Returns:
            Shape (n,); the same number for the same text in every batch.
        """
        scores = np.zeros(len(texts), dtype=np.float64)
        for start in range(0, len(texts), CHUNK):
            directions = whole_directions(self.embedded.encoder.encode(texts[start : start + CHUNK]))
            scores[start : start + CHUNK] = mean_of_nearest(directions, self.known, self.gaps, self.k)
        return scores

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        config, tensors = embedded_state(self.embedded)
        return {**config, "k": self.k}, {**tensors, "known": self.known, "gaps": self.gaps}

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> StaticNeighboursScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or do not fit each other.
        """
        embedded = embedded_from_state(config, tensors)
        try:
            known = tensors["known"].astype(np.int8, casting="safe")
            gaps = tensors["gaps"].astype(np.int64, casting="safe")
            k = int(cast("int", config["k"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(embedded, known, gaps, k)
