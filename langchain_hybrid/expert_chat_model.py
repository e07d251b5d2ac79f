"""A chat model that is N: every call goes to the expert that its query's cluster has, or to the next best with time.

One call: ``_call`` reads what is asked, ``_decided`` has the router rank the experts, ``_admitted`` waits for a slot
of one of them and holds it until the answer is whole; everything else is ``DelegatingChatModel``'s.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import ConfigurableFieldSpec, Runnable, RunnableConfig, ensure_config
from langchain_core.tools import BaseTool
from pydantic import Field, PrivateAttr, field_validator, model_validator

from langchain_hybrid.binding import BOUND_KNOB, REPLAY, HybridBinding, Leg, Replay, SchemaReplay, ToolReplay
from langchain_hybrid.callbacks import OpenRun, RunStart
from langchain_hybrid.capabilities import capabilities_of, merged_profile
from langchain_hybrid.delegating import DelegatingChatModel
from langchain_hybrid.messages import readable_by, to_turns
from langchain_hybrid.needs import needs_of
from langchain_hybrid.plan import Attempt, model_name, recipient
from langchain_hybrid.request import Judged, judged_query, token_counter
from shared_router.errors import HybridError
from shared_router.experts.choosing import (
    Asked,
    ExpertChooser,
    checked_expert,
    checked_experts,
    checked_fallback,
)
from shared_router.experts.decision import Choice, ExpertDecision
from shared_router.experts.router import as_expert_router
from shared_router.experts.slots import ExpertSlots, as_slots
from shared_router.guards import Capabilities, Needs
from shared_router.knob import split_knob
from shared_router.settings import as_capabilities

__all__ = ["ExpertChatModel"]

EXPERT = "expert"
"""The setting that demands an expert, at the call, bound, or in ``configurable``."""


@dataclass(frozen=True, slots=True)
class ExpertCall:
    """What is asked of the router, read once.

    Attributes:
        messages: The prompt.
        config: The whole config.
        expert: The expert that the user demands, if any.
        replay: Tools or a schema to bind to the chosen model; None if there are none.
        kwargs: All other arguments, for the chosen model.
        choice: Whom to ask; None until it is decided.
    """

    messages: list[BaseMessage]
    config: RunnableConfig
    expert: str | None
    replay: Replay | None
    kwargs: Mapping[str, Any]
    choice: Choice | None = None


class ExpertChatModel(DelegatingChatModel):
    """N chat models behind one interface; the query's cluster decides who answers, and the load who has time.

    The response carries the decision under ``response_metadata["hybrid"]``: expert, cluster, distance, reason. In a
    trace the router is a chain run and the chosen model its child, tagged ``hybrid:<expert>``, with the decision in its
    metadata; a custom event ``hybrid_decision`` tells it to callbacks as soon as it is made.

    Args:
        experts: Name → model, at least two; the names are those of the router's training data. The order decides where
            nothing else does.
        router: A folder written by ``hybrid-llm experts fit``, an ``ExpertRouter``, or a function from a text to an
            expert's name, or to several, best first.
        expert: Always this expert: no routing. Can also be said at the call, bound, or in
            ``config={"configurable": {"expert": "code"}}``.
        limits: Calls that an expert answers at once: a number for each, or name → number; or an ``ExpertSlots``, which
            also says how many may wait, for how long, and when a call spills over to the next best expert. Give two
            models the same ``ExpertSlots`` and they share the limits. None for no limits.
        fallback: ``"next"`` asks the next best expert once where the chosen one fails before its first token; None lets
            the error through.
        on_router_error: The expert that answers where the router fails; None for whom it holds best overall.
        judged: A function of messages that returns the text to judge; without one it is the human's last ask, which
            stays the same throughout a tool loop.
        capabilities: Name → what that expert can do (modalities, tools, structured_output, context_window), where its
            profile is silent or wrong. A call goes to the best expert that can serve it.

    Raises:
        HybridError: A setting that does not fit, a router for other experts, or a model that is no chat model.
        ArtifactError: ``router`` is a path that leads to no usable expert router.
    """

    # the models and the router stay out of repr and dump: serializers of traces and graphs keep those
    experts: dict[str, BaseChatModel] = Field(repr=False, exclude=True)
    router: Any = Field(repr=False, exclude=True)
    expert: str | None = None
    limits: Any = Field(default=None, repr=False, exclude=True, validate_default=True)
    fallback: Literal["next"] | None = None
    on_router_error: str | None = None
    judged: Judged | None = Field(default=None, repr=False, exclude=True)
    capabilities: Any = None

    _configured_legs: dict[str, tuple[BaseChatModel, dict[str, Any], BaseChatModel]] = PrivateAttr(default_factory=dict)
    _chooser_made: tuple[tuple[Any, ...], ExpertChooser] | None = PrivateAttr(default=None)
    _abilities_made: tuple[tuple[Any, ...], Mapping[str, Capabilities]] = PrivateAttr(default=((), {}))

    # ── settings ──

    @model_validator(mode="before")
    @classmethod
    def _check_settings(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name in values:
            if name not in cls.model_fields:
                raise HybridError(
                    f"{name!r} is no setting of {cls.__name__}; what concerns a model, such as a temperature or a "
                    "timeout, is set on the experts"
                )
        for name in ("cache", "rate_limiter"):
            if values.get(name) is not None:
                raise HybridError(f"{name} on the router would have no effect; set it on the experts, one each")
        if values.get("router") is None:
            raise HybridError(
                "an ExpertChatModel needs a router: a folder written by hybrid-llm experts fit, an ExpertRouter, or a "
                "function from a text to an expert's name"
            )
        router = as_expert_router(values["router"])
        experts = values.get("experts")
        checked_experts(experts, router)
        names = list(cast("Mapping[str, Any]", experts))
        for name in ("expert", "on_router_error"):
            checked_expert(name, values.get(name), names)
        checked_fallback(values.get("fallback"))
        for name, one in (values.get("capabilities") or {}).items():
            checked_expert("a key of capabilities", name, names)
            as_capabilities(one)
        return {**values, "router": router}

    @field_validator("experts", mode="before")
    @classmethod
    def _check_models(cls, value: Any) -> Any:
        for name, model in value.items():
            if not isinstance(model, BaseChatModel):
                raise HybridError(
                    f"experts are chat models (BaseChatModel), but {name!r} is a {type(model).__name__}; give the "
                    "plain model, and add with_retry, with_fallbacks or bind to the router instead"
                )
        return value

    @field_validator("limits", mode="before")
    @classmethod
    def _check_limits(cls, value: Any) -> ExpertSlots:
        return as_slots(value)

    def _resolve_model_profile(self) -> Any:
        profiles: list[Any] = [model.profile for model in self.experts.values()]
        return functools.reduce(merged_profile, profiles)

    @property
    def slots(self) -> ExpertSlots:
        """What the experts carry, and how much they may."""
        return cast("ExpertSlots", self.limits)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """What ``configurable`` takes."""
        return [
            ConfigurableFieldSpec(
                id=EXPERT,
                annotation=str | None,
                name=EXPERT,
                description=f"the expert that answers this call, one of {', '.join(self.experts)}; no routing then",
            )
        ]

    # ── one call: read it, choose, have it admitted ──

    def _call(self, model_input: Any, config: RunnableConfig | None, kwargs: Mapping[str, Any]) -> ExpertCall:
        if isinstance(model_input, ExpertCall):
            return model_input
        config = ensure_config(config)
        others = dict(kwargs)
        knob = others.pop(BOUND_KNOB, None) or split_knob(kwargs)[0]
        if knob is not None:
            raise HybridError(
                f"{knob.name} is a knob between two models, which an {type(self).__name__} does not have; say "
                "expert=… for one of the experts"
            )
        named = others.pop(EXPERT, None) or (config.get("configurable") or {}).get(EXPERT) or self.expert
        return ExpertCall(
            messages=self._convert_input(model_input).to_messages(),
            config=config,
            expert=checked_expert(EXPERT, named, list(self.experts)),
            replay=cast("Replay | None", others.pop(REPLAY, None)),
            kwargs=others,
        )

    def _start(self, call: ExpertCall) -> RunStart:
        return RunStart(
            config=call.config,
            name=call.config.get("run_name") or self.get_name(),
            messages=call.messages,
            callbacks=self.callbacks,
            tags=self.tags,
            metadata=self.metadata,
            verbose=self.verbose,
            may_fall_back=self.fallback is not None,
        )

    def _decided(self, calls: Sequence[ExpertCall]) -> list[ExpertCall]:
        open_calls = [call for call in calls if call.choice is None]
        choices = self._chooser.choose([self._asked(call) for call in open_calls])
        return _with_choices(calls, choices)

    async def _adecided(self, calls: Sequence[ExpertCall]) -> list[ExpertCall]:
        open_calls = [call for call in calls if call.choice is None]
        choices = await self._chooser.achoose([self._asked(call) for call in open_calls])
        return _with_choices(calls, choices)

    @property
    def _chooser(self) -> ExpertChooser:
        settings = (self.router, tuple(self.experts), self.on_router_error)
        made = self._chooser_made
        if made is None or made[0] != settings:
            made = (settings, ExpertChooser(as_expert_router(self.router), settings[1], self.on_router_error))
            self._chooser_made = made
        return made[1]

    def _asked(self, call: ExpertCall) -> Asked:
        """The call, as the router sees it."""
        if call.expert is not None:
            return Asked("", call.expert)
        turns = to_turns(call.messages)
        query = judged_query(self.judged, call.messages, turns)
        abilities = self._abilities()
        if not abilities:
            return Asked(query)
        windows = [one.context_window for one in abilities.values() if one.context_window is not None]
        counters = (self, *self.experts.values())
        window, count = (min(windows), token_counter(counters)) if windows else (None, None)
        needs = needs_of(call.messages, turns, replay=call.replay, kwargs=call.kwargs, window=window, count=count)
        return Asked(query, needs=needs, capabilities=abilities if needs != Needs() else {})

    def _abilities(self) -> Mapping[str, Capabilities]:
        """What each expert can do; empty where that is the same, since then there is nothing to choose by."""
        stated = self.capabilities or {}
        about = (*self.experts.values(), *(model.profile for model in self.experts.values()), self.capabilities)
        made = self._abilities_made
        # by identity: comparing models field by field would take longer than asking them
        if len(made[0]) != len(about) or any(map(operator.is_not, made[0], about)):
            found = {name: capabilities_of(model, stated.get(name)) for name, model in self.experts.items()}
            made = (about, found if len(set(found.values())) > 1 else {})
            self._abilities_made = made
        return made[1]

    @contextmanager
    def _admitted(self, call: ExpertCall) -> Iterator[Attempt]:
        choice = cast("Choice", call.choice)
        with self.slots.hold(choice.ranking, spills=choice.spills) as slot:
            yield self._attempt(call, choice.taken(slot.expert, slot.waited))

    @asynccontextmanager
    async def _aadmitted(self, call: ExpertCall) -> AsyncIterator[Attempt]:
        choice = cast("Choice", call.choice)
        with await self.slots.ahold(choice.ranking, spills=choice.spills) as slot:
            yield self._attempt(call, choice.taken(slot.expert, slot.waited))

    def _attempt(self, call: ExpertCall, decision: ExpertDecision) -> Attempt:
        """What is to be done; nothing is called yet."""
        expert = decision.expert
        model = self._leg(expert)
        leg = call.replay.on(expert, model) if call.replay is not None else Leg(model)
        kwargs = {**leg.kwargs, **call.kwargs}
        reader = recipient(expert, model, kwargs)
        return Attempt(
            record=decision.as_metadata(reader.model),
            leg=leg.runnable,
            messages=readable_by(reader, call.messages),
            config=call.config,
            kwargs=kwargs,
        )

    def _again(self, call: ExpertCall, run: OpenRun[Any], error: Exception) -> ExpertCall | None:
        # without a record nobody was asked: no expert had time, or none could be bound to the call
        if self.fallback is None or not run.is_silent or run.record is None or call.choice is None:
            return None
        choice = call.choice.after_failure(str(run.record[EXPERT]), error)
        return None if choice is None else replace(call, choice=choice)

    def _leg(self, expert: str) -> BaseChatModel:
        """The model, with the router's ``output_version`` and ``disable_streaming`` where those are set."""
        model = self.experts[expert]
        names = ("output_version", "disable_streaming")
        update = {name: getattr(self, name) for name in names if getattr(self, name) and name in self.model_fields_set}
        if not update:
            return model
        known = self._configured_legs.get(expert)
        if known is None or known[0] is not model or known[1] != update:
            known = (model, update, model.model_copy(update=update))
            self._configured_legs[expert] = known
        return known[2]

    # ── bindings ──

    def bind(self, **kwargs: Any) -> HybridBinding:  # type: ignore[override]  # core narrows this to a private class
        """Bind keyword arguments; an ``expert`` among them yields to one at the call."""
        return HybridBinding(bound=self, kwargs=kwargs)

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> HybridBinding:
        """Bind config; an ``expert`` in its ``configurable`` yields to one in the config of the call."""
        return HybridBinding(bound=self, config=cast("RunnableConfig", {**(config or {}), **kwargs}))

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to all experts, each in its own provider's format; who answers stays open until the call.

        Args:
            tools: Whatever ``bind_tools`` of the experts takes.
            tool_choice: Which tool must be used; passed on only if given.
            **kwargs: For ``bind_tools`` of the chosen model; an ``expert`` among them is bound.
        """
        named, others = _named(kwargs)
        if tool_choice is not None:
            others["tool_choice"] = tool_choice
        return self.bind(**{REPLAY: ToolReplay(tuple(tools), others)}, **named)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Have the chosen expert answer in a schema, by whatever means its provider has.

        Args:
            schema: A pydantic class, a TypedDict, or a JSON schema.
            include_raw: Return the message too, as ``{"raw": …, "parsed": …, "parsing_error": …}``; the message then
                carries the decision. A parsed object cannot: the trace and the custom event tell it.
            **kwargs: For ``with_structured_output`` of the experts, such as ``method``; an ``expert`` among them is
                bound.

        Raises:
            NotImplementedError: None of the experts can do it.
        """
        named, others = _named(kwargs)
        replay = SchemaReplay(schema, {"include_raw": include_raw, **others})
        # all at once, so that a wrong argument fails here and not at the first call
        refusals = [refusal for expert in self.experts if (refusal := self._refusal(replay, expert)) is not None]
        if len(refusals) == len(self.experts):
            raise refusals[0]
        return self.bind(**{REPLAY: replay}, **named)

    def _refusal(self, replay: Replay, expert: str) -> NotImplementedError | None:
        try:
            replay.on(expert, self._leg(expert))
        except NotImplementedError as error:
            return error
        return None

    # ── what the experts have in common ──

    def get_token_ids(self, text: str) -> list[int]:
        """The longest of the experts' token lists."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return max((self._leg(expert).get_token_ids(text) for expert in self.experts), key=len)

    def get_num_tokens(self, text: str) -> int:
        """The largest of the experts' counts, so that what fits, fits any."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return max(self._leg(expert).get_num_tokens(text) for expert in self.experts)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The largest of the experts' counts, so that what fits, fits any."""
        arguments = {} if tools is None else {"tools": tools}
        return max(self._leg(expert).get_num_tokens_from_messages(messages, **arguments) for expert in self.experts)

    # ── identity ──

    @property
    def _llm_type(self) -> str:
        return "hybrid-expert-chat-model"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {
            "experts": {
                name: {"_type": model._llm_type, **model._identifying_params} for name, model in self.experts.items()
            },
            "router": self._chooser.router.router_id,
            "expert": self.expert,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        own = {name: kwargs[name] for name in ("model", "temperature", "max_tokens") if name in kwargs}
        params = super()._get_ls_params(stop=stop, **own)
        params["ls_provider"] = "hybrid-llm"
        params.setdefault("ls_model_name", "|".join(map(model_name, self.experts.values())))
        return params

    def __repr_args__(self) -> Any:
        """Names only: the repr of a model may hold what its user would not print."""
        yield "experts", {name: model_name(model) for name, model in self.experts.items()}
        yield "router", self._chooser.router.router_id
        if self.expert is not None:
            yield "expert", self.expert
        yield "limits", self.limits


def _with_choices(calls: Sequence[ExpertCall], choices: Sequence[Choice]) -> list[ExpertCall]:
    made = iter(choices)
    return [call if call.choice is not None else replace(call, choice=next(made)) for call in calls]


def _named(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An ``expert`` among keyword arguments, and the others."""
    named = {name: value for name, value in kwargs.items() if name == EXPERT}
    return named, {name: value for name, value in kwargs.items() if name != EXPERT}
