"""A call → what it asks of a model beyond text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langchain_hybrid.binding import Replay, SchemaReplay, ToolReplay
from shared_router.guards import Modality, Needs
from shared_router.records import Turn
from shared_router.token_estimate import TOKENS_PER_MESSAGE, estimated_tokens, reserved_tokens

__all__ = ["needs_of"]

MODALITY_OF: Mapping[str, Modality] = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
    "document": "file",
}
"""Content block types, LangChain's own and the providers', and what they hold."""


def needs_of(
    messages: Sequence[BaseMessage],
    turns: Sequence[Turn],
    *,
    replay: Replay | None,
    kwargs: Mapping[str, Any],
    window: int | None = None,
    count: Callable[[str], int] | None = None,
) -> Needs:
    """What a call asks of a model.

    Tokens are counted only where they may matter: a token has at least one character for all practical purposes, so
    what has fewer characters than the smallest context window fits. A provider's own counter is not asked, since it
    may fetch a tokenizer or call an API.

    Args:
        messages: The prompt.
        turns: The same, reduced to text.
        replay: Tools or a schema that are bound.
        kwargs: The call's other arguments.
        window: The smaller context window of the two models; None where none is known.
        count: A function from a text to its number of tokens that the user has given; None to estimate.
    """
    options = {**replay.kwargs, **kwargs} if isinstance(replay, ToolReplay | SchemaReplay) else kwargs
    bound = replay.tools if isinstance(replay, ToolReplay) else ()
    # a schema by function calling is a tool in all but name
    by_tool = isinstance(replay, SchemaReplay) and options.get("method") == "function_calling"
    return Needs(
        modalities=_modalities(messages),
        tools=bool(by_tool or bound or options.get("tools") or options.get("functions")),
        structured_output=isinstance(replay, SchemaReplay) or options.get("response_format") is not None,
        tokens=_tokens(messages, turns, reserved_tokens(options), window, count) if window is not None else 0,
    )


def _modalities(messages: Sequence[BaseMessage]) -> frozenset[Modality]:
    found = {
        modality
        for message in messages
        if not isinstance(message.content, str)
        for part in message.content
        if isinstance(part, Mapping) and (modality := _modality(part)) is not None
    }
    return frozenset(found)


def _modality(part: Mapping[str, Any]) -> Modality | None:
    # Bedrock's own blocks have no type, but one key that says it
    kind = part.get("type") or next((key for key in part if key in MODALITY_OF), None)
    if kind == "media":
        # Google's one type for all of them says what it is in its MIME type
        kind = str(part.get("mime_type", "")).split("/")[0]
        return MODALITY_OF.get(kind, "file")
    source = part.get("source")
    if kind == "document" and isinstance(source, Mapping) and source.get("type") in ("text", "content"):
        # Anthropic's document may be plain text with a title
        return None
    return MODALITY_OF.get(kind) if isinstance(kind, str) else None


def _tokens(
    messages: Sequence[BaseMessage],
    turns: Sequence[Turn],
    reserved: int,
    window: int,
    count: Callable[[str], int] | None,
) -> int:
    texts = [turn.text for turn in turns]
    # what was said in tool calls is sent back too
    calls = [str(call["args"]) for one in messages if isinstance(one, AIMessage) for call in one.tool_calls]
    if sum(map(len, texts)) + sum(map(len, calls)) + reserved < window:
        return 0
    text = "\n".join((*texts, *calls))
    counted = count(text) if count is not None else math.ceil(estimated_tokens(text))
    return counted + TOKENS_PER_MESSAGE * len(messages) + reserved
