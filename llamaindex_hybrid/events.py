"""The instrumentation event that tells observers how a call was routed."""

from __future__ import annotations

from llama_index_instrumentation.base import BaseEvent

from shared_router.decision import RoutingDecision

__all__ = ["HybridRoutingEvent"]


class HybridRoutingEvent(BaseEvent):
    """One call was routed. Dispatched once per call, before the chosen model is asked; never holds the query's text.

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
