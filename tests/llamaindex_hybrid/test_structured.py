import asyncio
import json
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.llms.openai import OpenAI

from llamaindex_hybrid import HybridLLM, decision_of
from shared_router.testing import table_router

MESSAGES = [ChatMessage(content="hard")]


@pytest.fixture
def structured(pair: Any, answer: Any) -> Any:
    pair.small.replies = pair.large.replies = [answer.call]
    return pair.llm.as_structured_llm(answer.cls)


async def everything(llm: StructuredLLM, **kwargs: Any) -> list[Any]:
    return [
        llm.chat(MESSAGES, **kwargs),
        await llm.achat(MESSAGES, **kwargs),
        *llm.stream_chat(MESSAGES, **kwargs),
        *[chunk async for chunk in await llm.astream_chat(MESSAGES, **kwargs)],
    ]


async def test_every_answer_is_an_object_and_carries_the_decision(structured: Any, pair: Any, answer: Any) -> None:
    assert isinstance(structured, StructuredLLM)
    # core's programs read streamed objects from the text, and whole ones from the tool call
    pair.large.replies = [answer.call, answer.call, '{"text":"yes"}']
    for response in await everything(structured):
        assert response.raw.text == "yes"
        assert json.loads(response.message.content)["text"] == "yes"
        assert decision_of(response)["target"] == "large"
    assert pair.asked == ["hard"] * 4
    assert pair.small.called == []
    assert [name for name in pair.large.called if "structured" in name] == [
        *("structured_predict", "astructured_predict"),
        *("stream_structured_predict", "astream_structured_predict"),
    ]


async def test_the_knob_is_a_keyword_here_too(structured: Any, pair: Any) -> None:
    for response in await everything(structured, route="small"):
        assert decision_of(response)["reason"] == "forced"
    assert pair.large.called == []


async def test_completion_goes_the_same_way(structured: Any, pair: Any) -> None:
    assert json.loads(structured.complete("hard").text) == {"text": "yes"}
    assert json.loads((await structured.acomplete("hard")).text) == {"text": "yes"}
    with pytest.raises(NotImplementedError):
        structured.stream_complete("hard")
    assert pair.asked == ["hard", "hard"]


@pytest.mark.parametrize("template", [PromptTemplate, lambda text: ChatPromptTemplate.from_messages([("user", text)])])
async def test_a_templates_question_is_judged_and_not_the_formatted_text(
    structured: Any, pair: Any, template: Any
) -> None:
    prompt = template("Boilerplate {context_str} about {query_str}").partial_format(query_str="hard")
    texts = [
        structured.predict(prompt, context_str="c"),
        await structured.apredict(prompt, context_str="c"),
        "".join(structured.stream(prompt, context_str="c")),
        "".join([token async for token in await structured.astream(prompt, context_str="c")]),
    ]
    assert [json.loads(text) for text in texts[:2]] == [{"text": "yes"}] * 2
    assert pair.asked == ["hard"] * 4
    assert structured.predict(prompt, context_str="c", route="small")
    assert pair.small.called


def test_the_models_own_way_to_structured_output_is_used(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    called = []
    monkeypatch.setattr(OpenAI, "structured_predict", lambda self, *a, **k: called.append(self) or answer.cls(text="x"))
    openai = OpenAI(model="gpt-4o", api_key="none")
    llm = HybridLLM(small=openai, large=openai, router=table_router())
    assert llm.as_structured_llm(answer.cls).chat(MESSAGES).raw.text == "x"
    assert called == [openai]


def test_it_works_in_a_thread_of_its_own(structured: Any) -> None:
    assert asyncio.run(structured.achat(MESSAGES)).raw.text == "yes"
