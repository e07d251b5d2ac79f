"""Prompts → answers of both models: what is asked, recorded, gone on with, given up and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from shared_router.errors import HybridError, OutcomeError
from shared_router.labeling import collecting
from shared_router.labeling.collect_report import CollectReport, Progress
from shared_router.labeling.collecting import acollect, collect
from shared_router.labeling.respondents import Answer, FunctionRespondent, Price, RespondentError
from shared_router.tables.outcomes import read_outcomes
from shared_router.tables.prompts import Prompt


class Model:
    """Answers at once, with 10 tokens in and 5 out, unless ``script`` raises or says otherwise."""

    def __init__(
        self,
        name: str,
        script: Callable[[str, int, int], Answer | None] = lambda text, sample, before: None,
        *,
        price: Price | None = None,
        seconds: float = 0.0,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings or {}
        self.price = price
        self.script = script
        self.seconds = seconds
        self.asked: Counter[tuple[str, int]] = Counter()
        self.at_once = self.most_at_once = 0
        self.closed = 0

    async def answer(self, messages: Any, *, sample: int = 0) -> Answer:
        text = messages[-1]["content"]
        before = self.asked[text, sample]
        self.asked[text, sample] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            scripted = self.script(text, sample, before)
        finally:
            self.at_once -= 1
        cost = self.price.of(10, 5) if self.price else None
        return scripted or Answer(f"{self.name}: {text} #{sample}", 10, 5, cost, 0.01, f"{self.name}-v1")

    async def aclose(self) -> None:
        self.closed += 1


def prompts(count: int, **fields: Any) -> list[Prompt]:
    messages = [({"role": "user", "content": f"q{i}"},) for i in range(count)]
    return [Prompt(f"p{i}", f"q{i}", messages[i], **fields) for i in range(count)]


def keys(path: Path) -> list[tuple[str, str, int]]:
    return sorted(row.key for row in read_outcomes(path).rows)


def raising(error: Callable[[], Exception], *, times: int = 10**9, only: str = "q") -> Callable[..., None]:
    def script(text: str, sample: int, before: int) -> None:
        if before < times and text.startswith(only):
            raise error()

    return script


def failing(status: int, headers: dict[str, str] | None = None) -> Callable[[], Exception]:
    def error() -> Exception:
        made = RespondentError(f"status {status}", status)
        made.response = type("Response", (), {"status_code": status, "headers": headers or {}})()
        return made

    return error


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "pause_before_retry", lambda attempt: 0.001)


# -- what is asked and recorded


def test_each_model_is_asked_each_prompt_as_often_as_wanted(tmp_path: Path) -> None:
    small, large = Model("s", price=Price(1, 2)), Model("l", price=Price(100, 200))
    seen: list[Progress] = []
    report = collect(
        prompts(4, reference="r", columns={"group": 1}), small, large, tmp_path / "o.jsonl", advance=seen.append
    )
    expected = [(f"p{i}", target, j) for i in range(4) for target in ("large", "small") for j in range(10)]
    assert keys(tmp_path / "o.jsonl") == sorted(expected)
    assert set(small.asked.values()) == {1}
    row = next(row for row in read_outcomes(tmp_path / "o.jsonl").rows if row.key == ("p2", "large", 7))
    assert (row.prompt, row.response, row.model, row.reference) == ("q2", "l: q2 #7", "l", "r")
    assert (row.input_tokens, row.output_tokens, row.cost_usd, row.seconds) == (10, 5, 0.002, 0.01)
    assert (row.quality, dict(row.columns)) == (None, {"group": 1})
    assert (report.missing, report.stopped, report.failures, report.others) == (0, "", (), 0)
    assert (report.large.recorded, report.large.new, report.large.wanted) == (40, 40, 40)
    assert (report.large.input_tokens, report.large.output_tokens) == (400, 200)
    assert report.large.cost_usd == pytest.approx(40 * 0.002)
    assert report.large.served == ("l-v1",)
    assert [one.done for one in seen] == list(range(81))
    assert (seen[-1].total, seen[-1].failed, seen[-1].stopping) == (80, 0, False)
    assert seen[-1].cost_usd == pytest.approx(report.small.cost_usd + report.large.cost_usd)
    assert (small.closed, large.closed) == (1, 1)


def test_calls_go_out_together_but_not_more_than_are_allowed(tmp_path: Path) -> None:
    small, large = Model("s", seconds=0.01), Model("l", seconds=0.01)
    collect(prompts(5), small, large, tmp_path / "o.jsonl", samples=4, concurrency=3)
    assert (small.most_at_once, large.most_at_once) == (3, 3)


def test_functions_that_block_are_asked_together(tmp_path: Path) -> None:
    barrier = threading.Barrier(4, timeout=10)

    def slow(text: str) -> str:
        if text != "q0":
            barrier.wait()
        return text

    report = collect(prompts(5), FunctionRespondent(slow), Model("l"), tmp_path / "o.jsonl", samples=1, concurrency=4)
    assert report.missing == 0
    assert report.small.unpriced == 5


def test_a_row_says_what_was_asked_and_by_which_settings(tmp_path: Path) -> None:
    small = Model("s", settings={"temperature": 0.5})
    collect(prompts(1), small, Model("l"), tmp_path / "o.jsonl", samples=1)
    rows = {row["target"]: row for row in map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())}
    assert rows["small"]["asked"]["settings"] == {"temperature": 0.5}
    assert rows["small"]["asked"]["model"] == "s-v1"
    assert rows["small"]["asked"]["messages"] == rows["large"]["asked"]["messages"]


def test_cut_and_empty_answers_are_counted(tmp_path: Path) -> None:
    def script(text: str, sample: int, before: int) -> Answer | None:
        return Answer(" ", 1, 9, None, 0.0, f"v{sample}", cut=True) if text == "q0" else None

    report = collect(prompts(2), Model("s", script), Model("l"), tmp_path / "o.jsonl", samples=2)
    assert (report.small.cut, report.small.empty, report.large.empty) == (2, 2, 0)
    assert sorted(report.small.served) == ["s-v1", "v0", "v1"]


def test_inside_an_event_loop_it_is_awaited(tmp_path: Path) -> None:
    async def run() -> CollectReport:
        with pytest.raises(HybridError, match="await acollect"):
            collect(prompts(1), Model("s"), Model("l"), tmp_path / "o.jsonl")
        return await acollect(prompts(1), Model("s"), Model("l"), tmp_path / "o.jsonl", samples=1)

    assert asyncio.run(run()).missing == 0


# -- going on


def test_nothing_recorded_is_asked_again_and_more_samples_and_prompts_extend(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    collect(prompts(3), Model("s"), Model("l"), path, samples=2)
    first = path.read_bytes()
    small, large = Model("s"), Model("l")
    report = collect(prompts(3), small, large, path, samples=2)
    assert (small.asked, path.read_bytes(), report.small.new, report.small.recorded) == (Counter(), first, 0, 6)
    report = collect(prompts(4), small, large, path, samples=3)
    assert path.read_bytes().startswith(first)
    assert sorted(small.asked) == [("q0", 2), ("q1", 2), ("q2", 2), ("q3", 0), ("q3", 1), ("q3", 2)]
    assert (report.small.recorded, report.small.new, report.missing) == (12, 6, 0)
    report = collect(prompts(2), small, large, path, samples=1)
    assert (report.small.wanted, report.small.recorded, report.others) == (2, 2, 20)


def test_a_torn_line_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    collect(prompts(3), Model("s"), Model("l"), path, samples=1)
    path.write_bytes(path.read_bytes()[:-10])
    small, large = Model("s"), Model("l")
    report = collect(prompts(3), small, large, path, samples=1)
    assert sum((small.asked + large.asked).values()) == 1
    assert report.cut > 0
    assert len(set(keys(path))) == len(keys(path)) == 6


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"small": Model("other")}, "answers of the small model 's', not of 'other'; choose another file"),
        ({"small": Model("s", settings={"temperature": 0.5})}, "drawn with temperature 1.0, not with temperature 0.5"),
        ({"prompts": [Prompt("p0", "q0 changed", ({"role": "user", "content": "q0 changed"},))]}, "another prompt"),
        ({"prompts": [Prompt("p0", "q0", ({"role": "system", "content": ""},))]}, "another prompt"),
        ({"prompts": [Prompt("p0", "q0", ({"role": "user", "content": "q0"},), "r")]}, "another reference.*'p0'"),
    ],
)
def test_what_would_not_be_comparable_is_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    path = tmp_path / "o.jsonl"
    given = {"prompts": prompts(2), "small": Model("s", settings={"temperature": 1.0}), "large": Model("l")}
    collect(*given.values(), path, samples=1)
    before = path.read_bytes()
    with pytest.raises(OutcomeError, match=what):
        collect(*(given | change).values(), path, samples=1)
    assert path.read_bytes() == before


def test_references_of_any_kind_are_the_same_when_they_come_back(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    asked = prompts(1, reference=("a", {"b": (1, None)}))
    for _ in range(2):
        report = collect(asked, Model("s"), Model("l"), path, samples=1)
    assert report.missing == 0


# -- what goes wrong


@pytest.mark.parametrize("error", [failing(429), failing(500), TimeoutError, ConnectionResetError])
def test_errors_that_may_pass_are_asked_again(tmp_path: Path, error: Callable[[], Exception]) -> None:
    small = Model("s", raising(error, times=2))
    report = collect(prompts(2), small, Model("l"), tmp_path / "o.jsonl", samples=2, concurrency=1)
    assert (report.missing, report.failures, report.small.retries) == (0, (), 8)
    assert set(small.asked.values()) == {3}


def test_after_the_last_attempt_a_call_is_given_up_and_the_next_run_asks_it(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    small = Model("s", raising(failing(503), only="q1"))
    report = collect(prompts(3), small, Model("l"), path, samples=1, retries=2)
    assert (small.asked["q1", 0], report.small.failed, report.missing, report.stopped) == (3, 1, 1, "")
    (failure,) = report.failures
    assert (failure.id, failure.target, failure.sample) == ("p1", "small", 0)
    assert "status 503" in failure.message
    assert collect(prompts(3), Model("s"), Model("l"), path, samples=1).missing == 0


def test_an_error_of_one_prompt_is_not_asked_again_and_stops_nothing(tmp_path: Path) -> None:
    small = Model("s", raising(failing(400), only="q1"))
    report = collect(prompts(5), small, Model("l"), tmp_path / "o.jsonl", samples=3)
    assert (report.missing, report.small.failed, report.small.retries, report.stopped) == (3, 3, 0, "")
    assert report.small.recorded == 12


def test_many_failures_in_a_row_end_the_run(tmp_path: Path) -> None:
    small = Model("s", raising(failing(400)))
    report = collect(prompts(50), small, Model("l", seconds=0.01), tmp_path / "o.jsonl", stop_after=5, concurrency=2)
    assert "5 calls to the small model (s) failed in a row, the last: RespondentError: status 400" in report.stopped
    assert sum(small.asked.values()) == 5
    assert not report.interrupted


def test_failures_between_answers_end_nothing(tmp_path: Path) -> None:
    def script(text: str, sample: int, before: int) -> None:
        if sample % 2:
            raise RespondentError("odd", 400)

    report = collect(prompts(6), Model("s", script), Model("l"), tmp_path / "o.jsonl", stop_after=3, concurrency=1)
    assert (report.stopped, report.small.failed) == ("", 30)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_key_or_a_name_that_is_not_accepted_ends_the_run_at_once(tmp_path: Path, status: int) -> None:
    large = Model("l", raising(failing(status)))
    report = collect(prompts(50), Model("s", seconds=0.01), large, tmp_path / "o.jsonl", concurrency=2)
    assert "the large model (l) cannot be asked" in report.stopped
    assert str(status) in report.stopped
    assert sum(large.asked.values()) == 1


def test_after_an_answer_a_403_is_one_prompts_error(tmp_path: Path) -> None:
    small = Model("s", raising(failing(403), only="q1"))
    report = collect(prompts(3), small, Model("l"), tmp_path / "o.jsonl", samples=1, concurrency=1)
    assert (report.missing, report.stopped) == (1, "")


def test_an_endpoint_that_never_answers_is_given_up_soon(tmp_path: Path) -> None:
    small = Model("s", raising(ConnectionRefusedError))
    report = collect(prompts(9), small, Model("l", seconds=0.01), tmp_path / "o.jsonl", concurrency=1)
    assert "the small model (s) cannot be asked: ConnectionRefusedError" in report.stopped
    assert sum(small.asked.values()) == 3


def test_a_call_that_takes_too_long_is_asked_again(tmp_path: Path) -> None:
    model = Model("s")

    async def answer(messages: Any, *, sample: int = 0) -> Answer:
        model.asked["all", 0] += 1
        if model.asked["all", 0] == 1:
            await asyncio.sleep(60)
        return Answer("late", 1, 1, None, 0.0, "s")

    model.answer = answer
    report = collect(prompts(1), model, Model("l"), tmp_path / "o.jsonl", samples=1, timeout_seconds=0.05)
    assert (report.missing, report.small.retries) == (0, 1)
    model.asked.clear()
    report = collect(prompts(1), model, Model("l"), tmp_path / "p.jsonl", samples=1, timeout_seconds=0.05, retries=0)
    assert report.failures[0].message == "no answer within 0.05 s"


def test_a_disk_that_is_full_ends_the_run_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, count = os.write, iter(range(100))

    def full(file: int, data: bytes) -> int:
        return write(file, data if not data.startswith(b'{"id"') or next(count) < 5 else data[:9])

    monkeypatch.setattr(os, "write", full)
    small = Model("s")
    with pytest.raises(OutcomeError, match="the disk is full"):
        collect(prompts(9), small, Model("l"), tmp_path / "o.jsonl")
    monkeypatch.undo()
    assert len(keys(tmp_path / "o.jsonl")) == 5
    assert small.closed == 1


# -- limits


def test_a_rate_limit_holds_for_each_model_and_counts_retries(tmp_path: Path) -> None:
    times: dict[str, list[float]] = {"s": [], "l": []}

    class Timed(Model):
        async def answer(self, messages: Any, *, sample: int = 0) -> Answer:
            times[self.name].append(asyncio.get_running_loop().time())
            return await super().answer(messages, sample=sample)

    small = Timed("s", raising(failing(500), times=1, only="q0"))
    limits = {"small": 1200, "large": 6000}
    collect(prompts(5), small, Timed("l"), tmp_path / "o.jsonl", samples=2, requests_per_minute=limits)
    assert len(times["s"]) == 12
    # the loop's clock may round a little below the time that was waited for
    assert times["s"][-1] - times["s"][0] >= 11 * 0.05 - 0.02
    assert 9 * 0.01 - 0.02 <= times["l"][-1] - times["l"][0] < 2


def test_a_limit_of_tokens_is_kept_by_what_calls_really_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "EXPECTED_OUTPUT_TOKENS", 5)
    loop_time: list[float] = []

    def script(text: str, sample: int, before: int) -> None:
        loop_time.append(asyncio.get_running_loop().time())

    # 15 tokens a call where some 9 are expected, at 300 a second
    settings = {"samples": 1, "concurrency": 1, "tokens_per_minute": 18_000}
    collect(prompts(10), Model("s", script), Model("l"), tmp_path / "o.jsonl", **settings)
    assert loop_time[-1] - loop_time[0] >= 9 * 15 / 300 - 0.02


def test_a_429_holds_back_all_calls_of_that_model(tmp_path: Path) -> None:
    times: list[float] = []

    def script(text: str, sample: int, before: int) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise failing(429, {"retry-after": "0.3"})()

    large = Model("l")
    report = collect(prompts(20), Model("s", script), large, tmp_path / "o.jsonl", samples=1, concurrency=1)
    assert (report.missing, report.small.retries) == (0, 1)
    assert times[1] - times[0] >= 0.29


def test_before_the_first_answer_a_call_is_feared_to_be_dear(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    price = Price(1000, 2000)  # 0.02 a call

    def run(limit: float) -> CollectReport:
        return collect(
            prompts(10), Model("s", price=price), Model("l", price=price), path, samples=2, max_cost_usd=limit
        )

    # a dollar a call is what is feared before the first answer
    assert "could exceed max_cost_usd" in run(0.9).stopped
    assert not keys(path)
    report = run(3.0)
    assert "could exceed max_cost_usd" not in report.stopped
    first = report.small.recorded + report.large.recorded
    assert (first, report.missing) == (40, 0)
    assert report.small.cost_usd + report.large.cost_usd == pytest.approx(0.8)


@pytest.mark.parametrize("limit", [0.1, 0.31, 0.5])
def test_no_budget_is_ever_exceeded_by_calls_that_cost_alike(
    tmp_path: Path, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "EXPECTED_OUTPUT_TOKENS", 5)
    models = Model("s", price=Price(1000, 2000), seconds=0.002), Model("l", price=Price(1000, 2000), seconds=0.001)
    path = tmp_path / "o.jsonl"

    def run(limit: float) -> CollectReport:
        return collect(prompts(10), *models, path, samples=2, max_cost_usd=limit)

    report = run(limit)
    assert "could exceed max_cost_usd" in report.stopped
    spent = report.small.cost_usd + report.large.cost_usd
    assert limit - 0.02 < spent + 1e-9 <= limit + 1e-9
    # the limit is on the file, not on the run
    assert run(limit).small.new + run(limit).large.new == 0
    assert run(100).missing == 0
    assert set((models[0].asked + models[1].asked).values()) == {2}


def test_a_budget_needs_prices_and_tokens(tmp_path: Path) -> None:
    with pytest.raises(HybridError, match=r"needs the price of the small and the large model: --small-price IN,OUT"):
        collect(prompts(1), Model("s"), Model("l"), tmp_path / "o.jsonl", max_cost_usd=1)
    silent = FunctionRespondent(lambda text: text, price=Price(1, 1))
    report = collect(prompts(9), silent, Model("l", price=Price(1, 1)), tmp_path / "o.jsonl", max_cost_usd=1)
    assert "the small model does not tell its tokens" in report.stopped
    assert report.missing > 0


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"samples": 0}, "samples is at least 1, got 0"),
        ({"concurrency": 0}, "concurrency is at least 1"),
        ({"retries": -1}, "retries is at least 0"),
        ({"stop_after": 0}, "stop_after is at least 1"),
        ({"timeout_seconds": 0}, "timeout_seconds is at least"),
        ({"max_cost_usd": 0}, "max_cost_usd is above 0"),
        ({"requests_per_minute": 0}, "a rate limit is above 0"),
        ({"tokens_per_minute": {"large": -1}}, "a rate limit is above 0"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, settings: dict[str, Any], what: str) -> None:
    with pytest.raises(HybridError, match=what):
        collect(prompts(1), Model("s"), Model("l"), tmp_path / "o.jsonl", **settings)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ([], "no prompt to ask"),
        ([*prompts(1), *prompts(1)], "1 ids stand for more than one prompt, among them 'p0'"),
        (prompts(1, reference=float("nan")), "'p0' holds what JSON cannot"),
        (prompts(1, columns={"at": object()}), "'p0' holds what JSON cannot"),
    ],
)
def test_prompts_that_cannot_be_asked(tmp_path: Path, asked: Sequence[Prompt], what: str) -> None:
    small = Model("s")
    with pytest.raises(OutcomeError, match=what):
        collect(asked, small, Model("l"), tmp_path / "o.jsonl")
    assert not small.asked


# -- stopping


async def test_an_event_stops_the_run_after_the_calls_under_way(tmp_path: Path) -> None:
    stop = asyncio.Event()
    seen: list[Progress] = []

    def advance(now: Progress) -> None:
        seen.append(now)
        if now.done == 5:
            stop.set()

    small, large = Model("s", seconds=0.02), Model("l", seconds=0.02)
    report = await acollect(prompts(9), small, large, tmp_path / "o.jsonl", stop=stop, advance=advance, concurrency=2)
    assert (report.stopped, report.interrupted) == ("it was interrupted", True)
    # what was asked was waited for: nothing that was paid for is lost
    assert len(keys(tmp_path / "o.jsonl")) == sum(small.asked.values()) + sum(large.asked.values())
    assert any(one.stopping for one in seen)
    again = await acollect(prompts(9), small, large, tmp_path / "o.jsonl")
    assert again.missing == 0
    assert set(small.asked.values()) == {1}


async def test_stopping_waits_for_no_retry_and_no_rate_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "pause_before_retry", lambda attempt: 3600.0)
    stop = asyncio.Event()
    small, large = Model("s", raising(failing(500))), Model("l")
    asyncio.get_running_loop().call_later(0.1, stop.set)
    run = acollect(prompts(9), small, large, tmp_path / "o.jsonl", stop=stop, requests_per_minute={"large": 1})
    report = await asyncio.wait_for(run, 10)
    assert report.interrupted
    assert (report.failures, report.large.recorded) == ((), 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_cleanly_and_handlers_come_back(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)

    def advance(now: Progress) -> None:
        if now.done == 3 and not now.stopping:
            os.kill(os.getpid(), number)

    small, large = Model("s", seconds=0.01), Model("l", seconds=0.01)
    report = collect(prompts(9), small, large, tmp_path / "o.jsonl", advance=advance, stop_on_signals=True)
    assert report.interrupted
    assert len(keys(tmp_path / "o.jsonl")) == sum((small.asked + large.asked).values()) < 100
    assert signal.getsignal(number) is before


def test_the_second_signal_leaves_the_calls_under_way(tmp_path: Path) -> None:
    small, large = Model("s", seconds=3600), Model("l")

    def advance(now: Progress) -> None:
        if now.done == 3 or now.stopping:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        collect(prompts(9), small, large, tmp_path / "o.jsonl", advance=advance, stop_on_signals=True)
    assert len(keys(tmp_path / "o.jsonl")) >= 3
    assert collect(prompts(9), Model("s"), large, tmp_path / "o.jsonl").missing == 0
    assert set(large.asked.values()) <= {1, 2}
