"""One call, before and after it is routed.

A ``Request`` is a call of any of the host's methods brought into one form: what is judged, what the user wishes, and
the arguments as they came. A ``Plan`` is the same call for the chosen model.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts.base import BasePromptTemplate, ChatPromptTemplate
from llama_index_instrumentation.dispatcher import active_instrument_tags, instrument_tags

from llamaindex_hybrid.messages import Recipient, readable_by
from llamaindex_hybrid.question import own_copy, question_of_messages, question_of_prompt, unwrapped, wish
from shared_router.decision import RoutingDecision
from shared_router.guards import Needs
from shared_router.knob import KNOB_NAMES, Knob, knob_from
from shared_router.records import JSON

__all__ = ["Plan", "Request", "from_messages", "from_prompt", "from_structured", "from_text", "from_tools"]

OUR_KEYWORDS = (*KNOB_NAMES, "query")
"""Keywords of a call that are for the router; all others belong to the chosen model."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call before it is routed.

    Attributes:
        question: The text that is judged.
        knob: The knob given with this call, or None.
        args: Positional arguments as they came.
        kwargs: Keyword arguments as they came, without ours.
        context: Retrieved text that belongs to the question.
        needs: What the call asks of a model beyond text.
        user_follows: The user's turn is an argument of its own, after the history.
    """

    question: str
    knob: Knob | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: str = ""
    needs: Needs = field(default_factory=Needs)
    user_follows: bool = False

    def judged(self, context_share: float) -> str:
        """The text that is judged, with the leading share of the retrieved text behind the question."""
        context = self.context[: round(len(self.context) * context_share)]
        return f"{self.question}\n\n{context}" if context else self.question

    def arguments_for(self, recipient: Recipient) -> tuple[Any, ...]:
        """The positional arguments as the chosen model can take them; never the caller's own lists and templates."""
        return tuple(self._adapted(argument, recipient) for argument in self.args)

    def _adapted(self, argument: Any, recipient: Recipient) -> Any:
        if isinstance(argument, BasePromptTemplate):
            own = own_copy(argument)
            if isinstance(own, ChatPromptTemplate):
                own.message_templates = readable_by(recipient, own.message_templates)
            return own
        if isinstance(argument, list) and argument and isinstance(argument[0], ChatMessage):
            return readable_by(recipient, argument, user_follows=self.user_follows)
        return argument


@dataclass(frozen=True, slots=True)
class Plan:
    """One call after it is routed; all that is left to do is I/O.

    Attributes:
        decision: Which model, and why.
        llm: The chosen model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        model: Its name.
        record: The decision as it is put on the response.
        stem: What ids begin with that tool calls of this response are given.
    """

    decision: RoutingDecision
    llm: LLM
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    model: str
    record: Mapping[str, JSON]
    stem: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")

    def method(self, name: str) -> Any:
        """The chosen model's method of that name."""
        return getattr(self.llm, name)

    def tagged(self) -> AbstractContextManager[None]:
        """Around everything the chosen model does: its own events carry the decision as tags."""
        tags = {"hybrid.target": self.decision.target, "hybrid.model": self.model}
        return instrument_tags({**active_instrument_tags.get(), **tags})


def from_messages(messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Request:
    """A call of the chat endpoints."""
    question, knob, rest = _settings(kwargs)
    return Request(question or question_of_messages(messages), knob, (list(messages),), rest)


def from_text(prompt: str, formatted: bool, kwargs: Mapping[str, Any]) -> Request:
    """A call of the completion endpoints."""
    question, knob, rest = _settings(kwargs)
    return Request(question or unwrapped(prompt), knob, (prompt,), {"formatted": formatted, **rest})


def from_prompt(prompt: BasePromptTemplate, prompt_args: Mapping[str, Any]) -> Request:
    """A call of the prediction endpoints."""
    said, knob, rest = _settings(prompt_args, reserved=_variables(prompt))
    question, context = (said, "") if said else question_of_prompt(prompt, rest)
    return Request(question, knob, (prompt,), rest, context)


def from_structured(
    output_cls: type[Any],
    prompt: BasePromptTemplate,
    llm_kwargs: Mapping[str, Any] | None,
    prompt_args: Mapping[str, Any],
) -> Request:
    """A call of the structured prediction endpoints; ours may be among the arguments of either kind."""
    reserved = _variables(prompt)
    ours = {name: value for name, value in prompt_args.items() if name in OUR_KEYWORDS and name not in reserved}
    said, knob, llm_rest = _settings({**(llm_kwargs or {}), **ours})
    rest = {name: value for name, value in prompt_args.items() if name not in ours}
    question, context = (said, "") if said else question_of_prompt(prompt, rest)
    # integrations write into the dict they are given
    return Request(question, knob, (output_cls, prompt), {"llm_kwargs": llm_rest, **rest}, context)


def from_tools(
    tools: Sequence[Any],
    user_msg: str | ChatMessage | None,
    chat_history: Sequence[ChatMessage] | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Request:
    """A call of the endpoints that take tools."""
    said, knob, rest = _settings(kwargs)
    history = list(chat_history or ())
    latest = ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg
    conversation = history if latest is None else [*history, latest]
    return Request(
        said or question_of_messages(conversation),
        knob,
        (tools, user_msg, history, *args),
        rest,
        needs=Needs(tools=bool(tools)),
        user_follows=latest is not None,
    )


def _settings(
    kwargs: Mapping[str, Any], *, reserved: Collection[str] = ()
) -> tuple[str | None, Knob | None, dict[str, Any]]:
    ours = {name: value for name, value in kwargs.items() if name in OUR_KEYWORDS and name not in reserved}
    rest = {name: value for name, value in kwargs.items() if name not in ours}
    around = wish()
    question = ours.pop("query", None) or around.question
    return question, knob_from(ours) or around.knob, rest


def _variables(prompt: BasePromptTemplate) -> set[str]:
    # a template with a variable {quality} means that one, not our knob
    return {*prompt.template_vars, *(prompt.template_var_mappings or {}), *prompt.kwargs}
