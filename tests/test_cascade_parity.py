"""The twins cannot drift apart: one table of cascades, driven through both plug-ins, must give the same decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from langchain_hybrid import HybridChatModel
from langchain_hybrid.testing import ScriptedChatModel
from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router import HybridError
from shared_router.cascade import Cascade
from shared_router.limits import ShareLimit
from shared_router.testing import linear_calibration_set, linear_curve, table_router

DIFFICULTIES = {"easy": 0.1, "hard": 0.95}


@dataclass(frozen=True)
class Case:
    """Settings of a cascade, and calls with the decisions that are expected of both twins.

    Attributes:
        name: Shown by pytest.
        calls: (text, settings of the call) each.
        expected: (target, reason) each.
        settings: The constructor's.
        confidences: Of the small model's answers; none where it reports no log-probabilities.
        small: What the small model says.
        large: What the large model says.
    """

    name: str
    calls: Sequence[tuple[str, Mapping[str, Any]]]
    expected: Sequence[tuple[str, str]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    confidences: Sequence[float] = ()
    small: Sequence[Any] = ("some words of an answer",)
    large: Sequence[Any] = ("large",)


def fitted(**settings: Any) -> Cascade:
    return Cascade(curve=linear_curve(), calibration_set=linear_calibration_set(), cascade_id="own", **settings)


SURE_UNSURE = [("small", "confident"), ("large", "uncertain")]
TWICE = [("easy", {}), ("easy", {})]
CASES = [
    Case("a threshold", TWICE, SURE_UNSURE, {"threshold": 0.5}, (0.95, 0.55)),
    *(
        Case(measure, TWICE, SURE_UNSURE, {"threshold": 0.3, "uncertainty": measure}, (0.99, 0.55))
        for measure in ("first_token_log_margin", "first_token_entropy", "entropy", "mean_logprob")
    ),
    Case(
        "a knob at the call",
        [("easy", {"threshold": 0.05}), ("easy", {"large_share": 1.0}), ("easy", {"large_share": 0.0})],
        [("large", "uncertain"), ("large", "uncertain"), ("small", "confident")],
        {"threshold": 0.9},
        (0.95,),
    ),
    Case("no log-probabilities", TWICE, [("large", "uncertain")] * 2, {"threshold": 0.5}),
    Case(
        "samples",
        [("easy", {})],
        [("small", "confident")],
        {"threshold": 0.5, "uncertainty": Cascade("self_consistency", samples=3)},
        small=("#### 7",),
    ),
    Case(
        "forced",
        [("easy", {"route": "large"}), ("hard", {"route": "small"})],
        [("large", "forced"), ("small", "forced")],
        {"threshold": 0.5},
        (0.95,),
    ),
    Case(
        "a failing small model", [("easy", {})], [("large", "fallback")], {"threshold": 0.5}, small=(OSError("down"),)
    ),
    Case(
        "a failing large model",
        [("easy", {})],
        [("small", "fallback")],
        {"threshold": 0.5, "uncertainty": "mean_logprob", "fallback": "other"},
        (0.4,),
        large=(OSError("down"),),
    ),
    Case("a promise", [("easy", {})], [("small", "confident")], {"quality": 0.5, "uncertainty": fitted()}, (0.95,)),
    Case(
        "a certified promise",
        TWICE,
        SURE_UNSURE,
        {"quality": 0.9, "confidence": 0.95, "uncertainty": fitted()},
        (0.95, 0.55),
    ),
    Case(
        "one that nothing certifies",
        [("easy", {})],
        [("large", "uncertified")],
        {"quality": 0.5, "confidence": 0.95, "uncertainty": Cascade(curve=linear_curve(), cascade_id="own")},
        (0.95,),
    ),
    Case(
        "a router before it",
        [("hard", {}), ("easy", {}), ("easy", {})],
        [("large", "score"), ("small", "confident"), ("large", "uncertain")],
        {"policy": "route_then_cascade", "threshold": 0.5},
        (0.95, 0.55),
    ),
    Case(
        "a router that seldom decides",
        [("hard", {})],
        [("small", "confident")],
        {"policy": "route_then_cascade", "threshold": 0.5, "route_threshold": 0.99},
        (0.95,),
    ),
    Case(
        "sticky",
        [("easy", {})] * 2,
        [("large", "uncertain"), ("large", "sticky")],
        {"threshold": 0.5, "stickiness": "sticky"},
        (0.55,),
    ),
]


def decisions_of(raw: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    # the doubles count tokens each in its host's way
    return [{name: value for name, value in one.items() if name != "unused_usage"} for one in raw]


async def through_langchain(case: Case, mode: str) -> list[dict[str, Any]]:
    small = ScriptedChatModel(model="small", answers=list(case.small), confidences=list(case.confidences))
    large = ScriptedChatModel(model="large", answers=list(case.large))
    settings = {"policy": "cascade", **case.settings}
    model: Any = HybridChatModel(small=small, large=large, router=table_router(DIFFICULTIES), **settings)
    config = {"configurable": {"thread_id": "one"}}
    decisions = []
    for text, knob in case.calls:
        if mode == "sync":
            answer = model.invoke(text, config, **knob)
        elif mode == "async":
            answer = await model.ainvoke(text, config, **knob)
        else:
            first, *rest = model.stream(text, config, **knob)
            answer = sum(rest, first)
        decisions.append(answer.response_metadata["hybrid"])
    return decisions_of(decisions)


async def through_llamaindex(case: Case, mode: str) -> list[dict[str, Any]]:
    small = ScriptedLLM(model="small", replies=list(case.small), confidences=list(case.confidences))
    large = ScriptedLLM(model="large", replies=list(case.large))
    settings = {"policy": "cascade", **case.settings}
    llm = HybridLLM(small=small, large=large, router=table_router(DIFFICULTIES), **settings)
    method = {"sync": "chat", "async": "achat", "stream": "stream_chat"}[mode]
    decisions = []
    for text, knob in case.calls:
        answer = getattr(llm, method)([ChatMessage(content=text)], conversation="one", **knob)
        if mode == "async":
            answer = await answer
        decisions.append((list(answer)[-1] if mode == "stream" else answer).additional_kwargs["hybrid"])
    return decisions_of(decisions)


@pytest.mark.parametrize("mode", ["sync", "async", "stream"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_both_twins_decide_alike_and_as_expected(case: Case, mode: str) -> None:
    one, other = await through_langchain(case, mode), await through_llamaindex(case, mode)
    assert [(decision["target"], decision["reason"]) for decision in one] == list(case.expected)
    assert one == other


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "cascades"},
        {"policy": "cascade"},
        {"policy": "cascade", "uncertainty": "entropi", "threshold": 0.5},
        {"uncertainty": "entropy"},
        {"policy": "cascade", "threshold": 0.5, "route_threshold": 0.5},
        {"policy": "cascade", "threshold": 0.5, "stickiness": "switch_cost"},
    ],
)
def test_both_twins_refuse_the_same_settings_with_the_same_words(settings: dict[str, Any]) -> None:
    said = set()
    for host, leg in ((HybridChatModel, ScriptedChatModel()), (HybridLLM, ScriptedLLM())):
        with pytest.raises(HybridError) as refused:
            host(small=leg, large=leg, router=table_router(), **settings)  # type: ignore[arg-type]
        said.add(str(refused.value))
    assert len(said) == 1


def test_both_twins_keep_a_limit() -> None:
    settings: dict[str, Any] = {"router": table_router(), "policy": "cascade", "threshold": 0.5}
    chat = ScriptedChatModel(confidences=[0.55])
    model = HybridChatModel(small=chat, large=ScriptedChatModel(), limit=ShareLimit(0.02), **settings)
    llm = HybridLLM(small=ScriptedLLM(confidences=[0.55]), large=ScriptedLLM(), limit=ShareLimit(0.02), **settings)
    one = [model.invoke("x").response_metadata["hybrid"]["reason"] for _ in range(3)]
    other = [llm.complete("x").additional_kwargs["hybrid"]["reason"] for _ in range(3)]
    assert one == other == ["uncertain", "budget", "budget"]
