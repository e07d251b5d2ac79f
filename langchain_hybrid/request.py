"""A call → what the router is asked about it, the same for the chat model and the middleware."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_hybrid.binding import Replay
from langchain_hybrid.messages import to_turns
from langchain_hybrid.needs import needs_of
from shared_router.deciding import RoutingRequest
from shared_router.guards import Capabilities
from shared_router.knob import Knob
from shared_router.records import Target, Turn

__all__ = ["Conversation", "Judged", "conversation_key", "judged_query", "routing_request", "token_counter"]

logger = logging.getLogger(__name__)

Conversation: TypeAlias = Callable[[list[BaseMessage], RunnableConfig], Hashable | None]
"""A user's function that names the conversation of a call; None where it is not to be remembered."""


Judged: TypeAlias = Callable[[list[BaseMessage]], str]
"""A user's function that says which text of a prompt is judged."""


def routing_request(
    messages: list[BaseMessage],
    knob: Knob,
    *,
    replay: Replay | None,
    kwargs: Mapping[str, Any],
    capabilities: Mapping[Target, Capabilities],
    conversation: Hashable | None,
    counters: Sequence[BaseChatModel],
    judged: Judged | None,
) -> RoutingRequest:
    """What the router is asked about one call.

    Args:
        messages: The prompt.
        knob: The wish that holds.
        replay: Tools or a schema that are bound.
        kwargs: The call's other arguments.
        capabilities: What the two models can do; empty where they do not differ.
        conversation: What the conversation is known by.
        counters: The models to which the user may have given a token counter, the first that counts first.
        judged: The user's function that says which text is judged; None for the human's last ask.
    """
    turns = to_turns(messages)
    query = judged_query(judged, messages, turns)
    in_loop = bool(turns) and turns[-1].role == "tool"
    if not capabilities:
        return RoutingRequest(query, knob, conversation=conversation, in_loop=in_loop)
    windows = [one.context_window for one in capabilities.values() if one.context_window is not None]
    window, count = (min(windows), token_counter(counters)) if windows else (None, None)
    needs = needs_of(messages, turns, replay=replay, kwargs=kwargs, window=window, count=count)
    return RoutingRequest(query, knob, needs, capabilities, conversation, in_loop)


def conversation_key(
    conversation: Conversation | None, messages: list[BaseMessage], config: RunnableConfig
) -> Hashable | None:
    """What the conversation of a call is known by: the user's word, else the thread that LangGraph and its kin name.

    Args:
        conversation: The user's function, if any. One that raises, or returns what no table can hold, costs the
            conversation its memory and not the user the answer.
        messages: The prompt.
        config: The call's config.
    """
    if conversation is None:
        for settings in (config.get("configurable"), config.get("metadata")):
            if settings and (thread := settings.get("thread_id")) is not None:
                return str(thread)
        return None
    try:
        key = conversation(messages, config)
        hash(key)
    except Exception as error:  # a user's function, like a user's router, must not take the answer down
        logger.warning("the function that names a conversation failed (%s); it is not remembered", type(error).__name__)
        return None
    return key


def judged_query(judged: Judged | None, messages: list[BaseMessage], turns: list[Turn]) -> str | list[Turn]:
    """What is judged of a prompt: what the user's function returns, else the conversation.

    Args:
        judged: The user's function, if any.
        messages: The prompt.
        turns: The same, reduced to text.
    """
    if judged is None:
        return turns
    try:
        text = judged(messages)
    except Exception as error:  # a user's function must not take the answer down
        logger.warning("the function that says what is judged failed (%s)", type(error).__name__)
        return turns
    return text if isinstance(text, str) else turns


def token_counter(models: Sequence[BaseChatModel]) -> Callable[[str], int] | None:
    """The first token counter that the user has given to one of the models; None where there is none."""
    for model in models:
        if (token_ids := model.custom_get_token_ids) is not None:
            return lambda text: len(token_ids(text))
    return None
