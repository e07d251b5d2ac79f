"""What a user sets about routing, the same for the chat model and the middleware: checked, and made into a decider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from langchain_hybrid.capabilities import as_capabilities
from shared_router.conversations import Conversations
from shared_router.deciding import Decider, Fallback
from shared_router.errors import HybridError
from shared_router.guards import Stickiness
from shared_router.records import TARGETS, Target
from shared_router.router import Router

__all__ = ["CurrentDecider", "StickinessMode", "check_settings"]

StickinessMode: TypeAlias = Literal["per_call", "sticky", "switch_cost"]


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that do not fit, by name; one that is not given is fine.

    Raises:
        HybridError: One does not fit; the message says what would.
    """
    on_router_error = settings.get("on_router_error", "large")
    if on_router_error not in TARGETS:
        raise HybridError(f'on_router_error is "small" or "large", got {on_router_error!r}')
    limit = settings.get("router_time_limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
        raise HybridError(f"router_time_limit is a number of seconds above 0, or None, got {limit!r}")
    fallback = settings.get("fallback")
    if fallback is not None and fallback not in get_args(Fallback):
        raise HybridError(f'fallback is "large", "other" or None, got {fallback!r}')
    for name, arguments in (("conversation", "messages and config"), ("judged", "messages")):
        function = settings.get(name)
        if function is not None and not callable(function):
            raise HybridError(f"{name} is a function of {arguments}, got {function!r}")
    Stickiness(settings.get("stickiness", "per_call"), settings.get("switch_cost", 0.0))
    for target in TARGETS:
        as_capabilities(settings.get(f"{target}_capabilities"))


@dataclass(slots=True)
class CurrentDecider:
    """The decider for the settings that hold now; made anew when one was reassigned, with the same memory."""

    _conversations: Conversations = field(default_factory=Conversations)
    _made: tuple[tuple[Any, ...], Decider] | None = None

    def under(
        self,
        router: Router,
        on_router_error: Target,
        router_time_limit: float | None,
        stickiness: StickinessMode,
        switch_cost: float,
    ) -> Decider:
        """The decider under these settings, the one made before if they are the same.

        Args:
            router: The router.
            on_router_error: Who answers where the router fails or is too slow.
            router_time_limit: Seconds that the router may take.
            stickiness: Whether conversations keep their model.
            switch_cost: What a switch costs, on the scale of the difficulty.
        """
        settings = (router, on_router_error, router_time_limit, stickiness, switch_cost)
        made = self._made
        if made is None or made[0] != settings:
            kept = Stickiness(stickiness, switch_cost)
            made = (settings, Decider(router, on_router_error, router_time_limit, kept, self._conversations))
            self._made = made
        return made[1]
