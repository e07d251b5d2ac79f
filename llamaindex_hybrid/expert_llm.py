"""``ExpertLLM``: N LLMs behind one; the query's cluster decides who answers, and the load who has time.

One call: ``_seated`` takes what is the router's out of it, ``_plan`` has the experts ranked and waits for a slot of one
of them, and the slot is held until the answer is whole; everything else is ``DelegatingLLM``'s.
"""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata, MessageRole
from llama_index.core.bridge.pydantic import Field, PrivateAttr, SerializeAsAny, field_serializer
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.tools.types import BaseTool

from llamaindex_hybrid.annotation import decision_of
from llamaindex_hybrid.calls import Plan, Request, from_tools
from llamaindex_hybrid.capabilities import FITS_ANYWHERE, MetadataCache, merged, model_name, must_be_asked
from llamaindex_hybrid.delegation import Finish, finished
from llamaindex_hybrid.endpoints import DelegatingLLM, ToolMessage, with_ready_signatures
from llamaindex_hybrid.messages import Recipient, selections_with_ids
from llamaindex_hybrid.planning import OVERLAYS, Copies, recounted
from llamaindex_hybrid.question import wish
from llamaindex_hybrid.saving import revived, without_secrets
from shared_router.errors import HybridError
from shared_router.experts.choosing import (
    Asked,
    ExpertChooser,
    checked_expert,
    checked_experts,
    checked_fallback,
)
from shared_router.experts.decision import Choice, ExpertDecision
from shared_router.experts.router import ExpertRouterLike, RanksExperts, as_expert_router
from shared_router.experts.slots import ExpertSlots, LimitsLike, Slot, as_slots
from shared_router.guards import Capabilities, Needs
from shared_router.settings import CapabilitiesLike, as_capabilities

__all__ = ["ExpertLLM"]

EXPERT = "expert"
"""The keyword of a call that demands an expert."""


@dataclass(slots=True)
class Seat:
    """One call's slot, from its first attempt to the end of its answer.

    Attributes:
        slots: Where it comes from.
        expert: The expert that the user demands, if any.
        choice: Whom to ask, once it is chosen.
        slot: Held while somebody is asked.
    """

    slots: ExpertSlots
    expert: str | None = None
    choice: Choice | None = None
    slot: Slot | None = None

    def take(self, choice: Choice) -> ExpertDecision:
        """Wait for an expert of the choice; the slot held before is given back first."""
        self.release()
        self.choice, self.slot = choice, self.slots.hold(choice.ranking, spills=choice.spills)
        return choice.taken(self.slot.expert, self.slot.waited)

    async def atake(self, choice: Choice) -> ExpertDecision:
        """The same without blocking the event loop."""
        self.release()
        self.choice, self.slot = choice, await self.slots.ahold(choice.ranking, spills=choice.spills)
        return choice.taken(self.slot.expert, self.slot.waited)

    def release(self) -> None:
        """Give the slot back, if there is one."""
        slot, self.slot = self.slot, None
        if slot is not None:
            slot.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatedRequest(Request):
    """A call that takes its slot along.

    Attributes:
        seat: The slot.
    """

    seat: Seat = field(compare=False)


class ExpertLLM(DelegatingLLM):
    """Sends each call to one of N LLMs: the expert of its question's cluster, or the next best one that has time.

    Stands wherever an LLM stands: ``Settings.llm``, query and chat engines, agents, extractors, evaluators. Every
    method takes ``expert=`` to demand one for this call, and ``query=`` for a text that is judged in place of the
    call's own; ``llamaindex_hybrid.query`` says the latter for a block of code. The decision is on the response, in
    ``additional_kwargs["hybrid"]``: expert, cluster, distance, reason.

    Args:
        experts: Name → model, at least two; the names are those of the router's training data. The order decides where
            nothing else does.
        router: A folder written by ``hybrid-llm experts fit``, an ``ExpertRouter``, or a function from a text to an
            expert's name, or to several, best first.
        expert: Always this expert: no routing.
        limits: Calls that an expert answers at once: a number for each, or name → number; or an ``ExpertSlots``, which
            also says how many may wait, for how long, and when a call spills over to the next best expert. Give two
            models the same ``ExpertSlots`` and they share the limits. None for no limits. Not saved by ``to_dict``.
        fallback: "next" asks the next best expert once where the chosen one fails before it has handed anything out.
            None lets the error surface, as do ``predict_and_call`` and its twin always.
        on_router_error: The expert that answers where the router fails; None for whom it holds best overall.
        capabilities: Name → what that expert can do: ``Capabilities`` or its fields by name. It wins over what the
            model says about itself. A call goes to the best expert that can serve it.
        context_share: The share of the retrieved text, from its beginning, that is judged along with the question.
        kwargs: Core's own settings of an LLM; they hold for all experts where they are given.

    Raises:
        HybridError: A setting that does not fit, or a router for other experts.
        ArtifactError: ``router`` is a path that leads to no usable expert router.
    """

    experts: dict[str, SerializeAsAny[LLM]] = Field(description="Name → model.")
    router: Any = Field(description="A trained expert router, its path, or a function.")
    expert: str | None = Field(default=None, description="Always this expert: no routing.")
    limits: Any = Field(default=None, exclude=True, description="Calls that an expert answers at once.")
    fallback: Literal["next"] | None = Field(default=None, description="Who is asked once where an expert fails.")
    on_router_error: str | None = Field(default=None, description="Who answers where the router fails.")
    capabilities: dict[str, Capabilities] = Field(default_factory=dict, description="What experts can do.")
    context_share: float = Field(default=0.0, ge=0.0, le=1.0, description="Share of retrieved text that is judged.")

    _resolved: RanksExperts = PrivateAttr()
    _chooser_made: tuple[tuple[Any, ...], ExpertChooser] | None = PrivateAttr(default=None)
    _metadata_cache: MetadataCache = PrivateAttr(default_factory=MetadataCache)
    _overlaid: Copies = PrivateAttr(default_factory=Copies)

    def __init__(
        self,
        *,
        experts: Mapping[str, LLM],
        router: ExpertRouterLike,
        expert: str | None = None,
        limits: LimitsLike = None,
        fallback: Literal["next"] | None = None,
        on_router_error: str | None = None,
        capabilities: Mapping[str, CapabilitiesLike] | None = None,
        context_share: float = 0.0,
        **kwargs: Any,
    ) -> None:
        resolved = as_expert_router(router)
        _check_models(experts, resolved)
        super().__init__(
            experts=dict(experts),
            router=router,
            expert=checked_expert("expert", expert, list(experts)),
            limits=as_slots(limits),
            fallback=checked_fallback(fallback),
            on_router_error=checked_expert("on_router_error", on_router_error, list(experts)),
            capabilities=_capabilities(capabilities, list(experts)),
            context_share=context_share,
            **kwargs,
        )
        self._resolved = resolved
        # a manager without handlers, such as comes back from a pickle, would only take the models' own away
        if "callback_manager" in kwargs and self.callback_manager.handlers:
            self._hand_on(self.callback_manager)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised data."""
        return "expert_llm"

    @property
    def slots(self) -> ExpertSlots:
        """What the experts carry, and how much they may."""
        return cast("ExpertSlots", self.limits)

    @property
    def metadata(self) -> LLMMetadata:
        """What holds for all experts; for those that can be asked where others cannot."""
        known = [found for model in self.experts.values() if (found := self._metadata_cache.peek(model)) is not None]
        common = functools.reduce(merged, known or [self._metadata_cache.read(next(iter(self.experts.values())))])
        names = "|".join(map(model_name, self.experts.values()))
        return common.model_copy(update={"model_name": f"experts({names})"})

    def __setattr__(self, name: str, value: Any) -> None:
        """Hand a new callback manager on to all experts; check what is set.

        Core assigns ``callback_manager`` over and over (``Settings.llm``, every synthesizer, ``resolve_llm``). Only
        another one is handed on: assigning the same one again must not take the models' own managers away.
        """
        if name == "callback_manager" and value is not self.callback_manager:
            self._hand_on(value)
        elif name == "router":
            resolved = as_expert_router(value)
            checked_experts(self.experts, resolved)
            self._resolved = resolved
        elif name == "experts":
            _check_models(value, self._resolved)
        elif name in ("expert", "on_router_error"):
            value = checked_expert(name, value, list(self.experts))
        elif name == "limits":
            value = as_slots(value)
        elif name == "fallback":
            value = checked_fallback(value)
        elif name == "capabilities":
            value = _capabilities(value, list(self.experts))
        super().__setattr__(name, value)

    def _hand_on(self, callback_manager: Any) -> None:
        for model in self.experts.values():
            model.callback_manager = callback_manager

    # each way to wait: the slot is taken when the call is planned, and given back when its answer is whole

    def _call(self, method: str, request: Request, finish: Finish = finished) -> Any:
        seated = self._seated(request)
        try:
            return super()._call(method, seated, finish)
        finally:
            seated.seat.release()

    async def _acall(self, method: str, request: Request, finish: Finish = finished) -> Any:
        seated = self._seated(request)
        try:
            return await super()._acall(method, seated, finish)
        finally:
            seated.seat.release()

    def _stream(self, method: str, request: Request, finish: Finish = finished) -> Generator[Any, None, None]:
        seated = self._seated(request)
        try:
            return _held(super()._stream(method, seated, finish), seated.seat)
        except BaseException:
            seated.seat.release()
            raise

    async def _astream(self, method: str, request: Request, finish: Finish = finished) -> AsyncGenerator[Any, None]:
        seated = self._seated(request)
        try:
            return await _aheld(await super()._astream(method, seated, finish), seated.seat)
        except BaseException:
            seated.seat.release()
            raise

    def _seated(self, request: Request) -> SeatedRequest:
        """The call with a seat, and without the keyword that is the router's."""
        if request.knob is not None and request.knob is not wish().knob:
            raise HybridError(
                f"{request.knob.name} is a knob between two models, which an {type(self).__name__} does not have; say "
                "expert=… for one of the experts"
            )
        named, kwargs = _named(request)
        expert = checked_expert(EXPERT, named or self.expert, list(self.experts))
        told = {one.name: getattr(request, one.name) for one in fields(request)}
        return SeatedRequest(**{**told, "kwargs": kwargs}, seat=Seat(self.slots, expert))

    # who answers

    def _plan(self, request: Request, *, once: bool = False) -> Plan:
        seat = cast("SeatedRequest", request).seat
        (choice,) = self._chooser.choose([self._asked(request, seat)])
        return self._planned(request, seat.take(choice))

    async def _aplan(self, request: Request, *, once: bool = False) -> Plan:
        seat = cast("SeatedRequest", request).seat
        for name, model in self.experts.items():
            if must_be_asked(model, self._stated(name), request.needs):
                await self._metadata_cache.load(model)
        (choice,) = await self._chooser.achoose([self._asked(request, seat)])
        return await self._aplanned(request, await seat.atake(choice))

    def _plan_again(self, plan: Plan, request: Request, error: Exception) -> Plan | None:
        seat = cast("SeatedRequest", request).seat
        choice = self._second_choice(plan, seat, error)
        return None if choice is None else self._planned(request, seat.take(choice))

    async def _aplan_again(self, plan: Plan, request: Request, error: Exception) -> Plan | None:
        seat = cast("SeatedRequest", request).seat
        choice = self._second_choice(plan, seat, error)
        return None if choice is None else await self._aplanned(request, await seat.atake(choice))

    def _second_choice(self, plan: Plan, seat: Seat, error: Exception) -> Choice | None:
        if self.fallback is None or seat.choice is None:
            return None
        return seat.choice.after_failure(str(plan.record[EXPERT]), error)

    @property
    def _chooser(self) -> ExpertChooser:
        settings = (self._resolved, tuple(self.experts), self.on_router_error)
        made = self._chooser_made
        if made is None or made[0] != settings:
            made = (settings, ExpertChooser(*settings))
            self._chooser_made = made
        return made[1]

    def _asked(self, request: Request, seat: Seat) -> Asked:
        if seat.expert is not None:
            return Asked("", seat.expert)
        abilities = self._abilities(request.needs)
        return Asked(request.judged(self.context_share), needs=recounted(request, abilities), capabilities=abilities)

    def _abilities(self, needs: Needs) -> dict[str, Capabilities]:
        needs_text_only = not (needs.modalities or needs.tools or needs.structured_output)
        if needs_text_only and needs.tokens <= FITS_ANYWHERE and not self.capabilities:
            return {}
        can = self._metadata_cache.capabilities
        return {name: can(model, self._stated(name), needs) for name, model in self.experts.items()}

    def _stated(self, expert: str) -> Capabilities:
        return as_capabilities(self.capabilities.get(expert))

    def _planned(self, request: Request, decision: ExpertDecision) -> Plan:
        model = self.experts[decision.expert]
        name = model_name(model)
        metadata = self._metadata_cache.peek(model)
        role = metadata.system_role if metadata is not None else MessageRole.SYSTEM
        foreign = any(type(other) is not type(model) for other in self.experts.values())
        return Plan(
            # the steps that follow read its target and its reason, which both kinds of decisions have
            decision=cast("Any", decision),
            llm=self._leg(decision.expert),
            args=request.arguments_for(Recipient(foreign, role)),
            kwargs=request.keywords(),
            model=name,
            record=decision.as_metadata(name),
        )

    async def _aplanned(self, request: Request, decision: ExpertDecision) -> Plan:
        await self._metadata_cache.load(self.experts[decision.expert])
        return self._planned(request, decision)

    def _leg(self, expert: str) -> LLM:
        """The model, with the settings laid over it that the user has made on the router."""
        model = self.experts[expert]
        overlay = {name: value for name, default in OVERLAYS.items() if (value := getattr(self, name)) != default}
        if not overlay:
            return model
        known = self._overlaid.get(expert)
        # the copy is kept, with the HTTP client it has built, until either side changes
        if known is None or known[0] is not model or known[1] != overlay or known[2] != model.__dict__:
            known = (model, overlay, dict(model.__dict__), model.model_copy(update=overlay))
            self._overlaid[expert] = known
        return known[3]

    # tools

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tools that a response selects, read by the expert that produced it.

        Args:
            response: A response of this router, or one chunk of it.
            error_on_no_tool_call: Whether a response without tool calls is an error.
            kwargs: Taken for the host's sake; integrations do not agree on any (Ollama's takes none).

        Raises:
            ValueError: The response has no tool calls; raised by the producing model.
            NotImplementedError: No expert can call tools.
        """
        producer = (decision_of(response) or {}).get(EXPERT)
        # a response that carries no decision was not made here, and any model of ours may try
        for name in sorted(self.experts, key=lambda name: name != producer):
            model = self.experts[name]
            if isinstance(model, FunctionCallingLLM):
                selections = model.get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call)
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
        """Arguments for a chat method of this router; they name the expert in whose format the tools are described."""
        seated = self._seated(from_tools(tools, user_msg, chat_history, (), kwargs))
        (choice,) = self._chooser.choose([self._asked(seated, seated.seat)])
        # nothing is asked yet, so that no slot is taken
        plan = self._planned(seated, choice.taken(choice.ranking[0], 0.0))
        prepared = plan.method("_prepare_chat_with_tools_compat")(
            *plan.args,
            verbose=verbose,
            allow_parallel_tool_calls=allow_parallel_tool_calls,
            tool_required=tool_required,
            **plan.kwargs,
        )
        return {**prepared, EXPERT: choice.ranking[0]}

    # saving

    @field_serializer("experts")
    def _saved_models(self, experts: dict[str, LLM]) -> dict[str, Any]:
        return {name: without_secrets(model.model_dump()) for name, model in experts.items()}

    @field_serializer("router")
    def _saved_router(self, router: ExpertRouterLike) -> str | dict[str, str]:
        return str(router) if isinstance(router, str | os.PathLike) else {"router_id": self._resolved.router_id}

    @field_serializer("capabilities")
    def _saved_capabilities(self, capabilities: dict[str, Capabilities]) -> dict[str, Any]:
        return {
            name: {**asdict(one), "modalities": None if one.modalities is None else sorted(one.modalities)}
            for name, one in capabilities.items()
        }

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], *, llm_classes: Mapping[str, type[LLM]] | None = None, **kwargs: Any
    ) -> ExpertLLM:
        """The router that ``to_dict`` has saved.

        Keys are never saved: the models read theirs from the environment again, or come ready-made as ``experts=``.

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
                f"this ExpertLLM was saved with the router {settings['router'].get('router_id')!r}, an object that "
                "JSON cannot hold; hand it over: ExpertLLM.from_dict(data, router=...)"
            )
        settings["experts"] = {name: revived(one, llm_classes or {}) for name, one in settings["experts"].items()}
        return super().from_dict(settings)

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle.

        Raises:
            HybridError: A model or the router does not pickle. Core would leave it out with a warning.
        """
        state = super().__getstate__()
        missing = [name for name in ("experts", "router") if name not in state["__dict__"]]
        if missing:
            raise HybridError(
                f"{' and '.join(missing)} cannot be pickled; give an expert router's path or a function of a module "
                "for a router, and models that pickle"
            )
        return state

    def __repr_args__(self) -> list[tuple[str, Any]]:
        # pydantic would show the models with their keys
        return [
            ("experts", {name: model_name(model) for name, model in self.experts.items()}),
            ("router", self._resolved.router_id),
            *([("expert", self.expert)] if self.expert is not None else []),
            ("limits", self.limits),
        ]


def _check_models(experts: Any, router: RanksExperts) -> None:
    checked_experts(experts, router)
    for name, model in experts.items():
        if not isinstance(model, LLM):
            raise HybridError(f"experts are LLMs, but {name!r} is a {type(model).__name__}")


def _capabilities(stated: Mapping[str, CapabilitiesLike] | None, experts: Sequence[str]) -> dict[str, Capabilities]:
    for name in stated or {}:
        checked_expert("a key of capabilities", name, experts)
    return {name: as_capabilities(one) for name, one in (stated or {}).items()}


def _named(request: Request) -> tuple[str | None, dict[str, Any]]:
    """The expert that is demanded, and the keyword arguments without it; a template's own variable is not ours."""
    kwargs = dict(request.kwargs)
    prompt = next((argument for argument in request.args if isinstance(argument, BasePromptTemplate)), None)
    inner = kwargs.get("llm_kwargs")
    if isinstance(inner, Mapping) and EXPERT in inner:
        kwargs["llm_kwargs"] = {name: value for name, value in inner.items() if name != EXPERT}
        return cast("str | None", inner[EXPERT]), kwargs
    if EXPERT in kwargs and (prompt is None or EXPERT not in prompt.template_vars):
        return kwargs.pop(EXPERT), kwargs
    return None, kwargs


def _held(chunks: Generator[Any, None, None], seat: Seat) -> Generator[Any, None, None]:
    held = _holding(chunks, seat)
    # a generator comes to its ``finally`` only if it was begun: this one shall also where nobody reads it
    next(held)
    return held


def _holding(chunks: Generator[Any, None, None], seat: Seat) -> Generator[Any, None, None]:
    try:
        yield None
        yield from chunks
    finally:
        chunks.close()
        seat.release()


async def _aheld(chunks: AsyncGenerator[Any, None], seat: Seat) -> AsyncGenerator[Any, None]:
    held = _aholding(chunks, seat)
    await anext(held)
    return held


async def _aholding(chunks: AsyncGenerator[Any, None], seat: Seat) -> AsyncGenerator[Any, None]:
    try:
        yield None
        async for chunk in chunks:
            yield chunk
    finally:
        try:
            await chunks.aclose()
        finally:
            seat.release()


with_ready_signatures(ExpertLLM)
