"""A chat model that answers nothing itself: every entry point of a chat model, over models that are chosen per call.

A subclass says how a call is read, who is to answer it, and who is asked where that one fails; what is here does the
rest the same way for all entry points: open a run, have the call admitted, ask the chosen model once through its public
method, stamp the response. Sync and async differ by ``await`` only.

The public entry points are overridden, not the hooks below them: those never see the call's config, and a model called
from there has no place in the trace (``langchain_core/language_models/chat_models.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing
from typing import Any, Literal, TypeVar, cast

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    CallbackManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from langchain_hybrid.attempts import (
    aevented,
    agenerated,
    ainvoked,
    astreamed,
    evented,
    generated,
    invoked,
    streamed,
)
from langchain_hybrid.callbacks import AsyncRun, OpenRun, RunStart, SyncRun, aopen_run, child_of, open_run
from langchain_hybrid.plan import Attempt
from langchain_hybrid.relay import arelayed, relayed
from langchain_hybrid.results import chat_result, combined_result, generate_configs, generation_chunk

__all__ = ["DelegatingChatModel", "with_stop"]

Value = TypeVar("Value")


class DelegatingChatModel(BaseChatModel):
    """The entry points. A call is whatever the subclass's ``_call`` makes of it."""

    # ── what a subclass says ──

    def _call(self, model_input: Any, config: RunnableConfig | None, kwargs: Mapping[str, Any]) -> Any:
        """The call, read once; a call that was read before comes back as it is."""
        raise NotImplementedError

    def _start(self, call: Any) -> RunStart:
        """How the call's run begins."""
        raise NotImplementedError

    def _decided(self, calls: Sequence[Any]) -> list[Any]:
        """The calls with what the router says of them, all texts judged in one pass."""
        raise NotImplementedError

    async def _adecided(self, calls: Sequence[Any]) -> list[Any]:
        raise NotImplementedError

    def _admitted(self, call: Any) -> AbstractContextManager[Attempt]:
        """The model that answers a decided call; held for as long as the block lasts."""
        raise NotImplementedError

    def _aadmitted(self, call: Any) -> AbstractAsyncContextManager[Attempt]:
        raise NotImplementedError

    def _again(self, call: Any, run: OpenRun[Any], error: Exception) -> Any | None:
        """The call for another model after the chosen one failed; None where its error is the answer."""
        raise NotImplementedError

    # ── invoke, stream ──

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer.

        Args:
            input: The prompt.
            config: LangChain's config; ``configurable`` may hold a setting of the router.
            stop: Where the answer ends.
            **kwargs: A setting of the router, and anything that the chosen model takes.

        Returns:
            The chosen model's answer with the decision in ``response_metadata["hybrid"]``.
        """
        call = self._call(input, config, with_stop(kwargs, stop))
        with open_run(self._start(call)) as run:
            return cast("AIMessage", self._answer(call, run, invoked))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer; see ``invoke``."""
        call = self._call(input, config, with_stop(kwargs, stop))
        async with aopen_run(self._start(call)) as run:
            return cast("AIMessage", await self._aanswer(call, run, ainvoked))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Answer in parts; the first carries the decision. See ``invoke``."""
        call = self._call(input, config, with_stop(kwargs, stop))
        with open_run(self._start(call)) as run, closing(self._parts(call, run, streamed)) as chunks:
            yield from chunks

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer in parts; the first carries the decision. See ``invoke``."""
        call = self._call(input, config, with_stop(kwargs, stop))
        async with aopen_run(self._start(call)) as run, aclosing(self._aparts(call, run, astreamed)) as chunks:
            async for chunk in chunks:
                yield chunk

    # ── one attempt, and a second one where the first has failed silently ──

    def _answer(self, call: Any, run: SyncRun, attempt: Callable[[Attempt, SyncRun], Value]) -> Value:
        (call,) = self._decided([call])
        try:
            with self._admitted(call) as one:
                return attempt(one, run)
        except Exception as error:
            if (second := self._again(call, run, error)) is None:
                raise
            with self._admitted(second) as one:
                return attempt(one, run)

    async def _aanswer(
        self, call: Any, run: AsyncRun, attempt: Callable[[Attempt, AsyncRun], Awaitable[Value]]
    ) -> Value:
        (call,) = await self._adecided([call])
        try:
            async with self._aadmitted(call) as one:
                return await attempt(one, run)
        except Exception as error:
            if (second := self._again(call, run, error)) is None:
                raise
            async with self._aadmitted(second) as one:
                return await attempt(one, run)

    def _parts(
        self, call: Any, run: SyncRun, attempt: Callable[[Attempt, SyncRun], Iterator[Value]]
    ) -> Generator[Value, None, None]:
        (call,) = self._decided([call])
        try:
            with self._admitted(call) as one, closing(cast("Any", attempt(one, run))) as parts:
                for part in parts:
                    yield part
        except Exception as error:
            if (second := self._again(call, run, error)) is None:
                raise
            with self._admitted(second) as one, closing(cast("Any", attempt(one, run))) as parts:
                for part in parts:
                    yield part

    async def _aparts(
        self, call: Any, run: AsyncRun, attempt: Callable[[Attempt, AsyncRun], AsyncIterator[Value]]
    ) -> AsyncGenerator[Value, None]:
        (call,) = await self._adecided([call])
        try:
            async with self._aadmitted(call) as one, aclosing(cast("Any", attempt(one, run))) as parts:
                async for part in parts:
                    yield part
        except Exception as error:
            if (second := self._again(call, run, error)) is None:
                raise
            async with self._aadmitted(second) as one, aclosing(cast("Any", attempt(one, run))) as parts:
                async for part in parts:
                    yield part

    # ── events; versions 1 and 2 are core's, over ``astream`` ──

    def stream_events(  # one signature for what core splits into overloads
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer as a stream of events; with ``version="v3"`` a ``ChatModelStream``. See ``BaseChatModel``."""
        if version != "v3":
            return super().stream_events(input, config, version=version, stop=stop, **kwargs)
        return relayed(self._events(self._call(input, config, with_stop(kwargs, stop))))

    def astream_events(  # one signature for what core splits into overloads
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer as a stream of events; with ``version="v3"`` await an ``AsyncChatModelStream``."""
        if version != "v3":
            return super().astream_events(input, config, version=version, stop=stop, **kwargs)
        return self._astream_v3(input, config, with_stop(kwargs, stop))

    async def _astream_v3(self, model_input: Any, config: RunnableConfig | None, kwargs: Mapping[str, Any]) -> Any:
        return arelayed(self._aevents(self._call(model_input, config, kwargs)))

    def _events(self, call: Any) -> Iterator[Mapping[str, Any]]:
        with open_run(self._start(call)) as run, closing(self._parts(call, run, evented)) as events:
            yield from events

    async def _aevents(self, call: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with aopen_run(self._start(call)) as run, aclosing(self._aparts(call, run, aevented)) as events:
            async for event in events:
                yield event

    # ── batches: all texts judged in one pass, then core's batch over the calls ──

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many prompts; all are judged in one pass. See ``Runnable.batch``."""
        configs = get_config_list(config, len(inputs))
        decided = self._batch(inputs, configs, kwargs)
        return super().batch(decided, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many prompts; all are judged in one pass. See ``Runnable.abatch``."""
        configs = get_config_list(config, len(inputs))
        decided = await self._abatch(inputs, configs, kwargs)
        return await super().abatch(decided, configs, return_exceptions=return_exceptions, **kwargs)

    def batch_as_completed(  # type: ignore[override]  # one signature for what core splits into overloads
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, AIMessage | Exception]]:
        """Answer many prompts, each handed out when it is done. See ``Runnable.batch_as_completed``."""
        configs = get_config_list(config, len(inputs))
        decided = self._batch(inputs, configs, kwargs)
        yield from super().batch_as_completed(decided, configs, return_exceptions=return_exceptions, **kwargs)  # type: ignore[call-overload]

    async def abatch_as_completed(  # type: ignore[override]  # one signature for what core splits into overloads
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, AIMessage | Exception]]:
        """Answer many prompts, each handed out when it is done. See ``Runnable.abatch_as_completed``."""
        configs = get_config_list(config, len(inputs))
        decided = await self._abatch(inputs, configs, kwargs)
        parts = super().abatch_as_completed(decided, configs, return_exceptions=return_exceptions, **kwargs)  # type: ignore[call-overload]
        async with aclosing(parts):
            async for part in parts:
                yield part

    def _batch(self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], kwargs: Mapping[str, Any]) -> list[Any]:
        """The calls, decided; as they came where one of them is wrong, which then fails by itself."""
        try:
            return self._decided([self._call(one, config, kwargs) for one, config in zip(inputs, configs, strict=True)])
        except Exception:  # whatever is wrong with one prompt is raised again by that one call
            return list(inputs)

    async def _abatch(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], kwargs: Mapping[str, Any]
    ) -> list[Any]:
        try:
            calls = [self._call(one, config, kwargs) for one, config in zip(inputs, configs, strict=True)]
            return await self._adecided(calls)
        except Exception:  # whatever is wrong with one prompt is raised again by that one call
            return list(inputs)

    # ── generate: one run a prompt, all texts judged in one pass ──

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer many prompts, one after the other; every generation carries its decision. See ``BaseChatModel``."""
        configs = generate_configs(len(messages), callbacks, tags, metadata, run_name, run_id)
        kwargs = with_stop(kwargs, stop)
        calls = [self._call(prompt, config, kwargs) for prompt, config in zip(messages, configs, strict=True)]
        return combined_result([self._generate_one(call) for call in self._decided(calls)])

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer many prompts, all at once; every generation carries its decision. See ``BaseChatModel``."""
        configs = generate_configs(len(messages), callbacks, tags, metadata, run_name, run_id)
        kwargs = with_stop(kwargs, stop)
        calls = [self._call(prompt, config, kwargs) for prompt, config in zip(messages, configs, strict=True)]
        decided = await self._adecided(calls)
        # all are awaited before the first error is raised, as core does, so that no run is left open behind it
        results = await asyncio.gather(*(self._agenerate_one(call) for call in decided), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return combined_result(cast("list[tuple[BaseChatModel, LLMResult]]", results))

    def _generate_one(self, call: Any) -> tuple[BaseChatModel, LLMResult]:
        with open_run(self._start(call)) as run:
            return self._answer(call, run, generated)

    async def _agenerate_one(self, call: Any) -> tuple[BaseChatModel, LLMResult]:
        async with aopen_run(self._start(call)) as run:
            return await self._aanswer(call, run, agenerated)

    # ── the hooks below the public methods, for wrappers that call them: the same road, one storey down ──

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        result = self.generate([messages], stop=stop, callbacks=child_of(CallbackManager, run_manager), **kwargs)
        return chat_result(result)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        callbacks = child_of(AsyncCallbackManager, run_manager)
        result = await self.agenerate([messages], stop=stop, callbacks=callbacks, **kwargs)
        return chat_result(result)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        config: RunnableConfig = {"callbacks": child_of(CallbackManager, run_manager)}
        with closing(cast("Any", self.stream(messages, config, stop=stop, **kwargs))) as chunks:
            for chunk in chunks:
                yield generation_chunk(chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        config: RunnableConfig = {"callbacks": child_of(AsyncCallbackManager, run_manager)}
        async with aclosing(cast("Any", self.astream(messages, config, stop=stop, **kwargs))) as chunks:
            async for chunk in chunks:
                yield generation_chunk(chunk)


def with_stop(kwargs: Mapping[str, Any], stop: list[str] | None) -> dict[str, Any]:
    """A call's keyword arguments, with the signs to stop at if there are any.

    Args:
        kwargs: The others.
        stop: Where to stop; None for nowhere.
    """
    # only if given: a chain that parses an answer does not take it
    return {**kwargs, **({"stop": stop} if stop is not None else {})}
