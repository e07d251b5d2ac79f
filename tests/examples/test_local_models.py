"""The main job on real models: fetched files, real servers, both frameworks.

Skipped where the files of the light pair are not in the cache folder; ``python examples/00_fetch_models.py`` puts them
there.
"""

import os
from collections.abc import Callable, Iterator
from types import ModuleType

import psutil
import pytest
from local_models.catalogue import PAIRS
from local_models.fetch import cache_folder
from local_models.pairs import EndpointPair, chat_models, local_pair, openai_like_llms

from langchain_hybrid import HybridChatModel
from llamaindex_hybrid import HybridLLM
from shared_router.testing import table_router

Load = Callable[[str], ModuleType]

pytestmark = [
    pytest.mark.local_models,
    pytest.mark.skipif(
        not all((cache_folder() / model.file_name).exists() for model in PAIRS["light"]),
        reason="the light pair's files are not in the cache folder: python examples/00_fetch_models.py",
    ),
]

EASY, HARD = "What is the capital of France?", "What is the capital of Italy?"
ROUTER = table_router({HARD: 0.9}, otherwise=0.1)


@pytest.fixture(scope="module")
def pair() -> Iterator[EndpointPair]:
    with local_pair("light") as endpoints:
        yield endpoints


def test_langchain_gets_real_answers_from_both(pair: EndpointPair) -> None:
    small, large = chat_models(pair, max_tokens=30)
    model = HybridChatModel(small=small, large=large, router=ROUTER, quality=0.5)
    easy, hard = model.batch([EASY, HARD])
    assert easy.response_metadata["hybrid"]["model"] == pair.small.model and easy.text
    assert hard.response_metadata["hybrid"]["model"] == pair.large.model and "Rome" in hard.text
    assert easy.usage_metadata["output_tokens"] > 0


def test_langchain_streams_the_same_text(pair: EndpointPair) -> None:
    small, large = chat_models(pair, max_tokens=30)
    model = HybridChatModel(small=small, large=large, router=ROUTER, quality=0.5)
    pieces = list(model.stream(HARD))
    assert len(pieces) > 3
    assert "".join(piece.text for piece in pieces) == model.invoke(HARD).text


def test_llamaindex_gets_real_answers_from_both(pair: EndpointPair) -> None:
    small, large = openai_like_llms(pair, max_tokens=30)
    llm = HybridLLM(small=small, large=large, router=ROUTER, quality=0.5)
    easy, hard = llm.complete(EASY), llm.complete(HARD)
    assert easy.additional_kwargs["hybrid"]["model"] == pair.small.model and easy.text
    assert hard.additional_kwargs["hybrid"]["model"] == pair.large.model and "Rome" in hard.text


def test_llamaindex_streams_the_same_text(pair: EndpointPair) -> None:
    small, large = openai_like_llms(pair, max_tokens=30)
    llm = HybridLLM(small=small, large=large, router=ROUTER, quality=0.5)
    chunks = list(llm.stream_complete(HARD))
    assert len(chunks) > 3
    assert chunks[-1].text == llm.complete(HARD).text


def test_the_servers_give_log_probabilities(pair: EndpointPair) -> None:
    small, _ = chat_models(pair, max_tokens=5)
    tokens = small.bind(logprobs=True).invoke(EASY).response_metadata["logprobs"]["content"]
    assert 1 <= len(tokens) <= 5 and all(token["logprob"] <= 0.0 for token in tokens)


def test_the_demo_runs_from_end_to_end(example: Load, capsys: pytest.CaptureFixture[str]) -> None:
    running = len(psutil.Process(os.getpid()).children())
    assert example("01_demo").main(["--max-tokens", "16"]) == 0
    out = capsys.readouterr().out
    assert out.count("LangChain") == out.count("LlamaIndex") == 7
    assert "Who answered" in out
    assert len(psutil.Process(os.getpid()).children()) == running
