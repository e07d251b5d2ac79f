"""One pair of real models for all tests of this folder, served as the examples serve them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from local_models.catalogue import PAIRS
from local_models.fetch import cache_folder
from local_models.pairs import TIMEOUT_SECONDS, EndpointPair, local_pair


@pytest.fixture(scope="session")
def endpoints() -> Iterator[EndpointPair]:
    """The light pair, started once; whatever needs it is skipped where its files have not been fetched."""
    if not all((cache_folder() / model.file_name).exists() for model in PAIRS["light"]):
        pytest.skip("the light pair's files are not in the cache folder: python examples/00_fetch_models.py")
    with local_pair("light") as pair:
        yield pair


@pytest.fixture(scope="session")
def async_client() -> httpx.AsyncClient:
    """Carries asynchronous requests; every test has an event loop of its own, which no connection may outlive."""
    return httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS, limits=httpx.Limits(max_keepalive_connections=0))
