"""Handlers of the small model's run in a cascade: what it says is told once it is decided that it stands.

A handler's tokens cannot be taken back: LangGraph has shown them, a callback has printed them. So while nothing is
decided, tokens are kept; runs begin and end as they do, so that traces have their times and counters their tokens.
Handlers that stream to a reader (LangGraph's, those of ``astream_events``) also show a whole answer at the end of its
run: they are told of the run only once it is decided, and where the answer is withdrawn, under LangGraph's tag
``nostream``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer

__all__ = ["AnswerWatch", "AsyncHold", "Hold", "held_back"]

NOSTREAM = "nostream"
"""LangGraph's tag of runs that it does not stream (``langgraph.constants.TAG_NOSTREAM``)."""

TOKENS = frozenset({"on_llm_new_token", "on_stream_event"})

EVENTS: Mapping[str, str | None] = {
    "on_llm_start": "ignore_llm",
    "on_chat_model_start": "ignore_chat_model",
    "on_llm_new_token": "ignore_llm",
    "on_stream_event": "ignore_llm",
    "on_llm_end": "ignore_llm",
    "on_llm_error": "ignore_llm",
    "on_chain_start": "ignore_chain",
    "on_chain_end": "ignore_chain",
    "on_chain_error": "ignore_chain",
    "on_tool_start": "ignore_agent",
    "on_tool_end": "ignore_agent",
    "on_tool_error": "ignore_agent",
    "on_text": None,
    "on_retry": "ignore_retry",
    "on_custom_event": "ignore_custom_event",
}
"""Events below a model's run, and what a handler says that does not want them, as core's managers ask."""

Told = tuple[str, tuple[Any, ...], dict[str, Any]]


class AnswerWatch(BaseCallbackHandler):
    """Remembers the message that a chat model ended its run with, whatever a chain around it made of that.

    Attributes:
        message: The last one; None before.
    """

    run_inline = True

    def __init__(self) -> None:
        self.message: Any = None

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        """A model has answered."""
        if isinstance(response, LLMResult) and response.generations and response.generations[0]:
            generation = response.generations[0][0]
            self.message = generation.message if isinstance(generation, ChatGeneration) else None


class _Hold:
    """What both kinds know: who is to be told, and what is kept for them.

    Args:
        handlers: Who listens to the router's run.

    Attributes:
        tracers: Those that only write down. Core looks for LangSmith's among the handlers of a run to know that it has
            one, so they stay beside this one.
        readers: Those that stream to a reader.
        others: Who else listens.
    """

    run_inline = True

    def __init__(self, handlers: Sequence[BaseCallbackHandler]) -> None:
        self.readers = [one for one in handlers if _streams(one)]
        written = BaseTracer | AsyncBaseTracer
        self.tracers = [one for one in handlers if isinstance(one, written) and one not in self.readers]
        self.others = [one for one in handlers if one not in self.readers and one not in self.tracers]
        self.kept: list[tuple[Told, bool]] = []
        self.state = "undecided"

    def _due(self, event: Told) -> list[BaseCallbackHandler]:
        """Who is told of an event now; for the rest it is kept."""
        is_token = event[0] in TOKENS
        if self.state == "undecided":
            self.kept.append((event, not is_token))
            return [] if is_token else self.others
        if self.state == "withdrawn" and is_token:
            return []
        return [*self.others, *self.readers]

    def _kept(self, state: str) -> list[tuple[Told, list[BaseCallbackHandler]]]:
        """What is to be told now that it is decided."""
        self.state = state
        kept, self.kept = self.kept, []
        if state == "stands":
            return [(event, self.readers if told else [*self.others, *self.readers]) for event, told in kept]
        return [(_unstreamed(event), self.readers) for event, told in kept if told]


def _streams(handler: BaseCallbackHandler) -> bool:
    return isinstance(handler, _StreamingCallbackHandler | _V2StreamingCallbackHandler)


def _unstreamed(event: Told) -> Told:
    name, args, kwargs = event
    if not name.endswith("_start"):
        return event
    return name, args, {**kwargs, "tags": [*(kwargs.get("tags") or ()), NOSTREAM]}


class Hold(_Hold, BaseCallbackHandler):
    """Stands for the handlers of the small model's run while it is undecided whether its answer stands."""

    def _tell(self, event: Told) -> None:
        self._pass(event, self._due(event))

    def _pass(self, event: Told, handlers: list[BaseCallbackHandler]) -> None:
        name, args, kwargs = event
        if handlers:
            handle_event(handlers, name, EVENTS[name], *args, **kwargs)

    def decide(self, stands: bool) -> None:
        """Tell what was kept, or that part of it which is no token; from now on all is told at once."""
        for event, handlers in self._kept("stands" if stands else "withdrawn"):
            self._pass(event, handlers)


class AsyncHold(_Hold, AsyncCallbackHandler):
    """Stands for the handlers of the small model's run while it is undecided whether its answer stands."""

    async def _tell(self, event: Told) -> None:
        await self._pass(event, self._due(event))

    async def _pass(self, event: Told, handlers: list[BaseCallbackHandler]) -> None:
        name, args, kwargs = event
        if handlers:
            await ahandle_event(handlers, name, EVENTS[name], *args, **kwargs)

    async def decide(self, stands: bool) -> None:
        """Tell what was kept, or that part of it which is no token; from now on all is told at once."""
        for event, handlers in self._kept("stands" if stands else "withdrawn"):
            await self._pass(event, handlers)


def _told(name: str) -> Any:
    def tell(self: Hold, *args: Any, **kwargs: Any) -> None:
        self._tell((name, args, kwargs))

    tell.__name__ = name
    return tell


def _atold(name: str) -> Any:
    async def tell(self: AsyncHold, *args: Any, **kwargs: Any) -> None:
        await self._tell((name, args, kwargs))

    tell.__name__ = name
    return tell


for _name in EVENTS:
    setattr(Hold, _name, _told(_name))
    setattr(AsyncHold, _name, _atold(_name))


def held_back(handlers: Sequence[BaseCallbackHandler], *, is_async: bool) -> Hold | AsyncHold:
    """What stands for the handlers of a run of the small model.

    Args:
        handlers: Those of the router's run.
        is_async: Whether that is awaited.
    """
    return AsyncHold(handlers) if is_async else Hold(handlers)
