"""A chat model that does what it is told, for tests of whatever is built on chat models.

It needs no network, remembers every call, and behaves like a provider's model: it streams in tokens, counts usage,
calls tools, follows schemas, and can be slow or fail.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

__all__ = ["RecordedCall", "RecordedRun", "RunRecorder", "ScriptedChatModel"]

_RECORDING = threading.Lock()
"""Of all doubles: samples are drawn in threads, and a lock in a model would keep it from being copied."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call that reached the model.

    Attributes:
        mode: Which hook was called.
        messages: The prompt.
        stop: The stop words.
        kwargs: All other arguments.
    """

    mode: Literal["generate", "agenerate", "stream", "astream"]
    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: Mapping[str, Any]


class ScriptedChatModel(BaseChatModel):
    """A chat model with given answers.

    Args:
        model: Its name, as usage counters and traces see it.
        provider: Its provider, likewise.
        answers: Given in turn, from the start again when they are used up. A string, a whole message, or an error that
            is raised. A function gets the prompt and returns one of these.
        call_tools: Call the first bound tool, or the chosen one, once after each human message, with arguments that
            fit its schema. Without it tools are called only where the caller forces it.
        tool_format: How bound tools are spelled.
        delay: Seconds before the first token.
        fail_after: Raise ``failure`` after that many streamed tokens; without streaming, at once.
        failure: The error for ``fail_after``.
        confidences: Probability of each token of an answer, in turn with the calls, in (0, 1]; the rest is that of one
            other token. Reported as OpenAI's chat completions do, where ``logprobs`` is set.
        logprobs: Report log-probabilities.
        top_logprobs: How many alternatives are reported per token.

    Attributes:
        calls: Every call that reached the model, in order.
    """

    model: str = "scripted"
    provider: str = "scripted"
    answers: Sequence[Any] = ("Here is an answer.",)
    call_tools: bool = True
    tool_format: Literal["openai", "anthropic"] = "openai"
    delay: float = 0.0
    fail_after: int | None = None
    failure: Any = None
    confidences: Sequence[float] = ()
    logprobs: bool | None = None
    top_logprobs: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    calls: list[RecordedCall] = Field(default_factory=list, repr=False, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "scripted-chat-model"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": self.model, "provider": self.provider, "temperature": self.temperature}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self.provider
        return params

    def get_token_ids(self, text: str) -> list[int]:
        """One token a word."""
        return list(range(len(text.split())))

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools, spelled as ``tool_format`` says.

        Args:
            tools: Anything that LangChain takes for a tool.
            tool_choice: ``"any"``, or the name of the tool that must be called.
            **kwargs: Bound as they are.
        """
        spelled = [_spelled(convert_to_openai_tool(tool), self.tool_format) for tool in tools]
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice if self.tool_format == "openai" else {"type": tool_choice}
        return self.bind(tools=spelled, **kwargs)

    # ── the answer ──

    def _recorded(self, call: RecordedCall) -> int:
        """Its place among the calls."""
        with _RECORDING:
            self.calls.append(call)
            return len(self.calls) - 1

    def _answer(self, messages: list[BaseMessage], kwargs: Mapping[str, Any], place: int) -> AIMessage:
        name = kwargs.get("model", self.model)
        answer = self.answers[place % len(self.answers)]
        if callable(answer):
            answer = answer(messages)
        if isinstance(answer, BaseException):
            raise answer
        call = _due_tool_call(messages, kwargs, unforced=self.call_tools)
        if call is not None:
            answer = AIMessage("", tool_calls=[tool_call(**call, id=f"call_{place + 1}")])
        message = AIMessage(answer) if isinstance(answer, str) else answer.model_copy()
        prompt = sum(len(str(one.content).split()) for one in messages)
        reply = max(len(_tokens(message)), 1)
        message.usage_metadata = UsageMetadata(
            input_tokens=prompt,
            output_tokens=reply,
            total_tokens=prompt + reply,
            input_token_details={},
            output_token_details={},
        )
        provider = {"model_name": name, "model_provider": self.provider}
        message.response_metadata = {**provider, **message.response_metadata}
        if self.logprobs and self.confidences and not message.tool_calls:
            chance = self.confidences[place % len(self.confidences)]
            reported = [self._reported(str(token), chance) for token in _tokens(message)]
            message.response_metadata["logprobs"] = {"content": reported, "refusal": None}
        return message

    def _reported(self, token: str, chance: float) -> dict[str, Any]:
        choices = {token: chance, "<other>": 1.0 - chance}
        spelled = [
            {"token": text, "logprob": math.log(value) if value > 0.0 else -9999.0, "bytes": None}
            for text, value in sorted(choices.items(), key=lambda one: -one[1])
        ]
        return {"token": token, "logprob": math.log(chance), "top_logprobs": spelled[: self.top_logprobs or 0]}

    def _chunks(self, message: AIMessage) -> Iterator[ChatGenerationChunk]:
        tokens = _tokens(message)
        # on the chunk of its own token, as servers stream it
        reported = message.response_metadata.pop("logprobs", {"content": []})["content"]
        for sent, token in enumerate(tokens):
            if self.fail_after is not None and sent >= self.fail_after:
                raise self.failure
            about = {"logprobs": {"content": [reported[sent]]}} if reported else {}
            yield _chunk(AIMessageChunk(content=token, response_metadata=about))
        for index, call in enumerate(message.tool_calls):
            spelled = tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
            yield _chunk(AIMessageChunk(content="", tool_call_chunks=[spelled]))
        # usage and name on the last chunk only: merging would add them up
        yield _chunk(
            AIMessageChunk(
                content="" if isinstance(message.content, str) else [],
                usage_metadata=message.usage_metadata,
                response_metadata=message.response_metadata,
                chunk_position="last",
            )
        )

    def _result(self, message: AIMessage) -> ChatResult:
        if self.fail_after is not None:
            raise self.failure
        return ChatResult(generations=[ChatGeneration(message=message)])

    # ── the hooks: sync and async differ in how they wait ──

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        place = self._recorded(RecordedCall("generate", messages, stop, kwargs))
        time.sleep(self.delay)
        return self._result(self._answer(messages, kwargs, place))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        place = self._recorded(RecordedCall("agenerate", messages, stop, kwargs))
        await asyncio.sleep(self.delay)
        return self._result(self._answer(messages, kwargs, place))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        place = self._recorded(RecordedCall("stream", messages, stop, kwargs))
        time.sleep(self.delay)
        yield from self._chunks(self._answer(messages, kwargs, place))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        place = self._recorded(RecordedCall("astream", messages, stop, kwargs))
        await asyncio.sleep(self.delay)
        for chunk in self._chunks(self._answer(messages, kwargs, place)):
            await asyncio.sleep(0)
            yield chunk


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)


def _tokens(message: AIMessage) -> list[Any]:
    """The content in parts: words with the space after them, or one content block each."""
    if isinstance(message.content, str):
        return re.findall(r"\S+\s*|\s+", message.content)
    return [[block] for block in message.content]


def _spelled(tool: Mapping[str, Any], tool_format: str) -> dict[str, Any]:
    if tool_format == "openai":
        return dict(tool)
    function = tool["function"]
    return {
        "name": function["name"],
        "description": function.get("description", ""),
        "input_schema": function["parameters"],
    }


def _due_tool_call(
    messages: Sequence[BaseMessage], kwargs: Mapping[str, Any], *, unforced: bool
) -> dict[str, Any] | None:
    """The tool call that the prompt asks for, or None."""
    tools = {name: schema for name, schema in map(_name_and_schema, kwargs.get("tools") or ())}
    choice = kwargs.get("tool_choice")
    if isinstance(choice, Mapping):
        choice = choice.get("type")
    asked = bool(messages) and isinstance(messages[-1], HumanMessage)
    if not tools or not (choice or (unforced and asked)):
        return None
    name = choice if choice in tools else next(iter(tools))
    text = next((str(message.text) for message in reversed(messages) if isinstance(message, HumanMessage)), "")
    return {"name": name, "args": _filled(tools[name], _Values(text))}


def _name_and_schema(tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    function = tool.get("function", tool)
    return function["name"], function.get("parameters") or function.get("input_schema") or {}


class _Values:
    """Values for arguments, taken from the human's text in order."""

    def __init__(self, text: str) -> None:
        self.numbers = itertools.chain((int(number) for number in re.findall(r"-?\d+", text)), itertools.repeat(1))
        self.strings = itertools.chain(re.findall(r"'([^']+)'", text), itertools.repeat("something"))


def _filled(schema: Mapping[str, Any], values: _Values) -> Any:
    """A value that fits a JSON schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _filled(schema["anyOf"][0], values)
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: _filled(part, values) for name, part in schema.get("properties", {}).items()}
    if kind == "string":
        return next(values.strings)
    return (
        {"boolean": True, "array": [], "null": None}.get(kind)
        if kind in ("boolean", "array", "null")
        else next(values.numbers)
    )


@dataclass(slots=True)
class RecordedRun:
    """One run, as a tracer sees it.

    Attributes:
        kind: ``"chain"``, ``"chat_model"`` or ``"tool"``.
        name: Its name.
        run_id: Its id.
        parent: The id of the run above, or None.
        tags: Its tags.
        metadata: Its metadata.
        inputs: What it was given.
        options: What a chat-model run says about its call.
        outputs: What it ended with.
        error: What it failed with.
        tokens: How often a new token was told.
        ends: How often it was closed; once, if all is well.
    """

    kind: str
    name: str | None
    run_id: UUID
    parent: UUID | None
    tags: list[str]
    metadata: dict[str, Any]
    inputs: Any
    options: dict[str, Any] | None = None
    outputs: Any = None
    error: BaseException | None = None
    tokens: int = 0
    ends: int = 0


class RunRecorder(BaseCallbackHandler):
    """A callback handler that remembers every run and custom event.

    Attributes:
        runs: All runs, in the order in which they began.
        events: All custom events as name and data.
    """

    run_inline = True

    def __init__(self) -> None:
        self.runs: list[RecordedRun] = []
        self.events: list[tuple[str, Any]] = []
        self._by_id: dict[UUID, RecordedRun] = {}

    def of_kind(self, kind: str) -> list[RecordedRun]:
        """The runs of one kind."""
        return [run for run in self.runs if run.kind == kind]

    def _begin(self, kind: str, inputs: Any, about: Mapping[str, Any]) -> None:
        run = RecordedRun(
            kind,
            about.get("name"),
            about["run_id"],
            about.get("parent_run_id"),
            list(about.get("tags") or ()),
            dict(about.get("metadata") or {}),
            inputs,
            about.get("options"),
        )
        self._by_id[run.run_id] = run
        self.runs.append(run)

    def _end(self, about: Mapping[str, Any], *, outputs: Any = None, error: BaseException | None = None) -> None:
        run = self._by_id[about["run_id"]]
        run.outputs, run.error, run.ends = outputs, error, run.ends + 1

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        """A chain begins."""
        self._begin("chain", inputs, kwargs)

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        """A chat model begins."""
        self._begin("chat_model", messages, kwargs)

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        """A tool begins."""
        self._begin("tool", input_str, kwargs)

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        """A token is there."""
        self._by_id[kwargs["run_id"]].tokens += 1

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        """A chain is done."""
        self._end(kwargs, outputs=outputs)

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        """A chat model is done."""
        self._end(kwargs, outputs=response)

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        """A tool is done."""
        self._end(kwargs, outputs=output)

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        """A chain has failed."""
        self._end(kwargs, error=error)

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """A chat model has failed."""
        self._end(kwargs, error=error)

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        """A tool has failed."""
        self._end(kwargs, error=error)

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        """Something was announced."""
        self.events.append((name, data))
