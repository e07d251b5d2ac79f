import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai import OpenAI

from llamaindex_hybrid import HybridLLM, decision_of
from llamaindex_hybrid.saving import revived, without_secrets
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.errors import HybridError
from shared_router.guards import Capabilities
from shared_router.testing import table_router

KEY = "sk-verysecret"


class Answer(BaseModel):
    text: str


def by_length(text: str) -> float:
    return min(len(text) / 10, 1.0)


def named_by_length(content: Any, kwargs: Any) -> int:
    return len(content)


def real_pair(**settings: Any) -> HybridLLM:
    small = Ollama(model="qwen", context_window=4096, headers={"Authorization": f"Bearer {KEY}"})
    large = OpenAI(model="gpt-4o", api_key=KEY, max_tokens=64, default_headers={"X-Key": KEY})
    return HybridLLM(small=small, large=large, router=by_length, **settings)


def test_a_saved_router_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    saved = json.loads(json.dumps(real_pair(max_drop=0.02, context_share=0.25).to_dict()))
    llm = HybridLLM.from_dict(saved, router=by_length)
    assert isinstance(llm.small, Ollama)
    assert type(llm.large) is OpenAI
    assert (llm.small.model, llm.small.context_window) == ("qwen", 4096)
    assert (llm.large.model, llm.large.max_tokens, llm.large.api_key) == ("gpt-4o", 64, KEY)
    assert (llm.quality, llm.max_drop, llm.context_share) == (None, 0.02, 0.25)


def test_settings_about_routing_come_back_too() -> None:
    settings = {
        "on_router_error": "small",
        "router_time_limit": 0.5,
        "fallback": "other",
        "stickiness": "switch_cost",
        "switch_cost": 0.3,
        "small_capabilities": Capabilities(modalities=frozenset({"image", "audio"}), context_window=100),
        "large_capabilities": None,
        "small_prompts": ("condense", "refine"),
    }
    llm = HybridLLM(small=MockLLM(), large=MockLLM(), router=by_length, **settings)
    saved = json.loads(json.dumps(llm.to_dict()))
    assert saved["small_capabilities"]["modalities"] == ["audio", "image"]
    for other in (HybridLLM.from_dict(saved, router=by_length), pickle.loads(pickle.dumps(llm)), copy.deepcopy(llm)):
        assert {name: getattr(other, name) for name in settings} == settings


def test_a_conversations_name_is_no_data() -> None:
    llm = HybridLLM(small=MockLLM(), large=MockLLM(), router=by_length, conversation=lambda content, kwargs: "a")
    assert "conversation" not in json.loads(json.dumps({**llm.to_dict(), "router": None}))
    with pytest.raises(HybridError, match="conversation cannot be pickled"):
        pickle.dumps(llm)
    llm.conversation = named_by_length
    assert pickle.loads(pickle.dumps(llm)).conversation is named_by_length


def test_no_key_is_written_down() -> None:
    llm = real_pair()
    shown_anywhere = (
        *(repr(llm), str(llm), str(llm.to_dict()), llm.to_json(), llm.model_dump_json(), str(llm.to_payload())),
        repr(llm.as_structured_llm(Answer)),
    )
    for shown in shown_anywhere:
        assert KEY not in shown
    assert llm.to_dict()["large"]["max_tokens"] == 64


def test_secrets_are_left_out_at_any_depth() -> None:
    data = {"api_key": 1, "azure_ad_token": 1, "max_tokens": 2, "a": [{"Authorization": 1, "b": 3}], "headers": {}}
    assert without_secrets(data) == {"max_tokens": 2, "a": [{"b": 3}]}


def test_a_router_that_was_an_object_has_to_be_handed_over() -> None:
    saved = HybridLLM(small=MockLLM(), large=MockLLM(), router=table_router()).to_dict()
    with pytest.raises(HybridError, match="'table'"):
        HybridLLM.from_dict(saved)


def test_a_path_is_saved_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaindex_hybrid.llm.as_router", lambda router: table_router())
    llm = HybridLLM(small=MockLLM(), large=MockLLM(), router=tmp_path)
    assert llm.to_dict()["router"] == str(tmp_path)
    assert HybridLLM.from_dict(llm.to_dict()).router == str(tmp_path)
    assert HybridLLM(small=MockLLM(), large=MockLLM()).to_dict()["router"] is None


def test_an_unknown_or_ambiguous_class_is_named() -> None:
    with pytest.raises(HybridError, match="no imported LLM class is called 'nowhere_llm'"):
        revived({"class_name": "nowhere_llm"}, {})

    class Custom(ScriptedLLM):
        @classmethod
        def class_name(cls) -> str:
            return "shared_name"

    class Other(ScriptedLLM):
        @classmethod
        def class_name(cls) -> str:
            return "shared_name"

    data = Custom(model="x").to_dict()
    with pytest.raises(HybridError, match="llm_classes"):
        revived(data, {})
    assert type(revived(data, {"shared_name": Other})) is Other

    class Silent(ScriptedLLM):
        """Says nothing about its name, and is not meant by its parent's."""

    assert type(revived(ScriptedLLM().to_dict(), {})) is ScriptedLLM
    assert isinstance(revived(model := MockLLM(), {}), MockLLM)
    assert revived(model, {}) is model


def test_routers_nest_and_are_saved_nested() -> None:
    inner = HybridLLM(small=MockLLM(max_tokens=1), large=MockLLM(max_tokens=2), router=by_length, quality=0.0)
    outer = HybridLLM(small=inner, large=MockLLM(max_tokens=3), router=by_length, quality=0.5)
    assert outer.complete("abc").text == "text"
    assert outer.complete("a long question").text == "text text text"
    assert outer.to_dict()["small"]["small"]["max_tokens"] == 1


def test_a_pickled_router_routes_as_before() -> None:
    llm = HybridLLM(small=ScriptedLLM(model="s"), large=ScriptedLLM(model="l"), router=by_length, quality=0.5)
    llm.chat([ChatMessage(content="use it first")])
    for other in (pickle.loads(pickle.dumps(llm)), copy.deepcopy(llm), llm.model_copy()):
        assert repr(other) == repr(llm)
        assert decision_of(other.chat([ChatMessage(content="hi")]))["model"] == "s"
        assert decision_of(other.chat([ChatMessage(content="a long question")]))["model"] == "l"


def test_pickling_does_not_take_the_models_managers_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    llm = pickle.loads(pickle.dumps(HybridLLM(small=MockLLM(), large=MockLLM(), router=by_length)))
    assert llm.small.callback_manager is not llm.callback_manager


def test_what_does_not_pickle_is_an_error_and_not_another_router() -> None:
    llm = HybridLLM(small=MockLLM(), large=MockLLM(), router=lambda text: 0.0)
    with pytest.raises(HybridError, match="router cannot be pickled"):
        pickle.dumps(llm)
