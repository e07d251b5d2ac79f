from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CitationBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from llamaindex_hybrid.messages import ROLES, Recipient, identified, readable_by, to_turns
from shared_router.records import Turn

FOREIGN = Recipient(foreign=True)
SAME = Recipient()


def said(*blocks: Any, **additional_kwargs: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=additional_kwargs)


def asked(text: str = "ask") -> ChatMessage:
    return ChatMessage(content=text)


def result(call_id: str | None, text: str = "42") -> ChatMessage:
    return ChatMessage(role="tool", content=text, additional_kwargs={"tool_call_id": call_id} if call_id else {})


def test_every_role_of_the_host_has_a_role_here() -> None:
    assert set(ROLES) == set(MessageRole)


def test_turns_hold_text_only() -> None:
    image = ImageBlock(image=b"\x89PNG")
    messages = [
        ChatMessage(role="system", content="s"),
        ChatMessage(blocks=[TextBlock(text="a"), image, TextBlock(text="b")]),
        said(ThinkingBlock(content="hm"), TextBlock(text="c")),
        result("1"),
        ChatMessage(content=" Observation: 42"),
    ]
    assert to_turns(messages) == [
        Turn("system", "s"),
        Turn("human", "a\n\nb"),
        Turn("assistant", "c"),
        Turn("tool", "42"),
        Turn("tool", " Observation: 42"),
    ]


def test_nothing_to_change_means_the_same_messages_in_a_new_list() -> None:
    messages = [ChatMessage(role="system", content="s"), asked(), said(TextBlock(text="a"))]
    for recipient in (SAME, FOREIGN):
        readable = readable_by(recipient, messages)
        assert readable is not messages
        assert all(new is old for new, old in zip(readable, messages, strict=True))


def test_calls_without_an_id_get_one_and_so_do_their_results() -> None:
    # what Ollama leaves behind: no id on the call, the tool's name on the result
    messages = [
        asked(),
        said(ToolCallBlock(tool_name="add"), ToolCallBlock(tool_name="add"), ToolCallBlock(tool_name="look")),
        result("add", "first"),
        result("look"),
        result("add", "second"),
        said(ToolCallBlock(tool_name="add")),
        result(None),
    ]
    readable = readable_by(SAME, messages)
    ids = [block.tool_call_id for message in readable for block in message.blocks if isinstance(block, ToolCallBlock)]
    assert len(set(ids)) == 4
    assert all(ids)
    assert [m.additional_kwargs["tool_call_id"] for m in readable if m.role == "tool"] == [
        ids[0],
        ids[2],
        ids[1],
        ids[3],
    ]
    assert messages[1].blocks[0].tool_call_id is None
    assert messages[2].additional_kwargs == {"tool_call_id": "add"}


def test_ids_that_are_there_are_left_alone() -> None:
    messages = [asked(), said(ToolCallBlock(tool_name="add", tool_call_id="1")), result("1")]
    readable = readable_by(FOREIGN, messages)
    assert all(new is old for new, old in zip(readable, messages, strict=True))


@pytest.mark.parametrize(
    ("written", "read"), [('{"a": 1}', {"a": 1}), ('{"a": 1', {"a": 1}), ("no JSON", {}), ("[1]", {}), ("", {})]
)
def test_arguments_are_a_dict_for_a_model_of_another_class(written: str, read: dict[str, Any]) -> None:
    messages = [asked(), said(ToolCallBlock(tool_name="add", tool_call_id="1", tool_kwargs=written))]
    assert readable_by(FOREIGN, messages)[1].blocks[0].tool_kwargs == read
    assert readable_by(SAME, messages)[1] is messages[1]
    assert messages[1].blocks[0].tool_kwargs == written


@pytest.mark.parametrize(
    "call",
    [
        SimpleNamespace(id="1", type="function", function=SimpleNamespace(name="add", arguments='{"a": 1}')),
        {"id": "1", "function": {"name": "add", "arguments": {"a": 1}}},
        {"id": "1", "name": "add", "arguments": {"a": 1}},
    ],
)
def test_calls_in_a_providers_own_form_become_blocks(call: Any) -> None:
    message = said(TextBlock(text="let me see"), tool_calls=[call], refusal=None)
    readable = readable_by(FOREIGN, [asked(), message])[1]
    assert readable.additional_kwargs == {"refusal": None}
    assert readable.blocks[1:] == [ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs={"a": 1})]
    # and are not doubled where the blocks are there
    again = said(*readable.blocks, tool_calls=[call])
    assert readable_by(FOREIGN, [asked(), again])[1].blocks == readable.blocks
    assert readable_by(SAME, [asked(), message])[1] is message


@pytest.mark.parametrize("recipient", [SAME, FOREIGN])
def test_thoughts_of_earlier_turns_are_dropped_and_those_of_the_running_loop_kept(recipient: Recipient) -> None:
    thought = ThinkingBlock(content="hm", additional_information={"signature": "s"})
    call = ToolCallBlock(tool_name="add", tool_call_id="1")
    messages = [
        asked("one"),
        said(thought, TextBlock(text="a")),
        asked("two"),
        said(thought, call),
        result("1"),
        asked("Observation: 42"),
        said(thought, TextBlock(text="b")),
    ]
    kept = [[type(block).__name__ for block in message.blocks] for message in readable_by(recipient, messages)]
    assert kept[1] == ["TextBlock"]
    assert kept[3] == ["ThinkingBlock", "ToolCallBlock"]
    assert kept[6] == ["ThinkingBlock", "TextBlock"]
    follows = readable_by(recipient, messages, user_follows=True)
    assert not any(isinstance(block, ThinkingBlock) for message in follows for block in message.blocks)
    assert isinstance(messages[1].blocks[0], ThinkingBlock)


def test_citations_in_answers_are_dropped_for_a_model_of_another_class() -> None:
    citation = CitationBlock(cited_content="x", source="s", title="t", additional_location_info={})
    message = said(TextBlock(text="a"), citation)
    assert readable_by(FOREIGN, [asked(), message])[1].blocks == [TextBlock(text="a")]
    assert readable_by(SAME, [asked(), message])[1] is message


def test_images_are_neither_lost_nor_doubled() -> None:
    image = ImageBlock(image=b"\x89PNG")
    legacy = said(image, ToolCallBlock(tool_name="add", tool_kwargs="{}"))
    (copy,) = readable_by(FOREIGN, [legacy])
    assert copy is not legacy
    assert copy.blocks[0] is image
    assert len(copy.blocks) == 2


def test_the_system_role_is_translated() -> None:
    messages = [ChatMessage(role="system", content="s"), asked()]
    assert readable_by(Recipient(system_role=MessageRole.CHATBOT), messages)[0].role == MessageRole.CHATBOT
    assert messages[0].role == MessageRole.SYSTEM


def test_only_missing_ids_are_filled_into_a_response() -> None:
    response = ChatResponse(message=said(ToolCallBlock(tool_name="a", tool_call_id="1"), ToolCallBlock(tool_name="b")))
    filled = identified(response, SimpleNamespace(stem="call_x"))
    assert [block.tool_call_id for block in filled.message.blocks] == ["1", "call_x_1"]
    assert response.message.blocks[1].tool_call_id is None
    assert identified(filled, SimpleNamespace()) is filled
    assert identified("text", SimpleNamespace()) == "text"
