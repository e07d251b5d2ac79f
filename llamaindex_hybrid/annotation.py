"""Response + decision → the response with the decision on it.

The decision lies in the *response's* ``additional_kwargs["hybrid"]``, never in the message's: those are stored in
memory, sent to providers (llms-openai, ``to_openai_message_dict``) and printed into prompts (core,
``messages_to_prompt``). ``raw`` stays as the chosen model wrote it, since token counters read the usage there. What is
annotated is a copy: the original belongs to the chosen model's own events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.chat_engine.types import AgentChatResponse

from shared_router.records import JSON

__all__ = ["KEY", "annotated", "decision_of"]

KEY = "hybrid"
"""Where the decision lies: in a response's ``additional_kwargs``, in an ``AgentChatResponse``'s ``metadata``."""

Response = TypeVar("Response")


def decision_of(response: ChatResponse | CompletionResponse | AgentChatResponse) -> Mapping[str, Any] | None:
    """The routing decision on a response, or None if it carries none.

    Args:
        response: Any response; those that came through a router carry one.
    """
    place = response.metadata or {} if isinstance(response, AgentChatResponse) else response.additional_kwargs
    decision = place.get(KEY)
    return decision if isinstance(decision, Mapping) else None


def annotated(response: Response, record: Mapping[str, JSON]) -> Response:
    """A copy of the response with the decision on it.

    Args:
        response: A chat or completion response, one chunk of either, or what a predict-and-call returns.
        record: The decision as JSON values. All chunks of a stream share it.

    Returns:
        The copy, or ``response`` itself if it has no place for a decision, such as a text or a parsed object.
    """
    if isinstance(response, ChatResponse | CompletionResponse):
        marked = response.model_copy(update={"additional_kwargs": {**response.additional_kwargs, KEY: record}})
        return cast("Response", marked)
    if isinstance(response, AgentChatResponse):
        return cast("Response", replace(response, metadata={**(response.metadata or {}), KEY: record}))
    return response
