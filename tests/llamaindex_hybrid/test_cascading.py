"""A cascade in every method of an LLM: who answers, what is shown, what observers are told and what is counted."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LogProb, ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel

from llamaindex_hybrid import HybridLLM, decision_of
from llamaindex_hybrid.evidence import logprob_settings, tokens_of, unused_usage
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router import HybridError, KnobError
from shared_router.cascade import Cascade
from shared_router.limits import ShareLimit
from shared_router.testing import linear_curve, table_router

SURE, UNSURE = 0.95, 0.55
WORDS = "small says quite a few words"
LARGE = "large knows better"
MESSAGES = [ChatMessage(content="easy")]
PROMPT = PromptTemplate("{query_str}")


def models(confidence: Any = SURE, small: Any = WORDS, **settings: Any) -> dict[str, ScriptedLLM]:
    return {
        "small": ScriptedLLM(
            model="tiny-1",
            replies=small if isinstance(small, list) else [small],
            confidences=confidence if isinstance(confidence, list) else [confidence],
            **settings,
        ),
        "large": ScriptedLLM(model="grand-1", replies=[LARGE]),
    }


def cascade(pair: dict[str, ScriptedLLM], **settings: Any) -> HybridLLM:
    knob = {} if {"large_share", "quality", "route"} & set(settings) else {"threshold": 0.5}
    router = table_router({"easy": 0.1, "hard": 0.95})
    return HybridLLM(**{"router": router, "policy": "cascade", **knob, **pair, **settings})


def called(pair: dict[str, ScriptedLLM]) -> tuple[int, int]:
    return len(pair["small"].received), len(pair["large"].received)


async def last_of(chunks: Any) -> Any:
    return [chunk async for chunk in chunks][-1]


async def chat(llm: HybridLLM, **kwargs: Any) -> Any:
    return llm.chat(MESSAGES, **kwargs)


async def achat(llm: HybridLLM, **kwargs: Any) -> Any:
    return await llm.achat(MESSAGES, **kwargs)


async def stream_chat(llm: HybridLLM, **kwargs: Any) -> Any:
    return list(llm.stream_chat(MESSAGES, **kwargs))[-1]


async def astream_chat(llm: HybridLLM, **kwargs: Any) -> Any:
    return await last_of(await llm.astream_chat(MESSAGES, **kwargs))


async def complete(llm: HybridLLM, **kwargs: Any) -> Any:
    return llm.complete("easy", **kwargs)


async def acomplete(llm: HybridLLM, **kwargs: Any) -> Any:
    return await llm.acomplete("easy", **kwargs)


async def stream_complete(llm: HybridLLM, **kwargs: Any) -> Any:
    return list(llm.stream_complete("easy", **kwargs))[-1]


async def astream_complete(llm: HybridLLM, **kwargs: Any) -> Any:
    return await last_of(await llm.astream_complete("easy", **kwargs))


async def predict(llm: HybridLLM, **kwargs: Any) -> Any:
    return llm.predict(PROMPT, query_str="easy", **kwargs)


async def apredict(llm: HybridLLM, **kwargs: Any) -> Any:
    return await llm.apredict(PROMPT, query_str="easy", **kwargs)


async def stream(llm: HybridLLM, **kwargs: Any) -> Any:
    return "".join(llm.stream(PROMPT, query_str="easy", **kwargs))


async def astream(llm: HybridLLM, **kwargs: Any) -> Any:
    return "".join([token async for token in await llm.astream(PROMPT, query_str="easy", **kwargs)])


WITH_RESPONSE = [chat, achat, stream_chat, astream_chat, complete, acomplete, stream_complete, astream_complete]
ALL = [*WITH_RESPONSE, predict, apredict, stream, astream]


@pytest.fixture(params=WITH_RESPONSE, ids=lambda ask: ask.__name__)
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=ALL, ids=lambda ask: ask.__name__)
def ask_anyhow(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param  # type: ignore[no-any-return]


def text_of(answer: Any) -> str:
    if isinstance(answer, ChatResponse):
        return answer.message.content or ""
    return answer.text if isinstance(answer, CompletionResponse) else str(answer)


def record(answer: Any) -> dict[str, Any]:
    decision = decision_of(answer)
    assert decision is not None
    return dict(decision)


# ── who answers ──


async def test_a_sure_answer_stands(ask_anyhow: Any) -> None:
    pair = models(SURE)
    assert text_of(await ask_anyhow(cascade(pair))) == WORDS
    assert called(pair) == (1, 0)


async def test_an_unsure_one_goes_to_the_large_model(ask_anyhow: Any) -> None:
    pair = models(UNSURE)
    assert text_of(await ask_anyhow(cascade(pair))) == LARGE
    assert called(pair) == (1, 1)


async def test_responses_say_what_was_decided(ask: Any) -> None:
    sure, unsure = record(await ask(cascade(models(SURE)))), record(await ask(cascade(models(UNSURE))))
    assert (sure["reason"], sure["uncertainty"], sure["asked"]) == ("confident", 0.1, ["small"])
    assert (unsure["reason"], unsure["uncertainty"], unsure["asked"]) == ("uncertain", 0.9, ["small", "large"])
    assert unsure["model"] == "grand-1"


async def test_a_small_model_that_fails_is_stood_in_for_by_the_large_one(ask: Any) -> None:
    decision = record(await ask(cascade(models(small=OSError("down")))))
    assert (decision["target"], decision["reason"], decision["failed"]) == ("large", "fallback", "small: OSError")
    assert decision["asked"] == ["small", "large"]


async def test_a_large_model_that_fails_is_stood_in_for_by_the_answer_that_is_there(ask: Any) -> None:
    pair = models(UNSURE)
    pair["large"] = ScriptedLLM(replies=[OSError("down")])
    answer = await ask(cascade(pair, fallback="other", uncertainty="mean_logprob", threshold=0.2))
    decision = record(answer)
    assert (text_of(answer), decision["reason"], decision["failed"]) == (WORDS, "fallback", "large: OSError")
    assert called(pair) == (1, 1)


async def test_without_leave_its_error_comes_through(ask_anyhow: Any) -> None:
    pair = models(UNSURE)
    pair["large"] = ScriptedLLM(replies=[OSError("down")])
    with pytest.raises(OSError, match="down"):
        await ask_anyhow(cascade(pair))


async def test_without_logprobs_the_large_model_answers(ask: Any) -> None:
    pair = models()
    pair["small"] = ScriptedLLM(replies=[WORDS])
    decision = record(await ask(cascade(pair)))
    assert (decision["target"], decision["uncertainty"]) == ("large", 1.0)


async def test_a_router_sends_the_hardest_to_the_large_model_at_once(ask: Any) -> None:
    pair = models(SURE)
    llm = cascade(pair, policy="route_then_cascade", route_threshold=0.9)
    hard, easy = record(await ask(llm, query="hard")), record(await ask(llm))
    assert (hard["target"], hard["reason"], hard["difficulty"]) == ("large", "score", 0.95)
    assert (easy["target"], easy["reason"], easy["difficulty"]) == ("small", "confident", 0.1)
    assert called(pair) == (1, 1)


async def test_a_forced_call_is_no_cascade(ask: Any) -> None:
    pair = models(UNSURE)
    decision = record(await ask(cascade(pair), route="small"))
    assert (decision["target"], decision["reason"]) == ("small", "forced")
    assert called(pair) == (1, 0)


async def test_samples_that_agree_stand(ask_anyhow: Any) -> None:
    pair = models(small=["The answer is 7", "#### 7", "#### 7"])
    assert "7" in text_of(await ask_anyhow(cascade(pair, uncertainty=Cascade("self_consistency", samples=3))))
    assert called(pair) == (3, 0)


async def test_samples_that_do_not_agree_go_to_the_large_model(ask: Any) -> None:
    pair = models(small=["#### 1", "#### 2", OSError("down"), "#### 3"])
    decision = record(await ask(cascade(pair, uncertainty=Cascade("self_consistency", samples=4))))
    assert (decision["target"], decision["uncertainty"]) == ("large", 0.75)
    assert decision["asked"] == ["small"] * 4 + ["large"]


async def test_a_users_function_sees_the_prompt_and_the_message(ask_anyhow: Any) -> None:
    seen = []

    def own(query: str, message: Any) -> float:
        seen.append((query, message if isinstance(message, str) else message.content))
        return 0.7

    assert text_of(await ask_anyhow(cascade(models(), uncertainty=own))) == LARGE
    assert seen == [("easy", WORDS)]


def test_a_share_is_kept_without_labels() -> None:
    llm = cascade(models([0.5 + i % 97 / 200 for i in range(0, 97 * 37, 37)] * 16), large_share=0.2)
    sent = [record(llm.chat(MESSAGES))["target"] == "large" for _ in range(1500)]
    assert sum(sent) / len(sent) == pytest.approx(0.2, abs=0.02)


def test_a_fitted_cascade_grants_a_promise() -> None:
    own = Cascade(curve=linear_curve(), cascade_id="own")
    decision = record(cascade(models(SURE), uncertainty=own, quality=0.5).chat(MESSAGES))
    assert (decision["target"], decision["threshold"], decision["calibrated"]) == ("small", 0.5, True)


def test_a_limit_holds() -> None:
    llm = cascade(models(UNSURE), limit=ShareLimit(0.02))
    assert [record(llm.chat(MESSAGES))["reason"] for _ in range(3)] == ["uncertain", "budget", "budget"]


# ── what is shown ──


class Counting(ScriptedLLM):
    """Counts the chunks that were read from it."""

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        def counted() -> Any:
            for chunk in self._chunks(messages, kwargs):
                self._called.append("chunk")
                yield chunk

        return counted()

    @property
    def read(self) -> int:
        return self._called.count("chunk")


def counting(chance: float | None) -> Counting:
    return Counting(model="tiny-1", replies=["word " * 200], confidences=[] if chance is None else [chance])


@pytest.mark.parametrize(("chance", "read"), [(SURE, 1), (UNSURE, 1), (None, 16)])
def test_a_measure_of_the_first_token_holds_back_no_more_than_it_needs(chance: float | None, read: int) -> None:
    pair: dict[str, Any] = {**models(), "small": counting(chance)}
    first = next(cascade(pair).stream_chat(MESSAGES))
    assert pair["small"].read == read
    assert first.delta == ("word" if chance == SURE else "large")


def test_a_stream_that_stands_goes_on_chunk_by_chunk() -> None:
    pair: dict[str, Any] = {**models(), "small": counting(SURE)}
    chunks = cascade(pair).stream_chat(MESSAGES)
    for i in range(1, 10):
        next(chunks)
        assert pair["small"].read == i


def test_a_measure_of_the_whole_answer_holds_all_of_it_back() -> None:
    pair: dict[str, Any] = {**models(), "small": counting(SURE)}
    next(cascade(pair, uncertainty="entropy").stream_chat(MESSAGES))
    assert pair["small"].read == 201


def test_every_chunk_of_a_stream_is_of_one_answer_and_says_so() -> None:
    for chance, expected in ((SURE, WORDS), (UNSURE, LARGE)):
        chunks = list(cascade(models(chance)).stream_chat(MESSAGES))
        assert "".join(chunk.delta or "" for chunk in chunks) == expected
        assert len({json.dumps(record(chunk)) for chunk in chunks}) == 1


# ── tools and objects ──


def clock(zone: str) -> str:
    """The time of day."""
    return zone


TOOLS = [FunctionTool.from_defaults(clock)]
LOW = {"uncertainty": lambda query, message: 0.0}


def calling(name: str, kwargs: dict[str, Any] | str) -> ToolCallBlock:
    return ToolCallBlock(tool_call_id="1", tool_name=name, tool_kwargs=kwargs)


async def chat_with_tools(llm: HybridLLM, **kwargs: Any) -> Any:
    return llm.chat_with_tools(TOOLS, "easy", **kwargs)


async def achat_with_tools(llm: HybridLLM, **kwargs: Any) -> Any:
    return await llm.achat_with_tools(TOOLS, "easy", **kwargs)


async def stream_chat_with_tools(llm: HybridLLM, **kwargs: Any) -> Any:
    return list(llm.stream_chat_with_tools(TOOLS, "easy", **kwargs))[-1]


async def astream_chat_with_tools(llm: HybridLLM, **kwargs: Any) -> Any:
    return await last_of(await llm.astream_chat_with_tools(TOOLS, "easy", **kwargs))


@pytest.mark.parametrize(
    "with_tools", [chat_with_tools, achat_with_tools, stream_chat_with_tools, astream_chat_with_tools]
)
@pytest.mark.parametrize(
    ("said", "kwargs", "target"),
    [
        (calling("clock", {"zone": "UTC"}), {}, "small"),
        (calling("sundial", {"zone": "UTC"}), {}, "large"),
        (calling("clock", {}), {}, "large"),
        (calling("clock", "{"), {}, "large"),
        ("no tool is needed", {}, "small"),
        ("no tool is needed", {"tool_required": True}, "large"),
    ],
)
async def test_a_tool_call_that_cannot_be_made_is_uncertain(
    with_tools: Any, said: Any, kwargs: dict[str, Any], target: str
) -> None:
    decision = record(await with_tools(cascade(models(small=said), **LOW), **kwargs))
    assert (decision["target"], decision["uncertainty"]) == (target, 1.0 if target == "large" else 0.0)


def test_where_the_model_calls_the_tools_itself_only_the_large_one_is_asked() -> None:
    pair = models(SURE)
    pair["large"] = ScriptedLLM(replies=[calling("clock", {"zone": "UTC"})])
    answer = cascade(pair).predict_and_call(TOOLS, "easy")
    assert str(answer) == "UTC"
    assert record(answer)["reason"] == "once"
    assert called(pair) == (0, 1)
    assert cascade(pair)._prepare_chat_with_tools(TOOLS, "easy")["route"] == "large"


class Joke(BaseModel):
    """A joke."""

    setup: str


ASKED = PromptTemplate("tell {topic}")


async def structured(llm: HybridLLM) -> Any:
    return llm.structured_predict(Joke, ASKED, topic="one")


async def astructured(llm: HybridLLM) -> Any:
    return await llm.astructured_predict(Joke, ASKED, topic="one")


async def stream_structured(llm: HybridLLM) -> Any:
    return list(llm.stream_structured_predict(Joke, ASKED, topic="one"))[-1]


async def astream_structured(llm: HybridLLM) -> Any:
    return await last_of(await llm.astream_structured_predict(Joke, ASKED, topic="one"))


@pytest.mark.parametrize("ask_for_object", [structured, astructured])
@pytest.mark.parametrize("said", [calling("Joke", {"punchline": 3}), "no object at all"])
async def test_an_object_that_does_not_parse_goes_to_the_large_model(ask_for_object: Any, said: Any) -> None:
    pair = models(small=said)
    pair["large"] = ScriptedLLM(replies=[calling("Joke", {"setup": "large"})])
    assert await ask_for_object(cascade(pair, **LOW)) == Joke(setup="large")
    assert called(pair) == (1, 1)


@pytest.mark.parametrize("ask_for_object", [stream_structured, astream_structured])
async def test_a_stream_that_ends_with_half_an_object_goes_to_the_large_model(ask_for_object: Any) -> None:
    pair = models(small='{"punchline": 3}', is_function_calling_model=False)
    pair["large"] = ScriptedLLM(replies=['{"setup": "large"}'], is_function_calling_model=False)
    assert await ask_for_object(cascade(pair, **LOW)) == Joke(setup="large")


@pytest.mark.parametrize("ask_for_object", [structured, astructured, stream_structured, astream_structured])
async def test_an_object_that_parses_stands(ask_for_object: Any) -> None:
    pair = models(small='{"setup": "small"}', is_function_calling_model=False)
    answer = await ask_for_object(cascade(pair, **LOW))
    assert answer.setup == "small"
    assert called(pair) == (1, 0)


def test_a_structured_llm_says_what_was_decided() -> None:
    pair = models(small=calling("Joke", {"punchline": 3}))
    pair["large"] = ScriptedLLM(replies=[calling("Joke", {"setup": "large"})])
    answer = cascade(pair, **LOW).as_structured_llm(Joke).chat(MESSAGES)
    assert record(answer)["reason"] == "uncertain"


# ── what observers are told, and what is counted ──


def test_observers_are_told_of_each_decision(events: Any) -> None:
    cascade(models(UNSURE)).chat(MESSAGES)
    cascade(models(SURE)).predict(PROMPT, query_str="easy")
    said = [(event.model, event.decision.reason) for event in events.routed]
    assert said == [("tiny-1", "cascade"), ("grand-1", "uncertain"), ("tiny-1", "cascade"), ("tiny-1", "confident")]


def test_tokens_of_both_calls_are_counted_once_each() -> None:
    counter = TokenCountingHandler()
    llm = cascade(models(UNSURE))
    llm.callback_manager = CallbackManager([counter])
    answer = llm.chat(MESSAGES)
    assert [event.total_token_count for event in counter.llm_token_counts] == [10, 10]
    assert record(answer)["unused_usage"] == {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}


def test_tokens_of_a_stream_that_was_left_are_not_known() -> None:
    chunks = list(cascade(models(UNSURE)).stream_chat(MESSAGES))
    assert record(chunks[0])["unused_usage"] is None
    assert unused_usage([None]) is None


def test_a_rate_limiter_admits_every_answer() -> None:
    class Counter:
        asked = 0

        def acquire(self) -> None:
            self.asked += 1

        async def async_acquire(self) -> None:
            self.asked += 1

    llm = cascade(models(small=["#### 1", "#### 2", "#### 3"]), uncertainty=Cascade("self_consistency", samples=3))
    object.__setattr__(llm, "rate_limiter", Counter())
    llm.chat(MESSAGES)
    assert llm.rate_limiter.asked == 4  # type: ignore[union-attr]


# ── log-probabilities ──


def test_openais_models_are_asked_for_logprobs_where_the_user_has_not_said() -> None:
    margin = Cascade(alternatives=7)
    plain = OpenAI(model="gpt-4o", api_key="sk-test")
    assert logprob_settings(plain, margin) == {"logprobs": True, "top_logprobs": 7}
    assert logprob_settings(OpenAI(model="gpt-4o", api_key="sk-test", logprobs=True), margin) == {}
    assert logprob_settings(plain, Cascade("self_consistency")) == {}
    llm = HybridLLM(small=plain, large=plain, policy="cascade", threshold=0.5)
    assert llm._leg("small")._get_model_kwargs()["top_logprobs"] == 5
    assert "logprobs" not in llm._leg("large")._get_model_kwargs()
    assert plain.logprobs is None


def test_logprobs_are_found_wherever_integrations_put_them() -> None:
    class Raw(BaseModel):
        content: list[dict[str, Any]] = [{"token": "A", "logprob": -0.1}]

    message = ChatMessage(content="A")
    said = [
        ChatResponse(message=message, raw={"choices": [{"logprobs": {"content": [{"token": "A", "logprob": -0.1}]}}]}),
        ChatResponse(message=message, raw=type("R", (), {"choices": [type("C", (), {"logprobs": Raw()})]})()),
        ChatResponse(message=message, raw={"logprobs": [{"token": "A", "logprob": -0.1}]}),
        ChatResponse(message=message, raw={}, logprobs=[[LogProb(token="A", logprob=-0.1)]]),
        CompletionResponse(text="A", raw={"choices": [{"logprobs": {"tokens": ["A"], "token_logprobs": [-0.1]}}]}),
    ]
    for response in said:
        tokens = tokens_of([response])
        assert tokens is not None
        assert (tokens[0].text, tokens[0].logprob) == ("A", -0.1)
    assert tokens_of([ChatResponse(message=message)]) is None


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


def test_it_is_saved_and_pickled() -> None:
    llm = HybridLLM(**models(), policy="cascade", uncertainty="entropy", threshold=0.5)
    llm.chat(MESSAGES)
    copy = HybridLLM.from_dict(llm.to_dict())
    assert (copy.policy, copy.uncertainty, copy.threshold) == ("cascade", "entropy", 0.5)
    assert pickle.loads(pickle.dumps(llm)).policy == "cascade"
    saved = HybridLLM(**models(), policy="cascade", uncertainty=Cascade(cascade_id="own"), threshold=0.5).to_dict()
    with pytest.raises(HybridError, match="own"):
        HybridLLM.from_dict(saved)
