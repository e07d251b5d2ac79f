"""Endpoints → the small and the large model, as LangChain or as LlamaIndex objects.

Nothing here knows about routing: these are the models that you would also use without it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from local_models.catalogue import PAIRS, ModelFile, PairName

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI
    from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-untyped]
    from rich.console import Console

__all__ = ["Endpoint", "EndpointPair", "chat_models", "local_pair", "ollama_pair", "openai_like_llms", "openai_pair"]

OLLAMA_PORT = 11434
TIMEOUT_SECONDS = 300.0
CONTEXT_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one model answers.

    Attributes:
        model: The name that goes into a request.
        base_url: The OpenAI-compatible API; None is OpenAI's own, or what ``OPENAI_BASE_URL`` says.
        api_key: Sent with each request, never shown.
        temperature: 0 makes the answers repeatable; None leaves the server's default, which some models insist on.
        calls_tools: False where the model cannot call tools; the router then sends calls that offer some to the other.
        http_client: What carries the (synchronous) requests; None leaves it to the host's own.
    """

    model: str
    base_url: str | None = None
    api_key: str = field(default="not-needed", repr=False)
    temperature: float | None = None
    calls_tools: bool = True
    http_client: httpx.Client | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class EndpointPair:
    """The two models to choose between."""

    small: Endpoint
    large: Endpoint


@contextlib.contextmanager
def local_pair(pair: PairName = "light", console: Console | None = None) -> Iterator[EndpointPair]:
    """Two real models on this machine while the ``with`` block runs; downloads them the first time.

    Args:
        pair: "light" (135 million and 0.5 billion parameters) or "large" (0.5 and 1.5 billion).
        console: Where progress is shown; standard error by default.

    Yields:
        The endpoints.

    Raises:
        FetchError: A model file cannot be had.
        ServerError: A model does not start.
    """
    from rich.console import Console

    from local_models.fetch import fetch_pair
    from local_models.serve import serving

    paths: tuple[Path, Path] = fetch_pair(pair, console or Console(stderr=True))
    small, large = PAIRS[pair]
    # a proxy that the environment names must not see requests to this machine
    client = httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS)
    with client, serving([(small, paths[0]), (large, paths[1])]) as urls:
        yield EndpointPair(_local(small, urls[0], client), _local(large, urls[1], client))


def _local(model: ModelFile, url: str, client: httpx.Client) -> Endpoint:
    return Endpoint(model.label, base_url=url, temperature=0.0, calls_tools=model.calls_tools, http_client=client)


def ollama_pair(small: str, large: str, environment: Mapping[str, str] = os.environ) -> EndpointPair:
    """Two models of an Ollama server: the one at ``OLLAMA_HOST``, else on this machine.

    Args:
        small: Name of the small model, such as "qwen3:0.6b".
        large: Name of the large model, such as "qwen3:8b".
        environment: Environment variables.
    """
    said = environment.get("OLLAMA_HOST") or "127.0.0.1"
    # Ollama's variable may be a bare host or host:port, and 0.0.0.0 where it tells the server to listen everywhere
    url = urlsplit(said if "://" in said else f"http://{said}")
    host = "127.0.0.1" if url.hostname in (None, "0.0.0.0") else url.hostname
    port = url.port or (443 if url.scheme == "https" else OLLAMA_PORT)
    base_url = f"{url.scheme}://{host}:{port}/v1"
    return EndpointPair(
        small=Endpoint(small, base_url=base_url, temperature=0.0),
        large=Endpoint(large, base_url=base_url, temperature=0.0),
    )


def openai_pair(small: str, large: str, environment: Mapping[str, str] = os.environ) -> EndpointPair:
    """Two models of OpenAI, or of the compatible service that ``OPENAI_BASE_URL`` names.

    Args:
        small: Name of the small model.
        large: Name of the large model.
        environment: Environment variables.

    Raises:
        KeyError: ``OPENAI_API_KEY`` is not set.
    """
    key, base_url = environment["OPENAI_API_KEY"], environment.get("OPENAI_BASE_URL")
    return EndpointPair(
        small=Endpoint(small, base_url=base_url, api_key=key),
        large=Endpoint(large, base_url=base_url, api_key=key),
    )


def chat_models(pair: EndpointPair, *, max_tokens: int = 256) -> tuple[ChatOpenAI, ChatOpenAI]:
    """The small and the large model for LangChain.

    Args:
        pair: The endpoints.
        max_tokens: Longest answer.
    """
    return _chat_model(pair.small, max_tokens), _chat_model(pair.large, max_tokens)


def openai_like_llms(pair: EndpointPair, *, max_tokens: int = 256) -> tuple[OpenAILike, OpenAILike]:
    """The small and the large model for LlamaIndex.

    Args:
        pair: The endpoints.
        max_tokens: Longest answer.
    """
    return _openai_like(pair.small, max_tokens), _openai_like(pair.large, max_tokens)


def _chat_model(endpoint: Endpoint, max_tokens: int) -> ChatOpenAI:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    return ChatOpenAI(
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=SecretStr(endpoint.api_key),
        temperature=endpoint.temperature,
        max_completion_tokens=max_tokens,
        timeout=TIMEOUT_SECONDS,
        max_retries=1,
        stream_usage=True,
        profile={"tool_calling": endpoint.calls_tools, "max_input_tokens": CONTEXT_TOKENS}
        if endpoint.base_url
        else None,
        # servers that are not OpenAI's may know the limit by its older name only
        extra_body={"max_tokens": max_tokens} if endpoint.base_url else None,
        http_client=endpoint.http_client,
    )


def _openai_like(endpoint: Endpoint, max_tokens: int) -> OpenAILike:
    from llama_index.llms.openai_like import OpenAILike

    return OpenAILike(
        model=endpoint.model,
        api_base=endpoint.base_url,
        api_key=endpoint.api_key,
        is_chat_model=True,
        is_function_calling_model=endpoint.calls_tools,
        context_window=CONTEXT_TOKENS,
        max_tokens=max_tokens,
        timeout=TIMEOUT_SECONDS,
        max_retries=1,
        http_client=endpoint.http_client,
        **({} if endpoint.temperature is None else {"temperature": endpoint.temperature}),
    )
