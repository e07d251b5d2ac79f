"""Response + decision → the response with the decision on it.

The decision lies under one key of its own, ``response_metadata["hybrid"]``; everything that providers and counters read
there (``model_name``, ``model_provider``, ids, usage) stays as the chosen model wrote it. What is annotated is a copy:
the original may belong to the chosen model's cache.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, TypeVar, cast

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from shared_router.records import JSON

__all__ = ["KEY", "aannotated_stream", "annotated", "annotated_stream", "decision_of"]

KEY = "hybrid"
"""Where the decision lies: in a message's ``response_metadata``, in a run's metadata, in the router run's outputs."""

Response = TypeVar("Response")


def decision_of(message: BaseMessage) -> Mapping[str, Any] | None:
    """The routing decision on a message, or None if it carries none.

    Args:
        message: Any message; those that came through a router carry one.
    """
    decision = message.response_metadata.get(KEY)
    return decision if isinstance(decision, Mapping) else None


def annotated(response: Response, record: Mapping[str, JSON]) -> Response:
    """A copy of the response with the decision on it.

    Args:
        response: A message, a chunk of one, a result with generations, or what ``include_raw=True`` returns.
        record: The decision as JSON values.

    Returns:
        The copy, or ``response`` itself if there is no message in it, such as a parsed object.
    """
    if isinstance(response, BaseMessage):
        return cast("Response", _annotated_message(response, record))
    if isinstance(response, LLMResult):
        generations = [
            [_annotated_generation(one, record) for one in candidates] for candidates in response.generations
        ]
        return cast("Response", response.model_copy(update={"generations": generations}))
    if isinstance(response, dict) and isinstance(response.get("raw"), BaseMessage):
        # the class stays: streams hand out an AddableDict
        return cast("Response", type(response)({**response, "raw": _annotated_message(response["raw"], record)}))
    return response


def _annotated_message(message: BaseMessage, record: Mapping[str, JSON]) -> BaseMessage:
    return message.model_copy(update={"response_metadata": {**message.response_metadata, KEY: dict(record)}})


def _annotated_generation(generation: Any, record: Mapping[str, JSON]) -> Any:
    if not isinstance(generation, ChatGeneration):
        return generation
    return generation.model_copy(update={"message": _annotated_message(generation.message, record)})


def annotated_stream(chunks: Iterator[Response], record: Mapping[str, JSON]) -> Iterator[Response]:
    """The same chunks, the first that holds a message annotated.

    On exactly one, since merging chunks adds numbers up and joins strings (``langchain_core/utils/_merge.py``).

    Args:
        chunks: What the chosen model streams.
        record: The decision as JSON values.
    """
    done = False
    for chunk in chunks:
        marked = chunk if done else annotated(chunk, record)
        done = done or marked is not chunk
        yield marked


async def aannotated_stream(chunks: AsyncIterator[Response], record: Mapping[str, JSON]) -> AsyncIterator[Response]:
    """The same chunks, the first that holds a message annotated; see ``annotated_stream``.

    Args:
        chunks: What the chosen model streams.
        record: The decision as JSON values.
    """
    done = False
    async for chunk in chunks:
        marked = chunk if done else annotated(chunk, record)
        done = done or marked is not chunk
        yield marked
