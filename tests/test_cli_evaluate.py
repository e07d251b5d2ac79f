"""``hybrid-llm evaluate``, from a file of labels to a verdict and a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.evaluation.report import FILES

runner = CliRunner()
WIDE = {"COLUMNS": "200"}
QUICK = ["--resamples", "100"]


def outcomes(path: Path, *, rows: int = 120, noise: bool = False, seed: int = 0) -> Path:
    """Integrals are hard for the small model, greetings are not; with noise nothing tells them apart."""
    generator = np.random.default_rng(seed)
    lines = []
    for i in range(rows):
        hard = generator.random() < 0.5
        chance = 0.5 if noise else 0.1 if hard else 0.95
        lines.append(
            json.dumps(
                {
                    "prompt": f"{'integral' if hard else 'greeting'} number {i} {'x' * int(generator.integers(40))}",
                    "small_quality": int(generator.random() < chance),
                    "large_quality": 1,
                    "topic": f"[bold]{'ab'[i % 2]}",
                    "small_cost": 0.1,
                    "large_cost": 2.0,
                }
            )
        )
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    learned = outcomes(folder / "learned.jsonl", seed=1)
    arguments = ["fit", str(learned), "--out", str(folder / "mine"), "--method", "mixed"]
    run = runner.invoke(app, arguments, env=WIDE)
    assert run.exit_code == 0, run.output
    return folder / "mine"


def test_a_fitted_router_is_measured_on_held_out_prompts_and_reported(fitted: Path, tmp_path: Path) -> None:
    file, out = outcomes(tmp_path / "held-out.jsonl"), tmp_path / "report"
    names = ["--small-model", "tiny-1", "--large-model", "huge-2"]
    run = runner.invoke(
        app,
        ["evaluate", str(file), "--router", str(fitted), "--out", str(out), "--by", "topic", *names, *QUICK],
        env=WIDE,
    )
    assert run.exit_code == 0, run.output
    for said in (
        "120 prompts",
        "prompt length",
        "kNN on these labels",
        "quality 0.9",
        "[bold]a",
        "ΔIBC",
        "Routing pays",
    ):
        assert said in run.output
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    document = json.loads((out / "evaluation.json").read_text())
    assert document["about"]["router"].startswith("mine@")
    assert (document["about"]["small_model"], document["about"]["large_model"]) == ("tiny-1", "huge-2")
    assert document["models"]["large_cost"] == 2.0
    assert document["knobs"][2]["wish"]["label"] == "quality 0.9"
    assert "held-out.jsonl" in (out / "report.html").read_text()


def test_json_goes_to_standard_output_alone(fitted: Path, tmp_path: Path) -> None:
    file = outcomes(tmp_path / "o.jsonl")
    arguments = ["evaluate", str(file), "--router", str(fitted), "--json", "--no-knn", *QUICK]
    run = runner.invoke(app, [*arguments, "--out", str(tmp_path / "r")])
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert [score["name"] for score in document["scores"]] == ["random", "length", "router", "oracle"]
    assert document["verdict"]["word"] == "routing_pays"
    again = json.loads(runner.invoke(app, arguments).stdout)
    assert again == document


def test_on_noise_the_embedded_router_does_not_pay(tmp_path: Path) -> None:
    run = runner.invoke(
        app, ["evaluate", str(outcomes(tmp_path / "o.jsonl", noise=True)), *QUICK], env={"COLUMNS": "80"}
    )
    assert run.exit_code == 0, run.output
    assert "Routing does not pay on this data" in run.output
    assert "Some columns are left out" in run.output
    assert max(map(len, run.output.split("Some columns")[0].splitlines())) <= 80


def test_own_labels_that_do_better_are_recommended(tmp_path: Path) -> None:
    # the embedded router knows nothing of these words, neighbours do
    file = outcomes(tmp_path / "o.jsonl", rows=300)
    run = runner.invoke(app, ["evaluate", str(file), *QUICK], env=WIDE)
    assert "use kNN on these labels" in run.output
    assert f"hybrid-llm fit {file}" in run.output


def test_labels_that_teach_nothing_leave_neighbours_out(tmp_path: Path) -> None:
    run = runner.invoke(app, ["evaluate", str(outcomes(tmp_path / "o.jsonl", rows=12)), *QUICK], env=WIDE)
    assert run.exit_code == 0, run.output
    assert "Nearest neighbours are left out" in run.output
    assert "Too few prompts to tell" in run.output


def test_costs_may_be_given_for_all_answers(tmp_path: Path) -> None:
    file = outcomes(tmp_path / "o.jsonl")
    arguments = ["evaluate", str(file), "--no-knn", "--json", *QUICK, "--small-cost", "1"]
    document = json.loads(runner.invoke(app, [*arguments, "--large-cost", "9"]).stdout)
    assert (document["models"]["small_cost"], document["models"]["large_cost"]) == (1.0, 9.0)
    assert "go together" in runner.invoke(app, arguments).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "language"], "no column 'language' (there are: large_cost, small_cost, topic)"),
        (["--router", "no/such/folder"], "no router artifact"),
        (["--small-cost", "5", "--large-cost", "5"], "no dearer"),
    ],
)
def test_an_error_is_one_line_and_writes_nothing(tmp_path: Path, arguments: list[str], said: str) -> None:
    file = outcomes(tmp_path / "o.jsonl", rows=50)
    run = runner.invoke(app, ["evaluate", str(file), "--no-knn", "--out", str(tmp_path / "r"), *QUICK, *arguments])
    assert run.exit_code == 1
    assert f"Error: {said}" in run.output or said in run.output
    assert "Traceback" not in run.output
    assert not (tmp_path / "r").exists()


def test_bad_rows_stop_it_or_are_counted(tmp_path: Path) -> None:
    file = outcomes(tmp_path / "o.jsonl")
    file.write_text("{broken\n" + file.read_text())
    arguments = ["evaluate", str(file), "--no-knn", *QUICK]
    assert "line 1: not JSON" in runner.invoke(app, arguments).output
    run = runner.invoke(app, [*arguments, "--skip-bad"], env=WIDE)
    assert run.exit_code == 0
    assert "left out:" in run.output
    assert "1 rows of the file could not be used" in run.output


def test_the_python_blocks_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "evaluating.md").read_text("utf-8")
    outcomes(tmp_path / "held-out.jsonl", rows=50)
    arena = [{"global index": f"A_{i}", "prompt": f"question {i}"} for i in range(3)]
    (tmp_path / "router_data_10.json").write_text(json.dumps(arena))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/evaluating.md", "exec"), {})
    assert len(json.loads((tmp_path / "my-router.json").read_text())) == 6
    assert (tmp_path / "report" / "report.html").is_file()


def test_help_teaches_with_an_example() -> None:
    assert (
        "hybrid-llm evaluate held-out.jsonl --router my-router --out report"
        in runner.invoke(app, ["evaluate", "--help"], env=WIDE).output
    )
