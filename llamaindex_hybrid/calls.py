"""One call, before and after it is routed.

A ``Request`` is a call of any of the host's methods brought into one form: what is judged, what the user wishes, and
the arguments as they came. A ``Plan`` is the same call for the chosen model.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts.base import BasePromptTemplate, ChatPromptTemplate
from llama_index_instrumentation.dispatcher import active_instrument_tags, instrument_tags

from llamaindex_hybrid.messages import Recipient, readable_by
from llamaindex_hybrid.needs import needs_of
from llamaindex_hybrid.question import (
    Question,
    Wish,
    own_copy,
    question_of_messages,
    question_of_prompt,
    question_of_text,
    wish,
)
from shared_router.decision import RoutingDecision
from shared_router.guards import Needs
from shared_router.knob import KNOB_SETTINGS, Knob, knob_from
from shared_router.records import JSON

__all__ = ["Plan", "Request", "from_messages", "from_prompt", "from_structured", "from_text", "from_tools"]

OUR_KEYWORDS = frozenset({*KNOB_SETTINGS, "query", "conversation"})
"""Keywords of a call that are for the router; all others belong to the chosen model."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call before it is routed.

    Attributes:
        question: What is judged.
        knob: The knob given with this call, or None.
        conversation: What the conversation is known by, if that was said with this call.
        args: Positional arguments as they came.
        kwargs: Keyword arguments as they came, without ours.
        content: The call's messages or text.
        needs: What the call asks of a model beyond text, with tokens estimated.
        weighed: The same by another counter of tokens.
        user_follows: The user's turn is an argument of its own, after the history.
    """

    question: Question
    knob: Knob | None
    conversation: Hashable | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    content: Callable[[], Sequence[ChatMessage] | str]
    needs: Needs
    weighed: Callable[..., Needs]
    user_follows: bool = False

    def judged(self, context_share: float) -> str:
        """The text that is judged, with the leading share of the retrieved text behind the question."""
        context = self.question.context[: round(len(self.question.context) * context_share)]
        return f"{self.question.text}\n\n{context}" if context else self.question.text

    def arguments_for(self, recipient: Recipient) -> tuple[Any, ...]:
        """The positional arguments as the chosen model can take them; never the caller's own lists and templates."""
        return tuple(self._adapted(argument, recipient) for argument in self.args)

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments; integrations write into the dicts they are given."""
        return {name: dict(value) if type(value) is dict else value for name, value in self.kwargs.items()}

    def _adapted(self, argument: Any, recipient: Recipient) -> Any:
        if isinstance(argument, BasePromptTemplate):
            own = own_copy(argument)
            if isinstance(own, ChatPromptTemplate):
                own.message_templates = readable_by(recipient, own.message_templates)
            return own
        if isinstance(argument, list) and argument and isinstance(argument[0], ChatMessage):
            return readable_by(recipient, argument, user_follows=self.user_follows)
        return argument


@dataclass(frozen=True)
class Plan:
    """One call after it is routed; all that is left to do is I/O.

    Attributes:
        decision: Which model, and why.
        llm: The chosen model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        model: Its name.
        record: The decision as it is put on the response.
    """

    decision: RoutingDecision
    llm: LLM
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    model: str
    record: Mapping[str, JSON]

    @cached_property
    def stem(self) -> str:
        """What ids begin with that tool calls of this response are given."""
        return f"call_{uuid.uuid4().hex[:24]}"

    def method(self, name: str) -> Any:
        """The chosen model's method of that name."""
        return getattr(self.llm, name)

    def ask(self, method: str) -> Any:
        """Call the chosen model's method; tags hold for as long as that takes."""
        with self.tagged():
            return self.method(method)(*self.args, **self.kwargs)

    async def aask(self, method: str) -> Any:
        """The same for a coroutine."""
        with self.tagged():
            return await self.method(method)(*self.args, **self.kwargs)

    def tagged(self) -> AbstractContextManager[None]:
        """Around everything the chosen model does: its own events carry the decision as tags."""
        tags = {"hybrid.target": self.decision.target, "hybrid.model": self.model}
        return instrument_tags({**active_instrument_tags.get(), **tags})


def from_messages(messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Request:
    """A call of the chat endpoints."""
    ours, rest = _settings(kwargs)
    # a generator would be read up by the first who looks
    conversation = list(messages)
    return _request(
        ours,
        question_of_messages(conversation),
        args=(conversation,),
        kwargs=rest,
        content=lambda: conversation,
        weighed=partial(needs_of, conversation, rest),
    )


def from_text(prompt: str, formatted: bool, kwargs: Mapping[str, Any]) -> Request:
    """A call of the completion endpoints."""
    ours, rest = _settings(kwargs)
    return _request(
        ours,
        question_of_text(prompt),
        args=(prompt,),
        kwargs={"formatted": formatted, **rest},
        content=lambda: prompt,
        weighed=partial(needs_of, [prompt], rest),
    )


def from_prompt(prompt: BasePromptTemplate, prompt_args: Mapping[str, Any]) -> Request:
    """A call of the prediction endpoints."""
    ours, rest = _settings(prompt_args, reserved=_variables(prompt))
    return _request(
        ours,
        question_of_prompt(prompt, rest),
        args=(prompt,),
        kwargs=rest,
        content=lambda: own_copy(prompt).format_messages(**rest),
        weighed=partial(needs_of, [prompt], rest),
    )


def from_structured(
    output_cls: type[Any],
    prompt: BasePromptTemplate,
    llm_kwargs: Mapping[str, Any] | None,
    prompt_args: Mapping[str, Any],
) -> Request:
    """A call of the structured prediction endpoints; ours may be among the arguments of either kind."""
    reserved = _variables(prompt)
    said = {name: value for name, value in prompt_args.items() if name in OUR_KEYWORDS and name not in reserved}
    ours, llm_rest = _settings({**(llm_kwargs or {}), **said})
    rest = {name: value for name, value in prompt_args.items() if name not in said}
    return _request(
        ours,
        question_of_prompt(prompt, rest),
        args=(output_cls, prompt),
        kwargs={"llm_kwargs": llm_rest, **rest},
        content=lambda: own_copy(prompt).format_messages(**rest),
        weighed=partial(needs_of, [prompt], {**rest, **llm_rest}, structured_output=True),
    )


def from_tools(
    tools: Sequence[Any],
    user_msg: str | ChatMessage | None,
    chat_history: Sequence[ChatMessage] | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Request:
    """A call of the endpoints that take tools."""
    ours, rest = _settings(kwargs)
    history = list(chat_history or ())
    latest = ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg
    conversation = history if latest is None else [*history, latest]
    return _request(
        ours,
        question_of_messages(conversation),
        args=(tools, user_msg, history, *args),
        kwargs=rest,
        content=lambda: conversation,
        weighed=partial(needs_of, conversation, rest, tools=bool(tools)),
        user_follows=latest is not None,
    )


def _request(
    ours: Wish,
    found: Question,
    *,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    content: Callable[[], Sequence[ChatMessage] | str],
    weighed: Callable[..., Needs],
    user_follows: bool = False,
) -> Request:
    return Request(
        question=ours.upon(found),
        knob=ours.knob,
        conversation=ours.conversation,
        args=args,
        kwargs=kwargs,
        content=content,
        needs=weighed(),
        weighed=weighed,
        user_follows=user_follows,
    )


def _settings(kwargs: Mapping[str, Any], *, reserved: Collection[str] = ()) -> tuple[Wish, dict[str, Any]]:
    """What the user wishes, here or in the block of code around, and the keywords that are the model's own."""
    said = {name: value for name, value in kwargs.items() if name in OUR_KEYWORDS and name not in reserved}
    around = wish()
    if not said:
        return around, dict(kwargs)
    rest = {name: value for name, value in kwargs.items() if name not in said}
    text, conversation = said.pop("query", None), said.pop("conversation", None)
    return (
        Wish(
            question=text or around.question,
            context="" if text else around.context,
            knob=knob_from(said) or around.knob,
            conversation=around.conversation if conversation is None else conversation,
            prompt_type=around.prompt_type,
        ),
        rest,
    )


def _variables(prompt: BasePromptTemplate) -> set[str]:
    # a template with a variable {quality} means that one, not our knob
    return {*prompt.template_vars, *(prompt.template_var_mappings or {}), *prompt.kwargs}
