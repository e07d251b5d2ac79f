"""Ingestion under a budget: titles, summaries, keywords and extracted objects over many nodes.

    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), BudgetedExtractor(SummaryExtractor(llm=llm), budget=0.2), embed_model]
    )

All nodes are scored in one pass before the first is sent; the most difficult ones go to the large model, as many as the
budget pays for. Each is then extracted by the extractor itself, with its own templates, retries and errors, in a block
of code that holds one model (``route``), so that a call that the extractor makes of its own, such as the one that makes
a document's title of the titles of its parts, is the same model's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar, cast

from llama_index.core.async_utils import DEFAULT_NUM_WORKERS, asyncio_run
from llama_index.core.bridge.pydantic import Field, SerializeAsAny, field_validator
from llama_index.core.extractors import SummaryExtractor, TitleExtractor
from llama_index.core.schema import BaseNode, MetadataMode, TransformComponent
from llama_index.core.utils import get_tqdm_iterable

from llamaindex_hybrid.calls import Request, from_text
from llamaindex_hybrid.capabilities import must_be_asked
from llamaindex_hybrid.llm import HybridLLM
from llamaindex_hybrid.question import query
from shared_router.budget import SCORING, BudgetLike, Load, checked_budget, within_budget
from shared_router.deciding import RoutingRequest
from shared_router.decision import RoutingDecision
from shared_router.errors import HybridError, KnobError
from shared_router.records import TARGETS, Target
from shared_router.token_estimate import TOKENS_PER_MESSAGE, estimated_tokens

__all__ = ["BudgetedExtractor", "Unit"]

Result = TypeVar("Result")

Unit = Literal["node", "document"]
"""What one model extracts whole."""

TEMPLATE_TOKENS = 40 + TOKENS_PER_MESSAGE
"""What core's templates for extractors add to a node's text, about."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one model extracts whole.

    Attributes:
        places: Of its nodes among all, rising.
        nodes: Those nodes.
        texts: What is sent of them, a text a call.
        answers: Calls that it takes.
    """

    places: tuple[int, ...]
    nodes: tuple[BaseNode, ...]
    texts: tuple[str, ...]
    answers: int

    @property
    def load(self) -> Load:
        tokens = sum(map(estimated_tokens, self.texts)) + self.answers * TEMPLATE_TOKENS
        return Load(math.ceil(tokens), self.answers)


class BudgetedExtractor(TransformComponent):
    """Runs an extractor over nodes, the most difficult ones with the large model, within a budget.

    The budget holds for each call with a list of nodes. A pipeline with ``num_workers`` processes splits its nodes
    first: a share of each part is the same share of all, but an amount of money would be spent once a part.

    The decision says "forced" on the calls themselves, since it was made before; ``decisions`` tells difficulties. A
    model that fails is not replaced by the other, which was not paid for; the extractor's own ``max_retries`` holds.

    Args:
        extractor: Any extractor over a ``HybridLLM``, or another transformation that calls one.
        budget: The largest share of its calls that goes to the large model, in [0, 1], or an amount
            (``shared_router.budget.Budget``), estimated from the nodes' texts.
        by: Whether one model extracts a "node" or a whole "document"; None for what the extractor needs. A title is
            made for a document, and summaries of neighbours are shared within it.
        llm: The model, where the extractor does not have it under ``llm`` (``PydanticProgramExtractor``).
        num_workers: Nodes or documents in work at a time; None for as many as the extractor says.
        show_progress: Whether a bar is shown; None for what the extractor says.

    Raises:
        KnobError: The budget is none.
        HybridError: There is no ``HybridLLM`` that it could hold for.
    """

    extractor: SerializeAsAny[TransformComponent] = Field(description="What is run over the nodes.")
    budget: Any = Field(description="Largest share of calls to the large model, or an amount.")
    by: Unit = Field(description="What one model extracts whole.")
    llm: HybridLLM = Field(exclude=True, description="The model that the extractor calls.")
    num_workers: int = Field(description="Nodes or documents in work at a time.", gt=0)
    show_progress: bool = Field(description="Whether a bar is shown.")

    def __init__(
        self,
        extractor: TransformComponent,
        budget: BudgetLike,
        *,
        by: Unit | None = None,
        llm: HybridLLM | None = None,
        num_workers: int | None = None,
        show_progress: bool | None = None,
        **kwargs: Any,
    ) -> None:
        model = llm or getattr(extractor, "llm", None)
        if not isinstance(model, HybridLLM):
            raise HybridError(
                f"a budget is shared out by HybridLLM; {type(extractor).__name__} has {type(model).__name__} as llm. "
                "Give the extractor a HybridLLM, or say llm= where it keeps it elsewhere"
            )
        if by is not None and by not in ("node", "document"):
            raise HybridError(f'by is "node" or "document", got {by!r}')
        workers = num_workers or getattr(extractor, "num_workers", DEFAULT_NUM_WORKERS)
        shown = getattr(extractor, "show_progress", False) if show_progress is None else show_progress
        settings: dict[str, Any] = {
            "extractor": extractor,
            "budget": budget,
            "by": by or _unit_of(extractor),
            "llm": model,
            "num_workers": workers,
            "show_progress": shown,
        }
        super().__init__(**settings, **kwargs)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised data."""
        return "BudgetedExtractor"

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, value: Any) -> BudgetLike:
        return checked_budget(value)

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Extract; see ``acall``."""
        return _run(self.acall(nodes, **kwargs))

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Extract.

        Args:
            nodes: The nodes.
            kwargs: For the extractor.

        Returns:
            What the extractor returned for each node, in the same order.

        Raises:
            KnobError: The budget cannot be kept; nothing was asked then.
        """
        parts = self._parts(nodes)
        decisions = await self._adecided(parts)
        # a bar for each node would be one too many
        quiet = {"show_progress": False} if hasattr(self.extractor, "show_progress") else {}
        extractor = self.extractor.model_copy(update=quiet)

        async def extracted(part: _Part, target: Target) -> Sequence[BaseNode]:
            with query(route=target):
                return await extractor.acall(list(part.nodes), **kwargs)

        jobs = [partial(extracted, part, decision.target) for part, decision in zip(parts, decisions, strict=True)]
        done = await _all(jobs, self.num_workers, self.show_progress, type(extractor).__name__)
        result = list(nodes)
        for part, returned in zip(parts, done, strict=True):
            for place, node in zip(part.places, returned, strict=True):
                result[place] = node
        return result

    def decisions(self, nodes: Sequence[BaseNode]) -> list[RoutingDecision]:
        """Which model would extract each node, and how difficult it was found; no model is asked.

        Args:
            nodes: The nodes.

        Returns:
            One decision a node, in the same order; the nodes of a document share theirs.

        Raises:
            KnobError: The budget cannot be kept.
        """
        parts = self._parts(nodes)
        decided = _run(self._adecided(parts))
        by_place = {place: one for part, one in zip(parts, decided, strict=True) for place in part.places}
        return [by_place[place] for place in range(len(nodes))]

    async def _adecided(self, parts: Sequence[_Part]) -> list[RoutingDecision]:
        if self.llm.policy != "route":
            raise KnobError(
                "a budget is shared out before anything is asked, a cascade decides after each answer: say "
                'large_share, or use policy="route"'
            )
        if not parts:
            return []
        requests = [await self._arequest(part) for part in parts]
        # a limit would let calls pass one after another; it counts them when they are made
        decider = replace(self.llm._before_call, limit=None)
        return within_budget(await decider.adecide(requests), self.budget, [part.load for part in parts])

    async def _arequest(self, part: _Part) -> RoutingRequest:
        # a model must be able to read the longest of the calls
        longest: Request = from_text(max(part.texts, key=len), False, {})
        needs = replace(longest.needs, tokens=longest.needs.tokens + TEMPLATE_TOKENS)
        longest = replace(longest, needs=needs)
        for target in TARGETS:
            if must_be_asked(self.llm._model(target), self.llm._stated(target), needs):
                await self.llm._metadata_cache.load(self.llm._model(target))
        asked = self.llm._routing_request(longest)
        knob = asked.knob if asked.knob.forced is not None else SCORING
        return replace(asked, query="\n\n".join(part.texts), knob=knob, conversation=None)

    def _parts(self, nodes: Sequence[BaseNode]) -> list[_Part]:
        if self.by == "node":
            return [self._part((place,), nodes) for place in range(len(nodes))]
        of_document: dict[str | None, list[int]] = {}
        for place, node in enumerate(nodes):
            of_document.setdefault(node.ref_doc_id, []).append(place)
        return [self._part(tuple(places), nodes) for places in of_document.values()]

    def _part(self, places: tuple[int, ...], nodes: Sequence[BaseNode]) -> _Part:
        mode = getattr(self.extractor, "metadata_mode", MetadataMode.ALL)
        own = tuple(nodes[place] for place in places)
        read, further = own, 0
        if isinstance(self.extractor, TitleExtractor):
            # the first of a document's nodes, and one call that makes a title of their titles
            read, further = own[: self.extractor.nodes], 1
        texts = tuple(node.get_content(metadata_mode=mode) for node in read)
        return _Part(places, own, texts, len(texts) + further)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns or raises, whether or not a loop is running."""

    async def outcome() -> tuple[Result | None, HybridError | None]:
        try:
            return await work, None
        except HybridError as error:
            return None, error

    # core's bridge takes a RuntimeError, which ours are, for one about loops, and says so in its place
    result, error = asyncio_run(outcome())
    if error is not None:
        raise error
    return cast("Result", result)


async def _all(
    jobs: Sequence[Callable[[], Coroutine[Any, Any, Result]]], workers: int, show_progress: bool, title: str
) -> list[Result]:
    """What all of them return; where one fails, what is in work is finished and the rest is not begun.

    Core's ``run_jobs`` would leave the rest to run on unheard, for as long as the loop does, at the user's cost.
    """
    free = asyncio.Semaphore(workers)
    has_failed = False

    async def done(job: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        nonlocal has_failed
        async with free:
            if has_failed:
                raise asyncio.CancelledError
            try:
                return await job()
            except BaseException:
                has_failed = True
                raise

    tasks = [asyncio.ensure_future(done(job)) for job in jobs]
    try:
        return [await task for task in get_tqdm_iterable(tasks, show_progress, title)]
    except BaseException:
        has_failed = True
        raise
    finally:
        # nothing to wait for where all went well
        await asyncio.gather(*tasks, return_exceptions=True)


def _unit_of(extractor: TransformComponent) -> Unit:
    if isinstance(extractor, TitleExtractor):
        return "document"
    shares = isinstance(extractor, SummaryExtractor) and set(extractor.summaries) != {"self"}
    return "document" if shares else "node"
