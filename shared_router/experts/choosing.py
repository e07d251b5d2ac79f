"""Calls → choices of experts, as both plug-ins ask for them: nothing that goes wrong in here fails the user's call.

In order: an expert that the user demands; then the router's ranking, less those that cannot serve the call.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared_router.deciding import SLOW_SCORING
from shared_router.errors import HybridError, KnobError
from shared_router.experts.decision import Choice
from shared_router.experts.router import RankedExperts, RanksExperts
from shared_router.guards import Capabilities, Needs
from shared_router.query import query_text
from shared_router.records import Turn

__all__ = ["Asked", "ExpertChooser", "checked_expert", "checked_experts", "checked_fallback"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, as a plug-in describes it.

    Attributes:
        query: The text to judge, or the turns to take it from.
        expert: The expert that the user demands; None for the router's choice.
        needs: What it asks of a model beyond text.
        capabilities: What each expert can do; one that is not named can do everything.
    """

    query: str | Sequence[Turn]
    expert: str | None = None
    needs: Needs = field(default_factory=Needs)
    capabilities: Mapping[str, Capabilities] = field(default_factory=dict)


@dataclass(slots=True)
class ExpertChooser:
    """Asks a router on behalf of a plug-in.

    Attributes:
        router: The router.
        experts: The models that there are, in the user's order.
        on_router_error: Who answers where the router fails; None for whom it holds best overall, else the first.
        seconds_per_text: How long it took last; infinite at first, so that a slow router never holds up the event loop.
    """

    router: RanksExperts
    experts: tuple[str, ...]
    on_router_error: str | None = None
    seconds_per_text: float = math.inf

    def choose(self, calls: Sequence[Asked]) -> list[Choice]:
        """Choices for many calls, all texts judged in one pass.

        Args:
            calls: Length n.

        Returns:
            n choices in the same order.

        Raises:
            KnobError: A difficulty router cannot grant its knob: the caller's mistake.
        """
        begun = time.perf_counter()
        judged = [call for call in calls if call.expert is None]
        ranked = iter(self._ranked(judged))
        choices = [
            Choice((call.expert,), "forced", call.expert, self.router.router_id, spills=False)
            if call.expert is not None
            else self._able(call, next(ranked))
            for call in calls
        ]
        if judged:
            self.seconds_per_text = (time.perf_counter() - begun) / len(judged)
        return choices

    async def achoose(self, calls: Sequence[Asked]) -> list[Choice]:
        """The same, in a thread where it takes long; see ``choose``."""
        if all(call.expert is not None for call in calls) or self.seconds_per_text * len(calls) < SLOW_SCORING:
            return self.choose(calls)
        return await asyncio.to_thread(self.choose, calls)

    def _ranked(self, calls: Sequence[Asked]) -> list[RankedExperts]:
        if not calls:
            return []
        try:
            found = self.router.rank([query_text(call.query) for call in calls])
            if len(found) != len(calls):
                raise HybridError(f"{self.router.router_id} returned {len(found)} rankings for {len(calls)} texts")
            return [self._complete(one) for one in found]
        except KnobError:
            raise
        except Exception as error:  # a router may be anybody's function: it must not take the answer down
            if len(calls) > 1:  # in a batch only the queries that cannot be judged are given up
                return [self._ranked([call])[0] for call in calls]
            # the text stays out of the log
            logger.warning(
                "%s could not choose an expert (%s: %s); the call goes to %s",
                self.router.router_id,
                type(error).__name__,
                error if isinstance(error, HybridError) else "see its own log",
                self._otherwise[0],
            )
            return [RankedExperts(self._otherwise, "router_error")]

    def _complete(self, ranked: RankedExperts) -> RankedExperts:
        strangers = [name for name in ranked.experts if name not in self.experts]
        if strangers:
            raise HybridError(f"{strangers[0]!r} is no expert (there are: {', '.join(self.experts)})")
        everybody = tuple(dict.fromkeys([*ranked.experts, *self.experts]))
        return RankedExperts(everybody, ranked.reason, ranked.cluster, ranked.distance)

    @property
    def _otherwise(self) -> tuple[str, ...]:
        first = () if self.on_router_error is None else (self.on_router_error,)
        known = [name for name in self.router.experts if name in self.experts]
        return tuple(dict.fromkeys([*first, *known, *self.experts]))

    def _able(self, call: Asked, ranked: RankedExperts) -> Choice:
        lacking = {name: one.lacking(call.needs) for name, one in call.capabilities.items()}
        able = tuple(name for name in ranked.experts if lacking.get(name) is None)
        preferred = ranked.experts[0]
        # where nobody can, the router's choice stands, and the model itself says what it lacks
        able = able or ranked.experts
        reason = ranked.reason if able[0] == preferred else str(lacking[preferred])
        return Choice(able, reason, preferred, self.router.router_id, ranked.cluster, ranked.distance)


def checked_expert(name: str, value: Any, experts: Sequence[str]) -> str | None:
    """A setting that names an expert.

    Args:
        name: The setting's.
        value: What the user gave; None is fine.
        experts: Those that there are.

    Raises:
        HybridError: There is no such expert.
    """
    if value is not None and (not isinstance(value, str) or value not in experts):
        raise HybridError(f"{name} is one of {', '.join(experts)}, or None, got {value!r}")
    return value


def checked_fallback(value: Any) -> Any:
    """The setting ``fallback``.

    Raises:
        HybridError: Neither "next" nor None.
    """
    if value not in (None, "next"):
        raise HybridError(f'fallback is "next" or None, got {value!r}')
    return value


def checked_experts(experts: Any, router: RanksExperts) -> None:
    """Names of experts, and a router that knows no others.

    Raises:
        HybridError: Fewer than two, a name that is no text, or a router trained for other experts.
    """
    if not isinstance(experts, Mapping) or len(experts) < 2:
        raise HybridError("experts is a mapping of at least two names to models: experts={'code': …, 'chat': …}")
    for name in experts:
        if not isinstance(name, str) or not name:
            raise HybridError(f"an expert's name is a text, got {name!r}")
    strangers = [name for name in router.experts if name not in experts]
    if strangers:
        raise HybridError(
            f"the router {router.router_id} may choose {', '.join(strangers)}, for which there is no model (there are: "
            f"{', '.join(experts)}); name the models as in its training data, or train it for these"
        )
