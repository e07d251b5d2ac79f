from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel

from langchain_hybrid.capabilities import KnownCapabilities, capabilities_of, merged_profile
from langchain_hybrid.testing import ScriptedChatModel
from shared_router.errors import HybridError
from shared_router.guards import Capabilities
from shared_router.settings import as_capabilities


class Toolless(ScriptedChatModel):
    bind_tools = BaseChatModel.bind_tools


class NativeSchemas(Toolless):
    def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
        return self


@pytest.mark.parametrize(
    ("profile", "stated", "found"),
    [
        (None, None, Capabilities()),
        ({}, None, Capabilities()),
        ({"max_input_tokens": 8_000}, None, Capabilities(context_window=8_000)),
        ({"max_input_tokens": 8_000}, {"context_window": 4_000}, Capabilities(context_window=4_000)),
        ({"image_inputs": True}, None, Capabilities()),
        ({"image_inputs": False}, None, Capabilities(modalities=frozenset({"audio", "video", "file"}))),
        ({"image_inputs": False}, {"modalities": ["image"]}, Capabilities(modalities=frozenset({"image"}))),
        ({"tool_calling": True}, None, Capabilities(tools=True, structured_output=True)),
        ({"tool_calling": True}, {"tools": False}, Capabilities(tools=False, structured_output=True)),
        ({"tool_calling": False}, None, Capabilities(tools=False)),
        ({"structured_output": False}, None, Capabilities()),
        ({"structured_output": True}, None, Capabilities(structured_output=True)),
        ({"tool_calling": True, "structured_output": False}, None, Capabilities(tools=True, structured_output=True)),
    ],
)
def test_the_users_word_comes_before_the_profiles(profile: Any, stated: Any, found: Capabilities) -> None:
    class OwnSchemas(ScriptedChatModel):
        def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
            return self

    assert capabilities_of(OwnSchemas(profile=profile), stated) == found


def test_a_class_without_tools_shows_it() -> None:
    assert capabilities_of(Toolless(), None) == Capabilities(tools=False, structured_output=False)
    assert capabilities_of(NativeSchemas(), None) == Capabilities(tools=False)
    assert capabilities_of(NativeSchemas(profile={"structured_output": False}), None).structured_output is False
    assert capabilities_of(Toolless(), Capabilities(tools=True)).tools is True


def test_they_are_worked_out_once_and_again_when_something_has_changed() -> None:
    known, model, other = KnownCapabilities(), ScriptedChatModel(profile={"max_input_tokens": 10}), ScriptedChatModel()
    first = known.of(model, other)
    assert known.of(model, other) is first
    assert first["small"].context_window == 10
    model.profile = {"max_input_tokens": 20}
    assert known.of(model, other)["small"].context_window == 20
    assert known.of(model, other, {"context_window": 30})["small"].context_window == 30
    assert known.of(other, model)["small"].context_window is None
    assert not known.of(other, other)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"vision": True}, "capabilities are modalities, tools"),
        ("image", "got 'image'"),
        ({"modalities": "image"}, "any of image, audio"),
        ({"modalities": ["smell"]}, "any of image, audio"),
        ({"tools": "yes"}, "tools is True, False or None"),
        ({"context_window": 0}, "number of tokens"),
        ({"context_window": True}, "number of tokens"),
        ({"context_window": "8k"}, "number of tokens"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(HybridError, match=said):
        as_capabilities(wrong)


@pytest.mark.parametrize(
    ("small", "large", "both"),
    [
        ({"tool_calling": True}, {"tool_calling": True}, {"tool_calling": True}),
        ({"tool_calling": True}, {"tool_calling": False}, {"tool_calling": False}),
        ({"max_input_tokens": 8_000}, {"max_input_tokens": 128_000}, {"max_input_tokens": 8_000}),
        ({"name": "a"}, {"name": "b"}, {}),
        ({"status": "active"}, {"status": "active"}, {"status": "active"}),
        ({"audio_inputs": True}, {}, {}),
        ({"reasoning_effort_levels": ["low"]}, {"reasoning_effort_levels": ["high"]}, {}),
        (None, {"tool_calling": True}, None),
        ({"tool_calling": True}, None, None),
    ],
)
def test_what_both_can_do(small: Any, large: Any, both: Any) -> None:
    assert merged_profile(small, large) == both
