"""A cascade in every way a chat model can be called: who answers, what is shown, what is traced and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from langchain_hybrid import HybridChatModel, decision_of
from langchain_hybrid.evidence import logprob_settings
from langchain_hybrid.testing import RunRecorder, ScriptedChatModel
from shared_router import HybridError, KnobError
from shared_router.cascade import Cascade
from shared_router.limits import ShareLimit
from shared_router.testing import linear_curve, table_router

SURE, UNSURE = 0.95, 0.55
WORDS = "small says quite a few words"


class Told(BaseCallbackHandler):
    """Remembers the tokens that a reader would have seen, as StreamingStdOutCallbackHandler would print them."""

    run_inline = True

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def models(confidence: Any = SURE, small: Any = WORDS, **settings: Any) -> dict[str, ScriptedChatModel]:
    answers = small if isinstance(small, list) else [small]
    chances = confidence if isinstance(confidence, list) else [confidence]
    return {
        "small": ScriptedChatModel(model="tiny-1", provider="acme", answers=answers, confidences=chances, **settings),
        "large": ScriptedChatModel(model="grand-1", provider="apex", answers=["large knows better"]),
    }


def cascade(pair: dict[str, ScriptedChatModel], **settings: Any) -> HybridChatModel:
    knob = {} if {"large_share", "quality", "route"} & set(settings) else {"threshold": 0.5}
    router = table_router({"easy": 0.1, "hard": 0.95})
    return HybridChatModel(**{"router": router, "policy": "cascade", **knob, **pair, **settings})


def called(pair: dict[str, ScriptedChatModel]) -> tuple[int, int]:
    return len(pair["small"].calls), len(pair["large"].calls)


# ── who answers ──


async def test_a_sure_answer_stands(ask: Any) -> None:
    pair = models(SURE)
    answer = await ask(cascade(pair), "easy")
    decision = answer.response_metadata["hybrid"]
    assert (answer.text, decision["target"], decision["reason"]) == (WORDS, "small", "confident")
    assert (decision["uncertainty"], decision["asked"]) == (0.1, ["small"])
    assert called(pair) == (1, 0)


async def test_an_unsure_one_goes_to_the_large_model(ask: Any) -> None:
    pair = models(UNSURE)
    answer = await ask(cascade(pair), "easy")
    decision = answer.response_metadata["hybrid"]
    assert (answer.text, decision["target"], decision["reason"]) == ("large knows better", "large", "uncertain")
    assert (decision["uncertainty"], decision["asked"]) == (0.9, ["small", "large"])
    assert answer.response_metadata["model_name"] == "grand-1"
    assert called(pair) == (1, 1)


async def test_a_small_model_that_fails_is_stood_in_for_by_the_large_one(ask: Any) -> None:
    pair = models(small=OSError("down"))
    answer = await ask(cascade(pair), "easy")
    decision = answer.response_metadata["hybrid"]
    assert (decision["target"], decision["reason"], decision["failed"]) == ("large", "fallback", "small: OSError")
    assert decision["asked"] == ["small", "large"]


async def test_a_large_model_that_fails_is_stood_in_for_by_the_answer_that_is_there(ask: Any) -> None:
    pair = models(UNSURE)
    pair["large"] = ScriptedChatModel(answers=[OSError("down")])
    answer = await ask(cascade(pair, fallback="other", uncertainty="mean_logprob", threshold=0.2), "easy")
    decision = answer.response_metadata["hybrid"]
    assert (answer.text, decision["reason"], decision["failed"]) == (WORDS, "fallback", "large: OSError")
    assert called(pair) == (1, 1)


async def test_without_leave_its_error_comes_through(ask: Any) -> None:
    pair = models(UNSURE)
    pair["large"] = ScriptedChatModel(answers=[OSError("down")])
    with pytest.raises(OSError, match="down"):
        await ask(cascade(pair), "easy")


async def test_without_logprobs_the_large_model_answers(ask: Any) -> None:
    pair = models(SURE)
    pair["small"] = ScriptedChatModel(answers=[WORDS])
    decision = (await ask(cascade(pair), "easy")).response_metadata["hybrid"]
    assert (decision["target"], decision["uncertainty"]) == ("large", 1.0)


async def test_a_router_sends_the_hardest_to_the_large_model_at_once(ask: Any) -> None:
    pair = models(SURE)
    model = cascade(pair, policy="route_then_cascade", route_threshold=0.9)
    hard, easy = [(await ask(model, text)).response_metadata["hybrid"] for text in ("hard", "easy")]
    assert (hard["target"], hard["reason"], hard["difficulty"]) == ("large", "score", 0.95)
    assert "asked" not in hard
    assert (easy["target"], easy["reason"], easy["difficulty"]) == ("small", "confident", 0.1)
    assert called(pair) == (1, 1)


async def test_a_forced_call_is_no_cascade(ask: Any) -> None:
    pair = models(UNSURE)
    decision = (await ask(cascade(pair), "easy", None, route="small")).response_metadata["hybrid"]
    assert (decision["target"], decision["reason"]) == ("small", "forced")
    assert called(pair) == (1, 0)


async def test_samples_that_agree_stand(ask: Any) -> None:
    pair = models(small=["The answer is 8", "It is 7.\n#### 7", "#### 7"])
    model = cascade(pair, uncertainty=Cascade("self_consistency", samples=3))
    answer = await ask(model, "easy")
    decision = answer.response_metadata["hybrid"]
    assert decision["reason"] == "confident"
    assert "7" in answer.text
    assert decision["uncertainty"] == pytest.approx(1 / 3, abs=1e-6)
    assert decision["asked"] == ["small"] * 3
    assert decision["unused_usage"]["input_tokens"] == 2
    assert called(pair) == (3, 0)


async def test_samples_that_do_not_agree_go_to_the_large_model(ask: Any) -> None:
    pair = models(small=["#### 1", "#### 2", OSError("down"), "#### 3"])
    model = cascade(pair, uncertainty=Cascade("self_consistency", samples=4))
    decision = (await ask(model, "easy")).response_metadata["hybrid"]
    assert (decision["target"], decision["uncertainty"]) == ("large", 0.75)
    assert decision["asked"] == ["small"] * 4 + ["large"]


async def test_a_users_function_sees_the_prompt_and_the_message(ask: Any) -> None:
    seen = []

    def own(query: str, message: AIMessage) -> float:
        seen.append((query, message.text))
        return 0.7

    decision = (await ask(cascade(models(), uncertainty=own), "easy")).response_metadata["hybrid"]
    assert (decision["target"], decision["router"]) == ("large", "own")
    assert seen == [("easy", WORDS)]


def test_a_share_is_kept_without_labels() -> None:
    chances = [0.5 + i % 97 / 200 for i in range(0, 97 * 37, 37)]
    pair = models(chances)
    model = cascade(pair, large_share=0.2)
    sent = [decision_of(model.invoke("easy"))["target"] == "large" for _ in range(1500)]  # type: ignore[index]
    assert sum(sent) / len(sent) == pytest.approx(0.2, abs=0.02)


def test_a_fitted_cascade_grants_a_promise() -> None:
    own = Cascade(curve=linear_curve(), cascade_id="own")
    decision = decision_of(cascade(models(SURE), uncertainty=own, quality=0.5).invoke("easy"))
    assert decision is not None
    assert (decision["target"], decision["threshold"], decision["calibrated"]) == ("small", 0.5, True)


def test_a_limit_holds() -> None:
    model = cascade(models(UNSURE), limit=ShareLimit(0.02))
    reasons = [decision_of(model.invoke("easy"))["reason"] for _ in range(3)]  # type: ignore[index]
    assert reasons == ["uncertain", "budget", "budget"]


# ── what is shown ──


def chunks_and_calls(model: HybridChatModel, pair: dict[str, ScriptedChatModel]) -> Iterator[tuple[str, int]]:
    for chunk in model.stream("easy"):
        yield str(chunk.text), len(pair["large"].calls)


def test_nothing_is_shown_before_it_is_decided_and_all_of_one_answer_after() -> None:
    for chance, expected in ((SURE, WORDS), (UNSURE, "large knows better")):
        pair = models(chance)
        parts = list(chunks_and_calls(cascade(pair), pair))
        assert "".join(text for text, _ in parts) == expected
        assert {count for _, count in parts} == {called(pair)[1]}
        assert len(parts) > 3


class Counting(ScriptedChatModel):
    """Counts the chunks that were read from it."""

    def _chunks(self, message: AIMessage) -> Iterator[Any]:
        for chunk in super()._chunks(message):
            self.__dict__["read"] = self.__dict__.get("read", 0) + 1
            yield chunk


@pytest.mark.parametrize(("chance", "read"), [(SURE, 1), (UNSURE, 1), (None, 16)])
def test_a_measure_of_the_first_token_holds_back_no_more_than_it_needs(chance: float | None, read: int) -> None:
    small = Counting(
        answers=["word " * 200], confidences=[] if chance is None else [chance], logprobs=True, top_logprobs=5
    )
    large = ScriptedChatModel(answers=["large knows better"])
    first = next(iter(cascade({"small": small, "large": large}).stream("easy")))
    assert small.__dict__["read"] == read
    assert first.text == ("word " if chance == SURE else "large ")


def test_a_stream_that_stands_goes_on_chunk_by_chunk() -> None:
    small = Counting(answers=["word " * 50], confidences=[SURE], logprobs=True, top_logprobs=5)
    stream = cascade({"small": small, "large": ScriptedChatModel()}).stream("easy")
    for i in range(1, 10):
        next(stream)
        assert small.__dict__["read"] == i


def test_a_measure_of_the_whole_answer_holds_all_of_it_back() -> None:
    small = Counting(answers=["word " * 50], confidences=[SURE], logprobs=True, top_logprobs=5)
    stream = cascade({"small": small, "large": ScriptedChatModel()}, uncertainty="entropy").stream("easy")
    next(stream)
    assert small.__dict__["read"] == 51


def test_a_stream_that_breaks_once_it_is_shown_is_not_begun_again() -> None:
    pair = models(SURE, fail_after=3, failure=OSError("broken"))
    shown: list[str] = []
    with pytest.raises(OSError, match="broken"):
        shown.extend(str(chunk.text) for chunk in cascade(pair).stream("easy"))
    assert shown == ["small ", "says ", "quite "]
    assert called(pair) == (1, 0)


async def test_handlers_are_told_the_tokens_of_the_answer_that_stands_only(ask: Any) -> None:
    for chance in (SURE, UNSURE):
        told = Told()
        answer = await ask(cascade(models(chance), callbacks=[told]), "easy")
        assert told.text in ("", answer.text)


def test_a_streaming_handler_hears_every_token_of_what_stands() -> None:
    for chance in (SURE, UNSURE):
        told = Told()
        text = "".join(str(chunk.text) for chunk in cascade(models(chance)).stream("easy", {"callbacks": [told]}))
        assert told.text == text


def graph_around(model: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state, config: {"messages": [model.invoke(state["messages"], config)]})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile()


@pytest.mark.parametrize(("chance", "expected"), [(SURE, WORDS), (UNSURE, "large knows better")])
@pytest.mark.parametrize("measure", ["first_token_margin", "self_consistency"])
def test_langgraph_streams_one_answer(chance: float, expected: str, measure: str) -> None:
    small = WORDS if chance == SURE else ["#### 1", "#### 2", "#### 3", "#### 4", "#### 5"]
    graph = graph_around(cascade(models(chance, small), uncertainty=measure))
    streamed = graph.stream({"messages": [HumanMessage("easy")]}, stream_mode="messages")
    parts = [(part.text, type(part)) for part, _ in streamed]
    assert "".join(text for text, _ in parts) == expected


@pytest.mark.parametrize(("chance", "expected"), [(SURE, WORDS), (UNSURE, "large knows better")])
async def test_event_streams_show_one_answer(chance: float, expected: str) -> None:
    events = [event async for event in cascade(models(chance)).astream_events("easy", version="v2")]
    tokens = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == expected


# ── what is traced and counted ──


async def test_both_calls_are_children_of_the_routers_run(ask_with_config: Any) -> None:
    recorder = RunRecorder()
    await ask_with_config(cascade(models(UNSURE)), "easy", {"callbacks": [recorder]})
    (router,) = [run for run in recorder.of_kind("chain") if run.name == "HybridChatModel"]
    small, large = recorder.of_kind("chat_model")
    assert {small.parent, large.parent} == {router.run_id}
    assert ["hybrid:small" in small.tags, "hybrid:large" in large.tags] == [True, True]
    assert [run.ends for run in (router, small, large)] == [1, 1, 1]
    assert small.metadata["hybrid"]["reason"] == "cascade"
    assert large.metadata["hybrid"]["reason"] == "uncertain"
    assert router.outputs["hybrid"]["reason"] == "uncertain"
    said = [data["reason"] for name, data in recorder.events if name == "hybrid_decision"]
    assert said == ["cascade", "uncertain"]


async def test_a_sure_answer_is_one_child(ask_with_config: Any) -> None:
    recorder = RunRecorder()
    await ask_with_config(cascade(models(SURE)), "easy", {"callbacks": [recorder]})
    (small,) = recorder.of_kind("chat_model")
    assert small.ends == 1
    assert [data["reason"] for name, data in recorder.events if name == "hybrid_decision"] == ["cascade", "confident"]
    (router,) = [run for run in recorder.of_kind("chain") if run.name == "HybridChatModel"]
    assert router.outputs["hybrid"]["reason"] == "confident"


def test_tokens_of_both_calls_are_counted_once_each() -> None:
    usage = UsageMetadataCallbackHandler()
    answer = cascade(models(UNSURE)).invoke("easy", {"callbacks": [usage]})
    assert usage.usage_metadata["tiny-1"]["output_tokens"] == 6
    assert usage.usage_metadata["grand-1"]["output_tokens"] == 3
    decision = decision_of(answer)
    assert decision is not None
    assert decision["unused_usage"] == {"input_tokens": 1, "output_tokens": 6, "total_tokens": 7}
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 3


def test_tokens_of_a_stream_that_was_left_are_not_known() -> None:
    first = next(iter(cascade(models(UNSURE)).stream("easy")))
    decision = decision_of(first)
    assert decision is not None
    assert decision["unused_usage"] is None


def test_a_record_is_json() -> None:
    for chance in (SURE, UNSURE):
        decision = decision_of(cascade(models(chance)).invoke("easy"))
        assert json.loads(json.dumps(decision)) == decision


def test_a_stream_that_is_left_early_closes_its_runs() -> None:
    for chance in (SURE, UNSURE):
        recorder = RunRecorder()
        stream = cascade(models(chance)).stream("easy", {"callbacks": [recorder]})
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert {run.ends for run in recorder.runs} == {1}


# ── batches ──


async def test_each_call_of_a_batch_is_a_cascade() -> None:
    pair = models(SURE)
    model = cascade(pair, policy="route_then_cascade", route_threshold=0.9)
    answers = model.batch(["hard", "easy", "easy"])
    assert [decision_of(answer)["reason"] for answer in answers] == ["score", "confident", "confident"]  # type: ignore[index]
    answers = await model.abatch(["hard", "easy"])
    assert [decision_of(answer)["reason"] for answer in answers] == ["score", "confident"]  # type: ignore[index]
    with pytest.raises(KnobError, match="large_share"):
        model.batch(["easy"], budget=0.5)


# ── tools and objects ──


@tool
def clock(zone: str) -> str:
    """The time of day."""
    return zone


class Joke(BaseModel):
    """A joke."""

    setup: str


def calling(name: str, args: dict[str, Any]) -> AIMessage:
    return AIMessage("", tool_calls=[tool_call(name=name, args=args, id="1")])


BROKEN = AIMessage("", invalid_tool_calls=[invalid_tool_call(name="clock", args="{", id="1", error="no JSON")])
LOW = {"uncertainty": lambda query, message: 0.0}


@pytest.mark.parametrize(
    ("said", "target"),
    [
        (calling("clock", {"zone": "UTC"}), "small"),
        (calling("sundial", {"zone": "UTC"}), "large"),
        (calling("clock", {}), "large"),
        (BROKEN, "large"),
        (AIMessage("no tool is needed"), "small"),
    ],
)
async def test_a_tool_call_that_cannot_be_made_is_uncertain(said: AIMessage, target: str) -> None:
    pair = models(small=said, call_tools=False)
    model = cascade(pair, **LOW).bind_tools([clock])
    answers = [model.invoke("easy"), await model.ainvoke("easy")]
    streamed: Any = None
    for chunk in model.stream("easy"):
        streamed = chunk if streamed is None else streamed + chunk
    if said is not BROKEN:  # the double does not stream those
        answers.append(streamed)
    for answer in answers:
        decision = decision_of(answer)
        assert decision is not None
        assert decision["target"] == target
        assert decision["uncertainty"] == (1.0 if target == "large" else 0.0)


def test_a_tool_that_must_be_called_and_is_not_is_uncertain() -> None:
    class Mute(ScriptedChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.bind()

    pair = {"small": Mute(answers=["no"]), "large": ScriptedChatModel()}
    answer = cascade(pair, **LOW).bind_tools([clock], tool_choice="any").invoke("easy")
    decision = decision_of(answer)
    assert decision is not None
    assert decision["target"] == "large"


@pytest.mark.parametrize("include_raw", [False, True])
async def test_an_object_that_does_not_parse_goes_to_the_large_model(ask_for_object: Any, include_raw: bool) -> None:
    class Clumsy(ScriptedChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.bind()

    clumsy = Clumsy(answers=[calling("Joke", {"punchline": 3})])
    pair = {"small": clumsy, "large": ScriptedChatModel()}
    model = cascade(pair, **LOW).with_structured_output(Joke, include_raw=include_raw)
    answer = await ask_for_object(model, "tell 'a good one'")
    if include_raw:
        assert answer["parsed"] == Joke(setup="a good one")
        assert decision_of(answer["raw"])["reason"] == "uncertain"  # type: ignore[index]
    else:
        assert answer == Joke(setup="a good one")
    assert called(pair) == (1, 1)


async def test_an_object_that_parses_stands(ask_for_object: Any) -> None:
    pair = {"small": ScriptedChatModel(), "large": ScriptedChatModel()}
    model = cascade(pair, **LOW).with_structured_output(Joke)
    assert await ask_for_object(model, "tell 'a good one'") == Joke(setup="a good one")
    assert called(pair) == (1, 0)


# ── log-probabilities ──


def openai(**settings: Any) -> ChatOpenAI:
    return ChatOpenAI(model="m", api_key="sk-test", base_url="http://localhost:1", **settings)  # type: ignore[arg-type]


def test_openais_models_are_asked_for_logprobs_where_the_user_has_not_said() -> None:
    margin = Cascade(alternatives=7)
    assert logprob_settings(openai(), margin) == {"logprobs": True, "top_logprobs": 7}
    assert logprob_settings(openai(logprobs=True, top_logprobs=3), margin) == {}
    assert logprob_settings(openai(use_responses_api=True), margin) == {}
    assert logprob_settings(openai(), Cascade("self_consistency")) == {}
    model = HybridChatModel(small=openai(), large=openai(), policy="cascade", threshold=0.5)
    payloads = [model._leg(target)._get_request_payload([HumanMessage("x")]) for target in ("small", "large")]  # type: ignore[attr-defined]
    assert (payloads[0]["logprobs"], payloads[0]["top_logprobs"]) == (True, 5)
    assert "logprobs" not in payloads[1]
    assert "logprobs" not in HybridChatModel(small=openai(), large=openai())._leg("small")._get_request_payload("x")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("A", response_metadata={"logprobs": {"content": [{"token": "A", "logprob": -0.05}]}}),
        AIMessage("A", response_metadata={"logprobs": [{"token": "A", "logprob": -0.05}]}),
        AIMessage("A", response_metadata={"logprobs": {"tokens": ["A"], "token_logprobs": [-0.05]}}),
        AIMessage("A", response_metadata={"logprobs_result": [{"token": "A", "logprob": -0.05}]}),
        AIMessage([{"type": "text", "text": "A", "logprobs": [{"token": "A", "logprob": -0.05}]}]),
    ],
)
def test_logprobs_are_found_wherever_providers_put_them(message: AIMessage) -> None:
    small = ScriptedChatModel(answers=[message])
    decision = decision_of(cascade({"small": small, "large": ScriptedChatModel()}).invoke("easy"))
    assert decision is not None
    assert decision["reason"] == "confident"


# ── settings ──


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"policy": "guess"}, HybridError, "policy is"),
        ({"uncertainty": "margin"}, KnobError, "no uncertainty"),
        ({"route_threshold": 2.0, "policy": "route_then_cascade"}, HybridError, "route_threshold is"),
        ({"quality": 0.9}, KnobError, "labelled answers"),
        ({"stickiness": "switch_cost"}, HybridError, "switch cost"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        cascade(models(), **settings)


def test_a_policy_can_be_set_later() -> None:
    model = HybridChatModel(**models(SURE), router=table_router(), threshold=0.5)
    model.policy = "cascade"
    answers: list[Callable[[], Any]] = [lambda: model.invoke("easy"), lambda: next(iter(model.stream("easy")))]
    for answer in answers:
        assert isinstance(answer(), AIMessage | AIMessageChunk)
        assert decision_of(answer())["reason"] == "confident"  # type: ignore[index]
