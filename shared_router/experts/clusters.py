"""Text → cluster, served with numpy alone.

Two kinds of vectors. *Words* are Expert Router's (Pichlmeier et al. 2024, arXiv 2404.15153): stop words out, every
number one token, TF-IDF, truncated SVD to 100 dimensions, k-means; what the paper leaves open is done as in c-BTM
(Gururangan et al. 2023, arXiv 2303.14177), whose code then drops the number token too, where we keep it. All of that is
linear up to the last step, which brings vectors to length 1; so a text's vector is the direction of the sum of one row
per word, and serving needs those rows only. Words are kept as hashes, so that an artifact does not list the words of
somebody's traffic. *Embedded* are the directions of the token vectors that the embedded router brings along.

A text belongs to the cluster whose centre is nearest; k-means, balanced or not, is in
``shared_router.training.expert_clusters``.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import clipped
from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.query_vectors import StaticDirections

__all__ = [
    "NUMBER",
    "UNKNOWN",
    "VECTORS",
    "Assigned",
    "Clusters",
    "EmbeddedVectors",
    "TextVectors",
    "WordVectors",
    "squared_distances",
    "unit",
    "word_hash",
    "words_of",
]

Floats = npt.NDArray[np.float64]

NUMBER = "#NUMBER"
"""The token of every word that begins with a digit."""

UNKNOWN = -1
"""The cluster of a text of which nothing is known."""

CHUNK = 256
"""Texts whose distances are worked out at a time."""

_WORD = re.compile(r"\b\w\w+\b")

VECTORS: dict[str, tuple[str, str]] = {
    "embedded": ("shared_router.experts.clusters", "EmbeddedVectors"),
    "words": ("shared_router.experts.clusters", "WordVectors"),
}
"""Kind, as artifacts name it → module and class."""


class TextVectors(Protocol):
    """Texts → vectors of length 1."""

    kind: ClassVar[str]

    @property
    def width(self) -> int:
        """Dimensions."""
        ...

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Shape (n, d), length 1, or 0 for a text of which nothing is known. The same for a text in every batch."""
        ...

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays from which ``from_state`` builds the same vectors."""
        ...

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> TextVectors:
        """What ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings and arrays do not fit each other.
        """
        ...


def words_of(text: str) -> list[str]:
    """The words of the part of a text that is read: two signs and more, in lower case, numbers as ``NUMBER``.

    scikit-learn's pattern, with c-BTM's number_normalizer after it.
    """
    return [NUMBER if word[0].isdigit() else word for word in _WORD.findall(clipped(text).lower())]


def word_hash(word: str) -> int:
    """64 bits of a word, the same on every machine: of 100,000 words, two collide once in four billion vocabularies."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def unit(vectors: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Floats:
    """Rows at length 1; zeros stay.

    Args:
        vectors: Finite, shape (n, d).
    """
    rows = vectors.astype(np.float64)
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    units: Floats = rows / np.where(length > 0.0, length, 1.0)
    return units


class WordVectors:
    """Directions of sums of word rows.

    Args:
        hashes: ``word_hash`` of each known word, each once, uint64, shape (v,).
        table: Row of each known word: its inverse document frequency × its row of the SVD, float32, shape (v, d).

    Raises:
        ArtifactFormatError: The arrays do not fit each other.
    """

    kind: ClassVar[str] = "words"

    def __init__(self, hashes: npt.NDArray[np.uint64], table: npt.NDArray[np.float32]) -> None:
        if hashes.ndim != 1 or table.ndim != 2 or len(hashes) != len(table) or not np.isfinite(table).all():
            raise ArtifactFormatError(f"words have shape (v,), rows (v, d), got {hashes.shape}, {table.shape}")
        self.hashes = hashes
        self.table = table
        self._row = {known: row for row, known in enumerate(hashes.tolist())}

    @property
    def width(self) -> int:
        """Dimensions."""
        return int(self.table.shape[1])

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Shape (n, d); zeros for a text without known words.

        Args:
            texts: n texts.
        """
        sums = np.zeros((len(texts), self.width), dtype=np.float64)
        for place, text in enumerate(texts):
            rows = [row for word in words_of(text) if (row := self._row.get(word_hash(word))) is not None]
            if rows:
                # in the order of the text and by itself, so that the sum does not depend on the batch
                sums[place] = self.table[rows].sum(axis=0, dtype=np.float64)
        return unit(sums)

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        return {}, {"hashes": self.hashes, "table": self.table}

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> WordVectors:
        """What ``to_state`` described.

        Raises:
            ArtifactFormatError: An array is missing, or they do not fit each other.
        """
        try:
            hashes = tensors["hashes"].astype(np.uint64, casting="safe")
            table = tensors["table"].astype(np.float32, casting="safe")
        except (KeyError, TypeError) as error:
            raise ArtifactFormatError(f"not the state of word vectors: {error!r}") from error
        return cls(hashes, table)


class EmbeddedVectors:
    """Directions of the embedded router's token sums.

    Args:
        directions: Its tokenizer and token vectors.
    """

    kind: ClassVar[str] = "embedded"

    def __init__(self, directions: StaticDirections) -> None:
        self.directions = directions

    @property
    def width(self) -> int:
        """Dimensions."""
        return int(self.directions.encoder.table.shape[1])

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Shape (n, d); zeros for a text without tokens.

        Args:
            texts: n texts.
        """
        return unit(self.directions.directions(texts))

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact, which stands alone, whatever a later embedded router is."""
        return self.directions.to_state()

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> EmbeddedVectors:
        """What ``to_state`` described.

        Raises:
            ArtifactFormatError: An array is missing, or they do not fit each other.
        """
        return cls(StaticDirections.from_state(config, tensors))


@dataclass(frozen=True, slots=True)
class Assigned:
    """Where n texts belong.

    Attributes:
        cluster: Number of the nearest centre, ``UNKNOWN`` where nothing is known of a text, int64, shape (n,).
        distance: From that centre, NaN where there is none, shape (n,).
    """

    cluster: npt.NDArray[np.int64]
    distance: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """A classifier of texts.

    Attributes:
        vectors: Text → vector.
        centres: Centre of each cluster, float32, shape (k, d).
    """

    vectors: TextVectors
    centres: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        """Refuse centres that are not of the vectors' space."""
        centres = self.centres
        if centres.ndim != 2 or not len(centres) or centres.shape[1] != self.vectors.width:
            raise ArtifactFormatError(f"centres have shape (k, {self.vectors.width}), k ≥ 1, got {centres.shape}")
        if not np.isfinite(centres).all():
            raise ArtifactFormatError("a cluster's centre is not finite; train the router again")

    def __len__(self) -> int:
        return len(self.centres)

    def assign(self, texts: Sequence[str]) -> Assigned:
        """The cluster of each text.

        Args:
            texts: n texts, of any length and content.
        """
        vectors = self.vectors.vectors(texts)
        squared = squared_distances(vectors, self.centres.astype(np.float64))
        known = vectors.any(axis=1)
        nearest = squared.argmin(axis=1)
        distance = np.sqrt(squared[np.arange(len(texts)), nearest])
        return Assigned(np.where(known, nearest, UNKNOWN), np.where(known, distance, np.nan))

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        config, tensors = self.vectors.to_state()
        return {"vectors": self.vectors.kind, **config}, {**tensors, "centres": self.centres}

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> Clusters:
        """What ``to_state`` described.

        Raises:
            ArtifactFormatError: This release has no such vectors, or settings and arrays do not fit each other.
        """
        kind = config.get("vectors")
        if not isinstance(kind, str) or kind not in VECTORS:
            raise ArtifactFormatError(
                f"this release has no vectors {kind!r} (there are: {', '.join(VECTORS)}); upgrade hybrid-llm"
            )
        module, name = VECTORS[kind]
        made = cast("type[TextVectors]", getattr(importlib.import_module(module), name))
        try:
            centres = tensors["centres"].astype(np.float32, casting="safe")
        except (KeyError, TypeError) as error:
            raise ArtifactFormatError(f"not the state of clusters: {error!r}") from error
        return cls(made.from_state(config, tensors), centres)


def squared_distances(vectors: Floats, centres: Floats) -> Floats:
    """Squared Euclidean distance of each vector from each centre.

    Args:
        vectors: Shape (n, d).
        centres: Shape (k, d).

    Returns:
        Shape (n, k); that of a vector does not depend on the others, as a matrix product's would.
    """
    squared = np.empty((len(vectors), len(centres)), dtype=np.float64)
    for start in range(0, len(vectors), CHUNK):
        apart = vectors[start : start + CHUNK, None, :] - centres[None, :, :]
        squared[start : start + CHUNK] = (apart * apart).sum(axis=2)
    return squared
