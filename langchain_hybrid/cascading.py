"""A cascade: the small model is asked as a child run, and where its answer does not stand, the large one as a second.

What is known before it is decided stays here: a stream's chunks, and what handlers are told of tokens
(``langchain_hybrid.holding``). Sync and async differ by await only. What to do is worked out in ``Asking``, which asks
nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models._compat_bridge import message_to_events
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult, RunInfo
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_executor_for_config

from langchain_hybrid.annotation import KEY, aannotated_stream, annotated, annotated_stream
from langchain_hybrid.attempts import aevented, agenerated, evented, generated
from langchain_hybrid.callbacks import AsyncRun, OpenRun, SyncRun, child_manager, merged
from langchain_hybrid.evidence import answer_text, is_unparsed, tokens_of, unused_usage, usable
from langchain_hybrid.holding import AnswerWatch, held_back
from langchain_hybrid.plan import Call, Plan
from langchain_hybrid.results import generate_arguments, generation_chunk
from shared_router.cascade import Cascade, CascadeDecider
from shared_router.deciding import Fallback, RoutingRequest, may_fall_back
from shared_router.decision import RoutingDecision
from shared_router.query import query_text
from shared_router.uncertainty import Evidence, agreement

__all__ = ["Asking", "aanswered", "answered", "aparts_of", "parts_of"]

UNUSED = "unused_usage"
"""Where the record says how many tokens went into answers that were not handed out."""


@dataclass(slots=True)
class Try:
    """One answer of the small model.

    Attributes:
        hold: Keeps from handlers what is not decided.
        watch: Hears the message.
        config: What the small model is called with.
        response: What it returned, or the chunks of that together; None where it failed.
        chunks: The chunks of its stream.
        error: What it raised.
    """

    hold: Any
    watch: AnswerWatch
    config: RunnableConfig
    response: Any = None
    chunks: list[Any] = field(default_factory=list)
    error: Exception | None = None

    @property
    def message(self) -> Any:
        """The message that the small model said; the response where nobody heard it."""
        said = self.watch.message
        if said is None and isinstance(self.response, LLMResult):
            return getattr(self.response.generations[0][0], "message", None)
        return self.response if said is None else said


@dataclass(frozen=True, slots=True)
class Asking:
    """One call of a cascade.

    Attributes:
        call: What is asked of the router.
        first: What is to be asked of the small model.
        decider: Decides about its answer.
        request: The call, as the decider sees it.
        plan: Decision → what is to be done.
        fallback: What the user allows where the large model fails.
    """

    call: Call
    first: Plan
    decider: CascadeDecider
    request: RoutingRequest
    plan: Callable[[RoutingDecision], Plan]
    fallback: Fallback | None

    @property
    def cascade(self) -> Cascade:
        """How answers are judged."""
        return self.decider.cascade

    @property
    def decides_early(self) -> bool:
        """Whether the first tokens tell all; whether a tool call or an object is a right one, they do not."""
        return self.cascade.decides_early and self.call.replay is None

    def tried(self, kind: type[CallbackManager | AsyncCallbackManager], run: OpenRun[Any]) -> Try:
        """The small model's next answer before it is asked."""
        manager: Any = child_manager(cast("Any", kind), run.run_id, run.manager, "small", self.first.record)
        watch = AnswerWatch()
        hold = held_back(manager.handlers, is_async=kind is AsyncCallbackManager)
        manager.set_handlers([*hold.tracers, hold, watch])
        return Try(hold, watch, self.first.below(manager))

    def early(self, chunks: Sequence[Any]) -> Evidence | None:
        """What the first chunks of a stream tell; None as long as they do not tell enough."""
        messages = [chunk for chunk in chunks if isinstance(chunk, BaseMessage)]
        tokens = tokens_of(messages)
        if tokens is None and sum(bool(message.text) for message in messages) < self.cascade.held_tokens:
            return None
        return Evidence(query_text(self.request.query), tokens=tokens)

    def by_early(self, evidence: Evidence, one: Try) -> Plan:
        """What is to be done after the first chunks."""
        return self._after(self.decider.after_answer(self.first.decision, evidence, self.request.conversation), [one])

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
        if not parsed and failures and not is_unparsed(failures[0], self.call.replay):
            return self._after(self.decider.after_failure(self.first.decision, failures[0]), tries), None
        texts = [answer_text(one.message) if one in parsed else None for one in tries]
        best = tries[agreement(texts)[0]] if parsed else tries[0]
        evidence = Evidence(
            query=query_text(self.request.query),
            answer=answer_text(best.message),
            tokens=tokens_of([best.message]) if isinstance(best.message, BaseMessage) else None,
            samples=tuple(texts) if len(tries) > 1 else (),
            message=best.message,
            usable=bool(parsed),
        )
        decision = self.decider.after_answer(self.first.decision, evidence, self.request.conversation)
        unused = [one for one in tries if one is not best] if decision.target == "small" else tries
        return self._after(decision, unused), best if parsed else None

    def _is_usable(self, one: Try) -> bool:
        return usable(one.response, one.message, self.call.replay, self.call.kwargs)

    def _after(self, decision: RoutingDecision, unused: Sequence[Try]) -> Plan:
        if decision.target == "large":
            plan = self.plan(decision)
            return replace(plan, record={**plan.record, UNUSED: unused_usage([one.watch.message for one in unused])})
        record = decision.as_metadata(str(self.first.record["model"]))
        if len(decision.asked) > 1:
            record[UNUSED] = unused_usage([one.watch.message for one in unused])
        return replace(self.first, decision=decision, record=record)

    def instead(self, final: Plan, best: Try | None, error: Exception, run: OpenRun[Any]) -> Plan | None:
        """What is to be done after the large model failed; None where its error is the answer."""
        if best is None or not run.is_silent or not may_fall_back(final.decision, self.fallback):
            return None
        decision = final.decision.after_failure(error)
        return replace(self.first, decision=decision, record=decision.as_metadata(str(self.first.record["model"])))


# ── a whole answer ──


def answered(asking: Asking, run: SyncRun, attempt: Callable[[Plan, SyncRun], Any]) -> Any:
    """The answer of the model that it is left to.

    Args:
        asking: The call.
        run: The router's run.
        attempt: How the large model is asked.
    """
    tries = _drawn(asking, run, _generate if attempt is generated else _invoke)
    final, best = _decided(asking, run, tries)
    if final.decision.target == "large":
        try:
            return attempt(final, run)
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error, run)) is None:
                raise
            run.decided("small", again.record)
            final = again
    return _handed_out(cast("Try", best).response, final, run)


async def aanswered(asking: Asking, run: AsyncRun, attempt: Callable[[Plan, AsyncRun], Awaitable[Any]]) -> Any:
    """The answer of the model that it is left to; see ``answered``."""
    tries = await _adrawn(asking, run, _agenerate if attempt is agenerated else _ainvoke)
    final, best = await _adecided(asking, run, tries)
    if final.decision.target == "large":
        try:
            return await attempt(final, run)
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error, run)) is None:
                raise
            await run.decided("small", again.record)
            final = again
    return _handed_out(cast("Try", best).response, final, run)


def _handed_out(response: Any, final: Plan, run: OpenRun[Any]) -> Any:
    marked = annotated(response, final.record)
    if not isinstance(marked, LLMResult):
        run.hand_out(marked)
        return marked
    result = marked.model_copy(update={"run": [RunInfo(run_id=run.run_id)]})
    run.hand_out(result)
    return final.leg, result


def _invoke(plan: Plan, config: RunnableConfig) -> Any:
    return plan.leg.invoke(plan.messages, config, **plan.kwargs)


async def _ainvoke(plan: Plan, config: RunnableConfig) -> Any:
    return await plan.leg.ainvoke(plan.messages, config, **plan.kwargs)


def _generate(plan: Plan, config: RunnableConfig) -> Any:
    return cast("BaseChatModel", plan.leg).generate([plan.messages], **generate_arguments(config), **plan.kwargs)


async def _agenerate(plan: Plan, config: RunnableConfig) -> Any:
    model = cast("BaseChatModel", plan.leg)
    return await model.agenerate([plan.messages], **generate_arguments(config), **plan.kwargs)


def _drawn(asking: Asking, run: SyncRun, ask: Callable[[Plan, RunnableConfig], Any]) -> list[Try]:
    """The small model's answers, all at once."""
    run.decided("small", asking.first.record)
    tries = [asking.tried(CallbackManager, run) for _ in range(asking.cascade.draws)]

    def draw(one: Try) -> None:
        try:
            one.response = ask(asking.first, one.config)
        except Exception as error:  # what it means is judged with the others
            one.error = error

    if len(tries) == 1:
        draw(tries[0])
    else:
        with get_executor_for_config(asking.first.config) as executor:
            list(executor.map(draw, tries))
    return tries


async def _adrawn(asking: Asking, run: AsyncRun, ask: Callable[[Plan, RunnableConfig], Awaitable[Any]]) -> list[Try]:
    await run.decided("small", asking.first.record)
    tries = [asking.tried(AsyncCallbackManager, run) for _ in range(asking.cascade.draws)]

    async def draw(one: Try) -> None:
        try:
            one.response = await ask(asking.first, one.config)
        except Exception as error:  # what it means is judged with the others
            one.error = error

    await asyncio.gather(*map(draw, tries))
    return tries


def _decided(asking: Asking, run: SyncRun, tries: Sequence[Try]) -> tuple[Plan, Try | None]:
    final, best = asking.judged(tries)
    for one in tries:
        one.hold.decide(one is best and final.decision.target == "small")
    # the large model's attempt announces the decision itself
    if final.decision.target == "small":
        run.decided("small", final.record)
    return final, best


async def _adecided(asking: Asking, run: AsyncRun, tries: Sequence[Try]) -> tuple[Plan, Try | None]:
    final, best = asking.judged(tries)
    for one in tries:
        await one.hold.decide(one is best and final.decision.target == "small")
    if final.decision.target == "small":
        await run.decided("small", final.record)
    return final, best


# ── parts: chunks, or events of version 3 ──


def parts_of(asking: Asking, run: SyncRun, attempt: Callable[[Plan, SyncRun], Iterator[Any]]) -> Iterator[Any]:
    """The parts of the answer of the model that it is left to; none before it is decided which.

    Args:
        asking: The call.
        run: The router's run.
        attempt: How the large model is asked.
    """
    as_events = attempt is evented
    if as_events or asking.cascade.draws > 1:
        final, best = _decided(asking, run, _drawn(asking, run, _invoke))
    else:
        run.decided("small", asking.first.record)
        one = asking.tried(CallbackManager, run)
        with closing(cast("Any", _small_chunks(asking, one))) as chunks:
            plan = _early(asking, one, chunks)
            if plan is not None and plan.decision.target == "small":
                one.hold.decide(True)
                run.decided("small", plan.record)
                yield from _chunks(chunks, one, plan, run)
                return
        final, best = (plan, None) if plan is not None else _decided(asking, run, [one])
        if plan is not None:
            one.hold.decide(False)
    if final.decision.target == "large":
        try:
            with closing(cast("Any", attempt(final, run))) as parts:
                yield from parts
            return
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error, run)) is None:
                raise
            run.decided("small", again.record)
            final = again
    yield from _whole(cast("Try", best), final, run, as_events)


def _small_chunks(asking: Asking, one: Try) -> Iterator[Any]:
    plan = asking.first
    with closing(cast("Any", plan.leg.stream(plan.messages, one.config, **plan.kwargs))) as chunks:
        yield from chunks


def _early(asking: Asking, one: Try, chunks: Iterator[Any]) -> Plan | None:
    """Read until the first chunks tell enough, and what is to be done then; None after the whole stream."""
    try:
        for chunk in chunks:
            one.chunks.append(chunk)
            if asking.decides_early and (evidence := asking.early(one.chunks)) is not None:
                return asking.by_early(evidence, one)
    except Exception as error:  # what it means is judged with the rest
        one.error = error
        return None
    one.response = merged(one.chunks)
    return None


def _chunks(chunks: Iterator[Any], one: Try, plan: Plan, run: OpenRun[Any]) -> Iterator[Any]:
    def all_chunks() -> Iterator[Any]:
        yield from one.chunks
        yield from chunks

    for chunk in annotated_stream(all_chunks(), plan.record):
        run.hand_out(chunk)
        yield chunk


def _whole(best: Try, final: Plan, run: OpenRun[Any], as_events: bool) -> Iterator[Any]:
    """A whole answer in parts."""
    if as_events:
        message = annotated(best.message, final.record)
        for event in message_to_events(cast("AIMessage", message)):
            run.has_spoken = True
            yield _with_record(cast("Mapping[str, Any]", event), final)
        run.hand_out(message)
        return
    chunks = best.chunks or [_chunk(best.response)]
    for chunk in annotated_stream(iter(chunks), final.record):
        run.hand_out(chunk)
        yield chunk


def _chunk(response: Any) -> Any:
    return generation_chunk(response).message if isinstance(response, AIMessage) else response


def _with_record(event: Mapping[str, Any], final: Plan) -> Mapping[str, Any]:
    if event.get("event") != "message-finish":
        return event
    return {**event, "metadata": {**(event.get("metadata") or {}), KEY: dict(final.record)}}


async def aparts_of(
    asking: Asking, run: AsyncRun, attempt: Callable[[Plan, AsyncRun], AsyncIterator[Any]]
) -> AsyncIterator[Any]:
    """The parts of the answer of the model that it is left to; see ``parts_of``."""
    as_events = attempt is aevented
    if as_events or asking.cascade.draws > 1:
        final, best = await _adecided(asking, run, await _adrawn(asking, run, _ainvoke))
    else:
        await run.decided("small", asking.first.record)
        one = asking.tried(AsyncCallbackManager, run)
        async with aclosing(cast("Any", _asmall_chunks(asking, one))) as chunks:
            plan = await _aearly(asking, one, chunks)
            if plan is not None and plan.decision.target == "small":
                await one.hold.decide(True)
                await run.decided("small", plan.record)
                async with aclosing(cast("Any", _achunks(chunks, one, plan, run))) as rest:
                    async for chunk in rest:
                        yield chunk
                return
        final, best = (plan, None) if plan is not None else await _adecided(asking, run, [one])
        if plan is not None:
            await one.hold.decide(False)
    if final.decision.target == "large":
        try:
            async with aclosing(cast("Any", attempt(final, run))) as parts:
                async for part in parts:
                    yield part
            return
        except Exception as error:
            if best is None or (again := asking.instead(final, best, error, run)) is None:
                raise
            await run.decided("small", again.record)
            final = again
    for part in _whole(cast("Try", best), final, run, as_events):
        yield part


async def _asmall_chunks(asking: Asking, one: Try) -> AsyncIterator[Any]:
    plan = asking.first
    async with aclosing(cast("Any", plan.leg.astream(plan.messages, one.config, **plan.kwargs))) as chunks:
        async for chunk in chunks:
            yield chunk


async def _aearly(asking: Asking, one: Try, chunks: AsyncIterator[Any]) -> Plan | None:
    try:
        async for chunk in chunks:
            one.chunks.append(chunk)
            if asking.decides_early and (evidence := asking.early(one.chunks)) is not None:
                return asking.by_early(evidence, one)
    except Exception as error:  # what it means is judged with the rest
        one.error = error
        return None
    one.response = merged(one.chunks)
    return None


async def _achunks(chunks: AsyncIterator[Any], one: Try, plan: Plan, run: OpenRun[Any]) -> AsyncIterator[Any]:
    async def all_chunks() -> AsyncIterator[Any]:
        for chunk in one.chunks:
            yield chunk
        async for chunk in chunks:
            yield chunk

    async for chunk in aannotated_stream(all_chunks(), plan.record):
        run.hand_out(chunk)
        yield chunk
