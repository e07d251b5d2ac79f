"""Text in, decision out: the only place that knows the order of the steps.

guards → query_text → score → calibrate → operating point → decide
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from shared_router.artifact import Artifact
from shared_router.calibration import Calibrator
from shared_router.calibration_set import CalibrationSet
from shared_router.decision import RoutingDecision, decide, overridden
from shared_router.errors import KnobError, OutcomeError, ScoreError
from shared_router.guards import Call, verdict
from shared_router.knob import (
    ALWAYS_LARGE,
    DEFAULT_KNOB,
    Knob,
    OperatingCurve,
    OperatingPoint,
    operating_point,
)
from shared_router.query import query_text
from shared_router.records import Turn
from shared_router.scorers import Scorer, scorer_class

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from shared_router.certificate import CertifiedThreshold

__all__ = ["DEFAULT_ROUTER", "DifficultyFunction", "Router", "RouterLike", "as_router"]

logger = logging.getLogger(__name__)

DEFAULT_ROUTER = Path(__file__).parent / "default_router"
"""Folder of the embedded router's artifact."""


class DifficultyFunction(Protocol):
    """Texts → difficulties in [0, 1], shape (n,)."""

    def __call__(self, texts: Sequence[str], /) -> npt.NDArray[np.float64]:
        """Difficulties of ``texts``."""
        ...


# classes, not closures, so that a router pickles (LlamaIndex' IngestionPipeline sends its models to worker processes)
@dataclass(frozen=True, slots=True)
class _CalibratedScorer:
    scorer: Scorer
    calibration: Calibrator

    def __call__(self, texts: Sequence[str], /) -> npt.NDArray[np.float64]:
        return self.calibration.probability(self.scorer.score(texts))


@dataclass(frozen=True, slots=True)
class _PerText:
    function: Callable[[str], float]

    def __call__(self, texts: Sequence[str], /) -> npt.NDArray[np.float64]:
        import numpy as np

        return np.array([self.function(text) for text in texts], dtype=np.float64)


class Router:
    """A learned difficulty score with a knob.

    Immutable and free of locks: one instance can be shared between threads and models.

    Args:
        difficulty: Texts → difficulties in [0, 1].
        curve: The measured operating curve; None for a plain function.
        router_id: Names the router in every decision.
        own_pair: True if the curve was measured on the pair of models that is served.
        calibration_set: Queries of that pair on which promises are certified; None where there are none.
    """

    def __init__(
        self,
        difficulty: DifficultyFunction,
        *,
        curve: OperatingCurve | None,
        router_id: str,
        own_pair: bool = False,
        calibration_set: CalibrationSet | None = None,
    ) -> None:
        self._difficulty = difficulty
        # worked out once each; which thread does it does not matter, the result is the same
        self._certificates: dict[Knob, CertifiedThreshold] = {}
        self._certified_points: dict[Knob, OperatingPoint] = {}
        self.calibration_set = calibration_set
        self.curve = curve
        self.router_id = router_id
        self.own_pair = own_pair and curve is not None

    @classmethod
    def default(cls) -> Router:
        """The embedded router: trained on public outcome tables, works offline, loaded once a process."""
        return _default()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Router:
        """A router from an artifact folder.

        Raises:
            ArtifactError: The folder is missing, foreign, damaged, tampered with, or of a newer format.
        """
        return cls.from_artifact(Artifact.load(path))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Router:
        """A router from an artifact in memory.

        Raises:
            ArtifactFormatError: The artifact's scorer is unknown or does not fit its arrays.
        """
        scorer = scorer_class(artifact.scorer_kind).from_state(artifact.scorer_config, artifact.tensors)
        return cls(
            _CalibratedScorer(scorer, artifact.calibration),
            curve=artifact.curve,
            router_id=f"{artifact.name}@{artifact.content_hash[:12] or 'unsaved'}",
            own_pair=artifact.own_pair,
            calibration_set=artifact.calibration_set,
        )

    @classmethod
    def from_callable(cls, function: Callable[[str], float]) -> Router:
        """A router around any function from a text to a difficulty in [0, 1].

        It has no operating curve: ``quality`` q means the threshold 1 − q.
        """
        return cls(_PerText(function), curve=None, router_id=getattr(function, "__name__", type(function).__name__))

    @property
    def scorer(self) -> Scorer | None:
        """What gives the raw scores; None for a router around a function."""
        return self._difficulty.scorer if isinstance(self._difficulty, _CalibratedScorer) else None

    @property
    def calibration(self) -> Calibrator | None:
        """What makes difficulties of raw scores; None for a router around a function."""
        return self._difficulty.calibration if isinstance(self._difficulty, _CalibratedScorer) else None

    def __repr__(self) -> str:
        """The router's id; never weights."""
        return f"Router({self.router_id!r})"

    def difficulty(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """How likely the small model falls short on each text.

        Args:
            texts: The texts to judge, length n. A single string is refused: it would be read letter by letter.

        Returns:
            Difficulties in [0, 1], float64, shape (n,).

        Raises:
            ScoreError: ``texts`` is no list of strings, or the scorer returned anything but n numbers in [0, 1].
        """
        import numpy as np  # with the first score, not with the package

        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ScoreError("difficulty takes a list of strings; for one text write router.difficulty([text])")
        if not len(texts):
            return np.empty(0, dtype=np.float64)
        scores = np.asarray(self._difficulty(texts), dtype=np.float64)
        if scores.shape != (len(texts),):
            raise ScoreError(f"{self.router_id} returned shape {scores.shape} for {len(texts)} texts")
        # written so that NaN fails it
        if not ((scores >= 0.0) & (scores <= 1.0)).all():
            bad = scores[~((scores >= 0.0) & (scores <= 1.0))][0]
            raise ScoreError(f"{self.router_id} returned {bad!r}; a difficulty is a number in [0, 1]")
        return scores

    def certificate(self, knob: Knob) -> CertifiedThreshold | None:
        """What can be promised with a confidence on the router's calibration set.

        Worked out once a knob, in some milliseconds for some hundred queries, and remembered.

        Args:
            knob: ``quality`` or ``max_drop`` with a confidence.

        Returns:
            The certified threshold, or why there is none; None for a router without a calibration set.

        Raises:
            KnobError: The knob has no confidence.
            OutcomeError: The promise cannot be stated for these qualities, such as a relative drop where they have both
                signs.
        """
        if knob.confidence is None:
            raise KnobError(f"{knob.name}={knob.value!r} has no confidence; say Knob(..., confidence=0.95)")
        if self.calibration_set is None:
            return None
        if knob not in self._certificates:
            from shared_router.certificate import certified_threshold  # loads numpy

            known = self.calibration_set
            self._certificates[knob] = certified_threshold(
                known.difficulty,
                known.small,
                known.large,
                quality_range=known.quality_range,
                confidence=knob.confidence,
                **{knob.name: knob.value},  # type: ignore[arg-type]  # a promise's value is a number
            )
        return self._certificates[knob]

    def operating_point(self, knob: Knob) -> OperatingPoint:
        """Where the router works under a knob.

        Args:
            knob: The wish; not ``route``.

        Returns:
            The measured point, or, with a confidence, the certified one; where none can be certified, all goes to the
            large model.

        Raises:
            KnobError: The knob cannot be granted by this kind of router, or is ``route``.
        """
        if knob.confidence is None:
            return operating_point(knob, self.curve)
        if knob not in self._certified_points:
            self._certified_points[knob] = self._certified_point(knob)
        return self._certified_points[knob]

    def _certified_point(self, knob: Knob) -> OperatingPoint:
        try:
            certificate = self.certificate(knob)
        except OutcomeError as error:
            raise KnobError(f"{knob.name} cannot be certified for these qualities: {error}") from error
        if certificate is not None and certificate.threshold is not None:
            return OperatingPoint(certificate.threshold, certificate.large_share, certificate="certified")
        reason = certificate.reason if certificate else "the router was not calibrated on queries of your own models"
        logger.warning("%s: all calls go to the large model: %s", self.router_id, reason)
        return replace(ALWAYS_LARGE, certificate="uncertified")

    def route(self, query: str | Sequence[Turn], knob: Knob = DEFAULT_KNOB) -> RoutingDecision:
        """Which model shall answer.

        Args:
            query: A text, or the turns of a conversation.
            knob: The wish that holds for this call.

        Raises:
            KnobError: The knob cannot be granted by this kind of router.
            QueryError: ``query`` is neither text nor turns.
            ScoreError: The scorer returned no difficulty.
        """
        return self.route_many([query], [Call(knob)])[0]

    def route_many(
        self, queries: Sequence[str | Sequence[Turn]], calls: Sequence[Call | Knob]
    ) -> list[RoutingDecision]:
        """Decisions for many calls; all texts that need a score are scored in one vectorised pass.

        Args:
            queries: Texts or conversations, length n.
            calls: What else is known about each call, length n; a bare knob is a call that needs text only.

        Returns:
            n decisions in the order of ``queries``.
        """
        known = [Call(call) if isinstance(call, Knob) else call for call in calls]
        verdicts = [verdict(call) for call in known]
        points = [None if word else self.operating_point(call.knob) for word, call in zip(verdicts, known, strict=True)]
        texts = [query_text(query) for query, point in zip(queries, points, strict=True) if point is not None]
        scores = iter(self.difficulty(texts).tolist())
        decisions = []
        for word, call, point in zip(verdicts, known, points, strict=True):
            if word is not None:
                decisions.append(overridden(word, call, router_id=self.router_id))
            elif point is not None:
                decisions.append(decide(next(scores), point, call, router_id=self.router_id, calibrated=self.own_pair))
        return decisions


@functools.cache
def _default() -> Router:
    return Router.load(DEFAULT_ROUTER)


RouterLike: TypeAlias = "Router | Callable[[str], float] | str | os.PathLike[str] | None"
"""What the plug-ins take as ``router``: a router, a function, "default" or None, or the path of an artifact."""


def as_router(router: RouterLike) -> Router:
    """The router that is meant.

    Raises:
        ArtifactError: A path that leads to no usable artifact.
        ScoreError: Something that is neither a router, a callable, nor a path.
    """
    if router is None or router == "default":
        return Router.default()
    if isinstance(router, Router):
        return router
    if isinstance(router, str | os.PathLike):
        return Router.load(router)
    if callable(router):
        return Router.from_callable(router)
    raise ScoreError(f"router is a Router, a function str -> float, a path or None, got {type(router).__name__}")
