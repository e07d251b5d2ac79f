"""The other model is asked once where the first fails before its first token: the same in every way of calling."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.errors import GraphBubbleUp
from pydantic import BaseModel

from langchain_hybrid import DECISION_EVENT, HybridRoutingMiddleware, decision_of

STREAMING = (
    "stream",
    "astream",
    "transform",
    "atransform",
    "astream_events_v1",
    "astream_events_v2",
    "stream_events_v3",
    "astream_events_v3",
)
"""The ways in which tokens are handed out one by one."""


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class Joke(BaseModel):
    """A joke."""

    setup: str


class TestFallback:
    @pytest.mark.parametrize(
        ("prompt", "fallback"), [("easy", "large"), ("easy", "other"), ("hard", "other")], ids=lambda value: value
    )
    async def test_the_other_model_answers(self, pair: Any, ask: Any, prompt: str, fallback: Any) -> None:
        first, second = ("small", "large") if prompt == "easy" else ("large", "small")
        getattr(pair, first).answers = (TimeoutError("asleep"),)
        answer = await ask(pair.model(fallback=fallback), prompt, {"callbacks": [pair.recorder]})

        assert sorted(pair.called) == ["large", "small"]
        assert answer.text == "Here is an answer."
        decision = decision_of(answer)
        assert (decision["target"], decision["reason"]) == (second, "fallback")
        assert decision["failed"] == f"{first}: TimeoutError"
        assert decision["model"] == answer.response_metadata["model_name"] == getattr(pair, second).model
        assert decision["difficulty"] == pair.difficulty.table[prompt]

    async def test_both_attempts_are_in_the_trace(self, pair: Any, ask: Any) -> None:
        failure = TimeoutError("asleep")
        pair.small.answers = (failure,)
        answer = await ask(pair.model(fallback="large"), "easy", {"callbacks": [pair.recorder]})

        router, failed, answered = pair.recorder.runs
        assert (failed.parent, answered.parent) == (router.run_id, router.run_id)
        assert (failed.error, answered.error, router.error) == (failure, None, None)
        assert "hybrid:small" in failed.tags
        assert "hybrid:large" in answered.tags
        assert failed.metadata["hybrid"]["reason"] == "score"
        assert answered.metadata["hybrid"] == router.outputs["hybrid"] == decision_of(answer)
        assert [name for name, _ in pair.recorder.events] == [DECISION_EVENT] * 2
        assert [data["target"] for _, data in pair.recorder.events] == ["small", "large"]
        assert [run.ends for run in pair.recorder.runs] == [1, 1, 1]
        assert answer.id.startswith(f"lc_run--{answered.run_id}")

    async def test_if_that_fails_too_its_error_surfaces(self, pair: Any, ask: Any) -> None:
        first, second = TimeoutError("asleep"), ConnectionError("gone")
        pair.small.answers, pair.large.answers = (first,), (second,)
        with pytest.raises(ConnectionError) as caught:
            await ask(pair.model(fallback="other"), "easy", {"callbacks": [pair.recorder]})
        assert caught.value is second
        assert caught.value.__context__ is first
        assert pair.called == ["small", "large"]
        assert [(run.ends, run.error) for run in pair.recorder.runs] == [(1, second), (1, first), (1, second)]

    @pytest.mark.parametrize(
        ("settings", "prompt", "knob"),
        [
            ({"fallback": None}, "easy", {}),
            ({"fallback": "large"}, "hard", {}),
            ({"fallback": "other"}, "easy", {"route": "small"}),
        ],
        ids=["none allowed", "the large one failed", "forced"],
    )
    async def test_where_it_is_not_allowed_the_error_comes_through(
        self, pair: Any, ask: Any, settings: Any, prompt: str, knob: Any
    ) -> None:
        failure = TimeoutError("asleep")
        pair.small.answers = pair.large.answers = (failure,)
        with pytest.raises(TimeoutError) as caught:
            await ask(pair.model(**settings), prompt, **knob)
        assert caught.value is failure
        assert len(pair.called) == 1

    async def test_not_where_only_one_model_can_serve(self, pair: Any, ask: Any) -> None:
        pair.small.answers = (TimeoutError("asleep"),)
        model = pair.model(fallback="other", large_capabilities={"tools": False})
        tools = pair.small.bind_tools([weather]).kwargs["tools"]
        with pytest.raises(TimeoutError):
            await ask(model, "hard", tools=tools)
        assert pair.called == ["small"]

    async def test_tools_are_bound_to_both(self, pair: Any, ask: Any) -> None:
        pair.small.answers, pair.large.tool_format = (TimeoutError("asleep"),), "anthropic"
        bound = pair.model(fallback="large").bind_tools([weather])
        answer = await ask(bound.bound, "easy", None, **bound.kwargs)
        assert answer.tool_calls[0]["name"] == "weather"
        assert "function" in pair.small.calls[0].kwargs["tools"][0]
        assert "input_schema" in pair.large.calls[0].kwargs["tools"][0]

    async def test_structured_output_too(self, pair: Any, ask_for_object: Any) -> None:
        pair.small.answers = (TimeoutError("asleep"),)
        bound = pair.model(fallback="large").with_structured_output(Joke, include_raw=True)
        answer = await ask_for_object(bound, "easy")
        assert decision_of(answer["raw"])["reason"] == "fallback"
        assert isinstance(answer["parsed"], Joke)

    async def test_the_second_model_reads_the_callers_own_messages(self, pair: Any, ask: Any) -> None:
        pair.small.answers = (TimeoutError("asleep"),)
        thought = AIMessage(
            [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "so"}],
            response_metadata={"model_provider": "apex"},
        )
        await ask(pair.model(fallback="large"), [HumanMessage("hard"), thought, HumanMessage("easy")])
        assert len(pair.small.calls[0].messages[1].content) == 1
        assert len(pair.large.calls[0].messages[1].content) == 2

    def test_in_a_batch_only_the_failed_ones(self, pair: Any) -> None:
        pair.small.answers = ("Fine.", TimeoutError("asleep"), "Fine.")
        answers = pair.model(fallback="large").batch(["easy"] * 3, {"max_concurrency": 1})
        assert [decision_of(answer)["reason"] for answer in answers] == ["score", "fallback", "score"]

    async def test_the_conversation_stays_with_the_model_it_has_settled_on(self, pair: Any) -> None:
        pair.small.answers = (TimeoutError("asleep"), "Back again.")
        model, config = pair.model(fallback="large", stickiness="sticky"), {"configurable": {"thread_id": "1"}}
        assert decision_of(await model.ainvoke("easy", config))["reason"] == "fallback"
        assert (await model.ainvoke("hard", config)).text == "Back again."


class TestAfterTheFirstToken:
    async def test_nobody_takes_over(self, pair: Any, ask: Any) -> None:
        failure = ConnectionError("gone")
        pair.small.fail_after, pair.small.failure = 2, failure
        model = pair.model(fallback="large")
        if ask.__name__ in STREAMING:
            with pytest.raises(ConnectionError) as caught:
                await ask(model, "easy", {"callbacks": [pair.recorder]})
            assert caught.value is failure
            assert pair.called == ["small"]
        else:
            answer = await ask(model, "easy", {"callbacks": [pair.recorder]})
            assert decision_of(answer)["reason"] == "fallback"
        assert all(run.ends == 1 for run in pair.recorder.runs)

    async def test_before_it_a_stream_that_breaks_off_is_taken_over(self, pair: Any, ask: Any) -> None:
        pair.small.fail_after, pair.small.failure = 0, ConnectionError("gone")
        answer = await ask(pair.model(fallback="large"), "easy")
        assert answer.text == "Here is an answer."
        assert decision_of(answer)["failed"] == "small: ConnectionError"

    @pytest.mark.parametrize("as_middleware", [False, True])
    @pytest.mark.parametrize(("spoken", "calls"), [(0, ["small", "large"]), (2, ["small"])])
    def test_what_an_agent_has_streamed_to_its_user_is_not_said_twice(
        self, pair: Any, as_middleware: bool, spoken: int, calls: list[str]
    ) -> None:
        pair.small.fail_after, pair.small.failure = spoken, ConnectionError("gone")
        if as_middleware:
            routing = HybridRoutingMiddleware(pair.small, pair.large, router=pair.router, quality=0.5, fallback="large")
            agent = create_agent(pair.large, [], middleware=[routing])
        else:
            agent = create_agent(pair.model(fallback="large"), [])
        parts: list[str] = []

        def read() -> None:
            for message, _ in agent.stream({"messages": [HumanMessage("easy")]}, stream_mode="messages"):
                parts.append(message.content)

        if spoken:
            with pytest.raises(ConnectionError):
                read()
        else:
            read()
        assert "".join(parts) == ("Here is " if spoken else "Here is an answer.")
        assert pair.called == calls


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
class TestVersion3:
    def test_text_comes_piece_by_piece_from_the_second_model(self, pair: Any) -> None:
        pair.small.answers = (TimeoutError("asleep"),)
        model = pair.model(fallback="large")
        stream = model.stream_events("easy", {"callbacks": [pair.recorder]}, version="v3")
        assert not pair.called
        assert list(stream.text) == ["Here ", "is ", "an ", "answer."]
        assert decision_of(stream.output)["reason"] == "fallback"
        assert [run.ends for run in pair.recorder.runs] == [1, 1, 1]
        assert decision_of(pair.recorder.runs[0].outputs["output"])["reason"] == "fallback"

    async def test_an_async_reader_gets_every_event(self, pair: Any) -> None:
        model = pair.model(fallback="large")
        stream = await model.astream_events("easy", {"callbacks": [pair.recorder]}, version="v3")
        names = [event["event"] async for event in stream]
        plain = await pair.model().astream_events("easy", version="v3")
        assert names == [event["event"] async for event in plain]
        assert decision_of(await stream)["reason"] == "score"
        assert [run.ends for run in pair.recorder.runs] == [1, 1]

    async def test_closing_it_closes_every_run(self, pair: Any) -> None:
        pair.small.delay = 10.0
        stream = await pair.model(fallback="large").astream_events("easy", {"callbacks": [pair.recorder]}, version="v3")
        reader = asyncio.create_task(stream._await_full())
        while not pair.small.calls:
            await asyncio.sleep(0.001)
        await stream.aclose()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert [run.ends for run in pair.recorder.runs] == [1, 1]
        assert not pair.large.calls

    def test_a_reader_that_stops_closes_the_routers_run(self, pair: Any) -> None:
        stream = pair.model(fallback="large").stream_events("easy", {"callbacks": [pair.recorder]}, version="v3")
        assert next(iter(stream.text)) == "Here "
        del stream
        gc.collect()
        assert [run.ends for run in pair.recorder.of_kind("chain")] == [1]


class TestCancellation:
    @pytest.mark.parametrize("mode", ["ainvoke", "astream", "agenerate", "abatch"])
    async def test_a_cancelled_call_asks_nobody_else(self, pair: Any, mode: str) -> None:
        pair.small.delay = 10.0
        model, config = pair.model(fallback="other"), {"callbacks": [pair.recorder]}

        async def asked() -> None:
            if mode == "astream":
                async for _ in model.astream("easy", config):
                    pass
            elif mode == "abatch":
                await model.abatch(["easy"], config)
            elif mode == "agenerate":
                await model.agenerate([[HumanMessage("easy")]], **config)
            else:
                await model.ainvoke("easy", config)

        task = asyncio.create_task(asked())
        while not pair.small.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not pair.large.calls
        assert all(run.ends == 1 for run in pair.recorder.of_kind("chain"))

    def test_nor_does_a_keyboard_interrupt(self, pair: Any) -> None:
        pair.small.answers = (KeyboardInterrupt(),)
        with pytest.raises(KeyboardInterrupt):
            pair.model(fallback="other").invoke("easy")
        assert not pair.large.calls

    def test_nor_a_reader_that_stops(self, pair: Any) -> None:
        chunks = pair.model(fallback="other").stream("easy")
        next(chunks)
        chunks.close()
        assert not pair.large.calls


class TestMiddleware:
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_the_other_model_answers(self, pair: Any, is_async: bool) -> None:
        pair.small.answers = (TimeoutError("asleep"),)
        routing = HybridRoutingMiddleware(pair.small, pair.large, router=pair.router, quality=0.5, fallback="large")
        agent = create_agent(pair.large, [weather], middleware=[routing])
        prompt = {"messages": [HumanMessage("easy")]}
        state = await agent.ainvoke(prompt) if is_async else agent.invoke(prompt)
        answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
        assert [decision_of(answer)["reason"] for answer in answers] == ["fallback", "fallback"]
        assert pair.called == ["small", "small", "large", "large"]

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_an_interrupt_is_no_failure(self, pair: Any, is_async: bool) -> None:
        pair.small.answers = (GraphBubbleUp(),)
        routing = HybridRoutingMiddleware(pair.small, pair.large, router=pair.router, quality=0.5, fallback="large")
        agent = create_agent(pair.large, [], middleware=[routing])
        prompt = {"messages": [HumanMessage("easy")]}
        with pytest.raises(GraphBubbleUp):
            _ = await agent.ainvoke(prompt) if is_async else agent.invoke(prompt)
        assert pair.called == ["small"]
