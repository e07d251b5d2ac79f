"""Calls → decisions, on the event loop or beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import BaseMessage
from langchain_core.runnables.config import run_in_executor

from langchain_hybrid.messages import to_turns
from shared_router.decision import RoutingDecision
from shared_router.knob import Knob
from shared_router.records import Target
from shared_router.router import Router, route_safely

__all__ = ["Decider"]

SLOW_SCORING = 0.001
"""Seconds from which scoring leaves the event loop; the hop to a thread costs a tenth of that."""


@dataclass(slots=True)
class Decider:
    """Asks the router, and remembers how long it takes.

    Attributes:
        seconds_per_text: As measured last; infinite at first, so that a slow scorer never holds up the event loop.
    """

    seconds_per_text: float = math.inf

    def decide(
        self, router: Router, prompts: Sequence[list[BaseMessage]], knobs: Sequence[Knob], on_router_error: Target
    ) -> list[RoutingDecision]:
        """Decisions for many prompts, scored in one pass.

        Args:
            router: The router.
            prompts: The conversations, length n.
            knobs: The wish for each, length n.
            on_router_error: Who answers where the router fails.

        Raises:
            KnobError: The router cannot grant a knob.
        """
        begin = time.perf_counter()
        turns = [to_turns(prompt) for prompt in prompts]
        decisions = route_safely(router, turns, knobs, on_router_error=on_router_error)
        self.seconds_per_text = (time.perf_counter() - begin) / max(len(prompts), 1)
        return decisions

    async def adecide(
        self, router: Router, prompts: Sequence[list[BaseMessage]], knobs: Sequence[Knob], on_router_error: Target
    ) -> list[RoutingDecision]:
        """The same, in a thread where it takes long; see ``decide``."""
        if self.seconds_per_text * len(prompts) < SLOW_SCORING:
            return self.decide(router, prompts, knobs, on_router_error)
        return await run_in_executor(None, self.decide, router, prompts, knobs, on_router_error)
