"""What a user sets about routing that only this host has; the rest is checked in ``shared_router.settings``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage

from shared_router.errors import HybridError
from shared_router.settings import checked as checked_by_both

__all__ = ["Conversation", "checked"]

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
    return _prompt_types(value) if name == "small_prompts" else checked_by_both(name, value)


def _prompt_types(value: Any) -> tuple[str, ...]:
    # a string is a collection too, of its letters
    if isinstance(value, str):
        raise HybridError(f"small_prompts is a collection of prompt types; write small_prompts=[{str(value)!r}]")
    return tuple(str(getattr(one, "value", one)) for one in value)
