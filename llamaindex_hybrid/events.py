"""The instrumentation event that tells observers how a call was routed."""

from __future__ import annotations

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import Dispatcher
from llama_index_instrumentation.event_handlers import NullEventHandler

from llamaindex_hybrid.calls import Plan
from shared_router.decision import RoutingDecision
from shared_router.experts.decision import ExpertDecision

__all__ = ["ExpertRoutingEvent", "HybridRoutingEvent", "announce"]

dispatcher = get_dispatcher(__name__)


class HybridRoutingEvent(BaseEvent):
    """One call was routed. Dispatched before the chosen model is asked; never holds the query's text.

    One call has one event, and a second one, with the reason "fallback", if the other model is asked as well.

    Query engines hand out texts, not responses: there, this event is where the decision can be seen.

    Attributes:
        method: The method that was called, such as "chat" or "predict".
        model: Name of the chosen model.
        decision: Which model, and why.
    """

    method: str
    model: str
    decision: RoutingDecision

    @classmethod
    def class_name(cls) -> str:
        """Name of the event in serialised traces."""
        return "HybridRoutingEvent"


class ExpertRoutingEvent(BaseEvent):
    """One call was given to an expert; as ``HybridRoutingEvent``.

    Attributes:
        method: The method that was called.
        model: Name of the expert's model.
        decision: Which expert, and why.
    """

    method: str
    model: str
    decision: ExpertDecision

    @classmethod
    def class_name(cls) -> str:
        """Name of the event in serialised traces."""
        return "ExpertRoutingEvent"


def announce(method: str, plan: Plan) -> None:
    """Tell observers, if there are any: making an event takes longer than looking for who would hear it."""
    if not _is_heard(dispatcher):
        return
    decision: RoutingDecision | ExpertDecision = plan.decision
    if isinstance(decision, ExpertDecision):
        dispatcher.event(ExpertRoutingEvent(method=method, model=plan.model, decision=decision))
    else:
        dispatcher.event(HybridRoutingEvent(method=method, model=plan.model, decision=decision))


def _is_heard(source: Dispatcher) -> bool:
    # the root's own handler takes events and does nothing
    if any(type(handler) is not NullEventHandler for handler in source.event_handlers):
        return True
    return source.propagate and _is_heard(source.parent)
