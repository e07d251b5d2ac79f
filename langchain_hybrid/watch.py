"""The router's run around a model that streams events of version 3.

Such a stream is handed to the caller before it starts, and is then driven by whoever reads it, so no ``with`` block can
hold the router's run. A watch sits first among the handlers of the chosen model's run: it opens the router's run just
before that one starts, and closes it when that one ends. A stream that nobody reads opens neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.utils.uuid import uuid7

from langchain_hybrid.annotation import KEY
from langchain_hybrid.callbacks import DECISION_EVENT, Manager, RunStart, child_manager, configured, run_outputs
from shared_router.records import JSON

__all__ = ["AsyncLegWatch", "LegWatch"]


class _Watch:
    """What both watches know: the run that is to be opened, and the stream whose message carries the decision."""

    run_inline = True

    def _prepare(self, manager: Any, start: RunStart, target: str, record: Mapping[str, JSON]) -> None:
        self.manager = manager
        self.start = start
        self.target: str = target
        self.record = record
        self.run_id = start.run_id or uuid7()
        self.run: Any = None
        self.stream: Any = None

    def child(self, kind: type[Manager]) -> Manager:
        """The manager that the chosen model is called with."""
        child = child_manager(kind, self.run_id, self.manager, self.target, self.record)
        child.handlers.insert(0, cast("BaseCallbackHandler", self))
        return child

    def watch(self, stream: Any) -> Any:
        """Remember the stream, so that its message can be marked before a reader gets it."""
        self.stream = stream
        return stream

    def mark(self, message: Any) -> None:
        """Put the decision on the message that the stream has assembled; it is nobody else's."""
        if isinstance(message, AIMessage):
            message.response_metadata[KEY] = dict(self.record)

    def on_finish(self, event: Mapping[str, Any]) -> None:
        """Mark the message as soon as it is whole: a reader may be waiting for it already."""
        if event.get("event") == "message-finish" and self.stream is not None:
            self.mark(self.stream.output_message)

    def outputs(self, response: Any) -> dict[str, Any]:
        """What the router's run says at its end."""
        message = _message_of(response)
        self.mark(message)
        return run_outputs(message, self.record)


def _message_of(response: Any) -> Any:
    # the chosen model's run ends with an LLMResult, that of a router inside the router with our own outputs
    if isinstance(response, LLMResult):
        generation = response.generations[0][0]
        return generation.message if isinstance(generation, ChatGeneration) else None
    return response.get("output") if isinstance(response, dict) else None


class LegWatch(_Watch, BaseCallbackHandler):
    """Opens and closes the router's run around the run of a model that streams events of version 3.

    Args:
        start: How the router's run begins.
        target: Which of the two models streams.
        record: The decision as JSON values.
    """

    def __init__(self, start: RunStart, target: str, record: Mapping[str, JSON]) -> None:
        self._prepare(configured(CallbackManager, start), start, target, record)

    def _open(self) -> None:
        self.run = self.manager.on_chain_start(None, self.start.inputs, name=self.start.name, run_id=self.run_id)
        announcer = child_manager(CallbackManager, self.run_id, self.manager, self.target, self.record)
        announcer.on_custom_event(DECISION_EVENT, dict(self.record), run_id=self.run_id)

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        """The chosen model starts."""
        self._open()

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        """A router inside the router starts."""
        self._open()

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        """Something has been streamed."""
        self.on_finish(event)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        """The chosen model is done."""
        self.run.on_chain_end(self.outputs(response))

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        """A router inside the router is done."""
        self.run.on_chain_end(self.outputs(outputs))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """The chosen model has failed, or its stream was closed."""
        self.run.on_chain_error(error)

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        """A router inside the router has failed."""
        self.run.on_chain_error(error)


class AsyncLegWatch(_Watch, AsyncCallbackHandler):
    """Opens and closes the router's run around the run of a model that streams events of version 3.

    Args:
        start: How the router's run begins.
        target: Which of the two models streams.
        record: The decision as JSON values.
    """

    def __init__(self, start: RunStart, target: str, record: Mapping[str, JSON]) -> None:
        self._prepare(configured(AsyncCallbackManager, start), start, target, record)

    async def _open(self) -> None:
        self.run = await self.manager.on_chain_start(None, self.start.inputs, name=self.start.name, run_id=self.run_id)
        announcer = child_manager(AsyncCallbackManager, self.run_id, self.manager, self.target, self.record)
        await announcer.on_custom_event(DECISION_EVENT, dict(self.record), run_id=self.run_id)

    async def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        """The chosen model starts."""
        await self._open()

    async def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        """A router inside the router starts."""
        await self._open()

    async def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        """Something has been streamed."""
        self.on_finish(event)

    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        """The chosen model is done."""
        await self.run.on_chain_end(self.outputs(response))

    async def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        """A router inside the router is done."""
        await self.run.on_chain_end(self.outputs(outputs))

    async def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """The chosen model has failed, or its stream was closed."""
        await self.run.on_chain_error(error)

    async def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        """A router inside the router has failed."""
        await self.run.on_chain_error(error)
