"""A cascade: the small model is asked first, and where its answer does not stand, the large one.

What is known before it is decided stays here: of a stream no chunk is handed out, and it is decided before the stream
is. Sync and async differ by await only. What to do is worked out in ``Asking``, which asks nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, cast

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.rate_limiter import BaseRateLimiter

from llamaindex_hybrid.calls import Plan, Request
from llamaindex_hybrid.events import announce
from llamaindex_hybrid.evidence import Heard, answer_text, is_unparsed, listening, tokens_of, unused_usage, usable
from shared_router.cascade import Cascade, CascadeDecider
from shared_router.deciding import Fallback, RoutingRequest, may_fall_back
from shared_router.decision import RoutingDecision
from shared_router.query import query_text
from shared_router.uncertainty import Evidence, agreement

__all__ = ["Asking", "acascaded", "acascaded_stream", "cascaded", "cascaded_stream"]

Finish: TypeAlias = Callable[[Any, Plan], Any]

UNUSED = "unused_usage"
"""Where the record says how many tokens went into answers that were not handed out."""

END = object()

TEXT_STREAMS = frozenset({"stream_chat", "astream_chat", "stream_complete", "astream_complete", "stream", "astream"})
"""Streams of plain text, of which the first token can tell all."""


@dataclass(slots=True)
class Try:
    """One answer of the small model.

    Attributes:
        heard: What it said.
        response: What its method returned; of a stream the last chunk.
        chunks: The chunks of its stream that were read.
        rest: The stream, where it was decided before its end.
        error: What it raised.
    """

    heard: Heard = field(default_factory=Heard)
    response: Any = None
    chunks: list[Any] = field(default_factory=list)
    rest: Any = None
    error: Exception | None = None

    @property
    def said(self) -> Any:
        """The model's response, whatever its method made of that."""
        return self.response if self.heard.last is None else self.heard.last


@dataclass(frozen=True, slots=True)
class Asking:
    """One call of a cascade.

    Attributes:
        method: The method that is called.
        request: The call.
        first: The call for the small model.
        decider: Decides about its answer.
        asked: The call, as the decider sees it.
        plan: Decision → the call for the model that it names.
        load: Reads up on the large model, where that takes I/O.
        fallback: What the user allows where the large model fails.
    """

    method: str
    request: Request
    first: Plan
    decider: CascadeDecider
    asked: RoutingRequest
    plan: Callable[[RoutingDecision], Plan]
    load: Callable[[], Awaitable[Any]]
    fallback: Fallback | None

    @property
    def cascade(self) -> Cascade:
        """How answers are judged."""
        return self.decider.cascade

    @property
    def decides_early(self) -> bool:
        """Whether the first tokens tell all; whether a tool call or an object is a right one, they do not."""
        return self.cascade.decides_early and self.method in TEXT_STREAMS

    def early(self, one: Try) -> Plan | None:
        """What is to be done after the first chunks; None as long as they do not tell enough."""
        tokens = tokens_of(one.heard.chunks)
        if tokens is None and len(one.heard.chunks) < self.cascade.held_tokens:
            return None
        evidence = Evidence(query_text(self.asked.query), tokens=tokens)
        decision = self.decider.after_answer(self.first.decision, evidence, self.asked.conversation)
        # the stream is about to be left
        return self._after(decision, [None])

    def judged(self, tries: Sequence[Try]) -> tuple[Plan, Try | None]:
        """What is to be done after the small model's answers.

        Args:
            tries: At least one.

        Returns:
            A plan for the large model, or, with one for the small model, the answer that stands. Beside a plan for the
            large one, the answer that could stand in for it.
        """
        parsed = [one for one in tries if one.error is None and self._is_usable(one)]
        failures = [one.error for one in tries if one.error is not None]
        said = [one.heard.last for one in tries]
        if not parsed and failures and not is_unparsed(failures[0], self.method):
            return self._after(self.decider.after_failure(self.first.decision, failures[0]), said), None
        texts = [answer_text(one.said) if one in parsed else None for one in tries]
        best = tries[agreement(texts)[0]] if parsed else tries[0]
        evidence = Evidence(
            query=query_text(self.asked.query),
            answer=answer_text(best.said),
            tokens=tokens_of(best.heard.chunks),
            samples=tuple(texts) if len(tries) > 1 else (),
            message=_message(best.said),
            usable=bool(parsed),
        )
        decision = self.decider.after_answer(self.first.decision, evidence, self.asked.conversation)
        if decision.target == "small":
            said = [one.heard.last for one in tries if one is not best]
        return self._after(decision, said), best if parsed else None

    def _is_usable(self, one: Try) -> bool:
        return usable(self.method, one.response, self.first.llm, self.first.args, self.first.kwargs)

    def _after(self, decision: RoutingDecision, unused: Sequence[Any]) -> Plan:
        if decision.target == "large":
            plan = self.plan(decision)
            return replace(plan, record={**plan.record, UNUSED: unused_usage(unused)})
        record = decision.as_metadata(self.first.model)
        if len(decision.asked) > 1:
            record[UNUSED] = unused_usage(unused)
        return replace(self.first, decision=decision, record=record)

    def instead(self, final: Plan, best: Try | None, error: Exception) -> Plan | None:
        """What is to be done after the large model failed; None where its error is the answer."""
        if best is None or not may_fall_back(final.decision, self.fallback):
            return None
        decision = final.decision.after_failure(error)
        return replace(self.first, decision=decision, record=decision.as_metadata(self.first.model))

    def around(self, one: Try) -> AbstractContextManager[Any]:
        """Around everything that the small model does for one answer."""
        stack = ExitStack()
        stack.enter_context(self.first.tagged())
        stack.enter_context(listening(one.heard))
        return stack


def _message(said: Any) -> Any:
    """The answer as a user's own function gets it."""
    if isinstance(said, ChatResponse):
        return said.message
    return said.text if isinstance(said, CompletionResponse) else said


def drawn(asking: Asking, *, stream: bool) -> list[Try]:
    """The small model's answers, all at once.

    Args:
        asking: The call.
        stream: Whether the method returns a stream, which is read to its end.
    """
    tries = [Try() for _ in range(asking.cascade.draws)]
    if len(tries) == 1:
        _draw(asking, tries[0], stream)
        return tries
    with ThreadPoolExecutor(len(tries), thread_name_prefix="hybrid-llm-sample") as pool:
        # one context each: two threads cannot be in the same
        waiting = [pool.submit(contextvars.copy_context().run, _draw, asking, one, stream) for one in tries]
        for one in waiting:
            one.result()
    return tries


def _draw(asking: Asking, one: Try, stream: bool) -> None:
    if stream:
        read(asking, one, early=False)
        return
    try:
        with asking.around(one):
            one.response = asking.first.ask(asking.method)
    except Exception as error:  # what it means is judged with the others
        one.error = error


def read(asking: Asking, one: Try, *, early: bool) -> Plan | None:
    """Read the small model's stream until enough is known.

    Args:
        asking: The call.
        one: Where the chunks are kept.
        early: Whether the first of them may be enough.

    Returns:
        What is to be done, where the first chunks told; None after the whole stream.
    """
    try:
        with asking.around(one):
            one.rest = asking.first.ask(asking.method)
        while (chunk := _next(asking, one)) is not END:
            one.chunks.append(chunk)
            if early and (plan := asking.early(one)) is not None:
                return plan
    except Exception as error:  # what it means is judged with the rest
        one.error = error
    one.response = one.chunks[-1] if one.chunks else None
    return None


def _next(asking: Asking, one: Try) -> Any:
    with asking.around(one):
        return next(one.rest, END)


async def adrawn(asking: Asking, *, stream: bool) -> list[Try]:
    """The small model's answers, all at once; see ``drawn``."""
    tries = [Try() for _ in range(asking.cascade.draws)]
    # a task each, since each has a context of its own
    await asyncio.gather(*(_adraw(asking, one, stream) for one in tries))
    return tries


async def _adraw(asking: Asking, one: Try, stream: bool) -> None:
    if stream:
        await aread(asking, one, early=False)
        return
    try:
        with asking.around(one):
            one.response = await asking.first.aask(asking.method)
    except Exception as error:  # what it means is judged with the others
        one.error = error


async def aread(asking: Asking, one: Try, *, early: bool) -> Plan | None:
    """Read the small model's stream until enough is known; see ``read``."""
    try:
        with asking.around(one):
            one.rest = await asking.first.aask(asking.method)
        while (chunk := await _anext(asking, one)) is not END:
            one.chunks.append(chunk)
            if early and (plan := asking.early(one)) is not None:
                return plan
    except Exception as error:  # what it means is judged with the rest
        one.error = error
    one.response = one.chunks[-1] if one.chunks else None
    return None


async def _anext(asking: Asking, one: Try) -> Any:
    with asking.around(one):
        return await anext(one.rest, END)


def chunks_of(one: Try) -> Generator[Any, None, None]:
    """All chunks of an answer that stands: those that were read, and the rest of its stream."""
    try:
        yield from one.chunks
        # nothing comes after the end of a stream that was read to it
        yield from one.rest
    finally:
        one.rest.close()


async def achunks_of(one: Try) -> AsyncGenerator[Any, None]:
    """All chunks of an answer that stands; see ``chunks_of``."""
    try:
        for chunk in one.chunks:
            yield chunk
        async for chunk in one.rest:
            yield chunk
    finally:
        await one.rest.aclose()


class Host(Protocol):
    """What a cascade needs of the router that it runs in."""

    rate_limiter: BaseRateLimiter | None

    def _admit(self, method: str, plan: Plan) -> None: ...

    async def _aadmit(self, method: str, plan: Plan) -> None: ...

    def _relayed(
        self,
        chunks: Generator[Any, None, None],
        method: str,
        plan: Plan,
        request: Request,
        finish: Finish,
        failure: Exception | None,
    ) -> Generator[Any, None, None]: ...

    def _arelayed(
        self,
        chunks: AsyncGenerator[Any, None],
        method: str,
        plan: Plan,
        request: Request,
        finish: Finish,
        failure: Exception | None,
    ) -> AsyncGenerator[Any, None]: ...


def cascaded(host: Host, asking: Asking, finish: Finish) -> Any:
    """The response of the model that the call is left to.

    Args:
        host: The router.
        asking: The call.
        finish: What our caller gets of a response.
    """
    _admit_small(host, asking)
    final, best = asking.judged(drawn(asking, stream=False))
    if final.decision.target == "large":
        host._admit(asking.method, final)
        try:
            return finish(final.ask(asking.method), final)
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error)) is None:
                raise
            final = again
    announce(asking.method, final)
    return finish(cast("Try", best).response, final)


async def acascaded(host: Host, asking: Asking, finish: Finish) -> Any:
    """The response of the model that the call is left to; see ``cascaded``."""
    await _aadmit_small(host, asking)
    final, best = asking.judged(await adrawn(asking, stream=False))
    if final.decision.target == "large":
        await asking.load()
        await host._aadmit(asking.method, final)
        try:
            return finish(await final.aask(asking.method), final)
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error)) is None:
                raise
            final = again
    announce(asking.method, final)
    return finish(cast("Try", best).response, final)


def cascaded_stream(host: Host, asking: Asking, finish: Finish) -> Generator[Any, None, None]:
    """The stream of the model that the call is left to; see ``cascaded``."""
    _admit_small(host, asking)
    one, final, best = Try(), None, None
    if asking.cascade.draws == 1:
        final, best = read(asking, one, early=asking.decides_early), one
    if final is None:
        tries = [one] if asking.cascade.draws == 1 else drawn(asking, stream=True)
        final, best = asking.judged(tries)
    elif final.decision.target == "large":
        one.rest.close()
        best = None
    if final.decision.target == "large":
        host._admit(asking.method, final)
        try:
            chunks = _begun(final, asking.method)
            return host._relayed(chunks, asking.method, final, asking.request, finish, None)
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error)) is None:
                raise
            final = again
    announce(asking.method, final)
    return host._relayed(chunks_of(cast("Try", best)), asking.method, final, asking.request, finish, None)


async def acascaded_stream(host: Host, asking: Asking, finish: Finish) -> AsyncGenerator[Any, None]:
    """The stream of the model that the call is left to; see ``cascaded``."""
    await _aadmit_small(host, asking)
    one, final, best = Try(), None, None
    if asking.cascade.draws == 1:
        final, best = await aread(asking, one, early=asking.decides_early), one
    if final is None:
        tries = [one] if asking.cascade.draws == 1 else await adrawn(asking, stream=True)
        final, best = asking.judged(tries)
    elif final.decision.target == "large":
        await one.rest.aclose()
        best = None
    if final.decision.target == "large":
        await asking.load()
        await host._aadmit(asking.method, final)
        try:
            chunks = await _abegun(final, asking.method)
            return host._arelayed(chunks, asking.method, final, asking.request, finish, None)
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error)) is None:
                raise
            final = again
    announce(asking.method, final)
    return host._arelayed(achunks_of(cast("Try", best)), asking.method, final, asking.request, finish, None)


def _admit_small(host: Host, asking: Asking) -> None:
    host._admit(asking.method, asking.first)
    for _ in range(asking.cascade.draws - 1):
        if host.rate_limiter is not None:
            host.rate_limiter.acquire()


async def _aadmit_small(host: Host, asking: Asking) -> None:
    await host._aadmit(asking.method, asking.first)
    for _ in range(asking.cascade.draws - 1):
        if host.rate_limiter is not None:
            await host.rate_limiter.async_acquire()


def _begun(plan: Plan, method: str) -> Generator[Any, None, None]:
    """The large model's stream, its first chunk read: what fails at once fails here, where an answer lies ready."""
    chunks = plan.ask(method)
    with plan.tagged():
        first = next(chunks, END)

    def all_chunks() -> Generator[Any, None, None]:
        try:
            if first is not END:
                yield first
                yield from chunks
        finally:
            chunks.close()

    return all_chunks()


async def _abegun(plan: Plan, method: str) -> AsyncGenerator[Any, None]:
    chunks = await plan.aask(method)
    with plan.tagged():
        first = await anext(chunks, END)

    async def all_chunks() -> AsyncGenerator[Any, None]:
        try:
            if first is not END:
                yield first
                async for chunk in chunks:
                    yield chunk
        finally:
            await chunks.aclose()

    return all_chunks()
