"""Chat messages as they stand in files → messages in OpenAI's chat format, and the turns that routing looks at.

Read are, also mixed in one list:

    OpenAI                     {"role": "user", "content": "…"}, content a string or a list of parts
    LangChain, serialised      {"lc": 1, "type": "constructor", "id": […, "HumanMessage"], "kwargs": {"content": "…"}}
    LangChain, as fields       {"type": "human", "content": "…"} or {"type": "human", "data": {"content": "…"}}
    LangChain, as pairs        ["human", "…"]
    ShareGPT                   {"from": "human", "value": "…"}
    a bare string              what a user says

Nothing is made into an object of LangChain's: fields are picked from plain JSON, and a class name in it only tells who
speaks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

from shared_router.query import OBSERVATION_PREFIX
from shared_router.records import JSON, Role, Turn
from shared_router.tables.rows import BadRowError

__all__ = ["Message", "content_text", "messages_from", "turns_of", "without_answer"]

Message: TypeAlias = Mapping[str, JSON]
"""One message in OpenAI's chat format."""

OPENAI_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "function",
    "observation": "observation",
    "function_response": "observation",
}
"""Who speaks, as the sources spell it → OpenAI's role; an "observation" is a tool's result without a call id."""

TURN_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "human",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

TEXT_PARTS = ("text", "input_text", "output_text")

SENT_KEYS = ("name", "tool_calls", "tool_call_id", "function_call")
"""What is sent beside role and content; logs hold more, which endpoints refuse (refusal, annotations, reasoning …)."""


def messages_from(value: object) -> tuple[Message, ...]:
    """A conversation in OpenAI's chat format.

    Args:
        value: A text, one message, a list of messages, or a batch of one such list (LangSmith writes these).

    Raises:
        BadRowError: Anything else, an empty list, or a message that says neither who speaks nor what.
    """
    listed = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(listed, list | tuple):
        raise BadRowError(f"messages are a list, got {type(listed).__name__}")
    if len(listed) == 1 and _is_conversation(listed[0]):
        listed = listed[0]
    if not listed:
        raise BadRowError("the list of messages is empty")
    return tuple(_message(one) for one in listed)


def without_answer(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str | None]:
    """What the model was asked, and what it answered.

    Args:
        messages: A conversation.

    Returns:
        The messages without those of the assistant at the end; and the text of these, None if there are none.

    Raises:
        BadRowError: Nobody but the assistant speaks.
    """
    asked = list(messages)
    answers: list[str] = []
    while asked and asked[-1]["role"] == "assistant":
        answers.insert(0, content_text(asked.pop().get("content")))
    if not asked:
        raise BadRowError("all messages are the assistant's; there is nothing to answer")
    return tuple(asked), "\n\n".join(answer for answer in answers if answer) if answers else None


def turns_of(messages: Sequence[Message]) -> list[Turn]:
    """A conversation in OpenAI's chat format, reduced to what routing looks at."""
    return [Turn(TURN_ROLES[str(one["role"])], content_text(one.get("content"))) for one in messages]


def content_text(content: object) -> str:
    """The text in a message's content: a string, or the text parts of a list, joined by a blank line."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return ""
    texts = [part if isinstance(part, str) else _part_text(part) for part in content]
    return "\n\n".join(text for text in texts if text)


def _part_text(part: object) -> str:
    if isinstance(part, Mapping) and part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    return ""


def _is_conversation(value: object) -> bool:
    # a pair ["human", "…"] is one message, a list of anything else several
    return isinstance(value, list | tuple) and not _is_pair(value)


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and value[0].lower() in OPENAI_ROLES
    )


def _message(value: object) -> Message:
    if isinstance(value, str):
        return {"role": "user", "content": value}
    if isinstance(value, list | tuple) and _is_pair(value):
        speaker, fields = str(value[0]), {"content": value[1]}
    elif isinstance(value, Mapping):
        speaker, fields = _fields(value)
    else:
        raise BadRowError(f"a message is an object, got {type(value).__name__}")
    role = OPENAI_ROLES.get(speaker.lower())
    if role is None:
        raise BadRowError(f"a message is by {speaker!r:.40}; known are {', '.join(OPENAI_ROLES)}")
    if role == "observation":
        return {"role": "user", "content": f"{OBSERVATION_PREFIX} {content_text(fields.get('content'))}"}
    message: dict[str, JSON] = {"role": role, "content": _content(fields.get("content"))}
    for key in SENT_KEYS:
        sent = fields.get(key)
        if sent is not None and sent != []:
            message[key] = cast("JSON", sent)
    if isinstance(fields.get("tool_calls"), list | tuple):
        message["tool_calls"] = [_tool_call(call) for call in cast("Sequence[object]", fields["tool_calls"])]
        if not message["tool_calls"]:
            del message["tool_calls"]
    return message


def _fields(value: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Who speaks, as the source spells it, and the message's fields."""
    kwargs, data, kind = value.get("kwargs"), value.get("data"), value.get("type")
    if "lc" in value and isinstance(kwargs, Mapping):
        path = value.get("id")
        name = str(path[-1]) if isinstance(path, list | tuple) and path else ""
        speaker = name.removesuffix("Chunk").removesuffix("Message").lower()
        return str(kwargs.get("role")) if speaker == "chat" else speaker, dict(kwargs)
    if isinstance(data, Mapping) and isinstance(kind, str):
        return str(data.get("role")) if kind == "chat" else kind, dict(data)
    if "from" in value:
        return str(value["from"]), {"content": value.get("value")}
    if "role" in value:
        return str(value["role"]), dict(value)
    if isinstance(kind, str) and "content" in value:
        # a streamed LangChain message has the class name for a type
        return kind.removesuffix("Chunk").removesuffix("Message"), dict(value)
    raise BadRowError(f"a message has a role and a content, got {', '.join(map(str, value)) or 'an empty object'}")


def _content(content: object) -> JSON:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise BadRowError(f"a message's content is a string or a list of parts, got {type(content).__name__}")
    parts: list[JSON] = []
    for part in content:
        text = part if isinstance(part, str) else _part_text(part)
        if not text and not isinstance(part, Mapping):
            raise BadRowError(f"a part of a message is an object, got {type(part).__name__}")
        parts.append({"type": "text", "text": text} if text else cast("JSON", part))
    # small servers know strings only
    return content_text(content) if len(parts) == 1 and content_text(content) else parts


def _tool_call(call: object) -> JSON:
    if not isinstance(call, Mapping) or "function" in call:
        return cast("JSON", call)
    arguments = call.get("args")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": call.get("name"), "arguments": text},
    }
