"""The router for an agent that exists already: each model call of its loop goes to the small or to the large model.

Where ``HybridChatModel`` stands for a model, the middleware puts the chosen model itself into the request. So whatever
looks at the model's class sees the one that will answer: a provider's prompt caching further in, or the agent itself
when it chooses how to get structured output.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import ensure_config
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config

from langchain_hybrid.annotation import KEY, annotated
from langchain_hybrid.callbacks import DECISION_EVENT
from langchain_hybrid.deciding import Decider
from langchain_hybrid.messages import readable_by
from langchain_hybrid.plan import knob_in, recipient
from shared_router.decision import RoutingDecision
from shared_router.errors import HybridError, MissingExtraError
from shared_router.knob import DEFAULT_KNOB, Knob, knob_from, split_knob
from shared_router.records import JSON, TARGETS, Target
from shared_router.router import RouterLike, as_router

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtraError(
        'agents are in the package langchain; run: pip install "hybrid-llm[langchain]" "langchain>=1.0"'
    ) from error

__all__ = ["HybridRoutingMiddleware"]


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """What is to be done about one model call of an agent.

    Attributes:
        record: The decision as JSON values.
        request: The request with the chosen model in it.
    """

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
        on_router_error: The model that answers where the router fails.
        **knob: At most one of ``quality``, ``max_drop``, ``large_share``, ``threshold``, ``route``.

    Raises:
        KnobError: Two knobs are given, or one is unknown, out of range or of the wrong type.
        ArtifactError: ``router`` is a path that leads to no usable artifact.
        HybridError: A model that is no chat model, or an unknown ``on_router_error``.
    """

    def __init__(
        self,
        small: BaseChatModel,
        large: BaseChatModel | None = None,
        *,
        router: RouterLike = None,
        on_router_error: Target = "large",
        **knob: Any,
    ) -> None:
        super().__init__()
        for model in (small, large):
            if model is not None and not isinstance(model, BaseChatModel):
                raise HybridError(f"small and large are chat models (BaseChatModel), got {type(model).__name__}")
        if on_router_error not in TARGETS:
            raise HybridError(f'on_router_error is "small" or "large", got {on_router_error!r}')
        self.small = small
        self.large = large
        self.router = as_router(router)
        self.on_router_error: Target = on_router_error
        self.knob = knob_from(knob) or DEFAULT_KNOB
        self._decider = Decider()

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Have the chosen model answer; see ``AgentMiddleware``."""
        knob = self._knob(request)
        (decision,) = self._decider.decide(self.router, [list(request.messages)], [knob], self.on_router_error)
        plan = self._plan(request, decision)
        callbacks = get_callback_manager_for_config(ensure_config())
        callbacks.on_custom_event(DECISION_EVENT, plan.record, run_id=callbacks.parent_run_id)
        return _annotated_answers(handler(plan.request), plan.record)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Have the chosen model answer; see ``AgentMiddleware``."""
        knob = self._knob(request)
        (decision,) = await self._decider.adecide(self.router, [list(request.messages)], [knob], self.on_router_error)
        plan = self._plan(request, decision)
        callbacks = get_async_callback_manager_for_config(ensure_config())
        await callbacks.on_custom_event(DECISION_EVENT, plan.record, run_id=callbacks.parent_run_id)
        return _annotated_answers(await handler(plan.request), plan.record)

    def _knob(self, request: ModelRequest[Any]) -> Knob:
        at_call, _ = split_knob(request.model_settings)
        return at_call or knob_in(ensure_config()) or self.knob

    def _plan(self, request: ModelRequest[Any], decision: RoutingDecision) -> AgentPlan:
        target = decision.target
        model = self.small if target == "small" else self.large or request.model
        _, settings = split_knob(request.model_settings)
        reader = recipient(target, model, settings)
        record = decision.as_metadata(reader.model)
        marked = model.model_copy(
            update={
                "tags": [*(model.tags or ()), f"{KEY}:{target}"],
                "metadata": {**(model.metadata or {}), KEY: dict(record)},
            }
        )
        messages: Any = readable_by(reader, list(request.messages))
        return AgentPlan(record, request.override(model=marked, messages=messages, model_settings=settings))


def _annotated_answers(response: ModelResponse[Any], record: dict[str, JSON]) -> ModelResponse[Any]:
    messages = [annotated(one, record) if isinstance(one, AIMessage) else one for one in response.result]
    return replace(response, result=messages)
