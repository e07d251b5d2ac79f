"""N models behind one: every method of core decides once, asks once, and gives its slot back."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from llama_index.core.base.llms.types import ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

from llamaindex_hybrid import decision_of, query
from llamaindex_hybrid.expert_llm import ExpertLLM
from llamaindex_hybrid.testing import LLMConformance, ScriptedLLM
from shared_router.errors import ExpertsBusyError, HybridError
from shared_router.experts.slots import ExpertSlots

NAMES = ("chat", "code", "maths")


def by_word(text: str) -> list[str]:
    """The expert whose name stands in the text, and then the others."""
    return sorted(NAMES, key=lambda name: name not in text)


class Answer(BaseModel):
    """An answer."""

    text: str


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ANSWER = ToolCallBlock(tool_name="Answer", tool_kwargs={"text": "yes"})
ADD = ToolCallBlock(tool_name="add", tool_kwargs={"a": 1, "b": 2})
TOOLS = [FunctionTool.from_defaults(add)]


def four(name: str) -> tuple[str, ...]:
    """A method's four variants."""
    return (name, f"a{name}", f"stream_{name}", f"astream_{name}")


Arguments = Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]]
METHODS: dict[str, tuple[Arguments, list[Any]]] = {
    **dict.fromkeys(four("chat"), (lambda text: (([ChatMessage(content=text)],), {}), [])),
    **dict.fromkeys(four("complete"), (lambda text: ((text,), {}), [])),
    **dict.fromkeys(
        ("predict", "apredict", "stream", "astream"),
        (lambda text: ((PromptTemplate("Say: {query_str}"),), {"query_str": text}), []),
    ),
    **dict.fromkeys(
        four("structured_predict"),
        (lambda text: ((Answer, PromptTemplate("Say: {query_str}")), {"query_str": text}), [ANSWER]),
    ),
    **dict.fromkeys(four("chat_with_tools"), (lambda text: ((TOOLS,), {"user_msg": text}), [ADD])),
    **dict.fromkeys(("predict_and_call", "apredict_and_call"), (lambda text: ((TOOLS,), {"user_msg": text}), [ADD])),
}


def call(llm: LLM, name: str, text: str, **extra: Any) -> list[Any]:
    """All that a method hands out: one value, or the chunks of a stream."""
    args, kwargs = METHODS[name][0](text)

    async def waited(result: Any) -> list[Any]:
        value = await result
        return [chunk async for chunk in value] if isinstance(value, AsyncGenerator) else [value]

    result = getattr(llm, name)(*args, **kwargs, **extra)
    if inspect.isawaitable(result):
        return asyncio.run(waited(result))
    return list(result) if isinstance(result, Generator) else [result]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def models(method: str = "chat", **replies: Any) -> dict[str, ScriptedLLM]:
    return {name: ScriptedLLM(model=name, replies=replies.get(name, METHODS[method][1])) for name in NAMES}


def router_of(experts: dict[str, Any] | None = None, **settings: Any) -> ExpertLLM:
    return ExpertLLM(**{"experts": experts or models(), "router": by_word, **settings})


def busy(llm: ExpertLLM) -> int:
    return sum(load.in_use + load.waiting for load in llm.slots.load().values())


def test_every_method_asks_the_chosen_expert_once(events: Any, method: str) -> None:
    experts = models(method)
    llm = router_of(experts, limits=1)
    assert call(llm, method, "some code")
    assert [bool(experts[name].called) for name in NAMES] == [False, True, False]
    assert experts["code"].called[0] == method
    assert len(experts["code"].received) == 1
    (event,) = events.given
    assert (event.method, event.model, event.decision.expert, event.decision.reason) == (
        method,
        "code",
        "code",
        "router",
    )
    (started,) = events.named("LLMChatStartEvent") + events.named("LLMCompletionStartEvent")
    assert started.tags == {"hybrid.target": "code", "hybrid.model": "code"}
    assert busy(llm) == 0


def test_the_decision_is_on_the_response_and_on_every_chunk(method: str) -> None:
    for output in call(router_of(models(method)), method, "code"):
        if hasattr(output, "additional_kwargs"):
            assert decision_of(output)["expert"] == "code"  # type: ignore[index]


def test_every_method_gives_its_slot_back_when_it_fails(method: str) -> None:
    llm = router_of(models(method, code=[OSError("down")]), limits=1)
    with pytest.raises(OSError, match="down"):
        call(llm, method, "code")
    assert busy(llm) == 0


def test_every_method_falls_back_to_the_next_but_those_that_call_tools(method: str, events: Any) -> None:
    llm = router_of(models(method, code=[OSError("down")]), limits=1, fallback="next")
    if method.endswith("predict_and_call"):
        with pytest.raises(OSError, match="down"):
            call(llm, method, "code")
        return
    assert call(llm, method, "code")
    first, second = events.given
    assert (first.decision.expert, second.decision.expert) == ("code", "chat")
    assert (second.decision.reason, second.decision.failed) == ("fallback", "code: OSError")
    assert busy(llm) == 0


def test_every_method_takes_a_demanded_expert(method: str) -> None:
    experts = models(method)
    call(router_of(experts), method, "code", expert="maths")
    assert experts["maths"].called[0] == method
    assert "expert" not in experts["maths"].keywords[0]
    assert experts["code"].called == []


def test_every_method_spills(method: str, events: Any) -> None:
    llm = router_of(models(method), limits=ExpertSlots({"code": 1}, spill_after=0.0))
    with llm.slots.hold(["code"]):
        call(llm, method, "code")
    (event,) = events.given
    assert (event.decision.expert, event.decision.reason, event.decision.preferred) == ("chat", "spill", "code")
    assert busy(llm) == 0


def test_nobody_has_time(method: str) -> None:
    experts = models(method)
    llm = router_of(experts, limits=ExpertSlots(1, queue=0), fallback="next")
    held = [llm.slots.hold([name]) for name in NAMES]
    with pytest.raises(ExpertsBusyError, match="the queue is full"):
        call(llm, method, "code")
    assert [one.called for one in experts.values()] == [[]] * 3
    assert [slot.expert for slot in held] == list(NAMES)


async def test_a_stream_holds_its_slot_until_it_ends_is_closed_or_forgotten() -> None:
    llm = router_of(limits=1)
    messages = [ChatMessage(content="code")]
    chunks: Any = llm.stream_chat(messages)
    assert isinstance(chunks, Generator)
    assert busy(llm) == 1
    list(chunks)
    assert busy(llm) == 0
    chunks = llm.stream_chat(messages)
    next(chunks)
    chunks.close()
    assert busy(llm) == 0
    chunks = llm.stream_chat(messages)
    del chunks  # never read
    gc.collect()
    assert busy(llm) == 0
    chunks = llm.stream_chat(messages)
    chunks.close()  # never read, and still referred to
    assert busy(llm) == 0
    parts: Any = await llm.astream_chat(messages)
    await anext(parts)
    assert busy(llm) == 1
    await parts.aclose()
    assert busy(llm) == 0
    parts = await llm.astream_chat(messages)
    await parts.aclose()  # never read
    assert busy(llm) == 0
    parts = await llm.astream_chat(messages)
    await anext(parts)
    del parts
    gc.collect()
    await asyncio.sleep(0.01)  # asyncio closes forgotten generators in a task of its own
    assert busy(llm) == 0


async def test_a_cancelled_call_gives_its_slot_back() -> None:
    started = asyncio.Event()

    class Waiting(ScriptedLLM):
        async def achat(self, messages: Any, **kwargs: Any) -> Any:
            started.set()
            await asyncio.sleep(60)

    llm = router_of({**models(), "code": Waiting()}, limits=1)
    task = asyncio.create_task(llm.achat([ChatMessage(content="code")]))
    await started.wait()
    assert busy(llm) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert busy(llm) == 0


def test_a_variable_of_a_template_is_not_taken_for_ours() -> None:
    experts = models()
    router_of(experts).predict(PromptTemplate("Ask {expert}: {query_str}"), expert="chat", query_str="code")
    assert experts["code"].called[0] == "predict"


def test_structured_llms_and_prepared_chats_go_to_one_expert() -> None:
    experts = models("structured_predict")
    llm = router_of(experts, limits=1)
    answer = llm.as_structured_llm(Answer).chat([ChatMessage(content="maths")])
    assert answer.raw == Answer(text="yes")
    assert decision_of(answer)["expert"] == "maths"  # type: ignore[index]
    prepared = llm._prepare_chat_with_tools(TOOLS, user_msg="code")
    assert busy(llm) == 0
    assert decision_of(llm.chat(**prepared))["expert"] == "code"  # type: ignore[index]


def test_tool_calls_are_read_by_who_made_them() -> None:
    experts = {"chat": MockLLM(), "code": ScriptedLLM(replies=[ADD]), "maths": ScriptedLLM()}
    llm = router_of(experts)
    response = llm.chat_with_tools(TOOLS, user_msg="code")
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"a": 1, "b": 2}
    assert "get_tool_calls_from_response" in experts["code"].called  # type: ignore[union-attr]
    assert experts["maths"].called == []  # type: ignore[union-attr]


def test_a_call_goes_to_the_best_expert_that_can_serve_it() -> None:
    llm = router_of({**models(), "code": MockLLM()})
    assert decision_of(llm.chat_with_tools(TOOLS, user_msg="code"))["reason"] == "tools"  # type: ignore[index]
    llm = router_of(capabilities={"code": {"modalities": []}})
    image = ChatMessage(role="user", blocks=[TextBlock(text="code"), ImageBlock(image=b"x")])
    found = decision_of(llm.chat([image]))
    assert found is not None
    assert (found["expert"], found["reason"], found["preferred"]) == ("chat", "modality", "code")


def test_what_is_judged_can_be_said_in_a_block() -> None:
    llm = router_of()
    with query("maths", quality=0.5):  # a knob in a block may be meant for another model in it
        assert decision_of(llm.complete("code"))["expert"] == "maths"  # type: ignore[index]
    assert decision_of(llm.complete("code", query="maths"))["expert"] == "maths"  # type: ignore[index]
    with pytest.raises(HybridError, match="knob between two models"):
        llm.complete("code", quality=0.5)


def test_a_router_that_fails_costs_the_choice_and_not_the_answer() -> None:
    found = decision_of(router_of(router=lambda text: 1 / 0, on_router_error="maths").complete("code"))
    assert found is not None
    assert (found["expert"], found["reason"]) == ("maths", "router_error")


def test_settings_that_do_not_fit_are_refused() -> None:
    for settings, said in (
        ({"experts": {"one": ScriptedLLM()}}, "at least two"),
        ({"experts": {"one": ScriptedLLM(), "two": "gpt"}}, "'two' is a str"),
        ({"router": 3}, "got int"),
        ({"expert": "stranger"}, "expert is one of chat, code, maths"),
        ({"fallback": "other"}, '"next" or None'),
        ({"limits": 0}, "at least 1"),
        ({"capabilities": {"stranger": {}}}, "a key of capabilities"),
    ):
        with pytest.raises(HybridError, match=said):
            router_of(**settings)
        (name,) = settings
        with pytest.raises(HybridError, match=said):
            setattr(router_of(), name, settings[name])
    with pytest.raises(HybridError, match="expert is one of"):
        router_of().complete("code", expert="stranger")


def test_a_new_callback_manager_and_overlaid_settings_reach_all_experts() -> None:
    experts = models()
    llm = router_of(experts, system_prompt="Be brief.")
    llm.callback_manager = manager = CallbackManager([])
    assert all(one.callback_manager is manager for one in experts.values())
    llm.predict(PromptTemplate("{query_str}"), query_str="code")
    assert llm._leg("code").system_prompt == "Be brief."


def test_saving() -> None:
    llm = router_of(limits={"code": 2}, capabilities={"code": {"tools": False}})
    data = llm.to_dict()
    with pytest.raises(HybridError, match="with the router 'by_word'"):
        ExpertLLM.from_dict(data)
    again = ExpertLLM.from_dict(data, router=by_word)
    assert again.capabilities == llm.capabilities
    assert list(again.experts) == list(NAMES)
    copy = pickle.loads(pickle.dumps(router_of(limits={"code": 2})))
    assert copy.slots.limits == {"code": 2}
    with pytest.raises(HybridError, match="router cannot be pickled"):
        pickle.dumps(router_of(router=lambda text: "code"))
    assert "code" in repr(llm)


class TestConformance(LLMConformance):
    def make_llm(self) -> LLM:
        return router_of(limits=1)


class TestConformanceOfMixedExperts(LLMConformance):
    def make_llm(self) -> LLM:
        return router_of({"chat": ScriptedLLM(replies=[ADD]), "code": MockLLM(), "maths": ScriptedLLM()}, limits=1)
