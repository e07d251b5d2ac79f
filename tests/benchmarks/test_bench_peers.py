"""The comparison with peers: what an adapter says, what becomes of one that breaks, and what the tables make of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_peers import (
    Answers,
    Run,
    Speed,
    all_tables,
    asked,
    costs,
    default_share,
    filled,
    hundred_tokens,
    one_table,
)
from benchmarks.peers import ADAPTERS, all_peers
from benchmarks.peers import workers as workers_module
from benchmarks.peers.protocol import Peer, Verdict
from benchmarks.peers.workers import ROOT, PeerError, Worker, installed
from shared_router.training.outcomes import Outcomes
from shared_router.training.sources import PAIRS

HERE = Path(sys.executable)

GOOD = """
import os, socket, time
from benchmarks.peers.protocol import Peer, Verdict, serve

def load():
    print("a banner that nobody asked for")
    def judge(text):
        print("chatter")
        if text == "connect":
            socket.create_connection(("example.org", 80), timeout=1)
        if text == "fail":
            raise ValueError("no\\nsuch text")
        if text == "slow":
            time.sleep(30)
        if text == "die":
            os._exit(3)
        if text == "unknown":
            return Verdict({"length": float("nan")}, None)
        return Verdict({"length": len(text), "key": "OPENAI_API_KEY" in os.environ}, len(text) > 3, len(text) == 3)
    return judge

if __name__ == "__main__":
    serve(Peer("good", load))
"""

BAD = """
from benchmarks.peers.protocol import Peer, serve

def load():
    raise ImportError("needs a key")

if __name__ == "__main__":
    serve(Peer("bad", load))
"""


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    (tmp_path / "fakes").mkdir()
    for name, code in {"__init__": "", "good": GOOD, "bad": BAD, "broken": "import nothing_of_this_name\n"}.items():
        (tmp_path / "fakes" / f"{name}.py").write_text(code)
    return tmp_path


def worker(module: str, root: Path, patience: float = 20.0) -> Worker:
    return Worker(module, HERE, package="fakes", root=root, patience=patience)


def test_an_adapter_scores_reports_its_failures_and_gets_neither_network_nor_keys(
    adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    with worker("good", adapters) as peer:
        assert peer.started.version == ""
        assert peer.started.seconds >= 0
        assert peer.ask("four") == {"scores": {"length": 4.0, "key": 0.0}, "large": True, "between": False}
        assert peer.ask("two\nlines, ünïcode ")["scores"]["length"] == 19.0
        assert peer.ask("fail") == {"error": "ValueError: no such text"}
        assert "no network" in peer.ask("connect")["error"]
        assert peer.ask("abc") == {"scores": {"length": 3.0, "key": 0.0}, "large": False, "between": True}
        times = peer.ask({"time": ["a", "bb", "ccc"]})["milliseconds"]
        assert len(times) == 3
        assert min(times) > 0
        assert peer.ask({"time": ["fail"]}) == {"error": "ValueError: no such text"}
        facts = peer.ask({"facts": True})
        assert any("example.org" in address for address in facts["reached_for"])
        assert facts["resident_bytes"] is None or facts["resident_bytes"] >= 0


def test_what_breaks_is_said(adapters: Path) -> None:
    with pytest.raises(PeerError, match="ImportError: needs a key"):
        worker("bad", adapters)
    with pytest.raises(PeerError, match=r"ended with 1: .*nothing_of_this_name"):
        worker("broken", adapters)
    with worker("good", adapters) as peer, pytest.raises(PeerError, match="ended with 3"):
        peer.ask("die")


def test_a_late_answer_is_never_taken_for_the_next_one(adapters: Path) -> None:
    with worker("good", adapters, patience=0.5) as peer:
        for text in ("slow", "four"):
            with pytest.raises(PeerError, match="no answer within"):
                peer.ask(text)


def test_an_adapter_can_be_tried_by_hand() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.prompt_length"],
        input='"abc"\n\n"é"\n',
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        check=True,
    )
    first, *answers = (json.loads(line) for line in run.stdout.splitlines())
    assert set(first) == {"version", "start_seconds"}
    assert [answer["scores"]["characters"] for answer in answers] == [3.0, 1.0]


def test_failures_are_counted_and_get_the_median(adapters: Path) -> None:
    with worker("good", adapters) as peer:
        answers = asked(peer, ["a", "fail", "four", "fail", "unknown"])
        np.testing.assert_array_equal(answers.scores["length"], [1.0, np.nan, 4.0, np.nan, np.nan])
        assert answers.errors == {"ValueError: no such text": 2}
        np.testing.assert_array_equal(filled(answers.scores["length"]), [1.0, 2.5, 4.0, 2.5, 2.5])
        with pytest.raises(PeerError, match="fails on every text: ValueError"):
            asked(peer, ["fail", "fail"])


def test_every_adapter_can_be_read_here_and_is_pinned_with_a_hash() -> None:
    peers = all_peers()
    assert tuple(peers) == ADAPTERS
    assert len({peer.title for peer in peers.values()}) == len(peers)
    for peer in peers.values():
        assert bool(peer.environment) == bool(peer.pinned)
        for line in peer.pinned:
            name, _, digest = line.partition(" --hash=sha256:")
            assert "==" in name
            assert len(digest) == 64
    # each of these uploads was malicious
    assert not any(f"litellm=={bad}" in str(peers) for bad in ("1.82.7 ", "1.82.8 ", "1.107.0 "))


def test_an_environment_is_made_once_and_again_when_the_pin_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: Sequence[str], what: str) -> None:
        ran.append(list(command))
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True)

    monkeypatch.setattr(workers_module, "_run", run)

    def peer(version: str) -> Peer:
        pinned = (f"thing=={version} --hash=sha256:0",)
        return Peer("thing", lambda: lambda text: Verdict({}, None), environment="thing", pinned=pinned)

    python = installed(peer("1"), tmp_path)
    assert python.parts[-3:-1] in {("thing", "bin"), ("thing", "Scripts")}
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    making, pinning, others = ran
    assert "venv" in making
    assert {"--no-deps", "--require-hashes"} <= set(pinning)
    assert others[-1] == "thing==1"
    installed(peer("1"), tmp_path)
    assert len(ran) == 3
    installed(peer("2"), tmp_path)
    assert len(ran) == 6
    assert installed(Peer("ours", lambda: lambda text: Verdict({}, None)), tmp_path) == HERE


def test_a_failed_installation_says_the_last_error() -> None:
    code = "import sys; sys.exit('ERROR: no such hash\\nand a hint')"
    with pytest.raises(PeerError, match="installing failed: ERROR: no such hash"):
        workers_module._run([sys.executable, "-c", code], "installing")


@pytest.fixture
def table() -> Outcomes:
    pair = PAIRS["routellm_mmlu"][0]
    n = 40
    large = np.ones(n)
    # the longer half is what the small model fails on
    small = (np.arange(n) < n // 2).astype(np.float64)
    return Outcomes(
        "routellm_mmlu",
        tuple("x" * (i + 1) for i in range(n)),
        np.array(["t"] * n),
        np.array([str(i) for i in range(n)]),
        np.zeros(n, dtype=np.bool_),
        np.array(["benchmark"] * n),
        (pair.small, pair.large),
        np.stack([small, large], axis=1),
    )


def run_over(table: Outcomes) -> Run:
    n = len(table.texts)
    rising = np.arange(n, dtype=np.float64)
    none = np.full(n, np.nan)
    half = (rising >= n / 2).astype(np.float64)
    scores_with_a_hole = np.where(rising == 3, np.nan, -rising)
    return Run(
        (table,),
        {table.source: 0},
        all_peers(),
        {
            "prompt_length": Answers({"characters": rising}, none, np.zeros(n)),
            "embedded_router": Answers({"difficulty": rising}, half, np.zeros(n)),
            "pareto_router": Answers(
                {"tier": np.zeros(n), "effort": scores_with_a_hole}, half, 1 - half, {"ValueError: x": 1}
            ),
        },
        {"routellm": "needs a key"},
        {"prompt_length": "", "embedded_router": "1", "pareto_router": "2"},
        {
            "prompt_length": Speed([1.0, 2.0], [0.1], 0, ()),
            "embedded_router": Speed([2.0, 4.0], [0.5], 2**21, ()),
            "pareto_router": Speed(reached_for=("socket.getaddrinfo example.org",)),
        },
    )


def cells(table: object) -> dict[str, list[str]]:
    columns = [list(column.cells) for column in table.columns]  # type: ignore[attr-defined]
    return {str(row[0]): [str(cell) for cell in row[1:]] for row in zip(*columns, strict=True)}


def test_the_tables_say_what_was_measured(table: Outcomes) -> None:
    run = run_over(table)
    rows = cells(one_table(run, table))
    # the perfect order of 20 equal gains among 40: all are gained in the first half, evenly
    assert rows["prompt length"][0].startswith("0.750 [")
    assert rows["prompt length"][1] == ""
    assert rows["embedded router"][1] == "+0.000 [+0.000, +0.000]"
    assert rows["embedded router"][2:] == ["40", "50.0%", "0"]
    assert rows["pareto-router: tier"][0] == "0.500 [0.500, 0.500]"
    assert rows["pareto-router: tier"][2:] == ["1", "50.0% (+ 50.0% between)", "0"]
    assert float(rows["pareto-router: effort"][0].split()[0]) < 0.3
    assert rows["pareto-router: effort"][4] == "1"
    assert "↓" in cells(all_tables(run, [table]))["pareto-router: effort"][0]
    speeds = cells(costs(run))
    assert speeds["prompt length"][1:3] == ["1.500", "0.50"]
    assert speeds["embedded router"][7] == "2"
    # nothing was measured of it: no crash, no number
    assert speeds["pareto-router"][1:3] == ["nan", "nan"]
    assert speeds["pareto-router"][8:] == ["example.org", "1 × ValueError: x"]


def test_no_default_is_no_share(table: Outcomes) -> None:
    run = run_over(table)
    everything = run.chosen(table)
    assert default_share(run.answers["prompt_length"], everything) == "–"
    few = everything & (np.arange(len(table.texts)) < 30)
    assert default_share(run.answers["embedded_router"], few) == "33.3%"


def test_timed_queries_all_differ() -> None:
    texts = hundred_tokens()
    assert len(set(texts)) == len(texts)
    assert {len(text.split()) for text in texts} == {100}
