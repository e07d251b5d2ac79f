"""The question in a call, not the boilerplate around it.

In order: what the user said outright; the question among a prompt template's variables; the last turn that the user
wrote, without the template that core has put around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts.base import BasePromptTemplate, SelectorPromptTemplate

from llamaindex_hybrid.messages import to_turns
from shared_router.knob import Knob, knob_from
from shared_router.query import query_text

__all__ = ["Wish", "own_copy", "query", "question_of_messages", "question_of_prompt", "unwrapped", "wish"]

QUESTION_VARIABLES = ("query_str", "query", "question", "user_msg", "input")
"""Template variables that hold the user's question, in the order in which they are believed."""

CONTEXT_VARIABLES = ("context_str", "context_msg")
"""Template variables that hold retrieved text."""

WRAPPERS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # prompts/default_prompts.py and chat_prompts.py: text_qa and tree_summarize
        r"\AContext information (?:is|from multiple sources is) below\..*\nQuery: (.+?)\s*\nAnswer:\s*\Z",
        # prompts/default_prompts.py: refine
        r"\AThe original query is as follows: (.+?)\nWe have provided an existing answer:",
        # prompts/chat_prompts.py: refine
        r"\AYou are an expert Q&A system that strictly.*\nQuery: (.+?)\nOriginal Answer:",
        # selectors/prompts.py; prompts/default_prompts.py: tree_select
        r"\ASome choices are given below\..*relevant to the\s+question: '(.+)'\s*(?:\nProvide choice.*)?\Z",
        # question_gen/prompts.py; the template shows an example with a question of its own first
        r"\AGiven a user question, and a list of tools.*<User Question>\n(.+?)\n+<Output>\s*\Z",
        # chat_engine/condense_plus_context.py
        r"\AGiven the following conversation between a user and an AI.*Follow Up Input: (.+?)\s*Standalone question:\Z",
        # chat_engine/condense_question.py
        r"\AGiven a conversation \(between Human.*<Follow Up Message>\n(.+?)\n+<Standalone question>\s*\Z",
        # agent/workflow/prompts.py: DEFAULT_STATE_PROMPT
        r"\ACurrent state:\n.*\nCurrent message:\n(.+)\Z",
    )
)
"""Templates that core formats before the model sees them, with the question as their one group."""

# agent/utils.py, messages_to_xml_format
CONVERSATION = re.compile(r"\A<current_conversation>.*</current_conversation>", re.DOTALL)
USER_MESSAGE = re.compile(r"<user>\s*<message>(.*?)</message>\s*</user>", re.DOTALL)

Prompt = TypeVar("Prompt", bound=BasePromptTemplate)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user said outright about calls in a block of code.

    Attributes:
        question: The text that is judged in place of what the calls hold.
        knob: The knob that holds in place of the model's own.
    """

    question: str | None = None
    knob: Knob | None = None


NO_WISH = Wish()

_wish: ContextVar[Wish] = ContextVar("hybrid_wish", default=NO_WISH)


def wish() -> Wish:
    """What holds here and now."""
    return _wish.get()


@contextmanager
def query(text: str | None = None, **knob: object) -> Iterator[None]:
    """Say what is judged, and how strictly, for code that offers no place to say it.

    A query engine takes no keywords for its model, and an agent hands over messages only. Blocks nest; what the inner
    one leaves open the outer one decides. A call's own keywords are stronger. A stream that is started by reading it,
    such as a streaming query engine's, has to be read inside the block.

    Args:
        text: The text to judge in every call in the block.
        knob: At most one of quality, max_drop, large_share, threshold, route.

    Raises:
        KnobError: Two knobs, an unknown one, or a value that does not fit.
    """
    outer = _wish.get()
    token = _wish.set(Wish(outer.question if text is None else text, knob_from(knob) or outer.knob))
    try:
        yield
    finally:
        _wish.reset(token)


def question_of_messages(messages: Sequence[ChatMessage]) -> str:
    """The user's question in a conversation: in an agent's tool loop, the request that the loop serves."""
    return unwrapped(query_text(to_turns(messages)))


def question_of_prompt(prompt: BasePromptTemplate, prompt_args: Mapping[str, Any]) -> tuple[str, str]:
    """The user's question and the retrieved text in a prompt template that has not been formatted yet.

    Synthesizers bind the question with ``partial_format`` (core, ``response_synthesizers/refine.py``): it lies in the
    template's ``kwargs``, and the call's arguments hold the retrieved text only.

    Args:
        prompt: The template; a copy of the caller's, since selecting a template writes into it.
        prompt_args: The call's arguments for it.

    Returns:
        The question, which is the whole formatted text where no variable holds it, and the retrieved text, which may
        be empty.
    """
    variables = {**prompt.kwargs, **prompt_args}
    context = next((text for name in CONTEXT_VARIABLES if isinstance(text := variables.get(name), str)), "")
    for name in QUESTION_VARIABLES:
        text = variables.get(name)
        if isinstance(text, str) and text.strip():
            return unwrapped(text), context
    # an output parser would add its schema to the text that is judged
    plain = own_copy(prompt)
    plain.output_parser = None
    return question_of_messages(plain.format_messages(**prompt_args)), context


def unwrapped(text: str) -> str:
    """The text without the template that core has put around it, or as it is if there is none."""
    text = text.strip()
    if CONVERSATION.match(text):
        said = USER_MESSAGE.findall(text)
        text = re.sub(r"</message>\s*<message>", "\n\n", said[-1]).strip() if said else text
    for wrapper in WRAPPERS:
        if match := wrapper.search(text):
            return match[1].strip()
    return text


def own_copy(prompt: Prompt) -> Prompt:
    """A copy that its receiver can write to without the caller's template, or a global one, changing.

    ``LLMTextCompletionProgram`` sets an output parser on the template it is given for good, and
    ``SelectorPromptTemplate.select`` hands it on to templates that are module globals: with two models, the schema text
    of one would leak into the prompts of the other.
    """
    if isinstance(prompt, SelectorPromptTemplate):
        conditionals = prompt.conditionals and [
            (applies, own_copy(template)) for applies, template in prompt.conditionals
        ]
        update = {"default_template": own_copy(prompt.default_template), "conditionals": conditionals}
        return prompt.model_copy(update=update)
    return prompt.model_copy()
