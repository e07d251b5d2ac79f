"""Learned routers, one a file, all with the same two names: ``fit`` in ``shared_router.training``, ``score`` here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["SCORERS", "Scorer", "scorer_class"]

SCORERS: dict[str, tuple[str, str]] = {
    "battle_neighbours": ("shared_router.scorers.battle_neighbours", "BattleNeighboursScorer"),
    "hashed_linear": ("shared_router.scorers.hashed_linear", "HashedLinearScorer"),
    "matrix_factorization": ("shared_router.scorers.matrix_factorization", "MatrixFactorizationScorer"),
    "onnx_classifier": ("shared_router.scorers.onnx_classifier", "OnnxClassifierScorer"),
    "similarity_weighted": ("shared_router.scorers.similarity_weighted", "SimilarityWeightedScorer"),
    "static_difficulty": ("shared_router.scorers.static_difficulty", "StaticDifficultyScorer"),
    "static_neighbours": ("shared_router.scorers.static_neighbours", "StaticNeighboursScorer"),
}
"""Kind, as artifacts name it → module and class; imported when first needed."""


class Scorer(Protocol):
    """Text → raw difficulty; the orientation is fixed: higher = the small model will more probably fall short."""

    kind: ClassVar[str]

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Raw difficulties, any real number, shape (n,)."""
        ...

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays from which ``from_state`` builds the same scorer."""
        ...

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> Scorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings and arrays do not fit each other.
        """
        ...


def scorer_class(kind: str) -> type[Scorer]:
    """The class behind an artifact's scorer kind.

    Raises:
        ArtifactFormatError: This release has no such scorer.
    """
    if kind not in SCORERS:
        raise ArtifactFormatError(
            f"this release has no scorer {kind!r} (there are: {', '.join(SCORERS)}); upgrade hybrid-llm"
        )
    module, name = SCORERS[kind]
    return cast("type[Scorer]", getattr(importlib.import_module(module), name))
