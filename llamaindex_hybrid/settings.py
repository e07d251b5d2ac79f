"""What a user sets about routing: checked, and made into a decider."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast, get_args

from llama_index.core.base.llms.types import ChatMessage

from llamaindex_hybrid.capabilities import as_capabilities
from shared_router.conversations import Conversations
from shared_router.deciding import Decider, Fallback
from shared_router.errors import HybridError
from shared_router.guards import Capabilities, Stickiness
from shared_router.records import TARGETS, Target
from shared_router.router import Router

__all__ = ["Conversation", "CurrentDecider", "StickinessMode", "checked"]

StickinessMode: TypeAlias = Literal["per_call", "sticky", "switch_cost"]

Conversation: TypeAlias = Callable[[Sequence[ChatMessage] | str, Mapping[str, Any]], Hashable | None]
"""A user's function that names the conversation of a call, given its messages or text and its keyword arguments; None
where it is not to be remembered."""


def checked(name: str, value: Any) -> Any:
    """A setting as it is kept.

    Args:
        name: Its name; one that is not about routing is passed on as it is.
        value: What the user gave.

    Raises:
        HybridError: It does not fit; the message says what would.
    """
    check = CHECKS.get(name)
    return value if check is None else check(name, value)


def _target(name: str, value: Any) -> Target:
    if value not in TARGETS:
        raise HybridError(f'{name} is "small" or "large", got {value!r}')
    return cast("Target", value)


def _time_limit(name: str, value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise HybridError(f"{name} is a number of seconds above 0, or None, got {value!r}")
    return cast("float | None", value)


def _fallback(name: str, value: Any) -> Fallback | None:
    if value is not None and value not in get_args(Fallback):
        raise HybridError(f'{name} is "large", "other" or None, got {value!r}')
    return cast("Fallback | None", value)


def _conversation(name: str, value: Any) -> Conversation | None:
    if value is not None and not callable(value):
        raise HybridError(f"{name} is a function of messages and keyword arguments, got {value!r}")
    return cast("Conversation | None", value)


def _capabilities(name: str, value: Any) -> Capabilities | None:
    return None if value is None else as_capabilities(value)


def _prompt_types(name: str, value: Any) -> tuple[str, ...]:
    # a string is a collection too, of its letters
    if isinstance(value, str):
        raise HybridError(f"{name} is a collection of prompt types; write {name}=[{str(value)!r}]")
    return tuple(str(getattr(one, "value", one)) for one in value)


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "on_router_error": _target,
    "router_time_limit": _time_limit,
    "fallback": _fallback,
    "stickiness": lambda name, value: Stickiness(value).mode,
    "switch_cost": lambda name, value: Stickiness(cost=value).cost,
    "conversation": _conversation,
    "small_capabilities": _capabilities,
    "large_capabilities": _capabilities,
    "small_prompts": _prompt_types,
}


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
