from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.runnables.utils import AddableDict

from langchain_hybrid.annotation import aannotated_stream, annotated, annotated_stream, decision_of

RECORD: dict[str, Any] = {"target": "small", "difficulty": 0.25}


def test_a_message_is_copied() -> None:
    message = AIMessage("a", id="1", response_metadata={"model_name": "m"})
    copy = annotated(message, RECORD)
    assert copy.response_metadata == {"model_name": "m", "hybrid": RECORD}
    assert (copy.id, copy.content) == ("1", "a")
    assert message.response_metadata == {"model_name": "m"}
    assert copy.response_metadata["hybrid"] is not RECORD


def test_a_result_is_copied_down_to_its_messages() -> None:
    generation = ChatGeneration(message=AIMessage("a"))
    result = LLMResult(generations=[[generation, Generation(text="b")]], llm_output={"x": 1})
    copy = annotated(result, RECORD)
    assert decision_of(copy.generations[0][0].message) == RECORD  # type: ignore[union-attr]
    assert copy.generations[0][1].text == "b"
    assert copy.llm_output == {"x": 1}
    assert decision_of(generation.message) is None


def test_a_raw_message_is_found_in_what_include_raw_returns() -> None:
    response = AddableDict(raw=AIMessage("a"), parsed=None)
    copy = annotated(response, RECORD)
    assert isinstance(copy, AddableDict)
    assert decision_of(copy["raw"]) == RECORD
    assert decision_of(response["raw"]) is None


@pytest.mark.parametrize("response", [{"raw": "text"}, "text", 3, None, {"setup": "s"}])
def test_what_holds_no_message_is_returned_as_it_is(response: Any) -> None:
    assert annotated(response, RECORD) is response


@pytest.mark.parametrize("metadata", [{}, {"hybrid": None}, {"hybrid": "small"}])
def test_a_message_without_a_decision(metadata: dict[str, Any]) -> None:
    assert decision_of(HumanMessage("h", response_metadata=metadata)) is None


async def test_one_chunk_of_a_stream_is_annotated() -> None:
    async def asynchronous() -> Any:
        for chunk in chunks:
            yield chunk

    chunks: list[Any] = [{"parsed": 1}, AIMessageChunk(content="a"), AIMessageChunk(content="b")]
    for marked in (
        list(annotated_stream(iter(chunks), RECORD)),
        [chunk async for chunk in aannotated_stream(asynchronous(), RECORD)],
    ):
        assert marked[0] is chunks[0]
        assert decision_of(marked[1] + marked[2]) == RECORD
        assert marked[2] is chunks[2]
