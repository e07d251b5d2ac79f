"""The router inside an agent that exists already."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, wrap_model_call
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_hybrid import DECISION_EVENT, HybridRoutingMiddleware, decision_of
from langchain_hybrid.testing import ScriptedChatModel
from shared_router.errors import HybridError, KnobError
from shared_router.testing import BrokenDifficulty, table_router


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def routing(pair: Any, **settings: Any) -> HybridRoutingMiddleware:
    return HybridRoutingMiddleware(pair.small, pair.large, **{"router": pair.router, "quality": 0.5, **settings})


@pytest.fixture(params=["invoke", "ainvoke"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    async def run(agent: Any, text: str, config: Any = None) -> Any:
        if config and request.param == "ainvoke" and sys.version_info < (3, 11):
            pytest.skip("before Python 3.11 LangChain's async agents do not hand their config to models and middleware")
        prompt = {"messages": [HumanMessage(text)]}
        return agent.invoke(prompt, config) if request.param == "invoke" else await agent.ainvoke(prompt, config)

    return run


def decisions(state: Any) -> list[Any]:
    return [decision_of(message) for message in state["messages"] if isinstance(message, AIMessage)]


@pytest.mark.parametrize(("text", "target"), [("easy", "small"), ("hard", "large")])
async def test_every_call_of_the_loop_goes_to_the_chosen_model(pair: Any, run: Any, text: str, target: str) -> None:
    untouched = ScriptedChatModel(model="untouched")
    agent = create_agent(untouched, [weather], middleware=[routing(pair)])
    state = await run(agent, text, {"callbacks": [pair.recorder]})

    assert [decision["target"] for decision in decisions(state)] == [target, target]
    assert pair.called == [target, target]
    assert not untouched.calls
    runs = pair.recorder.of_kind("chat_model")
    assert len(runs) == 2
    for one in runs:
        assert f"hybrid:{target}" in one.tags
        assert one.metadata["hybrid"] == decisions(state)[0]
    assert pair.recorder.events == [(DECISION_EVENT, decisions(state)[0])] * 2


async def test_the_agents_own_model_can_be_the_large_one(pair: Any, run: Any) -> None:
    middleware = HybridRoutingMiddleware(pair.small, router=pair.router)
    agent = create_agent(pair.large, [], middleware=[middleware])
    assert decisions(await run(agent, "hard"))[0]["model"] == "grand-1"
    assert decisions(await run(agent, "easy"))[0]["model"] == "tiny-1"
    assert pair.called == ["small", "large"]
    assert not pair.large.tags


async def test_the_nearest_knob_counts(pair: Any, run: Any) -> None:
    class Settings(AgentMiddleware[Any, Any]):
        def wrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
            return handler(request.override(model_settings={"route": "small", "temperature": 0.3}))

        async def awrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
            return await handler(request.override(model_settings={"route": "small", "temperature": 0.3}))

    agent = create_agent(pair.large, [], middleware=[routing(pair)])
    config = {"configurable": {"route": "large"}}
    assert decisions(await run(agent, "easy"))[0]["knob"] == {"quality": 0.5}
    assert decisions(await run(agent, "easy", config))[0]["knob"] == {"route": "large"}
    agent = create_agent(pair.large, [], middleware=[Settings(), routing(pair)])
    assert decisions(await run(agent, "hard", config))[0]["knob"] == {"route": "small"}
    assert dict(pair.small.calls[-1].kwargs) == {"temperature": 0.3}


def test_middleware_further_in_sees_the_chosen_model(pair: Any) -> None:
    seen: list[BaseChatModel] = []

    @wrap_model_call
    def look(request: ModelRequest[Any], handler: Any) -> Any:
        seen.append(request.model)
        return handler(request)

    create_agent(pair.large, [], middleware=[routing(pair), look]).invoke({"messages": [HumanMessage("easy")]})
    (model,) = seen
    assert isinstance(model, ScriptedChatModel)
    assert model.model == "tiny-1"


async def test_structured_answers(pair: Any, run: Any) -> None:
    class Joke(BaseModel):
        """A joke."""

        setup: str

    agent = create_agent(pair.large, [], response_format=Joke, middleware=[routing(pair)])
    state = await run(agent, "easy")
    assert isinstance(state["structured_response"], Joke)
    assert pair.called == ["small"]


def test_the_other_models_thoughts_are_dropped(pair: Any) -> None:
    thought = AIMessage(
        [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "so"}],
        response_metadata={"model_provider": "anthropic"},
    )
    agent = create_agent(pair.large, [], middleware=[routing(pair)])
    prompt = {"messages": [HumanMessage("hard"), thought, HumanMessage("easy")]}
    agent.invoke(prompt)
    assert pair.small.calls[0].messages[1].content == [{"type": "text", "text": "so"}]
    assert len(thought.content) == 2


async def test_an_error_comes_through_as_it_is(pair: Any, run: Any) -> None:
    failure = TimeoutError("asleep")
    pair.small.answers = (failure,)
    with pytest.raises(TimeoutError) as caught:
        await run(create_agent(pair.large, [], middleware=[routing(pair)]), "easy")
    assert caught.value is failure


async def test_a_broken_router_does_not_fail_the_agent(pair: Any, run: Any) -> None:
    router = table_router()
    router._difficulty = BrokenDifficulty()
    agent = create_agent(pair.large, [], middleware=[routing(pair, router=router, on_router_error="small")])
    assert decisions(await run(agent, "hard"))[0]["reason"] == "router_error"
    assert pair.called == ["small"]


def test_settings_are_checked(pair: Any) -> None:
    with pytest.raises(KnobError, match="did you mean"):
        routing(pair, qualty=0.5)
    with pytest.raises(KnobError, match="one way only"):
        routing(pair, threshold=0.5)
    with pytest.raises(HybridError, match="chat models"):
        HybridRoutingMiddleware("gpt-x", router=pair.router)  # type: ignore[arg-type]


def test_a_missing_langchain_names_the_install_line() -> None:
    code = """
import sys
sys.modules["langchain"] = None
import langchain_hybrid
try:
    langchain_hybrid.HybridRoutingMiddleware
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingExtraError")
    assert "langchain>=1.0" in run.stdout
