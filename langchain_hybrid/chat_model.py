"""A chat model that is two: every call goes to the small or to the large one.

One call, top to bottom: ``_call`` reads what is asked, ``_decide`` scores it, ``_plan`` turns the decision into what is
to be done, then the chosen model is called once through its public method, and the response gets the decision. Only
that last step differs between invoke, stream and their async twins.

The public entry points are overridden, not the hooks below them: those never see the call's config, and a model called
from there has no place in the trace (``langchain_core/language_models/chat_models.py``).
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import ConfigurableFieldSpec, Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from pydantic import Field, PrivateAttr, field_validator, model_validator

from langchain_hybrid.batching import BudgetedBatch, budgeted_batch
from langchain_hybrid.binding import (
    BOUND_KNOB,
    REPLAY,
    HybridBinding,
    Leg,
    Replay,
    SchemaReplay,
    ToolReplay,
    bound_settings,
)
from langchain_hybrid.callbacks import AsyncRun, OpenRun, RunStart, SyncRun
from langchain_hybrid.capabilities import KnownCapabilities, merged_profile
from langchain_hybrid.cascading import Asking, aanswered, answered, aparts_of, parts_of
from langchain_hybrid.delegating import DelegatingChatModel, with_stop
from langchain_hybrid.evidence import logprob_settings
from langchain_hybrid.messages import readable_by
from langchain_hybrid.plan import Call, Plan, knob_in, merged_decisions, model_name, recipient
from langchain_hybrid.relay import arelayed, relayed
from langchain_hybrid.request import Conversation, Judged, conversation_key, routing_request
from langchain_hybrid.watch import AsyncLegWatch, LegWatch
from shared_router.budget import BudgetLike
from shared_router.cascade import CASCADE, CascadeDecider, CurrentCascade, Policy, check_policy
from shared_router.deciding import Decider, Fallback, OnDrift, RoutingRequest, may_fall_back
from shared_router.decision import RoutingDecision
from shared_router.errors import HybridError, KnobError
from shared_router.knob import DEFAULT_KNOB, KNOB_NAMES, KNOB_SETTINGS, Knob, knob_from, split_knob
from shared_router.monitor import DriftMonitor
from shared_router.records import TARGETS, Target
from shared_router.router import Router, as_router
from shared_router.settings import CurrentDecider, StickinessMode, check_settings

__all__ = ["HybridChatModel"]

Value = TypeVar("Value")


class HybridChatModel(DelegatingChatModel):
    """A small and a large chat model behind one interface; a learned difficulty decides who answers each call.

    The response carries the decision under ``response_metadata["hybrid"]``. In a trace the router is a chain run and
    the chosen model its child, tagged ``hybrid:small`` or ``hybrid:large``, with the decision in its metadata; a custom
    event ``hybrid_decision`` tells it to callbacks as soon as it is made.

    The knob (at most one of ``quality``, ``max_drop``, ``large_share``, ``threshold``, ``route``) can be given here, in
    ``config={"configurable": {"quality": 0.8}}``, bound, or at the call; each replaces those before it, and a
    ``confidence`` goes with the promise that it was given with.

    Args:
        small: The model that answers what is easy.
        large: The model that answers what is hard.
        router: A ``Router``, a function from a text to a difficulty in [0, 1], the path of an artifact, or None for the
            embedded default.
        quality: Keep at least this share of what the large model adds over the small one. The default knob, at 0.9.
        max_drop: Accept at most this relative loss of quality against always asking the large model.
        large_share: Send at most this share of calls to the large model.
        threshold: The large model answers from this difficulty on.
        route: ``"small"`` or ``"large"``: no routing.
        confidence: Keep the promise that ``quality`` or ``max_drop`` makes with at least this probability, in (0, 1),
            certified on the router's calibration set (``hybrid-llm fit`` or ``calibrate``). Where no threshold has it,
            the large model answers, with the reason "uncertified".
        on_drift: What happens to promises once the traffic has left what they were calibrated on: ``"large"`` sends it
            to the large model, a number is a ``quality`` to work at, ``"report"`` only says so in the decision. None is
            ``"large"`` for promises with a confidence, else ``"report"``.
        limit: A ``ShareLimit`` or ``SpendLimit`` of ``shared_router.limits``: what the large model may be asked. A call
            that it keeps from the large model has the reason "budget". What is forced, or only the large model can do,
            is not kept from it but counts.
        on_router_error: The model that answers where the router fails.
        router_time_limit: Seconds that the router may take before it counts as failed; None for as long as it takes.
        fallback: Who is asked once where the chosen model fails before its first token: ``"large"`` where the small
            one did, ``"other"`` either for the other, None for nobody, so that the error comes through as it is.
        stickiness: ``"per_call"`` decides each call anew; ``"sticky"`` keeps a conversation's first model;
            ``"switch_cost"`` switches only where the gain exceeds the cost of a cold prompt cache.
        switch_cost: That cost, on the scale of the difficulty, in [0, 1].
        conversation: A function of messages and config that names the conversation; without one it is the
            ``thread_id`` in the config's ``configurable`` or ``metadata``. None is not remembered.
        judged: A function of messages that returns the text to judge; without one it is the human's last ask, which
            stays the same throughout a tool loop.
        small_capabilities: What the small model can do (modalities, tools, structured_output, context_window), where
            its profile is silent or wrong. A call that only one model can serve goes to that one, unscored.
        large_capabilities: The same for the large model.
        policy: ``"route"`` decides before the call, by the router. ``"cascade"`` asks the small model first, and the
            large one where that answer is uncertain (docs/cascades.md): the knobs then are ``large_share`` or
            ``threshold``, or a promise where ``uncertainty`` was fitted on labelled answers. ``"route_then_cascade"``
            asks the large model at once where the router finds a query hard enough.
        uncertainty: How the small model's answer is judged in a cascade: a name of ``shared_router.uncertainty``, a
            function of the prompt's text and the message that returns a number in [0, 1], the folder of a fitted
            cascade, or a ``Cascade``; None for the margin of its first token.
        route_threshold: The difficulty from which ``"route_then_cascade"`` asks the large model at once; None for that
            of the fitted cascade, or 0.9.

    Raises:
        KnobError: Two knobs are given, or one is misspelt, out of range or of the wrong type.
        ArtifactError: ``router`` is a path that leads to no usable artifact.
        HybridError: A setting that belongs on the two models, or a model that is no chat model.
    """

    # the two models and the router stay out of repr and dump: serializers of traces and graphs keep those
    small: BaseChatModel = Field(repr=False, exclude=True)
    large: BaseChatModel = Field(repr=False, exclude=True)
    router: Any = Field(default=None, repr=False, exclude=True, validate_default=True)
    quality: float | None = None
    max_drop: float | None = None
    large_share: float | None = None
    threshold: float | None = None
    route: Target | None = None
    confidence: float | None = None
    on_router_error: Target = "large"
    router_time_limit: float | None = None
    fallback: Fallback | None = None
    stickiness: StickinessMode = "per_call"
    switch_cost: float = 0.1
    on_drift: OnDrift | None = None
    limit: Any = Field(default=None, repr=False, exclude=True)
    conversation: Conversation | None = Field(default=None, repr=False, exclude=True)
    judged: Judged | None = Field(default=None, repr=False, exclude=True)
    small_capabilities: Any = None
    large_capabilities: Any = None
    policy: Policy = "route"
    uncertainty: Any = Field(default=None, repr=False, exclude=True)
    route_threshold: float | None = None

    _configured_legs: dict[Target, tuple[BaseChatModel, dict[str, Any], BaseChatModel]] = PrivateAttr(
        default_factory=dict
    )
    _current: CurrentDecider = PrivateAttr(default_factory=CurrentDecider)
    _current_cascade: CurrentCascade = PrivateAttr(default_factory=CurrentCascade)
    _known_capabilities: KnownCapabilities = PrivateAttr(default_factory=KnownCapabilities)

    # ── settings ──

    @model_validator(mode="before")
    @classmethod
    def _check_settings(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name in values:
            if name not in cls.model_fields:
                if difflib.get_close_matches(name, KNOB_SETTINGS, n=1):
                    knob_from({name: values[name]})
                raise HybridError(
                    f"{name!r} is no setting of {cls.__name__}; what concerns a model, such as a temperature or a "
                    "timeout, is set on small and large"
                )
        for name in ("cache", "rate_limiter"):
            if values.get(name) is not None:
                raise HybridError(f"{name} on the router would have no effect; set it on small and large, one each")
        check_settings(values)
        knob = knob_from({name: values.get(name) for name in KNOB_SETTINGS})
        policy = ("policy", "uncertainty", "route_threshold")
        if any(values.get(name) is not None for name in policy):
            about = (values.get("policy", "route"), values.get("uncertainty"), knob or DEFAULT_KNOB)
            cascade = check_policy(*about, values.get("route_threshold"), values.get("stickiness", "per_call"))
            values = {**values, "uncertainty": cascade} if about[0] != "route" else values
        return {**values, **knob.settings} if knob is not None else values

    @field_validator("small", "large", mode="before")
    @classmethod
    def _check_model(cls, value: Any) -> Any:
        if not isinstance(value, BaseChatModel):
            raise HybridError(
                f"small and large are chat models (BaseChatModel), got {type(value).__name__}; give the plain "
                "model, and add with_retry, with_fallbacks or bind to the router instead"
            )
        return value

    @field_validator("router", mode="before")
    @classmethod
    def _check_router(cls, value: Any) -> Router:
        return as_router(value)

    def _resolve_model_profile(self) -> Any:
        return merged_profile(self.small.profile, self.large.profile)

    @property
    def knob(self) -> Knob:
        """The wish that holds where a call says nothing."""
        return knob_from({name: getattr(self, name) for name in KNOB_SETTINGS}) or DEFAULT_KNOB

    @property
    def monitor(self) -> DriftMonitor | None:
        """What watches whether the traffic is still that of the calibration set; None for a router without one."""
        return self._decider.monitor

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The knobs, as what ``configurable`` takes."""
        return [
            ConfigurableFieldSpec(
                id=name,
                annotation=Literal["small", "large"] | None if name == "route" else float | None,
                name=name,
                description=f"hybrid-llm's {name} for this call; at most one of {', '.join(KNOB_NAMES)}",
            )
            for name in KNOB_SETTINGS
        ]

    # ── one call: read it, decide, plan ──

    def _call(self, model_input: Any, config: RunnableConfig | None, kwargs: Mapping[str, Any]) -> Call:
        if isinstance(model_input, Call):
            return model_input
        config = ensure_config(config)
        in_config = knob_in(config)
        at_call, others = split_knob(kwargs)
        bound = cast("Knob | None", others.pop(BOUND_KNOB, None))
        replay = cast("Replay | None", others.pop(REPLAY, None))
        return Call(
            messages=self._convert_input(model_input).to_messages(),
            config=config,
            knob=at_call or bound or in_config or self.knob,
            replay=replay,
            kwargs=others,
        )

    def _decide(self, calls: Sequence[Call]) -> list[RoutingDecision]:
        """Decisions for calls, scored in one pass."""
        return self._decider.decide([self._request(call) for call in calls])

    async def _adecide(self, calls: Sequence[Call]) -> list[RoutingDecision]:
        """Decisions for calls, scored in one pass."""
        return await self._decider.adecide([self._request(call) for call in calls])

    @property
    def _decider(self) -> Decider | CascadeDecider:
        decider = self._before_call
        return decider if self.policy == "route" else self._cascade_over(decider)

    def _cascade_over(self, decider: Decider) -> CascadeDecider:
        return self._current_cascade.over(decider, self.policy, self.uncertainty, self.route_threshold)

    @property
    def _before_call(self) -> Decider:
        return self._current.under(
            self.router,
            self.on_router_error,
            self.router_time_limit,
            self.stickiness,
            self.switch_cost,
            self.on_drift,
            self.limit,
        )

    def _request(self, call: Call) -> RoutingRequest:
        """The call, as the router sees it."""
        remembers = self.stickiness != "per_call"
        return routing_request(
            call.messages,
            call.knob,
            replay=call.replay,
            kwargs=call.kwargs,
            capabilities=self._known_capabilities.of(
                self.small, self.large, self.small_capabilities, self.large_capabilities
            ),
            conversation=conversation_key(self.conversation, call.messages, call.config) if remembers else None,
            counters=(self, self.small, self.large),
            judged=self.judged,
        )

    def _plan(self, call: Call, decision: RoutingDecision) -> Plan:
        """What is to be done; nothing is called yet."""
        target = decision.target
        model = self._leg(target)
        leg = call.replay.on(target, model) if call.replay is not None else Leg(model)
        kwargs = {**leg.kwargs, **call.kwargs}
        reader = recipient(target, model, kwargs)
        return Plan(
            decision=decision,
            record=decision.as_metadata(reader.model),
            leg=leg.runnable,
            messages=readable_by(reader, call.messages),
            config=call.config,
            kwargs=kwargs,
        )

    def _leg(self, target: Target) -> BaseChatModel:
        """The model, with the router's ``output_version`` and ``disable_streaming`` where those are set.

        In a cascade the small one reports log-probabilities if it can.
        """
        model = self.small if target == "small" else self.large
        names = ("output_version", "disable_streaming")
        update = {name: getattr(self, name) for name in names if getattr(self, name) and name in self.model_fields_set}
        if target == "small" and self.policy != "route":
            update |= logprob_settings(model, self._cascade_over(self._before_call).cascade)
        if not update:
            return model
        known = self._configured_legs.get(target)
        if known is None or known[0] is not model or known[1] != update:
            known = (model, update, model.model_copy(update=update))
            self._configured_legs[target] = known
        return known[2]

    def _start(self, call: Call) -> RunStart:
        return RunStart(
            config=call.config,
            name=call.config.get("run_name") or self.get_name(),
            messages=call.messages,
            callbacks=self.callbacks,
            tags=self.tags,
            metadata=self.metadata,
            verbose=self.verbose,
            may_fall_back=self.fallback is not None or self.policy != "route",
        )

    # ── invoke, stream ──

    # ── one attempt, and a second one where the first has failed silently; sync and async differ by await only ──

    def _answer(self, call: Call, run: SyncRun, attempt: Callable[[Plan, SyncRun], Value]) -> Value:
        plan = self._plan(call, call.decision or self._decide([call])[0])
        if plan.decision.reason == CASCADE:
            return cast("Value", answered(self._asking(call, plan), run, attempt))
        try:
            return attempt(plan, run)
        except Exception as error:
            if (second := self._second_plan(call, run, plan, error)) is None:
                raise
            return attempt(second, run)

    async def _aanswer(self, call: Call, run: AsyncRun, attempt: Callable[[Plan, AsyncRun], Awaitable[Value]]) -> Value:
        plan = self._plan(call, call.decision or (await self._adecide([call]))[0])
        if plan.decision.reason == CASCADE:
            return cast("Value", await aanswered(self._asking(call, plan), run, attempt))
        try:
            return await attempt(plan, run)
        except Exception as error:
            if (second := self._second_plan(call, run, plan, error)) is None:
                raise
            return await attempt(second, run)

    def _parts(
        self, call: Call, run: SyncRun, attempt: Callable[[Plan, SyncRun], Iterator[Value]]
    ) -> Generator[Value, None, None]:
        plan = self._plan(call, call.decision or self._decide([call])[0])
        if plan.decision.reason == CASCADE:
            with closing(cast("Any", parts_of(self._asking(call, plan), run, attempt))) as parts:
                yield from parts
            return
        try:
            with closing(cast("Any", attempt(plan, run))) as parts:
                for part in parts:
                    yield part
        except Exception as error:
            if (second := self._second_plan(call, run, plan, error)) is None:
                raise
            with closing(cast("Any", attempt(second, run))) as parts:
                for part in parts:
                    yield part

    async def _aparts(
        self, call: Call, run: AsyncRun, attempt: Callable[[Plan, AsyncRun], AsyncIterator[Value]]
    ) -> AsyncGenerator[Value, None]:
        plan = self._plan(call, call.decision or (await self._adecide([call]))[0])
        if plan.decision.reason == CASCADE:
            async with aclosing(cast("Any", aparts_of(self._asking(call, plan), run, attempt))) as parts:
                async for part in parts:
                    yield part
            return
        try:
            async with aclosing(cast("Any", attempt(plan, run))) as parts:
                async for part in parts:
                    yield part
        except Exception as error:
            if (second := self._second_plan(call, run, plan, error)) is None:
                raise
            async with aclosing(cast("Any", attempt(second, run))) as parts:
                async for part in parts:
                    yield part

    def _asking(self, call: Call, plan: Plan) -> Asking:
        return Asking(
            call=call,
            first=plan,
            decider=self._cascade_over(self._before_call),
            request=self._request(call),
            plan=lambda decision: self._plan(call, decision),
            fallback=self.fallback,
        )

    def _second_plan(self, call: Call, run: OpenRun[Any], plan: Plan, error: Exception) -> Plan | None:
        """What is to be done after the chosen model failed; None where its error is the answer."""
        if not run.is_silent or not may_fall_back(plan.decision, self.fallback):
            return None
        return self._plan(call, plan.decision.after_failure(error))

    # ── events; versions 1 and 2 are core's, over ``astream`` ──

    def stream_events(  # one signature for what core splits into overloads
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer as a stream of events; with ``version="v3"`` a ``ChatModelStream``. See ``BaseChatModel``."""
        if version != "v3":
            return super().stream_events(input, config, version=version, stop=stop, **kwargs)
        call = self._call(input, config, with_stop(kwargs, stop))
        (decision,) = self._decide([call])
        if decision.reason == CASCADE or may_fall_back(decision, self.fallback):
            return relayed(self._events(replace(call, decision=decision)))
        plan = self._plan(call, decision)
        watch = LegWatch(self._start(call), plan.decision.target, plan.record)
        below = plan.below(watch.child(CallbackManager))
        return watch.watch(plan.leg.stream_events(plan.messages, below, version="v3", **plan.kwargs))

    async def _astream_v3(self, model_input: Any, config: RunnableConfig | None, kwargs: Mapping[str, Any]) -> Any:
        call = self._call(model_input, config, kwargs)
        (decision,) = await self._adecide([call])
        if decision.reason == CASCADE or may_fall_back(decision, self.fallback):
            return arelayed(self._aevents(replace(call, decision=decision)))
        plan = self._plan(call, decision)
        watch = AsyncLegWatch(self._start(call), plan.decision.target, plan.record)
        below = plan.below(watch.child(AsyncCallbackManager))
        return watch.watch(await plan.leg.astream_events(plan.messages, below, version="v3", **plan.kwargs))

    # ── batches: all texts scored in one pass, then core's batch over the calls ──

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        budget: BudgetLike | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many prompts; all are scored in one pass. See ``Runnable.batch``.

        Args:
            inputs: The prompts.
            config: One config for all, or one each.
            return_exceptions: Return what a prompt raises in its place, instead of raising it.
            budget: The largest share of the prompts that the large model answers, in [0, 1], or an amount
                (``shared_router.budget.Budget``). The most difficult ones get it; guards and ``route`` stay in force
                and count. It takes the place of every other knob.
            **kwargs: As for ``invoke``.

        Raises:
            KnobError: The budget cannot be kept; nothing was asked then.
        """
        if budget is None:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = get_config_list(config, len(inputs))
        batch = self._budgeted(inputs, configs, kwargs, budget)
        decided = batch.decided(batch.decider.decide(batch.requests))
        return super().batch(decided, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        budget: BudgetLike | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer many prompts; all are scored in one pass. See ``Runnable.abatch``, and ``batch`` for the budget."""
        if budget is None:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = get_config_list(config, len(inputs))
        batch = self._budgeted(inputs, configs, kwargs, budget)
        decided = batch.decided(await batch.decider.adecide(batch.requests))
        return await super().abatch(decided, configs, return_exceptions=return_exceptions, **kwargs)

    def _budgeted(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], kwargs: Mapping[str, Any], budget: BudgetLike
    ) -> BudgetedBatch:
        if self.policy != "route":
            raise KnobError(
                "a budget is shared out before anything is asked, a cascade decides after each answer: say "
                'large_share, or use policy="route"'
            )
        return budgeted_batch(
            inputs, configs, kwargs, budget, read=self._call, asked=self._request, decider=self._before_call
        )

    def _decided(self, calls: Sequence[Call]) -> list[Call]:
        open_ones = [call for call in calls if call.decision is None]
        return merged_decisions(calls, self._decide(open_ones) if open_ones else [])

    async def _adecided(self, calls: Sequence[Call]) -> list[Call]:
        open_ones = [call for call in calls if call.decision is None]
        return merged_decisions(calls, await self._adecide(open_ones) if open_ones else [])

    # ── generate: one run a prompt, all texts scored in one pass ──

    # ── the hooks below the public methods, for wrappers that call them: the same road, one storey down ──

    # ── bindings ──

    def bind(self, **kwargs: Any) -> HybridBinding:  # type: ignore[override]  # core narrows this to a private class
        """Bind keyword arguments; a knob among them yields to one at the call.

        Raises:
            KnobError: Two knobs are given, or a value does not fit.
        """
        return HybridBinding(bound=self, kwargs=bound_settings(kwargs))

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> HybridBinding:
        """Bind config; a knob in its ``configurable`` yields to one in the config of the call."""
        return HybridBinding(bound=self, config=cast("RunnableConfig", {**(config or {}), **kwargs}))

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to both models, each in its own provider's format; who answers stays open until the call.

        Args:
            tools: Whatever ``bind_tools`` of the two models takes.
            tool_choice: Which tool must be used; passed on only if given.
            **kwargs: For ``bind_tools`` of the chosen model; a knob among them is bound.

        Raises:
            KnobError: Two knobs are given, or a value does not fit.
        """
        knob, others = split_knob(kwargs)
        if tool_choice is not None:
            others["tool_choice"] = tool_choice
        bound = {REPLAY: ToolReplay(tuple(tools), others)}
        return self.bind(**bound, **(knob.settings if knob is not None else {}))

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Have the chosen model answer in a schema, by whatever means its provider has.

        Args:
            schema: A pydantic class, a TypedDict, or a JSON schema.
            include_raw: Return the message too, as ``{"raw": …, "parsed": …, "parsing_error": …}``; the message then
                carries the decision. A parsed object cannot: the trace and the custom event tell it.
            **kwargs: For ``with_structured_output`` of the two models, such as ``method``; a knob among them is bound.

        Raises:
            KnobError: Two knobs are given, or a value does not fit.
            NotImplementedError: Neither of the two models can do it.
        """
        knob, others = split_knob(kwargs)
        replay = SchemaReplay(schema, {"include_raw": include_raw, **others})
        # both at once, so that a wrong argument fails here and not at the first call
        refusals = [refusal for target in TARGETS if (refusal := self._refusal(replay, target)) is not None]
        if len(refusals) == len(TARGETS):
            raise refusals[0]
        return self.bind(**{REPLAY: replay}, **(knob.settings if knob is not None else {}))

    def _refusal(self, replay: Replay, target: Target) -> NotImplementedError | None:
        try:
            replay.on(target, self._leg(target))
        except NotImplementedError as error:
            return error
        return None

    # ── what the two have in common ──

    def get_token_ids(self, text: str) -> list[int]:
        """The longer of the two models' token lists."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return max((self._leg(target).get_token_ids(text) for target in TARGETS), key=len)

    def get_num_tokens(self, text: str) -> int:
        """The larger of the two models' counts, so that what fits, fits either."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return max(self._leg(target).get_num_tokens(text) for target in TARGETS)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The larger of the two models' counts, so that what fits, fits either."""
        arguments = {} if tools is None else {"tools": tools}
        return max(self._leg(target).get_num_tokens_from_messages(messages, **arguments) for target in TARGETS)

    # ── identity ──

    @property
    def _llm_type(self) -> str:
        return "hybrid-chat-model"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {
            "small": {"_type": self.small._llm_type, **self.small._identifying_params},
            "large": {"_type": self.large._llm_type, **self.large._identifying_params},
            "router": self.router.router_id,
            "knob": self.knob.settings,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        own = {name: kwargs[name] for name in ("model", "temperature", "max_tokens") if name in kwargs}
        params = super()._get_ls_params(stop=stop, **own)
        params["ls_provider"] = "hybrid-llm"
        params.setdefault("ls_model_name", f"{model_name(self.small)}|{model_name(self.large)}")
        return params

    def __repr_args__(self) -> Any:
        """Names only: the repr of a model may hold what its user would not print."""
        yield "small", model_name(self.small)
        yield "large", model_name(self.large)
        yield "router", self.router.router_id
        yield from self.knob.settings.items()
