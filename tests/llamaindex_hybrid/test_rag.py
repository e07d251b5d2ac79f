"""In query and chat engines the user's question is judged, not the boilerplate around it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.evaluation import FaithfulnessEvaluator
from llama_index.core.extractors import TitleExtractor
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import TextNode
from llama_index.core.selectors import LLMSingleSelector, PydanticSingleSelector
from llama_index.core.tools import QueryEngineTool

from llamaindex_hybrid import query

QUESTION = "Who wrote the report?"


@pytest.fixture
def index() -> VectorStoreIndex:
    documents = [Document(text=f"Report {i}. " + "It was written by hand. " * 40) for i in range(3)]
    return VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))


@pytest.fixture(autouse=True)
def settings(pair: Any) -> None:
    Settings.llm = pair.llm
    Settings.embed_model = MockEmbedding(embed_dim=4)
    Settings.tokenizer = str.split
    pair.difficulty.table[QUESTION] = 0.9


MODES = ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate", "compact_accumulate", "generation"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_query_engine_is_judged_by_its_question(
    pair: Any, index: VectorStoreIndex, mode: str, asynchronous: bool
) -> None:
    engine = index.as_query_engine(response_mode=mode, similarity_top_k=3, use_async=asynchronous)
    response = asyncio.run(engine.aquery(QUESTION)) if asynchronous else engine.query(QUESTION)
    assert "large answers" in str(response)
    assert set(pair.asked) == {QUESTION}
    assert pair.small.called == []


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize", "generation"])
def test_a_stream_read_lazily_is_judged_by_its_question_too(pair: Any, index: VectorStoreIndex, mode: str) -> None:
    response = index.as_query_engine(response_mode=mode, streaming=True).query(QUESTION)
    tokens = list(response.response_gen)
    assert "".join(tokens) == "large answers"
    assert len(tokens) == 2
    assert set(pair.asked) == {QUESTION}


async def test_and_an_asynchronous_one(pair: Any, index: VectorStoreIndex) -> None:
    response = await index.as_query_engine(streaming=True).aquery(QUESTION)
    assert "".join([token async for token in response.async_response_gen()]) == "large answers"
    assert set(pair.asked) == {QUESTION}


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_structured_router_is_judged_by_the_question(
    pair: Any, index: VectorStoreIndex, answer: Any, mode: str, asynchronous: bool
) -> None:
    pair.large.replies = [answer.call]
    engine = index.as_query_engine(llm=pair.llm.as_structured_llm(answer.cls), response_mode=mode, similarity_top_k=3)
    response = asyncio.run(engine.aquery(QUESTION)) if asynchronous else engine.query(QUESTION)
    assert response.response.text == "yes"
    assert set(pair.asked) == {QUESTION}


def test_an_output_class_is_judged_by_the_question(pair: Any, index: VectorStoreIndex, answer: Any) -> None:
    pair.large.replies = [answer.call]
    response = index.as_query_engine(output_cls=answer.cls).query(QUESTION)
    assert response.response.text == "yes"
    assert set(pair.asked) == {QUESTION}


def test_a_block_of_code_sets_knob_and_question_for_a_query_engine(pair: Any, index: VectorStoreIndex) -> None:
    engine = index.as_query_engine()
    with query(route="small"):
        assert str(engine.query(QUESTION)) == "small answers"
    with query("hard"):
        assert str(engine.query("what?")) == "large answers"
    assert pair.asked == ["hard"]


@pytest.mark.parametrize(
    ("selector", "reply"),
    [
        (LLMSingleSelector, '[{"choice": 1, "reason": "only one"}]'),
        (PydanticSingleSelector, ToolCallBlock(tool_name="SingleSelection", tool_kwargs={"index": 0, "reason": "x"})),
    ],
)
def test_selectors_are_judged_by_the_question(pair: Any, index: VectorStoreIndex, selector: Any, reply: object) -> None:
    pair.large.replies = [reply, "the answer"]
    tool = QueryEngineTool.from_defaults(index.as_query_engine(), name="reports", description="Reports. Query: no")
    engine = RouterQueryEngine.from_defaults([tool], selector=selector.from_defaults(llm=pair.llm))
    assert str(engine.query(QUESTION)) == "the answer"
    assert set(pair.asked) == {QUESTION}


def test_sub_questions_are_judged_one_by_one(pair: Any, index: VectorStoreIndex) -> None:
    pair.large.replies = ['```json\n{"items": [{"sub_question": "Which hand?", "tool_name": "reports"}]}\n```', "all"]
    tool = QueryEngineTool.from_defaults(index.as_query_engine(), name="reports", description="Reports")
    engine = SubQuestionQueryEngine.from_defaults(
        [tool], question_gen=LLMQuestionGenerator.from_defaults(llm=pair.llm), use_async=False, verbose=False
    )
    assert str(engine.query(QUESTION)) == "all"
    assert pair.asked == [QUESTION, "Which hand?", QUESTION]
    assert pair.small.received


def memory() -> ChatMemoryBuffer:
    return ChatMemoryBuffer.from_defaults(token_limit=2000)


ENGINES: dict[str, Callable[[Any, VectorStoreIndex], Any]] = {
    "simple": lambda llm, index: SimpleChatEngine.from_defaults(llm=llm, memory=memory()),
    "context": lambda llm, index: ContextChatEngine.from_defaults(index.as_retriever(), llm=llm, memory=memory()),
    "condense_plus_context": lambda llm, index: CondensePlusContextChatEngine.from_defaults(
        index.as_retriever(), llm=llm, memory=memory()
    ),
    "condense_question": lambda llm, index: CondenseQuestionChatEngine.from_defaults(
        index.as_query_engine(llm=llm), llm=llm, memory=memory()
    ),
}


@pytest.mark.parametrize("name", ENGINES)
def test_a_chat_engine_is_judged_by_the_last_message(pair: Any, index: VectorStoreIndex, name: str) -> None:
    pair.large.replies = [QUESTION] if name.startswith("condense") else []
    engine = ENGINES[name](pair.llm, index)
    engine.chat("first?")
    assert set(pair.asked) == {"first?"}
    engine.chat(QUESTION)
    assert set(pair.asked) == {"first?", QUESTION}
    assert pair.large.called


@pytest.mark.parametrize("name", ENGINES)
def test_a_streaming_chat_engine_is_read_in_another_thread(pair: Any, index: VectorStoreIndex, name: str) -> None:
    engine = ENGINES[name](pair.llm, index)
    assert "".join(engine.stream_chat(QUESTION).response_gen) == "large answers"
    assert set(pair.asked) == {QUESTION}


@pytest.mark.parametrize("name", ENGINES)
async def test_chat_engines_are_asynchronous_too(pair: Any, index: VectorStoreIndex, name: str) -> None:
    engine = ENGINES[name](pair.llm, index)
    response = await engine.astream_chat(QUESTION)
    assert "".join([token async for token in response.async_response_gen()]) == "large answers"
    assert set(pair.asked) == {QUESTION}
    assert str(await ENGINES[name](pair.llm, index).achat(QUESTION)) == "large answers"


async def test_extractors_transforms_and_evaluators_run(pair: Any) -> None:
    await TitleExtractor(llm=pair.llm, nodes=1).aextract([TextNode(text="a text")])
    HyDEQueryTransform(llm=pair.llm).run(QUESTION)
    await FaithfulnessEvaluator(llm=pair.llm).aevaluate(query=QUESTION, response="x", contexts=["a text"])
    assert pair.asked
