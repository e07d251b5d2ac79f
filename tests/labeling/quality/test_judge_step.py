"""The whole step with a judge: interrupted, resumed, and from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("typer")

from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.errors import OutcomeError
from shared_router.labeling.judged import judge_outcomes
from shared_router.labeling.judgements import part_of
from shared_router.labeling.quality.judge_endpoint import Endpoint, JudgeError
from shared_router.labeling.quality.judges import PairwiseJudge, ScoreJudge

PROMPTS = 12


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    rows = [
        {"id": str(i), "prompt": f"prompt {i}", "target": target, "response": f"{target} {i}"}
        for i in range(PROMPTS)
        for target in ("small", "large")
    ]
    path = tmp_path / "outcomes.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def large_wins(server: Any) -> Any:
    return lambda body: f"Verdict: {'A' if 'large' in server.part(body, 'answer A') else 'B'}"


def test_an_interrupted_judge_goes_on_where_it_was(judge_server: Any, collected: Path, tmp_path: Path) -> None:
    measure = PairwiseJudge(Endpoint("judge", judge_server.url, retries=0), at_once=1)
    fair = large_wins(judge_server)
    judge_server.reply = lambda body: fair(body) if len(judge_server.requests) <= 10 else 401
    with pytest.raises(JudgeError, match="run the same command again to go on"):
        judge_outcomes(collected, measure, tmp_path / "l.jsonl")
    assert not (tmp_path / "l.jsonl").exists()
    assert not (tmp_path / "l.judged-judge.jsonl").exists()
    judge_server.reply = fair
    judge_server.requests.clear()
    report = judge_outcomes(collected, measure, tmp_path / "l.jsonl")
    # five prompts of two calls were judged before
    assert (report.judging.reused, report.judging.newly_judged) == (10, 2 * (PROMPTS - 5))
    assert len(judge_server.requests) == 2 * (PROMPTS - 5)
    assert report.judging.usage["calls"] == 2 * (PROMPTS - 5)
    assert report.mean_quality == {"small": 0.0, "large": 1.0}
    assert not part_of(report.judging.file).exists()
    judge_server.requests.clear()
    assert judge_outcomes(collected, measure, tmp_path / "l.jsonl").judging.reused == 2 * PROMPTS
    assert judge_server.requests == []
    row = json.loads(report.judging.file.read_text().splitlines()[0])
    assert row["judged_by"] == {"name": "judge", "version": "1", **measure.settings()}
    assert row["judged_by"]["prompt_sha"] == measure.prompt.sha


def test_a_pair_is_compared_anew_when_one_of_its_answers_has_changed(
    judge_server: Any, collected: Path, tmp_path: Path
) -> None:
    measure = PairwiseJudge(Endpoint("judge", judge_server.url, retries=0))
    judge_server.reply = large_wins(judge_server)
    judge_outcomes(collected, measure, tmp_path / "l.jsonl")
    judge_server.requests.clear()
    collected.write_text(collected.read_text().replace('"small 3"', '"a large small 3"'))
    report = judge_outcomes(collected, measure, tmp_path / "l.jsonl")
    assert len(judge_server.requests) == 2
    assert report.judging.reused == 2 * PROMPTS - 2
    assert report.mean_quality["small"] == pytest.approx(0.5 / PROMPTS)


def test_no_verdict_is_counted_and_asked_for_again_in_the_next_run(
    judge_server: Any, collected: Path, tmp_path: Path
) -> None:
    measure = ScoreJudge(Endpoint("judge", judge_server.url, retries=0))
    judge_server.reply = lambda body: "?" if judge_server.part(body, "answer") == "small 3" else "Score: 10"
    report = judge_outcomes(collected, measure, tmp_path / "l.jsonl")
    assert (report.prompts, report.judging.unjudged) == (PROMPTS - 1, 1)
    assert report.incomplete == {"no answer of the small model has a quality": 1}
    assert report.judging.notes == {"no verdict in the judge's reply, nor in its second one": 1}
    judge_server.requests.clear()
    judge_server.reply = lambda body: "Score: 10"
    assert judge_outcomes(collected, measure, tmp_path / "l.jsonl").prompts == PROMPTS
    assert len(judge_server.requests) == 1


def test_another_judge_does_not_overwrite_what_the_first_one_said(
    judge_server: Any, collected: Path, tmp_path: Path
) -> None:
    judge_server.reply = lambda body: "Score: 10"
    judge_outcomes(collected, ScoreJudge(Endpoint("judge", judge_server.url)), tmp_path / "l.jsonl")
    other = ScoreJudge(Endpoint("better", judge_server.url))
    with pytest.raises(OutcomeError, match=r'"model": "judge".*"model": "better".*--judged.*--again'):
        judge_outcomes(collected, other, tmp_path / "l.jsonl")
    assert judge_outcomes(collected, other, tmp_path / "l.jsonl", again=True).judging.reused == 0
    assert judge_outcomes(collected, other, tmp_path / "l.jsonl").judging.reused == 2 * PROMPTS


def test_killed_in_mid_run_nothing_is_lost_or_judged_twice(judge_server: Any, collected: Path, tmp_path: Path) -> None:
    fair = large_wins(judge_server)
    released = threading.Event()

    def held_up(body: Mapping[str, Any]) -> str:
        if len(judge_server.requests) > 10:
            released.wait(60)
        return str(fair(body))

    judge_server.reply = held_up
    command = ["label", str(collected), "--by", "judge", "--model", "judge", "--url", judge_server.url]
    command += ["--out", str(tmp_path / "l.jsonl"), "--at-once", "1"]
    part = part_of(tmp_path / "l.judged-judge.jsonl")
    process = subprocess.Popen(
        [sys.executable, "-c", "from shared_router.cli import main; main()", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    deadline = time.monotonic() + 60
    while not (part.exists() and part.read_bytes().count(b"\n") == 10 and len(judge_server.requests) == 11):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    released.set()
    # as a machine that dies leaves it
    with part.open("ab") as file:
        file.write(b'{"id": "11", "prompt": "prompt 11", "target": "sm')
    judge_server.requests.clear()
    judge_server.reply = fair
    run = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert run.exit_code == 0, run.output
    # five prompts were judged; the one whose answer nobody has seen is asked again
    assert f"{2 * (PROMPTS - 5)} answers judged, 10 judged before" in run.output
    assert len(judge_server.requests) == 2 * (PROMPTS - 5)
    rows = [json.loads(line) for line in (tmp_path / "l.judged-judge.jsonl").read_text().splitlines()]
    assert [(row["id"], row["target"]) for row in rows] == [
        (str(i), target) for i in range(PROMPTS) for target in ("small", "large")
    ]
    assert {row["quality"] for row in rows if row["target"] == "large"} == {1.0}
    assert not part.exists()
