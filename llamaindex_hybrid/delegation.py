"""How one call is handed to the chosen model, once for each of the four ways in which Python can wait for an answer.

The four differ by ``await`` and ``yield`` only. Each decides and calls the chosen model before it returns, streams
included: a model that fails at once does so in the call and not at the first read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index_instrumentation import get_dispatcher

from llamaindex_hybrid.annotation import annotated
from llamaindex_hybrid.calls import Plan, Request
from llamaindex_hybrid.events import HybridRoutingEvent
from llamaindex_hybrid.messages import identified

__all__ = ["Delegating", "Finish"]

dispatcher = get_dispatcher(__name__)

Finish = Callable[[Any, Plan], Any]
"""What the chosen model returned, or one chunk of it → what our caller gets."""


def finished(response: Any, plan: Plan) -> Any:
    """The response with ids on its tool calls and the decision on itself."""
    return annotated(identified(response, plan.stem), plan.record)


class Delegating:
    """Calls a method of the chosen model in place of the method of the same name."""

    rate_limiter: BaseRateLimiter | None

    def _plan(self, request: Request) -> Plan:
        """The call for the chosen model. Changes nothing."""
        # not abstract: core opens a span around every method that implements an abstract one (DispatcherSpanMixin)
        raise NotImplementedError

    def _call(self, method: str, request: Request, finish: Finish = finished) -> Any:
        plan = self._plan(request)
        self._admit(method, plan)
        with plan.tagged():
            response = plan.method(method)(*plan.args, **plan.kwargs)
        return finish(response, plan)

    async def _acall(self, method: str, request: Request, finish: Finish = finished) -> Any:
        plan = await self._aplan(request)
        await self._aadmit(method, plan)
        with plan.tagged():
            response = await plan.method(method)(*plan.args, **plan.kwargs)
        return finish(response, plan)

    def _stream(self, method: str, request: Request, finish: Finish = finished) -> Generator[Any, None, None]:
        plan = self._plan(request)
        self._admit(method, plan)
        with plan.tagged():
            chunks = plan.method(method)(*plan.args, **plan.kwargs)
        return _relayed(chunks, plan, finish)

    async def _astream(self, method: str, request: Request, finish: Finish = finished) -> AsyncGenerator[Any, None]:
        plan = await self._aplan(request)
        await self._aadmit(method, plan)
        with plan.tagged():
            chunks = await plan.method(method)(*plan.args, **plan.kwargs)
        return _arelayed(chunks, plan, finish)

    async def _aplan(self, request: Request) -> Plan:
        # a scorer may be anybody's function and take its time, and a model's metadata may ask a server
        return await asyncio.to_thread(self._plan, request)

    # core acquires in the decorators of the endpoints, which a router must not have

    def _admit(self, method: str, plan: Plan) -> None:
        dispatcher.event(HybridRoutingEvent(method=method, model=plan.model, decision=plan.decision))
        if self.rate_limiter is not None:
            self.rate_limiter.acquire()

    async def _aadmit(self, method: str, plan: Plan) -> None:
        dispatcher.event(HybridRoutingEvent(method=method, model=plan.model, decision=plan.decision))
        if self.rate_limiter is not None:
            await self.rate_limiter.async_acquire()


# Tags are set for each step and not for the whole body: a generator's body shares its context with who reads it, and
# integrations fire their start event only when the first chunk is asked for.


def _relayed(chunks: Generator[Any, None, None], plan: Plan, finish: Finish) -> Generator[Any, None, None]:
    end = object()
    try:
        while True:
            with plan.tagged():
                chunk = next(chunks, end)
            if chunk is end:
                return
            yield finish(chunk, plan)
    finally:
        chunks.close()


async def _arelayed(chunks: AsyncGenerator[Any, None], plan: Plan, finish: Finish) -> AsyncGenerator[Any, None]:
    end = object()
    try:
        while True:
            with plan.tagged():
                chunk = await anext(chunks, end)
            if chunk is end:
                return
            yield finish(chunk, plan)
    finally:
        await chunks.aclose()
