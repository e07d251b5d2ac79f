"""``hybrid-llm label``, from a file of answers to a file that ``fit`` reads."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")

from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.tables.labeled import read_labeled, teachable

runner = CliRunner()
WIDE = {"COLUMNS": "200"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(0)
    rows = []
    for i in range(120):
        hard = draw.random() < 0.5
        for target in ("small", "large"):
            for sample in range(2 if i % 10 else 3):
                right = draw.random() < (0.1 if hard and target == "small" else 0.9)
                rows.append(
                    {
                        "id": str(i),
                        "prompt": f"{'integral' if hard else 'greeting'} number {i}",
                        "target": target,
                        "sample": sample,
                        "response": f"I think the answer is {i if right else i + 1}." if i % 7 else "no idea",
                        "reference": str(i),
                        "columns": {"topic": "hard" if hard else "easy"},
                    }
                )
    rows.append({**rows[0], "id": "alone", "prompt": "alone"})
    path = tmp_path_factory.mktemp("label") / "outcomes.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_report_and_the_way_on(outcomes: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "l.jsonl", tmp_path / "r.json"
    arguments = ["label", str(outcomes), "--by", "numeric", "--out", str(out), "--report", str(report)]
    run = runner.invoke(app, arguments, env=WIDE)
    assert run.exit_code == 0, run.output
    for said in (
        "Judged by numeric (version 1)",
        "× no number found in the answer: quality 0",
        "120 prompts labelled; mean quality: small",
        "answers of the small model: 108 with 2, 12 with 3; all count",
        "1 prompts are not labelled: no answer of the large model.",
        "[0.9, 1.0]",
        "█",
        "label_trans is label_prob here: all qualities are 0 or 1",
        f"Next: hybrid-llm fit {out} --out my-router",
    ):
        assert said in run.output
    written = json.loads(report.read_text())
    assert written["prompts"] == 120
    assert written["judging"]["measure"] == {"name": "numeric", "version": "1"}
    assert sum(written["histograms"]["label_prob"]) == 120
    assert read_labeled(out).columns["topic"][0] in {"hard", "easy"}
    again = runner.invoke(app, arguments, env=WIDE)
    assert "0 answers judged, 505 judged before" in again.output


def test_fit_can_learn_from_what_it_writes(outcomes: Path, tmp_path: Path) -> None:
    out = tmp_path / "l.jsonl"
    assert runner.invoke(app, ["label", str(outcomes), "--by", "numeric", "--out", str(out)]).exit_code == 0
    labeled = teachable(read_labeled(out))
    assert len(labeled) == 120
    assert labeled.small.mean() < labeled.large.mean()


def test_a_function_in_the_folder_that_one_is_in(
    outcomes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_label_function.py").write_text(
        "def short(prompt, response, reference):\n    return -len(response)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    arguments = ["label", str(outcomes), "--by", "function", "--out", "l.jsonl"]
    run = runner.invoke(app, [*arguments, "--function", "my_label_function:short"], env=WIDE)
    assert run.exit_code == 0, run.output
    assert "function my_label_function:short" in run.output
    run = runner.invoke(app, [*arguments, "--function", "my_label_function:none"], env=WIDE)
    assert "cannot be imported" in run.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "numbers"], "there is no measure 'numbers'"),
        (["--by", "numeric", "--model", "x"], "numeric has no --model"),
        (["--by", "numeric", "--bounded"], "numeric has no --bounded"),
        (["--by", "judge"], "judge needs --model"),
        (["--by", "judge", "--model", "m", "--pairs", "some"], "pairs are"),
        (["--by", "judge", "--model", "m", "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
        (["--by", "numeric", "--grid-points", "1"], "at least 2 points"),
        (["--by", "multiple-choice"], "is no option's letter"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(
    outcomes: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    out = tmp_path / "l.jsonl"
    run = runner.invoke(app, ["label", str(outcomes), "--out", str(out), *arguments], env=WIDE)
    assert run.exit_code == 1
    assert said in run.output
    assert "Traceback" not in run.output
    assert list(tmp_path.iterdir()) == []


def test_bad_rows_and_answers_are_reported(outcomes: Path, tmp_path: Path) -> None:
    rows = outcomes.read_text().splitlines()
    path = tmp_path / "o.jsonl"
    nameless = [json.dumps({**json.loads(row), "reference": None, "id": "n"}) for row in rows[:1]]
    path.write_text("\n".join(["{broken", *nameless, *rows]))
    arguments = ["label", str(path), "--by", "numeric", "--out", str(tmp_path / "l.jsonl")]
    assert "line 1: not JSON" in runner.invoke(app, arguments, env=WIDE).output
    run = runner.invoke(app, [*arguments, "--skip-bad"], env=WIDE)
    assert run.exit_code == 0, run.output
    assert "left out: " in run.output
    assert "without a quality: id 'n', small model, sample 0: no reference" in run.output


def test_help_teaches_with_an_example_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from shared_router.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'sklearn', 'pandas', 'torch', 'transformers', 'openai'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, "label", "--help"], capture_output=True, text=True, check=True)
    assert "hybrid-llm label outcomes.jsonl --by numeric --out labelled.jsonl" in run.stdout
    assert run.stdout.splitlines()[-1] == "[]"
