"""The embedded default: the length of the text, a plain sum of surface signs, and a learned token table.

    raw = surface + a * length + b * direction · v / |v| / scale

with ``surface`` the sum of the standardised surface features, ``length`` the standardised logarithm of the characters,
v the sum of the text's token vectors, and all three parts at standard deviation 1. The surface part has unit weights:
over sources that were left out, fitted weights did worse (benchmarks/README.md; Dawes 1979 found the same of "improper
linear models"). The token part is learned end to end from outcomes and from a sentence encoder's scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import StaticEncoder, clipped, token_sums
from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.surface_features import FEATURES, TRAITS, capitals, stem_and_options, surface_features

__all__ = ["ScoreScale", "StaticDifficultyScorer", "TextCounts"]

_NUMBERS = ("surface_std", "length_mean", "length_std", "length_weight", "token_std", "token_weight")

CHUNK = 1024
"""Texts that are scored at a time: the token vectors of all of them lie in memory at once."""


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """How the three parts are brought to one scale; measured on the training rows.

    Attributes:
        feature_mean: Mean of each surface feature, shape (len(FEATURES),).
        feature_std: Standard deviation of each, > 0, shape (len(FEATURES),).
        surface_std: Standard deviation of the sum of the standardised features, > 0.
        length_mean: Mean of the length part.
        length_std: Standard deviation of the length part, > 0.
        length_weight: Weight of the length part against the surface part; 0 leaves it out.
        token_std: Standard deviation of the token part, > 0.
        token_weight: Weight of the token part against the surface part; 0 leaves it out.
    """

    feature_mean: npt.NDArray[np.float64]
    feature_std: npt.NDArray[np.float64]
    surface_std: float
    length_mean: float
    length_std: float
    length_weight: float
    token_std: float
    token_weight: float

    @classmethod
    def unit(cls) -> ScoreScale:
        """Of a scorer that is only used for counting."""
        ones = np.ones(len(FEATURES))
        return cls(0.0 * ones, ones, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class TextCounts:
    """All that is known of n texts before anything is weighed.

    Attributes:
        vectors: Sums of token vectors of the whole texts, shape (n, d).
        features: Surface features, shape (n, len(FEATURES)).
        chars: Characters of the whole texts, shape (n,).
    """

    vectors: npt.NDArray[np.int64]
    features: npt.NDArray[np.float64]
    chars: npt.NDArray[np.int64]


class StaticDifficultyScorer:
    """Difficulty from token sums and surface signs.

    Args:
        encoder: Tokenizer and token vectors, int8, shape (vocabulary, d).
        traits: Trait table, whole numbers, shape (vocabulary, len(TRAITS)).
        direction: Where in the space of the token vectors the hard texts lie, whole numbers, shape (d,).
        scale: How the parts are brought to one scale.

    Raises:
        ArtifactFormatError: The arrays do not fit each other.
    """

    kind: ClassVar[str] = "static_difficulty"

    def __init__(
        self,
        encoder: StaticEncoder,
        traits: npt.NDArray[np.int16],
        direction: npt.NDArray[np.int32],
        scale: ScoreScale,
    ) -> None:
        if direction.shape != (encoder.table.shape[1],):
            raise ArtifactFormatError(f"direction has shape {direction.shape}, the table {encoder.table.shape}")
        if traits.ndim != 2 or traits.shape[1] != len(TRAITS) or len(traits) < len(encoder.table):
            raise ArtifactFormatError(f"the trait table has shape {traits.shape}, expected (vocabulary, {len(TRAITS)})")
        if scale.feature_mean.shape != (len(FEATURES),) or scale.feature_std.shape != (len(FEATURES),):
            raise ArtifactFormatError(f"feature means and deviations have shape ({len(FEATURES)},)")
        positive = np.append(scale.feature_std, [scale.surface_std, scale.length_std, scale.token_std])
        others = [scale.length_mean, scale.length_weight, scale.token_weight]
        values = np.concatenate([scale.feature_mean, positive, others])
        if not np.isfinite(values).all() or not (positive > 0).all():
            raise ArtifactFormatError("means and weights are finite, standard deviations finite and above 0")
        self.encoder = encoder
        self.traits = traits
        self.direction = direction
        self.scale = scale

    def counts(self, texts: Sequence[str]) -> TextCounts:
        """What is counted in each text.

        Args:
            texts: n texts.
        """
        stems, options = zip(*(stem_and_options(clipped(text)) for text in texts), strict=True) if texts else ((), ())
        with_options = np.flatnonzero([bool(option) for option in options])
        batch = self.encoder.tokens([*stems, *(option for option in options if option)])
        n = len(stems)
        vectors, traits = token_sums(self.encoder.table, batch), token_sums(self.traits, batch)
        whole, whole_traits, tokens = vectors[:n].copy(), traits[:n].copy(), batch.counts[:n].copy()
        whole[with_options] += vectors[n:]
        whole_traits[with_options] += traits[n:]
        tokens[with_options] += batch.counts[n:]
        stem_chars, stem_capitals = [len(stem) for stem in stems], [capitals(stem) for stem in stems]
        features = surface_features(traits[:n], whole_traits, tokens, stem_chars, stem_capitals)
        chars = [len(stem) + len(option) for stem, option in zip(stems, options, strict=True)]
        return TextCounts(whole, features, np.array(chars, dtype=np.int64))

    def surface_part(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum of the standardised surface features, with standard deviation 1 on the training rows.

        Args:
            features: Shape (n, len(FEATURES)).
        """
        standard = ((features - self.scale.feature_mean) / self.scale.feature_std).T
        total: npt.NDArray[np.float64] = standard[0] / self.scale.surface_std
        # one by one: numpy may add up the columns of one row in another order than those of many
        for column in standard[1:]:
            total += column / self.scale.surface_std
        return total

    def length_part(self, chars: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Logarithm of the characters, with mean 0 and standard deviation 1 on the training rows.

        Args:
            chars: Characters of whole texts, shape (n,).
        """
        part: npt.NDArray[np.float64] = (np.log1p(chars) - self.scale.length_mean) / self.scale.length_std
        return part

    def token_part(self, vectors: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """How far each text points in the hard direction; 0 for a text without tokens.

        Args:
            vectors: Sums of token vectors, shape (n, d).
        """
        along = (vectors * self.direction.astype(np.int64)).sum(axis=1)
        length = np.sqrt(np.maximum((vectors * vectors).sum(axis=1), 1).astype(np.float64))
        part: npt.NDArray[np.float64] = along / length / self.scale.token_std
        return part

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Raw difficulties: higher = the small model will more probably fall short.

        Args:
            texts: n texts.

        Returns:
            Shape (n,); the same number for the same text on every machine and in every batch, up to the last bits of
            the logarithm, which the calibration rounds away.
        """
        scores = np.empty(len(texts), dtype=np.float64)
        for start in range(0, len(texts), CHUNK):
            counts = self.counts(texts[start : start + CHUNK])
            scores[start : start + CHUNK] = (
                self.surface_part(counts.features)
                + self.scale.length_weight * self.length_part(counts.chars)
                + self.scale.token_weight * self.token_part(counts.vectors)
            )
        return scores

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        scale = self.scale
        config: dict[str, JSON] = {
            "features": list(FEATURES),
            "feature_mean": scale.feature_mean.tolist(),
            "feature_std": scale.feature_std.tolist(),
            **{name: getattr(scale, name) for name in _NUMBERS},
        }
        tensors: dict[str, npt.NDArray[np.generic]] = {
            "tokenizer": np.frombuffer(self.encoder.tokenizer_json, dtype=np.uint8),
            "table": self.encoder.table,
            "traits": self.traits,
            "direction": self.direction,
        }
        return config, tensors

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> StaticDifficultyScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or do not fit each other.
        """
        try:
            if config["features"] != list(FEATURES):
                raise ArtifactFormatError("the artifact counts other features than this release; train it again")
            scale = ScoreScale(
                feature_mean=np.array(config["feature_mean"], dtype=np.float64),
                feature_std=np.array(config["feature_std"], dtype=np.float64),
                **{name: float(cast("float", config[name])) for name in _NUMBERS},
            )
            encoder = StaticEncoder(tensors["tokenizer"].tobytes(), tensors["table"].astype(np.int8, casting="safe"))
            traits = tensors["traits"].astype(np.int16, casting="safe")
            direction = tensors["direction"].astype(np.int32, casting="safe")
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(encoder, traits, direction, scale)
