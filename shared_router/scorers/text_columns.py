"""Texts → columns of numbers that a head of one's own pair weighs: what the embedded default sees, and hashed pieces.

Two blocks. *Dense*: the embedded default's difficulty, the length, the surface features and the direction of the token
sum. *Pieces*: word pieces and pairs of neighbouring pieces, each hashed into one of ``BUCKETS`` (the hashing trick:
Weinberger et al. 2009, arXiv 0902.2206), so that no vocabulary of the user's texts lies in an artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import TokenBatch, clipped
from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.static_difficulty import StaticDifficultyScorer, TextCounts
from shared_router.scorers.surface_features import FEATURES

__all__ = [
    "BUCKETS",
    "LEADING_COLUMNS",
    "PieceCounts",
    "dense_columns",
    "embedded_from_state",
    "embedded_state",
    "piece_counts",
    "pieces_of",
    "unit_vectors",
]

BUCKETS = 2**17
"""A power of two, so that the top bits of a hash are the bucket."""

LEADING_COLUMNS = ("difficulty", "length", *FEATURES)
"""Names of the first dense columns; those that follow are the token sum's direction, one a dimension."""

_BUCKET_BITS = BUCKETS.bit_length() - 1
_PREFIX = "embedded."


@dataclass(frozen=True, slots=True)
class PieceCounts:
    """How often each bucket occurs in each of n texts; sorted by text, then bucket, each pair once.

    Attributes:
        texts: Number of texts, n.
        rows: Text of each entry, in [0, n), shape (k,).
        buckets: Bucket of each entry, in [0, BUCKETS), shape (k,).
        counts: Occurrences, ≥ 1, shape (k,).
    """

    texts: int
    rows: npt.NDArray[np.int64]
    buckets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def _bucket(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    # the finaliser of splitmix64 (Steele et al. 2014): whole-number arithmetic modulo 2**64, the same on every machine
    mixed = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    buckets: npt.NDArray[np.int64] = (mixed >> np.uint64(64 - _BUCKET_BITS)).astype(np.int64)
    return buckets


def piece_counts(batch: TokenBatch) -> PieceCounts:
    """Word pieces and pairs of neighbours, hashed and counted.

    Args:
        batch: The tokens of n texts.
    """
    rows = np.repeat(np.arange(len(batch.counts), dtype=np.int64), batch.counts)
    ids = batch.ids.astype(np.uint64) + np.uint64(1)
    neighbours = np.flatnonzero(rows[1:] == rows[:-1])
    # a single piece has 0 where a pair has its second piece
    pairs = ids[neighbours] | (ids[neighbours + 1] << np.uint64(32))
    buckets = _bucket(np.concatenate([ids, pairs]))
    keys, counts = np.unique(np.concatenate([rows, rows[neighbours]]) * BUCKETS + buckets, return_counts=True)
    return PieceCounts(len(batch.counts), keys // BUCKETS, keys % BUCKETS, counts.astype(np.int64))


def unit_vectors(vectors: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Token sums at length 1; zeros for a text without tokens.

    Args:
        vectors: Sums of token vectors, shape (n, d).
    """
    length = np.sqrt(np.maximum((vectors * vectors).sum(axis=1), 1).astype(np.float64))
    units: npt.NDArray[np.float64] = vectors / length[:, None]
    return units


def dense_columns(embedded: StaticDifficultyScorer, counts: TextCounts) -> npt.NDArray[np.float64]:
    """The dense block.

    Args:
        embedded: The embedded default's scorer.
        counts: What it counted in n texts.

    Returns:
        Shape (n, len(LEADING_COLUMNS) + d), finite.
    """
    length = embedded.length_part(counts.chars)
    difficulty = (
        embedded.surface_part(counts.features)
        + embedded.scale.length_weight * length
        + embedded.scale.token_weight * embedded.token_part(counts.vectors)
    )
    return np.column_stack([difficulty, length, counts.features, unit_vectors(counts.vectors)])


def pieces_of(embedded: StaticDifficultyScorer, texts: Sequence[str]) -> PieceCounts:
    """The hashed pieces of whole texts.

    Args:
        embedded: Its tokenizer splits the texts.
        texts: n texts.
    """
    return piece_counts(embedded.encoder.tokens([clipped(text) for text in texts]))


def embedded_state(
    embedded: StaticDifficultyScorer,
) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
    """The embedded scorer's state as part of another's: an artifact stands alone, whatever a later default is."""
    config, tensors = embedded.to_state()
    return {"embedded": config}, {f"{_PREFIX}{name}": array for name, array in tensors.items()}


def embedded_from_state(
    config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
) -> StaticDifficultyScorer:
    """The scorer that ``embedded_state`` described.

    Raises:
        ArtifactFormatError: Settings or arrays are missing or do not fit each other.
    """
    inner = config.get("embedded")
    if not isinstance(inner, Mapping):
        raise ArtifactFormatError("the artifact lacks the settings of the embedded scorer; train it again")
    arrays = {name.removeprefix(_PREFIX): array for name, array in tensors.items() if name.startswith(_PREFIX)}
    return StaticDifficultyScorer.from_state(inner, arrays)
