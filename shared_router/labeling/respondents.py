"""Who answers: one model behind one method, whatever it is served by.

    EndpointRespondent    an OpenAI-compatible endpoint, through the openai SDK
    ChatModelRespondent   a chat model of LangChain's, or anything else with ``ainvoke`` or ``invoke``
    FunctionRespondent    a function from text to text, async or not

A key is read from the environment variable that is named, when the first call is made; it is kept by the SDK's client
and by nothing else. Frameworks are not imported: what is asked of a chat model is looked up by name.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib.util
import inspect
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from shared_router.errors import HybridError, MissingExtraError
from shared_router.records import JSON
from shared_router.tables.chat_messages import Message, content_text, turns_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = [
    "Answer",
    "ChatModelRespondent",
    "EndpointRespondent",
    "FunctionRespondent",
    "Price",
    "Respondent",
    "RespondentError",
    "Sampling",
]

OPENAI_KEY = "OPENAI_API_KEY"
OPENAI_URL = "OPENAI_BASE_URL"
OPENAI_HOST = "api.openai.com"

THREADS = 64
"""Calls of a function that is not async under way at once, at most; the collector's own limit is usually lower."""

CUT_REASONS = ("length", "max_tokens", "max_output_tokens")
"""How providers say that an answer was cut off."""

Result = TypeVar("Result")


class RespondentError(HybridError):
    """A model that cannot be asked, or whose answer is none.

    Attributes:
        status_code: What an endpoint said in HTTP's terms, None where it did not.
    """

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens cost, in USD per million, both ≥ 0. Discounts for cached input are not known here.

    Attributes:
        input: Of the prompt.
        output: Of the answer.
    """

    input: float
    output: float

    def of(self, input_tokens: float | None, output_tokens: float | None) -> float | None:
        """USD of one call; None where its tokens are not known."""
        if input_tokens is None or output_tokens is None:
            return None
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn; what is None is not sent, so that the endpoint's default holds.

    Attributes:
        temperature: 1 as in the code of Hybrid LLM's authors; at 0 all samples are alike.
        top_p: Share of the probability that is drawn from.
        max_tokens: Length at which an answer is cut off.
        seed: Sample i is asked with seed + i.
    """

    temperature: float | None = 1.0
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        text: What was answered; may be empty.
        input_tokens: Of the prompt; None where not told.
        output_tokens: Of the answer; None where not told.
        cost_usd: What the call cost; None where it cannot be told.
        seconds: From asking to the whole answer.
        model: The model that answered, as the endpoint names it.
        cut: Whether the answer was cut off at its greatest length.
    """

    text: str
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    seconds: float
    model: str
    cut: bool = False


class Respondent(Protocol):
    """One model that can be asked. Any object with these will do.

    Attributes:
        name: The model's name, as it stands in the outcomes.
        settings: How answers are drawn, as it stands in the outcomes; no secrets.
        price: What tokens cost, None where it is not known.
    """

    name: str
    settings: Mapping[str, JSON]
    price: Price | None

    async def answer(self, messages: Sequence[Message] | str, *, sample: int = 0) -> Answer:
        """Ask once, without retrying.

        Args:
            messages: A conversation in OpenAI's chat format, or what a user says.
            sample: Which of several answers this is, from 0.
        """

    async def aclose(self) -> None:
        """Let go of connections and threads; asking again opens new ones."""


class EndpointRespondent:
    """A model at an OpenAI-compatible endpoint.

    Args:
        model: Its name there.
        url: The endpoint's address, such as http://localhost:8000/v1; else that in OPENAI_BASE_URL, else OpenAI's.
        key_env: Name of the environment variable that holds the key; else OPENAI_API_KEY, where that is set.
        sampling: How answers are drawn.
        price: What tokens cost.

    Raises:
        RespondentError: The variable is not set, and a key is needed.
        MissingExtraError: openai is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        url: str | None = None,
        key_env: str | None = None,
        sampling: Sampling | None = None,
        price: Price | None = None,
    ) -> None:
        if not _has_openai():
            raise MissingExtraError('asking an endpoint needs openai: pip install "hybrid-llm[train]"')
        sampling = sampling or Sampling()
        self.name = model
        self.settings: Mapping[str, JSON] = {key: value for key, value in asdict(sampling).items() if value is not None}
        self.price = price
        self._url = url or os.environ.get(OPENAI_URL) or f"https://{OPENAI_HOST}/v1"
        self._key_env = key_env
        self._sampling = sampling
        self._client: AsyncOpenAI | None = None
        self._key()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def answer(self, messages: Sequence[Message] | str, *, sample: int = 0) -> Answer:
        """Ask once, without retrying; see ``Respondent``.

        Raises:
            RespondentError: The endpoint answered with something that is no completion.
            openai.OpenAIError: It did not answer, or with an error.
        """
        arguments: dict[str, Any] = {"model": self.name, "messages": _as_messages(messages), **self.settings}
        if self._sampling.seed is not None:
            arguments["seed"] = self._sampling.seed + sample
        if OPENAI_HOST in self._url and "max_tokens" in arguments:
            # OpenAI's reasoning models know the new name only, other servers mostly the old one
            arguments["max_completion_tokens"] = arguments.pop("max_tokens")
        started = time.perf_counter()
        completion: Any = await self._connected().chat.completions.create(**arguments)
        seconds = time.perf_counter() - started
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise _no_completion(completion)
        usage = getattr(completion, "usage", None)
        tokens = _count(getattr(usage, "prompt_tokens", None)), _count(getattr(usage, "completion_tokens", None))
        message = choices[0].message
        return Answer(
            text=_text(message.content or getattr(message, "refusal", None) or ""),
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cost_usd=self.price.of(*tokens) if self.price else _amount(getattr(usage, "cost", None)),
            seconds=seconds,
            model=str(getattr(completion, "model", None) or self.name),
            cut=choices[0].finish_reason in CUT_REASONS,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI

            # one place retries, so that each request counts against the rate limits
            self._client = AsyncOpenAI(api_key=self._key(), base_url=self._url, max_retries=0)
        return self._client

    def _key(self) -> str:
        key = os.environ.get(self._key_env or OPENAI_KEY, "").strip()
        if key:
            return key
        if self._key_env or OPENAI_HOST in self._url:
            raise RespondentError(
                f"no key for {self.name}: the environment variable {self._key_env or OPENAI_KEY} is not set; set it, "
                "or name another one (--small-key-env, --large-key-env)"
            )
        # a server of one's own mostly asks for none, but the SDK insists
        return "none"


class ChatModelRespondent:
    """A chat model of LangChain's, or anything that answers OpenAI's messages by ``ainvoke`` or ``invoke``.

    The model's own retries and rate limiter stay as they are set; a cache would give all samples the same answer.

    Args:
        model: Has ``ainvoke`` or ``invoke``; returns a message (``content``, ``usage_metadata``,
            ``response_metadata``) or a text.
        name: Its name; else ``model_name`` or ``model`` of the object.
        price: What tokens cost.
    """

    settings: Mapping[str, JSON]

    def __init__(self, model: Any, *, name: str | None = None, price: Price | None = None) -> None:
        own = getattr(model, "model_name", None) or getattr(model, "model", None)
        self.name = name or (own if isinstance(own, str) else type(model).__name__)
        self.settings = {}
        self.price = price
        self._model = model
        self._threads = _Threads()

    def __repr__(self) -> str:
        # a model's own repr may show more than its name
        return f"{type(self).__name__}({self.name!r})"

    async def answer(self, messages: Sequence[Message] | str, *, sample: int = 0) -> Answer:
        """Ask once; see ``Respondent``.

        Raises:
            RespondentError: What came back is neither a message nor a text.
        """
        asked = _as_messages(messages)
        started = time.perf_counter()
        if callable(getattr(self._model, "ainvoke", None)):
            said = await self._model.ainvoke(asked)
        else:
            said = await self._threads.run(lambda: self._model.invoke(asked))
        seconds = time.perf_counter() - started
        content = said if isinstance(said, str) else getattr(said, "content", None)
        if not isinstance(content, str | list):
            raise RespondentError(f"{self.name} returned {type(said).__name__}; a message or a text is needed")
        usage = _mapping(getattr(said, "usage_metadata", None))
        response = _mapping(getattr(said, "response_metadata", None))
        tokens = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
        reason = next((response[key] for key in ("finish_reason", "stop_reason", "done_reason") if key in response), "")
        return Answer(
            text=_text(content_text(content)),
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cost_usd=self.price.of(*tokens) if self.price else None,
            seconds=seconds,
            model=str(response.get("model_name") or response.get("model") or self.name),
            cut=str(reason).lower() in CUT_REASONS,
        )

    async def aclose(self) -> None:
        """Let go of the threads."""
        self._threads.close()


class FunctionRespondent:
    """A function from text to text.

    A prompt that is one message of a user is handed over as that text; any other conversation as a transcript, each
    turn headed by who speaks.

    Args:
        function: Async or not; one that is not is called from several threads at once.
        name: The model's name; else the function's.
        price: What tokens cost; a function tells of none, so that costs stay unknown.
    """

    settings: Mapping[str, JSON]

    def __init__(self, function: Callable[[str], Any], *, name: str | None = None, price: Price | None = None) -> None:
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.settings = {}
        self.price = price
        self._function = function
        self._threads = _Threads()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def answer(self, messages: Sequence[Message] | str, *, sample: int = 0) -> Answer:
        """Ask once; see ``Respondent``.

        Raises:
            RespondentError: What came back is no text.
        """
        text = _transcript(_as_messages(messages))
        started = time.perf_counter()
        if inspect.iscoroutinefunction(self._function):
            said = await self._function(text)
        else:
            said = await self._threads.run(lambda: self._function(text))
            if inspect.isawaitable(said):
                said = await said
        seconds = time.perf_counter() - started
        if not isinstance(said, str):
            raise RespondentError(f"{self.name} returned {type(said).__name__}; a text is needed")
        return Answer(_text(said), None, None, None, seconds, self.name)

    async def aclose(self) -> None:
        """Let go of the threads."""
        self._threads.close()


class _Threads:
    """Threads for calls that block; none is started before the first."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[[], Result]) -> Result:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="respondent")
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(call))

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _has_openai() -> bool:
    try:
        # looked for, not imported, which takes seconds: errors of settings come first
        return importlib.util.find_spec("openai") is not None
    except ValueError:
        return False


def _as_messages(messages: Sequence[Message] | str) -> list[Message]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)


def _transcript(messages: Sequence[Message]) -> str:
    turns = turns_of(messages)
    if len(turns) == 1 and turns[0].role == "human":
        return turns[0].text
    return "\n\n".join(f"{turn.role}: {turn.text}" for turn in turns if turn.text.strip())


def _no_completion(completion: Any) -> RespondentError:
    """Gateways tell of an upstream's error in a body that HTTP calls a success."""
    error = _mapping(getattr(completion, "error", None))
    if not error:
        return RespondentError(f"the endpoint sent no completion but {type(completion).__name__} without choices")
    code = error.get("code")
    return RespondentError(f"the endpoint said: {error.get('message')}", code if isinstance(code, int) else None)


def _text(text: str) -> str:
    # an emoji that was cut in half by a length limit cannot be written as UTF-8
    return text.encode("utf-8", "replace").decode("utf-8")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _amount(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None
