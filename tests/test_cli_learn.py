"""``hybrid-llm learn``, from files of battles to decisions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.router import Router

runner = CliRunner()
WIDE = {"COLUMNS": "200"}
STRENGTH = {"tiny": (-1.5, 0.0), "middle": (0.0, 0.0), "giant": (1.5, 0.3)}
HARD, EASY = "integral number", "holiday greeting"


def battles(path: Path, count: int = 900, *, names: tuple[str, ...] = tuple(STRENGTH), source: str = "arena") -> Path:
    generator = np.random.default_rng(0)
    lines = []
    for i in range(count):
        topic = int(generator.random() < 0.5)
        first, second = generator.choice(names, 2, replace=False).tolist()
        odds = STRENGTH.get(first, (1.0, 1.0))[topic] - STRENGTH.get(second, (1.0, 1.0))[topic]
        winner = "model_a" if generator.random() < 1.0 / (1.0 + np.exp(-odds)) else "model_b"
        winner = "tie" if generator.random() < 0.1 else winner
        row = {"prompt": f"{(HARD, EASY)[topic]} {i}, please", "model_a": first, "model_b": second, "winner": winner}
        lines.append(json.dumps({**row, "source": source}))
    path.write_text("\n".join(lines))
    return path


def labels(path: Path, count: int = 40) -> Path:
    rows = [
        {"prompt": f"{(HARD, EASY)[i % 2]} own {i}", "small_quality": float(i % 10 > 0) * (i % 2), "large_quality": 1}
        for i in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def run(*arguments: object, fails: bool = False) -> str:
    done = runner.invoke(app, ["learn", *map(str, arguments)], env=WIDE)
    assert done.exit_code == int(fails), done.output
    return done.output


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("learn")
    file = battles(folder / "b.jsonl")
    out = folder / "mine"
    return out, run(file, "--small", "tiny", "--large", "giant", "--out", out)


def test_it_writes_a_router_and_says_what_the_text_tells(learned: tuple[Path, str]) -> None:
    folder, output = learned
    for said in (
        "900 battles",
        "between 3 models",
        "giant is preferred to tiny",
        "held-out battles: log loss",
        "Label 20",
    ):
        assert said in output
    hard, easy = Router.load(folder).difficulty([HARD, EASY])
    assert hard > easy


def test_another_pair_of_the_same_models(learned: tuple[Path, str], tmp_path: Path) -> None:
    output = run(learned[0], "--small", "tiny", "--large", "middle", "--out", tmp_path / "other")
    assert "middle is preferred to tiny" in output
    assert "held-out" not in output
    assert Router.load(tmp_path / "other").router_id.startswith("other@")


def test_a_new_model_by_labels(learned: tuple[Path, str], tmp_path: Path) -> None:
    gold = labels(tmp_path / "g.jsonl")
    output = run(learned[0], "--small", "tiny", "--large", "new", "--gold", gold, "--out", tmp_path / "r")
    assert "new is preferred to tiny" in output


@pytest.mark.parametrize("method", ["sw", "knn"])
def test_labels_and_augmentation(tmp_path: Path, method: str) -> None:
    files = [battles(tmp_path / "a.jsonl"), battles(tmp_path / "j.jsonl", 60, source="judge")]
    options = ["--source-weight", "judge=0.5", "--gold", labels(tmp_path / "g.jsonl", 60), "--gold-weight", "2"]
    pair = ["--small", "tiny", "--large", "giant", "--method", method, "--neighbours", "20"]
    calibration = ["--labels", labels(tmp_path / "l.jsonl")]
    output = run(*files, *options, *pair, *calibration, "--out", tmp_path / "r")
    assert "40 battles stand over prompts that are also among the labels" in output
    assert "980 battles" in output
    assert "On 40 labels: APGR" in output
    assert Router.load(tmp_path / "r").route(HARD).calibrated


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--small", "tinny", "--large", "giant"], "did you mean 'tiny'?"),
        (
            ["--small", "giant", "--large", "tiny"],
            "use the small model alone, or check that the two are not interchanged",
        ),
        (["--small", "tiny", "--large", "giant", "--method", "mff"], "did you mean 'mf'?"),
        (["--small", "tiny", "--large", "giant", "--turn", "second"], "--turn is last or first"),
        (["--small", "tiny", "--large", "giant", "--ties", "third"], 'ties count "half" or "drop" out'),
        (["--small", "tiny", "--large", "giant", "--source-weight", "judge"], "SOURCE=FACTOR"),
        (["--small", "tiny", "--large", "giant", "--source-weight", "judge=x"], "SOURCE=FACTOR"),
        (["--small", "tiny", "--large", "giant", "--source-weight", "judge=1"], "no battle is of source 'judge'"),
    ],
)
def test_errors_are_told_in_a_line(tmp_path: Path, options: list[str], what: str) -> None:
    file = battles(tmp_path / "b.jsonl", 150)
    output = run(file, *options, "--out", tmp_path / "r", fails=True)
    assert what in output
    assert "Traceback" not in output
    assert not (tmp_path / "r").exists()


def test_bad_rows_can_be_skipped(tmp_path: Path) -> None:
    file = battles(tmp_path / "b.jsonl", 300)
    file.write_bytes(
        file.read_bytes()
        + b'\n{"prompt": "caf\xe9"}\n{"prompt": "hi", "model_a": "a", "model_b": "b", "winner": "tie"}'
    )
    arguments = [file, "--small", "tiny", "--large", "giant", "--method", "sw", "--out", tmp_path / "r"]
    assert "line 301" in run(*arguments, fails=True)
    output = run(*arguments, "--skip-bad")
    assert "left out:" in output
    assert "1 battles have prompts that are too short" in output


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "does not exist" in run(
        tmp_path / "no.jsonl", "--small", "a", "--large", "b", "--out", tmp_path / "r", fails=True
    )
