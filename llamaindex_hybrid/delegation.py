"""How one call is handed to the chosen model, once for each of the four ways in which Python can wait for an answer.

The four differ by ``await`` and ``yield`` only. Each decides and calls the chosen model before it returns, streams
included: a model that fails at once does so in the call and not at the first read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from llama_index.core.rate_limiter import BaseRateLimiter

from llamaindex_hybrid.annotation import annotated
from llamaindex_hybrid.calls import Plan, Request
from llamaindex_hybrid.cascading import Asking, acascaded, acascaded_stream, cascaded, cascaded_stream
from llamaindex_hybrid.events import announce
from llamaindex_hybrid.messages import identified
from shared_router.cascade import CASCADE

__all__ = ["Delegating", "Finish"]

END = object()
"""What a stream that has ended is told by."""

Finish = Callable[[Any, Plan], Any]
"""What the chosen model returned, or one chunk of it → what our caller gets."""

NO_SECOND_ATTEMPT = frozenset({"predict_and_call", "apredict_and_call"})
"""Methods in which the model's own code calls the tools: asked again, it might call one twice."""


def finished(response: Any, plan: Plan) -> Any:
    """The response with ids on its tool calls and the decision on itself."""
    return annotated(identified(response, plan), plan.record)


def follow(error: BaseException, failure: Exception | None) -> None:
    """Note on an error of the second attempt what went wrong in the first one, as Python does within an ``except``."""
    while failure is not None and error is not failure:
        if error.__context__ is None:
            error.__context__ = failure
        error = error.__context__


class Delegating:
    """Calls a method of the chosen model in place of the method of the same name.

    Where the chosen model fails before it has handed anything out, and the user allows it, the other one is asked once.
    """

    rate_limiter: BaseRateLimiter | None

    # not abstract: core opens a span around every method that implements an abstract one (DispatcherSpanMixin)

    def _plan(self, request: Request, *, once: bool = False) -> Plan:
        """The call for the chosen model. Changes nothing.

        Args:
            request: The call.
            once: One model only can be asked: a cascade leaves the call to the large one, with the reason "once".
        """
        raise NotImplementedError

    async def _aplan(self, request: Request, *, once: bool = False) -> Plan:
        raise NotImplementedError

    def _plan_again(self, plan: Plan, request: Request, error: Exception) -> Plan | None:
        """The same call for the other model after the chosen one failed; None if it is not to be asked."""
        raise NotImplementedError

    async def _aplan_again(self, plan: Plan, request: Request, error: Exception) -> Plan | None:
        raise NotImplementedError

    def _asking(self, method: str, plan: Plan, request: Request) -> Asking:
        """The call as a cascade, after the decision to ask the small model first."""
        raise NotImplementedError

    def _call(self, method: str, request: Request, finish: Finish = finished) -> Any:
        plan = self._plan(request, once=method in NO_SECOND_ATTEMPT)
        if plan.decision.reason == CASCADE:
            return cascaded(self, self._asking(method, plan, request), finish)
        self._admit(method, plan)
        try:
            response = plan.ask(method)
        except Exception as error:
            again = self._second(method, plan, request, error)
            if again is None:
                raise
            plan, response = again, again.ask(method)
        return finish(response, plan)

    async def _acall(self, method: str, request: Request, finish: Finish = finished) -> Any:
        plan = await self._aplan(request, once=method in NO_SECOND_ATTEMPT)
        if plan.decision.reason == CASCADE:
            return await acascaded(self, self._asking(method, plan, request), finish)
        await self._aadmit(method, plan)
        try:
            response = await plan.aask(method)
        except Exception as error:
            again = await self._asecond(method, plan, request, error)
            if again is None:
                raise
            plan, response = again, await again.aask(method)
        return finish(response, plan)

    def _stream(self, method: str, request: Request, finish: Finish = finished) -> Generator[Any, None, None]:
        plan, failure = self._plan(request), None
        if plan.decision.reason == CASCADE:
            return cascaded_stream(self, self._asking(method, plan, request), finish)
        self._admit(method, plan)
        try:
            chunks = plan.ask(method)
        except Exception as error:
            again = self._second(method, plan, request, error)
            if again is None:
                raise
            plan, failure, chunks = again, error, again.ask(method)
        return self._relayed(chunks, method, plan, request, finish, failure)

    async def _astream(self, method: str, request: Request, finish: Finish = finished) -> AsyncGenerator[Any, None]:
        plan, failure = await self._aplan(request), None
        if plan.decision.reason == CASCADE:
            return await acascaded_stream(self, self._asking(method, plan, request), finish)
        await self._aadmit(method, plan)
        try:
            chunks = await plan.aask(method)
        except Exception as error:
            again = await self._asecond(method, plan, request, error)
            if again is None:
                raise
            plan, failure, chunks = again, error, await again.aask(method)
        return self._arelayed(chunks, method, plan, request, finish, failure)

    # Tags are set for each step and not for the whole body: a generator's body shares its context with who reads it,
    # and integrations fire their start event, and meet most errors, only when the first chunk is asked for.

    def _relayed(
        self,
        chunks: Generator[Any, None, None],
        method: str,
        plan: Plan,
        request: Request,
        finish: Finish,
        failure: Exception | None,
    ) -> Generator[Any, None, None]:
        begun = False
        try:
            while True:
                try:
                    with plan.tagged():
                        chunk = next(chunks, END)
                except Exception as error:
                    again = None if begun else self._second(method, plan, request, error)
                    if again is None:
                        follow(error, failure)
                        raise
                    plan, failure, chunks = again, error, again.ask(method)
                    continue
                if chunk is END:
                    return
                begun = True
                yield finish(chunk, plan)
        finally:
            chunks.close()

    async def _arelayed(
        self,
        chunks: AsyncGenerator[Any, None],
        method: str,
        plan: Plan,
        request: Request,
        finish: Finish,
        failure: Exception | None,
    ) -> AsyncGenerator[Any, None]:
        begun = False
        try:
            while True:
                try:
                    with plan.tagged():
                        chunk = await anext(chunks, END)
                except Exception as error:
                    again = None if begun else await self._asecond(method, plan, request, error)
                    if again is None:
                        follow(error, failure)
                        raise
                    plan, failure, chunks = again, error, await again.aask(method)
                    continue
                if chunk is END:
                    return
                begun = True
                yield finish(chunk, plan)
        finally:
            await chunks.aclose()

    def _second(self, method: str, plan: Plan, request: Request, error: Exception) -> Plan | None:
        """The plan for the second attempt, admitted; None if there is to be none."""
        again = None if method in NO_SECOND_ATTEMPT else self._plan_again(plan, request, error)
        if again is not None:
            self._admit(method, again)
        return again

    async def _asecond(self, method: str, plan: Plan, request: Request, error: Exception) -> Plan | None:
        again = None if method in NO_SECOND_ATTEMPT else await self._aplan_again(plan, request, error)
        if again is not None:
            await self._aadmit(method, again)
        return again

    # core acquires in the decorators of the endpoints, which a router must not have

    def _admit(self, method: str, plan: Plan) -> None:
        announce(method, plan)
        if self.rate_limiter is not None:
            self.rate_limiter.acquire()

    async def _aadmit(self, method: str, plan: Plan) -> None:
        announce(method, plan)
        if self.rate_limiter is not None:
            await self.rate_limiter.async_acquire()
