"""Tools and schemas for both models, each in its own provider's format, and agents over both."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field

from langchain_hybrid import HybridChatModel, decision_of
from langchain_hybrid.binding import HybridBinding
from langchain_hybrid.testing import ScriptedChatModel


class Joke(BaseModel):
    """A joke to tell."""

    setup: str = Field(description="The question.")
    rating: int = Field(description="From 1 to 10.")


class JokeDict(typing.TypedDict):
    """A joke to tell."""

    setup: str
    rating: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class TestTools:
    async def test_each_model_gets_them_in_its_own_format(self, pair: Any, ask: Any) -> None:
        pair.large.tool_format = "anthropic"
        bound = pair.model().bind_tools([weather], tool_choice="weather", strict=True)
        for prompt in ("easy", "hard"):
            answer = await ask_bound(ask, bound, prompt)
            assert [call["name"] for call in answer.tool_calls] == ["weather"]
        (small,), (large,) = pair.small.calls, pair.large.calls
        assert small.kwargs["tools"][0]["function"]["name"] == large.kwargs["tools"][0]["name"] == "weather"
        assert "input_schema" in large.kwargs["tools"][0]
        assert (small.kwargs["tool_choice"], large.kwargs["tool_choice"]) == ("weather", {"type": "weather"})
        assert set(small.kwargs) == set(large.kwargs) == {"tools", "tool_choice", "strict"}

    def test_nothing_is_converted_before_a_model_is_chosen_and_then_once(self, pair: Any) -> None:
        class Counting(ScriptedChatModel):
            bound: int = 0

            def bind_tools(self, *args: Any, **kwargs: Any) -> Any:
                self.bound += 1
                return super().bind_tools(*args, **kwargs)

        small, large = Counting(), Counting()
        bound = pair.model(small=small, large=large).bind_tools([weather])
        assert (small.bound, large.bound) == (0, 0)
        bound.batch(["easy"] * 5)
        assert (small.bound, large.bound) == (1, 0)

    def test_tool_choice_is_passed_on_only_if_given(self, pair: Any) -> None:
        pair.model().bind_tools([weather]).invoke("easy")
        assert "tool_choice" not in pair.small.calls[0].kwargs

    def test_the_binding_keeps_no_raw_tools_where_agents_look_for_converted_ones(self, pair: Any) -> None:
        bound = pair.model().bind_tools([weather])
        assert isinstance(bound, RunnableBinding)
        assert "tools" not in bound.kwargs

    def test_what_was_bound_before_stays(self, pair: Any) -> None:
        config = {"configurable": {"route": "large"}}
        for bound in (
            pair.model().bind(stop=["x"]).with_config(config).bind_tools([weather]),
            pair.model().bind_tools([weather]).with_config(config).bind(stop=["x"]),
        ):
            assert isinstance(bound, HybridBinding)
            assert bound.invoke("easy").tool_calls
        assert [call.stop for call in pair.large.calls] == [["x"], ["x"]]
        parsed = pair.model().bind(route="large").with_structured_output(Joke).invoke("easy")
        assert isinstance(parsed, Joke)
        assert pair.called == ["large"] * 3

    def test_the_return_types_can_be_read_at_run_time(self) -> None:
        for name in ("bind_tools", "with_structured_output"):
            for owner in (HybridChatModel, HybridBinding):
                returned = typing.get_type_hints(getattr(owner, name))["return"]
                assert issubclass(getattr(returned, "__origin__", returned), Runnable)

    def test_fallbacks_reach_through(self, pair: Any) -> None:
        pair.small.answers = (ConnectionError("gone"),)
        rescue = ScriptedChatModel(model="rescue")
        model = pair.model().with_fallbacks([rescue])
        bound = model.bind_tools([weather])
        assert isinstance(bound, RunnableWithFallbacks)
        answer = bound.invoke("easy")
        assert answer.response_metadata["model_name"] == "rescue"
        assert answer.tool_calls

    def test_retries_reach_through(self, pair: Any) -> None:
        pair.small.answers = (ConnectionError("gone"), "There.")
        assert pair.model().with_retry(wait_exponential_jitter=False).invoke("easy").text == "There."
        assert pair.called == ["small", "small"]

    def test_a_model_without_tools_says_so_where_no_other_can(self, pair: Any) -> None:
        class Toolless(ScriptedChatModel):
            bind_tools = BaseChatModel.bind_tools

        bound = pair.model(small=Toolless(), large=Toolless()).bind_tools([weather])
        with pytest.raises(NotImplementedError):
            bound.invoke("easy")


async def ask_bound(ask: Any, bound: Any, prompt: str) -> Any:
    if "generate" in ask.__name__:
        # a binding has no generate; wrappers hand its arguments on
        return await ask(bound.bound, prompt, None, **bound.kwargs)
    return await ask(bound, prompt)


class TestStructuredOutput:
    @pytest.mark.parametrize("schema", [Joke, JokeDict, Joke.model_json_schema()])
    @pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
    async def test_the_chosen_model_answers_in_it(
        self, pair: Any, ask_for_object: Any, schema: Any, method: str
    ) -> None:
        for prompt, target in (("easy", "small"), ("hard", "large")):
            bound = pair.model().with_structured_output(schema, method=method)
            parsed = await ask_for_object(bound, prompt, {"callbacks": [pair.recorder]})
            if schema is Joke and "events" not in ask_for_object.__name__:
                assert isinstance(parsed, Joke)
            (run,) = pair.recorder.of_kind("chat_model")
            assert f"hybrid:{target}" in run.tags
            assert run.metadata["hybrid"]["target"] == target
            assert run.options["ls_structured_output_format"]["schema"]["title"] in ("Joke", "JokeDict")
            assert all(run.ends == 1 for run in pair.recorder.runs)
            pair.recorder.runs.clear()
        assert pair.called == ["small", "large"]

    async def test_the_raw_message_carries_the_decision(self, pair: Any, ask_for_object: Any) -> None:
        bound = pair.model().with_structured_output(Joke, include_raw=True)
        answer = await ask_for_object(bound, "hard")
        assert decision_of(answer["raw"])["target"] == "large"
        assert isinstance(answer["parsed"], Joke)
        assert answer["parsing_error"] is None

    def test_a_wrong_argument_fails_at_once(self, pair: Any) -> None:
        with pytest.raises(ValueError, match="unsupported"):
            pair.model().with_structured_output(Joke, colour="red")

    def test_one_model_that_can_is_enough(self, pair: Any) -> None:
        class Toolless(ScriptedChatModel):
            bind_tools = BaseChatModel.bind_tools

        bound = pair.model(small=Toolless()).with_structured_output(Joke)
        assert isinstance(bound.invoke("hard"), Joke)
        assert isinstance(bound.invoke("easy"), Joke)
        assert pair.called == ["large", "large"]
        with pytest.raises(NotImplementedError):
            pair.model(small=Toolless(), large=Toolless()).with_structured_output(Joke)

    def test_stop_is_passed_on_where_it_is_given(self, pair: Any) -> None:
        pair.model().with_structured_output(Joke).invoke("easy", stop=["x"])
        assert pair.small.calls[0].stop == ["x"]

    def test_generate_says_that_it_returns_messages(self, pair: Any) -> None:
        bound = pair.model().with_structured_output(Joke)
        with pytest.raises(RuntimeError, match="use invoke"):
            bound.bound.generate([[HumanMessage("easy")]], **bound.kwargs)


class TestAgents:
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_create_agent_runs_to_the_end(self, pair: Any, is_async: bool) -> None:
        agent = create_agent(pair.model(), [weather], checkpointer=InMemorySaver())
        state = await self.converse(agent, is_async=is_async)
        self.check(pair, state)

    @pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_langgraph_react_agent_runs_to_the_end(self, pair: Any, is_async: bool) -> None:
        from langgraph.prebuilt import create_react_agent

        agent = create_react_agent(pair.model(), [weather], checkpointer=InMemorySaver())
        state = await self.converse(agent, is_async=is_async)
        self.check(pair, state)

    @staticmethod
    async def converse(agent: Any, *, is_async: bool) -> Any:
        config = {"configurable": {"thread_id": "1"}}
        state: Any = None
        for text in ("easy", "hard", "easy"):
            prompt = {"messages": [HumanMessage(text)]}
            state = await agent.ainvoke(prompt, config) if is_async else agent.invoke(prompt, config)
        return state

    @staticmethod
    def check(pair: Any, state: Any) -> None:
        answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
        targets = [decision_of(message)["target"] for message in answers]
        assert targets == ["small", "small", "large", "large", "small", "small"]
        assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == 3
        assert all(call.kwargs["tools"] for call in pair.small.calls + pair.large.calls)

    def test_thoughts_and_ids_of_one_model_do_not_upset_the_other(self, pair: Any) -> None:
        def think_and_call(messages: list[Any]) -> Any:
            if not isinstance(messages[-1], HumanMessage):
                return "Done."
            call = {"name": "weather", "args": {"city": "Rome"}, "id": "chatcmpl-tool-" + "0" * 32, "type": "tool_call"}
            return AIMessage([{"type": "thinking", "thinking": "hm", "signature": "s"}], tool_calls=[call])

        pair.small.call_tools, pair.small.answers = False, (think_and_call,)
        agent = create_agent(pair.model(), [weather], checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        agent.invoke({"messages": [HumanMessage("easy")]}, config)
        state = agent.invoke({"messages": [HumanMessage("hard")]}, config)

        _, spoke, result, *_ = pair.small.calls[1].messages
        assert (spoke.content[0]["type"], result.tool_call_id) == ("thinking", "chatcmpl-tool-" + "0" * 32)
        _, spoke, result, *_ = pair.large.calls[0].messages
        assert spoke.content == ""
        assert spoke.tool_calls[0]["id"] == result.tool_call_id
        assert len(result.tool_call_id) <= 40
        assert state["messages"][1].content[0]["type"] == "thinking"

    def test_a_knob_reaches_the_model_inside(self, pair: Any) -> None:
        agent = create_agent(pair.model(), [weather])
        state = agent.invoke({"messages": [HumanMessage("easy")]}, {"configurable": {"route": "large"}})
        assert {decision_of(message)["reason"] for message in state["messages"] if isinstance(message, AIMessage)} == {
            "forced"
        }
        assert pair.called == ["large", "large"]

    def test_tokens_are_streamed_once(self, pair: Any) -> None:
        agent = create_agent(pair.model(), [])
        parts = [
            message.content
            for message, _ in agent.stream({"messages": [HumanMessage("easy")]}, stream_mode="messages")
            if message.content
        ]
        assert "".join(parts) == "Here is an answer."

    def test_the_tag_nostream_on_the_router_holds(self, pair: Any) -> None:
        agent = create_agent(pair.model(tags=["nostream"]), [])
        parts = list(agent.stream({"messages": [HumanMessage("easy")]}, stream_mode="messages"))
        assert len(parts) == 1

    def test_structured_answers(self, pair: Any) -> None:
        agent = create_agent(pair.model(), [], response_format=Joke)
        state = agent.invoke({"messages": [HumanMessage("hard")]})
        assert isinstance(state["structured_response"], Joke)
        assert pair.called == ["large"]
