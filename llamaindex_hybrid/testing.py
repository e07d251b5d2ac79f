"""A double for an LLM, and a suite that checks any LLM integration; we test ourselves with both.

LlamaIndex has no standard tests for integrations. To run ours over yours, in a file that pytest collects:

    class TestMyLLM(LLMConformance):
        def make_llm(self) -> LLM:
            return MyLLM(...)
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from typing import Any, TypeVar, cast

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
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.simple_llm_handler import SimpleLLMHandler
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts.base import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.types import BaseTool

__all__ = ["LLMConformance", "Reply", "ScriptedLLM"]

Reply = str | ToolCallBlock | Exception
"""What a scripted model does when it is asked: say a text, call a tool, or fail."""

Chunk = TypeVar("Chunk", ChatResponse, CompletionResponse)


class ScriptedLLM(FunctionCallingLLM):
    """A model that says what it is told and remembers what it was asked; decorated as integrations are.

    Args:
        model: Its name.
        replies: One a call, in order; the last one is repeated. By default it says "<model> answers".
        is_function_calling_model: Whether it calls tools.
        confidences: Probability of each token of a reply, in turn with the calls, the last one repeated; the rest is
            that of one other token. Reported in ``raw`` as OpenAI's chat completions do, where ``logprobs`` is set.
        logprobs: Report log-probabilities.
        top_logprobs: How many alternatives are reported per token.
        kwargs: ``context_window``, ``num_output``, ``is_chat_model``, ``system_role`` and core's settings of an LLM.

    Attributes:
        called: Names of the methods that were called, in order, those that core calls inside others included.
        received: The messages of each call that reached the model.
        keywords: The keyword arguments of each call that reached the model.
    """

    model: str = "scripted"
    replies: list[Any] = Field(default_factory=list)
    confidences: list[float] = Field(default_factory=list)
    logprobs: bool | None = None
    top_logprobs: int = 0
    is_function_calling_model: bool = True
    is_chat_model: bool = True
    context_window: int = 4096
    num_output: int = 256
    system_role: MessageRole = MessageRole.SYSTEM

    _called: list[str] = PrivateAttr(default_factory=list)
    _received: list[list[ChatMessage]] = PrivateAttr(default_factory=list)
    _keywords: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised data."""
        return "scripted_llm"

    @property
    def called(self) -> list[str]:
        """Names of the methods that were called."""
        return self._called

    @property
    def received(self) -> list[list[ChatMessage]]:
        """The messages of each call that reached the model."""
        return self._received

    @property
    def keywords(self) -> list[dict[str, Any]]:
        """The keyword arguments of each call that reached the model."""
        return self._keywords

    @property
    def metadata(self) -> LLMMetadata:
        """As the fields say."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.num_output,
            is_chat_model=self.is_chat_model,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
            system_role=self.system_role,
        )

    def _chunks(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> list[ChatResponse]:
        """The reply word by word; each chunk holds all words so far, as core's streams do."""
        reply = self.replies[min(len(self._received), len(self.replies) - 1)] if self.replies else None
        self._received.append(list(messages))
        self._keywords.append(kwargs)
        if isinstance(reply, Exception):
            raise reply
        raw: dict[str, Any] = {"usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}
        if isinstance(reply, ToolCallBlock):
            message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=""), reply.model_copy()])
            return [ChatResponse(message=message, delta="", raw=raw)]
        words = (f"{self.model} answers" if reply is None else reply).split(" ")
        deltas = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
        return [
            ChatResponse(
                message=ChatMessage(role=MessageRole.ASSISTANT, content="".join(deltas[: i + 1])),
                delta=delta,
                raw={**raw, **self._reported([delta])},
            )
            for i, delta in enumerate(deltas)
        ]

    def _reported(self, tokens: Sequence[str]) -> dict[str, Any]:
        if not (self.logprobs and self.confidences):
            return {}
        chance = self.confidences[min(len(self._received), len(self.confidences)) - 1]
        content = []
        for token in tokens:
            choices = sorted([(token, chance), ("<other>", 1.0 - chance)], key=lambda one: -one[1])
            top = [{"token": text, "logprob": math.log(max(value, 1e-300))} for text, value in choices]
            content.append({"token": token, "logprob": math.log(chance), "top_logprobs": top[: self.top_logprobs]})
        return {"choices": [{"logprobs": {"content": content}}]}

    def _whole(self, chunks: Sequence[ChatResponse]) -> ChatResponse:
        """The last chunk, as a response that was not streamed."""
        last = chunks[-1]
        reported = self._reported([chunk.delta or "" for chunk in chunks])
        return last.model_copy(update={"delta": None, "raw": {**cast("dict[str, Any]", last.raw), **reported}})

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole reply."""
        self._called.append("chat")
        return self._whole(self._chunks(messages, kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole reply."""
        self._called.append("achat")
        return self._whole(self._chunks(messages, kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The reply word by word."""
        self._called.append("stream_chat")
        return _each(self._chunks(messages, kwargs))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """The reply word by word."""
        self._called.append("astream_chat")
        return _aeach(self._chunks(messages, kwargs))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The whole reply."""
        self._called.append("complete")
        return _completion(self._whole(self._chunks([ChatMessage(content=prompt)], kwargs)))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The whole reply."""
        self._called.append("acomplete")
        return _completion(self._whole(self._chunks([ChatMessage(content=prompt)], kwargs)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The reply word by word."""
        self._called.append("stream_complete")
        return _each([_completion(chunk) for chunk in self._chunks([ChatMessage(content=prompt)], kwargs)])

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """The reply word by word."""
        self._called.append("astream_complete")
        return _aeach([_completion(chunk) for chunk in self._chunks([ChatMessage(content=prompt)], kwargs)])

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = chat_history or []
        if user_msg:
            # into the list it was given, as OpenAI's and Ollama's integrations do
            messages.append(ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg)
        return {"messages": messages, "tools": [tool.metadata.get_name() for tool in tools], **kwargs}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tool calls in the response's blocks, under the tool's name where they have no id."""
        self._called.append("get_tool_calls_from_response")
        blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return [
            ToolSelection(
                tool_id=block.tool_call_id or block.tool_name,
                tool_name=block.tool_name,
                tool_kwargs=cast("dict[str, Any]", block.tool_kwargs),
            )
            for block in blocks
        ]


def _noted(name: str) -> Callable[..., Any]:
    inherited = getattr(FunctionCallingLLM, name)

    @functools.wraps(inherited)
    def method(self: ScriptedLLM, *args: Any, **kwargs: Any) -> Any:
        self._called.append(name)
        return inherited(self, *args, **kwargs)

    return method


for _name in (
    *("predict", "apredict", "stream", "astream"),
    *("structured_predict", "astructured_predict", "stream_structured_predict", "astream_structured_predict"),
    *("chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools"),
    *("predict_and_call", "apredict_and_call"),
):
    setattr(ScriptedLLM, _name, _noted(_name))


def _completion(chunk: ChatResponse) -> CompletionResponse:
    return CompletionResponse(text=chunk.message.content or "", delta=chunk.delta, raw=chunk.raw)


def _each(chunks: Iterable[Chunk]) -> Generator[Chunk, None, None]:
    yield from chunks


async def _aeach(chunks: Iterable[Chunk]) -> AsyncGenerator[Chunk, None]:
    for chunk in chunks:
        yield chunk


class LLMConformance:
    """What core relies on in any LLM, as tests; subclass it and say how to make yours.

    Needs pytest only, no plugin, and no network beyond what your model needs: asynchronous endpoints run in an event
    loop of their own. Answers may be any text, empty ones included.
    """

    prompt = "Say hello."
    secrets: Sequence[str] = ()
    """Keys given to the model in ``make_llm``, which must not show up in events or in its ``repr``."""

    keeps_history = True
    """False if the model appends to the ``chat_history`` it is given, as OpenAI's and Ollama's integrations do."""

    def make_llm(self) -> LLM:
        """A new model, ready to be asked."""
        raise NotImplementedError("return a new instance of your LLM")

    @property
    def messages(self) -> list[ChatMessage]:
        """The conversation that the chat endpoints are asked."""
        return [ChatMessage(role=MessageRole.USER, content=self.prompt)]

    # endpoints

    def test_chat_answers_as_the_assistant(self) -> None:
        """``chat`` returns a ``ChatResponse`` and changes none of its arguments."""
        messages = self.messages
        before = [message.model_copy(deep=True) for message in messages]
        self._check_chat(self.make_llm().chat(messages))
        assert messages == before

    def test_achat_answers_as_the_assistant(self) -> None:
        """``achat`` does the same."""
        self._check_chat(asyncio.run(self.make_llm().achat(self.messages)))

    def test_stream_chat_is_a_generator_of_growing_messages(self) -> None:
        """Core tests for ``Generator``; the last chunk holds all, and the deltas join to it."""
        chunks = self.make_llm().stream_chat(self.messages)
        assert isinstance(chunks, Generator)
        self._check_stream([(chunk.message.content or "", chunk.delta) for chunk in chunks])

    def test_astream_chat_is_awaited_for_an_async_generator(self) -> None:
        """``await llm.astream_chat(...)`` returns an ``AsyncGenerator``."""
        chunks = asyncio.run(_collected(lambda: self.make_llm().astream_chat(self.messages)))
        self._check_stream([(chunk.message.content or "", chunk.delta) for chunk in chunks])

    def test_complete_answers_with_text(self) -> None:
        """``complete`` takes its prompt by position and by keyword, and ``formatted``."""
        for response in (self.make_llm().complete(self.prompt), self.make_llm().complete(prompt=self.prompt)):
            assert isinstance(response, CompletionResponse)
        assert isinstance(self.make_llm().complete(self.prompt, formatted=True).text, str)

    def test_acomplete_answers_with_text(self) -> None:
        """``acomplete`` does the same."""
        assert isinstance(asyncio.run(self.make_llm().acomplete(self.prompt)), CompletionResponse)

    def test_stream_complete_is_a_generator_of_growing_texts(self) -> None:
        """The last chunk holds all, and the deltas join to it."""
        chunks = self.make_llm().stream_complete(self.prompt)
        assert isinstance(chunks, Generator)
        self._check_stream([(chunk.text, chunk.delta) for chunk in chunks])

    def test_astream_complete_is_awaited_for_an_async_generator(self) -> None:
        """``await llm.astream_complete(...)`` returns an ``AsyncGenerator``."""
        chunks = asyncio.run(_collected(lambda: self.make_llm().astream_complete(self.prompt)))
        self._check_stream([(chunk.text, chunk.delta) for chunk in chunks])

    def test_a_stream_can_be_left_early(self) -> None:
        """Closing after one chunk raises nothing."""
        chunks = self.make_llm().stream_chat(self.messages)
        next(chunks, None)
        chunks.close()

    def test_prompt_templates_are_answered(self) -> None:
        """``predict`` and its three siblings return text and tokens."""
        prompt = PromptTemplate("{query_str}")

        async def asynchronous() -> tuple[str, list[str]]:
            whole = await self.make_llm().apredict(prompt, query_str=self.prompt)
            return whole, [token async for token in await self.make_llm().astream(prompt, query_str=self.prompt)]

        whole, tokens = asyncio.run(asynchronous())
        tokens += self.make_llm().stream(prompt, query_str=self.prompt)
        assert isinstance(whole, str)
        assert isinstance(self.make_llm().predict(prompt, query_str=self.prompt), str)
        assert all(isinstance(token, str) for token in tokens)

    # tools

    def test_tools_are_offered_and_their_calls_read(self) -> None:
        """Only for models that call tools."""
        llm = self.make_llm()
        if not (isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model):
            return
        history = self.messages
        response = llm.chat_with_tools([self._tool()], user_msg=self.prompt, chat_history=history)
        assert len(history) == 1 or not self.keeps_history, "chat_with_tools appended to the caller's history"
        for selection in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False):
            assert isinstance(selection, ToolSelection)

    def _tool(self) -> FunctionTool:
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        return FunctionTool.from_defaults(add)

    # observers

    def test_each_call_is_one_llm_event(self) -> None:
        """Tokens are counted once, whichever endpoint is called, and wherever the manager came from."""
        for call in (
            lambda llm: llm.chat(self.messages),
            lambda llm: list(llm.stream_chat(self.messages)),
            lambda llm: asyncio.run(llm.achat(self.messages)),
            lambda llm: llm.predict(PromptTemplate(self.prompt)),
        ):
            handler = _Counter()
            llm = self.make_llm()
            llm.callback_manager = CallbackManager([handler])
            call(llm)
            assert handler.ended == 1, f"{handler.ended} LLM events ended in one call"

    def test_no_secret_is_shown(self) -> None:
        """Neither what observers are given nor the ``repr`` holds a key."""
        llm = self.make_llm()
        shown = json.dumps(llm.to_payload(), default=str) + repr(llm) + str(llm)
        assert not [secret for secret in self.secrets if secret in shown]

    # saving

    def test_it_survives_pickling(self) -> None:
        """``IngestionPipeline(num_workers=2)`` sends its models to other processes."""
        copy = pickle.loads(pickle.dumps(self.make_llm()))
        assert copy.metadata == self.make_llm().metadata

    def test_metadata_can_be_planned_with(self) -> None:
        """A prompt helper can reserve the output in the window."""
        metadata = self.make_llm().metadata
        assert metadata.context_window > 0
        assert metadata.num_output < metadata.context_window

    def _check_chat(self, response: ChatResponse) -> None:
        assert isinstance(response, ChatResponse)
        assert response.message.role == MessageRole.ASSISTANT

    def _check_stream(self, chunks: Sequence[tuple[str, str | None]]) -> None:
        if chunks:  # an empty stream is legal
            assert chunks[-1][0] == "".join(delta or "" for _, delta in chunks)


async def _collected(start: Callable[[], Awaitable[AsyncGenerator[Chunk, None]]]) -> list[Chunk]:
    stream = await start()
    assert isinstance(stream, AsyncGenerator)
    return [chunk async for chunk in stream]


class _Counter(SimpleLLMHandler):
    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    def on_event_end(self, event_type: CBEventType, *args: Any, **kwargs: Any) -> None:
        self.ended += event_type == CBEventType.LLM
