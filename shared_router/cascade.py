"""Ask the small model first, and the large one where the small one's answer is uncertain.

Two-tier selection (Ramírez, Birch & Titov, COLM 2024, arXiv 2405.02134): the small model's own uncertainty decides,
with no model beside the two (``shared_router.uncertainty``); where a model reports no log-probabilities, a scorer that
was learned from answers can take its place (FrugalGPT, arXiv 2305.05176). An uncertainty has the orientation of a
difficulty: in [0, 1], the large model is asked iff uncertainty ≥ threshold. So every knob keeps its meaning:

    threshold          the cut on the uncertainty
    large_share        a running quantile of the uncertainties seen of late; needs no labels (§4.2 of the paper's code)
    quality, max_drop  a threshold looked up, or certified, on labelled answers of one's own pair: only where a fitted
                       cascade is given (``shared_router.training.answers``)
    route              no cascade: that model

``policy="route_then_cascade"`` asks a router before the call as well: from ``route_threshold`` on, the large model is
asked at once, which saves the small one's answer where it would be thrown away. Such a call counts as one of
uncertainty 1, so that shares, promises and certificates hold for the two steps together.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeAlias, cast, runtime_checkable

from shared_router.artifact import Artifact
from shared_router.calibration import Calibrator
from shared_router.calibration_set import CalibrationSet
from shared_router.deciding import Decider, RoutingRequest
from shared_router.decision import RoutingDecision
from shared_router.errors import ArtifactFormatError, HybridError, KnobError, ScoreError
from shared_router.knob import PROMISES, Knob, OperatingCurve, OperatingPoint
from shared_router.monitor import DriftMonitor
from shared_router.records import Target
from shared_router.router import Router
from shared_router.uncertainty import FIRST_TOKEN_MEASURES, MEASURES, Evidence, MeasureName, measured

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "CASCADE",
    "DEFAULT_ROUTE_THRESHOLD",
    "AnswerJudge",
    "Cascade",
    "CascadeDecider",
    "CurrentCascade",
    "Policy",
    "RunningThreshold",
    "UncertaintyLike",
    "as_cascade",
    "check_policy",
    "escalation_share",
]

logger = logging.getLogger(__name__)

Policy: TypeAlias = Literal["route", "cascade", "route_then_cascade"]

CASCADE = "cascade"
"""Reason of the decision to ask the small model first; a second decision follows its answer."""

DEFAULT_ROUTE_THRESHOLD = 0.9
"""Asking the small model first saves nothing where its answer is thrown away with a probability above 1 − c₁/c₂; at a
tenth of the large model's price that is 0.9."""

WARM_UP = 20
WINDOW = 2000
OWED = 5.0
"""Calls that may be owed to the large model, or to the small one, before the account stops counting."""

UNCERTAINTY_DECIMALS = 6

MEASURE = "uncertainty"
"""Scorer kind of an artifact that holds a named measure."""


def escalation_share(budget: float, small_cost: float, large_cost: float) -> float:
    """The share of calls that a cascade may pass on: min((b − c₁)/c₂, 1), since c₁ is paid for every call (§4.2).

    Args:
        budget: Mean amount b that a call may cost.
        small_cost: Mean cost c₁ of a call of the small model, ≥ 0.
        large_cost: Mean cost c₂ of a call of the large model, > 0.

    Returns:
        A ``large_share`` in [0, 1].

    Raises:
        KnobError: The budget does not pay for the small model, or a cost is out of range.
    """
    if not (0.0 <= small_cost < math.inf and 0.0 < large_cost < math.inf):
        raise KnobError(f"costs are finite, small_cost ≥ 0 and large_cost > 0, got {small_cost!r} and {large_cost!r}")
    if not budget >= small_cost:
        raise KnobError(f"a budget of {budget!r} a call does not pay for the small model, which costs {small_cost!r}")
    return min((budget - small_cost) / large_cost, 1.0)


class RunningThreshold:
    """Passes on the most uncertain share of the answers, whatever their uncertainties are like; needs no labels.

    The paper's code inserts each margin into a sorted list of all and passes an answer on iff its margin is below the
    element ⌊n·p⌋, never among the first twenty (§4.2). Here the list is of the last ``window`` uncertainties, so that
    memory is bounded and what is uncertain may drift; and of answers exactly at the threshold, which is where all lie
    that a coarse measure cannot tell apart, as many are passed on as the share is still owed.

    Safe to share between threads; a copy in another process starts anew.

    Args:
        window: Uncertainties that are remembered.
        warm_up: Answers before which none is passed on, except at a share of 1.
    """

    def __init__(self, *, window: int = WINDOW, warm_up: int = WARM_UP) -> None:
        self.window = window
        self.warm_up = warm_up
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()
        self._ranked: list[float] = []
        self._owed = 0.0

    def __len__(self) -> int:
        return len(self._recent)

    def passes_on(self, uncertainty: float, share: float, *, anyhow: bool = False) -> tuple[bool, float | None]:
        """Whether an answer is among the most uncertain share; it is remembered.

        Args:
            uncertainty: In [0, 1].
            share: In [0, 1].
            anyhow: It is passed on whatever its uncertainty, and counts.

        Returns:
            Whether, and the threshold that was applied; None before there is one.
        """
        with self._lock:
            self._remember(uncertainty)
            threshold, within = self._compared(uncertainty, share)
            passed = within or anyhow
            if threshold is not None or anyhow:
                self._owed = min(max(self._owed + share - passed, -OWED), OWED)
            return passed, threshold

    def remember(self, uncertainty: float) -> None:
        """Note an uncertainty that something else decided about."""
        with self._lock:
            self._remember(uncertainty)

    def would_pass_on(self, uncertainty: float, share: float) -> bool:
        """Whether an answer of that uncertainty would be passed on; nothing is remembered."""
        with self._lock:
            return self._compared(uncertainty, share)[1]

    def _compared(self, uncertainty: float, share: float) -> tuple[float | None, bool]:
        if share >= 1.0:
            return 0.0, True
        n = len(self._ranked)
        if n <= self.warm_up or share <= 0.0:
            return None, False
        # the list rises: the element that ⌊n·p⌋ lie above
        threshold = self._ranked[n - 1 - min(math.floor(n * share), n - 1)]
        owed = self._owed + share >= 1.0 - 1e-9
        return threshold, uncertainty > threshold or (uncertainty == threshold and owed)

    def _remember(self, uncertainty: float) -> None:
        self._recent.append(uncertainty)
        insort(self._ranked, uncertainty)
        if len(self._recent) > self.window:
            del self._ranked[bisect_left(self._ranked, self._recent.popleft())]

    def __reduce__(self) -> tuple[Callable[..., RunningThreshold], tuple[int, int]]:
        # a lock does not travel, and answers elsewhere are counted there
        return _running_threshold, (self.window, self.warm_up)


def _running_threshold(window: int, warm_up: int) -> RunningThreshold:
    return RunningThreshold(window=window, warm_up=warm_up)


@runtime_checkable
class AnswerJudge(Protocol):
    """What judges answers by query and text; ``shared_router.scorers.answer_features.AnswerScorer`` is one."""

    def score(self, queries: Sequence[str], answers: Sequence[str]) -> npt.NDArray[np.float64]:
        """Raw scores, high where the answer probably falls short, shape (n,)."""
        ...


OwnFunction: TypeAlias = Callable[[str, Any], float]
"""A user's function of the prompt's text and the host's message that returns an uncertainty in [0, 1]."""


def _judges_answers(texts: Sequence[str], /) -> NoReturn:
    raise ScoreError("a cascade judges answers, not queries")


class Cascade:
    """How an answer of the small model is judged, and where the cut lies.

    Immutable and free of locks: one instance can be shared between threads and models.

    Args:
        measure: A name of ``shared_router.uncertainty``, a learned judge of answers, or a function of the prompt's text
            and the host's message that returns a number in [0, 1].
        samples: Answers that are drawn for ``self_consistency``, ≥ 2. The small model must sample: at temperature 0
            all are alike.
        alternatives: Alternatives per token that the small model's server is asked for, where it can be, 1 to 20.
        held_tokens: Chunks of a stream after which a measure of the first token gives up waiting for
            log-probabilities, ≥ 1.
        calibration: Measured → P(the small model falls short); None for what is measured.
        curve: The operating curve on labelled answers; None without labels.
        calibration_set: Labelled answers on which promises are certified; None without labels.
        route_threshold: Difficulty from which the calls of those labels went to the large model at once; None for none.
        cascade_id: Names it in every decision; None for the measure's own name.

    Raises:
        KnobError: There is no such measure, or a number is out of range.
    """

    def __init__(
        self,
        measure: MeasureName | AnswerJudge | OwnFunction = "first_token_margin",
        *,
        samples: int = 5,
        alternatives: int = 5,
        held_tokens: int = 16,
        calibration: Calibrator | None = None,
        curve: OperatingCurve | None = None,
        calibration_set: CalibrationSet | None = None,
        route_threshold: float | None = None,
        cascade_id: str | None = None,
    ) -> None:
        if isinstance(measure, str) and measure not in MEASURES:
            raise KnobError(_unknown(measure))
        if not isinstance(measure, str | AnswerJudge) and not callable(measure):
            raise KnobError(f"an uncertainty is one of {', '.join(MEASURES)}, or a function, got {measure!r}")
        self.measure = measure
        self.samples = _whole("samples", samples, 2, 100)
        self.alternatives = _whole("alternatives", alternatives, 1, 20)
        self.held_tokens = _whole("held_tokens", held_tokens, 1, 10_000)
        self.calibration = calibration
        self.route_threshold = route_threshold
        self.cascade_id = cascade_id or _name(measure)
        self._points = Router(
            cast("Any", _judges_answers),
            curve=curve,
            router_id=self.cascade_id,
            own_pair=True,
            calibration_set=calibration_set,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Cascade:
        """A fitted cascade from an artifact folder.

        Raises:
            ArtifactError: The folder is missing, foreign, damaged, tampered with, of a newer format, or holds a router.
        """
        return cls.from_artifact(Artifact.load(path))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Cascade:
        """A fitted cascade from an artifact in memory.

        Raises:
            ArtifactFormatError: It holds no measure of answers, or one that this release does not know.
        """
        settings = dict(cast("dict[str, Any]", artifact.scorer_config.get("cascade") or {}))
        if artifact.scorer_kind != MEASURE:
            settings["measure"] = _answer_judge(artifact)
        try:
            return cls(
                **settings,
                calibration=artifact.calibration,
                curve=artifact.curve,
                calibration_set=artifact.calibration_set,
                cascade_id=f"{artifact.name}@{artifact.content_hash[:12] or 'unsaved'}",
            )
        except (TypeError, KnobError) as error:
            raise ArtifactFormatError(f"{artifact.name!r} holds no cascade of this release: {error}") from error

    def __repr__(self) -> str:
        """Its id; never weights."""
        return f"Cascade({self.cascade_id!r})"

    @property
    def curve(self) -> OperatingCurve | None:
        """The operating curve on labelled answers; None without labels."""
        return self._points.curve

    @property
    def calibration_set(self) -> CalibrationSet | None:
        """Labelled answers on which promises are certified; None without labels."""
        return self._points.calibration_set

    @property
    def draws(self) -> int:
        """Answers of the small model that a call takes."""
        return self.samples if self.measure == "self_consistency" else 1

    @property
    def reads_tokens(self) -> bool:
        """Whether log-probabilities are needed."""
        return isinstance(self.measure, str) and self.measure != "self_consistency"

    @property
    def decides_early(self) -> bool:
        """Whether the first token tells all."""
        return isinstance(self.measure, str) and self.measure in FIRST_TOKEN_MEASURES

    def uncertainty(self, evidence: Evidence) -> float:
        """How unsure the small model was; what cannot be said counts as unsure, and is logged.

        Args:
            evidence: What is known of its answer.

        Returns:
            In [0, 1].
        """
        if not evidence.usable:
            return 1.0
        found = self._measured(evidence)
        if found is None:
            return 1.0
        if self.calibration is not None:
            import numpy as np  # with the first answer, not with the package

            found = float(self.calibration.probability(np.array([found], dtype=np.float64))[0])
        return round(min(max(found, 0.0), 1.0), UNCERTAINTY_DECIMALS)

    def _measured(self, evidence: Evidence) -> float | None:
        if isinstance(self.measure, str):
            found = measured(self.measure, evidence)
            if found is None:
                _say_once(self.cascade_id, "the small model's answer came without what it is measured on")
            return found
        if isinstance(self.measure, AnswerJudge):
            return float(self.measure.score([evidence.query], [evidence.answer])[0])
        try:
            value = float(self.measure(evidence.query, evidence.message))
        except Exception as error:  # a user's function must not take the answer down
            _say_once(self.cascade_id, f"it failed ({type(error).__name__})")
            return None
        if not 0.0 <= value <= 1.0:
            _say_once(self.cascade_id, f"it returned {value!r}, which is no uncertainty in [0, 1]")
            return None
        return value

    def operating_point(self, knob: Knob) -> OperatingPoint:
        """Where the cascade works under a knob.

        Args:
            knob: The wish; neither ``route`` nor ``large_share``, which is kept by a running quantile.

        Raises:
            KnobError: A promise, and no labels to keep it on.
        """
        if knob.name == "large_share":
            raise KnobError("a cascade keeps a large_share by what it sees; there is no operating point to look up")
        if knob.name in PROMISES and self._points.curve is None:
            raise KnobError(
                f"{knob.name} needs a cascade that was fitted on labelled answers of your own pair "
                "(shared_router.training.answers); without labels say large_share or threshold"
            )
        return self._points.operating_point(knob)


def _answer_judge(artifact: Artifact) -> AnswerJudge:
    from shared_router.scorers.answer_features import AnswerScorer  # loads numpy

    if artifact.scorer_kind != AnswerScorer.kind:
        raise ArtifactFormatError(
            f"{artifact.name!r} holds a {artifact.scorer_kind} scorer, which judges queries before the call: give it "
            "as router=, not as uncertainty="
        )
    return AnswerScorer.from_state(artifact.scorer_config, artifact.tensors)


def _name(measure: object) -> str:
    if isinstance(measure, str):
        return measure
    return getattr(measure, "__name__", type(measure).__name__)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, MEASURES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no uncertainty {name!r}{hint} (there are: {', '.join(MEASURES)}, or the folder of a fitted one)"


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise KnobError(f"{name} is a whole number from {low} to {high}, got {value!r}")
    return value


_said: set[tuple[str, str]] = set()


def _say_once(name: str, what: str) -> None:
    if (name, what) in _said or len(_said) > 1000:
        return
    _said.add((name, what))
    logger.warning("%s could not judge an answer: %s; such answers count as uncertain", name, what)


UncertaintyLike: TypeAlias = "Cascade | MeasureName | OwnFunction | str | os.PathLike[str] | None"
"""What the plug-ins take as ``uncertainty``: a name, a function, the folder of a fitted cascade, or a ``Cascade``."""


def as_cascade(uncertainty: UncertaintyLike) -> Cascade:
    """The cascade that is meant; None for the first token's margin.

    Raises:
        KnobError: There is no such measure.
        ArtifactError: A path that leads to no usable artifact.
    """
    if uncertainty is None:
        return Cascade()
    if isinstance(uncertainty, Cascade):
        return uncertainty
    if isinstance(uncertainty, str) and uncertainty not in MEASURES and not Path(uncertainty).exists():
        raise KnobError(_unknown(uncertainty))
    if isinstance(uncertainty, os.PathLike) or (isinstance(uncertainty, str) and uncertainty not in MEASURES):
        return Cascade.load(uncertainty)
    return Cascade(cast("Any", uncertainty))


@dataclass(slots=True)
class CascadeDecider:
    """Decides before the call whether the small model is asked first, and after its answer whether it stands.

    Attributes:
        decider: Asks the router and the guards, and keeps what the application has set.
        cascade: How answers are judged.
        route_threshold: Difficulty from which the large model is asked at once; None for no router before the call.
        running: The uncertainties seen of late.
    """

    decider: Decider
    cascade: Cascade
    route_threshold: float | None = None
    running: RunningThreshold = field(default_factory=RunningThreshold)
    _scorer: Decider = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """The decider that only scores: what a limit lets through is known after the answer."""
        self._scorer = replace(self.decider, limit=None)

    @property
    def monitor(self) -> DriftMonitor | None:
        """What watches the traffic before the call; None where no router looks at it."""
        return self.decider.monitor if self.route_threshold is not None else None

    def decide(self, requests: Sequence[RoutingRequest]) -> list[RoutingDecision]:
        """Decisions for many requests before anything is asked.

        Args:
            requests: Length n.

        Returns:
            n decisions in the same order; where one has the reason ``CASCADE``, ``after_answer`` makes the next.

        Raises:
            KnobError: The cascade cannot grant a knob.
        """
        settled = [self._settled(request) for request in requests]
        if self.route_threshold is not None:
            open_ones = [i for i, decision in enumerate(settled) if decision is None]
            scored = self._scorer.decide([self._to_score(requests[i]) for i in open_ones])
            for i, decision in zip(open_ones, scored, strict=True):
                settled[i] = self._after_score(requests[i], decision)
        return [
            self._first(request, None) if decision is None else decision
            for request, decision in zip(requests, settled, strict=True)
        ]

    async def adecide(self, requests: Sequence[RoutingRequest]) -> list[RoutingDecision]:
        """The same, in a thread where the router takes long; see ``decide``."""
        if self.route_threshold is None:
            return self.decide(requests)
        settled = [self._settled(request) for request in requests]
        open_ones = [i for i, decision in enumerate(settled) if decision is None]
        scored = await self._scorer.adecide([self._to_score(requests[i]) for i in open_ones])
        for i, decision in zip(open_ones, scored, strict=True):
            settled[i] = self._after_score(requests[i], decision)
        return cast("list[RoutingDecision]", settled)

    def after_answer(
        self, decision: RoutingDecision, evidence: Evidence, conversation: Hashable | None = None
    ) -> RoutingDecision:
        """Whether the small model's answer stands.

        Args:
            decision: The one that had it asked.
            evidence: What is known of its answer.
            conversation: What the conversation is known by.

        Returns:
            "confident" for the small model, "uncertain" for the large one, or "budget" where a limit keeps an uncertain
            answer from it. An unusable answer is never handed out.
        """
        uncertainty = self.cascade.uncertainty(evidence)
        up, threshold, point = self._compared(uncertainty, decision.knob, anyhow=not evidence.usable)
        target: Target = "large" if up else "small"
        reason = "uncertain" if up else "confident"
        if self.decider.limit is not None:
            if not evidence.usable:
                self.decider.limit.note("large")
            elif not self.decider.limit.admits(uncertainty, wanted=up) and up:
                target, reason = "small", "budget"
        if reason != "budget":
            self.decider.conversations.remember(conversation, target)
        asked: list[Target] = ["small"] * max(len(evidence.samples), 1)
        kept = point is not None and reason != "budget"
        return replace(
            decision,
            target=target,
            reason=reason,
            threshold=threshold,
            uncertainty=uncertainty,
            asked=(*asked, "large") if target == "large" else tuple(asked),
            calibrated=point is not None,
            large_share=point.large_share if point is not None and kept else None,
            certified=point is not None and point.certificate == "certified" and kept,
        )

    def after_failure(self, decision: RoutingDecision, error: BaseException) -> RoutingDecision:
        """The decision to ask the large model after the small one failed; it counts as an uncertain call.

        Args:
            decision: The one that had the small model asked.
            error: What that raised; only its class name is kept.
        """
        if decision.knob.name == "large_share":
            self.running.passes_on(1.0, cast("float", decision.knob.value), anyhow=True)
        if self.decider.limit is not None:
            self.decider.limit.note("large")
        return replace(decision.after_failure(error), asked=("small", "large"))

    def _compared(
        self, uncertainty: float, knob: Knob, *, anyhow: bool
    ) -> tuple[bool, float | None, OperatingPoint | None]:
        if knob.name == "large_share":
            up, threshold = self.running.passes_on(uncertainty, cast("float", knob.value), anyhow=anyhow)
            return up, threshold, None
        self.running.remember(uncertainty)
        point = _granted(self.cascade, self.route_threshold, knob)
        up = anyhow or uncertainty >= point.threshold
        return up, point.threshold, None if knob.name == "threshold" else point

    def _settled(self, request: RoutingRequest) -> RoutingDecision | None:
        """The decision on a call that is not for the cascade to make."""
        guarded = self.decider.guarded(request)
        if guarded is not None:
            return guarded
        if request.knob.name == "large_share":
            return None
        point = _granted(self.cascade, self.route_threshold, request.knob)
        if point.threshold > 0.0:
            return None
        # the small model's answer would be thrown away whatever it is
        uncertified = point.certificate == "uncertified"
        return self._at_once(
            replace(
                self._first(request, None),
                target="large",
                reason="uncertified" if uncertified else "uncertain",
                threshold=point.threshold,
                large_share=point.large_share,
            ),
            request,
        )

    def _after_score(self, request: RoutingRequest, scored: RoutingDecision) -> RoutingDecision:
        direct = scored.target == "large" and scored.difficulty is not None
        if direct and request.knob.name == "large_share":
            # a share is kept by both steps together: the hardest queries count as the most uncertain answers
            direct = self.running.would_pass_on(1.0, cast("float", request.knob.value))
        if not direct:
            return self._first(request, scored.difficulty)
        return self._at_once(replace(scored, knob=request.knob, calibrated=False, large_share=None), request)

    def _at_once(self, decision: RoutingDecision, request: RoutingRequest) -> RoutingDecision:
        """The decision to ask the large model without the small one, if the limit lets it."""
        if self.decider.limit is not None and not self.decider.limit.admits(1.0, wanted=True):
            return decision.over_limit()
        if request.knob.name == "large_share":
            self.running.passes_on(1.0, cast("float", request.knob.value), anyhow=True)
        self.decider.conversations.remember(request.conversation, "large")
        return decision

    def _first(self, request: RoutingRequest, difficulty: float | None) -> RoutingDecision:
        return RoutingDecision(
            target="small",
            reason=CASCADE,
            difficulty=difficulty,
            threshold=None,
            knob=request.knob,
            router_id=self.cascade.cascade_id,
            calibrated=False,
        )

    def _to_score(self, request: RoutingRequest) -> RoutingRequest:
        # who answers is not settled by the score alone
        return replace(request, knob=Knob("threshold", cast("float", self.route_threshold)), conversation=None)


@dataclass(slots=True)
class CurrentCascade:
    """The cascade decider for the settings that hold now; made anew when one was reassigned, with the same memory."""

    _running: RunningThreshold = field(default_factory=RunningThreshold)
    _made: tuple[tuple[Any, ...], CascadeDecider] | None = None

    def over(
        self, decider: Decider, policy: Policy, uncertainty: UncertaintyLike, route_threshold: float | None
    ) -> CascadeDecider:
        """The decider under these settings, the one made before if they are the same.

        Args:
            decider: Asks the router and the guards.
            policy: "cascade" or "route_then_cascade".
            uncertainty: As the user set it.
            route_threshold: As the user set it; None for the fitted cascade's, or else the default.
        """
        settings = (decider, policy, uncertainty, route_threshold)
        made = self._made
        if made is None or any(one is not other for one, other in zip(made[0], settings, strict=True)):
            cascade = as_cascade(uncertainty)
            cut = _route_threshold(policy, cascade, route_threshold)
            made = (settings, CascadeDecider(decider, cascade, cut, self._running))
            self._made = made
        return made[1]


def _route_threshold(policy: Policy, cascade: Cascade, route_threshold: float | None) -> float | None:
    if policy == "cascade":
        return None
    if route_threshold is not None:
        return route_threshold
    return DEFAULT_ROUTE_THRESHOLD if cascade.route_threshold is None else cascade.route_threshold


def _granted(cascade: Cascade, route_threshold: float | None, knob: Knob) -> OperatingPoint:
    """The operating point under a knob, if what the cascade was fitted with is what it works with.

    Raises:
        KnobError: A promise without labels, or measured with another ``route_threshold``.
    """
    if knob.name in PROMISES and cascade.curve is not None and route_threshold != cascade.route_threshold:
        raise KnobError(
            f"{cascade!r} was fitted with route_threshold={cascade.route_threshold!r} and works with "
            f"{route_threshold!r} here, for which its labels promise no {knob.name}: fit it again, or say threshold "
            "or large_share"
        )
    return cascade.operating_point(knob)


def check_policy(
    policy: Policy, uncertainty: UncertaintyLike, knob: Knob, route_threshold: float | None, stickiness: str
) -> Cascade:
    """Refuse settings of a cascade that contradict each other.

    Args:
        policy: As the user set it.
        uncertainty: As the user set it.
        knob: The wish that holds where a call says nothing.
        route_threshold: As the user set it.
        stickiness: As the user set it.

    Returns:
        How answers are judged.

    Raises:
        KnobError: There is no such uncertainty, or it cannot grant the knob.
        HybridError: Another setting does not go with the policy.
        ArtifactError: ``uncertainty`` is a path that leads to no usable artifact.
    """
    cascade = as_cascade(uncertainty)
    if policy == "route":
        # a cascade that was asked for and does not happen would go unnoticed
        if uncertainty is not None:
            raise HybridError('uncertainty belongs to policy="cascade" or "route_then_cascade"; policy is "route"')
    elif stickiness == "switch_cost":
        raise HybridError("a switch cost weighs a difficulty; with a cascade, stickiness is per_call or sticky")
    if policy != "route_then_cascade" and route_threshold is not None:
        raise HybridError(f'route_threshold belongs to policy="route_then_cascade"; policy is {policy!r}')
    if policy != "route" and knob.name not in ("large_share", "route"):
        _granted(cascade, _route_threshold(policy, cascade, route_threshold), knob)
    return cascade
