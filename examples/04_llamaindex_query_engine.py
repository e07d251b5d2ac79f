"""A LlamaIndex query engine and a chat engine over a handful of pages, answered by two models.

Retrieval puts whole pages into the prompt, yet routing judges the user's question alone: a prompt that is long because
of its context is not a hard one. Here each query is printed with its difficulty and the model that answered it. An
engine hands out text and no model's response, so that the decision is taken from the event that the router dispatches.

    python examples/04_llamaindex_query_engine.py       runs on two small local models, downloaded the first time
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.bridge.pydantic import Field
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import LLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import TextNode

from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.events import HybridRoutingEvent
from shared_router.router import RouterLike

PAGES = Path(__file__).with_name("data")
QUESTIONS = (
    "When is the shop open on Saturday?",
    "What does it cost to have a flat tyre mended?",
    "A family rents two city bicycles and a cargo bicycle for 5 days. How much do they pay, without the deposit?",
)


class HashedWords(BaseEmbedding):
    """A text as counts of its words, hashed into a fixed number of places: needs no model, and is good enough here."""

    places: int = 1024

    def _get_text_embedding(self, text: str) -> list[float]:
        counts = [0.0] * self.places
        for word in re.findall(r"\w{3,}", text.lower()):
            # the first letters only, so that "rents" meets "rental"
            counts[zlib.crc32(word[:4].encode()) % self.places] += 1.0
        length = math.sqrt(sum(count * count for count in counts)) or 1.0
        return [count / length for count in counts]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class Decisions(BaseEventHandler):
    """Collects how every call was routed."""

    seen: list[HybridRoutingEvent] = Field(default_factory=list)

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Note a decision.

        Args:
            event: Anything that happened.
            **kwargs: Not used.
        """
        if isinstance(event, HybridRoutingEvent):
            self.seen.append(event)


@contextmanager
def decisions() -> Iterator[list[HybridRoutingEvent]]:
    """The decisions that are made while the ``with`` block runs."""
    dispatcher, handler = get_dispatcher(), Decisions()
    dispatcher.add_event_handler(handler)
    try:
        yield handler.seen
    finally:
        dispatcher.event_handlers.remove(handler)


def index_of(folder: Path) -> VectorStoreIndex:
    """One node a page.

    Args:
        folder: Holds the pages as Markdown files.
    """
    nodes = [TextNode(text=path.read_text("utf-8"), id_=path.stem) for path in sorted(folder.glob("*.md"))]
    return VectorStoreIndex(nodes=nodes, embed_model=HashedWords())


def described(event: HybridRoutingEvent) -> str:
    """A decision in one line.

    Args:
        event: What the router told its observers.
    """
    decision = event.decision
    return f"{decision.target} ({event.model}): difficulty {decision.difficulty}, threshold {decision.threshold}"


def main(small: LLM, large: LLM, router: RouterLike = None) -> None:
    """Ask a query engine, then a chat engine that streams.

    Args:
        small: The small model.
        large: The large model.
        router: By default the embedded one.
    """
    llm = HybridLLM(small=small, large=large, router=router, quality=0.9)
    index = index_of(PAGES)

    engine = index.as_query_engine(llm=llm, similarity_top_k=2)
    for question in QUESTIONS:
        with decisions() as made:
            response = engine.query(question)
        pages = ", ".join(node.node_id for node in response.source_nodes)
        print(f"{question}\n  {described(made[-1])}; pages: {pages}\n  {response}\n")

    # core's default memory keeps a few lines of talk in a database and leaves it open; this one keeps them in a list
    memory = ChatMemoryBuffer.from_defaults(token_limit=2000)
    chat = index.as_chat_engine(chat_mode=ChatMode.CONTEXT, llm=llm, memory=memory, similarity_top_k=2)
    print("Do members pay less for repairs?\n  ", end="")
    with decisions() as made:
        for token in chat.stream_chat("Do members pay less for repairs?").response_gen:
            print(token, end="", flush=True)
    print(f"\n  {described(made[-1])}")


if __name__ == "__main__":
    from local_models.pairs import local_pair, openai_like_llms

    with local_pair() as pair:
        main(*openai_like_llms(pair, max_tokens=80))
