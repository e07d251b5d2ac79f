"""Every way to call a chat model as one table, so that each promise is tested in all of them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_hybrid import HybridChatModel
from langchain_hybrid.testing import RunRecorder, ScriptedChatModel
from shared_router.router import Router
from shared_router.testing import TableDifficulty, linear_curve

Ask = Callable[..., Awaitable[AIMessage]]


def messages_of(prompt: Any) -> list[BaseMessage]:
    return [HumanMessage(prompt)] if isinstance(prompt, str) else list(prompt)


def total(chunks: Iterable[Any]) -> Any:
    whole: Any = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def gathered(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


async def once(prompt: Any) -> AsyncIterator[Any]:
    yield prompt


def of_generate(config: Any) -> dict[str, Any]:
    return {name: value for name, value in (config or {}).items() if name != "configurable"}


async def invoke(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return model.invoke(prompt, config, **kwargs)


async def ainvoke(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return await model.ainvoke(prompt, config, **kwargs)


async def stream(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return total(model.stream(prompt, config, **kwargs))


async def astream(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return total(await gathered(model.astream(prompt, config, **kwargs)))


async def batch(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return model.batch([prompt], config, **kwargs)[0]


async def abatch(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return (await model.abatch([prompt], config, **kwargs))[0]


async def batch_as_completed(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return next(iter(model.batch_as_completed([prompt], config, **kwargs)))[1]


async def abatch_as_completed(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return (await gathered(model.abatch_as_completed([prompt], config, **kwargs)))[0][1]


async def transform(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return total(model.transform(iter([prompt]), config, **kwargs))


async def atransform(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return total(await gathered(model.atransform(once(prompt), config, **kwargs)))


async def generate(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return model.generate([messages_of(prompt)], **of_generate(config), **kwargs).generations[0][0].message


async def agenerate(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    result = await model.agenerate([messages_of(prompt)], **of_generate(config), **kwargs)
    return result.generations[0][0].message


async def astream_events_v1(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    # core marks v1 as deprecated
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        events = await gathered(model.astream_events(prompt, config, version="v1", **kwargs))
    return output_of(events)


async def astream_events_v2(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    return output_of(await gathered(model.astream_events(prompt, config, version="v2", **kwargs)))


def output_of(events: list[Any]) -> Any:
    output = [event for event in events if event["event"] == "on_chain_end"][-1]["data"]["output"]
    # v1 reports what the root has streamed, v2 the outputs of its run
    return output["output"] if isinstance(output, dict) and set(output) == {"output", "hybrid"} else output


async def stream_events_v3(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # core marks v3 as beta
        stream = model.stream_events(prompt, config, version="v3", **kwargs)
        return stream.output


async def astream_events_v3(model: Any, prompt: Any, config: Any = None, /, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # core marks v3 as beta
        stream = await model.astream_events(prompt, config, version="v3", **kwargs)
        try:
            return await stream
        finally:
            await asyncio.sleep(0.001)  # core tells readers of an error before it closes the run


MODES: dict[str, Ask] = {
    ask.__name__: ask
    for ask in (
        invoke,
        ainvoke,
        stream,
        astream,
        batch,
        abatch,
        batch_as_completed,
        abatch_as_completed,
        transform,
        atransform,
        generate,
        agenerate,
        astream_events_v1,
        astream_events_v2,
        stream_events_v3,
        astream_events_v3,
    )
}
WITHOUT_CONFIG = ("generate", "agenerate")
WITHOUT_SCHEMA = (*WITHOUT_CONFIG, "stream_events_v3", "astream_events_v3")
STREAMING = ("stream", "astream", "transform", "atransform", "stream_events_v3", "astream_events_v3")


@pytest.fixture(params=MODES)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Every way to call a model."""
    return MODES[request.param]


@pytest.fixture(params=[name for name in MODES if name not in WITHOUT_CONFIG])
def ask_with_config(request: pytest.FixtureRequest) -> Ask:
    """Every way that takes a config."""
    return MODES[request.param]


@pytest.fixture(params=[name for name in MODES if name not in WITHOUT_SCHEMA])
def ask_for_object(request: pytest.FixtureRequest) -> Ask:
    """Every way that can return a parsed object."""
    return MODES[request.param]


@dataclass
class Pair:
    """Two scripted models, a router that knows a few texts, and a handler that records every run."""

    small: ScriptedChatModel = field(default_factory=lambda: ScriptedChatModel(model="tiny-1", provider="acme"))
    large: ScriptedChatModel = field(default_factory=lambda: ScriptedChatModel(model="grand-1", provider="apex"))
    difficulty: TableDifficulty = field(default_factory=lambda: TableDifficulty({"easy": 0.05, "hard": 0.95}))
    recorder: RunRecorder = field(default_factory=RunRecorder)

    @property
    def router(self) -> Router:
        return Router(self.difficulty, curve=linear_curve(), router_id="table")

    def model(self, **settings: Any) -> HybridChatModel:
        return HybridChatModel(
            **{"small": self.small, "large": self.large, "router": self.router, "quality": 0.5, **settings}
        )

    @property
    def called(self) -> list[str]:
        return ["small"] * len(self.small.calls) + ["large"] * len(self.large.calls)


@pytest.fixture
def pair() -> Pair:
    return Pair()
