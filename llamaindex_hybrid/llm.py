"""``HybridLLM``: two LLMs behind one.

Every method that core calls on an LLM is handed to the method of the same name on the chosen model, so that nothing the
model's integration does there is lost: provider hooks for structured output, tool formats, prompt adapters. The methods
carry no callback decorators; the chosen model fires its events, once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Any, cast

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr, SerializeAsAny, field_serializer
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection, default_completion_to_prompt
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.tools.types import BaseTool
from llama_index.core.types import PydanticProgramMode, TokenAsyncGen, TokenGen

from llamaindex_hybrid.annotation import decision_of
from llamaindex_hybrid.calls import (
    Plan,
    Request,
    from_messages,
    from_prompt,
    from_structured,
    from_text,
    from_tools,
)
from llamaindex_hybrid.capabilities import MetadataCache, merged, model_name
from llamaindex_hybrid.delegation import Delegating
from llamaindex_hybrid.messages import Recipient, selections_with_ids
from llamaindex_hybrid.saving import revived, without_secrets
from llamaindex_hybrid.structured import HybridStructuredLLM
from shared_router.errors import HybridError
from shared_router.guards import Call, Capabilities
from shared_router.knob import DEFAULT_KNOB, KNOB_NAMES, Knob, knob_from
from shared_router.records import TARGETS, Target
from shared_router.router import Router, RouterLike, as_router, route_safely

__all__ = ["HybridLLM"]

OVERLAYS: Mapping[str, Any] = {
    "system_prompt": None,
    "output_parser": None,
    "query_wrapper_prompt": None,
    "pydantic_program_mode": PydanticProgramMode.DEFAULT,
    "messages_to_prompt": messages_to_prompt,
    "completion_to_prompt": default_completion_to_prompt,
}
"""Settings that the host reads off the LLM it calls, and core's defaults; set on the router, they hold for both."""

ToolMessage = str | ChatMessage | None


class HybridLLM(FunctionCallingLLM, Delegating):
    """Sends each call to a small or a large LLM, by the difficulty of its question and a quality knob.

    Stands wherever an LLM stands: ``Settings.llm``, query and chat engines, agents, extractors, evaluators. Every
    method takes the knob as a keyword for one call (``quality=``, ``max_drop=``, ``large_share=``, ``threshold=``,
    ``route=``), and ``query=`` for a text that is judged in place of the call's own; ``llamaindex_hybrid.query`` says
    the same for a block of code. The decision is on the response, in ``additional_kwargs["hybrid"]``.

    Args:
        small: The small model.
        large: The large model.
        router: A router, a function from a text to a difficulty in [0, 1], the path of an artifact, or "default".
        quality: The knob; at most one of these five. With none, ``quality=0.9`` holds.
        max_drop: See ``shared_router.knob``.
        large_share: See ``shared_router.knob``.
        threshold: See ``shared_router.knob``.
        route: "small" or "large": no routing.
        on_router_error: The model that answers where the router cannot say.
        context_share: The share of the retrieved text, from its beginning, that is judged along with the question.
        kwargs: Core's own settings of an LLM; they hold for both models where they are given.

    Raises:
        KnobError: Two knobs, or a value that does not fit.
        ArtifactError: ``router`` is a path that leads to no usable artifact.
    """

    small: SerializeAsAny[LLM] = Field(description="The small model.")
    large: SerializeAsAny[LLM] = Field(description="The large model.")
    router: Any = Field(default=None, description="A router, a function, the path of an artifact, or 'default'.")
    quality: float | None = Field(default=None, description="Share of the large model's gain to keep.")
    max_drop: float | None = Field(default=None, description="Accepted relative loss of quality.")
    large_share: float | None = Field(default=None, description="Share of calls that may go to the large model.")
    threshold: float | None = Field(default=None, description="Raw cut on the difficulty.")
    route: Target | None = Field(default=None, description="'small' or 'large': no routing.")
    on_router_error: Target = Field(default="large", description="Who answers where the router cannot say.")
    context_share: float = Field(default=0.0, ge=0.0, le=1.0, description="Share of retrieved text that is judged.")

    _resolved: Router = PrivateAttr()
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
        on_router_error: Target = "large",
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
            }
        )
        resolved = as_router(router)
        super().__init__(
            small=small,
            large=large,
            router=router,
            on_router_error=on_router_error,
            context_share=context_share,
            **({} if knob is None else {knob.name: knob.value}),
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
    def metadata(self) -> LLMMetadata:
        """What holds for both models; for the one that can be asked where the other cannot."""
        small, large = (self._metadata_cache.peek(self._leg(target)) for target in TARGETS)
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
            for other in KNOB_NAMES:
                super().__setattr__(other, None)
        elif name == "router":
            self._resolved = as_router(value)
        super().__setattr__(name, value)

    def _hand_on(self, callback_manager: Any) -> None:
        for model in (self.small, self.large):
            model.callback_manager = callback_manager

    # one decision a call

    def _plan(self, request: Request) -> Plan:
        knob = request.knob or knob_from({name: getattr(self, name) for name in KNOB_NAMES}) or DEFAULT_KNOB
        call = Call(knob, request.needs, self._capabilities(request, knob))
        judged = request.judged(self.context_share)
        (decision,) = route_safely(self._resolved, [judged], [call], on_router_error=self.on_router_error)
        llm = self._leg(decision.target)
        name = model_name(llm)
        recipient = Recipient(type(self.small) is not type(self.large), self._system_role(llm))
        return Plan(decision, llm, request.arguments_for(recipient), request.kwargs, name, decision.as_metadata(name))

    def _capabilities(self, request: Request, knob: Knob) -> dict[Target, Capabilities]:
        # asking a model what it can do may ask its server: only where the answer matters
        if knob.forced is not None or not request.needs.tools:
            return {}
        can = self._metadata_cache.capabilities
        return {"small": can(self.small), "large": can(self.large)}

    def _system_role(self, llm: LLM) -> MessageRole:
        metadata = self._metadata_cache.peek(llm)
        return metadata.system_role if metadata is not None else MessageRole.SYSTEM

    def _leg(self, target: Target) -> LLM:
        """The model, with the settings laid over it that the user has made on the router."""
        model = self.small if target == "small" else self.large
        overlay = {name: value for name, default in OVERLAYS.items() if (value := getattr(self, name)) != default}
        if not overlay:
            return model
        known = self._overlaid.get(target)
        # the copy is kept, with the HTTP client it has built, until either side changes
        if known is None or known[0] is not model or known[1] != overlay or known[2] != model.__dict__:
            known = (model, overlay, dict(model.__dict__), model.model_copy(update=overlay))
            self._overlaid[target] = known
        return known[3]

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
        missing = [name for name in ("small", "large", "router") if name not in state["__dict__"]]
        if missing:
            raise HybridError(
                f"{' and '.join(missing)} cannot be pickled; give an artifact's path or a function of a module for a "
                "router, and a model that pickles"
            )
        return state

    def __repr_args__(self) -> list[tuple[str, Any]]:
        # pydantic would show the models with their keys
        knob = knob_from({name: getattr(self, name) for name in KNOB_NAMES}) or DEFAULT_KNOB
        return [
            ("small", model_name(self.small)),
            ("large", model_name(self.large)),
            ("router", self._resolved.router_id),
            (knob.name, knob.value),
        ]
