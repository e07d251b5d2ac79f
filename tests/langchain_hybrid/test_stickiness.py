"""A conversation may keep its model: by thread, by a user's function, in every way of calling it and in agents."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_hybrid import HybridRoutingMiddleware, decision_of


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def thread(name: str, where: str = "configurable") -> Any:
    return {where: {"thread_id": name}}


async def targets(ask: Any, model: Any, prompts: str, config: Any) -> list[tuple[str, str]]:
    decisions = [decision_of(await ask(model, prompt, config)) for prompt in prompts.split()]
    return [(decision["target"], decision["reason"]) for decision in decisions]


class TestKeys:
    async def test_a_thread_keeps_its_first_model(self, pair: Any, ask_with_config: Any) -> None:
        model = pair.model(stickiness="sticky")
        one = await targets(ask_with_config, model, "hard easy", thread("1"))
        other = await targets(ask_with_config, model, "easy hard", thread("2"))
        assert one == [("large", "score"), ("large", "sticky")]
        assert other == [("small", "score"), ("small", "sticky")]
        assert pair.called == ["small", "small", "large", "large"]

    async def test_a_thread_in_the_metadata_will_do(self, pair: Any, ask: Any) -> None:
        found = await targets(ask, pair.model(stickiness="sticky"), "hard easy", thread("1", "metadata"))
        assert [target for target, _ in found] == ["large", "large"]

    async def test_without_a_thread_nothing_is_remembered(self, pair: Any, ask: Any) -> None:
        found = await targets(ask, pair.model(stickiness="sticky"), "hard easy", None)
        assert [target for target, _ in found] == ["large", "small"]

    async def test_by_default_every_call_is_decided_anew(self, pair: Any, ask_with_config: Any) -> None:
        found = await targets(ask_with_config, pair.model(), "hard easy", thread("1"))
        assert [target for target, _ in found] == ["large", "small"]

    async def test_a_function_names_the_conversation(self, pair: Any, ask_with_config: Any) -> None:
        def by_user(messages: list[Any], config: Any) -> Any:
            assert messages
            return config["metadata"]["user"]

        model = pair.model(stickiness="sticky", conversation=by_user)
        found = [
            decision_of(await ask_with_config(model, prompt, {"metadata": {"user": user}, **thread("1")}))["target"]
            for prompt, user in (("hard", "ann"), ("easy", "bob"), ("easy", "ann"))
        ]
        assert found == ["large", "small", "large"]

    @pytest.mark.parametrize("key", [lambda messages, config: [], lambda messages, config: 1 / 0])
    async def test_one_that_fails_costs_the_memory_and_not_the_answer(
        self, pair: Any, ask: Any, key: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = await targets(ask, pair.model(stickiness="sticky", conversation=key), "hard easy", None)
        assert [target for target, _ in found] == ["large", "small"]
        assert "is not remembered" in caplog.text


class TestSwitchCost:
    @pytest.fixture
    def pair(self, pair: Any) -> Any:
        pair.difficulty.table["middling"] = 0.55
        return pair

    async def test_only_a_clear_case_switches_up_or_down(self, pair: Any, ask_with_config: Any) -> None:
        model = pair.model(quality=None, threshold=0.5, stickiness="switch_cost", switch_cost=0.2)
        found = await targets(ask_with_config, model, "easy middling hard middling easy", thread("1"))
        assert [target for target, _ in found] == ["small", "small", "large", "large", "small"]
        assert found[1] == ("small", "switch_cost")

    def test_the_cost_can_be_reassigned_and_the_memory_stays(self, pair: Any) -> None:
        model = pair.model(stickiness="switch_cost", switch_cost=0.9)
        assert decision_of(model.invoke("easy", thread("1")))["target"] == "small"
        assert decision_of(model.invoke("hard", thread("1")))["reason"] == "switch_cost"
        model.switch_cost = 0.1
        assert decision_of(model.invoke("middling", thread("1")))["reason"] == "switch_cost"
        assert decision_of(model.invoke("hard", thread("1")))["target"] == "large"


class TestCopies:
    def test_a_copy_shares_the_memory_and_one_in_another_process_starts_anew(self, pair: Any) -> None:
        model = pair.model(stickiness="sticky")
        model.invoke("hard", thread("1"))
        copy = model.model_copy(update={"quality": 0.4})
        assert decision_of(copy.invoke("easy", thread("1")))["reason"] == "sticky"
        elsewhere = pickle.loads(pickle.dumps(model))
        assert decision_of(elsewhere.invoke("easy", thread("1")))["reason"] == "score"
        assert decision_of(elsewhere.invoke("hard", thread("1")))["reason"] == "sticky"

    def test_a_guards_exception_settles_nothing(self, pair: Any) -> None:
        model = pair.model(stickiness="sticky")
        model.invoke("easy", thread("1"), route="large")
        assert decision_of(model.invoke("easy", thread("1")))["target"] == "small"


class TestAgents:
    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize("as_middleware", [False, True])
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, ["small", "large", "small"]),
            ({"stickiness": "sticky"}, ["small", "small", "small"]),
            ({"stickiness": "switch_cost", "switch_cost": 0.2}, ["small", "large", "small"]),
            ({"stickiness": "switch_cost", "switch_cost": 0.6}, ["small", "small", "small"]),
        ],
    )
    async def test_a_thread_of_an_agent(
        self, pair: Any, is_async: bool, as_middleware: bool, settings: Any, expected: list[str]
    ) -> None:
        if is_async and sys.version_info < (3, 11):
            pytest.skip("before Python 3.11 LangChain's async agents do not hand their config to models and middleware")
        saver = InMemorySaver()
        if as_middleware:
            routing = HybridRoutingMiddleware(pair.small, pair.large, router=pair.router, quality=0.5, **settings)
            agent = create_agent(pair.large, [weather], middleware=[routing], checkpointer=saver)
        else:
            agent = create_agent(pair.model(**settings), [weather], checkpointer=saver)
        for name in ("1", "2"):
            state: Any = None
            for text in ("easy", "hard", "easy"):
                prompt = {"messages": [HumanMessage(text)]}
                state = await agent.ainvoke(prompt, thread(name)) if is_async else agent.invoke(prompt, thread(name))
            answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
            # each ask takes two model calls, before the tool and after it
            assert [decision_of(answer)["target"] for answer in answers[::2]] == expected
            assert [decision_of(answer)["target"] for answer in answers[1::2]] == expected
