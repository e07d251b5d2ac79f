"""Turns for the router, and histories that survive a change of model."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_openai import ChatOpenAI

from langchain_hybrid import HybridChatModel
from langchain_hybrid.messages import MAX_TOOL_CALL_ID, Recipient, readable_by, to_turns
from shared_router.records import Turn
from shared_router.testing import table_router

SMALL = Recipient("small", "tiny-1", "openai")
LONG = "chatcmpl-tool-" + "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        (SystemMessage("s"), Turn("system", "s")),
        (HumanMessage("h"), Turn("human", "h")),
        (HumanMessageChunk(content="h"), Turn("human", "h")),
        (AIMessage("a"), Turn("assistant", "a")),
        (ToolMessage("t", tool_call_id="1"), Turn("tool", "t")),
        (FunctionMessage("t", name="f"), Turn("tool", "t")),
        (ChatMessage("d", role="developer"), Turn("system", "d")),
        (ChatMessage("u", role="User"), Turn("human", "u")),
        (ChatMessage("x", role="critic"), Turn("human", "x")),
        (HumanMessage(["a", {"type": "text", "text": "b"}, {"type": "image", "url": "u"}]), Turn("human", "a\n\nb")),
        (HumanMessage([{"type": "image", "base64": "aaaa", "mime_type": "image/png"}]), Turn("human", "")),
        (AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}]), Turn("assistant", "b")),
    ],
)
def test_a_message_is_a_turn(message: BaseMessage, turn: Turn) -> None:
    assert to_turns([message]) == [turn]


def spoken(content: Any = "", *, provider: str | None = None, by: tuple[str, str] | None = None, **kwargs: Any) -> Any:
    metadata: dict[str, Any] = {"model_provider": provider} if provider else {}
    if by:
        metadata["hybrid"] = {"target": by[0], "model": by[1]}
    return AIMessage(content, response_metadata=metadata, **kwargs)


THOUGHTS = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "redacted_thinking", "data": "d"},
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "text", "text": "so"},
]


class TestReasoning:
    @pytest.mark.parametrize(
        "message",
        [
            spoken(THOUGHTS, provider="anthropic"),
            spoken(THOUGHTS, provider="anthropic", by=("large", "grand-1")),
            spoken(THOUGHTS, by=("large", "grand-1")),
            spoken(THOUGHTS, by=("small", "another-model")),
        ],
    )
    def test_of_another_provider_is_dropped_on_a_copy(self, message: AIMessage) -> None:
        before = dumps(message)
        (read,) = readable_by(SMALL, [message])
        assert read.content == [{"type": "text", "text": "so"}]
        assert dumps(message) == before

    @pytest.mark.parametrize(
        "message",
        [
            spoken(THOUGHTS, provider="openai"),
            spoken(THOUGHTS, provider="openai", by=("large", "grand-1")),
            spoken(THOUGHTS, provider="azure"),
            spoken(THOUGHTS, provider="anthropic", by=("small", "tiny-1")),
            spoken(THOUGHTS),
            spoken("plain", provider="anthropic"),
        ],
    )
    def test_of_the_same_one_or_of_nobody_knows_whom_stays(self, message: AIMessage) -> None:
        history = [HumanMessage("h"), message]
        assert readable_by(SMALL, history) is history

    def test_in_additional_kwargs_goes_too(self) -> None:
        message = spoken("so", provider="deepseek", additional_kwargs={"reasoning_content": "hm", "refusal": None})
        (read,) = readable_by(SMALL, [message])
        assert read.additional_kwargs == {"refusal": None}

    def test_alone_leaves_an_empty_answer(self) -> None:
        (read,) = readable_by(SMALL, [spoken(THOUGHTS[:1], provider="anthropic")])
        assert read.content == ""


class TestToolCallIds:
    def history(self, **kwargs: Any) -> list[BaseMessage]:
        call = {"name": "f", "args": {}, "id": LONG, "type": "tool_call"}
        block = {"type": "tool_use", "name": "f", "input": {}, "id": LONG}
        raw = {"id": LONG, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        broken = {"name": "f", "args": "{", "id": LONG + "2", "error": None, "type": "invalid_tool_call"}
        return [
            HumanMessage("h"),
            spoken(
                ["text", block],
                tool_calls=[call],
                invalid_tool_calls=[broken],
                additional_kwargs={"tool_calls": [raw]},
                **kwargs,
            ),
            ToolMessage("r", tool_call_id=LONG),
        ]

    @pytest.mark.parametrize("about", [{}, {"provider": "openai"}, {"by": ("large", "grand-1")}])
    def test_that_are_too_long_are_shortened_everywhere_alike(self, about: dict[str, Any]) -> None:
        history = self.history(**about)
        before = dumps(history)
        human, spoke, result = readable_by(SMALL, history)
        assert human is history[0]
        (call,) = spoke.tool_calls
        assert len(call["id"]) <= MAX_TOOL_CALL_ID
        assert (
            call["id"]
            == result.tool_call_id
            == spoke.content[1]["id"]
            == spoke.additional_kwargs["tool_calls"][0]["id"]
        )
        assert spoke.invalid_tool_calls[0]["id"] not in (call["id"], LONG + "2")
        assert readable_by(SMALL, history) == readable_by(SMALL, history)
        assert dumps(history) == before

    def test_that_the_model_itself_has_issued_stay(self) -> None:
        history = self.history(by=("small", "tiny-1"))
        assert readable_by(SMALL, history) is history

    def test_that_are_short_stay(self) -> None:
        call = {"name": "f", "args": {}, "id": "call_1", "type": "tool_call"}
        history = [spoken("", provider="anthropic", tool_calls=[call]), ToolMessage("r", tool_call_id="call_1")]
        assert readable_by(SMALL, history) is history


def test_what_openai_is_sent_of_anothers_history() -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        import json

        sent.append(json.loads(request.content))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Fine."}}
        return httpx.Response(200, json={"id": "1", "object": "chat.completion", "model": "gpt-x", "choices": [choice]})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    openai = ChatOpenAI(model="gpt-x", api_key="k", http_client=client)  # type: ignore[arg-type]
    model = HybridChatModel(small=openai, large=openai, router=table_router())
    call = {"name": "f", "args": {}, "id": LONG, "type": "tool_call"}
    history = [
        HumanMessage("h"),
        spoken([THOUGHTS[0]], provider="anthropic", tool_calls=[call]),
        ToolMessage("r", tool_call_id=LONG),
    ]
    assert model.invoke(history).text == "Fine."
    (request,) = sent
    _, spoke, result = request["messages"]
    assert spoke["tool_calls"][0]["id"] == result["tool_call_id"] != LONG
    assert "signature" not in str(request)
