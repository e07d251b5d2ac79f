"""``hybrid-llm collect`` against an endpoint on the loopback interface: killed, stopped, refused, finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")
pytest.importorskip("openai")

from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.labeling.journal import Journal
from shared_router.tables.outcomes import labeled_prompts, read_outcomes

runner = CliRunner()
KEY = "sk-very-secret-0123456789"
ENVIRONMENT = {"COLUMNS": "200", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": None}
COMMAND = [sys.executable, "-c", "from shared_router.cli import main; main()", "collect"]


def prompts(folder: Path, count: int) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"question {i}", "reference": i, "topic": "x"}) + "\n" for i in range(count))
    )
    return path


def arguments(file: Path, url: str, **options: Any) -> list[str]:
    given = {
        "small": "s",
        "large": "l",
        "small_url": url,
        "large_url": url,
        "out": file.with_name("o.jsonl"),
        "seed": 0,
    }
    given |= options
    return [str(file), *(f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None)]


def run(*given: str) -> Any:
    return runner.invoke(app, ["collect", *given], env=ENVIRONMENT)


def started(given: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, **{name: value for name, value in ENVIRONMENT.items() if value}}
    return subprocess.Popen(
        [*COMMAND, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 30
    while not condition() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def asked_keys(server: Any) -> Counter[tuple[str, str, int]]:
    return Counter((body["messages"][0]["content"], body["model"], body["seed"]) for body in server.asked)


def recorded_keys(path: Path) -> list[tuple[str, str, int]]:
    return [(row.prompt, row.model, row.sample) for row in read_outcomes(path).rows]


def test_from_prompts_to_outcomes(tmp_path: Path, chat_server: Any) -> None:
    given = arguments(prompts(tmp_path, 3), chat_server.url, small_price="1,2", large_price="10,20", max_tokens=99)
    result = run(*given)
    assert result.exit_code == 0, result.output
    for said in ("3 prompts, read as rows", "30/30", "300", "150", "0.0006", "0.0060", "Next: hybrid-llm label"):
        assert said in result.output
    outcomes = read_outcomes(tmp_path / "o.jsonl").rows
    assert len(outcomes) == len({row.key for row in outcomes}) == 60
    row = next(row for row in outcomes if (row.prompt, row.target, row.sample) == ("question 1", "large", 4))
    assert (row.response, row.reference, dict(row.columns)) == ("l to question 1 #4", 1, {"topic": "x"})
    assert {body["max_tokens"] for body in chat_server.asked} == {99}
    assert {body["temperature"] for body in chat_server.asked} == {1.0}
    assert set(chat_server.keys) == {KEY}
    assert KEY not in result.output + (tmp_path / "o.jsonl").read_text()
    # nothing is judged yet
    assert len(labeled_prompts(outcomes)[1]) == 3
    again = run(*given)
    assert (again.exit_code, len(chat_server.asked)) == (0, 60)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_point_it_neither_loses_nor_repeats_a_recorded_call(tmp_path: Path, chat_server: Any) -> None:
    chat_server.latency = 0.03
    concurrency, kills = 4, 3
    given = arguments(prompts(tmp_path, 15), chat_server.url, samples=5, concurrency=concurrency)
    path = tmp_path / "o.jsonl"
    wanted = 15 * 5 * 2
    known: set[tuple[str, str, int]] = set()
    for kill in range(kills):
        before = asked_keys(chat_server)
        enough = len(known) + 20 + 7 * kill
        process = started(given)
        until(lambda enough=enough: lines(path) >= enough, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        keys = recorded_keys(path)
        assert known <= set(keys)
        assert not known & set(asked_keys(chat_server) - before)
        if kill == 1:
            # what a machine that dies with it may leave
            path.write_bytes(path.read_bytes()[:-7])
            keys.pop()
        known = set(keys)
    process = started(given)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "75/75" in out
    keys = recorded_keys(path)
    assert len(keys) == len(set(keys)) == wanted
    assert known < set(keys) == set(asked_keys(chat_server))
    # only what was under way at a kill, and the torn line, was asked again
    assert wanted <= len(chat_server.asked) <= wanted + kills * 2 * concurrency + 1
    for row in read_outcomes(path).rows:
        assert row.response == f"{row.model} to {row.prompt} #{row.sample}"


def when(condition: Callable[[], bool], *numbers: int) -> threading.Thread:
    """A thread that sends this process signals once a condition holds, one every 0.3 s."""

    def send() -> None:
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            time.sleep(0.002)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_signal_stops_it_cleanly_and_says_how_to_go_on(tmp_path: Path, chat_server: Any) -> None:
    chat_server.latency = 0.05
    path = tmp_path / "o.jsonl"
    thread = when(lambda: lines(path) >= 20, signal.SIGINT)
    result = run(*arguments(prompts(tmp_path, 20), chat_server.url))
    thread.join()
    assert result.exit_code == 1
    assert "Stopped: it was interrupted." in result.output
    assert "the same command asks them" in result.output
    # the calls under way were waited for
    assert len(recorded_keys(path)) == len(chat_server.asked) < 400


def test_a_second_signal_leaves_the_calls_under_way(tmp_path: Path, chat_server: Any) -> None:
    def slow_later(body: dict[str, Any], before: int) -> None:
        chat_server.latency = 5.0 if before >= 20 else 0.0

    chat_server.replies = slow_later
    thread = when(lambda: chat_server.at_once == 16, signal.SIGINT, signal.SIGINT)
    start = time.monotonic()
    result = run(*arguments(prompts(tmp_path, 20), chat_server.url))
    thread.join()
    assert result.exit_code == 130
    assert "Left. What is recorded is in" in result.output
    assert time.monotonic() - start < 5
    assert len(recorded_keys(tmp_path / "o.jsonl")) < len(chat_server.asked)


def test_two_collectors_on_one_file(tmp_path: Path, chat_server: Any) -> None:
    with Journal(tmp_path / "o.jsonl"):
        result = run(*arguments(prompts(tmp_path, 20), chat_server.url))
    assert result.exit_code == 1
    assert "another collector is writing" in result.output
    assert not chat_server.asked


def test_a_wrong_key_fails_at_once_and_is_not_shown(tmp_path: Path, chat_server: Any) -> None:
    chat_server.replies = lambda body, before: (401, {}, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    result = run(*arguments(prompts(tmp_path, 20), chat_server.url))
    assert result.exit_code == 1
    assert "cannot be asked: the endpoint does not accept the key (HTTP 401)" in result.output
    assert "400 calls are missing" in result.output
    assert KEY not in result.output
    assert len(chat_server.asked) <= 2
    assert lines(tmp_path / "o.jsonl") == 0


def test_a_limit_that_was_hit_is_waited_for(tmp_path: Path, chat_server: Any) -> None:
    times: list[float] = []

    def replies(body: dict[str, Any], before: int) -> Any:
        times.append(time.monotonic())
        return (429, {"Retry-After": "1"}, {"error": {"message": "slow down"}}) if before == 0 else None

    chat_server.replies = replies
    given = arguments(prompts(tmp_path, 2), chat_server.url, samples=1, concurrency=1, large=None)
    result = run(*given, "--large=l", "--requests-per-minute=6000,6000")
    assert result.exit_code == 0, result.output
    assert len(chat_server.asked) == 5
    assert max(times) - min(times) >= 1.0


def test_money_that_is_spent_stops_it_and_more_of_it_goes_on(tmp_path: Path, chat_server: Any) -> None:
    options = {"small_price": "100,200", "large_price": "1000,2000", "samples": 2, "max_tokens": 5}
    file = prompts(tmp_path, 10)
    result = run(*arguments(file, chat_server.url, **options, max_cost=0.2))
    assert result.exit_code == 1
    assert "could exceed max_cost_usd" in result.output
    assert "with a higher --max-cost" in result.output
    spent = sum(row.cost_usd for row in read_outcomes(tmp_path / "o.jsonl").rows)
    assert 0.1 < spent <= 0.2
    assert run(*arguments(file, chat_server.url, **options, max_cost=50)).exit_code == 0
    assert set(asked_keys(chat_server).values()) == {1}


def test_models_in_ones_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cli_own_models.py").write_text(
        "def small(text):\n    return text.upper()\n\ndef large(text):\n    return text * 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    given = arguments(prompts(tmp_path, 2), "", small_url=None, large_url=None, seed=None, samples=2)
    code = ["--small=cli_own_models:small", "--large=./cli_own_models.py:large"]
    result = run(*given, *code)
    assert result.exit_code == 0, result.output
    assert "unknown" in result.output
    said = {(row.target, row.response) for row in read_outcomes(tmp_path / "o.jsonl").rows}
    assert ("small", "QUESTION 0") in said
    assert ("large", "question 1question 1") in said
    result = run(*given, *code, "--temperature=0")
    assert "set them in your own code" in result.output


def test_failed_calls_are_grouped_and_the_exit_code_says_that_something_is_missing(
    tmp_path: Path, chat_server: Any
) -> None:
    def replies(body: dict[str, Any], before: int) -> Any:
        bad = body["messages"][0]["content"] == "question 1"
        return (400, {}, {"error": {"message": "too [bold]long"}}) if bad else None

    chat_server.replies = replies
    result = run(*arguments(prompts(tmp_path, 3), chat_server.url, samples=2))
    assert result.exit_code == 1
    assert "2 calls failed, small: BadRequestError" in result.output
    assert "too [bold]long" in result.output
    assert "4 calls are missing" in result.output


def test_what_was_read_is_told(tmp_path: Path, chat_server: Any) -> None:
    rows = [{"run_type": "llm", "inputs": {"messages": [{"role": "user", "content": "a"}]}}] * 2
    (tmp_path / "p.json").write_text(json.dumps([*rows, {"run_type": "tool", "inputs": {"input": "b"}}, 5]))
    result = run(*arguments(tmp_path / "p.json", chat_server.url, samples=2, temperature=0), "--skip-bad")
    assert result.exit_code == 0, result.output
    for said in (
        "1 prompts, read as langsmith",
        "1 rows repeat an earlier prompt",
        "1 rows are no call to a model",
        "item 4: a row is a JSON object",
        "At temperature 0 all samples are alike",
    ):
        assert said in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"small_price": "1"}, "a price is USD per million tokens"),
        ({"small_price": "1,-1"}, "a price is USD per million tokens"),
        ({"small_price": "1,nan"}, "a price is USD per million tokens"),
        ({"requests_per_minute": "0"}, "--requests-per-minute is one number above 0, or two"),
        ({"tokens_per_minute": "1,2,3"}, "--tokens-per-minute is one number above 0, or two"),
        ({"max_cost": 1}, "max_cost_usd needs the price of the small and the large model"),
        ({"small_key_env": "NO_SUCH_KEY"}, "the environment variable NO_SUCH_KEY is not set"),
        ({"samples": 0}, "samples is at least 1"),
        ({"format": "xml"}, "format is auto or one of rows, langsmith"),
        ({"out": "o.csv"}, "outcomes are collected in .jsonl"),
        ({"small": "no_such_code:model", "small_url": None}, "there is no module no_such_code here"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(
    tmp_path: Path, chat_server: Any, options: dict[str, Any], said: str
) -> None:
    result = run(*arguments(prompts(tmp_path, 1), chat_server.url, **options))
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output
    assert not chat_server.asked


def test_help_teaches_with_examples() -> None:
    output = runner.invoke(app, ["collect", "--help"]).output
    assert "hybrid-llm collect prompts.jsonl --small gpt-4.1-nano --large gpt-4.1 --out outcomes.jsonl" in output
