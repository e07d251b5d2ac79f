"""The router as a structured LLM."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from llama_index.core.base.llms.generic_utils import achat_to_completion_decorator, chat_to_completion_decorator
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    MessageRole,
)
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts.base import BasePromptTemplate, ChatPromptTemplate
from llama_index.core.types import TokenAsyncGen, TokenGen

from llamaindex_hybrid.annotation import annotated
from llamaindex_hybrid.calls import Plan, Request, from_prompt, from_structured
from llamaindex_hybrid.delegation import Delegating
from llamaindex_hybrid.question import Wish, wishing

__all__ = ["HybridStructuredLLM"]


class HybridStructuredLLM(StructuredLLM):
    """What ``HybridLLM.as_structured_llm`` returns.

    Core's own ``StructuredLLM`` formats a template before it asks the model, so that the question could no longer be
    told from the boilerplate, and fires the LLM events of the model inside it a second time. This one judges the
    question, leaves the events to the model that answers, and puts the decision on the response.
    """

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised data."""
        return "hybrid_structured_llm"

    def __setattr__(self, name: str, value: Any) -> None:
        """Hand a new callback manager on to the models inside; see ``HybridLLM``."""
        if name == "callback_manager" and value is not self.callback_manager:
            self.llm.callback_manager = value
        super().__setattr__(name, value)

    @property
    def _router(self) -> Delegating:
        return cast("Delegating", self.llm)

    def _request(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Request:
        return from_structured(self.output_cls, ChatPromptTemplate(message_templates=messages), kwargs, {})

    # undecorated: the chosen model fires the events

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """One object for a conversation, as JSON text in the message and as itself in ``raw``."""
        return cast(
            "ChatResponse", self._router._call("structured_predict", self._request(messages, kwargs), _as_response)
        )

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """``chat``, asynchronous."""
        request = self._request(messages, kwargs)
        return cast("ChatResponse", await self._router._acall("astructured_predict", request, _as_response))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The object as it grows."""
        return self._router._stream("stream_structured_predict", self._request(messages, kwargs), _as_response)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The object as it grows, asynchronous."""
        request = self._request(messages, kwargs)
        return await self._router._astream("astream_structured_predict", request, _as_response)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """One object for a text."""
        return chat_to_completion_decorator(self.chat)(prompt, **kwargs)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """``complete``, asynchronous."""
        return await achat_to_completion_decorator(self.achat)(prompt, **kwargs)

    # these format the template and call the endpoints above, which decide before they return

    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """One object for a template, as JSON text."""
        request = from_prompt(prompt, prompt_args)
        with _said(request):
            return super().predict(prompt, **request.kwargs)

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """``predict``, asynchronous."""
        request = from_prompt(prompt, prompt_args)
        with _said(request):
            return await super().apredict(prompt, **request.kwargs)

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """The JSON text as it grows."""
        request = from_prompt(prompt, prompt_args)
        with _said(request):
            return super().stream(prompt, **request.kwargs)

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenAsyncGen:
        """The JSON text as it grows, asynchronous."""
        request = from_prompt(prompt, prompt_args)
        with _said(request):
            return await super().astream(prompt, **request.kwargs)


def _said(request: Request) -> AbstractContextManager[None]:
    asked = request.question
    return wishing(Wish(asked.text, asked.context, request.knob, request.conversation, asked.prompt_type))


def _as_response(output: Any, plan: Plan) -> ChatResponse:
    text = output.model_dump_json() if isinstance(output, BaseModel) else str(output)
    message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
    return annotated(ChatResponse(message=message, raw=output), plan.record)
