"""The router for an agent that exists already: each model call of its loop goes to the small or to the large model.

Where ``HybridChatModel`` stands for a model, the middleware puts the chosen model itself into the request. So whatever
looks at the model's class sees the one that will answer: a provider's prompt caching further in, or the agent itself
when it chooses how to get structured output.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import ensure_config
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config

from langchain_hybrid.annotation import KEY, annotated
from langchain_hybrid.callbacks import DECISION_EVENT, SpeechWatch
from langchain_hybrid.capabilities import KnownCapabilities
from langchain_hybrid.messages import readable_by
from langchain_hybrid.plan import knob_in, recipient
from langchain_hybrid.request import Conversation, Judged, conversation_key, routing_request
from shared_router.deciding import Decider, Fallback, OnDrift, RoutingRequest, may_fall_back
from shared_router.decision import RoutingDecision
from shared_router.errors import HybridError, MissingExtraError
from shared_router.knob import DEFAULT_KNOB, knob_from, split_knob
from shared_router.limits import Limit
from shared_router.records import JSON, Target
from shared_router.router import RouterLike, as_router
from shared_router.settings import CapabilitiesLike, CurrentDecider, StickinessMode, check_settings

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langgraph.errors import GraphBubbleUp
except ImportError as error:
    raise MissingExtraError(
        'agents are in the package langchain; run: pip install "hybrid-llm[langchain]" "langchain>=1.0"'
    ) from error

__all__ = ["HybridRoutingMiddleware"]


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """What is to be done about one model call of an agent.

    Attributes:
        decision: Which model answers, and why.
        record: The decision as JSON values.
        request: The request with the chosen model in it.
    """

    decision: RoutingDecision
    record: dict[str, JSON]
    request: ModelRequest[Any]


class HybridRoutingMiddleware(AgentMiddleware[Any, Any]):
    """Sends each model call of an agent to a small or a large model.

    The decision lies on every answer under ``response_metadata["hybrid"]``, in the tags and metadata of the chosen
    model's run, and in the custom event ``hybrid_decision``. The judged text is the human's last ask, so that a model
    does not change within a tool loop. A knob comes from here, from ``config={"configurable": {"quality": 0.8}}``, or
    from the request's ``model_settings``, each replacing those before it.

    Args:
        small: The model that answers what is easy.
        large: The model that answers what is hard; the agent's own model if None.
        router: A ``Router``, a function from a text to a difficulty in [0, 1], the path of an artifact, or None for the
            embedded default.
        limit: What the large model may be asked at most, as for ``HybridChatModel``.
        on_router_error: The model that answers where the router fails.
        router_time_limit: Seconds that the router may take before it counts as failed; None for as long as it takes.
        fallback: Who is asked once where the chosen model fails before its first token: ``"large"``, ``"other"``, or
            None for nobody.
        stickiness: ``"per_call"``, ``"sticky"`` or ``"switch_cost"``, as for ``HybridChatModel``.
        switch_cost: What a switch costs, on the scale of the difficulty, in [0, 1].
        conversation: A function of messages and config that names the conversation; without one it is the thread.
        judged: A function of messages that returns the text to judge; without one it is the human's last ask.
        small_capabilities: What the small model can do, where its profile is silent or wrong.
        large_capabilities: The same for the large model.
        on_drift: What happens to promises once the traffic has left what they were calibrated on, as for
            ``HybridChatModel``.
        **knob: At most one of ``quality``, ``max_drop``, ``large_share``, ``threshold``, ``route``; a ``confidence``
            beside either of the first two.

    Raises:
        KnobError: Two knobs are given, or one is unknown, out of range or of the wrong type.
        ArtifactError: ``router`` is a path that leads to no usable artifact.
        HybridError: A model that is no chat model, or a setting that does not fit.
    """

    def __init__(
        self,
        small: BaseChatModel,
        large: BaseChatModel | None = None,
        *,
        router: RouterLike = None,
        on_router_error: Target = "large",
        router_time_limit: float | None = None,
        fallback: Fallback | None = None,
        stickiness: StickinessMode = "per_call",
        switch_cost: float = 0.1,
        on_drift: OnDrift | None = None,
        limit: Limit | None = None,
        conversation: Conversation | None = None,
        judged: Judged | None = None,
        small_capabilities: CapabilitiesLike = None,
        large_capabilities: CapabilitiesLike = None,
        **knob: Any,
    ) -> None:
        super().__init__()
        for model in (small, large):
            if model is not None and not isinstance(model, BaseChatModel):
                raise HybridError(f"small and large are chat models (BaseChatModel), got {type(model).__name__}")
        check_settings(
            {
                "on_router_error": on_router_error,
                "router_time_limit": router_time_limit,
                "fallback": fallback,
                "stickiness": stickiness,
                "switch_cost": switch_cost,
                "on_drift": on_drift,
                "limit": limit,
                "conversation": conversation,
                "judged": judged,
                "small_capabilities": small_capabilities,
                "large_capabilities": large_capabilities,
            }
        )
        self.small = small
        self.large = large
        self.router = as_router(router)
        self.on_router_error: Target = on_router_error
        self.router_time_limit = router_time_limit
        self.fallback: Fallback | None = fallback
        self.stickiness: StickinessMode = stickiness
        self.switch_cost = switch_cost
        self.on_drift: OnDrift | None = on_drift
        self.limit = limit
        self.conversation = conversation
        self.judged = judged
        self.small_capabilities = small_capabilities
        self.large_capabilities = large_capabilities
        self.knob = knob_from(knob) or DEFAULT_KNOB
        self._current = CurrentDecider()
        self._known_capabilities = KnownCapabilities()

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Have the chosen model answer; see ``AgentMiddleware``."""
        watch = SpeechWatch()
        (decision,) = self._decider.decide([self._asked(request)])
        plan = self._plan(request, decision, watch)
        try:
            return self._attempt(plan, handler)
        except GraphBubbleUp:  # LangGraph's way to interrupt a run is no failure
            raise
        except Exception as error:
            if watch.has_spoken or not may_fall_back(plan.decision, self.fallback):
                raise
            return self._attempt(self._plan(request, plan.decision.after_failure(error), watch), handler)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Have the chosen model answer; see ``AgentMiddleware``."""
        watch = SpeechWatch()
        (decision,) = await self._decider.adecide([self._asked(request)])
        plan = self._plan(request, decision, watch)
        try:
            return await self._aattempt(plan, handler)
        except GraphBubbleUp:  # LangGraph's way to interrupt a run is no failure
            raise
        except Exception as error:
            if watch.has_spoken or not may_fall_back(plan.decision, self.fallback):
                raise
            return await self._aattempt(self._plan(request, plan.decision.after_failure(error), watch), handler)

    def _attempt(
        self, plan: AgentPlan, handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        callbacks = get_callback_manager_for_config(ensure_config())
        callbacks.on_custom_event(DECISION_EVENT, plan.record, run_id=callbacks.parent_run_id)
        return _annotated_answers(handler(plan.request), plan.record)

    async def _aattempt(
        self, plan: AgentPlan, handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        callbacks = get_async_callback_manager_for_config(ensure_config())
        await callbacks.on_custom_event(DECISION_EVENT, plan.record, run_id=callbacks.parent_run_id)
        return _annotated_answers(await handler(plan.request), plan.record)

    @property
    def _decider(self) -> Decider:
        return self._current.under(
            self.router,
            self.on_router_error,
            self.router_time_limit,
            self.stickiness,
            self.switch_cost,
            self.on_drift,
            self.limit,
        )

    def _asked(self, request: ModelRequest[Any]) -> RoutingRequest:
        """The model call, as the router sees it."""
        config = ensure_config()
        at_call, settings = split_knob(request.model_settings)
        large = self.large or request.model
        first = [request.system_message] if request.system_message is not None else []
        messages: list[BaseMessage] = [*first, *request.messages]
        remembers = self.stickiness != "per_call"
        return routing_request(
            messages,
            at_call or knob_in(config) or self.knob,
            replay=None,
            kwargs={**settings, "tools": request.tools, "response_format": request.response_format},
            capabilities=self._known_capabilities.of(
                self.small, large, self.small_capabilities, self.large_capabilities
            ),
            conversation=conversation_key(self.conversation, messages, config) if remembers else None,
            counters=(self.small, large),
            judged=self.judged,
        )

    def _plan(self, request: ModelRequest[Any], decision: RoutingDecision, watch: SpeechWatch) -> AgentPlan:
        target = decision.target
        model = self.small if target == "small" else self.large or request.model
        _, settings = split_knob(request.model_settings)
        reader = recipient(target, model, settings)
        record = decision.as_metadata(reader.model)
        own = model.callbacks.handlers if isinstance(model.callbacks, BaseCallbackManager) else model.callbacks or ()
        marked = model.model_copy(
            update={
                **({"callbacks": [*own, watch]} if self.fallback is not None else {}),
                "tags": [*(model.tags or ()), f"{KEY}:{target}"],
                "metadata": {**(model.metadata or {}), KEY: dict(record)},
            }
        )
        messages: Any = readable_by(reader, list(request.messages))
        return AgentPlan(decision, record, request.override(model=marked, messages=messages, model_settings=settings))


def _annotated_answers(response: ModelResponse[Any], record: dict[str, JSON]) -> ModelResponse[Any]:
    messages = [annotated(one, record) if isinstance(one, AIMessage) else one for one in response.result]
    return replace(response, result=messages)
