"""Who answers: guards, conversations, kinds of prompts, time limits, and the settings that say so."""

import asyncio
import logging
import threading
import time
from typing import Any

import pytest
from llama_index.core import Settings, SimpleKeywordTableIndex
from llama_index.core.base.llms.types import AudioBlock, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.bridge.pydantic import Field
from llama_index.core.chat_engine import condense_plus_context, condense_question
from llama_index.core.llms import ChatMessage, ChatResponse, LLMMetadata, MockLLM
from llama_index.core.prompts import PromptTemplate, default_prompts
from llama_index.core.prompts.prompt_type import PromptType
from llama_index.core.schema import Document
from llama_index.core.selectors import LLMSingleSelector, PydanticSingleSelector
from llama_index.core.tools import FunctionTool, ToolMetadata

from llamaindex_hybrid import HybridLLM, decision_of, query
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.errors import HybridError, KnobError
from shared_router.guards import Capabilities
from shared_router.testing import table_router

IMAGE = ImageBlock(image=b"iVBORw0KGgo=")
EASY = [ChatMessage(content="easy")]


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def said(response: Any) -> tuple[str, str]:
    decision = decision_of(response)
    assert decision is not None
    return decision["target"], decision["reason"]


def asked(llm: HybridLLM, text: str, **kwargs: Any) -> tuple[str, str]:
    return said(llm.chat([ChatMessage(content=text)], **kwargs))


class Remote(ScriptedLLM):
    """Notes the threads in which its metadata is read."""

    threads: list[int] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        self.threads.append(threading.get_ident())
        return super().metadata

    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        # undecorated: core's decorator reads the metadata for its events
        return ChatResponse(message=ChatMessage(role="assistant", content="remote"))


class TestGuards:
    def test_an_image_goes_to_the_model_that_takes_it(self, pair: Any) -> None:
        messages = [ChatMessage(blocks=[TextBlock(text="easy"), IMAGE])]
        assert said(pair.llm.chat(messages)) == ("small", "score")
        pair.llm.small_capabilities = {"modalities": ["audio"]}
        assert said(pair.llm.chat(messages)) == ("large", "modality")
        assert said(asyncio.run(pair.llm.achat(messages))) == ("large", "modality")
        assert said(list(pair.llm.stream_chat(messages))[-1]) == ("large", "modality")
        assert said(pair.llm.chat([ChatMessage(blocks=[AudioBlock(audio=b"UklGRg==")])])) == ("small", "score")
        # the user's own word comes first, and where neither can, the score decides
        assert said(pair.llm.chat(messages, route="small")) == ("small", "forced")
        pair.llm.large_capabilities = Capabilities(modalities=frozenset())
        assert said(pair.llm.chat(messages)) == ("small", "score")

    def test_an_image_of_an_earlier_turn_still_has_to_be_taken(self, pair: Any) -> None:
        pair.llm.small_capabilities = {"modalities": []}
        history = [ChatMessage(blocks=[TextBlock(text="see"), IMAGE]), ChatMessage(role="assistant", content="a cat")]
        assert said(pair.llm.chat([*history, *EASY])) == ("large", "modality")
        assert said(pair.llm.chat_with_tools([], user_msg="easy", chat_history=history)) == ("large", "modality")

    def test_a_stated_capability_wins_over_what_the_model_says(self, pair: Any) -> None:
        tool = FunctionTool.from_defaults(add)
        pair.llm.small_capabilities = {"tools": False}
        assert said(pair.llm.chat_with_tools([tool], user_msg="easy")) == ("large", "tools")
        pair.small.is_function_calling_model = False
        pair.llm.small_capabilities = {"tools": True}
        assert said(pair.llm.chat_with_tools([tool], user_msg="easy")) == ("small", "score")

    def test_structured_output_goes_to_the_model_that_can_be_held_to_it(
        self, pair: Any, answer: Any, events: Any
    ) -> None:
        pair.small.replies = pair.large.replies = [answer.call]
        pair.llm.small_capabilities = {"structured_output": False}
        pair.llm.structured_predict(answer.cls, PromptTemplate("{query_str}"), query_str="easy")
        assert said(pair.llm.as_structured_llm(answer.cls).chat(EASY)) == ("large", "structured_output")
        assert [event.decision.reason for event in events.routed] == ["structured_output"] * 2

    @pytest.mark.parametrize(
        ("small", "large", "kwargs", "expected"),
        [
            (1000, 8000, {}, ("small", "score")),
            (999, 8000, {}, ("large", "context_window")),
            (1000, 8000, {"max_tokens": 1}, ("large", "context_window")),
            (8000, 999, {}, ("small", "context_window")),
            (999, 999, {}, ("small", "score")),
            # a window that the integration does not know
            (-1, 8000, {}, ("small", "score")),
        ],
    )
    def test_a_prompt_goes_to_the_window_that_it_fits(
        self,
        small: int,
        large: int,
        kwargs: dict[str, Any],
        expected: tuple[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("llama_index.core.global_tokenizer", None)
        models = {"small": ScriptedLLM(context_window=small), "large": ScriptedLLM(context_window=large)}
        llm = HybridLLM(**models, router=lambda text: 0.0)
        assert said(llm.complete("word" * 1000, **kwargs)) == expected

    def test_a_prompt_that_the_host_has_packed_to_the_window_is_not_too_long(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models = {"small": ScriptedLLM(context_window=990), "large": ScriptedLLM(context_window=8000)}
        llm = HybridLLM(**models, router=lambda text: 0.0)
        text = "word, " * 700
        for tokenizer, expected in (
            # none is loaded for this
            (None, ("large", "context_window")),
            (str.split, ("small", "score")),
            (list, ("large", "context_window")),
        ):
            monkeypatch.setattr("llama_index.core.global_tokenizer", tokenizer)
            assert said(llm.complete(text)) == expected
            assert said(llm.chat([ChatMessage(content=text)])) == expected
        # nor is any asked where the estimate is far off the window
        monkeypatch.setattr("llama_index.core.global_tokenizer", lambda text: pytest.fail("counted"))
        assert said(llm.complete("word " * 100)) == ("small", "score")
        assert said(llm.complete(text * 3)) == ("large", "context_window")

    def test_every_way_to_ask_has_its_tokens_counted(self, pair: Any, events: Any) -> None:
        pair.llm.small_capabilities = {"context_window": 100}
        long = "word" * 100
        pair.llm.complete(long)
        pair.llm.chat([ChatMessage(content=long)])
        pair.llm.predict(PromptTemplate("{context_str}{query_str}"), query_str="easy", context_str=long)
        pair.llm.chat_with_tools([], user_msg="easy", chat_history=[ChatMessage(content=long)])
        assert {event.decision.reason for event in events.routed} == {"score", "context_window"}
        assert [event.decision.target for event in events.routed] == ["small", "large", "large", "large"]

    def test_a_short_text_asks_no_model_for_its_window(self) -> None:
        class Dead(ScriptedLLM):
            @property
            def metadata(self) -> LLMMetadata:
                raise AssertionError("asked")

        llm = HybridLLM(small=Dead(), large=ScriptedLLM(), router=lambda text: 1.0)
        assert asked(llm, "short " * 100) == ("large", "score")

    async def test_metadata_is_read_off_the_event_loop_and_once(self) -> None:
        small, large = Remote(), Remote()
        llm = HybridLLM(small=small, large=large, router=lambda text: 0.0)
        for text in ("short", "word" * 1000, "word" * 1000):
            assert said(await llm.achat([ChatMessage(content=text)])) == ("small", "score")
        assert (len(small.threads), len(large.threads)) == (1, 1)
        assert threading.get_ident() not in small.threads + large.threads

    async def test_the_second_models_metadata_too(self) -> None:
        failing, large = ScriptedLLM(replies=[OSError("away")]), Remote()
        llm = HybridLLM(small=failing, large=large, router=lambda text: 0.0, fallback="large")
        assert said(await llm.achat(EASY)) == ("large", "fallback")
        assert len(large.threads) == 1
        assert threading.get_ident() not in large.threads


class TestARouterThatTakesTooLong:
    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_is_given_up(self, pair: Any, asynchronous: bool) -> None:
        released = threading.Event()

        def slow(text: str) -> float:
            released.wait(5.0)
            return 0.0

        pair.llm.router, pair.llm.router_time_limit = slow, 0.02
        begin = time.monotonic()
        response = asyncio.run(pair.llm.achat(EASY)) if asynchronous else pair.llm.chat(EASY)
        assert said(response) == ("large", "router_timeout")
        pair.llm.on_router_error = "small"
        assert asked(pair.llm, "easy") == ("small", "router_timeout")
        released.set()
        assert time.monotonic() - begin < 2.0

    async def test_a_quick_scorer_stays_on_the_event_loop(self, pair: Any) -> None:
        threads: list[int] = []

        def quick(text: str) -> float:
            threads.append(threading.get_ident())
            return 0.0

        pair.llm.router = quick
        await pair.llm.achat(EASY)
        pair.llm._decider.seconds_per_text = 1e-6
        await pair.llm.achat(EASY)
        assert threads[0] != threading.get_ident()
        assert threads[1] == threading.get_ident()


class TestConversations:
    def test_a_conversation_keeps_its_model(self, pair: Any) -> None:
        pair.llm.stickiness = "sticky"
        assert asked(pair.llm, "hard", conversation="a") == ("large", "score")
        assert asked(pair.llm, "easy", conversation="a") == ("large", "sticky")
        assert asked(pair.llm, "easy", conversation=("b", 1)) == ("small", "score")
        assert asked(pair.llm, "easy") == ("small", "score")
        with query(conversation="a"):
            assert asked(pair.llm, "easy") == ("large", "sticky")
            with query("whatever"):
                assert asked(pair.llm, "easy") == ("large", "sticky")
            assert asked(pair.llm, "hard", conversation=("b", 1)) == ("small", "sticky")
        # the key is ours and does not reach the model
        assert all("conversation" not in kwargs for kwargs in pair.small.keywords + pair.large.keywords)

    def test_it_outlives_a_change_of_settings(self, pair: Any) -> None:
        pair.llm.stickiness = "sticky"
        asked(pair.llm, "hard", conversation="a")
        pair.llm.on_router_error = "small"
        assert asked(pair.llm, "easy", conversation="a") == ("large", "sticky")
        assert asked(pair.llm.model_copy(update={"stickiness": "per_call"}), "easy", conversation="a")[0] == "small"

    def test_a_switch_has_to_be_worth_its_cost(self, pair: Any) -> None:
        pair.difficulty.table["middling"] = 0.55
        pair.llm.stickiness, pair.llm.switch_cost = "switch_cost", 0.2
        turns = ["easy", "middling", "hard", "middling", "easy"]
        assert [asked(pair.llm, turn, conversation="a") for turn in turns] == [
            ("small", "score"),
            ("small", "switch_cost"),
            ("large", "score"),
            ("large", "score"),
            ("small", "score"),
        ]

    def test_a_function_names_it(self, pair: Any, answer: Any) -> None:
        given: list[tuple[Any, Any]] = []

        def first_message(content: Any, kwargs: Any) -> str:
            given.append((content, kwargs))
            return content if isinstance(content, str) else str(content[0].content)

        pair.llm.conversation = first_message
        assert asked(pair.llm, "easy") == ("small", "score")
        assert given == []
        pair.llm.stickiness = "sticky"
        messages = [ChatMessage(content="a"), ChatMessage(content="hard")]
        assert said(pair.llm.chat(messages, user="me")) == ("large", "score")
        assert said(pair.llm.complete("a")) == ("large", "sticky")
        assert pair.llm.predict(PromptTemplate("{letter}"), letter="a") == "large answers"
        assert said(pair.llm.chat_with_tools([], user_msg="easy", chat_history=messages)) == ("large", "sticky")
        pair.large.replies = [answer.call]
        assert said(pair.llm.as_structured_llm(answer.cls).chat(messages)) == ("large", "sticky")
        assert given[0][1] == {"user": "me"}
        before = len(given)
        asked(pair.llm, "easy", conversation="b")
        assert len(given) == before

    @pytest.mark.parametrize("result", [OSError("broken"), ["unhashable"]])
    def test_a_function_that_fails_costs_the_memory_and_not_the_answer(
        self, pair: Any, result: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        def failing(content: Any, kwargs: Any) -> Any:
            if isinstance(result, Exception):
                raise result
            return result

        pair.llm.conversation, pair.llm.stickiness = failing, "sticky"
        with caplog.at_level(logging.WARNING):
            assert [asked(pair.llm, text)[0] for text in ("hard", "easy")] == ["large", "small"]
        assert "not remembered" in caplog.text

    def test_a_name_that_cannot_be_remembered_is_refused(self, pair: Any) -> None:
        with pytest.raises(HybridError, match="got a list"):
            pair.llm.chat(EASY, conversation=["a"])
        with pytest.raises(HybridError, match="got a dict"), query(conversation={}):
            pass


KEYWORDS = default_prompts.DEFAULT_QUERY_KEYWORD_EXTRACT_TEMPLATE


class TestKindsOfPrompts:
    @pytest.mark.parametrize("kind", [PromptType.QUERY_KEYWORD_EXTRACT, "query_keyword_extract"])
    def test_some_always_go_to_the_small_model(self, pair: Any, events: Any, kind: Any) -> None:
        pair.llm.small_prompts = [kind]
        for target in ("small", "large"):
            other = PromptTemplate("{query_str}") if target == "large" else KEYWORDS
            assert pair.llm.predict(other, query_str="hard", question="hard", max_keywords=3) == f"{target} answers"
        (auxiliary, scored) = (event.decision for event in events.routed)
        assert (auxiliary.reason, auxiliary.difficulty, auxiliary.router_id) == ("auxiliary", None, "table")
        assert scored.reason == "score"

    async def test_in_every_way_to_ask(self, pair: Any, answer: Any, events: Any) -> None:
        pair.llm.small_prompts = [PromptType.QUERY_KEYWORD_EXTRACT]
        arguments = {"question": "hard", "max_keywords": 3}
        await pair.llm.apredict(KEYWORDS, **arguments)
        list(pair.llm.stream(KEYWORDS, **arguments))
        pair.small.replies = [answer.call]
        pair.llm.structured_predict(answer.cls, KEYWORDS, **arguments)
        pair.llm.as_structured_llm(answer.cls).predict(KEYWORDS, **arguments)
        await pair.llm.as_structured_llm(answer.cls).apredict(KEYWORDS, **arguments)
        assert [event.decision.reason for event in events.routed] == ["auxiliary"] * 5
        assert pair.large.called == []

    def test_a_knob_at_the_call_wins(self, pair: Any, events: Any) -> None:
        pair.llm.small_prompts = [PromptType.QUERY_KEYWORD_EXTRACT]
        pair.llm.predict(KEYWORDS, question="hard", max_keywords=3, quality=0.5)
        with query(route="large"):
            pair.llm.predict(KEYWORDS, question="easy", max_keywords=3)
        # what is judged is another matter
        with query("hard"):
            pair.llm.predict(KEYWORDS, question="easy", max_keywords=3)
        pair.llm.route = "large"
        pair.llm.predict(KEYWORDS, question="easy", max_keywords=3)
        assert [event.decision.reason for event in events.routed] == ["score", "forced", "auxiliary", "forced"]

    def test_a_model_that_cannot_is_not_asked(self, pair: Any, events: Any) -> None:
        pair.llm.small_prompts = [PromptType.QUERY_KEYWORD_EXTRACT]
        pair.llm.small_capabilities = {"context_window": 100}
        pair.llm.predict(KEYWORDS, question="word" * 100, max_keywords=3)
        assert [event.decision.reason for event in events.routed] == ["context_window"]

    def test_the_large_model_is_asked_where_the_small_one_fails(self, pair: Any, events: Any) -> None:
        pair.llm.small_prompts, pair.llm.fallback = [PromptType.QUERY_KEYWORD_EXTRACT], "large"
        pair.small.replies = [OSError("away")]
        assert pair.llm.predict(KEYWORDS, question="easy", max_keywords=3) == "large answers"
        assert [event.decision.reason for event in events.routed] == ["auxiliary", "fallback"]

    @pytest.mark.parametrize(
        "template",
        [condense_plus_context.DEFAULT_CONDENSE_PROMPT_TEMPLATE, condense_question.DEFAULT_TEMPLATE],
    )
    def test_condensing_a_conversation_is_a_kind_of_its_own(self, pair: Any, template: str) -> None:
        pair.llm.small_prompts = ["condense"]
        prompt, arguments = PromptTemplate(template), {"question": "hard", "chat_history": "user: a"}
        assert pair.llm.predict(prompt, **arguments) == "small answers"
        assert said(pair.llm.complete(prompt.format(**arguments))) == ("small", "auxiliary")
        assert said(pair.llm.chat(prompt.format_messages(**arguments))) == ("small", "auxiliary")

    @pytest.mark.parametrize(
        ("selector", "reply"),
        [
            (LLMSingleSelector, '[{"choice": 1, "reason": "r"}]'),
            (
                PydanticSingleSelector,
                ToolCallBlock(tool_name="SingleSelection", tool_kwargs={"index": 0, "reason": "r"}),
            ),
        ],
    )
    def test_so_is_selecting(self, pair: Any, events: Any, selector: Any, reply: Any) -> None:
        pair.llm.small_prompts, pair.small.replies = [PromptType.SINGLE_SELECT], [reply]
        selector.from_defaults(llm=pair.llm).select([ToolMetadata("one"), ToolMetadata("two")], "hard")
        assert [event.decision.reason for event in events.routed] == ["auxiliary"]

    def test_the_answer_is_routed_while_its_keywords_are_not(self, pair: Any, events: Any) -> None:
        Settings.llm = pair.llm
        pair.llm.small_prompts = ["keyword_extract", "query_keyword_extract"]
        pair.small.replies = ["KEYWORDS: report, hand"]
        index = SimpleKeywordTableIndex.from_documents([Document(text="The report was written by hand.")])
        engine = index.as_query_engine(retriever_mode="default", llm=pair.llm)
        pair.difficulty.table["hard report"] = 0.9
        assert str(engine.query("hard report")) == "large answers"
        assert [event.decision.reason for event in events.routed] == ["auxiliary", "score"]


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"on_router_error": "both"}, 'on_router_error is "small" or "large"'),
            ({"router_time_limit": 0}, "seconds above 0"),
            ({"router_time_limit": True}, "seconds above 0"),
            ({"fallback": "small"}, 'fallback is "large", "other" or None'),
            ({"stickiness": "glue"}, "got 'glue'"),
            ({"switch_cost": 2.0}, "from 0 to 1"),
            ({"conversation": "a"}, "conversation is a function"),
            ({"small_capabilities": {"tool": True}}, "got tool"),
            ({"small_capabilities": {"tools": "yes"}}, "tools is True, False or None"),
            ({"large_capabilities": {"modalities": "image"}}, "modalities are any of"),
            ({"large_capabilities": {"modalities": ["smell"]}}, "modalities are any of"),
            ({"large_capabilities": {"context_window": 0}}, "number of tokens"),
            ({"large_capabilities": 3}, "got 3"),
            ({"small_prompts": "refine"}, r"small_prompts=\['refine'\]"),
            ({"small_prompts": PromptType.REFINE}, "collection of prompt types"),
        ],
    )
    def test_one_that_does_not_fit_is_refused_now_and_later(self, settings: dict[str, Any], message: str) -> None:
        models = {"small": MockLLM(), "large": MockLLM(), "router": table_router()}
        with pytest.raises(HybridError, match=message):
            HybridLLM(**models, **settings)
        llm = HybridLLM(**models)
        ((name, value),) = settings.items()
        with pytest.raises(HybridError, match=message):
            setattr(llm, name, value)

    def test_a_wrong_knob_is_the_callers_error_in_every_mode(self, pair: Any) -> None:
        pair.llm.router = lambda text: 0.5
        with pytest.raises(KnobError):
            pair.llm.chat(EASY, large_share=0.5)
        with pytest.raises(KnobError):
            asyncio.run(pair.llm.achat(EASY, large_share=0.5))

    def test_they_are_kept_in_one_form(self) -> None:
        llm = HybridLLM(
            small=MockLLM(),
            large=MockLLM(),
            router=table_router(),
            small_capabilities={"modalities": ["image"], "context_window": 100},
            small_prompts={PromptType.REFINE},
        )
        assert llm.small_capabilities == Capabilities(modalities=frozenset({"image"}), context_window=100)
        assert llm.large_capabilities is None
        assert llm.small_prompts == ("refine",)
        llm.small_prompts = ["condense", PromptType.SUMMARY]
        assert llm.small_prompts == ("condense", "summary")

    def test_a_copy_has_its_own(self, pair: Any) -> None:
        copy = pair.llm.model_copy(update={"router": lambda text: 0.9, "small_capabilities": {"tools": False}})
        assert (asked(copy, "easy"), asked(pair.llm, "easy")) == (("large", "score"), ("small", "score"))
        assert copy.small_capabilities == Capabilities(tools=False)
        assert copy.model_copy(update={"threshold": 1.0}).quality is None
        assert copy.quality == 0.5
        with pytest.raises(KnobError, match="one way only"):
            copy.model_copy(update={"threshold": 1.0, "quality": 0.5})
        with pytest.raises(HybridError, match="fallback"):
            copy.model_copy(update={"fallback": "small"})
