import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_models import fetch, serve
from local_models.pairs import (
    Endpoint,
    EndpointPair,
    chat_models,
    local_pair,
    ollama_pair,
    openai_like_llms,
    openai_pair,
)

REMOTE = EndpointPair(Endpoint("tiny", calls_tools=False, base_url="http://127.0.0.1:1/v1"), Endpoint("big"))


def test_a_local_pair_is_fetched_served_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    served = []

    @contextlib.contextmanager
    def serving(models: object) -> Iterator[list[str]]:
        served.append(models)
        yield ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]

    monkeypatch.setattr(fetch, "fetch_pair", lambda pair, console: (Path(f"{pair}-small"), Path(f"{pair}-large")))
    monkeypatch.setattr(serve, "serving", serving)
    with local_pair("large") as pair:
        assert (pair.small.model, pair.large.model) == ("Qwen2.5-Coder-0.5B", "Qwen2.5-Coder-1.5B")
        assert (pair.small.base_url, pair.large.base_url) == ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")
        client = pair.small.http_client
        assert client is not None and not client.is_closed
    assert client.is_closed
    assert [path for _, path in served[0]] == [Path("large-small"), Path("large-large")]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (None, "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("box:1234", "http://box:1234/v1"),
        ("https://box.example", "https://box.example:443/v1"),
    ],
)
def test_ollama_is_found_where_its_variable_says(host: str | None, expected: str) -> None:
    pair = ollama_pair("a", "b", {"OLLAMA_HOST": host} if host else {})
    assert (pair.small, pair.large) == (
        Endpoint("a", base_url=expected, temperature=0.0),
        Endpoint("b", base_url=expected, temperature=0.0),
    )


def test_the_key_goes_to_the_models_and_is_never_shown() -> None:
    pair = openai_pair("a", "b", {"OPENAI_API_KEY": "secret-key"})
    chat, _ = chat_models(pair)
    llm, _ = openai_like_llms(pair)
    assert chat.openai_api_key.get_secret_value() == "secret-key"
    assert llm.api_key == "secret-key"
    assert "secret-key" not in repr(pair) + repr(chat)


def test_without_a_key_openai_is_refused() -> None:
    with pytest.raises(KeyError, match="OPENAI_API_KEY"):
        openai_pair("a", "b", {})


def test_both_frameworks_get_the_same_models() -> None:
    for chat, llm in zip(chat_models(REMOTE, max_tokens=7), openai_like_llms(REMOTE, max_tokens=7), strict=True):
        assert chat.model_name == llm.model
        assert chat.max_tokens == llm.max_tokens == 7
        assert llm.metadata.is_chat_model


def test_a_model_that_cannot_call_tools_says_so_in_both_frameworks() -> None:
    assert chat_models(REMOTE)[0].profile["tool_calling"] is False
    assert not openai_like_llms(REMOTE)[0].metadata.is_function_calling_model
