"""A linear head on hashed word pieces and on what the embedded default sees: one's own pair, learned from own labels.

    raw = Σ weight_j · (column_j − mean_j) / std_j  +  Σ weight_b · x_b / |x|,    x_b = (1 + log count_b) · idf_b

The second sum is a TF-IDF model over hashed pieces. There is no intercept: the calibration has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.static_difficulty import CHUNK, StaticDifficultyScorer
from shared_router.scorers.text_columns import (
    BUCKETS,
    LEADING_COLUMNS,
    PieceCounts,
    dense_columns,
    embedded_from_state,
    embedded_state,
    pieces_of,
)

__all__ = ["HashedLinearScorer", "LinearWeights", "piece_values"]

_DENSE = ("dense_mean", "dense_std", "dense_weight")
_PIECES = ("piece_idf", "piece_weight")


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """What was learned.

    Attributes:
        dense_mean: Mean of each dense column on the training texts, shape (m,).
        dense_std: Standard deviation of each, > 0, shape (m,).
        dense_weight: Weight of each standardised column, 0 for one that is not used, shape (m,).
        piece_idf: Inverse document frequency of each bucket, ≥ 0; 0 for a bucket that is not used, shape (BUCKETS,) or,
            for a head without pieces, (0,).
        piece_weight: Weight of each bucket, of the same shape.
    """

    dense_mean: npt.NDArray[np.float64]
    dense_std: npt.NDArray[np.float64]
    dense_weight: npt.NDArray[np.float64]
    piece_idf: npt.NDArray[np.float32]
    piece_weight: npt.NDArray[np.float32]


def piece_values(pieces: PieceCounts, idf: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """TF-IDF value of each entry, each text's values at Euclidean length 1.

    Args:
        pieces: The k entries of n texts.
        idf: Shape (BUCKETS,).

    Returns:
        Shape (k,); zeros for a text of which no bucket is used.
    """
    values = (1.0 + np.log(pieces.counts)) * idf[pieces.buckets].astype(np.float64)
    squares = np.bincount(pieces.rows, weights=values * values, minlength=pieces.texts)
    normed: npt.NDArray[np.float64] = values / np.sqrt(np.where(squares > 0.0, squares, 1.0))[pieces.rows]
    return normed


class HashedLinearScorer:
    """Difficulty from a linear head.

    Args:
        embedded: The embedded default's scorer: tokenizer, token vectors, surface features.
        weights: What was learned.

    Raises:
        ArtifactFormatError: The arrays do not fit each other, or hold NaN.
    """

    kind: ClassVar[str] = "hashed_linear"

    def __init__(self, embedded: StaticDifficultyScorer, weights: LinearWeights) -> None:
        columns = len(LEADING_COLUMNS) + embedded.encoder.table.shape[1]
        if any(getattr(weights, name).shape != (columns,) for name in _DENSE):
            raise ArtifactFormatError(f"dense means, deviations and weights have shape ({columns},)")
        if weights.piece_idf.shape not in {(BUCKETS,), (0,)} or weights.piece_weight.shape != weights.piece_idf.shape:
            raise ArtifactFormatError(f"piece weights and frequencies have shape ({BUCKETS},) or (0,), both the same")
        if not all(np.isfinite(getattr(weights, name)).all() for name in (*_DENSE, *_PIECES)):
            raise ArtifactFormatError("means, deviations, frequencies and weights are finite")
        if not (weights.dense_std > 0).all() or not (weights.piece_idf >= 0).all():
            raise ArtifactFormatError("standard deviations are above 0, inverse document frequencies not below")
        self.embedded = embedded
        self.weights = weights
        self._used = np.flatnonzero(weights.dense_weight)

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Raw difficulties: higher = the small model will more probably fall short.

        Args:
            texts: n texts.

        Returns:
            Shape (n,); the same number for the same text on every machine and in every batch, up to the last bits of
            the logarithm, which the calibration rounds away.
        """
        scores = np.zeros(len(texts), dtype=np.float64)
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            scores[start : start + CHUNK] = self._dense_part(chunk) + self._piece_part(chunk)
        return scores

    def _dense_part(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        total = np.zeros(len(texts), dtype=np.float64)
        if not len(self._used):
            return total
        columns = dense_columns(self.embedded, self.embedded.counts(texts)).T
        # one by one: a matrix product may add up in another order for one text than for many
        for j in self._used.tolist():
            total += (
                (columns[j] - self.weights.dense_mean[j]) / self.weights.dense_std[j] * self.weights.dense_weight[j]
            )
        return total

    def _piece_part(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        if not len(self.weights.piece_idf):
            return np.zeros(len(texts), dtype=np.float64)
        pieces = pieces_of(self.embedded, texts)
        weighted = piece_values(pieces, self.weights.piece_idf) * self.weights.piece_weight[pieces.buckets]
        # bincount adds in the order of the entries, which is the same in every batch; of no entries it makes integers
        return np.bincount(pieces.rows, weights=weighted, minlength=len(texts)).astype(np.float64)

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        config, tensors = embedded_state(self.embedded)
        learned = {name: getattr(self.weights, name) for name in (*_DENSE, *_PIECES)}
        return {**config, "columns": list(LEADING_COLUMNS)}, {**tensors, **learned}

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> HashedLinearScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or do not fit each other.
        """
        embedded = embedded_from_state(config, tensors)
        if config.get("columns") != list(LEADING_COLUMNS):
            raise ArtifactFormatError("the artifact weighs other columns than this release; train it again")
        try:
            weights = LinearWeights(
                dense_mean=tensors["dense_mean"].astype(np.float64, casting="safe"),
                dense_std=tensors["dense_std"].astype(np.float64, casting="safe"),
                dense_weight=tensors["dense_weight"].astype(np.float64, casting="safe"),
                piece_idf=tensors["piece_idf"].astype(np.float32, casting="safe"),
                piece_weight=tensors["piece_weight"].astype(np.float32, casting="safe"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(embedded, weights)
