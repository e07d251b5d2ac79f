"""Events of version 3 from a generator: a stream that outlives a failed first attempt.

The chosen model's own stream cannot be handed out where a second model may have to take its place, so the events of
either are passed on through a stream of ours, wired as ``BaseChatModel`` wires its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream

__all__ = ["arelayed", "relayed"]


def relayed(events: Iterator[Mapping[str, Any]]) -> ChatModelStream:
    """A stream that is driven by whoever reads it.

    Args:
        events: What it is made of; started when somebody reads.
    """
    stream = ChatModelStream()

    def pump_one() -> bool:
        try:
            stream.dispatch(next(events))
            if stream.done:
                # nobody asks again once the message is whole, but the generator has runs to close
                for _ in events:
                    pass
        except StopIteration:
            return False
        except BaseException as error:  # whoever reads the stream gets it
            stream.fail(error)
            return False
        return True

    stream.bind_pump(pump_one)
    return stream


def arelayed(events: AsyncIterator[Mapping[str, Any]]) -> AsyncChatModelStream:
    """A stream that is driven by a task of its own, from the moment somebody reads it.

    Args:
        events: What it is made of.
    """
    stream = AsyncChatModelStream()

    async def produce() -> None:
        try:
            async with aclosing(cast("Any", events)):
                async for event in events:
                    stream.dispatch(event)
        except asyncio.CancelledError as error:
            stream.fail(error)
            raise
        except BaseException as error:  # whoever reads the stream gets it
            stream.fail(error)

    async def ensure_started() -> None:
        if stream._producer_task is None:
            stream._producer_task = asyncio.get_running_loop().create_task(produce())

    stream.set_start(ensure_started)
    return stream
