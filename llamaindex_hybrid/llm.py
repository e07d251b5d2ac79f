"""``HybridLLM``: two LLMs behind one.

Every method that core calls on an LLM is handed to the method of the same name on the chosen model, so that nothing the
model's integration does there is lost: provider hooks for structured output, tool formats, prompt adapters. The methods
carry no callback decorators; the chosen model fires its events, once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    LLMMetadata,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr, SerializeAsAny, field_serializer
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts.prompt_type import PromptType
from llama_index.core.tools.types import BaseTool

from llamaindex_hybrid.annotation import decision_of
from llamaindex_hybrid.calls import from_tools
from llamaindex_hybrid.capabilities import MetadataCache, merged, model_name
from llamaindex_hybrid.endpoints import DelegatingLLM, ToolMessage, with_ready_signatures
from llamaindex_hybrid.messages import selections_with_ids
from llamaindex_hybrid.planning import Copies, Planning
from llamaindex_hybrid.saving import revived, without_secrets
from llamaindex_hybrid.settings import Conversation, checked
from shared_router.cascade import CurrentCascade, Policy, UncertaintyLike, check_policy
from shared_router.deciding import Fallback, OnDrift
from shared_router.errors import HybridError
from shared_router.guards import Capabilities
from shared_router.knob import CONFIDENCE, DEFAULT_KNOB, KNOB_NAMES, KNOB_SETTINGS, Knob, knob_from
from shared_router.limits import Limit
from shared_router.monitor import DriftMonitor
from shared_router.records import TARGETS, Target
from shared_router.router import Router, RouterLike, as_router
from shared_router.settings import CapabilitiesLike, CurrentDecider, StickinessMode, as_capabilities

__all__ = ["HybridLLM"]


class HybridLLM(DelegatingLLM, Planning):
    """Sends each call to a small or a large LLM, by the difficulty of its question and a quality knob.

    Stands wherever an LLM stands: ``Settings.llm``, query and chat engines, agents, extractors, evaluators. Every
    method takes the knob as a keyword for one call (``quality=``, ``max_drop=``, ``large_share=``, ``threshold=``,
    ``route=``, and ``confidence=`` beside a promise), ``query=`` for a text that is judged in place of the call's own,
    and ``conversation=`` for what the conversation is known by; ``llamaindex_hybrid.query`` says the same for a block
    of code. The decision is on the response, in ``additional_kwargs["hybrid"]``.

    Args:
        small: The small model.
        large: The large model.
        router: A router, a function from a text to a difficulty in [0, 1], the path of an artifact, or "default".
        quality: The knob; at most one of these five. With none, ``quality=0.9`` holds.
        max_drop: See ``shared_router.knob``.
        large_share: See ``shared_router.knob``.
        threshold: See ``shared_router.knob``.
        route: "small" or "large": no routing.
        confidence: Keep the promise that ``quality`` or ``max_drop`` makes with at least this probability, in (0, 1),
            certified on the router's calibration set (``hybrid-llm fit`` or ``calibrate``). Where no threshold has it,
            the large model answers, with the reason "uncertified".
        on_drift: What happens to promises once the traffic has left what they were calibrated on: "large" sends it to
            the large model, a number is a ``quality`` to work at, "report" only says so in the decision. None is
            "large" for promises with a confidence, else "report".
        limit: A ``ShareLimit`` or ``SpendLimit`` of ``shared_router.limits``: what the large model may be asked. A call
            that it keeps from the large model has the reason "budget". What is forced, or only the large model can do,
            is not kept from it but counts.
        on_router_error: The model that answers where the router cannot say, or not in time.
        router_time_limit: Seconds that the router may take; None for as long as it takes.
        fallback: Who is asked once where the chosen model fails before it has handed anything out: "large" if the small
            one did, "other" whichever did. None lets the error surface, as do ``predict_and_call`` and its twin always:
            they call the tools themselves, and might call one twice.
        stickiness: "per_call" decides each call anew, "sticky" keeps the model of a conversation, "switch_cost" leaves
            it only where that gains more than ``switch_cost``.
        switch_cost: What a switch costs, on the scale of the difficulty.
        conversation: A function of a call's messages or text and its keyword arguments that names the conversation; a
            ``conversation=`` keyword, or that of ``llamaindex_hybrid.query``, is stronger. Not saved by ``to_dict``.
        small_capabilities: What the small model can do: ``Capabilities`` or its fields by name. It wins over what the
            model says about itself; what neither says is assumed to work.
        large_capabilities: The same of the large model.
        small_prompts: Prompt types (``PromptType``, their names, or "condense") whose calls always go to the small
            model if it can serve them, with the reason "auxiliary", unless a knob is given with the call.
        context_share: The share of the retrieved text, from its beginning, that is judged along with the question.
        policy: "route" decides before the call, by the router. "cascade" asks the small model first, and the large one
            where that answer is uncertain (docs/cascades.md): the knobs then are ``large_share`` or ``threshold``, or a
            promise where ``uncertainty`` was fitted on labelled answers. "route_then_cascade" asks the large model at
            once where the router finds a query hard enough. ``predict_and_call`` and its twin go to the large model,
            with the reason "once": the tools have been called when its answer is known.
        uncertainty: How the small model's answer is judged in a cascade: a name of ``shared_router.uncertainty``, a
            function of the prompt's text and the message that returns a number in [0, 1], the folder of a fitted
            cascade, or a ``Cascade``; None for the margin of its first token.
        route_threshold: The difficulty from which "route_then_cascade" asks the large model at once; None for that of
            the fitted cascade, or 0.9.
        kwargs: Core's own settings of an LLM; they hold for both models where they are given.

    Raises:
        KnobError: Two knobs, or a value that does not fit.
        ArtifactError: ``router`` is a path that leads to no usable artifact.
        HybridError: Any other setting that does not fit.
    """

    small: SerializeAsAny[LLM] = Field(description="The small model.")
    large: SerializeAsAny[LLM] = Field(description="The large model.")
    router: Any = Field(default=None, description="A router, a function, the path of an artifact, or 'default'.")
    quality: float | None = Field(default=None, description="Share of the large model's gain to keep.")
    max_drop: float | None = Field(default=None, description="Accepted relative loss of quality.")
    large_share: float | None = Field(default=None, description="Share of calls that may go to the large model.")
    threshold: float | None = Field(default=None, description="Raw cut on the difficulty.")
    route: Target | None = Field(default=None, description="'small' or 'large': no routing.")
    confidence: float | None = Field(default=None, description="Probability with which a promise is kept.")
    on_router_error: Target = Field(default="large", description="Who answers where the router cannot say.")
    router_time_limit: float | None = Field(default=None, description="Seconds that the router may take.")
    fallback: Fallback | None = Field(default=None, description="Who is asked once where the chosen model fails.")
    stickiness: StickinessMode = Field(default="per_call", description="Whether conversations keep their model.")
    switch_cost: float = Field(default=0.1, description="What a switch costs, on the scale of the difficulty.")
    on_drift: OnDrift | None = Field(default=None, description="What becomes of promises when the traffic drifts.")
    limit: Any = Field(default=None, exclude=True, description="What the large model may be asked at most.")
    conversation: Conversation | None = Field(default=None, exclude=True, description="Names a call's conversation.")
    small_capabilities: Capabilities | None = Field(default=None, description="What the small model can do.")
    large_capabilities: Capabilities | None = Field(default=None, description="What the large model can do.")
    small_prompts: tuple[str, ...] = Field(default=(), description="Prompt types that go to the small model.")
    context_share: float = Field(default=0.0, ge=0.0, le=1.0, description="Share of retrieved text that is judged.")
    policy: Policy = Field(default="route", description="'route', 'cascade' or 'route_then_cascade'.")
    uncertainty: Any = Field(default=None, description="How a cascade judges the small model's answer.")
    route_threshold: float | None = Field(default=None, description="Difficulty that goes to the large model at once.")

    _resolved: Router = PrivateAttr()
    _current_decider: CurrentDecider = PrivateAttr(default_factory=CurrentDecider)
    _current_cascade: CurrentCascade = PrivateAttr(default_factory=CurrentCascade)
    _metadata_cache: MetadataCache = PrivateAttr(default_factory=MetadataCache)
    _overlaid: Copies = PrivateAttr(default_factory=Copies)

    def __init__(
        self,
        *,
        small: LLM,
        large: LLM,
        router: RouterLike = None,
        quality: float | None = None,
        max_drop: float | None = None,
        large_share: float | None = None,
        threshold: float | None = None,
        route: Target | None = None,
        confidence: float | None = None,
        on_router_error: Target = "large",
        router_time_limit: float | None = None,
        fallback: Fallback | None = None,
        stickiness: StickinessMode = "per_call",
        switch_cost: float = 0.1,
        on_drift: OnDrift | None = None,
        limit: Limit | None = None,
        conversation: Conversation | None = None,
        small_capabilities: CapabilitiesLike = None,
        large_capabilities: CapabilitiesLike = None,
        small_prompts: Collection[PromptType | str] = (),
        context_share: float = 0.0,
        policy: Policy = "route",
        uncertainty: UncertaintyLike = None,
        route_threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        knob = knob_from(
            {
                "quality": quality,
                "max_drop": max_drop,
                "large_share": large_share,
                "threshold": threshold,
                "route": route,
                "confidence": confidence,
            }
        )
        resolved = as_router(router)
        settings: dict[str, Any] = {
            "on_router_error": on_router_error,
            "router_time_limit": router_time_limit,
            "fallback": fallback,
            "stickiness": stickiness,
            "switch_cost": switch_cost,
            "on_drift": on_drift,
            "limit": limit,
            "conversation": conversation,
            "small_capabilities": small_capabilities,
            "large_capabilities": large_capabilities,
            "small_prompts": small_prompts,
            "policy": policy,
            "route_threshold": route_threshold,
        }
        check_policy(checked("policy", policy), uncertainty, knob or DEFAULT_KNOB, route_threshold, stickiness)
        super().__init__(
            small=small,
            large=large,
            router=router,
            context_share=context_share,
            uncertainty=uncertainty,
            **{name: checked(name, value) for name, value in settings.items()},
            **({} if knob is None else knob.settings),
            **kwargs,
        )
        self._resolved = resolved
        # a manager without handlers, such as comes back from a pickle, would only take the models' own away
        if "callback_manager" in kwargs and self.callback_manager.handlers:
            self._hand_on(self.callback_manager)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised data."""
        return "hybrid_llm"

    @property
    def monitor(self) -> DriftMonitor | None:
        """What watches whether the traffic is still that of the calibration set; None for a router without one."""
        return self._decider.monitor

    @property
    def metadata(self) -> LLMMetadata:
        """What holds for both models; for the one that can be asked where the other cannot."""
        small, large = (self._metadata_cache.peek(self._model(target)) for target in TARGETS)
        if small is not None and large is not None:
            return merged(small, large)
        return small or large or self._metadata_cache.read(self.large)

    def __setattr__(self, name: str, value: Any) -> None:
        """Hand a new callback manager on to both models; check a knob, and let it replace the one that held.

        Core assigns ``callback_manager`` over and over (``Settings.llm``, every synthesizer, ``resolve_llm``). Only
        another one is handed on: assigning the same one again must not take the models' own managers away.
        """
        if name == "callback_manager" and value is not self.callback_manager:
            self._hand_on(value)
        elif name in KNOB_NAMES and value is not None:
            value = Knob(cast("Any", name), value).value
            for other in KNOB_SETTINGS:
                super().__setattr__(other, None)
        elif name == CONFIDENCE and value is not None:
            value = replace(self._own_knob, confidence=value).confidence
        elif name == "router":
            self._resolved = as_router(value)
        else:
            value = checked(name, value)
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> HybridLLM:
        """A copy over the same models, with settings of its own that are checked like assigned ones."""
        settings = dict(update or {})
        asked = {name: value for name, value in settings.items() if name in KNOB_SETTINGS}
        knob_from(asked if set(asked) != {CONFIDENCE} else {**self._own_knob.settings, **asked})
        copy = super().model_copy(deep=deep)
        copy._current_decider = replace(copy._current_decider)
        copy._current_cascade = replace(copy._current_cascade)
        # a knob takes the confidence of the one before it away, so that one that comes with it is set after it
        for name in sorted(settings, key=lambda name: name == CONFIDENCE):
            setattr(copy, name, settings[name])
        return copy

    def _hand_on(self, callback_manager: Any) -> None:
        for model in (self.small, self.large):
            model.callback_manager = callback_manager

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tools that a response selects, read by the model that produced it.

        Args:
            response: A response of this router, or one chunk of it.
            error_on_no_tool_call: Whether a response without tool calls is an error.
            kwargs: Taken for the host's sake; integrations do not agree on any (Ollama's takes none).

        Raises:
            ValueError: The response has no tool calls; raised by the producing model.
            NotImplementedError: Neither model can call tools.
        """
        decision = decision_of(response) or {}
        # a response that carries no decision was not made here, and any model of ours may try
        legs = [self.small, self.large] if decision.get("target") == "small" else [self.large, self.small]
        for leg in legs:
            if isinstance(leg, FunctionCallingLLM):
                selections = leg.get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call)
                return selections_with_ids(selections, response)
        return super().get_tool_calls_from_response(response, error_on_no_tool_call, **kwargs)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: ToolMessage = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Arguments for a chat method of this router; they name the model in whose format the tools are described."""
        plan = self._plan(from_tools(tools, user_msg, chat_history, (), kwargs), once=True)
        prepared = plan.method("_prepare_chat_with_tools_compat")(
            *plan.args,
            verbose=verbose,
            allow_parallel_tool_calls=allow_parallel_tool_calls,
            tool_required=tool_required,
            **plan.kwargs,
        )
        return {**prepared, "route": plan.decision.target}

    # saving

    @field_serializer("small", "large")
    def _saved_model(self, model: LLM) -> dict[str, Any]:
        return cast("dict[str, Any]", without_secrets(model.model_dump()))

    @field_serializer("router")
    def _saved_router(self, router: RouterLike) -> str | dict[str, str] | None:
        if router is None or isinstance(router, str):
            return router
        return (
            {"router_id": self._resolved.router_id} if callable(router) or isinstance(router, Router) else str(router)
        )

    @field_serializer("uncertainty")
    def _saved_uncertainty(self, uncertainty: UncertaintyLike) -> str | dict[str, str] | None:
        if uncertainty is None or isinstance(uncertainty, str):
            return uncertainty
        return os.fspath(uncertainty) if isinstance(uncertainty, os.PathLike) else {"uncertainty": repr(uncertainty)}

    @field_serializer("small_capabilities", "large_capabilities")
    def _saved_capabilities(self, capabilities: Capabilities | None) -> dict[str, Any] | None:
        if capabilities is None:
            return None
        known = as_capabilities(capabilities)
        return {**asdict(known), "modalities": None if known.modalities is None else sorted(known.modalities)}

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], *, llm_classes: Mapping[str, type[LLM]] | None = None, **kwargs: Any
    ) -> HybridLLM:
        """The router that ``to_dict`` has saved.

        Keys are never saved: the models read theirs from the environment again, or come ready-made as ``small=`` and
        ``large=``.

        Args:
            data: What ``to_dict`` returned.
            llm_classes: ``class_name`` → class, for models whose class is not imported or shares its name.
            kwargs: Settings that replace saved ones.

        Raises:
            HybridError: A model's class cannot be found, or the router was an object that is not in the data.
        """
        settings = {**data, **kwargs}
        if isinstance(settings.get("router"), Mapping):
            raise HybridError(
                f"this HybridLLM was saved with the router {settings['router'].get('router_id')!r}, an object that "
                "JSON cannot hold; hand it over: HybridLLM.from_dict(data, router=...)"
            )
        if isinstance(settings.get("uncertainty"), Mapping):
            raise HybridError(
                f"this HybridLLM was saved with the uncertainty {settings['uncertainty'].get('uncertainty')!r}, an "
                "object that JSON cannot hold; hand it over: HybridLLM.from_dict(data, uncertainty=...)"
            )
        for target in TARGETS:
            settings[target] = revived(settings[target], llm_classes or {})
        return super().from_dict(settings)

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle.

        Raises:
            HybridError: A model or the router does not pickle. Core would leave it out with a warning, and the copy
                would route by the default router.
        """
        state = super().__getstate__()
        missing = [
            name
            for name in ("small", "large", "router", "conversation", "uncertainty")
            if name not in state["__dict__"]
        ]
        if missing:
            raise HybridError(
                f"{' and '.join(missing)} cannot be pickled; give an artifact's path or a function of a module for a "
                "router, and a model that pickles"
            )
        return state

    def __repr_args__(self) -> list[tuple[str, Any]]:
        # pydantic would show the models with their keys
        knob = self._own_knob
        return [
            ("small", model_name(self.small)),
            ("large", model_name(self.large)),
            ("router", self._resolved.router_id),
            *knob.settings.items(),
        ]


with_ready_signatures(HybridLLM)
