"""The twins cannot drift apart: one table of cases, driven through both plug-ins, must give the same decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages import ToolMessage as LangChainToolMessage
from langchain_core.tools import tool
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool

from langchain_hybrid import HybridChatModel
from langchain_hybrid.testing import ScriptedChatModel
from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router import HybridError, KnobError, Router
from shared_router.guards import Capabilities
from shared_router.limits import ShareLimit
from shared_router.testing import BrokenDifficulty, linear_calibration_set, linear_curve, table_router

DIFFICULTIES = {"easy": 0.1, "middling": 0.55, "hard": 0.9}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TEXT_ONLY = Capabilities(modalities=frozenset(), tools=False, context_window=50)
ALL = Capabilities(modalities=frozenset({"image"}), tools=True, context_window=100_000)


@dataclass(frozen=True)
class Case:
    """A router's settings, and a sequence of calls with the decisions that are expected of both twins.

    Attributes:
        name: Shown by pytest.
        calls: (text, settings of the call) each.
        expected: (target, reason) each.
        settings: The constructor's.
        failing: The model that raises when it is called.
        image: Send an image along.
        tools: Offer a tool.
        router: Makes the router.
    """

    name: str
    calls: Sequence[tuple[str, Mapping[str, Any]]]
    expected: Sequence[tuple[str, str]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    failing: str | None = None
    image: bool = False
    tools: bool = False
    router: Callable[[], Any] = lambda: table_router(DIFFICULTIES)

    def models(self, model: type[Any], script: str) -> dict[str, Any]:
        failing = {script: [OSError("down")]}
        return {name: model(model=name, **(failing if name == self.failing else {})) for name in ("small", "large")}


def broken() -> Router:
    return Router(BrokenDifficulty(), curve=linear_curve(), router_id="broken")


def certified() -> Router:
    return table_router(DIFFICULTIES, own_pair=True, calibration_set=linear_calibration_set())


CASES = [
    Case("the score decides", [("easy", {}), ("hard", {})], [("small", "score"), ("large", "score")], {"quality": 0.5}),
    Case("the default knob keeps 90 %", [("easy", {}), ("nothing", {})], [("large", "score")] * 2),
    Case("a knob at the call", [("middling", {"quality": 0.2})], [("small", "score")], {"quality": 0.9}),
    Case("of another kind", [("middling", {"threshold": 0.9})], [("small", "score")], {"quality": 0.9}),
    Case(
        "a certified promise",
        [("easy", {}), ("hard", {})],
        [("small", "score"), ("large", "score")],
        {"quality": 0.9, "confidence": 0.95},
        router=certified,
    ),
    Case(
        "a promise certified at the call",
        [("easy", {"max_drop": 0.1, "confidence": 0.95})],
        [("small", "score")],
        router=certified,
    ),
    Case(
        "a promise that nothing certifies",
        [("easy", {"quality": 0.5, "confidence": 0.95}), ("easy", {"quality": 0.5})],
        [("large", "uncertified"), ("small", "score")],
    ),
    Case("a budget", [("hard", {"large_share": 0.0})], [("small", "score")]),
    Case("a drop", [("middling", {"max_drop": 0.25})], [("large", "score")], {"quality": 0.0}),
    Case("forced at the call", [("easy", {"route": "large"})], [("large", "forced")], {"quality": 0.0}),
    Case("forced by the constructor", [("hard", {})], [("small", "forced")], {"route": "small"}),
    Case("a call overrules that", [("hard", {"quality": 0.5})], [("large", "score")], {"route": "small"}),
    Case(
        "a callable",
        [("easy", {}), ("x", {})],
        [("small", "score"), ("large", "score")],
        {"quality": 0.5},
        router=lambda: lambda text: DIFFICULTIES.get(text, 1.0),
    ),
    Case("a broken router", [("easy", {})], [("large", "router_error")], {"quality": 0.5}, router=broken),
    Case("falling small", [("easy", {})], [("small", "router_error")], {"on_router_error": "small"}, router=broken),
    Case(
        "an image",
        [("easy", {})],
        [("large", "modality")],
        {"quality": 0.5, "small_capabilities": TEXT_ONLY, "large_capabilities": ALL},
        image=True,
    ),
    Case(
        "an image that both take",
        [("easy", {})],
        [("small", "score")],
        {"quality": 0.5, "small_capabilities": ALL, "large_capabilities": ALL},
        image=True,
    ),
    Case(
        "tools",
        [("easy", {})],
        [("large", "tools")],
        {"quality": 0.5, "small_capabilities": TEXT_ONLY, "large_capabilities": ALL},
        tools=True,
    ),
    Case(
        "a long prompt",
        [("easy " * 200, {})],
        [("large", "context_window")],
        {"quality": 0.0, "small_capabilities": TEXT_ONLY, "large_capabilities": ALL},
    ),
    Case(
        "a forced model comes before what it can do",
        [("easy", {"route": "small"})],
        [("small", "forced")],
        {"small_capabilities": TEXT_ONLY, "large_capabilities": ALL},
        image=True,
    ),
    Case(
        "sticky",
        [("hard", {}), ("easy", {}), ("easy", {})],
        [("large", "score"), ("large", "sticky"), ("large", "sticky")],
        {"quality": 0.5, "stickiness": "sticky"},
    ),
    Case(
        "switch cost",
        [("easy", {}), ("middling", {}), ("hard", {}), ("middling", {}), ("easy", {})],
        [("small", "score"), ("small", "switch_cost"), ("large", "score"), ("large", "score"), ("small", "score")],
        {"threshold": 0.5, "stickiness": "switch_cost", "switch_cost": 0.2},
    ),
    Case(
        "fallback to the large model",
        [("easy", {})],
        [("large", "fallback")],
        {"quality": 0.5, "fallback": "large"},
        failing="small",
    ),
    Case(
        "fallback to the other one",
        [("hard", {})],
        [("small", "fallback")],
        {"quality": 0.5, "fallback": "other"},
        failing="large",
    ),
]


@tool
def clock(zone: str) -> str:
    """The time of day."""
    return zone


async def through_langchain(case: Case, mode: str) -> list[dict[str, Any]]:
    model: Any = HybridChatModel(router=case.router(), **case.models(ScriptedChatModel, "answers"), **case.settings)
    if case.tools:
        model = model.bind_tools([clock])
    image = [{"type": "image", "base64": PIXEL, "mime_type": "image/png"}] if case.image else []
    config = {"configurable": {"thread_id": "one"}}
    decisions = []
    for text, settings in case.calls:
        prompt = [HumanMessage(content=[{"type": "text", "text": text}, *image] if image else text)]
        if mode == "sync":
            answer = model.invoke(prompt, config, **settings)
        elif mode == "async":
            answer = await model.ainvoke(prompt, config, **settings)
        else:
            first, *rest = model.stream(prompt, config, **settings)
            answer = sum(rest, first)
        decisions.append(answer.response_metadata["hybrid"])
    return decisions


async def through_llamaindex(case: Case, mode: str) -> list[dict[str, Any]]:
    llm = HybridLLM(router=case.router(), **case.models(ScriptedLLM, "replies"), **case.settings)
    image = [ImageBlock(image=PIXEL.encode())] if case.image else []
    method = {"sync": "chat", "async": "achat", "stream": "stream_chat"}[mode]
    decisions = []
    for text, settings in case.calls:
        messages = [ChatMessage(role="user", blocks=[TextBlock(text=text), *image])]
        given = {**settings, "conversation": "one"}
        if case.tools:
            tools = [FunctionTool.from_defaults(clock.func, name="clock")]
            answer = getattr(llm, f"{method}_with_tools")(tools, chat_history=messages, **given)
        else:
            answer = getattr(llm, method)(messages, **given)
        if mode == "async":
            answer = await answer
        decisions.append((list(answer)[-1] if mode == "stream" else answer).additional_kwargs["hybrid"])
    return decisions


@pytest.mark.parametrize("mode", ["sync", "async", "stream"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_both_twins_decide_alike_and_as_expected(case: Case, mode: str) -> None:
    one, other = await through_langchain(case, mode), await through_llamaindex(case, mode)
    assert [(decision["target"], decision["reason"]) for decision in one] == list(case.expected)
    assert one == other


@pytest.mark.parametrize(
    "settings",
    [
        {"quality": 1.5},
        {"quality": float("nan")},
        {"quality": "high"},
        {"quality": 0.5, "max_drop": 0.1},
        {"route": "both"},
    ],
)
def test_both_twins_refuse_the_same_knobs_with_the_same_words(settings: dict[str, Any]) -> None:
    chat, llm = ScriptedChatModel(), ScriptedLLM()
    said = set()
    for make in (
        lambda: HybridChatModel(small=chat, large=chat, router=table_router(), **settings),
        lambda: HybridLLM(small=llm, large=llm, router=table_router(), **settings),
        lambda: HybridChatModel(small=chat, large=chat, router=table_router()).invoke("x", **settings),
        lambda: HybridLLM(small=llm, large=llm, router=table_router()).complete("x", **settings),
    ):
        with pytest.raises(KnobError) as refused:
            make()
        said.add(str(refused.value))
    assert len(said) == 1


def test_both_twins_count_a_query_once_in_a_tool_loop() -> None:
    chat, llm = ScriptedChatModel(), ScriptedLLM()
    model = HybridChatModel(small=chat, large=chat, router=certified())
    call = {"name": "clock", "args": {"zone": "utc"}, "id": "c1"}
    loop: list[Any] = [
        HumanMessage("hard"),
        AIMessage("", tool_calls=[call]),
        LangChainToolMessage("8", tool_call_id="c1"),
    ]
    for messages in (loop[:1], loop, loop):
        model.invoke(messages)
    twin = HybridLLM(small=llm, large=llm, router=certified())
    steps = [
        ChatMessage(role="user", content="hard"),
        ChatMessage(role="assistant", content=""),
        ChatMessage(role="tool", content="8"),
    ]
    for asked in (steps[:1], steps, steps):
        twin.chat(asked)
    for monitor in (model.monitor, twin.monitor):
        assert monitor is not None
        assert monitor.snapshot().observed == 1


def test_both_twins_keep_a_limit() -> None:
    chat, llm = ScriptedChatModel(), ScriptedLLM()
    calls: list[tuple[str, dict[str, Any]]] = [("hard", {}), ("hard", {}), ("easy", {"route": "large"}), ("easy", {})]
    expected = [("large", "score"), ("small", "budget"), ("large", "forced"), ("small", "score")]
    settings: dict[str, Any] = {"router": table_router(DIFFICULTIES), "quality": 0.5}
    model = HybridChatModel(small=chat, large=chat, limit=ShareLimit(0.02), **settings)
    answers = [model.invoke(text, **knob).response_metadata["hybrid"] for text, knob in calls]
    assert [(answer["target"], answer["reason"]) for answer in answers] == expected
    twin = HybridLLM(small=llm, large=llm, limit=ShareLimit(0.02), **settings)
    responses = [twin.complete(text, **knob).additional_kwargs["hybrid"] for text, knob in calls]
    assert [(answer["target"], answer["reason"]) for answer in responses] == expected
    for host, leg in ((HybridChatModel, chat), (HybridLLM, llm)):
        with pytest.raises(HybridError, match="limit is a ShareLimit"):
            host(small=leg, large=leg, limit=0.2)  # type: ignore[arg-type]


def test_both_twins_take_the_same_settings() -> None:
    ours = set(HybridChatModel.model_fields) & set(HybridLLM.model_fields)
    assert {
        "small", "large", "router", "quality", "max_drop", "large_share", "threshold", "route", "on_router_error",
        "router_time_limit", "fallback", "stickiness", "switch_cost", "conversation", "small_capabilities",
        "large_capabilities", "confidence", "on_drift", "limit",
    } <= ours  # fmt: skip
