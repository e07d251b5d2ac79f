"""Tokens are counted once, and the users' managers reach the models, in whatever order things are built."""

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.response_synthesizers import get_response_synthesizer

from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.testing import table_router


def counter() -> TokenCountingHandler:
    return TokenCountingHandler(tokenizer=str.split)


def router(**settings: Any) -> HybridLLM:
    return HybridLLM(small=ScriptedLLM(), large=ScriptedLLM(), router=table_router(), **settings)


def manager_last(handler: TokenCountingHandler) -> HybridLLM:
    llm = router()
    Settings.llm = llm
    Settings.callback_manager = CallbackManager([handler])
    return Settings.llm  # type: ignore[return-value]


def manager_first(handler: TokenCountingHandler) -> HybridLLM:
    Settings.callback_manager = CallbackManager([handler])
    # managers that are built now share the handlers' list
    llm = router()
    Settings.llm = llm
    return Settings.llm  # type: ignore[return-value]


def at_construction(handler: TokenCountingHandler) -> HybridLLM:
    return router(callback_manager=CallbackManager([handler]))


def assigned(handler: TokenCountingHandler) -> HybridLLM:
    llm = router()
    llm.callback_manager = CallbackManager([handler])
    return llm


def on_the_models(handler: TokenCountingHandler) -> HybridLLM:
    llm = router()
    llm.small.callback_manager = llm.large.callback_manager = CallbackManager([handler])
    # what resolve_llm does with any LLM
    llm.callback_manager = llm.callback_manager
    return llm


ORDERS = [manager_last, manager_first, at_construction, assigned, on_the_models]


@pytest.mark.parametrize("build", ORDERS)
@pytest.mark.parametrize("target", ["small", "large"])
async def test_tokens_are_counted_once(build: Callable[[TokenCountingHandler], HybridLLM], target: str) -> None:
    handler = counter()
    llm = build(handler)
    messages = [ChatMessage(content="one two")]
    llm.chat(messages, route=target)
    list(llm.stream_chat(messages, route=target))
    await llm.achat(messages, route=target)
    async for _ in await llm.astream_chat(messages, route=target):
        pass
    llm.complete("one two", route=target)
    assert [event.total_token_count for event in handler.llm_token_counts] == [10] * 5


async def test_a_failed_attempt_costs_no_tokens() -> None:
    handler = counter()
    llm = router(callback_manager=CallbackManager([handler]), fallback="large", quality=0.0)
    llm.small.replies = [OSError("away")]
    messages = [ChatMessage(content="one two")]
    llm.chat(messages)
    list(llm.stream_chat(messages))
    await llm.achat(messages)
    assert sum(event.total_token_count for event in handler.llm_token_counts) == 30


@pytest.mark.parametrize("build", ORDERS)
def test_a_structured_router_counts_once_too(build: Callable[[TokenCountingHandler], HybridLLM], answer: Any) -> None:
    handler = counter()
    structured = build(handler).as_structured_llm(answer.cls)
    structured.llm.small.replies = structured.llm.large.replies = [answer.call]
    structured.chat([ChatMessage(content="one two")])
    structured.complete("one two")
    assert len(handler.llm_token_counts) == 2


def test_a_synthesizers_manager_reaches_the_models(answer: Any) -> None:
    llm, manager = router(), CallbackManager([counter()])
    get_response_synthesizer(llm=llm, callback_manager=manager)
    assert llm.small.callback_manager is llm.large.callback_manager is manager
    other = CallbackManager([counter()])
    get_response_synthesizer(llm=llm.as_structured_llm(answer.cls), callback_manager=other)
    assert llm.small.callback_manager is other


def test_the_users_own_managers_are_not_wiped_out() -> None:
    llm, own = router(), CallbackManager([counter()])
    llm.small.callback_manager = own
    llm.callback_manager = llm.callback_manager
    structured = llm.as_structured_llm(ScriptedLLM)
    structured.callback_manager = structured.callback_manager
    assert llm.small.callback_manager is own
