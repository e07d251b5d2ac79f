"""``HybridLLM``: two LLMs behind one.

Every method that core calls on an LLM is handed to the method of the same name on the chosen model, so that nothing the
model's integration does there is lost: provider hooks for structured output, tool formats, prompt adapters. The methods
carry no callback decorators; the chosen model fires its events, once.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr, SerializeAsAny, field_serializer
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.prompts.prompt_type import PromptType
from llama_index.core.tools.types import BaseTool
from llama_index.core.types import TokenAsyncGen, TokenGen
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from llamaindex_hybrid.annotation import decision_of
from llamaindex_hybrid.calls import from_messages, from_prompt, from_structured, from_text, from_tools
from llamaindex_hybrid.capabilities import MetadataCache, merged, model_name
from llamaindex_hybrid.messages import selections_with_ids
from llamaindex_hybrid.planning import Planning
from llamaindex_hybrid.saving import revived, without_secrets
from llamaindex_hybrid.settings import Conversation, checked
from llamaindex_hybrid.structured import HybridStructuredLLM
from shared_router.deciding import Fallback, OnDrift
from shared_router.errors import HybridError
from shared_router.guards import Capabilities
from shared_router.knob import CONFIDENCE, KNOB_NAMES, KNOB_SETTINGS, Knob, knob_from
from shared_router.limits import Limit
from shared_router.monitor import DriftMonitor
from shared_router.records import TARGETS, Target
from shared_router.router import Router, RouterLike, as_router
from shared_router.settings import CapabilitiesLike, CurrentDecider, StickinessMode, as_capabilities

__all__ = ["HybridLLM"]

ToolMessage = str | ChatMessage | None


class HybridLLM(FunctionCallingLLM, Planning):
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

    _resolved: Router = PrivateAttr()
    _current_decider: CurrentDecider = PrivateAttr(default_factory=CurrentDecider)
    _metadata_cache: MetadataCache = PrivateAttr(default_factory=MetadataCache)
    _overlaid: dict[Target, tuple[LLM, dict[str, Any], dict[str, Any], LLM]] = PrivateAttr(default_factory=dict)

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
        }
        super().__init__(
            small=small,
            large=large,
            router=router,
            context_share=context_share,
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
        # a knob takes the confidence of the one before it away, so that one that comes with it is set after it
        for name in sorted(settings, key=lambda name: name == CONFIDENCE):
            setattr(copy, name, settings[name])
        return copy

    def _hand_on(self, callback_manager: Any) -> None:
        for model in (self.small, self.large):
            model.callback_manager = callback_manager

    # chat and completion

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return cast("ChatResponse", self._call("chat", from_messages(messages, kwargs)))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return cast("ChatResponse", await self._acall("achat", from_messages(messages, kwargs)))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation chunk by chunk."""
        return self._stream("stream_chat", from_messages(messages, kwargs))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation chunk by chunk."""
        return await self._astream("astream_chat", from_messages(messages, kwargs))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a text."""
        return cast("CompletionResponse", self._call("complete", from_text(prompt, formatted, kwargs)))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a text."""
        return cast("CompletionResponse", await self._acall("acomplete", from_text(prompt, formatted, kwargs)))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Complete a text chunk by chunk."""
        return self._stream("stream_complete", from_text(prompt, formatted, kwargs))

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Complete a text chunk by chunk."""
        return await self._astream("astream_complete", from_text(prompt, formatted, kwargs))

    # prompt templates

    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Answer a template."""
        return cast("str", self._call("predict", from_prompt(prompt, prompt_args)))

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Answer a template."""
        return cast("str", await self._acall("apredict", from_prompt(prompt, prompt_args)))

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """Answer a template token by token."""
        return self._stream("stream", from_prompt(prompt, prompt_args))

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenAsyncGen:
        """Answer a template token by token."""
        return await self._astream("astream", from_prompt(prompt, prompt_args))

    # structured output

    def structured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        """Answer a template with an object."""
        return self._call("structured_predict", from_structured(output_cls, prompt, llm_kwargs, prompt_args))

    async def astructured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        """Answer a template with an object."""
        return await self._acall("astructured_predict", from_structured(output_cls, prompt, llm_kwargs, prompt_args))

    def stream_structured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Generator[Any, None, None]:
        """Answer a template with an object that grows."""
        return self._stream("stream_structured_predict", from_structured(output_cls, prompt, llm_kwargs, prompt_args))

    async def astream_structured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> AsyncGenerator[Any, None]:
        """Answer a template with an object that grows."""
        request = from_structured(output_cls, prompt, llm_kwargs, prompt_args)
        return await self._astream("astream_structured_predict", request)

    def as_structured_llm(self, output_cls: type[BaseModel], **kwargs: Any) -> HybridStructuredLLM:
        """This router as an LLM whose every answer is an object of ``output_cls``."""
        return HybridStructuredLLM(llm=self, output_cls=output_cls, **kwargs)

    # tools

    def chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: ToolMessage = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> ChatResponse:
        """Answer a conversation with text or tool calls."""
        request = from_tools(tools, user_msg, chat_history, args, kwargs)
        return cast("ChatResponse", self._call("chat_with_tools", request))

    async def achat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: ToolMessage = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> ChatResponse:
        """Answer a conversation with text or tool calls."""
        request = from_tools(tools, user_msg, chat_history, args, kwargs)
        return cast("ChatResponse", await self._acall("achat_with_tools", request))

    def stream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: ToolMessage = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> ChatResponseGen:
        """Answer a conversation with text or tool calls chunk by chunk."""
        return self._stream("stream_chat_with_tools", from_tools(tools, user_msg, chat_history, args, kwargs))

    async def astream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: ToolMessage = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> ChatResponseAsyncGen:
        """Answer a conversation with text or tool calls chunk by chunk."""
        request = from_tools(tools, user_msg, chat_history, args, kwargs)
        return await self._astream("astream_chat_with_tools", request)

    def predict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: ToolMessage = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Let the model choose a tool, and call it."""
        request = from_tools(tools, user_msg, chat_history, args, kwargs)
        return cast("AgentChatResponse", self._call("predict_and_call", request))

    async def apredict_and_call(
        self,
        tools: Sequence[BaseTool],
        user_msg: ToolMessage = None,
        chat_history: list[ChatMessage] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AgentChatResponse:
        """Let the model choose a tool, and call it."""
        request = from_tools(tools, user_msg, chat_history, args, kwargs)
        return cast("AgentChatResponse", await self._acall("apredict_and_call", request))

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
        plan = self._plan(from_tools(tools, user_msg, chat_history, (), kwargs))
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
        missing = [name for name in ("small", "large", "router", "conversation") if name not in state["__dict__"]]
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


for _method in vars(HybridLLM).values():
    if hasattr(_method, DISPATCHER_SPAN_DECORATED_ATTR):
        # the span around a method reads its signature at every call, and takes the one that lies ready
        cast("Any", inspect.unwrap(_method)).__signature__ = inspect.signature(_method)
