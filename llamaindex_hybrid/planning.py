"""A request → a plan: who answers, and the call as that model can take it.

All that a router of two models has to look up lies here: what holds at the call or else at the router, what the models
can do, which conversation is going on. The decision itself is ``shared_router``'s.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms.llm import LLM, default_completion_to_prompt
from llama_index.core.types import PydanticProgramMode

from llamaindex_hybrid.calls import Plan, Request
from llamaindex_hybrid.capabilities import (
    FITS_ANYWHERE,
    MetadataCache,
    model_name,
    must_be_asked,
)
from llamaindex_hybrid.cascading import Asking
from llamaindex_hybrid.delegation import Delegating
from llamaindex_hybrid.evidence import logprob_settings, overheard
from llamaindex_hybrid.messages import Recipient, to_turns
from llamaindex_hybrid.needs import counted_by_host
from llamaindex_hybrid.settings import Conversation
from shared_router.cascade import CASCADE, CascadeDecider, CurrentCascade, Policy, UncertaintyLike
from shared_router.deciding import Decider, Fallback, OnDrift, RoutingRequest, may_fall_back
from shared_router.decision import RoutingDecision, overridden
from shared_router.guards import Call, Capabilities, Needs, Verdict, verdict
from shared_router.knob import DEFAULT_KNOB, KNOB_NAMES, Knob
from shared_router.limits import Limit
from shared_router.records import TARGETS, Target
from shared_router.router import Router
from shared_router.settings import CurrentDecider, StickinessMode, as_capabilities

__all__ = ["OVERLAYS", "Copies", "Planning", "recounted"]

logger = logging.getLogger(__name__)

OVERLAYS: Mapping[str, Any] = {
    "system_prompt": None,
    "output_parser": None,
    "query_wrapper_prompt": None,
    "pydantic_program_mode": PydanticProgramMode.DEFAULT,
    "messages_to_prompt": messages_to_prompt,
    "completion_to_prompt": default_completion_to_prompt,
}
"""Settings that the host reads off the LLM it calls, and core's defaults; set on the router, they hold for both."""

AUXILIARY = Verdict("small", "auxiliary")
"""What is said of a call whose kind of prompt always goes to the small model."""


class Copies(dict[str, tuple[LLM, dict[str, Any], dict[str, Any], LLM]]):
    """Copies of the models with settings laid over them, by model: made again in another process."""

    def __reduce__(self) -> tuple[type[Copies], tuple[()]]:
        return Copies, ()


class Planning(Delegating):
    """Plans the calls of a router; the fields and the private attributes are those of ``HybridLLM``."""

    small: LLM
    large: LLM
    on_router_error: Target
    router_time_limit: float | None
    fallback: Fallback | None
    stickiness: StickinessMode
    switch_cost: float
    on_drift: OnDrift | None
    limit: Limit | None
    confidence: float | None
    conversation: Conversation | None
    small_capabilities: Capabilities | None
    large_capabilities: Capabilities | None
    small_prompts: tuple[str, ...]
    context_share: float
    policy: Policy
    uncertainty: UncertaintyLike
    route_threshold: float | None

    _resolved: Router
    _current_decider: CurrentDecider
    _current_cascade: CurrentCascade
    _metadata_cache: MetadataCache
    _overlaid: Copies

    def _plan(self, request: Request, *, once: bool = False) -> Plan:
        asked = self._routing_request(request)
        decision = self._by_kind(request, asked) or self._decider.decide([asked])[0]
        return self._planned(request, _at_once(decision) if once else decision)

    async def _aplan(self, request: Request, *, once: bool = False) -> Plan:
        for target in TARGETS:
            if must_be_asked(self._model(target), self._stated(target), request.needs):
                await self._metadata_cache.load(self._model(target))
        asked = self._routing_request(request)
        decision = self._by_kind(request, asked) or (await self._decider.adecide([asked]))[0]
        decision = _at_once(decision) if once else decision
        await self._metadata_cache.load(self._model(decision.target))
        return self._planned(request, decision)

    def _plan_again(self, plan: Plan, request: Request, error: Exception) -> Plan | None:
        if not may_fall_back(plan.decision, self.fallback):
            return None
        return self._planned(request, plan.decision.after_failure(error))

    async def _aplan_again(self, plan: Plan, request: Request, error: Exception) -> Plan | None:
        if not may_fall_back(plan.decision, self.fallback):
            return None
        decision = plan.decision.after_failure(error)
        await self._metadata_cache.load(self._model(decision.target))
        return self._planned(request, decision)

    def _asking(self, method: str, plan: Plan, request: Request) -> Asking:
        return Asking(
            method=method,
            request=request,
            first=plan,
            decider=self._cascade_over(self._before_call),
            asked=self._routing_request(request),
            plan=lambda decision: self._planned(request, decision),
            load=lambda: self._metadata_cache.load(self.large),
            fallback=self.fallback,
        )

    # what is known about a call

    def _routing_request(self, request: Request) -> RoutingRequest:
        knob = request.knob or self._own_knob
        # a forced call asks for no guard
        capabilities = self._capabilities(request.needs) if knob.forced is None else {}
        return RoutingRequest(
            query=request.judged(self.context_share),
            knob=knob,
            needs=recounted(request, capabilities),
            capabilities=capabilities,
            conversation=self._conversation_of(request),
            # only a monitor asks, and finding out may mean formatting a template
            in_loop=self._resolved.calibration_set is not None and _is_in_loop(request.content()),
        )

    @property
    def _own_knob(self) -> Knob:
        # read at every call: knob_from checks what was checked when it was set
        for name in KNOB_NAMES:
            if (value := getattr(self, name)) is not None:
                return Knob(name, value, self.confidence)
        return DEFAULT_KNOB

    def _capabilities(self, needs: Needs) -> dict[Target, Capabilities]:
        needs_text_only = not (needs.modalities or needs.tools or needs.structured_output)
        if (
            needs_text_only
            and needs.tokens <= FITS_ANYWHERE
            and not (self.small_capabilities or self.large_capabilities)
        ):
            return {}
        can = self._metadata_cache.capabilities
        return {target: can(self._model(target), self._stated(target), needs) for target in TARGETS}

    def _stated(self, target: Target) -> Capabilities:
        return as_capabilities(self.small_capabilities if target == "small" else self.large_capabilities)

    def _conversation_of(self, request: Request) -> Hashable | None:
        if self.stickiness == "per_call" or request.conversation is not None or self.conversation is None:
            return request.conversation
        try:
            key = self.conversation(request.content(), request.kwargs)
            hash(key)
        except Exception as error:  # a user's function, like a user's router, must not take the answer down
            logger.warning(
                "the function that names a conversation failed (%s); it is not remembered", type(error).__name__
            )
            return None
        return key

    # who decides

    def _by_kind(self, request: Request, asked: RoutingRequest) -> RoutingDecision | None:
        """The decision on a call whose kind of prompt goes to the small model, if that one can serve it."""
        if request.knob is not None or request.question.prompt_type not in self.small_prompts:
            return None
        call = Call(asked.knob, asked.needs, asked.capabilities)
        return overridden(verdict(call) or AUXILIARY, call, router_id=self._resolved.router_id)

    @property
    def _decider(self) -> Decider | CascadeDecider:
        decider = self._before_call
        return decider if self.policy == "route" else self._cascade_over(decider)

    def _cascade_over(self, decider: Decider) -> CascadeDecider:
        return self._current_cascade.over(decider, self.policy, self.uncertainty, self.route_threshold)

    @property
    def _before_call(self) -> Decider:
        return self._current_decider.under(
            self._resolved,
            self.on_router_error,
            self.router_time_limit,
            self.stickiness,
            self.switch_cost,
            self.on_drift,
            self.limit,
        )

    # who answers

    def _planned(self, request: Request, decision: RoutingDecision) -> Plan:
        model = self._model(decision.target)
        name = model_name(model)
        metadata = self._metadata_cache.peek(model)
        role = metadata.system_role if metadata is not None else MessageRole.SYSTEM
        return Plan(
            decision=decision,
            llm=self._leg(decision.target),
            args=request.arguments_for(Recipient(type(self.small) is not type(self.large), role)),
            kwargs=request.keywords(),
            model=name,
            record=decision.as_metadata(name),
        )

    def _model(self, target: Target) -> LLM:
        return self.small if target == "small" else self.large

    def _leg(self, target: Target) -> LLM:
        """The model, with the settings laid over it that the user has made on the router; heard, in a cascade."""
        model = self._model(target)
        overlay = {name: value for name, default in OVERLAYS.items() if (value := getattr(self, name)) != default}
        is_heard = target == "small" and self.policy != "route"
        if is_heard:
            overlay |= logprob_settings(model, self._cascade_over(self._before_call).cascade)
        if not overlay and not is_heard:
            return model
        known = self._overlaid.get(target)
        # the copy is kept, with the HTTP client it has built, until either side changes
        if known is None or known[0] is not model or known[1] != overlay or known[2] != model.__dict__:
            copy = model.model_copy(update=overlay)
            known = (model, overlay, dict(model.__dict__), overheard(copy) if is_heard else copy)
            self._overlaid[target] = known
        return known[3]


def _is_in_loop(content: Sequence[ChatMessage] | str) -> bool:
    turns = [] if isinstance(content, str) else to_turns(content)
    return bool(turns) and turns[-1].role == "tool"


def _at_once(decision: RoutingDecision) -> RoutingDecision:
    """The decision where only one model can be asked: the model's own code acts on its answer before anyone judges."""
    return replace(decision, target="large", reason="once") if decision.reason == CASCADE else decision


def recounted(request: Request, capabilities: Mapping[Any, Capabilities]) -> Needs:
    """The call's needs, with tokens counted where an estimate alone would send it away from a model.

    Synthesizers pack prompts up to the window, by the host's tokenizer: a generous estimate finds every one too long.
    What is too long by more than twice is too long by any count.
    """
    needs = request.needs
    windows = (model.context_window for model in capabilities.values())
    if any(window is not None and needs.tokens / 2 <= window < needs.tokens for window in windows):
        count = counted_by_host()
        return needs if count is None else request.weighed(count=count)
    return needs
