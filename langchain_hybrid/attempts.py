"""One attempt at a call: the chosen model asked once, inside the router's open run, its response with the decision.

One function a way of calling, and a twin that awaits. Where the first attempt fails before anything was handed out, the
router may make a second one with the other model; so each attempt announces its own decision and is a child run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import LLMResult, RunInfo

from langchain_hybrid.annotation import KEY, aannotated_stream, annotated, annotated_stream
from langchain_hybrid.callbacks import AsyncRun, SyncRun
from langchain_hybrid.plan import Attempt
from langchain_hybrid.results import generate_arguments
from shared_router.errors import HybridError

__all__ = ["aevented", "agenerated", "ainvoked", "astreamed", "evented", "generated", "invoked", "streamed"]


def invoked(plan: Attempt, run: SyncRun) -> Any:
    """The chosen model's response."""
    below = plan.below(run.decided(plan.target, plan.record))
    response = annotated(plan.leg.invoke(plan.messages, below, **plan.kwargs), plan.record)
    run.hand_out(response)
    return response


async def ainvoked(plan: Attempt, run: AsyncRun) -> Any:
    """The chosen model's response."""
    below = plan.below(await run.decided(plan.target, plan.record))
    response = annotated(await plan.leg.ainvoke(plan.messages, below, **plan.kwargs), plan.record)
    run.hand_out(response)
    return response


def generated(plan: Attempt, run: SyncRun) -> tuple[BaseChatModel, LLMResult]:
    """The model that answered, and its result."""
    model = _model(plan)
    below = plan.below(run.decided(plan.target, plan.record))
    result = model.generate([plan.messages], **generate_arguments(below), **plan.kwargs)
    result = annotated(result, plan.record).model_copy(update={"run": [RunInfo(run_id=run.run_id)]})
    run.hand_out(result)
    return model, result


async def agenerated(plan: Attempt, run: AsyncRun) -> tuple[BaseChatModel, LLMResult]:
    """The model that answered, and its result."""
    model = _model(plan)
    below = plan.below(await run.decided(plan.target, plan.record))
    result = await model.agenerate([plan.messages], **generate_arguments(below), **plan.kwargs)
    result = annotated(result, plan.record).model_copy(update={"run": [RunInfo(run_id=run.run_id)]})
    run.hand_out(result)
    return model, result


def _model(plan: Attempt) -> BaseChatModel:
    if not isinstance(plan.leg, BaseChatModel):
        raise HybridError("generate returns messages; use invoke, stream or batch for structured output")
    return plan.leg


def streamed(plan: Attempt, run: SyncRun) -> Iterator[Any]:
    """The chosen model's chunks; the first carries the decision."""
    below = plan.below(run.decided(plan.target, plan.record))
    with closing(cast("Any", plan.leg.stream(plan.messages, below, **plan.kwargs))) as chunks:
        for chunk in annotated_stream(chunks, plan.record):
            run.hand_out(chunk)
            yield chunk


async def astreamed(plan: Attempt, run: AsyncRun) -> AsyncIterator[Any]:
    """The chosen model's chunks; the first carries the decision."""
    below = plan.below(await run.decided(plan.target, plan.record))
    async with aclosing(cast("Any", plan.leg.astream(plan.messages, below, **plan.kwargs))) as chunks:
        async for chunk in aannotated_stream(chunks, plan.record):
            run.hand_out(chunk)
            yield chunk


def evented(plan: Attempt, run: SyncRun) -> Iterator[Mapping[str, Any]]:
    """The chosen model's events of version 3; the last carries the decision."""
    below = plan.below(run.decided(plan.target, plan.record))
    stream: Any = plan.leg.stream_events(plan.messages, below, version="v3", **plan.kwargs)
    for event in stream:
        run.has_spoken = True
        yield _annotated_event(event, plan)
    run.hand_out(annotated(stream.output, plan.record))


async def aevented(plan: Attempt, run: AsyncRun) -> AsyncIterator[Mapping[str, Any]]:
    """The chosen model's events of version 3; the last carries the decision."""
    below = plan.below(await run.decided(plan.target, plan.record))
    async with await plan.leg.astream_events(plan.messages, below, version="v3", **plan.kwargs) as stream:
        async for event in stream:
            run.has_spoken = True
            yield _annotated_event(event, plan)
        run.hand_out(annotated(await stream, plan.record))


def _annotated_event(event: Mapping[str, Any], plan: Attempt) -> Mapping[str, Any]:
    # whoever assembles the message takes its metadata from here
    if event.get("event") != "message-finish":
        return event
    return {**event, "metadata": {**(event.get("metadata") or {}), KEY: dict(plan.record)}}
