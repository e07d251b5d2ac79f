"""The small model's answer → what is known of it, for the cascade to judge.

Most of an LLM's methods return less than the model said: a text, an object. So the small model of a cascade is a copy
whose own chat and completion methods tell what they return to whoever listens in this context; every other method goes
through these.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse, ToolCallBlock
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.program.utils import FlexibleModel

from shared_router.cascade import Cascade
from shared_router.records import JSON
from shared_router.uncertainty import Token, tokens_from

__all__ = [
    "Heard",
    "answer_text",
    "is_unparsed",
    "listening",
    "logprob_settings",
    "overheard",
    "tokens_of",
    "unused_usage",
    "usable",
]

ENDPOINTS = ("chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete")
"""Methods that integrations implement; all others of a model call these on it."""

USAGE: Mapping[str, str] = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
}
"""Our names of token counts, and those of the servers."""


@dataclass(slots=True)
class Heard:
    """What a model said while somebody listened.

    Attributes:
        chunks: Responses, or the chunks of a stream, in order.
    """

    chunks: list[Any] = field(default_factory=list)

    @property
    def last(self) -> Any:
        """The whole response, since each chunk holds all that came before; None before the first."""
        return self.chunks[-1] if self.chunks else None


_listener: ContextVar[Heard | None] = ContextVar("hybrid_listener", default=None)


@contextmanager
def listening(heard: Heard) -> Iterator[None]:
    """Hear what the overheard model says within the block."""
    token = _listener.set(heard)
    try:
        yield
    finally:
        _listener.reset(token)


def overheard(model: LLM) -> LLM:
    """The model, whose answers whoever listens can hear.

    Args:
        model: A copy that is nobody else's.
    """
    for name in (*ENDPOINTS, "astream_complete"):
        # an instance attribute comes before the class' method, and pydantic's serialiser looks at fields only
        model.__dict__[name] = _told(getattr(model, name))
    return model


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def whole(*args: Any, **kwargs: Any) -> Any:
        heard = _listener.get()
        response = method(*args, **kwargs)
        if heard is None:
            return response
        if inspect.isgenerator(response):
            return _each(cast("Generator[Any, None, None]", response), heard)
        if inspect.isawaitable(response):
            return _awaited(response, heard)
        heard.chunks.append(response)
        return response

    return whole


async def _awaited(response: Any, heard: Heard) -> Any:
    result = await response
    if inspect.isasyncgen(result):
        return _aeach(cast("AsyncGenerator[Any, None]", result), heard)
    heard.chunks.append(result)
    return result


def _each(chunks: Generator[Any, None, None], heard: Heard) -> Generator[Any, None, None]:
    try:
        for chunk in chunks:
            heard.chunks.append(chunk)
            yield chunk
    finally:
        chunks.close()


async def _aeach(chunks: AsyncGenerator[Any, None], heard: Heard) -> AsyncGenerator[Any, None]:
    try:
        async for chunk in chunks:
            heard.chunks.append(chunk)
            yield chunk
    finally:
        await chunks.aclose()


def logprob_settings(model: LLM, cascade: Cascade) -> dict[str, Any]:
    """Settings of the small model that make its server report log-probabilities; none where it has no such settings.

    Args:
        model: The small model. OpenAI's LLM and those made after it have the two fields.
        cascade: How answers are judged.
    """
    fields = type(model).model_fields
    if not cascade.reads_tokens or not {"logprobs", "top_logprobs"} <= set(fields) or getattr(model, "logprobs", None):
        return {}
    return {"logprobs": True, "top_logprobs": cascade.alternatives}


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def tokens_of(responses: Iterable[Any]) -> tuple[Token, ...] | None:
    """The tokens of a response, or of the chunks of a stream; None where none has log-probabilities.

    Args:
        responses: Chat or completion responses.
    """
    found: list[Token] = []
    for response in responses:
        found += tokens_from(_reported(response)) or ()
    return tuple(found) or None


def _reported(response: Any) -> Any:
    raw = _part(response, "raw")
    choices = _part(raw, "choices")
    reported = _part(choices[0], "logprobs") if isinstance(choices, Sequence) and choices else _part(raw, "logprobs")
    if isinstance(reported, BaseModel) or hasattr(reported, "model_dump"):
        return reported.model_dump()
    if reported:
        return reported
    # core's own form keeps the likeliest tokens of each place, and not which one was chosen
    places = _part(response, "logprobs") or ()
    said = [[{"token": one.token, "logprob": one.logprob} for one in place] for place in places if place]
    return [{**place[0], "top_logprobs": place} for place in said]


def answer_text(response: Any) -> str:
    """What a response says, tool calls as JSON behind it; of anything else its own text.

    Args:
        response: A chat or completion response, or what a model's method returned.
    """
    if isinstance(response, CompletionResponse):
        return response.text
    if not isinstance(response, ChatResponse):
        return "" if response is None else str(response)
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    calls = [{"name": block.tool_name, "args": block.tool_kwargs} for block in blocks]
    parts = [response.message.content or "", json.dumps(calls, sort_keys=True, default=str) if calls else ""]
    return "\n".join(part for part in parts if part)


def usable(method: str, response: Any, model: LLM, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an answer is of the kind that was asked for: it parsed, and its tool calls can be made.

    Args:
        method: The method that was called.
        response: What it returned, the last chunk of a stream.
        model: The small model.
        args: The method's positional arguments.
        kwargs: Its keyword arguments.
    """
    if "structured_predict" in method:
        # a stream of ever more complete objects that ends with an incomplete one
        return response is not None and not isinstance(response, FlexibleModel)
    if "chat_with_tools" not in method or not isinstance(model, FunctionCallingLLM):
        return True
    try:
        calls = model.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    except Exception:  # a call that its own model cannot read
        return False
    if not calls:
        return not kwargs.get("tool_required")
    offered = {
        tool.metadata.get_name(): set(tool.metadata.get_parameters_dict().get("required") or ()) for tool in args[0]
    }
    return all(call.tool_name in offered and offered[call.tool_name] <= set(call.tool_kwargs) for call in calls)


def is_unparsed(error: BaseException, method: str) -> bool:
    """Whether the small model answered, and only its answer could not be parsed; pydantic's errors are ValueErrors.

    Args:
        error: What was raised.
        method: The method that was called.
    """
    return "structured_predict" in method and isinstance(error, ValueError)


def unused_usage(responses: Sequence[Any]) -> dict[str, JSON] | None:
    """Tokens of answers that are not handed out; None where one does not say, such as a stream that was left.

    Args:
        responses: The responses; None for one that never came.
    """
    counted = [_usage(response) for response in responses]
    if not all(counted):
        return None
    return {name: sum(one[name] for one in counted) for name in USAGE}


def _usage(response: Any) -> dict[str, int]:
    places = (_part(_part(response, "raw"), "usage"), _part(response, "additional_kwargs"))
    for place in places:
        counts = {ours: _part(place, theirs) for ours, theirs in USAGE.items()}
        if all(isinstance(count, int) for count in counts.values()):
            return counts
    return {}
