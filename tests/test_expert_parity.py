"""The expert twins cannot drift apart: the same calls through both plug-ins give the same decisions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool

from langchain_hybrid import ExpertChatModel
from langchain_hybrid.testing import ScriptedChatModel
from llamaindex_hybrid import ExpertLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.errors import HybridError
from shared_router.experts.router import DifficultyExperts, ExpertRouter
from shared_router.experts.slots import ExpertSlots
from shared_router.testing import table_router
from shared_router.training.expert_clusters import fit_clusters

NAMES = ("chat", "code", "maths")
TEXTS = {
    "code": ["sort a python list", "compile the rust crate", "debug a python crate", "compile a list"],
    "maths": ["integrate the sine", "prove the theorem", "integrate the theorem", "prove the sine"],
}


@tool
def clock(zone: str) -> str:
    """The time of day."""
    return zone


def clustered() -> ExpertRouter:
    clusters = fit_clusters([text for texts in TEXTS.values() for text in texts], 2, dimensions=4)
    code, maths = clusters.assign([TEXTS["code"][0], TEXTS["maths"][0]]).cluster.tolist()
    return ExpertRouter.from_map(clusters, {code: ["code", "chat"], maths: ["maths", "code"]}, otherwise="chat")


def broken(text: str) -> str:
    raise OSError("down")


Case = tuple[str, dict[str, Any], str, dict[str, Any], tuple[str, str]]
CASES: list[Case] = [
    ("a cluster", {}, "debug the python list", {}, ("code", "cluster")),
    ("another", {}, "prove it: sine", {}, ("maths", "cluster")),
    ("an unknown text", {}, "zzz", {}, ("chat", "unknown_text")),
    ("forced at the call", {}, "debug the python list", {"expert": "maths"}, ("maths", "forced")),
    ("forced by the constructor", {"expert": "maths"}, "debug the python list", {}, ("maths", "forced")),
    ("a call overrules that", {"expert": "maths"}, "zzz", {"expert": "chat"}, ("chat", "forced")),
    ("a broken router", {"router": broken}, "zzz", {}, ("chat", "router_error")),
    ("falling elsewhere", {"router": broken, "on_router_error": "code"}, "zzz", {}, ("code", "router_error")),
    ("tools", {"capabilities": {"code": {"tools": False}}}, "debug the python list", {}, ("chat", "tools")),
    ("fallback", {"fallback": "next", "failing": "maths"}, "prove it: sine", {}, ("code", "fallback")),
    ("spill", {"busy": "maths"}, "prove it: sine", {}, ("code", "spill")),
    ("a difficulty", {"router": "difficulty"}, "hard", {}, ("maths", "score")),
]


def settings_of(case: Case, model: type[Any], script: str) -> dict[str, Any]:
    settings = dict(case[1])
    failing, busy = settings.pop("failing", None), settings.pop("busy", None)
    experts = {name: model(model=name, **({script: [OSError("down")]} if name == failing else {})) for name in NAMES}
    slots = ExpertSlots({busy: 1} if busy else None, spill_after=0.0)
    router = settings.pop("router", None)
    if router == "difficulty":
        router = DifficultyExperts(table_router({"easy": 0.1, "hard": 0.95}), "code", "maths")
    held = slots.hold([busy]) if busy else None
    return {"experts": experts, "limits": slots, "router": router or clustered(), **settings, "held": held}


def told(decision: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in decision.items() if name != "waited"}


@pytest.mark.parametrize("mode", ["sync", "async", "stream"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_both_twins_decide_alike_and_as_expected(case: Case, mode: str) -> None:
    _, _, text, call, expected = case
    settings = settings_of(case, ScriptedChatModel, "answers")
    held = settings.pop("held")
    model: Any = ExpertChatModel(**settings)
    bound: Any = model.bind_tools([clock]) if case[0] == "tools" else model
    if mode == "sync":
        message = bound.invoke(text, **call)
    elif mode == "async":
        message = await bound.ainvoke(text, **call)
    else:
        first, *rest = bound.stream(text, **call)
        message = sum(rest, first)
    one = message.response_metadata["hybrid"]

    settings = settings_of(case, ScriptedLLM, "replies")
    held_too = settings.pop("held")
    llm = ExpertLLM(**settings)
    method = {"sync": "chat", "async": "achat", "stream": "stream_chat"}[mode]
    messages = [ChatMessage(role="user", content=text)]
    if case[0] == "tools":
        tools = [FunctionTool.from_defaults(clock.func, name="clock")]
        answer = getattr(llm, f"{method}_with_tools")(tools, chat_history=messages, **call)
    else:
        answer = getattr(llm, method)(messages, **call)
    if mode == "async":
        answer = await answer
    other = (list(answer)[-1] if mode == "stream" else answer).additional_kwargs["hybrid"]

    assert (one["expert"], one["reason"]) == expected
    assert told(one) == told(other)
    for slots, slot in ((model.slots, held), (llm.slots, held_too)):
        if slot is not None:
            slot.release()
        assert all(load.in_use == load.waiting == 0 for load in slots.load().values())


@pytest.mark.parametrize(
    "settings", [{"limits": 0}, {"expert": "x"}, {"fallback": "other"}, {"router": 3}, {"capabilities": {"x": {}}}]
)
def test_both_twins_refuse_the_same_settings_with_the_same_words(settings: dict[str, Any]) -> None:
    said = set()
    for host, model in ((ExpertChatModel, ScriptedChatModel), (ExpertLLM, ScriptedLLM)):
        experts = {name: model() for name in NAMES}  # type: ignore[operator]
        with pytest.raises(HybridError) as refused:
            host(**{"experts": experts, "router": lambda text: "chat", **settings})  # type: ignore[operator]
        said.add(str(refused.value))
    assert len(said) == 1


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "experts.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "docs/experts.md", "exec"), {})
    assert capsys.readouterr().out.endswith("forced\n")
