"""LangChain messages → turns, and a conversation → what the chosen model can take of it.

Both read messages and never change one: what has to differ is a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from langchain_hybrid.annotation import decision_of
from shared_router.records import Role, Turn

__all__ = ["MAX_TOOL_CALL_ID", "Recipient", "readable_by", "to_turns"]

MAX_TOOL_CALL_ID = 40
"""OpenAI refuses a longer ``tool_call_id``; vLLM and others issue them."""

REASONING_BLOCKS = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})
"""Content block types, in the spelling of any provider, that only the model that wrote them accepts back."""

REASONING_KEYS = frozenset({"reasoning", "reasoning_content", "thinking"})
"""The same in ``additional_kwargs``, where OpenAI-compatible servers put it."""

TOOL_CALL_BLOCKS = frozenset({"tool_use", "tool_call", "tool_call_chunk"})
"""Content block types that repeat a tool call's id."""

PROVIDER_ALIASES = {
    "azure": "openai",
    "openai-codex": "openai",
    "bedrock": "amazon_bedrock",
    "bedrock_converse": "amazon_bedrock",
    "mistralai": "mistral",
}
"""A message's ``model_provider`` and its model's ``ls_provider`` are not always the same word."""

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "human",
    "user": "human",
    "ai": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """The model that is about to read a conversation.

    Attributes:
        target: Which of the router's models it is.
        model: Its name.
        provider: Its provider, as its own traces call it; empty if it does not say.
    """

    target: str
    model: str
    provider: str


def to_turns(messages: Iterable[BaseMessage]) -> list[Turn]:
    """The conversation, reduced to what routing looks at."""
    return [Turn(_role(message), _text(message.content)) for message in messages]


def _role(message: BaseMessage) -> Role:
    # a ChatMessage says who speaks in a field of its own; an unknown speaker is taken for the user
    return ROLES.get(getattr(message, "role", message.type).removesuffix("MessageChunk").lower(), "human")


def _text(content: str | Sequence[str | Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    parts = [part if isinstance(part, str) else part.get("text") for part in content if _is_text(part)]
    return "\n\n".join(part for part in parts if isinstance(part, str))


def _is_text(part: str | Mapping[str, Any]) -> bool:
    return isinstance(part, str) or part.get("type", "text") == "text"


def readable_by(recipient: Recipient, messages: list[BaseMessage]) -> list[BaseMessage]:
    """The conversation as ``recipient`` can take it.

    What another model has thought is dropped, since a provider refuses reasoning it has not signed, and tool-call ids
    that are too long for some provider are shortened, the same way in the call and in its result. The rest of the
    difference between providers is for the integrations themselves.

    Args:
        recipient: The chosen model.
        messages: The conversation.

    Returns:
        ``messages`` itself where nothing has to change, else a new list in which changed messages are copies.
    """
    shortened: set[str] = set()
    readable = [_message_for(recipient, message, shortened) for message in messages]
    return readable if any(new is not old for new, old in zip(readable, messages, strict=True)) else messages


def _message_for(recipient: Recipient, message: BaseMessage, shortened: set[str]) -> BaseMessage:
    if isinstance(message, ToolMessage) and message.tool_call_id in shortened:
        return message.model_copy(update={"tool_call_id": _short_id(message.tool_call_id)})
    if not isinstance(message, AIMessage):
        return message
    decision = decision_of(message)
    if decision is not None and (decision.get("target"), decision.get("model")) == (recipient.target, recipient.model):
        return message
    update: dict[str, Any] = {}
    if _is_foreign(message, recipient, routed=decision is not None):
        update |= _without_reasoning(message)
    calls = (*message.tool_calls, *message.invalid_tool_calls)
    long_ids = {call_id for call in calls if (call_id := call["id"]) is not None and len(call_id) > MAX_TOOL_CALL_ID}
    if long_ids:
        shortened |= long_ids
        update |= _with_short_ids(message.model_copy(update=update))
    return message.model_copy(update=update) if update else message


def _is_foreign(message: AIMessage, recipient: Recipient, *, routed: bool) -> bool:
    provider = message.response_metadata.get("model_provider")
    if provider is None:
        # no provider to compare: of a message that carries another model's decision we know that much
        return routed
    return _canonical(provider) != _canonical(recipient.provider)


def _canonical(provider: str) -> str:
    return PROVIDER_ALIASES.get(provider, provider)


def _without_reasoning(message: AIMessage) -> dict[str, Any]:
    update: dict[str, Any] = {}
    if isinstance(message.content, list):
        kept = [part for part in message.content if isinstance(part, str) or part.get("type") not in REASONING_BLOCKS]
        if len(kept) < len(message.content):
            update["content"] = kept or ""
    if not REASONING_KEYS.isdisjoint(message.additional_kwargs):
        update["additional_kwargs"] = {
            key: value for key, value in message.additional_kwargs.items() if key not in REASONING_KEYS
        }
    return update


def _short_id(call_id: str) -> str:
    # a digest, so that a call and its result agree in every turn without anything being remembered
    return "call_" + hashlib.sha256(call_id.encode()).hexdigest()[:32]


def _renamed(call: Mapping[str, Any]) -> dict[str, Any]:
    call_id = call.get("id") or ""
    return {**call, "id": _short_id(call_id)} if len(call_id) > MAX_TOOL_CALL_ID else dict(call)


def _with_short_ids(message: AIMessage) -> dict[str, Any]:
    update: dict[str, Any] = {
        "tool_calls": [_renamed(call) for call in message.tool_calls],
        "invalid_tool_calls": [_renamed(call) for call in message.invalid_tool_calls],
    }
    if isinstance(message.content, list):
        update["content"] = [
            _renamed(part) if isinstance(part, dict) and part.get("type") in TOOL_CALL_BLOCKS else part
            for part in message.content
        ]
    if "tool_calls" in message.additional_kwargs:
        raw = [_renamed(call) for call in message.additional_kwargs["tool_calls"]]
        update["additional_kwargs"] = {**message.additional_kwargs, "tool_calls": raw}
    return update
