"""Texts → directions in whole numbers, for scorers that compare or weigh queries; the encoder lies in the artifact.

A direction is a vector of length 127 with its parts rounded to whole numbers, int8: the dot product of two of them is
exact, whatever adds it up, and ten thousand of them take less than a megabyte.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import StaticEncoder
from shared_router.errors import ArtifactFormatError, ScoreError
from shared_router.records import JSON
from shared_router.scorers.static_difficulty import CHUNK
from shared_router.scorers.static_neighbours import whole_directions

__all__ = [
    "QUERY_ENCODERS",
    "FunctionDirections",
    "QueryEncoder",
    "StaticDirections",
    "encoder_from_state",
    "encoder_state",
    "rounded_directions",
]

QUERY_ENCODERS: dict[str, tuple[str, str]] = {
    "static": ("shared_router.scorers.query_vectors", "StaticDirections"),
}
"""Kind, as artifacts name it → module and class; imported when first needed."""

_PREFIX = "encoder."


class QueryEncoder(Protocol):
    """Texts → directions."""

    kind: ClassVar[str]

    def directions(self, texts: Sequence[str]) -> npt.NDArray[np.int8]:
        """Directions, shape (n, d); zeros for a text of which nothing is known. The same for a text in every batch."""
        ...

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays from which ``from_state`` builds the same encoder."""
        ...

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> QueryEncoder:
        """The encoder that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings and arrays do not fit each other.
        """
        ...


def rounded_directions(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """Directions of any vectors.

    Args:
        vectors: Finite, shape (n, d).

    Raises:
        ScoreError: NaN, infinities, or another number of dimensions.
    """
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ScoreError(f"an encoder returns finite vectors of shape (n, d), got shape {vectors.shape}")
    length = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return np.rint(127.0 * vectors / np.where(length > 0.0, length, 1.0)).astype(np.int8)


class StaticDirections:
    """Directions of token sums: what the embedded default sees of a text.

    Args:
        encoder: Tokenizer and token vectors.
    """

    kind: ClassVar[str] = "static"

    def __init__(self, encoder: StaticEncoder) -> None:
        self.encoder = encoder

    def directions(self, texts: Sequence[str]) -> npt.NDArray[np.int8]:
        """Directions, shape (n, d); zeros for a text without tokens.

        Args:
            texts: n texts.
        """
        found = np.zeros((len(texts), self.encoder.table.shape[1]), dtype=np.int8)
        for start in range(0, len(texts), CHUNK):
            found[start : start + CHUNK] = whole_directions(self.encoder.encode(texts[start : start + CHUNK]))
        return found

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        return {}, {
            "tokenizer": np.frombuffer(self.encoder.tokenizer_json, dtype=np.uint8),
            "table": self.encoder.table,
        }

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> StaticDirections:
        """The encoder that ``to_state`` described.

        Raises:
            ArtifactFormatError: An array is missing, or they do not fit each other.
        """
        try:
            table = tensors["table"].astype(np.int8, casting="safe")
            return cls(StaticEncoder(tensors["tokenizer"].tobytes(), table))
        except (KeyError, TypeError) as error:
            raise ArtifactFormatError(f"not the state of a static encoder: {error!r}") from error


class FunctionDirections:
    """Directions from any function of texts, to learn with and to measure; it cannot be saved.

    Args:
        function: Texts → vectors, shape (n, d); the same vector for a text in every batch.
    """

    kind: ClassVar[str] = "function"

    def __init__(self, function: Callable[[Sequence[str]], npt.NDArray[np.floating]]) -> None:
        self.function = function

    def directions(self, texts: Sequence[str]) -> npt.NDArray[np.int8]:
        """Directions, shape (n, d).

        Args:
            texts: n texts.

        Raises:
            ScoreError: The function returned something else than n finite vectors.
        """
        vectors = np.asarray(self.function(texts))
        if len(vectors) != len(texts):
            raise ScoreError(f"the encoder returned {len(vectors)} vectors for {len(texts)} texts")
        return rounded_directions(vectors)

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Refused.

        Raises:
            ArtifactFormatError: A function cannot be written into an artifact.
        """
        raise ArtifactFormatError(
            "a function cannot be written into an artifact; to save a router, learn it with an encoder that can be "
            f"({', '.join(QUERY_ENCODERS)})"
        )

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> FunctionDirections:
        """Refused.

        Raises:
            ArtifactFormatError: No artifact holds a function.
        """
        raise ArtifactFormatError("no artifact holds a function")


def encoder_state(encoder: QueryEncoder) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
    """An encoder's state as part of a scorer's.

    Raises:
        ArtifactFormatError: The encoder cannot be saved.
    """
    config, tensors = encoder.to_state()
    return (
        {"encoder": {"kind": encoder.kind, "config": config}},
        {f"{_PREFIX}{name}": array for name, array in tensors.items()},
    )


def encoder_from_state(config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> QueryEncoder:
    """The encoder that ``encoder_state`` described.

    Raises:
        ArtifactFormatError: This release has no such encoder, or its settings and arrays do not fit each other.
    """
    stored = config.get("encoder")
    inner = stored.get("config") if isinstance(stored, Mapping) else None
    if not isinstance(stored, Mapping) or not isinstance(inner, Mapping):
        raise ArtifactFormatError("the artifact lacks the settings of its encoder; train it again")
    kind = stored.get("kind")
    if kind not in QUERY_ENCODERS:
        raise ArtifactFormatError(
            f"this release has no encoder {kind!r} (there are: {', '.join(QUERY_ENCODERS)}); upgrade hybrid-llm"
        )
    module, name = QUERY_ENCODERS[kind]
    made = cast("type[QueryEncoder]", getattr(importlib.import_module(module), name))
    arrays = {key.removeprefix(_PREFIX): array for key, array in tensors.items() if key.startswith(_PREFIX)}
    return made.from_state(inner, arrays)
