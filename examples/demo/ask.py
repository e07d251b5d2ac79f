"""Question → answer with its routing decision, through LangChain or through LlamaIndex."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from llama_index.core.llms import LLM, ChatMessage

from shared_router.records import Target

__all__ = ["Answer", "Ask", "answers", "through_langchain", "through_llamaindex"]

INSTRUCTION = "You are a helpful assistant. Answer briefly."


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered question.

    Attributes:
        question: What was asked.
        framework: "LangChain" or "LlamaIndex".
        text: What the model said.
        target: Which of the two models answered.
        model: Its name.
        difficulty: Of the question, in [0, 1]; None where a guard decided before anything was scored.
        threshold: From which difficulty on the large model is asked; None as above.
        seconds: From question to answer, routing included.
        tokens: How many the model generated; 0 where it does not say.
    """

    question: str
    framework: str
    text: str
    target: Target
    model: str
    difficulty: float | None
    threshold: float | None
    seconds: float
    tokens: int

    @property
    def first_line(self) -> str:
        """The first line of the answer that says something."""
        lines = (line.strip() for line in self.text.splitlines())
        return next((line for line in lines if line and not line.startswith("```")), "(no answer)")


Ask: TypeAlias = Callable[[str], Answer]
"""Answers one question."""


def through_langchain(model: BaseChatModel) -> Ask:
    """Ask through a LangChain chain.

    Args:
        model: A ``HybridChatModel``.
    """
    prompt = ChatPromptTemplate.from_messages([("system", INSTRUCTION), ("human", "{question}")])
    # the parser gives the text; the decision lies on the message, which is passed along beside it
    chain = prompt | model | {"text": StrOutputParser(), "message": RunnablePassthrough()}

    def ask(question: str) -> Answer:
        start = time.perf_counter()
        out = chain.invoke({"question": question})
        seconds = time.perf_counter() - start
        message = out["message"]
        tokens = (message.usage_metadata or {}).get("output_tokens", 0)
        return _answer(question, "LangChain", out["text"], message.response_metadata["hybrid"], seconds, tokens)

    return ask


def through_llamaindex(llm: LLM) -> Ask:
    """Ask through a LlamaIndex LLM.

    Args:
        llm: A ``HybridLLM``.
    """

    def ask(question: str) -> Answer:
        start = time.perf_counter()
        response = llm.chat(
            [ChatMessage(role="system", content=INSTRUCTION), ChatMessage(role="user", content=question)]
        )
        seconds = time.perf_counter() - start
        extra = response.additional_kwargs
        tokens = extra.get("completion_tokens", 0)
        return _answer(question, "LlamaIndex", response.message.content or "", extra["hybrid"], seconds, tokens)

    return ask


def answers(questions: Sequence[str], ways: Sequence[Ask]) -> Iterator[Answer]:
    """Ask the questions one after the other, taking turns between the ways of asking.

    Args:
        questions: The questions.
        ways: Ways of asking; the first question goes the first way.

    Yields:
        Each answer as soon as it is there.
    """
    for question, ask in zip(questions, itertools.cycle(ways), strict=False):
        yield ask(question)


def _answer(
    question: str, framework: str, text: str, decision: Mapping[str, Any], seconds: float, tokens: int
) -> Answer:
    return Answer(
        question=question,
        framework=framework,
        text=text,
        target=decision["target"],
        model=decision["model"],
        difficulty=decision["difficulty"],
        threshold=decision["threshold"],
        seconds=seconds,
        tokens=tokens,
    )
