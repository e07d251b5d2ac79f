"""Calls that only one of the two models can serve go to that one, unscored, in every way of calling it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel

from langchain_hybrid import HybridRoutingMiddleware, decision_of
from langchain_hybrid.messages import to_turns
from langchain_hybrid.needs import needs_of
from langchain_hybrid.testing import ScriptedChatModel
from shared_router.guards import Capabilities, Needs


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Joke(BaseModel):
    """A joke."""

    setup: str


class Toolless(ScriptedChatModel):
    bind_tools = BaseChatModel.bind_tools


URL = "https://example.org/a"
PARTS = [
    ({"type": "image", "url": URL}, "image"),
    ({"type": "image", "base64": "aGk=", "mime_type": "image/png"}, "image"),
    ({"type": "image", "source_type": "url", "url": URL}, "image"),
    ({"type": "image", "source": {"type": "url", "url": URL}}, "image"),
    ({"type": "image_url", "image_url": {"url": URL}}, "image"),
    ({"type": "input_image", "image_url": URL}, "image"),
    ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}, "audio"),
    ({"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"}, "audio"),
    ({"type": "video", "url": URL}, "video"),
    ({"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}}, "file"),
    ({"type": "document", "source": {"type": "url", "url": URL}}, "file"),
    ({"type": "document", "source": {"type": "text", "data": "hello", "media_type": "text/plain"}}, None),
    ({"type": "media", "mime_type": "video/mp4", "data": "aGk="}, "video"),
    ({"type": "media", "mime_type": "application/pdf", "data": "aGk="}, "file"),
    ({"image": {"format": "png", "source": {"bytes": "aGk="}}}, "image"),
    ({"type": "text", "text": "hello"}, None),
    ({"text": "hello"}, None),
    ({"type": "thinking", "thinking": "hm"}, None),
    ("hello", None),
]


@pytest.mark.parametrize(("part", "modality"), PARTS)
@pytest.mark.parametrize("within", [HumanMessage, lambda content: ToolMessage(content, tool_call_id="1")])
def test_what_a_content_block_holds(part: Any, modality: str | None, within: Any) -> None:
    messages = [SystemMessage("be brief"), within([part])]
    needs = needs_of(messages, to_turns(messages), replay=None, kwargs={})
    assert needs == Needs(modalities=frozenset({modality} if modality else ()))  # type: ignore[arg-type]


class TestModality:
    async def test_an_image_goes_to_the_model_that_sees(self, pair: Any, ask: Any) -> None:
        pair.small.profile, pair.large.profile = {"image_inputs": False}, {"image_inputs": True}
        prompt = [HumanMessage([{"type": "text", "text": "easy"}, {"type": "image", "url": URL}])]
        decision = decision_of(await ask(pair.model(), prompt))
        assert (decision["target"], decision["reason"], decision["difficulty"]) == ("large", "modality", None)
        assert pair.called == ["large"]
        assert not pair.difficulty.asked

    async def test_one_that_was_sent_before_counts_too(self, pair: Any, ask: Any) -> None:
        prompt = [HumanMessage([{"type": "image", "url": URL}]), AIMessage("a cat"), HumanMessage("easy")]
        answer = await ask(pair.model(small_capabilities={"modalities": []}), prompt)
        assert decision_of(answer)["reason"] == "modality"

    async def test_what_is_not_known_is_assumed_to_work(self, pair: Any, ask: Any) -> None:
        prompt = [HumanMessage([{"type": "text", "text": "easy"}, {"type": "image", "url": URL}])]
        assert decision_of(await ask(pair.model(), prompt))["reason"] == "score"

    async def test_where_neither_can_the_score_decides(self, pair: Any, ask: Any) -> None:
        blind = Capabilities(modalities=frozenset())
        prompt = [HumanMessage([{"type": "text", "text": "easy"}, {"type": "image", "url": URL}])]
        model = pair.model(small_capabilities=blind, large_capabilities=blind)
        assert decision_of(await ask(model, prompt))["reason"] == "score"

    async def test_a_forced_model_stays_forced(self, pair: Any, ask: Any) -> None:
        model = pair.model(small_capabilities={"modalities": []})
        prompt = [HumanMessage([{"type": "image", "url": URL}])]
        assert decision_of(await ask(model, prompt, route="small"))["reason"] == "forced"

    def test_in_a_batch_each_call_has_its_own_needs(self, pair: Any) -> None:
        model = pair.model(small_capabilities={"modalities": []})
        answers = model.batch(["easy", [HumanMessage([{"type": "image", "url": URL}])], "hard"])
        assert [decision_of(answer)["reason"] for answer in answers] == ["score", "modality", "score"]
        assert pair.difficulty.asked == [["easy", "hard"]]


async def ask_bound(ask: Any, bound: Any, prompt: str) -> Any:
    # a binding has no generate; wrappers hand its arguments on
    return await ask(bound.bound, prompt, None, **bound.kwargs)


class TestTools:
    async def test_they_go_to_the_model_that_can_call_them(self, pair: Any, ask: Any) -> None:
        pair.small.profile = {"tool_calling": False}
        answer = await ask_bound(ask, pair.model().bind_tools([add]), "easy")
        assert decision_of(answer)["reason"] == "tools"
        assert answer.tool_calls
        assert pair.called == ["large"]

    async def test_one_whose_class_has_no_tools_is_not_asked(self, pair: Any, ask: Any) -> None:
        answer = await ask_bound(ask, pair.model(large=Toolless()).bind_tools([add]), "hard")
        assert (decision_of(answer)["target"], decision_of(answer)["reason"]) == ("small", "tools")

    async def test_tools_passed_at_the_call_count(self, pair: Any, ask: Any) -> None:
        model = pair.model(small_capabilities={"tools": False})
        tools = pair.small.bind_tools([add]).kwargs["tools"]
        assert decision_of(await ask(model, "easy", tools=tools))["reason"] == "tools"

    def test_none_offered_none_needed(self, pair: Any) -> None:
        model = pair.model(small_capabilities={"tools": False})
        assert decision_of(model.bind_tools([]).invoke("easy"))["reason"] == "score"

    def test_a_schema_that_an_agent_binds_with_its_tools_is_one(self, pair: Any) -> None:
        model = pair.model(small_capabilities={"structured_output": False})
        bound = model.bind_tools([], response_format={"type": "json_schema"})
        assert decision_of(bound.invoke("easy"))["reason"] == "structured_output"


class TestStructuredOutput:
    async def test_it_goes_to_the_model_that_can(self, pair: Any, ask_for_object: Any) -> None:
        model = pair.model(small_capabilities={"structured_output": False})
        answer = await ask_for_object(model.with_structured_output(Joke, include_raw=True), "easy")
        assert decision_of(answer["raw"])["reason"] == "structured_output"
        assert pair.called == ["large"]

    async def test_a_schema_by_function_calling_is_a_tool(self, pair: Any, ask_for_object: Any) -> None:
        model = pair.model(small_capabilities={"tools": False})
        bound = model.with_structured_output(Joke, method="function_calling", include_raw=True)
        answer = await ask_for_object(bound, "easy")
        assert decision_of(answer["raw"])["reason"] == "tools"
        assert pair.called == ["large"]


class TestContextWindow:
    async def test_a_long_prompt_goes_to_the_model_that_holds_it(self, pair: Any, ask: Any) -> None:
        pair.small.profile, pair.large.profile = {"max_input_tokens": 100}, {"max_input_tokens": 1_000}
        prompt = [SystemMessage("x" * 400), HumanMessage("easy")]
        decision = decision_of(await ask(pair.model(), prompt))
        assert (decision["target"], decision["reason"]) == ("large", "context_window")

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
    def test_room_for_the_answer_is_counted(self, pair: Any, name: str) -> None:
        model = pair.model(small_capabilities={"context_window": 100})
        assert decision_of(model.invoke("easy", **{name: 90}))["reason"] == "score"
        assert decision_of(model.invoke("easy", **{name: 99}))["reason"] == "context_window"
        assert decision_of(model.bind_tools([add], **{name: 99}).invoke("easy"))["reason"] == "context_window"

    def test_many_characters_may_still_be_few_tokens(self, pair: Any) -> None:
        model = pair.model(small_capabilities={"context_window": 100}, quality=0.0)
        assert decision_of(model.invoke("x" * 380))["reason"] == "score"
        assert decision_of(model.invoke("x" * 390))["reason"] == "context_window"
        assert decision_of(model.invoke("語" * 130))["reason"] == "context_window"

    def test_arguments_of_earlier_tool_calls_are_counted(self, pair: Any) -> None:
        call = {"name": "add", "args": {"a": "x" * 500}, "id": "1", "type": "tool_call"}
        prompt = [HumanMessage("easy"), AIMessage("", tool_calls=[call]), ToolMessage("3", tool_call_id="1")]
        model = pair.model(small_capabilities={"context_window": 100})
        assert decision_of(model.invoke(prompt))["reason"] == "context_window"

    def test_the_users_own_counter_is_asked_and_only_where_it_matters(self, pair: Any) -> None:
        asked: list[str] = []

        def count(text: str) -> list[int]:
            asked.append(text)
            return list(range(500))

        pair.large.custom_get_token_ids = count
        model = pair.model(small_capabilities={"context_window": 100})
        assert decision_of(model.invoke("easy"))["reason"] == "score"
        assert not asked
        assert decision_of(model.invoke("x" * 100))["reason"] == "context_window"
        assert asked == ["x" * 100]

    def test_a_models_own_counter_is_never_asked(self, pair: Any) -> None:
        class Downloading(ScriptedChatModel):
            def get_token_ids(self, text: str) -> list[int]:
                raise AssertionError("a tokenizer would be fetched")

        model = pair.model(small=Downloading(), small_capabilities={"context_window": 100})
        assert decision_of(model.invoke("x" * 1_000))["reason"] == "context_window"


class TestMiddleware:
    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize(
        ("small", "settings", "reason"),
        [
            ({"tools": False}, {"tools": [add]}, "tools"),
            ({"structured_output": False}, {"response_format": Joke}, "structured_output"),
            ({"context_window": 100}, {"system_prompt": "x" * 400}, "context_window"),
            ({"tools": False}, {"system_prompt": "be brief"}, "score"),
        ],
    )
    async def test_what_an_agent_asks_for(
        self, pair: Any, is_async: bool, small: Any, settings: Any, reason: str
    ) -> None:
        routing = HybridRoutingMiddleware(
            pair.small, pair.large, router=pair.router, quality=0.5, small_capabilities=small
        )
        agent = create_agent(pair.large, **{"tools": [], **settings}, middleware=[routing])
        prompt = {"messages": [HumanMessage("easy")]}
        state = await agent.ainvoke(prompt) if is_async else agent.invoke(prompt)
        answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
        assert {decision_of(answer)["reason"] for answer in answers} == {reason}
