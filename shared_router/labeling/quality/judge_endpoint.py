"""Asking a judge behind an OpenAI-compatible endpoint, many prompts at once, from synchronous code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared_router.errors import HybridError, MissingExtraError
from shared_router.labeling.quality.judge_prompts import JudgePrompt
from shared_router.labeling.quality.measure import Answers, JudgedPrompt, Judging

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAIError
    from openai.types.chat import ChatCompletionMessageParam

__all__ = ["Endpoint", "JudgeError", "Reply", "asked", "judged_at_once"]

KEY_ENV = "OPENAI_API_KEY"

NO_KEY = "none"
"""Sent to endpoints that want none; the client library insists on one."""

REFUSALS = {400, 413, 422, 500, 502, 503, 504}
"""A text that is too long, filtered, or more than the server can take: of this prompt, maybe not of the next."""

STOP_AFTER = 20
"""Prompts in succession without a verdict, after which there is something wrong with the judge and not the prompts."""

NO_VERDICT = "no verdict in the judge's reply, nor in its second one"
SECOND_TRY = "no verdict in the judge's first reply"


class JudgeError(HybridError):
    """The judge cannot be asked at all: no key, a wrong address, no such model, or an endpoint that is down."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how a judge is asked.

    Attributes:
        model: Its name at the endpoint.
        base_url: Of the endpoint, up to ``/v1``; by default the one in OPENAI_BASE_URL, else OpenAI's.
        key_env: The environment variable that holds the key; by default OPENAI_API_KEY, where that is set.
        temperature: None = not sent, for models that refuse it.
        max_tokens: Of a reply; None = not sent.
        timeout: Seconds for one reply.
        retries: Of a call that failed for a passing reason, by the client library, with growing pauses.
    """

    model: str
    base_url: str | None = field(default=None, repr=False)  # may hold credentials
    key_env: str | None = None
    temperature: float | None = 0.0
    max_tokens: int | None = None
    timeout: float = 120.0
    retries: int = 5

    def client(self) -> AsyncOpenAI:
        """A client of the endpoint.

        Raises:
            MissingExtraError: openai is not installed.
            JudgeError: There is no key, and no address of an endpoint that might want none.
        """
        try:
            from openai import AsyncOpenAI, OpenAIError
        except ImportError as error:
            raise MissingExtraError('the judge needs openai: pip install "hybrid-llm[train]"') from error
        key = os.environ.get(self.key_env or KEY_ENV, "")
        if not key and (self.key_env or not (self.base_url or os.environ.get("OPENAI_BASE_URL"))):
            raise JudgeError(
                f"the environment variable {self.key_env or KEY_ENV} is not set; put the endpoint's key there, or name "
                "the variable that holds it (--key-env); an endpoint of your own that wants no key needs its address "
                "only (--url)"
            )
        try:
            return AsyncOpenAI(
                api_key=key or NO_KEY, base_url=self.base_url, timeout=self.timeout, max_retries=self.retries
            )
        except OpenAIError as error:
            raise JudgeError(f"the judge's client cannot be made ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking once or twice.

    Attributes:
        verdict: In lower case; None where there was none.
        notes: What is worth counting.
    """

    verdict: str | None
    notes: tuple[str, ...] = ()


async def asked(client: AsyncOpenAI, endpoint: Endpoint, prompt: JudgePrompt, data: str, usage: Counter[str]) -> Reply:
    """Ask for a verdict, and once more where the reply has none.

    Args:
        client: Of the endpoint.
        endpoint: The model and its settings.
        prompt: What the judge is told.
        data: What is to be judged, fenced.
        usage: Counts calls and tokens; added to.

    Raises:
        JudgeError: The judge cannot be asked at all.
    """
    from openai import APIStatusError, OpenAIError

    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": prompt.instructions},
        {"role": "user", "content": data},
    ]
    try:
        reply = await _completed(client, endpoint, messages, usage)
        verdict = prompt.read(reply)
        if verdict is not None:
            return Reply(verdict)
        if reply.strip():
            messages.append({"role": "assistant", "content": reply})
        messages.append({"role": "user", "content": prompt.reminder})
        verdict = prompt.read(await _completed(client, endpoint, messages, usage))
    except OpenAIError as error:
        if isinstance(error, APIStatusError) and error.status_code in REFUSALS:
            return Reply(None, (f"the endpoint answered with status {error.status_code}: no verdict",))
        # what the endpoint says of a wrong key may quote it
        raise JudgeError(_told(endpoint, error)) from None
    return Reply(verdict, (SECOND_TRY,) if verdict is not None else (NO_VERDICT,))


async def _completed(
    client: AsyncOpenAI, endpoint: Endpoint, messages: list[ChatCompletionMessageParam], usage: Counter[str]
) -> str:
    from openai.types.chat import ChatCompletion

    usage["calls"] += 1
    options: dict[str, Any] = {"temperature": endpoint.temperature, "max_tokens": endpoint.max_tokens}
    try:
        completion: object = await client.chat.completions.create(
            model=endpoint.model,
            messages=messages,
            **{name: value for name, value in options.items() if value is not None},
        )
    except ValueError:  # no JSON: a web page, say
        completion = None
    if not isinstance(completion, ChatCompletion):
        raise JudgeError(f"the judge {endpoint.model} answers with no chat completion; check the address (--url)")
    if completion.usage is not None:
        usage["input tokens"] += completion.usage.prompt_tokens or 0
        usage["output tokens"] += completion.usage.completion_tokens or 0
    return (completion.choices[0].message.content or "") if completion.choices else ""


def _told(endpoint: Endpoint, error: OpenAIError) -> str:
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIConnectionError):
        what = "does not answer: check the address (--url) and that it runs"
    elif isinstance(error, APIStatusError):
        hints = {401: "the key is not accepted", 403: "the key may not use this model", 404: "no such model or address"}
        what = f"answered with status {error.status_code}: {hints.get(error.status_code, 'it failed again and again')}"
    else:
        what = f"failed ({type(error).__name__})"
    return f"the judge {endpoint.model} {what}; what is judged is kept, run the same command again to go on"


Judge = Callable[["AsyncOpenAI", Answers], Awaitable[JudgedPrompt]]


def judged_at_once(prompts: Iterable[Answers], judge: Judge, endpoint: Endpoint, *, at_once: int) -> Judging:
    """Judge several prompts at a time.

    The event loop runs in a thread of its own, so that this works in a notebook too, where one runs already.

    Args:
        prompts: Each with its answers; taken as they are needed.
        judge: Asks for all that one prompt needs, one call after the other.
        endpoint: Where.
        at_once: How many prompts, ≥ 1.

    Yields:
        Each prompt as soon as it is judged.

    Raises:
        JudgeError: The judge cannot be asked at all, or has no verdict on many prompts in succession; what was judged
            before has been yielded.
    """
    in_vain = 0
    with contextlib.closing(_in_background(prompts, judge, endpoint, at_once)) as results:
        for result in results:
            yield result
            if result.usage.get("calls"):
                in_vain = in_vain + 1 if all(quality.value is None for quality in result.qualities) else 0
            if in_vain == STOP_AFTER:
                notes = dict.fromkeys(note for quality in result.qualities for note in quality.notes)
                raise JudgeError(
                    f"the judge {endpoint.model} gave no verdict on {STOP_AFTER} prompts in succession; the last: "
                    f"{', '.join(notes)}. Try another judge; what is judged is kept"
                )


def _in_background(prompts: Iterable[Answers], judge: Judge, endpoint: Endpoint, at_once: int) -> Judging:
    done: queue.SimpleQueue[JudgedPrompt | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_all_judged(iter(prompts), judge, endpoint, at_once, done.put))

    def run() -> None:
        try:
            loop.run_until_complete(task)
            done.put(None)
        except BaseException as error:
            done.put(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=run, name="judge", daemon=True)
    thread.start()
    try:
        while (result := done.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


async def _all_judged(
    waiting: Iterator[Answers], judge: Judge, endpoint: Endpoint, at_once: int, done: Callable[[JudgedPrompt], None]
) -> None:
    async def work(client: AsyncOpenAI) -> None:
        for prompt in waiting:
            done(await judge(client, prompt))

    async with endpoint.client() as client:
        workers = [asyncio.ensure_future(work(client)) for _ in range(at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
