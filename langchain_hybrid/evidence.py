"""The small model's answer → what is known of it, for the cascade to judge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from langchain_hybrid.binding import Replay, SchemaReplay, ToolReplay
from shared_router.cascade import Cascade
from shared_router.records import JSON
from shared_router.uncertainty import Token, tokens_from

__all__ = ["answer_text", "is_unparsed", "logprob_settings", "tokens_of", "unused_usage", "usable"]

USAGE = ("input_tokens", "output_tokens", "total_tokens")


def logprob_settings(model: BaseChatModel, cascade: Cascade) -> dict[str, Any]:
    """Settings of the small model that make its server report log-probabilities; none where it has no such settings.

    Args:
        model: The small model. OpenAI's chat model and those made after it have the two fields; its Responses API
            takes neither.
        cascade: How answers are judged.
    """
    fields = type(model).model_fields
    if not cascade.reads_tokens or not {"logprobs", "top_logprobs"} <= set(fields):
        return {}
    if getattr(model, "use_responses_api", None):
        return {}
    wanted = {"logprobs": True, "top_logprobs": cascade.alternatives}
    return {name: value for name, value in wanted.items() if getattr(model, name) is None}


def tokens_of(messages: Iterable[BaseMessage]) -> tuple[Token, ...] | None:
    """The tokens of a message, or of the chunks of one; None where none has log-probabilities.

    Args:
        messages: One message, or the first chunks of a stream.
    """
    found: list[Token] = []
    for message in messages:
        found += tokens_from(_reported(message)) or ()
    return tuple(found) or None


def _reported(message: BaseMessage) -> Any:
    about = message.response_metadata
    for name in ("logprobs", "logprobs_result"):
        if about.get(name):
            return about[name]
    if isinstance(message.content, list):
        blocks = (block for block in message.content if isinstance(block, Mapping) and block.get("logprobs"))
        return [token for block in blocks for token in block["logprobs"]]
    return None


def answer_text(message: Any) -> str:
    """What a message says, tool calls as JSON behind it; of anything else its own text.

    Args:
        message: A message, or a parsed object.
    """
    if not isinstance(message, BaseMessage):
        return "" if message is None else str(message)
    calls = [{"name": call["name"], "args": call["args"]} for call in getattr(message, "tool_calls", None) or ()]
    parts = [str(message.text), json.dumps(calls, sort_keys=True, default=str) if calls else ""]
    return "\n".join(part for part in parts if part)


def usable(response: Any, message: Any, replay: Replay | None, kwargs: Mapping[str, Any]) -> bool:
    """Whether an answer is of the kind that was asked for: it parsed, and its tool calls can be made.

    Args:
        response: What the small model, or a chain around it, returned.
        message: The message it said.
        replay: Tools or a schema that are bound.
        kwargs: The call's arguments.
    """
    if isinstance(replay, SchemaReplay):
        if isinstance(response, Mapping) and "parsing_error" in response:
            return response["parsing_error"] is None and response.get("parsed") is not None
        return response is not None
    if not isinstance(message, AIMessage):
        return True
    if message.invalid_tool_calls:
        return False
    if not isinstance(replay, ToolReplay):
        return True
    choice = replay.kwargs.get("tool_choice", kwargs.get("tool_choice"))
    if not message.tool_calls:
        return choice in (None, False, "auto", "none")
    offered = _offered(replay.tools)
    return all(call["name"] in offered and offered[call["name"]] <= set(call["args"]) for call in message.tool_calls)


def _offered(tools: Sequence[Any]) -> dict[str, set[str]]:
    """Names of the tools, and the arguments that each needs."""
    functions = [convert_to_openai_tool(tool).get("function") or {} for tool in tools]
    return {
        function.get("name", ""): set((function.get("parameters") or {}).get("required") or ())
        for function in functions
    }


def is_unparsed(error: BaseException, replay: Replay | None) -> bool:
    """Whether the small model answered, and only its answer could not be parsed.

    Args:
        error: What was raised.
        replay: Tools or a schema that are bound.
    """
    return isinstance(replay, SchemaReplay) and isinstance(error, OutputParserException | ValidationError)


def unused_usage(messages: Sequence[Any]) -> dict[str, JSON] | None:
    """Tokens of answers that are not handed out; None where one does not say, such as a stream that was left.

    Args:
        messages: The messages of those answers; None for one that never came.
    """
    counted = [getattr(message, "usage_metadata", None) for message in messages]
    if not all(counted):
        return None
    return {name: sum(int(one[name]) for one in counted if one) for name in USAGE}
