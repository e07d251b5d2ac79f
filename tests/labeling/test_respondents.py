"""Models behind one method: endpoints, chat models, functions, and the texts that name them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared_router.errors import MissingExtraError
from shared_router.labeling.call_failures import call_failure, without_secrets
from shared_router.labeling.respondent_specs import respondent_from_code, respondent_named
from shared_router.labeling.respondents import (
    Answer,
    ChatModelRespondent,
    EndpointRespondent,
    FunctionRespondent,
    Price,
    RespondentError,
    Sampling,
)

KEY = "sk-very-secret-0123456789"
CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


async def ask(respondent: Any, messages: Any = "hi", sample: int = 0) -> Answer:
    try:
        return await respondent.answer(messages, sample=sample)
    finally:
        await respondent.aclose()


# -- endpoints


async def test_an_endpoint_is_asked_with_the_settings_and_the_seed_of_the_sample(chat_server: Any) -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=50, seed=100)
    respondent = EndpointRespondent("m", url=chat_server.url, sampling=sampling, price=Price(1.0, 10.0))
    answer = await ask(respondent, CONVERSATION, sample=3)
    assert (answer.text, answer.model, answer.cut) == ("m to hi #103", "m-v1", False)
    assert (answer.input_tokens, answer.output_tokens) == (10, 5)
    assert answer.cost_usd == pytest.approx((10 * 1 + 5 * 10) / 1e6)
    assert 0 < answer.seconds < 30
    sent = {"model": "m", "messages": CONVERSATION, "temperature": 0.7, "top_p": 0.9, "max_tokens": 50, "seed": 103}
    assert chat_server.asked == [sent]
    assert (respondent.name, respondent.settings["seed"]) == ("m", 100)


async def test_what_is_not_set_is_not_sent_and_no_price_means_no_cost(chat_server: Any) -> None:
    respondent = EndpointRespondent("m", url=chat_server.url)
    assert (await ask(respondent)).cost_usd is None
    assert chat_server.asked == [{"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 1.0}]
    # closed after the first answer; asking again connects again
    assert (await ask(respondent)).text == "m to hi #None"


async def test_the_key_is_read_by_name_and_shown_nowhere(chat_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    respondent = EndpointRespondent("m", url=chat_server.url, key_env="MY_KEY")
    await ask(respondent)
    assert chat_server.keys == [KEY]
    assert repr(respondent) == "EndpointRespondent('m')"
    assert KEY not in str({name: value for name, value in vars(respondent).items() if name != "_client"})
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    await ask(EndpointRespondent("m", url=chat_server.url))
    assert chat_server.keys[-1] == "other"


async def test_a_server_of_ones_own_needs_no_key_but_openai_does(
    chat_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RespondentError, match="no key for m: the environment variable OPENAI_API_KEY is not set"):
        EndpointRespondent("m")
    with pytest.raises(RespondentError, match="the environment variable MY_KEY is not set"):
        EndpointRespondent("m", url=chat_server.url, key_env="MY_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", chat_server.url)
    await ask(EndpointRespondent("m"))
    assert chat_server.keys == ["none"]


def test_without_openai_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hybrid-llm\[train\]"'):
        EndpointRespondent("m", url="http://127.0.0.1:9/v1")


def test_openais_own_endpoint_knows_the_new_name_of_max_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    respondent = EndpointRespondent("m", sampling=Sampling(max_tokens=9))
    sent: dict[str, Any] = {}

    async def create(**arguments: Any) -> None:
        sent.update(arguments)
        raise OSError

    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    monkeypatch.setattr(respondent, "_client", client)
    with pytest.raises(OSError):
        asyncio.run(respondent.answer("hi"))
    assert sent["max_completion_tokens"] == 9
    assert "max_tokens" not in sent
    assert respondent.settings == {"temperature": 1.0, "max_tokens": 9}


async def test_answers_of_every_kind(chat_server: Any) -> None:
    respondent = EndpointRespondent("m", url=chat_server.url)

    async def answered(**message: Any) -> Answer:
        body = chat_server.completion({"model": "m", "messages": CONVERSATION})
        body["choices"][0]["message"].update(message.pop("message", {}))
        body["choices"][0].update(message.pop("choice", {}))
        chat_server.replies = lambda asked, before: (200, {}, {**body, **message})
        return await ask(respondent)

    assert (await answered(choice={"finish_reason": "length"})).cut
    assert (await answered(message={"content": None, "refusal": "No."})).text == "No."
    assert (await answered(message={"content": None})).text == ""
    assert (await answered(message={"content": "half \ud83d"})).text == "half ?"
    unknown = await answered(usage=None)
    assert (unknown.input_tokens, unknown.output_tokens, unknown.cost_usd) == (None, None, None)
    assert (await answered(usage={"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.25})).cost_usd == 0.25
    with pytest.raises(RespondentError, match="no completion"):
        await answered(choices=[])
    with pytest.raises(RespondentError, match="the endpoint said: busy") as raised:
        await answered(choices=None, error={"message": "busy", "code": 503})
    assert call_failure(raised.value).kind == "transient"
    chat_server.replies = lambda asked, before: (200, {"Content-Type": "text/html"}, b"<html>")
    with pytest.raises(RespondentError, match="no completion but str"):
        await ask(respondent)


# -- what an exception says


async def failing(server: Any, status: int, headers: dict[str, str] | None = None, body: Any = None) -> Any:
    server.replies = lambda asked, before: (status, headers or {}, body or {"error": {"message": f"status {status}"}})
    with pytest.raises(Exception) as raised:
        await ask(EndpointRespondent("m", url=server.url))
    return call_failure(raised.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "permanent"),
        (401, "fatal"),
        (402, "fatal"),
        (403, "permanent"),
        (404, "permanent"),
        (408, "transient"),
        (422, "permanent"),
        (429, "transient"),
        (500, "transient"),
        (529, "transient"),
    ],
)
async def test_http_errors(chat_server: Any, status: int, kind: str) -> None:
    failure = await failing(chat_server, status)
    assert (failure.kind, failure.status) == (kind, status)
    assert str(status) in failure.message
    # the SDK itself does not retry: each request counts against the rate limits
    assert len(chat_server.asked) == 1


async def test_pauses_that_an_endpoint_asks_for(chat_server: Any) -> None:
    assert (await failing(chat_server, 429)).retry_after is None
    assert (await failing(chat_server, 429, {"Retry-After": "7"})).retry_after == 7.0
    assert (await failing(chat_server, 429, {"Retry-After": "7", "retry-after-ms": "250"})).retry_after == 0.25
    past = await failing(chat_server, 503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert past.retry_after == 0.0
    assert (await failing(chat_server, 429, {"Retry-After": "soon"})).retry_after is None
    long = await failing(chat_server, 429, {"Retry-After": "86400"})
    assert long.kind == "fatal"
    assert "wait 86400 s" in long.message
    quota = await failing(chat_server, 429, body={"error": {"message": "no quota", "code": "insufficient_quota"}})
    assert quota.kind == "fatal"


async def test_no_key_is_repeated(chat_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (400, 401, 429, 500):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        failure = await failing(chat_server, status, body={"error": {"message": f"bad key {KEY}, Bearer {KEY}"}})
        assert KEY not in failure.message
    monkeypatch.setenv("SOME_TOKEN", "wonderfully-plain")
    said = without_secrets("sk-abcdefgh gsk_1234567 https://me:pw@host/ Bearer abc wonderfully-plain task-force")
    assert said == "*** *** https://***@host/ Bearer *** *** task-force"


async def test_nobody_there() -> None:
    with pytest.raises(Exception) as raised:
        await ask(EndpointRespondent("m", url="http://127.0.0.1:9/v1"))
    failure = call_failure(raised.value)
    assert (failure.kind, failure.status) == ("transient", None)
    assert "attempts failed" in failure.message or "onnect" in failure.message


class Throttled(Exception):
    def __init__(self) -> None:
        super().__init__("slow down")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": 429}}


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (TimeoutError(), "transient", None),
        (asyncio.TimeoutError(), "transient", None),
        (ConnectionResetError("reset"), "transient", None),
        (ValueError("no"), "permanent", None),
        (Throttled(), "transient", 429),
        (RespondentError("x", 500), "transient", 500),
        (SimpleNamespace, "permanent", None),
    ],
)
def test_errors_of_other_kinds(error: Any, kind: str, status: int | None) -> None:
    failure = call_failure(error if isinstance(error, Exception) else Exception("a" * 1000))
    assert (failure.kind, failure.status) == (kind, status)
    assert len(failure.message) < 400


# -- chat models


class ChatModel:
    model = "duck"

    def __init__(self, said: Any) -> None:
        self.said = said
        self.asked: list[Any] = []

    async def ainvoke(self, messages: Any) -> Any:
        self.asked.append(messages)
        return self.said


async def test_a_chat_model_is_asked_by_name_of_its_methods() -> None:
    said = SimpleNamespace(
        content=[{"type": "text", "text": "Hello"}, {"type": "reasoning", "reasoning": "?"}],
        usage_metadata={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        response_metadata={"model_name": "duck-2", "finish_reason": "length"},
    )
    model = ChatModel(said)
    answer = await ask(ChatModelRespondent(model, price=Price(1, 1)), CONVERSATION)
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("Hello", 3, 4)
    assert (answer.model, answer.cut, answer.cost_usd) == ("duck-2", True, pytest.approx(7e-6))
    assert model.asked == [CONVERSATION]


async def test_a_chat_model_that_says_little() -> None:
    answer = await ask(ChatModelRespondent(ChatModel(SimpleNamespace(content="Hello"))))
    assert (answer.text, answer.input_tokens, answer.model, answer.cut) == ("Hello", None, "duck", False)
    # a chain that ends in a parser
    assert (await ask(ChatModelRespondent(ChatModel("Hello"), name="chain"))).model == "chain"
    with pytest.raises(RespondentError, match="duck returned dict; a message or a text is needed"):
        await ask(ChatModelRespondent(ChatModel({})))


async def test_a_blocking_chat_model_is_asked_in_a_thread() -> None:
    threads: list[str] = []
    model = SimpleNamespace(invoke=lambda messages: threads.append(threading.current_thread().name) or "yes")
    assert (await ask(ChatModelRespondent(model))).text == "yes"
    assert threads[0].startswith("respondent")


async def test_chat_models_of_langchain(chat_server: Any) -> None:
    fake = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    model = fake.FakeListChatModel(responses=["Hello"])
    assert (await ask(respondent_from_code(model), CONVERSATION)).text == "Hello"
    openai = pytest.importorskip("langchain_openai")
    httpx = pytest.importorskip("httpx")
    async with httpx.AsyncClient() as client:
        chat = openai.ChatOpenAI(
            model="m", base_url=chat_server.url, api_key=KEY, max_retries=0, http_async_client=client
        )
        respondent = respondent_from_code(chat, name="my:chat", price=Price(1, 1))
        answer = await ask(respondent, CONVERSATION)
    assert (answer.text, answer.input_tokens, answer.model) == ("m to hi #None", 10, "m-v1")
    assert [one["content"] for one in chat_server.asked[0]["messages"]] == ["Be brief.", "hi"]
    assert respondent.name == "m"
    assert KEY not in repr(respondent)


# -- functions


async def test_functions_get_the_text_or_a_transcript() -> None:
    def blocking(text: str) -> str:
        return f"{threading.current_thread() is threading.main_thread()} {text}"

    async def waiting(text: str) -> str:
        await asyncio.sleep(0)
        return text

    assert (await ask(FunctionRespondent(blocking))).text == "False hi"
    assert (await ask(FunctionRespondent(waiting), CONVERSATION)).text == "system: Be brief.\n\nhuman: hi"
    assert (await ask(FunctionRespondent(lambda text: waiting(text)))).text == "hi"
    answer = await ask(FunctionRespondent(waiting, price=Price(1, 1)))
    assert (answer.model, answer.input_tokens, answer.cost_usd) == ("waiting", None, None)
    with pytest.raises(RespondentError, match="returned NoneType; a text is needed"):
        await ask(FunctionRespondent(lambda text: None))


# -- texts that name a respondent


CODE = """
from types import SimpleNamespace
import beside

def shout(text):
    return text.upper()

def make():
    return shout

class Model:
    async def ainvoke(self, messages):
        return "made"

def two(a, b): ...
def nothing(): return None
def defaulted(text="x"): return text
def broken(): raise ValueError("no weights")
number = 5
deep = SimpleNamespace(model=Model())
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_own_models.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "my_broken_models.py").write_text("import no_such_module_here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("beside", "my_own_models", "my_broken_models"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("attribute", "said"),
    [("shout", "HI"), ("make", "HI"), ("Model", "made"), ("deep.model", "made")],
)
@pytest.mark.parametrize("module", ["my_own_models", "./my_own_models.py"])
def test_ones_own_code(code: Path, module: str, attribute: str, said: str) -> None:
    respondent = respondent_named(f"{module}:{attribute}")
    assert respondent.name == f"{module}:{attribute}"
    assert asyncio.run(ask(respondent)).text == said


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("my_own_models:none", "has no none"),
        ("my_own_models:number", "is int; needed is a chat model, a function"),
        ("my_own_models:two", "takes 2 arguments"),
        ("my_own_models:nothing", "is NoneType"),
        ("my_own_models:defaulted", "takes the text as its one argument, without a default"),
        ("my_own_models:broken", r"failed \(ValueError: no weights\)"),
        ("my_broken_models:x", r"cannot be imported \(No module named 'no_such_module_here'\)"),
        ("none.py:x", "there is no file none.py"),
        ("no_such_model:latest", "no module no_such_model here; if this is a model's name, .*--small-url"),
    ],
)
def test_code_that_answers_nothing(code: Path, spec: str, what: str) -> None:
    with pytest.raises(RespondentError, match=what):
        respondent_named(spec)


@pytest.mark.parametrize(
    "spec", ["gpt-4.1", "qwen2.5:0.5b", "ft:gpt-4o:org::id", "meta-llama/llama-3:free", "./a.gguf"]
)
def test_models_names(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert repr(respondent_named(spec)) == f"EndpointRespondent({spec!r})"


def test_with_an_address_every_text_is_a_name(code: Path) -> None:
    assert isinstance(respondent_named("my_own_models:shout", url="http://127.0.0.1:9/v1"), EndpointRespondent)


def test_a_respondent_of_ones_own_is_taken_as_it_is() -> None:
    respondent = FunctionRespondent(str)
    assert respondent_from_code(respondent) is respondent
