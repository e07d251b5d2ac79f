"""Chat messages in every spelling → OpenAI's format."""

from __future__ import annotations

from typing import Any

import pytest

from shared_router.query import query_text
from shared_router.records import Turn
from shared_router.tables.chat_messages import content_text, messages_from, turns_of, without_answer
from shared_router.tables.rows import BadRowError

USER = {"role": "user", "content": "hi"}


def langchain(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


@pytest.mark.parametrize(
    "value",
    [
        "hi",
        USER,
        [USER],
        [[USER]],
        ["hi"],
        [["human", "hi"]],
        [["user", "hi"]],
        [{"from": "human", "value": "hi"}],
        [{"type": "human", "content": "hi", "additional_kwargs": {}, "id": None, "example": False}],
        [{"type": "human", "data": {"content": "hi", "name": None}}],
        [{"type": "HumanMessageChunk", "content": "hi"}],
        [langchain("HumanMessage", content="hi", type="human")],
        [[langchain("HumanMessageChunk", content="hi")]],
        [langchain("ChatMessage", content="hi", role="user")],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        [{"role": "user", "content": ["hi"]}],
    ],
    ids=lambda value: str(value)[:40],
)
def test_one_users_message_in_every_spelling(value: object) -> None:
    assert messages_from(value) == (USER,)
    assert messages_from(messages_from(value)) == (USER,)


def test_roles_and_what_is_sent_beside_the_content() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    value = [
        {"role": "developer", "content": "Be brief."},
        langchain("SystemMessage", content="Be kind."),
        {"type": "human", "content": "1 + 1?"},
        langchain("AIMessage", content="", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "1"}]),
        langchain("ToolMessage", content="2", tool_call_id="1", status="success"),
        {"role": "assistant", "content": "2", "refusal": None, "annotations": [], "tool_calls": []},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"from": "observation", "value": "found"},
    ]
    assert messages_from(value) == (
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
        {"role": "assistant", "content": "2"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "user", "content": "Observation: found"},
    )


def test_images_are_sent_and_not_judged() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    (message,) = messages_from([{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}])
    assert message["content"] == [{"type": "text", "text": "What is it?"}, image]
    assert turns_of([message]) == [Turn("human", "What is it?")]
    (only,) = messages_from([{"role": "user", "content": [image]}])
    assert only["content"] == [image]


def test_the_last_thing_a_human_said_is_judged_inside_a_tool_loop_too() -> None:
    messages = messages_from([["system", "s"], ["human", "question"], ["ai", "look it up"], ["tool", "result"]])
    assert query_text(turns_of(messages)) == "question"


def test_the_assistants_last_words_are_cut_off() -> None:
    messages = messages_from([["human", "a"], ["ai", "b"], ["human", "c"], ["ai", "d"], ["ai", "e"]])
    asked, said = without_answer(messages)
    assert [one["content"] for one in asked] == ["a", "b", "c"]
    assert said == "d\n\ne"
    assert without_answer(asked) == (asked, None)
    with pytest.raises(BadRowError, match="nothing to answer"):
        without_answer(messages_from([["ai", "b"]]))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (5, "messages are a list, got int"),
        ([], "empty"),
        ([5], "a message is an object, got int"),
        ([{}], "an empty object"),
        ([{"text": "hi"}], "a role and a content, got text"),
        ([{"role": "oracle", "content": "hi"}], "by 'oracle'"),
        ([langchain("RemoveMessage", id="1")], "by 'remove'"),
        ([{"role": "user", "content": 5}], "a string or a list of parts, got int"),
        ([{"role": "user", "content": [5]}], "a part of a message is an object, got int"),
    ],
)
def test_what_is_no_conversation(value: object, what: str) -> None:
    with pytest.raises(BadRowError, match=what):
        messages_from(value)


def test_text_of_a_content() -> None:
    assert content_text(None) == content_text([{"type": "image_url"}]) == ""
    assert content_text([{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}, "c"]) == "a\n\nc"


def test_langchains_own_spellings_are_read() -> None:
    core = pytest.importorskip("langchain_core.messages")
    load = pytest.importorskip("langchain_core.load")
    said = [
        core.SystemMessage("s"),
        core.HumanMessage("h"),
        core.AIMessage("a"),
        core.ToolMessage("t", tool_call_id="1"),
    ]
    expected = [("system", "s"), ("user", "h"), ("assistant", "a"), ("tool", "t")]
    for spelled in ([load.dumpd(one) for one in said], core.messages_to_dict(said), [one.model_dump() for one in said]):
        assert [(one["role"], one["content"]) for one in messages_from(spelled)] == expected
        assert core.convert_to_messages([dict(one) for one in messages_from(spelled)])[3].tool_call_id == "1"
