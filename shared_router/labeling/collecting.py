"""Prompts → sampled answers of both models: the first step of the offline road.

Hybrid LLM draws 10 answers per model and prompt for its probabilistic labels (Ding et al., ICLR 2024, arXiv 2404.14618,
§3.2 and §4.1), and one for the deterministic label. Each answer is a row of a file of outcomes, written as soon as it
is there, so that a collection can be stopped or killed at any point and goes on where it was: what is recorded is never
asked again. What was under way at that moment is, for nobody has seen its answer; that is at most ``concurrency`` calls
of either model.

What goes on is checked against what is there: the same prompts under the same ids, the same models, the same settings.
More samples or more prompts extend a file, fewer leave it as it is.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import signal
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeAlias, TypeVar

from shared_router.errors import HybridError
from shared_router.labeling.call_failures import CallFailure, call_failure
from shared_router.labeling.collect_checks import check_continues, check_prices, check_settings
from shared_router.labeling.collect_report import CollectReport, FailedCall, ModelReport, Progress
from shared_router.labeling.journal import Journal
from shared_router.labeling.pacing import Budget, Pace, pause_before_retry
from shared_router.labeling.respondents import Answer, Respondent
from shared_router.records import JSON, TARGETS, Target
from shared_router.tables.chat_messages import turns_of
from shared_router.tables.outcomes import Outcome
from shared_router.tables.prompts import Prompt, conversation_hash
from shared_router.token_estimate import TOKENS_PER_MESSAGE, estimated_tokens

__all__ = ["acollect", "collect"]

SAMPLES = 10
CONCURRENCY = 8
RETRIES = 6
TIMEOUT_SECONDS = 300.0
STOP_AFTER = 10

UNREACHED_ATTEMPTS = 3
"""Attempts after which an endpoint that never answered at all is given up: then its address is wrong, or it is down."""

EXPECTED_OUTPUT_TOKENS = 500
"""Of an answer, before the first one has come."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PerModel: TypeAlias = "float | Mapping[Target, float] | None"
"""A limit: for each of the two models, or by model."""


Advance: TypeAlias = Callable[[Progress], None]


async def acollect(
    prompts: Iterable[Prompt],
    small: Respondent,
    large: Respondent,
    out: str | Path,
    *,
    samples: int = SAMPLES,
    concurrency: int = CONCURRENCY,
    requests_per_minute: PerModel = None,
    tokens_per_minute: PerModel = None,
    max_cost_usd: float | None = None,
    retries: int = RETRIES,
    timeout_seconds: float = TIMEOUT_SECONDS,
    stop_after: int = STOP_AFTER,
    advance: Advance | None = None,
    stop: asyncio.Event | None = None,
    stop_on_signals: bool = False,
) -> CollectReport:
    """Ask both models each prompt several times, and record the answers; ``collect`` is the same without ``await``.

    Args:
        prompts: Of different ids.
        small: The small model.
        large: The large one.
        out: File of outcomes, ``.jsonl`` or ``.ndjson``; continued if it exists.
        samples: Answers per prompt and model; 10 as in the paper, 1 for the deterministic label.
        concurrency: Calls of either model under way at once, at most.
        requests_per_minute: Limit for each model, or one number by model; retries count.
        tokens_per_minute: Likewise; estimated before a call, and corrected by what it used.
        max_cost_usd: What the file may cost in all, earlier runs included. No call goes out that would exceed it if it
            costs what the dearest one of its model has cost so far.
        retries: Attempts beyond the first, for errors that may pass: HTTP 408, 409, 425, 429, 5xx, timeouts, broken
            connections. With exponential pauses, or those that the endpoint asks for.
        timeout_seconds: For one attempt.
        stop_after: Calls of one model given up in a row that end the run.
        advance: Told of each call that was recorded (its row is safe by then) or given up.
        stop: Ends the run when it is set, after the calls under way.
        stop_on_signals: Let the first SIGINT or SIGTERM set it, and the second leave the calls under way (cancelled;
            in ``collect`` a KeyboardInterrupt). Only in the main thread.

    Raises:
        OutcomeError: The file holds other outcomes than these would be, cannot be written, or another collector has it.
        HybridError: A setting that cannot be used.
    """
    asked = tuple(prompts)
    check_settings(
        asked,
        {
            "samples": (samples, 1),
            "concurrency": (concurrency, 1),
            "stop_after": (stop_after, 1),
            "retries": (retries, 0),
            "timeout_seconds": (timeout_seconds, 1e-3),
        },
        max_cost_usd,
    )
    models: dict[Target, Respondent] = {"small": small, "large": large}
    if max_cost_usd is not None:
        check_prices(models)
    stop = stop or asyncio.Event()
    with Journal(out) as journal, _signals(stop, active=stop_on_signals):
        check_continues(journal, asked, models)
        asking = {
            target: _Asking(model, Pace(_limit(requests_per_minute, target), _limit(tokens_per_minute, target)))
            for target, model in models.items()
        }
        budget = Budget(max_cost_usd, sum(row.outcome.cost_usd or 0.0 for row in journal.rows))
        rules = _Rules(retries, timeout_seconds, stop_after)
        collection = _Collection(asked, samples, journal, asking, rules, budget, advance, stop)
        try:
            await collection.run(concurrency)
        finally:
            for model in {id(model): model for model in models.values()}.values():
                await model.aclose()
        return collection.report()


def _blocking(function: Callable[Arguments, Coroutine[Any, Any, Result]]) -> Callable[Arguments, Result]:
    @functools.wraps(function)
    def blocking(*arguments: Arguments.args, **settings: Arguments.kwargs) -> Result:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise HybridError(f"an event loop is running here; use: await {function.__name__}(…)")
        try:
            return asyncio.run(function(*arguments, **settings))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    blocking.__name__ = blocking.__qualname__ = function.__name__.removeprefix("a")
    return blocking


collect = _blocking(acollect)
"""``acollect`` without ``await``, for where no event loop runs."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """When a call, or the run, is given up; the fields are arguments of ``acollect``."""

    retries: int
    timeout_seconds: float
    stop_after: int


@dataclass(slots=True)
class _Asking:
    """One model while it is asked, and what has come of it.

    Attributes:
        model: Who is asked.
        pace: When.
        first: Held by the call that is under way before the model has answered in this run.
        failed_in_a_row: Calls given up since the last answer.
        dearest: USD of the dearest recorded call.
        longest: Tokens of the longest recorded answer.

    The others are those of ``ModelReport``.
    """

    model: Respondent
    pace: Pace
    first: asyncio.Lock = field(default_factory=asyncio.Lock)
    recorded: int = 0
    new: int = 0
    failed: int = 0
    failed_in_a_row: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    cut: int = 0
    empty: int = 0
    dearest: float = 0.0
    longest: int = 0
    served: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: Outcome, served: JSON) -> None:
        self.recorded += 1
        self.input_tokens += outcome.input_tokens or 0
        self.output_tokens += outcome.output_tokens or 0
        self.longest = max(self.longest, outcome.output_tokens or 0)
        self.cost_usd += outcome.cost_usd or 0.0
        self.dearest = max(self.dearest, outcome.cost_usd or 0.0)
        self.unpriced += outcome.cost_usd is None
        self.empty += not outcome.response.strip()
        if isinstance(served, str):
            self.served[served] += 1

    def expected_tokens(self, prompt: Prompt) -> tuple[float, float]:
        """Of the prompt, and of the answer: as long as the mean so far, as it goes for a rate."""
        read = sum(estimated_tokens(turn.text) + TOKENS_PER_MESSAGE for turn in turns_of(prompt.messages))
        return read, self.output_tokens / self.recorded if self.output_tokens else EXPECTED_OUTPUT_TOKENS

    def expected_cost(self, prompt: Prompt) -> float:
        """As dear as the dearest call so far, as it goes for a limit."""
        if self.model.price is None:
            return self.dearest
        most = self.model.settings.get("max_tokens")
        longest = self.longest or (most if isinstance(most, int) else EXPECTED_OUTPUT_TOKENS)
        return max(self.dearest, self.model.price.of(self.expected_tokens(prompt)[0], longest) or 0.0)

    def report(self, wanted: int) -> ModelReport:
        return ModelReport(
            model=self.model.name,
            wanted=wanted,
            recorded=self.recorded,
            new=self.new,
            failed=self.failed,
            retries=self.retries,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_usd=self.cost_usd,
            unpriced=self.unpriced,
            cut=self.cut,
            empty=self.empty,
            served=tuple(self.served),
        )


Job: TypeAlias = "tuple[Prompt, int]"


class _Collection:
    """One run."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        samples: int,
        journal: Journal,
        asking: Mapping[Target, _Asking],
        rules: _Rules,
        budget: Budget,
        advance: Advance | None,
        stop: asyncio.Event,
    ) -> None:
        self._prompts = prompts
        self._samples = samples
        self._journal = journal
        self._asking = asking
        self._rules = rules
        self._budget = budget
        self._advance = advance
        self._stop = stop
        self._why = ""
        self._failures: list[FailedCall] = []
        wanted = {(prompt.id, sample) for prompt in prompts for sample in range(samples)}
        self._done: set[tuple[str, Target, int]] = set()
        for row in journal.rows:
            if (row.outcome.id, row.outcome.sample) in wanted:
                self._done.add(row.outcome.key)
                asking[row.outcome.target].count(row.outcome, row.asked.get("model"))

    async def run(self, concurrency: int) -> None:
        self._tell()
        workers = [
            asyncio.ensure_future(self._work(target, jobs))
            for target in TARGETS
            for jobs in [self._jobs(target)]
            for _ in range(concurrency)
        ]
        watcher = asyncio.ensure_future(self._tell_when_stopping())
        try:
            await asyncio.gather(*workers)
        finally:
            # one that raised, or a second signal, ends them all
            for task in (*workers, watcher):
                task.cancel()
            await asyncio.gather(*workers, watcher, return_exceptions=True)

    def report(self) -> CollectReport:
        wanted = len(self._prompts) * self._samples
        missing = sum(wanted - asking.recorded for asking in self._asking.values())
        interrupted = self._stop.is_set() and not self._why and missing > 0
        return CollectReport(
            out=self._journal.path,
            small=self._asking["small"].report(wanted),
            large=self._asking["large"].report(wanted),
            failures=tuple(self._failures),
            stopped="it was interrupted" if interrupted else self._why,
            interrupted=interrupted,
            cut=self._journal.cut,
            others=len(self._journal.rows) - sum(one.recorded - one.new for one in self._asking.values()),
        )

    def _jobs(self, target: Target) -> Iterator[Job]:
        # prompt by prompt: what a budget cuts short is then complete as far as it goes
        for prompt in self._prompts:
            for sample in range(self._samples):
                if (prompt.id, target, sample) not in self._done:
                    yield prompt, sample

    async def _work(self, target: Target, jobs: Iterator[Job]) -> None:
        for prompt, sample in jobs:
            if self._stop.is_set():
                return
            await self._call(target, prompt, sample)

    async def _call(self, target: Target, prompt: Prompt, sample: int) -> None:
        asking = self._asking[target]
        if not asking.new:
            # until a model has answered once, one call at a time: a wrong key or name then costs one request, and what
            # a call costs is known before many are under way
            async with asking.first:
                if not asking.new:
                    await self._ask(target, prompt, sample)
                    return
        await self._ask(target, prompt, sample)

    async def _ask(self, target: Target, prompt: Prompt, sample: int) -> None:
        asking = self._asking[target]
        reserved = await self._budget.reserve(lambda: asking.expected_cost(prompt))
        if reserved is None:
            self._end(f"the next call to the {target} model could exceed max_cost_usd")
            return
        cost = 0.0
        try:
            got = await self._answer(target, prompt, sample)
            if isinstance(got, Answer):
                cost = got.cost_usd or 0.0
                await self._record(target, prompt, sample, got)
            elif got is not None:
                self._give_up(target, prompt, sample, got)
        finally:
            await self._budget.settle(reserved, cost)
        self._tell()

    async def _answer(self, target: Target, prompt: Prompt, sample: int) -> Answer | CallFailure | None:
        """The answer, or why there is none; None where the run ended before it was asked for."""
        asking = self._asking[target]
        for attempt in itertools.count():
            expected = sum(asking.expected_tokens(prompt))
            if not await self._turn(asking.pace, expected):
                return None
            asking.retries += attempt > 0
            got = await self._attempt(asking.model, prompt, sample)
            if isinstance(got, Answer):
                asking.pace.settle((got.input_tokens or 0) + (got.output_tokens or 0) - expected)
                return got
            asking.pace.settle(-expected)
            failure = self._judged(asking, got, attempt)
            if failure.kind != "transient" or attempt == self._rules.retries:
                return failure
            pause = pause_before_retry(attempt) if failure.retry_after is None else failure.retry_after
            if failure.status == 429:
                asking.pace.hold(pause)
            if not await self._sleep(pause):
                return None
        return None

    async def _attempt(self, model: Respondent, prompt: Prompt, sample: int) -> Answer | CallFailure:
        try:
            return await asyncio.wait_for(model.answer(prompt.messages, sample=sample), self._rules.timeout_seconds)
        except asyncio.TimeoutError:
            return CallFailure("transient", f"no answer within {self._rules.timeout_seconds:g} s")
        except Exception as error:
            return call_failure(error)

    def _judged(self, asking: _Asking, failure: CallFailure, attempt: int) -> CallFailure:
        """A failure in the light of what went before: what never worked at all is not this prompt's fault."""
        if failure.status in (403, 404) and not asking.recorded:
            return replace(failure, kind="fatal")
        unreached = failure.status is None and failure.kind == "transient" and not asking.new
        return replace(failure, kind="fatal") if unreached and attempt + 1 >= UNREACHED_ATTEMPTS else failure

    async def _turn(self, pace: Pace, tokens: float) -> bool:
        """Wait for a place; whether the run still goes on then."""
        wait = pace.reserve(tokens)
        while wait > 0.0:
            if not await self._sleep(wait):
                return False
            # meanwhile another call may have been told to wait
            wait = pace.held()
        return not self._stop.is_set()

    async def _sleep(self, seconds: float) -> bool:
        """Wait; whether the run still goes on then."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except asyncio.TimeoutError:
            return True
        return False

    async def _record(self, target: Target, prompt: Prompt, sample: int, answer: Answer) -> None:
        asking = self._asking[target]
        outcome = Outcome(
            id=prompt.id,
            prompt=prompt.text,
            target=target,
            sample=sample,
            model=asking.model.name,
            response=answer.text,
            reference=prompt.reference,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cost_usd=answer.cost_usd,
            seconds=round(answer.seconds, 4),
            columns=prompt.columns,
        )
        self._journal.append(outcome, _as_asked(prompt, asking.model, answer.model))
        await self._journal.safe()
        asking.count(outcome, answer.model)
        asking.new += 1
        asking.cut += answer.cut
        asking.failed_in_a_row = 0
        if answer.cost_usd is None and self._budget.limit is not None:
            self._end(f"the {target} model does not tell its tokens, so that max_cost_usd cannot be kept")

    def _give_up(self, target: Target, prompt: Prompt, sample: int, failure: CallFailure) -> None:
        asking = self._asking[target]
        asking.failed += 1
        asking.failed_in_a_row += 1
        self._failures.append(FailedCall(prompt.id, target, sample, failure.message))
        name = f"the {target} model ({asking.model.name})"
        if failure.kind == "fatal":
            self._end(f"{name} cannot be asked: {failure.message}")
        elif asking.failed_in_a_row >= self._rules.stop_after:
            self._end(f"{asking.failed_in_a_row} calls to {name} failed in a row, the last: {failure.message}")

    def _end(self, why: str) -> None:
        if not self._stop.is_set():
            self._why = why
            self._stop.set()

    async def _tell_when_stopping(self) -> None:
        await self._stop.wait()
        self._tell()

    def _tell(self) -> None:
        if self._advance is None:
            return
        asking = self._asking.values()
        self._advance(
            Progress(
                done=sum(one.recorded for one in asking),
                total=2 * len(self._prompts) * self._samples,
                new=sum(one.new for one in asking),
                failed=sum(one.failed for one in asking),
                cost_usd=sum(one.cost_usd for one in asking),
                stopping=self._stop.is_set(),
            )
        )


def _as_asked(prompt: Prompt, model: Respondent, served: str) -> dict[str, JSON]:
    return {"messages": conversation_hash(prompt.messages), "settings": dict(model.settings), "model": served}


def _limit(limit: PerModel, target: Target) -> float | None:
    value = limit.get(target) if isinstance(limit, Mapping) else limit
    if value is not None and not value > 0:
        raise HybridError(f"a rate limit is above 0, got {value}")
    return value


@contextmanager
def _signals(stop: asyncio.Event, *, active: bool) -> Iterator[None]:
    """While this is open, the first signal sets ``stop`` and the second cancels the task that is running now."""
    task = asyncio.current_task()
    if not active or task is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def heard(number: int, frame: FrameType | None) -> None:
        # a signal comes at any point of the program, the loop takes it up at one of its own
        loop.call_soon_threadsafe(task.cancel if stop.is_set() else stop.set)

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
