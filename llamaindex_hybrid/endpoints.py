"""Every method that core calls on an LLM, handed to the method of the same name on the chosen model.

So nothing that the model's integration does there is lost: provider hooks for structured output, tool formats, prompt
adapters. The methods carry no callback decorators; the chosen model fires its events, once.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.tools.types import BaseTool
from llama_index.core.types import TokenAsyncGen, TokenGen
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from llamaindex_hybrid.calls import from_messages, from_prompt, from_structured, from_text, from_tools
from llamaindex_hybrid.delegation import Delegating
from llamaindex_hybrid.structured import HybridStructuredLLM

__all__ = ["DelegatingLLM", "ToolMessage", "with_ready_signatures"]

ToolMessage = str | ChatMessage | None


class DelegatingLLM(FunctionCallingLLM, Delegating):
    """The methods; who answers is the subclass's to plan."""

    def __init__(self, **kwargs: Any) -> None:
        # said again, so that type checkers do not take this class's fields for all that a subclass may hand up
        super().__init__(**kwargs)

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


def with_ready_signatures(cls: type[Any]) -> None:
    """Keep the signature of each method around which core has put a span; the span reads it at every call.

    Args:
        cls: A class of which each method is looked at that it defines itself.
    """
    for method in vars(cls).values():
        if hasattr(method, DISPATCHER_SPAN_DECORATED_ATTR):
            cast("Any", inspect.unwrap(method)).__signature__ = inspect.signature(method)


with_ready_signatures(DelegatingLLM)
