"""The shipped suite over a router of two real local models, as ``OpenAILike`` sees them.

Skipped where the files of the light pair are not in the cache folder; ``python examples/00_fetch_models.py`` puts them
there.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from llama_index.core.llms import LLM

from llamaindex_hybrid import HybridLLM
from llamaindex_hybrid.testing import LLMConformance

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from local_models.catalogue import PAIRS
from local_models.fetch import cache_folder
from local_models.pairs import EndpointPair, local_pair, openai_like_llms

if not all((cache_folder() / model.file_name).exists() for model in PAIRS["light"]):
    pytest.skip(
        "the light pair's files are not in the cache folder: python examples/00_fetch_models.py",
        allow_module_level=True,
    )

pytestmark = pytest.mark.local_models


@pytest.fixture(scope="module")
def endpoints() -> Iterator[EndpointPair]:
    with local_pair("light") as pair:
        yield pair


def always_small(text: str) -> float:
    return 0.0


def always_large(text: str) -> float:
    return 1.0


class OverLocalModels(LLMConformance):
    pair: EndpointPair
    router = staticmethod(always_small)

    @pytest.fixture(autouse=True)
    def _pair(self, endpoints: EndpointPair) -> None:
        self.pair = endpoints

    def make_llm(self) -> LLM:
        small, large = openai_like_llms(self.pair, max_tokens=12)
        for model in (small, large):
            # the suite runs every coroutine in a loop of its own, and a connection that is kept outlives its loop
            model._async_http_client = httpx.AsyncClient(
                trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
            )
        return HybridLLM(small=small, large=large, router=self.router)


class TestTheSmallOne(OverLocalModels):
    pass


class TestTheLargeOne(OverLocalModels):
    router = staticmethod(always_large)
