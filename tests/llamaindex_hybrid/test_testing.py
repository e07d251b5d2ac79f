"""The shipped suite, over the double it is shipped with, over the router, and over real integrations."""

import pytest
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import LLM, MockLLM

from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.testing import LLMConformance, ScriptedLLM


def easy(text: str) -> float:
    return 0.0


def hard(text: str) -> float:
    return 1.0


class TestScripted(LLMConformance):
    keeps_history = False

    def make_llm(self) -> LLM:
        return ScriptedLLM()


class TestRoutedToSmall(LLMConformance):
    def make_llm(self) -> LLM:
        return HybridLLM(small=ScriptedLLM(), large=ScriptedLLM(model="large"), router=easy)


class TestRoutedToLarge(LLMConformance):
    def make_llm(self) -> LLM:
        calls_a_tool = ScriptedLLM(replies=[ToolCallBlock(tool_name="add", tool_kwargs={"a": 1, "b": 2})])
        return HybridLLM(small=MockLLM(), large=calls_a_tool, router=hard)


class TestNested(LLMConformance):
    def make_llm(self) -> LLM:
        inner = HybridLLM(small=ScriptedLLM(), large=ScriptedLLM(), router=easy)
        return HybridLLM(small=inner, large=ScriptedLLM(), router=easy)


def test_the_suite_asks_for_a_model() -> None:
    with pytest.raises(NotImplementedError):
        LLMConformance().make_llm()


def test_the_suite_finds_a_model_that_counts_twice() -> None:
    class Twice(LLMConformance):
        def make_llm(self) -> LLM:
            # core's MockLLM is a CustomLLM, whose chat is decorated and calls complete, which is decorated too
            return MockLLM()

    with pytest.raises(AssertionError, match="2 LLM events"):
        Twice().test_each_call_is_one_llm_event()


def test_a_script_is_played_to_its_end() -> None:
    llm = ScriptedLLM(replies=["one", "two", OSError("away")])
    assert [llm.complete("?").text, llm.complete("?").text] == ["one", "two"]
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            llm.complete("?")
