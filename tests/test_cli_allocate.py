"""``hybrid-llm allocate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from shared_router.cli.commands import app

runner = CliRunner()
WIDE = {"COLUMNS": "200"}
FAST = ["--resamples", "3"]


def table(path: Path, *, opened: int = 0, costs: bool = True) -> Path:
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(120):
        hard = bool(generator.random() < 0.5)
        text = f"river table {'integral' if hard else 'hello'} {i}"
        for model, price, chance in (("tiny[b]", 0.1, 0.1 if hard else 0.95), ("grand", 1.0, 0.95)):
            row: dict[str, Any] = {"id": f"q{i}", "query": text, "model": model}
            if i >= opened:
                row["quality"] = int(generator.random() < chance)
            rows.append({**row, "cost": price} if costs else row)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_a_rehearsal_says_what_it_really_comes_to(tmp_path: Path) -> None:
    out, plot = tmp_path / "assignment.jsonl", tmp_path / "front.png"
    file = table(tmp_path / "a.jsonl")
    arguments = [str(file), "--budget", "40", "--train-share", "0.5", "--out", str(out), "--plot", str(plot), *FAST]
    run = runner.invoke(app, ["allocate", *arguments], env=WIDE)
    assert run.exit_code == 0, run.output
    for said in ("60 queries learned from, 60 to allocate, 2 models", "tiny[b]", "expected", "real", "grand alone"):
        assert said in run.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 60
    assert set(rows[0]) == {"id", "query", "model", "expected_quality", "std", "expected_cost"}
    assert sum(row["expected_cost"] for row in rows) <= 40.0
    chosen = {word: [row["model"] for row in rows if word in row["query"]] for word in ("integral", "hello")}
    assert chosen["integral"].count("grand") / len(chosen["integral"]) > 0.5
    assert chosen["hello"].count("tiny[b]") / len(chosen["hello"]) > 0.5
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_open_queries_are_allocated(tmp_path: Path) -> None:
    file = table(tmp_path / "a.jsonl", opened=10, costs=False)
    prices = ["--price", "tiny[b]=0.1,0.4", "--price", "grand=3,15", "--output-tokens", "300"]
    out = tmp_path / "o.jsonl"
    run = runner.invoke(app, ["allocate", str(file), "--accuracy", "0.7", "--out", str(out), *prices, *FAST], env=WIDE)
    assert run.exit_code == 0, run.output
    assert "110 queries learned from, 10 to allocate" in run.output
    assert "real" not in run.output
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [f"q{i}" for i in range(10)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say one of budget and accuracy"),
        (["--budget", "1", "--accuracy", "0.5"], "say one of budget and accuracy"),
        (["--budget", "0.001"], "too small"),
        (["--budget", "9", "--out", "a.csv"], "the ending says the format"),
        (["--budget", "9", "--price", "tiny"], "NAME=INPUT,OUTPUT"),
        (["--budget", "9", "--price", "tiny=nan,1"], "NAME=INPUT,OUTPUT"),
        (["--budget", "9", "--price", "tiny=1,1"], "no price is given for grand"),
        (["--budget", "9", "--method", "magic"], "unknown method"),
        (["--budget", "9", "--model", "huge"], "no answers of huge"),
        (["--budget", "9", "--train-share", "0.05"], "at least 20 are needed"),
    ],
)
def test_mistakes_are_said_in_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    file = table(tmp_path / "a.jsonl")
    run = runner.invoke(app, ["allocate", str(file), *arguments, *FAST], env=WIDE)
    assert run.exit_code == 1
    assert said in run.output
    assert "Traceback" not in run.output


def test_help_teaches_with_an_example() -> None:
    run = runner.invoke(app, ["allocate", "--help"], env=WIDE)
    assert "hybrid-llm allocate outcomes.parquet --budget 5.0 --out assignment.jsonl" in run.output
