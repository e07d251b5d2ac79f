"""The router's own run in the trace: a chain run, with the chosen model's run as its child.

Not a chat-model run: counters would add tokens up twice and LangGraph would stream them twice, and a chat-model run has
no children in LangChain (``CallbackManagerForLLMRun`` has no ``get_child``). Every run that is opened here is closed,
whatever ends the call.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_hybrid.annotation import KEY
from shared_router.records import JSON

__all__ = [
    "DECISION_EVENT",
    "AsyncRun",
    "RunStart",
    "SpeechWatch",
    "SyncRun",
    "aopen_run",
    "child_manager",
    "child_of",
    "configured",
    "merged",
    "open_run",
    "run_outputs",
]

DECISION_EVENT = "hybrid_decision"
"""Name of the custom event: handlers get it in ``on_custom_event``, ``astream_events`` yields it."""

Manager = TypeVar("Manager", CallbackManager, AsyncCallbackManager)
RunManager = TypeVar("RunManager", CallbackManagerForChainRun, AsyncCallbackManagerForChainRun)


@dataclass(frozen=True, slots=True)
class RunStart:
    """How the router's run begins.

    Attributes:
        config: The call's config.
        name: Name of the run.
        messages: Its input.
        callbacks: The router's own handlers or manager.
        tags: The router's own tags.
        metadata: The router's own metadata.
        verbose: The router's own verbosity.
        may_fall_back: The other model may be asked where the first fails; then it matters whether that one has spoken.
    """

    config: RunnableConfig
    name: str
    messages: list[BaseMessage]
    callbacks: Sequence[BaseCallbackHandler] | BaseCallbackManager | None = None
    tags: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = None
    verbose: bool = False
    may_fall_back: bool = False

    @property
    def inputs(self) -> dict[str, Any]:
        """The run's inputs."""
        return {"messages": self.messages}

    @property
    def run_id(self) -> uuid.UUID | None:
        """The id that the caller has chosen for the run, if any."""
        return self.config.get("run_id")


def configured(kind: type[Manager], start: RunStart) -> Manager:
    """The callback manager of a call, with all that is set on the router made inheritable.

    On a chat model such settings are local to its run, but the run that counts is the chosen model's, below ours: a
    token counter or LangGraph's tag ``nostream`` set on the router would else never see it.

    Args:
        kind: The sync or the async manager class.
        start: How the run begins.
    """
    config = start.config
    manager = kind.configure(
        config.get("callbacks"),
        verbose=start.verbose,
        inheritable_tags=config.get("tags"),
        inheritable_metadata=config.get("metadata"),
    )
    own = start.callbacks.handlers if isinstance(start.callbacks, BaseCallbackManager) else start.callbacks or ()
    for handler in own:
        manager.add_handler(handler, inherit=True)
    if start.tags:
        manager.add_tags(list(start.tags), inherit=True)
    if start.metadata:
        manager.add_metadata(dict(start.metadata), inherit=True)
    return manager


class SpeechWatch(BaseCallbackHandler):
    """Notes whether a model has spoken to any handler: what LangGraph has shown its user cannot be taken back."""

    run_inline = True

    def __init__(self) -> None:
        self.has_spoken = False

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        """A token was told."""
        self.has_spoken = True

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        """The same in version 3."""
        self.has_spoken = True


@dataclass(slots=True)
class OpenRun(Generic[RunManager]):
    """The router's run while it is open.

    Attributes:
        manager: Core's manager of the run.
        watch: Listens to the chosen model where the other one may have to take over; None elsewhere.
        record: The decision as JSON values, once it is made.
        has_spoken: Something was handed out.
        chunks: What was handed out so far, where somebody listens; one response, or the parts of a stream.
    """

    manager: RunManager
    watch: SpeechWatch | None = None
    record: Mapping[str, JSON] | None = None
    has_spoken: bool = False
    chunks: list[Any] = field(default_factory=list)

    @property
    def is_silent(self) -> bool:
        """True as long as nobody has seen anything of an answer."""
        return not self.has_spoken and not (self.watch is not None and self.watch.has_spoken)

    @property
    def run_id(self) -> uuid.UUID:
        """The run's id."""
        return self.manager.run_id

    @property
    def is_watched(self) -> bool:
        """False where nobody listens: merging a long stream, or core's task around an async ending, costs time."""
        return bool(self.manager.handlers)

    def hand_out(self, response: Any) -> None:
        """Note what the caller gets: the one response, or the next part of a stream."""
        self.has_spoken = True
        if self.is_watched:
            self.chunks.append(response)

    def child(self, kind: type[Manager], target: str, record: Mapping[str, JSON]) -> Manager:
        """The manager that the chosen model is called with."""
        self.record = record
        child = child_manager(kind, self.run_id, self.manager, target, record)
        # where nobody listens, a token that is told is told to nobody
        if self.watch is not None and self.is_watched:
            child.add_handler(self.watch, inherit=True)
        return child

    def outputs(self) -> dict[str, Any]:
        """What the run says at its end."""
        return run_outputs(merged(self.chunks), self.record)


def run_outputs(output: Any, record: Mapping[str, JSON] | None) -> dict[str, Any]:
    """What the router's run ends with: the same two keys whatever the response is."""
    return {"output": output, **({KEY: dict(record)} if record is not None else {})}


def merged(chunks: Sequence[Any]) -> Any:
    """The whole that the parts of a stream make; None of no parts."""
    if len(chunks) < 2:
        return chunks[0] if chunks else None
    if all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
        # all at once: one by one, every step would copy what is merged already
        return chunks[0] + chunks[1:]
    try:
        merged = chunks[0]
        for chunk in chunks[1:]:
            merged = merged + chunk
    except TypeError:
        # parsed objects come as ever more complete versions of one thing: the last is the whole
        return chunks[-1]
    return merged


def child_manager(
    kind: type[Manager], parent: uuid.UUID, inherited: Any, target: str, record: Mapping[str, JSON]
) -> Manager:
    """The manager that the chosen model is called with; ``inherited`` is a manager or the manager of a run."""
    manager = kind(handlers=[], parent_run_id=parent)
    manager.set_handlers(inherited.inheritable_handlers)
    manager.add_tags([*inherited.inheritable_tags, f"{KEY}:{target}"])
    manager.add_metadata({**inherited.inheritable_metadata, KEY: dict(record)})
    return manager


def child_of(kind: type[Manager], run_manager: Any) -> Manager | None:
    """A manager for runs below a chat-model run, which core gives no ``get_child``.

    Args:
        kind: The sync or the async manager class.
        run_manager: The manager of the run above, or None.
    """
    if run_manager is None:
        return None
    manager = kind(handlers=[], parent_run_id=run_manager.run_id)
    manager.set_handlers(run_manager.inheritable_handlers)
    manager.add_tags(run_manager.inheritable_tags)
    manager.add_metadata(run_manager.inheritable_metadata)
    return manager


class SyncRun(OpenRun[CallbackManagerForChainRun]):
    """The router's run while it is open."""

    def decided(self, target: str, record: Mapping[str, JSON]) -> CallbackManager:
        """Announce the decision, and make the manager that the chosen model is called with."""
        child = self.child(CallbackManager, target, record)
        if child.handlers:
            child.on_custom_event(DECISION_EVENT, dict(record), run_id=self.run_id)
        return child

    def end(self) -> None:
        """Close the run."""
        if self.is_watched:
            self.manager.on_chain_end(self.outputs())


class AsyncRun(OpenRun[AsyncCallbackManagerForChainRun]):
    """The router's run while it is open."""

    async def decided(self, target: str, record: Mapping[str, JSON]) -> AsyncCallbackManager:
        """Announce the decision, and make the manager that the chosen model is called with."""
        child = self.child(AsyncCallbackManager, target, record)
        if child.handlers:  # core gathers over none of them at the price of a trip through the event loop
            await child.on_custom_event(DECISION_EVENT, dict(record), run_id=self.run_id)
        return child

    async def end(self) -> None:
        """Close the run."""
        if self.is_watched:
            await self.manager.on_chain_end(self.outputs())


@contextmanager
def open_run(start: RunStart) -> Iterator[SyncRun]:
    """The router's run, open inside the block.

    Args:
        start: How it begins.
    """
    manager = configured(CallbackManager, start)
    opened = manager.on_chain_start(None, start.inputs, name=start.name, run_id=start.run_id)
    run = SyncRun(opened, SpeechWatch() if start.may_fall_back else None)
    try:
        yield run
    except GeneratorExit:
        # a reader that stops early is no error, as in RunnableSequence (langchain_core/runnables/base.py)
        run.end()
        raise
    except BaseException as error:
        run.manager.on_chain_error(error)
        raise
    run.end()


@asynccontextmanager
async def aopen_run(start: RunStart) -> AsyncIterator[AsyncRun]:
    """The router's run, open inside the block.

    Args:
        start: How it begins.
    """
    manager = configured(AsyncCallbackManager, start)
    opened = await manager.on_chain_start(None, start.inputs, name=start.name, run_id=start.run_id)
    run = AsyncRun(opened, SpeechWatch() if start.may_fall_back else None)
    try:
        yield run
    except GeneratorExit:
        # a reader that stops early is no error, as in RunnableSequence (langchain_core/runnables/base.py)
        await run.end()
        raise
    except BaseException as error:
        await run.manager.on_chain_error(error)
        raise
    await run.end()
