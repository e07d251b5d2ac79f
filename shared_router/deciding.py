"""Requests → decisions, as both plug-ins ask for them: nothing that goes wrong in here fails the user's call.

Around ``Router.route_many`` this adds what belongs to a running application: who answers where the router fails or
takes too long, which model a conversation has settled on, and whether scoring is quick enough for the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from shared_router.conversations import Conversations
from shared_router.decision import RoutingDecision, overridden
from shared_router.errors import KnobError
from shared_router.guards import Call, Capabilities, Needs, Stickiness, Verdict, verdict
from shared_router.knob import ALWAYS_LARGE, DEFAULT_KNOB, Knob, OperatingPoint
from shared_router.limits import Limit
from shared_router.monitor import DriftMonitor
from shared_router.records import Target, Turn
from shared_router.router import Router

__all__ = ["Decider", "Fallback", "OnDrift", "RoutingRequest", "may_fall_back"]

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

Fallback: TypeAlias = Literal["large", "other"]
"""Who is asked once where the chosen model fails: the large model if the small one did, or either for the other."""

OnDrift: TypeAlias = Literal["large", "report"] | float
"""What becomes of promises once the traffic has drifted: all to the large model, a word in the decision, or a
``quality`` to work at until the router is calibrated again."""

SLOW_SCORING = 0.001
"""Seconds from which scoring leaves the event loop; the hop to a thread costs a tenth of that."""

SETTLING = frozenset({"score", "switch_cost", "uncertified", "drift"})
"""Reasons that settle a conversation on a model; what a guard demands is an exception, and the next turn forgets it."""

DEMANDED = frozenset({"forced", "modality", "tools", "structured_output", "context_window", "sticky"})
"""Reasons that a limit does not overrule; what they send to the large model counts all the same."""

ONLY_ONE_CAN = frozenset({"forced", "modality", "tools", "structured_output", "context_window"})
"""Reasons for which the other model is no alternative."""


@dataclass(frozen=True, slots=True)
class RoutingRequest:
    """One call, as a plug-in describes it.

    Attributes:
        query: The text to judge, or the turns to take it from.
        knob: The wish that holds for this call.
        needs: What it asks of a model beyond text.
        capabilities: What the two models can do; a model that is not named can do everything.
        conversation: What the conversation is known by; None where it is not to be remembered.
        in_loop: A further step of a loop (a tool has just answered) that serves a query which was judged already.
    """

    query: str | Sequence[Turn]
    knob: Knob = DEFAULT_KNOB
    needs: Needs = field(default_factory=Needs)
    capabilities: Mapping[Target, Capabilities] = field(default_factory=dict)
    conversation: Hashable | None = None
    in_loop: bool = False


@dataclass(slots=True)
class Decider:
    """Asks a router on behalf of a plug-in.

    Attributes:
        router: The router.
        on_router_error: Who answers where the router raises or is too slow.
        time_limit: Seconds that scoring may take; None for as long as it takes. A scorer that is still busy then goes
            on in the background, unheard.
        stickiness: Whether conversations keep their model.
        on_drift: What becomes of promises once the traffic has drifted; None for all to the large model where they were
            certified, and a word in the decision where they were not.
        conversations: Which model each conversation has settled on.
        limit: What the large model may be asked at most; None for no limit.
        monitor: Watches whether the traffic is still that of the calibration set; None where there is none.
        seconds_per_text: How long scoring took last; infinite at first, so that a slow scorer never holds up the event
            loop.
    """

    router: Router
    on_router_error: Target = "large"
    time_limit: float | None = None
    stickiness: Stickiness = field(default_factory=Stickiness)
    on_drift: OnDrift | None = None
    conversations: Conversations = field(default_factory=Conversations)
    limit: Limit | None = None
    monitor: DriftMonitor | None = None
    seconds_per_text: float = math.inf

    def decide(self, requests: Sequence[RoutingRequest]) -> list[RoutingDecision]:
        """Decisions for many requests, scored in one pass.

        Args:
            requests: Length n.

        Returns:
            n decisions in the same order.

        Raises:
            KnobError: The router cannot grant a knob: the caller's mistake, the only error that is not caught.
        """
        begin = time.perf_counter()
        calls = [self._call(request) for request in requests]
        decisions = self._watched(requests, self._in_time([request.query for request in requests], calls))
        if self.limit is not None:
            decisions = [_limited(self.limit, decision) for decision in decisions]
        for request, decision in zip(requests, decisions, strict=True):
            if decision.reason in SETTLING:
                self.conversations.remember(request.conversation, decision.target)
        self.seconds_per_text = (time.perf_counter() - begin) / max(len(requests), 1)
        return decisions

    async def adecide(self, requests: Sequence[RoutingRequest]) -> list[RoutingDecision]:
        """The same, in a thread where it takes long; see ``decide``."""
        # what was fast may hang today: where the user set a limit, the loop does not wait for it
        if self.time_limit is None and self.seconds_per_text * len(requests) < SLOW_SCORING:
            return self.decide(requests)
        return await asyncio.to_thread(self.decide, requests)

    def guarded(self, request: RoutingRequest) -> RoutingDecision | None:
        """The decision on a call about which a guard speaks, so that nothing is scored; None where none does.

        Args:
            request: One call.
        """
        call = self._call(request)
        word = verdict(call)
        if word is None:
            return None
        decision = overridden(word, call, router_id=self.router.router_id)
        return decision if self.limit is None else _limited(self.limit, decision)

    def _call(self, request: RoutingRequest) -> Call:
        return Call(
            knob=request.knob,
            needs=request.needs,
            capabilities=request.capabilities,
            previous=self.conversations.previous(request.conversation),
            stickiness=self.stickiness,
        )

    def _watched(self, requests: Sequence[RoutingRequest], decisions: list[RoutingDecision]) -> list[RoutingDecision]:
        """The decisions as they stand in traffic that may have drifted; what was scored is counted."""
        monitor = self.monitor
        if monitor is None:
            return decisions
        before = monitor.drifted
        new = [
            (decision.difficulty, decision)
            for request, decision in zip(requests, decisions, strict=True)
            # an agent asks about one query with every step of its loop: only the first one counts. What
            # users repeat counts as often as they do
            if decision.difficulty is not None and not request.in_loop
        ]
        monitor.observe(
            [difficulty for difficulty, _ in new],
            [decision.target == "large" for _, decision in new],
            [decision.large_share for _, decision in new],
        )
        if not monitor.drifted:
            return decisions
        if not before:
            logger.warning(
                "%r: the difficulties of the traffic are no longer those it was calibrated on; what it promises does "
                "not hold until it is calibrated again (hybrid-llm calibrate)",
                self.router,
            )
        return [decision.after_drift(self._safer(decision)) for decision in decisions]

    def _safer(self, decision: RoutingDecision) -> OperatingPoint | None:
        by_default: OnDrift = "large" if decision.knob.confidence is not None else "report"
        wish = by_default if self.on_drift is None else self.on_drift
        if wish == "report":
            return None
        return ALWAYS_LARGE if wish == "large" else self.router.operating_point(Knob("quality", wish))

    def _in_time(self, queries: Sequence[str | Sequence[Turn]], calls: Sequence[Call]) -> list[RoutingDecision]:
        if self.time_limit is None:
            return self._safely(queries, calls)
        try:
            return _within(self.time_limit, lambda: self._safely(queries, calls))
        except TimeoutError:
            logger.warning(
                "%r took more than %g s; the call goes to the %s model",
                self.router,
                self.time_limit,
                self.on_router_error,
            )
            return [self._given_up(call, "router_timeout") for call in calls]

    def _safely(self, queries: Sequence[str | Sequence[Turn]], calls: Sequence[Call]) -> list[RoutingDecision]:
        try:
            return self.router.route_many(queries, calls)
        except KnobError:
            raise
        except Exception as error:  # a router may be anybody's function: it must not take the answer down
            if len(queries) > 1:  # in a batch only the queries that cannot be judged are given up
                return [self._safely([query], [call])[0] for query, call in zip(queries, calls, strict=True)]
            # the text stays out of the log
            logger.warning(
                "%r could not judge a query (%s); it goes to the %s model",
                self.router,
                type(error).__name__,
                self.on_router_error,
            )
            return [self._given_up(call, "router_error") for call in calls]

    def _given_up(self, call: Call, reason: str) -> RoutingDecision:
        # the guards' word stands: it was not the router's to begin with
        word = verdict(call) or Verdict(self.on_router_error, reason)
        return overridden(word, call, router_id=self.router.router_id)


def _limited(limit: Limit, decision: RoutingDecision) -> RoutingDecision:
    if decision.reason in DEMANDED:
        limit.note(decision.target)
        return decision
    wanted = decision.target == "large"
    return decision if limit.admits(decision.difficulty, wanted=wanted) or not wanted else decision.over_limit()


def may_fall_back(decision: RoutingDecision, fallback: Fallback | None) -> bool:
    """Whether the other model is asked once after the chosen one failed before its first token.

    Never after a fallback, and not where the user or a capability demanded this very model.

    Args:
        decision: The decision that led to the failure.
        fallback: What the user allowed; None for nothing.
    """
    if fallback is None or decision.failed is not None or decision.reason in ONLY_ONE_CAN:
        return False
    return fallback == "other" or decision.target == "small"


def _within(seconds: float, function: Callable[[], Value]) -> Value:
    """What ``function`` returns or raises, if it does so in time.

    Raises:
        TimeoutError: It did not.
    """
    outcome: list[Value] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # handed over to the caller's thread
            failure.append(error)

    # a daemon, unlike an executor's thread, does not keep the interpreter from ending while it hangs
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(run,), name="hybrid-llm-scoring", daemon=True
    )
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError
    return outcome[0]
