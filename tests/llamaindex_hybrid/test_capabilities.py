import pytest
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms import LLMMetadata, MockLLM
from llama_index.llms.ollama import Ollama

from llamaindex_hybrid import HybridLLM, capabilities, decision_of
from llamaindex_hybrid.capabilities import MetadataCache, merged, model_name
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.guards import Capabilities, Needs
from shared_router.testing import table_router


class Dead(ScriptedLLM):
    """Its server does not answer."""

    tries: int = 0

    @property
    def metadata(self) -> LLMMetadata:
        self.tries += 1
        raise ConnectionError("nobody there")


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [
        ((4096, 256), (4096, 512), (4096, 512)),
        # the plain maximum would reserve four times the window
        ((4096, 256), (128_000, 16_384), (4096, 256)),
        ((8192, 4096), (128_000, 512), (8192, 4096)),
        ((4096, -1), (4096, -1), (4096, -1)),
        ((4096, -1), (4096, 512), (4096, 512)),
    ],
)
def test_a_prompt_that_fits_the_merged_window_fits_both(
    small: tuple[int, int], large: tuple[int, int], expected: tuple[int, int]
) -> None:
    both = [LLMMetadata(context_window=window, num_output=output) for window, output in (small, large)]
    one = merged(*both)
    assert (one.context_window, one.num_output) == expected
    assert PromptHelper.from_llm_metadata(one).num_output <= one.context_window


def test_the_pair_can_what_either_can() -> None:
    small = ScriptedLLM(model="a", is_function_calling_model=False, is_chat_model=False, system_role="chatbot")
    one = merged(small.metadata, ScriptedLLM(model="b").metadata)
    assert (one.is_chat_model, one.is_function_calling_model) == (True, True)
    assert (one.model_name, one.system_role) == ("hybrid(a|b)", "system")
    assert merged(small.metadata, small.metadata).system_role == "chatbot"


def test_metadata_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    original = ScriptedLLM.metadata.fget
    monkeypatch.setattr(ScriptedLLM, "metadata", property(lambda self: reads.append(self) or original(self)))
    llm = HybridLLM(small=ScriptedLLM(), large=ScriptedLLM(), router=table_router())
    assert llm.metadata == llm.metadata
    assert len(reads) == 2
    llm.small = ScriptedLLM(context_window=100)
    assert llm.metadata.context_window == 100


@pytest.mark.parametrize("dead", ["small", "large"])
def test_a_dead_model_breaks_no_call_to_the_other_one(
    dead: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alive = "large" if dead == "small" else "small"
    models = {dead: Dead(), alive: ScriptedLLM(model="alive", context_window=5000)}
    llm = HybridLLM(**models, router=table_router())
    assert llm.metadata.context_window == 5000
    for kwargs in ({}, {"user_msg": "hi"}):
        response = llm.chat_with_tools([], **kwargs, route=alive)
        assert decision_of(response)["model"] == "alive"
    # it is not asked again for a while
    assert models[dead].tries == 1
    assert "ConnectionError" in caplog.text
    monkeypatch.setattr(capabilities, "RETRY_SECONDS", 0.0)
    assert llm.metadata.context_window == 5000
    assert models[dead].tries == 2


def test_where_both_are_dead_the_large_ones_error_surfaces() -> None:
    with pytest.raises(ConnectionError):
        _ = HybridLLM(small=Dead(), large=Dead(), router=table_router()).metadata


def test_a_server_is_not_asked_where_the_answer_is_at_hand() -> None:
    # sockets are disabled: asking would fail
    ollama, cache, tools = Ollama(model="qwen", is_function_calling_model=False), MetadataCache(), Needs(tools=True)
    assert cache.capabilities(ollama, Capabilities(), tools) == Capabilities(tools=False)
    assert model_name(ollama) == "qwen"
    assert cache.capabilities(MockLLM(), Capabilities(), tools) == Capabilities(tools=False)
    assert model_name(MockLLM()) == "MockLLM"
    # and what the user has said is not looked up
    stated = Capabilities(tools=True, context_window=100)
    assert cache.capabilities(Dead(), stated, Needs(tools=True, tokens=10_000)) == stated
