"""Two models' profiles → what both can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from langchain_core.language_models import ModelProfile

__all__ = ["merged_profile"]


def merged_profile(small: Mapping[str, Any] | None, large: Mapping[str, Any] | None) -> ModelProfile | None:
    """What can be relied on whichever model answers.

    A capability holds if both have it, a limit is the smaller one, and what the two disagree on, or only one of them
    states, is left out.

    Args:
        small: The small model's profile, or None if it has none.
        large: The large model's.

    Returns:
        The common profile, or None if one of the two has none.
    """
    if small is None or large is None:
        return None
    common = {name: _common(small[name], large[name]) for name in small if name in large}
    return cast("ModelProfile", {name: value for name, value in common.items() if value is not None})


def _common(one: Any, other: Any) -> Any:
    if isinstance(one, bool) and isinstance(other, bool):
        return one and other
    if isinstance(one, int) and isinstance(other, int):
        return min(one, other)
    return one if one == other else None
