"""Conversations that change hands between the real OpenAI and Ollama integrations, over transports in memory."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai import OpenAI

from llamaindex_hybrid import HybridLLM, decision_of
from shared_router.testing import table_router

# Workflow finds its steps with inspect.getmembers, which reads pydantic's deprecated properties of an agent
# (workflows/utils.py, get_steps_from_instance)
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

Handler = Callable[[dict[str, Any]], Any]
KEY = "sk-verysecret"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Servers:
    """Both servers; each calls the tool ``add`` until it sees a result of the running turn, then says its name."""

    def __init__(self) -> None:
        self.openai: list[dict[str, Any]] = []
        self.ollama: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.url.path.endswith("/chat/completions"):
            return self._openai(body)
        if request.url.path.endswith("/api/chat"):
            return self._ollama(body)
        return httpx.Response(404)

    @staticmethod
    def _acts(body: dict[str, Any]) -> bool:
        return bool(body.get("tools")) and body["messages"][-1]["role"] == "user"

    def _openai(self, body: dict[str, Any]) -> httpx.Response:
        self.openai.append(body)
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        number = len(self.openai)
        calls = [
            {
                "index": 0,
                "id": f"call_openai_{number}",
                "type": "function",
                "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
            }
        ]
        schema = body.get("response_format")
        said = '{"text":"structured"}' if schema else "openai speaks"
        message: dict[str, Any] = {"role": "assistant", "content": said}
        if self._acts(body):
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        head = {"id": "1", "created": 1, "model": "gpt-4o"}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            return httpx.Response(200, json={**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        chunks: list[dict[str, Any]] = [message]
        if message["content"]:
            first, second = said[:6], said[6:]
            chunks = [{"role": "assistant", "content": first}, {"content": second}]
        lines = [
            {
                **head,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
            }
            for delta in chunks
        ]
        text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})

    def _ollama(self, body: dict[str, Any]) -> httpx.Response:
        self.ollama.append(body)
        message: dict[str, Any] = {"role": "assistant", "content": "ollama speaks", "thinking": "hm"}
        if body.get("format"):
            message["content"] = '{"text":"structured"}'
        if self._acts(body):
            call = {"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
            message = {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]}
        end = {"model": "qwen", "message": message, "done": True, "prompt_eval_count": 5, "eval_count": 2}
        return httpx.Response(200, text=json.dumps(end) + "\n")


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def llm(servers: Servers) -> Iterator[HybridLLM]:
    transport = httpx.MockTransport(servers)
    small = Ollama(
        model="qwen",
        context_window=4096,
        client=ollama.Client(transport=transport),
        async_client=ollama.AsyncClient(transport=transport),
    )
    with httpx.Client(transport=transport) as client:
        large = OpenAI(
            model="gpt-4o",
            api_key=KEY,
            http_client=client,
            async_http_client=httpx.AsyncClient(transport=transport),
        )
        yield HybridLLM(small=small, large=large, router=table_router({"hard": 0.9}, otherwise=0.1), quality=0.5)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("order", [("easy", "hard", "easy"), ("hard", "easy", "hard")])
async def test_an_agents_memory_changes_hands(
    llm: HybridLLM, servers: Servers, streaming: bool, order: tuple[str, ...]
) -> None:
    agent = FunctionAgent(tools=[add], llm=llm, streaming=streaming)
    memory = ChatMemoryBuffer.from_defaults(token_limit=4000, tokenizer_fn=str.split)
    for question in order:
        said = str(await agent.run(question, memory=memory))
        assert said == ("ollama speaks" if question == "easy" else "openai speaks")
    for body in servers.openai:
        calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
        results = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
        # the API refuses a call without an id, and a result that answers no call
        assert [call["id"] for call in calls] == results
        assert len(set(results)) == len(results)
        assert all(isinstance(call["function"]["arguments"], str) for call in calls)
    for body in servers.ollama:
        calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
        assert all(call["function"]["arguments"] == {"a": 1, "b": 2} for call in calls)
        last_ask = max(i for i, message in enumerate(body["messages"]) if message["role"] == "user")
        assert not any("thinking" in message for message in body["messages"][:last_ask])
    assert len(servers.openai) + len(servers.ollama) == 6


@pytest.mark.parametrize("route", ["small", "large"])
async def test_a_tool_loop_changes_hands_in_the_middle(llm: HybridLLM, servers: Servers, route: str) -> None:
    first, second = ("small", "large") if route == "small" else ("large", "small")
    tool = [FunctionAgent(tools=[add], llm=llm).tools[0]]
    chunks = [chunk async for chunk in await llm.astream_chat_with_tools(tool, user_msg="easy", route=first)]
    (call,) = llm.get_tool_calls_from_response(chunks[-1])
    history = [
        ChatMessage(content="easy"),
        chunks[-1].message,
        ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": call.tool_id}),
    ]
    response = await llm.achat_with_tools(tool, chat_history=history, route=second)
    assert response.message.content == ("openai speaks" if second == "large" else "ollama speaks")


def test_what_ollama_left_behind_is_mended_for_openai(llm: HybridLLM, servers: Servers) -> None:
    history = [
        ChatMessage(content="q"),
        ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_name="add", tool_kwargs={"a": 1})]),
        ChatMessage(role="tool", content="1", additional_kwargs={"tool_call_id": "add"}),
        ChatMessage(content="hard"),
    ]
    llm.chat(history)
    sent = servers.openai[0]["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] is not None


@pytest.mark.parametrize(("question", "model"), [("easy", "qwen"), ("hard", "gpt-4o")])
async def test_each_providers_own_structured_output_is_used(
    llm: HybridLLM, servers: Servers, answer: Any, question: str, model: str
) -> None:
    prompt = PromptTemplate("{query_str}")
    outputs = [
        llm.structured_predict(answer.cls, prompt, query_str=question),
        await llm.astructured_predict(answer.cls, prompt, query_str=question),
        list(llm.stream_structured_predict(answer.cls, prompt, query_str=question))[-1],
        [x async for x in await llm.astream_structured_predict(answer.cls, prompt, query_str=question)][-1],
        llm.as_structured_llm(answer.cls).chat([ChatMessage(content=question)]).raw,
    ]
    assert [output.text for output in outputs] == ["structured"] * 5
    asked = servers.ollama if model == "qwen" else servers.openai
    assert [bool(body.get("format") or body.get("response_format")) for body in asked] == [True] * 5
    assert len(servers.openai) + len(servers.ollama) == 5


@pytest.mark.parametrize("question", ["easy", "hard"])
async def test_tokens_are_read_from_the_providers_usage_once(llm: HybridLLM, question: str) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    llm.callback_manager = CallbackManager([counter])
    response = llm.chat([ChatMessage(content=question)])
    await llm.achat([ChatMessage(content=question)])
    llm.predict(PromptTemplate("{query_str}"), query_str=question)
    assert [event.total_token_count for event in counter.llm_token_counts] == [7, 7, 7]
    assert decision_of(response)["model"] == ("qwen" if question == "easy" else "gpt-4o")


def test_no_key_is_in_any_event(llm: HybridLLM, events: Any) -> None:
    for question in ("easy", "hard"):
        llm.chat([ChatMessage(content=question)])
    shown = "".join(event.model_dump_json() for event in events.events if event.class_name() != "SpanDropEvent")
    assert KEY not in shown
    assert [event.model for event in events.routed] == ["qwen", "gpt-4o"]


def test_a_dead_small_server_breaks_no_call_to_the_large_model(servers: Servers) -> None:
    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with httpx.Client(transport=httpx.MockTransport(servers)) as client:
        small = Ollama(model="qwen", client=ollama.Client(transport=httpx.MockTransport(refused)))
        large = OpenAI(model="gpt-4o", api_key=KEY, http_client=client)
        llm = HybridLLM(small=small, large=large, router=table_router({"hard": 0.9}, otherwise=0.1), quality=0.5)
        assert llm.metadata.context_window == 128_000
        assert llm.chat([ChatMessage(content="hard")]).message.content == "openai speaks"
        assert llm.predict(PromptTemplate("{query_str}"), query_str="hard") == "openai speaks"
        with pytest.raises(ConnectionError):
            llm.chat([ChatMessage(content="easy")])
