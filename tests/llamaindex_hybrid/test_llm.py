"""Every method that core calls, in every way it can be called, by one table."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.instrumentation.events.llm import LLMChatStartEvent
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, CustomLLM, LLMMetadata, MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode

from llamaindex_hybrid import HybridLLM, decision_of, query
from llamaindex_hybrid.endpoints import DelegatingLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.errors import HybridError, KnobError, ScoreError
from shared_router.router import Router
from shared_router.testing import BrokenDifficulty, linear_curve, table_router


class Answer(BaseModel):
    """An answer."""

    text: str


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


TOOL = FunctionTool.from_defaults(add)
PROMPT = PromptTemplate("Context: {context_str}\nQuestion: {query_str}")
ANSWER = ToolCallBlock(tool_name="Answer", tool_kwargs={"text": "yes"})
ADD = ToolCallBlock(tool_name="add", tool_kwargs={"a": 1, "b": 2})


def chat_args(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ([ChatMessage(content="Be brief.", role="system"), ChatMessage(content=text)],), {}


def text_args(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (text,), {}


def prompt_args(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (PROMPT.partial_format(query_str=text),), {"context_str": "boilerplate"}


def structured_args(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (Answer, PROMPT.partial_format(query_str=text)), {"context_str": "boilerplate"}


def tools_args(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ([TOOL],), {"user_msg": text, "chat_history": [ChatMessage(content="earlier")]}


METHODS: dict[str, tuple[Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]], list[Any]]] = {
    **{name: (chat_args, []) for name in ("chat", "achat", "stream_chat", "astream_chat")},
    **{name: (text_args, []) for name in ("complete", "acomplete", "stream_complete", "astream_complete")},
    **{name: (prompt_args, []) for name in ("predict", "apredict", "stream", "astream")},
    **{
        name: (structured_args, [ANSWER])
        for name in (
            "structured_predict",
            "astructured_predict",
            "stream_structured_predict",
            "astream_structured_predict",
        )
    },
    **{
        name: (tools_args, [ADD])
        for name in ("chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools")
    },
    **{name: (tools_args, [ADD]) for name in ("predict_and_call", "apredict_and_call")},
}


def call(llm: LLM, name: str, text: str, **extra: Any) -> list[Any]:
    """All that a method hands out: one value, or the chunks of a stream."""
    args, kwargs = METHODS[name][0](text)
    result = getattr(llm, name)(*args, **kwargs, **extra)
    if inspect.isawaitable(result):

        async def waited() -> list[Any]:
            value = await result
            return [chunk async for chunk in value] if isinstance(value, AsyncGenerator) else [value]

        return asyncio.run(waited())
    return list(result) if isinstance(result, Generator) else [result]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest, pair: Any) -> str:
    pair.small.replies = pair.large.replies = METHODS[request.param][1]
    return str(request.param)


@pytest.mark.parametrize(("text", "target"), [("easy", "small"), ("hard", "large")])
def test_a_call_is_routed_once_and_the_chosen_model_called_once(
    pair: Any, events: Any, method: str, text: str, target: str
) -> None:
    outputs = call(pair.llm, method, text)
    chosen, other = (pair.small, pair.large) if target == "small" else (pair.large, pair.small)
    assert outputs
    assert pair.asked == [text]
    assert chosen.called[0] == method
    assert len(chosen.received) == 1
    assert other.called == []
    (event,) = events.routed
    assert (event.method, event.model, event.decision.target) == (method, target, target)
    assert len(events.named("LLMChatStartEvent") + events.named("LLMCompletionStartEvent")) == 1


def test_the_decision_is_on_the_response_and_on_every_chunk(pair: Any, method: str) -> None:
    for output in call(pair.llm, method, "hard"):
        if isinstance(output, ChatResponse | CompletionResponse | AgentChatResponse):
            assert decision_of(output) == {
                "target": "large",
                "model": "large",
                "difficulty": 0.9,
                "threshold": 0.5,
                "reason": "score",
                "knob": {"quality": 0.5},
                "router": "table",
                "calibrated": False,
            }
        if isinstance(output, ChatResponse):
            assert output.message.additional_kwargs == {}


@pytest.mark.parametrize("knob", [{"route": "large"}, {"quality": 1.0}, {"large_share": 1.0}, {"threshold": 0.05}])
def test_a_knob_at_the_call_replaces_the_models_own(pair: Any, method: str, knob: dict[str, Any]) -> None:
    call(pair.llm, method, "easy", **knob)
    assert (pair.small.called, pair.large.called[0]) == ([], method)
    # the knob is ours and does not reach the model
    assert not {"quality", "large_share", "threshold", "route"} & set(pair.large.keywords[0])


def test_a_second_knob_is_an_error(pair: Any, method: str) -> None:
    with pytest.raises(KnobError, match="one way only"):
        call(pair.llm, method, "easy", quality=0.5, route="small")
    assert pair.small.called == pair.large.called == []


def test_the_judged_text_can_be_said(pair: Any, method: str) -> None:
    call(pair.llm, method, "easy", query="hard")
    with query("hard"):
        call(pair.llm, method, "easy")
    with query(route="large"), query("easy"):
        call(pair.llm, method, "easy")
    assert pair.asked == ["hard", "hard"]
    assert pair.small.called == []


def test_an_error_of_the_model_surfaces_unchanged(pair: Any, events: Any, method: str) -> None:
    pair.large.replies = [error := OSError("the server is away")]
    with pytest.raises(OSError) as raised:
        call(pair.llm, method, "hard")
    assert raised.value is error
    assert pair.small.called == []


@pytest.mark.parametrize("text", ["easy", "hard"])
def test_a_broken_router_does_not_take_the_answer_down(pair: Any, method: str, text: str) -> None:
    pair.llm.router = Router(BrokenDifficulty(), curve=linear_curve(), router_id="broken")
    call(pair.llm, method, text)
    assert (pair.small.called, pair.large.called[0]) == ([], method)
    pair.llm.on_router_error = "small"
    call(pair.llm, method, text)
    assert pair.small.called[0] == method


# the other model is asked once where the first one fails


def test_the_other_model_answers_where_the_first_one_fails(pair: Any, events: Any, method: str) -> None:
    expected = call(HybridLLM(small=pair.large, large=pair.large, router=table_router()), method, "easy")
    before = len(pair.large.received)
    events.events.clear()
    pair.small.replies = [error := OSError("the server is away")]
    pair.llm.fallback = "large"
    if method in ("predict_and_call", "apredict_and_call"):
        # the first model may have called a tool before it failed
        with pytest.raises(OSError) as raised:
            call(pair.llm, method, "easy")
        assert raised.value is error
        return
    outputs = call(pair.llm, method, "easy")
    assert len(outputs) == len(expected)
    assert (len(pair.small.received), len(pair.large.received) - before) == (1, 1)
    assert pair.large.received[-1] == pair.large.received[before - 1]
    assert [(event.model, event.decision.reason, event.decision.failed) for event in events.routed] == [
        ("small", "score", None),
        ("large", "fallback", "small: OSError"),
    ]
    for output in outputs:
        if isinstance(output, ChatResponse | CompletionResponse):
            said = decision_of(output)
            assert (said["model"], said["reason"], said["failed"]) == ("large", "fallback", "small: OSError")


def test_without_leave_the_other_model_is_not_asked(pair: Any, method: str) -> None:
    pair.small.replies = pair.large.replies = [error := OSError("away")]
    for fallback, text, extra in (
        (None, "easy", {}),
        ("large", "hard", {}),
        ("other", "easy", {"route": "small"}),
        ("other", "easy", {"route": "large"}),
    ):
        pair.llm.fallback = fallback
        with pytest.raises(OSError) as raised:
            call(pair.llm, method, text, **extra)
        assert raised.value is error
        assert len(pair.small.received) + len(pair.large.received) == 1
        pair.small.received.clear()
        pair.large.received.clear()


def test_where_both_fail_the_second_error_tells_of_the_first(pair: Any, method: str) -> None:
    pair.llm.fallback = "other"
    pair.small.replies, pair.large.replies = [second := OSError("also away")], [first := ConnectionError("away")]
    if method in ("predict_and_call", "apredict_and_call"):
        return
    with pytest.raises(OSError, match="also away") as raised:
        call(pair.llm, method, "hard")
    assert raised.value is second
    assert raised.value.__context__ is first


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_stops_the_program_stops_the_call(pair: Any, error: BaseException) -> None:
    class Stopped(ScriptedLLM):
        def chat(self, messages: Any, **kwargs: Any) -> Any:
            raise error

        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            raise error
            yield

    pair.llm.small, pair.llm.fallback = Stopped(), "large"
    for name in ("chat", "stream_chat"):
        with pytest.raises(type(error)):
            call(pair.llm, name, "easy")
    assert pair.large.called == []


class Interrupted(ScriptedLLM):
    """Its streams break off after some chunks."""

    after: int = 0

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        for number, chunk in enumerate(super().stream_chat(messages, **kwargs)):
            if number == self.after:
                raise OSError("broken off")
            yield chunk

    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        async def chunks() -> AsyncGenerator[Any, None]:
            for chunk in self.stream_chat(messages, **kwargs):
                yield chunk

        return chunks()


@pytest.mark.parametrize("name", ["stream_chat", "astream_chat"])
def test_a_stream_changes_hands_before_its_first_chunk_only(pair: Any, events: Any, name: str) -> None:
    pair.llm.fallback = "other"
    pair.llm.small = Interrupted(after=0)
    assert [chunk.delta for chunk in call(pair.llm, name, "easy")] == ["large", " answers"]
    assert [event.decision.reason for event in events.routed] == ["score", "fallback"]
    pair.llm.small = Interrupted(after=1)
    with pytest.raises(OSError, match="broken off"):
        call(pair.llm, name, "easy")
    assert len(pair.large.received) == 1
    pair.llm.small, pair.llm.large = Interrupted(after=0), Interrupted(after=0)
    with pytest.raises(OSError, match="broken off") as raised:
        call(pair.llm, name, "easy")
    assert isinstance(raised.value.__context__, OSError)


def test_both_attempts_are_let_through_by_the_rate_limiter(pair: Any) -> None:
    class Limiter:
        asked = 0

        def acquire(self, num_tokens: int = 0) -> None:
            self.asked += 1

    pair.llm.fallback, pair.small.replies = "large", [OSError("away")]
    pair.llm.rate_limiter = limiter = Limiter()
    call(pair.llm, "chat", "easy")
    assert limiter.asked == 2


def test_the_second_model_reads_the_callers_own_history(pair: Any) -> None:
    class Foreign(ScriptedLLM):
        """A model of another class that writes into what it is given before it fails."""

        def chat(self, messages: Any, **kwargs: Any) -> Any:
            messages.append(ChatMessage(content="spoilt"))
            kwargs["options"]["spoilt"] = True
            raise OSError("away")

    history = [
        ChatMessage(content="easy"),
        ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_name="add", tool_kwargs='{"a": 1}')]),
        ChatMessage(role="tool", content="1"),
    ]
    pair.llm.small, pair.llm.fallback, pair.large.system_role = Foreign(), "other", "chatbot"
    pair.llm.chat([ChatMessage(role="system", content="s"), *history], options={"a": 1})
    (received,) = pair.large.received
    assert [message.role.value for message in received] == ["chatbot", "user", "assistant", "tool"]
    assert pair.large.keywords == [{"options": {"a": 1}}]


def test_arguments_are_left_as_they_were(pair: Any, method: str) -> None:
    args, kwargs = METHODS[method][0]("hard")
    before = [
        argument.model_dump() if isinstance(argument, BaseModel) else list(argument)
        for argument in (*args, *kwargs.values())
        if isinstance(argument, BaseModel | list)
    ]
    result = getattr(pair.llm, method)(*args, **kwargs)
    if inspect.iscoroutine(result):
        asyncio.run(_finished(result))
    elif isinstance(result, Generator):
        list(result)
    after = [
        argument.model_dump() if isinstance(argument, BaseModel) else list(argument)
        for argument in (*args, *kwargs.values())
        if isinstance(argument, BaseModel | list)
    ]
    assert after == before


async def _finished(coroutine: Any) -> None:
    value = await coroutine
    if isinstance(value, AsyncGenerator):
        async for _ in value:
            pass


def test_the_models_own_events_carry_the_decision_as_tags(pair: Any, events: Any, method: str) -> None:
    call(pair.llm, method, "hard")
    started = events.named("LLMChatStartEvent") + events.named("LLMCompletionStartEvent")
    assert [event.tags for event in started] == [{"hybrid.target": "large", "hybrid.model": "large"}]
    assert started[0].model_dict["model_name"] == "large"


def test_the_rate_limiter_is_asked_once_a_call(pair: Any, method: str) -> None:
    class Limiter:
        asked = 0

        def acquire(self, num_tokens: int = 0) -> None:
            self.asked += 1

        async def async_acquire(self, num_tokens: int = 0) -> None:
            self.asked += 1

    pair.llm.rate_limiter = limiter = Limiter()
    call(pair.llm, method, "hard")
    assert limiter.asked == 1


def test_every_method_of_core_that_asks_a_model_is_ours() -> None:
    asks = {
        name
        for cls in (FunctionCallingLLM, LLM)
        for name, value in vars(cls).items()
        if not name.startswith("_") and callable(value) and not isinstance(value, type | classmethod | staticmethod)
    }
    host = {"check_prompts", "set_messages_to_prompt", "set_completion_to_prompt", "metadata"}
    own = set(vars(HybridLLM)) | set(vars(DelegatingLLM))
    inherited = {name for name in asks - host if name not in own and not name.startswith("model_")}
    assert inherited == set()


# streams


def test_a_stream_is_decided_and_started_before_it_is_read(pair: Any) -> None:
    chunks = pair.llm.stream_chat([ChatMessage(content="hard")])
    assert isinstance(chunks, Generator)
    assert pair.large.called == ["stream_chat"]
    chunks.close()


async def test_closing_a_stream_closes_the_models(pair: Any) -> None:
    # held here, so that nothing but close() ends them
    held: list[Any] = []

    class Held(ScriptedLLM):
        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            held.append(super().stream_chat(messages, **kwargs))
            return held[-1]

        async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
            held.append(await super().astream_chat(messages, **kwargs))
            return held[-1]

    pair.llm.large = Held(model="large")
    stream = pair.llm.stream_chat([ChatMessage(content="hard")])
    next(stream)
    stream.close()
    astream = await pair.llm.astream_chat([ChatMessage(content="hard")])
    await anext(astream)
    await astream.aclose()
    assert next(held[0], "closed") == "closed"
    assert await anext(held[1], "closed") == "closed"


def test_an_empty_stream_is_legal(pair: Any) -> None:
    class Silent(ScriptedLLM):
        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            yield from ()

    pair.llm.large = Silent(model="large")
    assert list(pair.llm.stream_chat([ChatMessage(content="hard")])) == []


def test_chunks_share_one_record(pair: Any) -> None:
    first, second = pair.llm.stream_chat([ChatMessage(content="hard")])
    assert first.additional_kwargs["hybrid"] is second.additional_kwargs["hybrid"]


def test_tags_do_not_leak_to_who_reads_the_stream(pair: Any, events: Any) -> None:
    chunks = pair.llm.stream_chat([ChatMessage(content="hard")])
    next(chunks)
    MockLLM().chat([ChatMessage(content="between")])
    outside = [e for e in events.events if isinstance(e, LLMChatStartEvent) and e.messages[0].content == "between"]
    assert outside[0].tags == {}
    chunks.close()


# knob


def test_a_setting_that_a_template_names_belongs_to_the_template(pair: Any) -> None:
    pair.llm.predict(PromptTemplate("{query_str} in {quality} quality"), query_str="hard", quality="high")
    assert pair.large.received[0][0].content == "hard in high quality"


def test_the_knob_may_come_with_the_models_arguments(pair: Any) -> None:
    pair.large.replies = [ANSWER]
    pair.llm.structured_predict(Answer, PromptTemplate("{query_str}"), {"route": "large"}, query_str="easy")
    assert pair.large.called[0] == "structured_predict"


def test_the_knob_is_a_setting_like_any_other(pair: Any) -> None:
    pair.llm.quality = np.float32(0.0)
    assert type(pair.llm.quality) is float
    assert decision_of(pair.llm.chat([ChatMessage(content="hard")]))["target"] == "small"
    assert pair.llm.model_copy(update={"quality": 1.0}).complete("easy").text == "large answers"
    with pytest.raises(KnobError):
        pair.llm.threshold = 2.0


@pytest.mark.parametrize("settings", [{"quality": 1.2}, {"quality": 0.5, "route": "small"}, {"route": "medium"}])
def test_a_wrong_knob_is_refused_at_construction(settings: dict[str, Any]) -> None:
    with pytest.raises(KnobError):
        HybridLLM(small=MockLLM(), large=MockLLM(), router=table_router(), **settings)


def test_a_plain_function_is_a_router() -> None:
    llm = HybridLLM(small=MockLLM(max_tokens=1), large=MockLLM(max_tokens=2), router=lambda text: 0.95)
    assert decision_of(llm.complete("anything"))["target"] == "large"
    with pytest.raises(ScoreError):
        HybridLLM(small=MockLLM(), large=MockLLM(), router=7)  # type: ignore[arg-type]


def test_retrieved_text_can_be_judged_along(pair: Any) -> None:
    pair.llm.context_share = 0.5
    pair.llm.predict(PROMPT, query_str="what?", context_str="01234567")
    pair.small.replies = [ANSWER]
    pair.llm.as_structured_llm(Answer).predict(PROMPT, query_str="what?", context_str="01234567")
    assert pair.asked == ["what?\n\n0123"] * 2


# tools


def test_tool_calls_are_read_by_who_made_them(pair: Any) -> None:
    pair.small.replies = pair.large.replies = [ADD]
    for text, producer in (("easy", pair.small), ("hard", pair.large)):
        response = pair.llm.chat_with_tools([TOOL], user_msg=text)
        (selection,) = pair.llm.get_tool_calls_from_response(response)
        (block,) = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        assert selection.tool_id == block.tool_call_id
        assert selection.tool_id.startswith("call_")
        assert producer.called[-1] == "get_tool_calls_from_response"


def test_a_made_up_id_is_the_same_in_every_chunk_and_another_in_every_response(pair: Any) -> None:
    pair.large.replies = [ADD]

    def ids() -> set[str]:
        chunks = list(pair.llm.stream_chat_with_tools([TOOL], user_msg="hard"))
        return {pair.llm.get_tool_calls_from_response(chunk)[0].tool_id for chunk in chunks * 2}

    assert len(ids()) == 1
    assert ids() != ids()
    assert ADD.tool_call_id is None


def test_a_response_without_a_decision_is_read_all_the_same(pair: Any) -> None:
    response = ChatResponse(message=ChatMessage())
    assert pair.llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="at least one tool call"):
        pair.llm.get_tool_calls_from_response(response)


class Plain(CustomLLM):
    """Cannot call tools at all."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="plain")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield CompletionResponse(text="plain", delta="plain")


@pytest.mark.parametrize("incapable", [Plain(), ScriptedLLM(is_function_calling_model=False)])
def test_tools_go_to_the_only_model_that_can_call_them(pair: Any, incapable: LLM) -> None:
    pair.llm.large, pair.small.replies = incapable, [ADD]
    response = pair.llm.chat_with_tools([TOOL], user_msg="hard")
    assert (decision_of(response)["target"], decision_of(response)["reason"]) == ("small", "tools")
    assert pair.llm.metadata.is_function_calling_model
    assert pair.llm.chat_with_tools([], user_msg="easy").message.role == "assistant"


def test_where_neither_calls_tools_the_host_is_told() -> None:
    llm = HybridLLM(small=Plain(), large=Plain(), router=table_router())
    assert not llm.metadata.is_function_calling_model
    with pytest.raises(NotImplementedError):
        llm.get_tool_calls_from_response(ChatResponse(message=ChatMessage()))


def test_arguments_prepared_for_a_model_reach_that_model(pair: Any) -> None:
    prepared = pair.llm._prepare_chat_with_tools([TOOL], user_msg="hard", tool_required=True)
    pair.llm.chat(**prepared)
    assert pair.large.called == ["chat"]
    assert pair.small.called == []
    assert "tool_required" in inspect.signature(HybridLLM._prepare_chat_with_tools).parameters


# settings on the router hold for both models


def test_settings_on_the_router_are_laid_over_the_models(pair: Any) -> None:
    pair.llm.system_prompt = "Be brief."
    pair.llm.predict(PROMPT, query_str="hard", context_str="c")
    assert [m.role.value for m in pair.large.received[0]] == ["system", "user"]
    assert pair.large.system_prompt is None
    pair.llm.system_prompt = None
    pair.llm.predict(PROMPT, query_str="hard", context_str="c")
    assert [m.role.value for m in pair.large.received[1]] == ["user"]


def test_the_copy_is_kept_until_a_side_changes(pair: Any) -> None:
    pair.llm.pydantic_program_mode = PydanticProgramMode.LLM
    leg = pair.llm._leg("large")
    assert leg is pair.llm._leg("large")
    pair.large.context_window = 77
    assert pair.llm._leg("large").metadata.context_window == 77
    assert pair.llm._leg("small").pydantic_program_mode == PydanticProgramMode.LLM


def test_an_output_parser_does_not_leak_from_one_models_prompt_into_the_others(pair: Any) -> None:
    pair.small.replies = pair.large.replies = ['{"text": "yes"}']
    pair.llm.pydantic_program_mode = PydanticProgramMode.LLM
    prompt = PromptTemplate("{query_str}")
    assert pair.llm.structured_predict(Answer, prompt, query_str="hard").text == "yes"
    assert prompt.output_parser is None
    pair.llm.output_parser = PydanticOutputParser(Answer)
    pair.llm.predict(prompt, query_str="hard")
    assert "schema" in pair.large.received[1][0].content
    assert pair.asked == ["hard", "hard"]


def test_a_foreign_system_role_is_translated(pair: Any) -> None:
    pair.large.system_role = "chatbot"
    pair.llm.chat([ChatMessage(content="Be brief.", role="system"), ChatMessage(content="hard")])
    assert pair.large.received[0][0].role == "chatbot"
    template = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{query_str}")])
    pair.llm.predict(template, query_str="hard")
    assert pair.large.received[1][0].role == "chatbot"
    assert template.message_templates[0].role == "system"
    pair.llm.predict(template, query_str="easy")
    assert pair.small.received[0][0].role == "system"


def test_our_errors_are_not_of_the_kind_that_synthesizers_swallow() -> None:
    assert issubclass(HybridError, RuntimeError)
    assert not issubclass(HybridError, ValueError | TypeError)
