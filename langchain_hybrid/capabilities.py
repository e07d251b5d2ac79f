"""A model → what it can do, and two models' profiles → what both can do.

What the user states wins over what a model's profile says; where neither speaks, the model's class may still show that
it cannot call tools, and all else is assumed to work.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel

from shared_router.guards import MODALITIES, Capabilities, Modality
from shared_router.records import TARGETS, Target
from shared_router.settings import CapabilitiesLike, as_capabilities

if TYPE_CHECKING:
    from langchain_core.language_models import ModelProfile

__all__ = ["KnownCapabilities", "capabilities_of", "merged_profile"]

PROFILE_KEYS: Mapping[Modality, str] = {
    "image": "image_inputs",
    "audio": "audio_inputs",
    "video": "video_inputs",
    "file": "pdf_inputs",
}
"""Where a profile says whether a kind of content is taken."""


def capabilities_of(model: BaseChatModel, stated: CapabilitiesLike) -> Capabilities:
    """What the model can do.

    Args:
        model: The model.
        stated: What the user says about it.
    """
    known = as_capabilities(stated)
    profile: Mapping[str, Any] = model.profile or {}
    tools = False if _has_no_tools(model) else profile.get("tool_calling")
    return Capabilities(
        modalities=_first(known.modalities, _profile_modalities(profile)),
        tools=_first(known.tools, tools),
        structured_output=_first(known.structured_output, _structured_output(model, profile, tools)),
        context_window=_first(known.context_window, profile.get("max_input_tokens")),
    )


def _first(stated: Any, found: Any) -> Any:
    return stated if stated is not None else found


def _profile_modalities(profile: Mapping[str, Any]) -> frozenset[Modality] | None:
    # a profile may state some and leave others out: those are assumed to work
    refused = {modality for modality, key in PROFILE_KEYS.items() if profile.get(key) is False}
    return frozenset(set(MODALITIES) - refused) if refused else None


def _has_no_tools(model: BaseChatModel) -> bool:
    # the base class takes the call and raises NotImplementedError
    return type(model).bind_tools is BaseChatModel.bind_tools


def _structured_output(model: BaseChatModel, profile: Mapping[str, Any], tools: bool | None) -> bool | None:
    # a profile speaks of a native mode; without one, integrations take a tool call for it
    own = type(model).with_structured_output is not BaseChatModel.with_structured_output
    if tools is False and not own:
        return False
    native = profile.get("structured_output")
    return True if native or tools else (False if native is False and tools is False else None)


@dataclass(slots=True)
class KnownCapabilities:
    """What the two models can do, worked out when it is first asked for and whenever something has changed.

    What was worked out is replaced as a whole, so that threads may share it.
    """

    _made: tuple[tuple[Any, ...], Mapping[Target, Capabilities]] = field(default=((), {}))

    def of(
        self,
        small: BaseChatModel,
        large: BaseChatModel,
        small_stated: CapabilitiesLike = None,
        large_stated: CapabilitiesLike = None,
    ) -> Mapping[Target, Capabilities]:
        """What the two can do; empty where that is the same, since then there is nothing to choose by.

        Args:
            small: The small model.
            large: The large model.
            small_stated: What the user says about the small model.
            large_stated: What the user says about the large model.
        """
        about = (small, large, small.profile, large.profile, small_stated, large_stated)
        made = self._made
        # by identity: comparing two models field by field would take longer than asking them
        if len(made[0]) != len(about) or any(map(operator.is_not, made[0], about)):
            both = (capabilities_of(small, small_stated), capabilities_of(large, large_stated))
            made = (about, dict(zip(TARGETS, both, strict=True)) if both[0] != both[1] else {})
            self._made = made
        return made[1]


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
