"""Conversations that change hands between the real OpenAI and Ollama integrations, over transports in memory."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
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


ACT = 'Thought: I need a tool.\nAction: add\nAction Input: {"a": 1, "b": 2}'
PIXEL = b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Servers:
    """Both servers; each calls a tool until it sees a result of the running turn, then says its name.

    The tool is ``add``, or ``handoff`` where that is offered. A ReAct agent's prompt is answered in its own format.
    """

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
        last = body["messages"][-1]
        handed_over = "is now handling the request" in str(last["content"])
        return bool(body.get("tools")) and (last["role"] == "user" or handed_over)

    @staticmethod
    def _tool(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        offered = [tool["function"]["name"] for tool in body["tools"]]
        handing_over = {"to_agent": "writer", "reason": "it can write"}
        return ("handoff", handing_over) if "handoff" in offered else ("add", {"a": 1, "b": 2})

    @staticmethod
    def _said(body: dict[str, Any], name: str) -> str:
        if "Action Input" not in str(body["messages"][0]["content"]):
            return f"{name} speaks"
        observed = str(body["messages"][-1]["content"]).startswith("Observation:")
        return f"Thought: I can answer.\nAnswer: {name} speaks" if observed else ACT

    def _openai(self, body: dict[str, Any]) -> httpx.Response:
        self.openai.append(body)
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        number = len(self.openai)
        schema = body.get("response_format")
        said = '{"text":"structured"}' if schema else self._said(body, "openai")
        message: dict[str, Any] = {"role": "assistant", "content": said}
        if self._acts(body):
            name, arguments = self._tool(body)
            function = {"name": name, "arguments": json.dumps(arguments)}
            calls = [{"index": 0, "id": f"call_openai_{number}", "type": "function", "function": function}]
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
        message: dict[str, Any] = {"role": "assistant", "content": self._said(body, "ollama"), "thinking": "hm"}
        if body.get("format"):
            message["content"] = '{"text":"structured"}'
        if self._acts(body):
            name, arguments = self._tool(body)
            call = {"function": {"name": name, "arguments": arguments}}
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


@pytest.mark.parametrize("streaming", [True, False])
# ReActAgent.take_step asks it in every step
@pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning")
async def test_a_react_agents_loop_changes_hands(llm: HybridLLM, servers: Servers, streaming: bool) -> None:
    def add_and_turn(a: int, b: int) -> int:
        """Add two numbers, and let the other model go on."""
        llm.route = "large"
        return a + b

    tool = FunctionTool.from_defaults(add_and_turn, name="add")
    agent = ReActAgent(tools=[tool], llm=llm, streaming=streaming)
    assert str(await agent.run("easy")) == "openai speaks"
    assert (len(servers.ollama), len(servers.openai)) == (1, 1)
    assert servers.openai[0]["messages"][-1]["content"] == "Observation: 3"


@pytest.mark.parametrize("first", ["small", "large"])
async def test_a_team_of_agents_works_with_both(llm: HybridLLM, servers: Servers, first: str) -> None:
    llm.route = first

    def add_and_turn(a: int, b: int) -> int:
        """Add two numbers, and let the other model go on."""
        llm.route = "large" if first == "small" else "small"
        return a + b

    tool = FunctionTool.from_defaults(add_and_turn, name="add")
    research = FunctionAgent(name="research", description="finds", llm=llm, tools=[add], can_handoff_to=["writer"])
    writer = FunctionAgent(name="writer", description="writes", llm=llm, tools=[tool], can_handoff_to=[])
    workflow = AgentWorkflow(agents=[research, writer], root_agent="research")
    said = str(await workflow.run("hard"))
    assert said == ("openai speaks" if first == "small" else "ollama speaks")
    assert servers.openai
    assert servers.ollama
    for body in servers.openai:
        calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls") or ()]
        assert calls == [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]


@pytest.mark.parametrize("route", ["small", "large"])
def test_an_image_reaches_each_in_its_own_form(llm: HybridLLM, servers: Servers, route: str) -> None:
    history = [
        ChatMessage(blocks=[TextBlock(text="what is this?"), ImageBlock(image=PIXEL, image_mimetype="image/png")]),
        ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_name="look", tool_kwargs="{}")]),
        ChatMessage(role="tool", content="a dot", additional_kwargs={"tool_call_id": "look"}),
        ChatMessage(content="and?"),
    ]
    llm.chat(history, route=route)
    if route == "small":
        assert [len(message.get("images") or ()) for message in servers.ollama[0]["messages"]] == [1, 0, 0, 0]
    else:
        first, *others = servers.openai[0]["messages"]
        assert [part["type"] for part in first["content"]] == ["text", "image_url"]
        assert not any(isinstance(message["content"], list) for message in others)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_dead_server_hands_a_tool_loop_to_the_other_model(servers: Servers, streaming: bool) -> None:
    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    nowhere, transport = httpx.MockTransport(refused), httpx.MockTransport(servers)
    small = Ollama(
        model="qwen", client=ollama.Client(transport=nowhere), async_client=ollama.AsyncClient(transport=nowhere)
    )
    with httpx.Client(transport=transport) as client:
        async_client = httpx.AsyncClient(transport=transport)
        large = OpenAI(model="gpt-4o", api_key=KEY, http_client=client, async_http_client=async_client)
        llm = HybridLLM(small=small, large=large, router=table_router(otherwise=0.1), quality=0.5, fallback="large")
        agent = FunctionAgent(tools=[add], llm=llm, streaming=streaming)
        assert str(await agent.run("easy")) == "openai speaks"
        response = llm.chat([ChatMessage(content="easy " * 1000)])
    assert decision_of(response)["failed"] == "small: ConnectionError"


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
