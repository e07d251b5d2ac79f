"""The command line, from a file of labels to decisions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.router import Router

runner = CliRunner()
WIDE = {"COLUMNS": "200"}


def outcomes(path: Path, *, noise: bool = False, large: float = 1.0) -> Path:
    generator = np.random.default_rng(0)
    lines = []
    for i in range(150):
        hard = generator.random() < 0.5
        chance = 0.5 if noise else 0.1 if hard else 0.9
        row = {
            "prompt": f"{'integral' if hard else 'greeting'} number {i}",
            "small_quality": int(generator.random() < chance),
            "large_quality": int(generator.random() < large),
        }
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("cli")
    run = runner.invoke(app, ["fit", str(outcomes(folder / "o.jsonl")), "--out", str(folder / "mine")], env=WIDE)
    assert run.exit_code == 0, run.output
    return folder / "mine", run.output


def test_fit_writes_a_router_and_says_what_it_is_worth(fitted: tuple[Path, str]) -> None:
    folder, output = fitted
    decision = Router.load(folder).route("integral number 7")
    assert decision.calibrated
    assert decision.router_id.startswith("mine@")
    for said in ("150 prompts", "over prompt length", "served", "Routing pays", "HybridChatModel", "0.9 →"):
        assert said in output


def test_score_shows_difficulty_and_decision(fitted: tuple[Path, str]) -> None:
    texts = ["integral number 7", "greeting [bold]number 8"]
    run = runner.invoke(app, ["score", "--router", str(fitted[0]), "--quality", "0.8", *texts], env=WIDE)
    assert run.exit_code == 0, run.output
    assert "calibrated: True" in run.output
    assert "greeting [bold]number 8" in run.output
    assert "large" in run.output
    assert "small" in run.output


def test_score_reads_standard_input_and_writes_json(fitted: tuple[Path, str]) -> None:
    arguments = ["score", "--router", str(fitted[0]), "--large-share", "0.6", "--json", "-"]
    run = runner.invoke(app, arguments, input="integral one\n\ngreeting é\n")
    rows = [json.loads(line) for line in run.output.splitlines()]
    assert [row["text"] for row in rows] == ["integral one", "greeting é"]
    assert [row["target"] for row in rows] == ["large", "small"]
    assert rows[0]["knob"] == {"large_share": 0.6}
    assert rows[0]["calibrated"] is True


def test_score_refuses_what_is_no_text() -> None:
    run = runner.invoke(app, ["score", "-"], input=b"caf\xe9")
    assert run.exit_code == 1
    assert "not UTF-8" in run.output


def test_score_works_with_the_embedded_router() -> None:
    run = runner.invoke(app, ["score", "What is the capital of Peru?"], env=WIDE)
    assert "calibrated: False" in run.output
    assert runner.invoke(app, ["score", "-"], input="").output == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["score", "--quality", "9", "x"], "Error: quality is a number from 0 to 1"),
        (["score", "--quality", "0.5", "--threshold", "0.5", "x"], "say it in one way only"),
        (["score", "--router", "no/such/folder", "x"], "no router artifact"),
        (["fit", "none.jsonl", "--out", "r"], "none.jsonl does not exist"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(arguments: list[str], said: str) -> None:
    run = runner.invoke(app, arguments)
    assert run.exit_code == 1
    assert said in run.output
    assert "Traceback" not in run.output


def test_bad_rows_stop_the_fit_or_are_reported(tmp_path: Path) -> None:
    path = outcomes(tmp_path / "o.jsonl")
    path.write_text("{broken\n" + path.read_text())
    arguments = ["fit", str(path), "--out", str(tmp_path / "r"), "--method", "words"]
    assert "line 1: not JSON" in runner.invoke(app, arguments).output
    assert not (tmp_path / "r").exists()
    run = runner.invoke(app, [*arguments, "--skip-bad"])
    assert run.exit_code == 0
    assert "left out:" in run.output


def test_where_the_large_model_adds_nothing_nothing_is_written(tmp_path: Path) -> None:
    path = outcomes(tmp_path / "o.jsonl", large=0.5)
    run = runner.invoke(app, ["fit", str(path), "--out", str(tmp_path / "r")])
    assert run.exit_code == 1
    assert "use the small model" in run.output
    assert not (tmp_path / "r").exists()


def test_on_noise_it_is_said_that_routing_does_not_pay(tmp_path: Path) -> None:
    path = outcomes(tmp_path / "o.jsonl", noise=True)
    run = runner.invoke(app, ["fit", str(path), "--out", str(tmp_path / "r"), "--method", "words"])
    assert run.exit_code == 0
    assert "Routing does not pay on this data" in run.output


def test_help_teaches_with_an_example_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from shared_router.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'sklearn', 'pandas', 'torch', 'safetensors'} & set(sys.modules) - {'numpy'}))"
    )
    run = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "hybrid-llm fit labelled.jsonl --out my-router" in run.stdout
    assert run.stdout.splitlines()[-1] == "[]"
    assert "Examples:" in runner.invoke(app, ["fit", "--help"]).output


def test_without_typer_the_install_line_is_named_without_a_traceback() -> None:
    code = "import sys; sys.modules['typer'] = None; from shared_router.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == 'Error: the command line needs typer and rich: pip install "hybrid-llm[train]"\n'
