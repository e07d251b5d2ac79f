"""The question in a call, not the boilerplate around it.

In order: what the user said outright; the question among a prompt template's variables; the last turn that the user
wrote, without the template that core has put around it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts.base import BasePromptTemplate, PromptTemplate, SelectorPromptTemplate
from llama_index.core.prompts.prompt_type import PromptType

from llamaindex_hybrid.messages import to_turns
from shared_router.errors import HybridError
from shared_router.knob import Knob, knob_from
from shared_router.query import query_text

__all__ = [
    "CONDENSE",
    "Question",
    "Wish",
    "own_copy",
    "query",
    "question_of_messages",
    "question_of_prompt",
    "question_of_text",
    "wish",
    "wishing",
]

CONDENSE = "condense"
"""Prompt type of the prompts with which chat engines make one question of a conversation; core gives them none."""

QUESTION_VARIABLES = ("query_str", "query", "question", "user_msg", "input")
"""Template variables that hold the user's question, in the order in which they are believed."""

CONTEXT_VARIABLES = ("context_str", "context_msg")
"""Template variables that hold retrieved text."""

WRAPPERS: Sequence[tuple[str, re.Pattern[str]]] = tuple(
    (str(getattr(prompt_type, "value", prompt_type)), re.compile(pattern, re.DOTALL))
    for prompt_type, pattern in (
        # prompts/default_prompts.py and chat_prompts.py
        (PromptType.QUESTION_ANSWER, r"Context information is below\..*\nQuery: (.+?)\s*\nAnswer:\s*\Z"),
        (
            PromptType.SUMMARY,
            r"Context information from multiple sources is below\..*\nQuery: (.+?)\s*\nAnswer:\s*\Z",
        ),
        # prompts/default_prompts.py
        (PromptType.REFINE, r"The original query is as follows: (.+?)\nWe have provided an existing answer:"),
        # prompts/chat_prompts.py
        (PromptType.REFINE, r"You are an expert Q&A system that strictly.*\nQuery: (.+?)\nOriginal Answer:"),
        # selectors/prompts.py
        (
            PromptType.SINGLE_SELECT,
            r"Some choices are given below\..*that is most relevant to the\s+question: '(.+)'\s*\Z",
        ),
        (
            PromptType.MULTI_SELECT,
            r"Some choices are given below\..*that are most relevant to the\s+question: '(.+)'\s*\Z",
        ),
        # prompts/default_prompts.py
        (
            PromptType.TREE_SELECT,
            r"Some choices are given below\..*that is most relevant to the question: '(.+)'\s*\nProvide choice in.*\Z",
        ),
        (
            PromptType.TREE_SELECT_MULTIPLE,
            r"Some choices are given below\..*are most relevant to the question: '(.+)'\s*\nProvide choices in.*\Z",
        ),
        # question_gen/prompts.py; the template shows an example with a question of its own first
        (
            PromptType.SUB_QUESTION,
            r"Given a user question, and a list of tools.*<User Question>\n(.+?)\n+<Output>\s*\Z",
        ),
        # chat_engine/condense_plus_context.py
        (
            CONDENSE,
            r"Given the following conversation between a user and.*Follow Up Input: (.+?)\s*Standalone question:\Z",
        ),
        # chat_engine/condense_question.py
        (
            CONDENSE,
            r"Given a conversation \(between Human.*<Follow Up Message>\n(.+?)\n+<Standalone question>\s*\Z",
        ),
        # agent/workflow/prompts.py: DEFAULT_STATE_PROMPT
        (PromptType.CUSTOM, r"Current state:\n.*\nCurrent message:\n(.+)\Z"),
    )
)
"""Templates that core formats before the model sees them: what kind of prompt it is, and the question as one group."""

WRAPPED = re.compile(
    r"Context information|The original|You are an expert|Some choices|Given a|Given the|Current state|<current_"
)
"""How all of them begin, and the conversation below: one look for all the texts that come without."""

# agent/utils.py, messages_to_xml_format
CONVERSATION = re.compile(r"<current_conversation>.*</current_conversation>", re.DOTALL)
USER_MESSAGE = re.compile(r"<user>\s*<message>(.*?)</message>\s*</user>", re.DOTALL)

Prompt = TypeVar("Prompt", bound=BasePromptTemplate)


@dataclass(frozen=True, slots=True)
class Question:
    """What a call asks.

    Attributes:
        text: The user's question, or the whole text where none can be told from it.
        context: Retrieved text that belongs to the question.
        prompt_type: The kind of prompt that the question came in, as core's ``PromptType`` names it, or "custom".
    """

    text: str
    context: str = ""
    prompt_type: str = PromptType.CUSTOM.value


@dataclass(frozen=True, slots=True)
class Wish:
    """What was said outright about calls in a block of code.

    Attributes:
        question: The text that is judged in place of what the calls hold.
        context: Retrieved text that belongs to it.
        knob: The knob that holds in place of the model's own.
        conversation: What the conversation is known by.
        prompt_type: The kind of prompt that the calls are made for, where they do not show it any more.
    """

    question: str | None = None
    context: str = ""
    knob: Knob | None = None
    conversation: Hashable | None = None
    prompt_type: str | None = None

    def __post_init__(self) -> None:
        """Refuse a conversation that no table can hold."""
        try:
            hash(self.conversation)
        except TypeError:
            # no TypeError: synthesizers swallow those
            found = type(self.conversation).__name__
            raise HybridError(
                f"a conversation is known by a text, a number or a tuple of them, got a {found}"
            ) from None

    def upon(self, found: Question) -> Question:
        """What is judged: the text that was said, else the one that was found in the call."""
        prompt_type = self.prompt_type or found.prompt_type
        if self.question is None:
            return found if prompt_type == found.prompt_type else replace(found, prompt_type=prompt_type)
        return Question(self.question, self.context, prompt_type)


NO_WISH = Wish()

_wish: ContextVar[Wish] = ContextVar("hybrid_wish", default=NO_WISH)


def wish() -> Wish:
    """What holds here and now."""
    return _wish.get()


@contextmanager
def wishing(said: Wish) -> Iterator[None]:
    """Let a wish hold in a block of code."""
    token = _wish.set(said)
    try:
        yield
    finally:
        _wish.reset(token)


@contextmanager
def query(text: str | None = None, *, conversation: Hashable | None = None, **knob: object) -> Iterator[None]:
    """Say what is judged, how strictly, and in which conversation, for code that offers no place to say it.

    A query engine takes no keywords for its model, and an agent hands over messages only. Blocks nest; what the inner
    one leaves open the outer one decides. A call's own keywords are stronger. A stream that is started by reading it,
    such as a streaming query engine's, has to be read inside the block.

    Args:
        text: The text to judge in every call in the block.
        conversation: What the conversation is known by, for a router with ``stickiness``.
        knob: At most one of quality, max_drop, large_share, threshold, route; a confidence beside either of the first
            two.

    Raises:
        KnobError: Two knobs, an unknown one, or a value that does not fit.
        HybridError: The conversation is known by something that cannot be remembered.
    """
    outer = _wish.get()
    asked = outer if text is None else Wish(text)
    known_by = outer.conversation if conversation is None else conversation
    with wishing(Wish(asked.question, asked.context, knob_from(knob) or outer.knob, known_by)):
        yield


def question_of_messages(messages: Sequence[ChatMessage]) -> Question:
    """The user's question in a conversation: in an agent's tool loop, the request that the loop serves."""
    return question_of_text(query_text(to_turns(messages)))


def question_of_prompt(prompt: BasePromptTemplate, prompt_args: Mapping[str, Any]) -> Question:
    """The user's question and the retrieved text in a prompt template that has not been formatted yet.

    Synthesizers bind the question with ``partial_format`` (core, ``response_synthesizers/refine.py``): it lies in the
    template's ``kwargs``, and the call's arguments hold the retrieved text only.

    Args:
        prompt: The template; it is not changed.
        prompt_args: The call's arguments for it.

    Returns:
        The question, which is the whole formatted text where no variable holds it.
    """
    variables = {**prompt.kwargs, **prompt_args}
    context = next((text for name in CONTEXT_VARIABLES if isinstance(text := variables.get(name), str)), "")
    for name in QUESTION_VARIABLES:
        text = variables.get(name)
        if isinstance(text, str) and text.strip():
            return Question(question_of_text(text).text, context, _prompt_type(prompt))
    # an output parser would add its schema to the text that is judged
    plain = own_copy(prompt)
    plain.output_parser = None
    found = question_of_messages(plain.format_messages(**prompt_args))
    said = _prompt_type(prompt)
    return Question(found.text, context, found.prompt_type if said == PromptType.CUSTOM.value else said)


def question_of_text(text: str) -> Question:
    """The question in a text without the template that core has put around it; the text itself if there is none."""
    text = text.strip()
    if not WRAPPED.match(text):
        return Question(text)
    if CONVERSATION.match(text):
        said = USER_MESSAGE.findall(text)
        text = re.sub(r"</message>\s*<message>", "\n\n", said[-1]).strip() if said else text
    for prompt_type, wrapper in WRAPPERS:
        if match := wrapper.match(text):
            return Question(match[1].strip(), prompt_type=prompt_type)
    return Question(text)


def _prompt_type(prompt: BasePromptTemplate) -> str:
    said = prompt.metadata.get("prompt_type", PromptType.CUSTOM)
    if said == PromptType.CUSTOM and isinstance(prompt, PromptTemplate):
        # the wrappers know a template by its words, whatever stands in the place of its variables
        return question_of_text(prompt.template).prompt_type
    return str(getattr(said, "value", said))


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
