"""LlamaIndex messages → turns, and a conversation → what the chosen model can take of it.

Both read messages and never change one: what has to differ is a copy. Copies are made with ``model_copy``, since
building a ``ChatMessage`` anew would append its legacy ``additional_kwargs["images"]`` a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CitationBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json

from shared_router.query import OBSERVATION_PREFIX
from shared_router.records import Role, Turn

__all__ = ["HARNESS_PREFIXES", "Recipient", "identified", "readable_by", "selections_with_ids", "to_turns"]

ROLES: Mapping[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "human",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}

HARNESS_PREFIXES = (
    OBSERVATION_PREFIX,
    # agent/workflow/react_agent.py, sent when an answer cannot be parsed
    "Error while parsing the output:",
    "FAILURE: Your previous response was empty.",
    # agent/workflow/prompts.py, DEFAULT_EARLY_STOPPING_PROMPT
    "You have reached the maximum number of iterations",
)
"""How the user turns begin that agents write themselves; core ships them with role user."""

LEGACY_TOOL_CALLS = "tool_calls"
"""Older histories, and OpenAI's streams to this day, keep provider objects under this key of a message."""

Message = TypeVar("Message", bound=ChatMessage)


@dataclass(frozen=True, slots=True)
class Recipient:
    """The model that is about to read a conversation.

    Attributes:
        foreign: The other model is of another class, so that what it wrote has to be translated.
        system_role: The role under which this model takes system prompts.
    """

    foreign: bool = False
    system_role: MessageRole = MessageRole.SYSTEM


def to_turns(messages: Iterable[ChatMessage]) -> list[Turn]:
    """The conversation, reduced to what routing looks at; turns that an agent's harness wrote count as a tool's."""
    return [Turn(_role(message), _text(message)) for message in messages]


def _role(message: ChatMessage) -> Role:
    return "tool" if _is_harness(message) else ROLES[message.role]


def _is_harness(message: ChatMessage) -> bool:
    return message.role == MessageRole.USER and _text(message).lstrip().startswith(HARNESS_PREFIXES)


def _text(message: ChatMessage) -> str:
    return "\n\n".join(block.text for block in message.blocks if isinstance(block, TextBlock))


def readable_by(
    recipient: Recipient, messages: Sequence[ChatMessage], *, user_follows: bool = False
) -> list[ChatMessage]:
    """The conversation as ``recipient`` can take it.

    Tool calls and their results get ids where they have none (Ollama issues none, OpenAI refuses their absence).
    What any model thought before the last user turn is dropped, since its signature binds it to one model; what it
    thought in the tool loop that still runs is kept, since providers ask for it. Where the two models are of different
    classes, arguments of tool calls become dicts, provider objects in ``additional_kwargs["tool_calls"]`` become blocks
    and citations in answers, which other providers refuse, are dropped.

    Args:
        recipient: The chosen model.
        messages: The conversation.
        user_follows: A new user turn comes after ``messages``, which are all earlier turns then.

    Returns:
        A new list, always: integrations append to the one they are given. Changed messages in it are copies.
    """
    asked = [i for i, message in enumerate(messages) if message.role == MessageRole.USER and not _is_harness(message)]
    running_from = len(messages) if user_follows else (asked[-1] if asked else 0)
    calls = _OpenCalls()
    return [
        _for_recipient(recipient, message, calls, position=i, earlier=i < running_from)
        for i, message in enumerate(messages)
    ]


@dataclass(slots=True)
class _OpenCalls:
    """Tool calls whose results have not been seen yet: (tool's name, id that was made up)."""

    made_up: list[tuple[str, str]] = field(default_factory=list)

    def claimed(self, name: object) -> str | None:
        # Ollama's result names the tool where others name the call
        match = next((call for call in self.made_up if call[0] == name), None)
        match = match or (self.made_up[0] if name is None and self.made_up else None)
        if match is None:
            return None
        self.made_up.remove(match)
        return match[1]


def _for_recipient(
    recipient: Recipient, message: ChatMessage, calls: _OpenCalls, *, position: int, earlier: bool
) -> ChatMessage:
    update: dict[str, Any] = {}
    if message.role == MessageRole.SYSTEM and recipient.system_role != MessageRole.SYSTEM:
        update["role"] = recipient.system_role
    elif message.role == MessageRole.TOOL:
        update |= _answering(message, calls)
    elif ROLES[message.role] == "assistant":
        update |= _said(recipient, message, calls, position=position, earlier=earlier)
    return message.model_copy(update=update) if update else message


def _answering(message: ChatMessage, calls: _OpenCalls) -> dict[str, Any]:
    call_id = calls.claimed(message.additional_kwargs.get("tool_call_id"))
    return {"additional_kwargs": {**message.additional_kwargs, "tool_call_id": call_id}} if call_id else {}


def _said(
    recipient: Recipient, message: ChatMessage, calls: _OpenCalls, *, position: int, earlier: bool
) -> dict[str, Any]:
    update: dict[str, Any] = {}
    blocks = list(message.blocks)
    if recipient.foreign and LEGACY_TOOL_CALLS in message.additional_kwargs:
        others = {key: value for key, value in message.additional_kwargs.items() if key != LEGACY_TOOL_CALLS}
        update["additional_kwargs"] = others
        if not any(isinstance(block, ToolCallBlock) for block in blocks):
            blocks += [_block_of(call) for call in message.additional_kwargs[LEGACY_TOOL_CALLS] or ()]
    dropped = (*((ThinkingBlock,) if earlier else ()), *((CitationBlock,) if recipient.foreign else ()))
    blocks = [block for block in blocks if not isinstance(block, dropped)]
    if recipient.foreign:
        blocks = [_with_dict(block) if isinstance(block, ToolCallBlock) else block for block in blocks]
    named = _numbered(blocks, f"call_{position}")
    calls.made_up = [
        (new.tool_name, new.tool_call_id) for new, old in zip(named, blocks, strict=True) if new is not old
    ]
    blocks = named
    # identity, not equality: comparing blocks would compare whole images
    if len(blocks) != len(message.blocks) or any(a is not b for a, b in zip(blocks, message.blocks, strict=False)):
        update["blocks"] = blocks
    return update


def _with_dict(block: ToolCallBlock) -> ToolCallBlock:
    if isinstance(block.tool_kwargs, dict):
        return block
    return block.model_copy(update={"tool_kwargs": _arguments(block.tool_kwargs)})


def _arguments(written: object) -> dict[str, Any]:
    if not isinstance(written, str):
        return dict(written) if isinstance(written, Mapping) else {}
    try:
        parsed: object = parse_partial_json(written)
    except ValueError:
        # the reading that the integrations give to arguments which are no JSON
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _block_of(call: Any) -> ToolCallBlock:
    # a dict as Ollama and older histories have it, or an object of the OpenAI client
    function = call.get("function", call) if isinstance(call, Mapping) else call.function
    fields = function if isinstance(function, Mapping) else vars(function)
    call_id = call.get("id") if isinstance(call, Mapping) else call.id
    return ToolCallBlock(
        tool_call_id=call_id, tool_name=fields.get("name") or "", tool_kwargs=_arguments(fields.get("arguments"))
    )


def _numbered(blocks: Sequence[Any], stem: str) -> list[Any]:
    number = -1
    numbered = []
    for block in blocks:
        if isinstance(block, ToolCallBlock):
            number += 1
            if not block.tool_call_id:
                block = block.model_copy(update={"tool_call_id": f"{stem}_{number}"})
        numbered.append(block)
    return numbered


class Stem(Protocol):
    """Something that knows what the ids begin with which are made up for one response."""

    @property
    def stem(self) -> str:
        """Unique to the response; asked for only where an id is missing."""


def identified(response: Any, origin: Stem) -> Any:
    """The response with an id on each of its tool calls.

    Args:
        response: What the chosen model returned, or one chunk of it.
        origin: Where made-up ids get their beginning. Tool calls are counted from there, so that a call keeps its id
            through all chunks of a stream.

    Returns:
        A copy, or ``response`` itself if no id is missing.
    """
    if not isinstance(response, ChatResponse) or not any(
        isinstance(block, ToolCallBlock) and not block.tool_call_id for block in response.message.blocks
    ):
        return response
    message = response.message.model_copy(update={"blocks": _numbered(response.message.blocks, origin.stem)})
    return response.model_copy(update={"message": message})


def selections_with_ids(selections: list[ToolSelection], response: ChatResponse) -> list[ToolSelection]:
    """The selected tools under the ids that the response's own blocks carry.

    Args:
        selections: What the producing model read from the response; Ollama gives the tool's name for an id.
        response: The response.
    """
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    if len(blocks) != len(selections):
        return selections
    return [
        selection.model_copy(update={"tool_id": block.tool_call_id or selection.tool_id})
        for selection, block in zip(selections, blocks, strict=True)
    ]
