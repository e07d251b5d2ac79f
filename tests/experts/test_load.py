"""A small version of benchmarks/expert_load.py: 100 users, both hosts, tasks and threads, with and without spill."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.callbacks import llm_chat_callback

from langchain_hybrid.expert_chat_model import ExpertChatModel
from langchain_hybrid.testing import ScriptedChatModel
from llamaindex_hybrid.expert_llm import ExpertLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.experts.slots import ExpertSlots

NAMES = ("code", "maths", "prose")
USERS, CALLS, SLOTS = 100, 400, 8


def seconds(prompt: str) -> float:
    """A service time, log-normal around 4 ms."""
    return 0.004 * random.Random(prompt).lognormvariate(0.0, 0.5)


def by_word(text: str) -> list[str]:
    """The expert whose name stands in the text, and then the others."""
    return sorted(NAMES, key=lambda name: name not in text)


class TimedChatModel(ScriptedChatModel):
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        time.sleep(seconds(messages[-1].text))
        return self._said(messages)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(seconds(messages[-1].text))
        return self._said(messages)

    def _said(self, messages: list[BaseMessage]) -> ChatResult:
        answer = AIMessage(f"{self.model}: {messages[-1].text}")
        return ChatResult(generations=[ChatGeneration(message=answer)])


class TimedLLM(ScriptedLLM):
    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        time.sleep(seconds(str(messages[-1].content)))
        return self._said(messages)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        await asyncio.sleep(seconds(str(messages[-1].content)))
        return self._said(messages)

    def _said(self, messages: Sequence[ChatMessage]) -> ChatResponse:
        return ChatResponse(message=ChatMessage(role="assistant", content=f"{self.model}: {messages[-1].content}"))


def model_of(host: str, slots: ExpertSlots) -> Any:
    if host == "langchain":
        chat = {name: TimedChatModel(model=name) for name in NAMES}
        return ExpertChatModel(experts=chat, router=by_word, limits=slots)
    return ExpertLLM(experts={name: TimedLLM(model=name) for name in NAMES}, router=by_word, limits=slots)


def ask(host: str, model: Any, text: str) -> tuple[str, str, dict[str, Any]]:
    if host == "langchain":
        message = model.invoke(text)
        return text, message.text, message.response_metadata["hybrid"]
    response = model.chat([ChatMessage(content=text)])
    return text, response.message.content, response.additional_kwargs["hybrid"]


async def aask(host: str, model: Any, text: str) -> tuple[str, str, dict[str, Any]]:
    if host == "langchain":
        message = await model.ainvoke(text)
        return text, message.text, message.response_metadata["hybrid"]
    response = await model.achat([ChatMessage(content=text)])
    return text, response.message.content, response.additional_kwargs["hybrid"]


@pytest.mark.parametrize("spills", [True, False], ids=["spill", "no spill"])
@pytest.mark.parametrize("waiting", ["tasks", "threads", "both"])
@pytest.mark.parametrize("host", ["langchain", "llamaindex"])
async def test_no_answer_is_lost_or_crossed_under_load(host: str, waiting: str, spills: bool) -> None:
    slots = ExpertSlots(SLOTS, queue=None, time_limit=60.0, spill_after=0.002 if spills else None)
    model = model_of(host, slots)
    source = random.Random(0)
    texts = [f"{source.choices(NAMES, (6, 1, 1))[0]} {number}" for number in range(CALLS)]
    questions = iter(texts)  # hands out each once, to whichever thread or task asks
    answers: list[tuple[str, str, dict[str, Any]]] = []

    def user() -> None:
        answers.extend(ask(host, model, text) for text in questions)

    async def auser() -> None:
        for text in questions:
            answers.append(await aask(host, model, text))

    tasks = {"tasks": USERS, "threads": 0, "both": USERS // 2}[waiting]
    with ThreadPoolExecutor(max(USERS - tasks, 1)) as pool:
        loop = asyncio.get_running_loop()
        threads = [loop.run_in_executor(pool, user) for _ in range(USERS - tasks)]
        await asyncio.gather(*threads, *(auser() for _ in range(tasks)))
    assert Counter(text for text, _, _ in answers) == Counter(texts)
    assert all(answer == f"{record['expert']}: {text}" for text, answer, record in answers)
    reasons = Counter(record["reason"] for _, _, record in answers)
    assert (reasons["spill"] > 0) == spills
    assert all(load.in_use == load.waiting == 0 for load in slots.load().values())
