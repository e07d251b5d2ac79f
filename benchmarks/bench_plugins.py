"""What routing costs beyond the score, with models that answer at once.

    python -m benchmarks.bench_plugins

Every variant is called in turn in the same loop, so that a noisy machine hits all alike; the median of each is compared
with that of the small model called directly. The router's decision alone is one of the variants, and is taken off.
Limits: LangChain
150 µs a call (invoke, ainvoke, stream), LlamaIndex 100 µs for chat and 20 µs a streamed chunk.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping

from langchain.chat_models import init_chat_model
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage

from langchain_hybrid import HybridChatModel
from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router import Router

ROUNDS = 400
CHUNKS = 50
SCORE = "the decision alone"
QUESTION = "A train leaves at 9:40 and needs 2 hours and 35 minutes; when does it arrive, and is that before noon?"


def medians(variants: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median microseconds of each variant, all called in turn."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, call in variants.items():
            start = time.perf_counter()
            call()
            samples[name].append((time.perf_counter() - start) * 1e6)
    # the first fifth warms caches
    return {name: statistics.median(values[ROUNDS // 5 :]) for name, values in samples.items()}


async def amedians(variants: Mapping[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """The same for coroutines."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, call in variants.items():
            start = time.perf_counter()
            await call()
            samples[name].append((time.perf_counter() - start) * 1e6)
    return {name: statistics.median(values[ROUNDS // 5 :]) for name, values in samples.items()}


def report(title: str, found: Mapping[str, float]) -> None:
    """One line a variant; "beyond the score" is what the hybrid models are held to."""
    print(f"\n{title}")
    for name, value in found.items():
        extra = value - found["direct"]
        beyond = f"   beyond the score {extra - found[SCORE]:>6.0f}" if name == "hybrid" else ""
        print(f"  {name:<30} {value:>8.0f} µs" + (f"   extra {extra:>6.0f}{beyond}" if name != SCORE else ""))


def langchain_overhead() -> None:
    """HybridChatModel beside RunnableWithFallbacks and init_chat_model's configurable model."""
    inner = FakeListChatModel(responses=["yes"])
    models = {
        "direct": inner,
        "hybrid": HybridChatModel(small=inner, large=inner),
        "hybrid, route forced": HybridChatModel(small=inner, large=inner, route="small"),
        "RunnableWithFallbacks": inner.with_fallbacks([inner]),
        "init_chat_model, configurable": _configurable(inner),
    }
    prompt = [HumanMessage(QUESTION)]
    route = Router.default().route

    async def score() -> object:
        return route(QUESTION)

    invoke = {name: (lambda model=model: model.invoke(prompt)) for name, model in models.items()}
    report("LangChain invoke", medians({SCORE: lambda: route(QUESTION), **invoke}))
    ainvoke = {name: (lambda model=model: model.ainvoke(prompt)) for name, model in models.items()}
    report("LangChain ainvoke", asyncio.run(amedians({SCORE: score, **ainvoke})))
    stream = {name: (lambda model=model: list(model.stream(prompt))) for name, model in models.items()}
    report("LangChain stream", medians({SCORE: lambda: route(QUESTION), **stream}))


def _configurable(inner: FakeListChatModel) -> object:
    model = init_chat_model(configurable_fields=("model",))
    # the configurable model builds its inner model at every call; ours is ready, as it would be from a cache
    object.__setattr__(model, "_model", lambda config=None: inner)
    return model


def llamaindex_overhead() -> None:
    """HybridLLM over a scripted model."""
    inner = ScriptedLLM(replies=[" ".join(["word"] * CHUNKS)])
    models = {
        "direct": inner,
        "hybrid": HybridLLM(small=inner, large=inner),
        "hybrid, route forced": HybridLLM(small=inner, large=inner, route="small"),
    }
    messages = [ChatMessage(role="user", content=QUESTION)]
    route = Router.default().route
    chat = {name: (lambda model=model: model.chat(messages)) for name, model in models.items()}
    report("LlamaIndex chat", medians({SCORE: lambda: route(QUESTION), **chat}))
    stream = {name: (lambda model=model: list(model.stream_chat(messages))) for name, model in models.items()}
    streamed = medians({SCORE: lambda: route(QUESTION), **stream})
    report(f"LlamaIndex stream_chat, {CHUNKS} chunks", streamed)
    a_chunk = (streamed["hybrid, route forced"] - streamed["direct"]) / CHUNKS
    print(f"  a chunk: {a_chunk:.1f} µs, the call's own share included")


def main() -> None:
    """Print all tables."""
    warnings.simplefilter("ignore")
    langchain_overhead()
    llamaindex_overhead()


if __name__ == "__main__":
    main()
