"""The shipped suite, a query engine and a chat engine over the router and two real models behind ``OpenAILike``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from local_models.pairs import EndpointPair, openai_like_llms

from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.testing import LLMConformance
from shared_router.router import RouterLike
from shared_router.testing import table_router

pytestmark = pytest.mark.local_models

EXAMPLE = Path(__file__).parents[2] / "examples" / "04_llamaindex_query_engine.py"
PAGES = {
    "hours": "The lighthouse museum is open from 10:00 to 16:00. It is closed on Mondays.",
    "tickets": "A ticket to the lighthouse museum costs 7 euros. Children under six need no ticket.",
    "ferry": "The ferry to the island leaves every hour and takes 25 minutes.",
}
EASY, HARD = "How much is a ticket to the museum?", "How many minutes does the ferry take?"
# a text that is more than the question would be found difficult
ROUTER = table_router({EASY: 0.1, HARD: 0.9}, otherwise=1.0)


def easy(text: str) -> float:
    return 0.1


def hard(text: str) -> float:
    return 0.9


def hybrid(
    endpoints: EndpointPair, client: httpx.AsyncClient, router: RouterLike = ROUTER, max_tokens: int = 24
) -> HybridLLM:
    small, large = openai_like_llms(endpoints, max_tokens=max_tokens)
    for model in (small, large):
        model._async_http_client = client
    return HybridLLM(small=small, large=large, router=router, quality=0.5)


class Conformance(LLMConformance):
    difficulty = staticmethod(easy)

    @pytest.fixture(autouse=True)
    def _models(self, endpoints: EndpointPair, async_client: httpx.AsyncClient) -> None:
        self.endpoints, self.client = endpoints, async_client

    def make_llm(self) -> LLM:
        return hybrid(self.endpoints, self.client, self.difficulty, max_tokens=12)


class TestEasy(Conformance):
    pass


class TestHard(Conformance):
    difficulty = staticmethod(hard)


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """The example's embedding of hashed words, and its way to watch decisions."""
    spec = importlib.util.spec_from_file_location("query_engine_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # pydantic looks the names in a class's annotations up there
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def llm(endpoints: EndpointPair, async_client: httpx.AsyncClient) -> HybridLLM:
    return hybrid(endpoints, async_client)


@pytest.fixture
def index(example: ModuleType, tmp_path: Path) -> VectorStoreIndex:
    for name, text in PAGES.items():
        (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
    return example.index_of(tmp_path)


@pytest.mark.parametrize(("question", "target", "page"), [(EASY, "small", "tickets"), (HARD, "large", "ferry")])
async def test_a_query_engine_routes_by_the_question(
    llm: HybridLLM, index: VectorStoreIndex, example: ModuleType, question: str, target: str, page: str
) -> None:
    engine = index.as_query_engine(llm=llm, similarity_top_k=1)
    with example.decisions() as made:
        responses = [engine.query(question), await engine.aquery(question)]
    assert [(event.decision.target, event.model) for event in made] == [(target, getattr(llm, target).model)] * 2
    for response in responses:
        assert str(response).strip() and response.source_nodes[0].node_id == page


def test_the_large_model_answers_from_the_page(llm: HybridLLM, index: VectorStoreIndex) -> None:
    assert "25" in str(index.as_query_engine(llm=llm, similarity_top_k=1).query(HARD))


def test_a_streaming_chat_engine_changes_models_in_one_conversation(
    llm: HybridLLM, index: VectorStoreIndex, example: ModuleType
) -> None:
    # core's default memory keeps its lines in a database and leaves it open
    memory = ChatMemoryBuffer.from_defaults(token_limit=2000, tokenizer_fn=str.split)
    engine = index.as_chat_engine(chat_mode=ChatMode.CONTEXT, llm=llm, memory=memory, similarity_top_k=1)
    answers = []
    with example.decisions() as made:
        for question in (EASY, HARD, EASY):
            tokens = list(engine.stream_chat(question).response_gen)
            assert len(tokens) > 1
            answers.append("".join(tokens))
    assert [event.decision.target for event in made] == ["small", "large", "small"]
    assert [message.content for message in memory.get_all()[1::2]] == answers


@pytest.mark.parametrize(("question", "target"), [(EASY, "small"), (HARD, "large")])
async def test_usage_comes_through_and_is_counted_once(llm: HybridLLM, question: str, target: str) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    llm.callback_manager = CallbackManager([counter])
    messages = [ChatMessage(content=question)]
    responses = [llm.chat(messages), await llm.achat(messages)]
    for response in responses:
        assert response.additional_kwargs["hybrid"]["target"] == target
        assert response.raw.model == getattr(llm, target).model
        assert response.raw.usage.completion_tokens == response.additional_kwargs["completion_tokens"] > 0
    assert counter.completion_llm_token_count == sum(one.raw.usage.completion_tokens for one in responses)
    assert counter.prompt_llm_token_count == sum(one.raw.usage.prompt_tokens for one in responses)


@pytest.mark.parametrize("question", [EASY, HARD])
async def test_log_probabilities_come_through(llm: HybridLLM, question: str) -> None:
    messages = [ChatMessage(content=question)]
    for response in (llm.chat(messages, logprobs=True), await llm.achat(messages, logprobs=True)):
        assert len(response.logprobs) == response.raw.usage.completion_tokens
        assert all(candidate.logprob <= 0.0 for token in response.logprobs for candidate in token)
