"""N models behind one: every entry point decides, is traced once, and gives its slot back."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import BaseModel

from langchain_hybrid import HybridChatModel
from langchain_hybrid.expert_chat_model import ExpertChatModel
from langchain_hybrid.testing import RunRecorder, ScriptedChatModel
from shared_router.errors import ExpertsBusyError, HybridError
from shared_router.experts.router import DifficultyExperts
from shared_router.experts.slots import ExpertSlots
from shared_router.guards import Capabilities
from shared_router.knob import Knob
from shared_router.testing import table_router

NAMES = ("chat", "code", "maths")
Ask = Callable[..., Any]


def by_word(text: str) -> list[str]:
    """The expert whose name stands in the text, and then the others."""
    return sorted(NAMES, key=lambda name: name not in text)


def models(**scripts: Any) -> dict[str, ScriptedChatModel]:
    return {
        name: ScriptedChatModel(model=f"{name}-1", answers=scripts.get(name, [f"{name} says so."])) for name in NAMES
    }


def router_of(experts: dict[str, ScriptedChatModel] | None = None, **settings: Any) -> ExpertChatModel:
    return ExpertChatModel(**{"experts": experts or models(), "router": by_word, **settings})


def decision(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = message.response_metadata["hybrid"]
    return found


def in_use(model: ExpertChatModel) -> int:
    return sum(load.in_use + load.waiting for load in model.slots.load().values())


async def test_every_entry_point_asks_the_chosen_expert_once(ask: Ask) -> None:
    experts, recorder = models(), RunRecorder()
    answer = await ask(router_of(experts, limits=1), "some code", {"callbacks": [recorder]})
    assert answer.text == "code says so."
    assert (decision(answer)["expert"], decision(answer)["reason"]) == ("code", "router")
    assert decision(answer)["target"] == "code"
    assert decision(answer)["model"] == "code-1"
    assert [len(experts[name].calls) for name in NAMES] == [0, 1, 0]
    (own,) = [run for run in recorder.of_kind("chain") if run.name == "ExpertChatModel"]
    (inner,) = recorder.of_kind("chat_model")
    assert inner.parent == own.run_id
    assert "hybrid:code" in inner.tags
    assert inner.metadata["hybrid"]["expert"] == "code"
    assert [run.ends for run in recorder.runs] == [1] * len(recorder.runs)
    assert [name for name, _ in recorder.events] == ["hybrid_decision"]


async def test_every_entry_point_gives_its_slot_back(ask: Ask) -> None:
    model = router_of(models(code=["fine", OSError("down")]), limits=1)
    await ask(model, "code")
    assert in_use(model) == 0
    with pytest.raises(OSError, match="down"):
        await ask(model, "code")
    assert in_use(model) == 0


async def test_every_entry_point_falls_back_to_the_next(ask: Ask) -> None:
    recorder = RunRecorder()
    model = router_of(models(code=[OSError("down")]), limits=1, fallback="next")
    answer = await ask(model, "code", {"callbacks": [recorder]})
    assert answer.text == "chat says so."
    found = decision(answer)
    assert (found["reason"], found["failed"], found["preferred"]) == ("fallback", "code: OSError", "code")
    assert in_use(model) == 0
    assert [run.ends for run in recorder.runs] == [1] * len(recorder.runs)


async def test_a_demanded_expert_answers_or_fails(ask: Ask) -> None:
    model = router_of(models(maths=["42", OSError("down")]), fallback="next")
    assert decision(await ask(model, "code", expert="maths"))["reason"] == "forced"
    with pytest.raises(OSError, match="down"):
        await ask(model, "code", expert="maths")


def test_who_demands_last_is_heard() -> None:
    model = router_of(expert="chat")
    config: Any = {"configurable": {"expert": "maths"}}
    assert decision(model.invoke("code"))["expert"] == "chat"
    assert decision(model.invoke("code", config))["expert"] == "maths"
    assert decision(model.with_config(config).invoke("code"))["expert"] == "maths"
    assert decision(model.bind(expert="code").invoke("x", config))["expert"] == "code"
    assert decision(model.bind(expert="code").invoke("x", expert="maths"))["expert"] == "maths"
    assert decision((model | (lambda message: message)).invoke("code", config))["expert"] == "maths"


async def test_a_busy_expert_spills(ask: Ask) -> None:
    model = router_of(limits=ExpertSlots({"code": 1}, spill_after=0.0))
    with model.slots.hold(["code"]):
        found = decision(await ask(model, "code"))
    assert (found["expert"], found["reason"], found["preferred"]) == ("chat", "spill", "code")
    assert in_use(model) == 0


async def test_nobody_has_time(ask: Ask) -> None:
    recorder = RunRecorder()
    model = router_of(limits=ExpertSlots(1, queue=0), fallback="next")
    held = [model.slots.hold([name]) for name in NAMES]
    with pytest.raises(ExpertsBusyError, match="the queue is full"):
        await ask(model, "code", {"callbacks": [recorder]})
    assert recorder.of_kind("chat_model") == []
    assert [run.ends for run in recorder.runs] == [1] * len(recorder.runs)
    for slot in held:
        slot.release()


async def test_a_stream_holds_its_slot_until_it_ends() -> None:
    model = router_of(limits=1)
    chunks = model.stream("code")
    assert in_use(model) == 0
    next(chunks)
    assert in_use(model) == 1
    list(chunks)
    assert in_use(model) == 0
    parts = model.astream("code")
    await anext(parts)
    assert in_use(model) == 1
    async for _ in parts:
        pass
    assert in_use(model) == 0


async def test_a_stream_that_is_closed_or_forgotten_gives_its_slot_back() -> None:
    model = router_of(limits=1)
    chunks: Any = model.stream("code")
    next(chunks)
    chunks.close()
    assert in_use(model) == 0
    chunks = model.stream("code")
    next(chunks)
    del chunks
    assert in_use(model) == 0
    parts: Any = model.astream("code")
    await anext(parts)
    await parts.aclose()
    assert in_use(model) == 0
    parts = model.astream("code")
    await anext(parts)
    del parts
    gc.collect()
    await asyncio.sleep(0.01)  # asyncio closes forgotten generators in a task of its own
    assert in_use(model) == 0


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_events_of_version_3_that_nobody_reads_hold_nothing() -> None:
    model = router_of(limits=1)
    stream: Any = model.stream_events("code", version="v3")
    assert in_use(model) == 0
    next(iter(stream))
    assert in_use(model) == 1
    del stream
    gc.collect()
    assert in_use(model) == 0


async def test_a_cancelled_call_gives_its_slot_back() -> None:
    experts = models()
    experts["code"] = ScriptedChatModel(model="code-1", delay=30.0)
    model = router_of(experts, limits=1)
    task = asyncio.create_task(model.ainvoke("code"))
    while in_use(model) == 0:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert in_use(model) == 0


def test_threads_keep_to_the_limit() -> None:
    lock, counts = threading.Lock(), {"now": 0, "most": 0}

    def slowly(messages: Sequence[Any]) -> str:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        time.sleep(0.002)
        with lock:
            counts["now"] -= 1
        return messages[-1].text

    model = router_of(models(code=[slowly]), limits=ExpertSlots({"code": 2}, spill_after=None))
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda number: model.invoke(f"code {number}").text, range(40)))
    assert answers == [f"code {number}" for number in range(40)]
    assert counts["most"] == 2


def test_a_batch_is_judged_in_one_pass() -> None:
    passes: list[int] = []

    class Counting:
        router_id = "counting"
        experts = ("chat",)

        def rank(self, texts: Sequence[str], /) -> Any:
            passes.append(len(texts))
            return table.rank(texts)

    from shared_router.experts.router import FunctionExperts

    table = FunctionExperts(by_word)
    model = router_of(router=Counting())
    answers = model.batch(["code", "chat", "maths"])
    assert [decision(answer)["expert"] for answer in answers] == ["code", "chat", "maths"]
    assert passes == [3]
    model.generate([[HumanMessage("code")], [HumanMessage("chat")]])
    assert passes == [3, 2]


@pytest.mark.parametrize("router", [lambda text: 1 / 0, lambda text: "stranger", lambda text: [], lambda text: None])
def test_a_router_that_fails_costs_the_choice_and_not_the_answer(router: Any) -> None:
    found = decision(router_of(router=router).invoke("code"))
    assert (found["expert"], found["reason"]) == ("chat", "router_error")
    assert decision(router_of(router=router, on_router_error="maths").invoke("code"))["expert"] == "maths"


@tool
def clock(zone: str) -> str:
    """The time of day."""
    return zone


class Answer(BaseModel):
    """An answer."""

    text: str


def test_tools_and_schemas_reach_the_chosen_expert() -> None:
    experts = models()
    model = router_of(experts)
    answer = model.bind_tools([clock]).bind(temperature=0.5).invoke("code 'UTC'")
    assert answer.tool_calls[0]["args"] == {"zone": "UTC"}
    assert experts["code"].calls[0].kwargs["temperature"] == 0.5
    assert model.with_structured_output(Answer).invoke("maths 'yes'") == Answer(text="yes")
    raw: Any = model.with_structured_output(Answer, include_raw=True).invoke("maths 'yes'")
    assert decision(raw["raw"])["expert"] == "maths"
    assert decision(model.bind_tools([clock], expert="chat").invoke("code"))["expert"] == "chat"


def test_a_tool_loop_stays_with_its_expert() -> None:
    model = router_of().bind_tools([clock])
    question = HumanMessage("code 'UTC'")
    asked: Any = model.invoke([question])
    from langchain_core.messages import ToolMessage

    result = ToolMessage("maths chat", tool_call_id=asked.tool_calls[0]["id"])
    assert decision(model.invoke([question, asked, result]))["expert"] == "code"


def test_a_call_goes_to_the_best_expert_that_can_serve_it() -> None:
    can = {"code": Capabilities(tools=False), "chat": {"tools": False}}
    model = router_of(capabilities=can)
    found = decision(model.bind_tools([clock]).invoke("code"))
    assert (found["expert"], found["reason"], found["preferred"]) == ("maths", "tools", "code")
    assert decision(model.invoke("code"))["expert"] == "code"


def test_what_is_judged_can_be_said() -> None:
    model = router_of(judged=lambda messages: str(messages[0].content))
    assert decision(model.invoke([("human", "maths"), ("ai", "?"), ("human", "code")]))["expert"] == "maths"


def test_foreign_reasoning_is_not_shown_to_another_expert() -> None:
    experts = models()
    model = router_of(experts)
    first = AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}])
    first.response_metadata = decision_holder("maths")
    model.invoke([HumanMessage("maths"), first, HumanMessage("code")])
    assert experts["code"].calls[0].messages[1].content == [{"type": "text", "text": "yes"}]
    model.invoke([HumanMessage("x"), first, HumanMessage("maths")])
    assert experts["maths"].calls[0].messages[1] is first


def decision_holder(expert: str) -> dict[str, Any]:
    return {"hybrid": {"target": expert, "expert": expert, "model": f"{expert}-1"}}


@pytest.mark.parametrize("text", ["easy", "hard", "unheard of"])
def test_two_experts_under_a_difficulty_are_a_hybrid_chat_model(text: str) -> None:
    table = table_router({"easy": 0.1, "hard": 0.9})
    small, large = ScriptedChatModel(model="small"), ScriptedChatModel(model="large")
    pair = HybridChatModel(small=small, large=large, router=table, quality=0.5, fallback="other")
    router = DifficultyExperts(table, "small", "large", Knob("quality", 0.5))
    experts = ExpertChatModel(experts={"small": small, "large": large}, router=router, fallback="next")
    for kwargs, forced in (({}, {}), ({"route": "large"}, {"expert": "large"})):
        one, other = decision(pair.invoke(text, **kwargs)), decision(experts.invoke(text, **forced))
        assert {name: one[name] for name in ("target", "model", "reason", "router")} == {
            name: other[name] for name in ("target", "model", "reason", "router")
        }


def test_settings_that_do_not_fit_are_refused() -> None:
    for settings, said in (
        ({"experts": {"one": ScriptedChatModel()}}, "at least two"),
        ({"experts": {"one": ScriptedChatModel(), "two": "gpt"}}, "'two' is a str"),
        ({"router": None}, "needs a router"),
        ({"router": 3}, "got int"),
        ({"expert": "stranger"}, "expert is one of chat, code, maths"),
        ({"on_router_error": "stranger"}, "on_router_error is one of"),
        ({"fallback": "other"}, '"next" or None'),
        ({"limits": 0}, "at least 1"),
        ({"temperature": 1.0}, "is set on the experts"),
        ({"rate_limiter": object()}, "rate_limiter on the router"),
        ({"capabilities": {"stranger": {}}}, "a key of capabilities"),
        ({"capabilities": {"code": {"speed": 1}}}, "speed"),
        ({"router": DifficultyExperts(table_router(), "small", "large")}, "may choose large, small"),
    ):
        with pytest.raises(HybridError, match=said):
            router_of(**settings)
    for kwargs in ({"quality": 0.5}, {"expert": "stranger"}):
        with pytest.raises(HybridError, match="expert"):
            router_of().invoke("code", **kwargs)
    with pytest.raises(HybridError, match="knob between two models"):
        router_of().bind(quality=0.5).invoke("code")


def test_names_only_are_shown_and_identify() -> None:
    model = router_of(expert="code", limits=2)
    assert "code-1" in repr(model)
    assert model._identifying_params["experts"]["code"]["model"] == "code-1"
    assert model._get_ls_params()["ls_model_name"] == "chat-1|code-1|maths-1"
    assert model.get_num_tokens("one two three") == 3


class SuiteModel(ExpertChatModel):
    """What the suites say about a model (temperature, stop, ...) concerns the experts, where a user puts it too."""

    def __init__(self, **params: Any) -> None:
        if "experts" not in params:
            given = {name: params.pop(name) for name in list(params) if name not in ("output_version", "limits")}
            experts: dict[str, BaseChatModel] = {
                name: ScriptedChatModel(model=f"{name}-1", **given) for name in ("one", "two", "three")
            }
            params |= {"experts": experts, "router": lambda text: "two"}
        super().__init__(**params)


class Suite:
    @property
    def chat_model_class(self) -> type[SuiteModel]:
        return SuiteModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"limits": 1}

    @property
    def model_override_value(self) -> str:
        return "some-other-model"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


class TestExpertUnit(Suite, ChatModelUnitTests):
    pass


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
class TestExpertIntegration(Suite, ChatModelIntegrationTests):
    pass
