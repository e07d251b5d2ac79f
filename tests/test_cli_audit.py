"""``hybrid-llm audit`` and ``hybrid-llm explain``."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import pytest

pytest.importorskip("typer")

from typer.testing import CliRunner

from shared_router.cli.commands import app

runner = CliRunner()
WIDE, NARROW = {"COLUMNS": "100"}, {"COLUMNS": "80"}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "labelled.jsonl"
    rows = []
    for i in range(120):
        hard = i % 2 == 1
        what = "prove, given that each of the 3 numbers is twice the total, if any, that" if hard else "say"
        row = {"prompt": f"{what} secret{i:03}", "small_quality": i % 3 > 0, "large_quality": 1}
        rows.append(json.dumps({**row, "tier": "[bold]pro" if hard else "free"}))
    path.write_text("\n".join(rows))
    return path


def run(*arguments: str, env: dict[str, str] = WIDE) -> tuple[int, str, str]:
    result = runner.invoke(app, list(arguments), env=env)
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def test_the_table_tells_groups_and_a_verdict(labelled: Path) -> None:
    code, shown, _ = run("audit", str(labelled), "--by", "tier", "--detect", "script,length", "--threshold", "0.25")
    assert code == 0
    for said in ("threshold=0.25, 120 prompts", "[bold]pro", "free", "drop, %", "quality", "to small if S", "HARM:"):
        assert said in shown
    assert "script (detected)" in shown
    assert "Nothing was tested, as fewer than two groups" in shown
    assert "secret" not in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_a_narrow_terminal_is_shown_less_and_no_line_is_cut(labelled: Path) -> None:
    code, shown, _ = run("audit", str(labelled), "--by", "tier", "--threshold", "0.25", env=NARROW)
    assert code == 0
    assert "S → routed" not in shown
    assert "drop, %" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_json_goes_to_standard_output_alone(labelled: Path) -> None:
    code, shown, _ = run("audit", str(labelled), "--by", "tier", "--quality", "0.5", "--json")
    assert code == 0
    document = json.loads(shown)
    assert document["knob"] == {"quality": 0.5}
    assert [group["name"] for group in document["columns"][0]["groups"]] == ["[bold]pro", "free"]
    assert "secret" not in shown


def test_files_are_written_whole_in_new_folders(labelled: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "audit.json", tmp_path / "new" / "audit.csv"
    arguments = ("audit", str(labelled), "--by", "tier", "--out", str(first), "--out", str(second))
    code, _, told = run(*arguments)
    assert code == 0
    assert f"Written: {first}" in told
    rows = list(csv.DictReader(second.read_text(encoding="utf-8").splitlines()))
    assert [(row["column"], row["group"]) for row in rows] == [("", "all"), ("tier", "[bold]pro"), ("tier", "free")]
    assert json.loads(first.read_text())["overall"]["n"] == 120
    assert "secret" not in first.read_text() + second.read_text()
    before = first.read_text()
    assert run(*arguments)[0] == 0
    assert first.read_text() == before
    assert sorted(path.name for path in first.parent.iterdir()) == ["audit.csv", "audit.json"]
    assert stat.S_IMODE(first.stat().st_mode) & 0o400


def test_prompts_without_qualities_say_what_cannot_be_told(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt,tier\n" + "\n".join(f"question {i},{i % 2}" for i in range(60)))
    code, shown, _ = run("audit", str(path), "--by", "tier")
    assert code == 0
    assert "cannot be told from shares alone" in " ".join(shown.split())
    assert "drop" not in shown


def test_rows_left_out_and_merged_are_told(labelled: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    text = labelled.read_text()
    path.write_text("{broken\n" + text + "\n" + text.splitlines()[0])
    code, _, told = run("audit", str(path), "--by", "tier")
    assert code == 1
    assert "line 1: not JSON" in told
    code, shown, told = run("audit", str(path), "--by", "tier", "--skip-bad", "--json")
    assert code == 0
    assert "left out:" in told
    assert "1 rows repeat an earlier prompt" in told
    assert "in the group of the first" in told
    json.loads(shown)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "teir"], "did you mean 'tier'"),
        ([], "which groups to compare"),
        (["--detect", "dialect"], "give it as a column"),
        (["--detect", "lenght"], "did you mean 'length'"),
        (["--by", "tier", "--quality", "2"], "quality is a number from 0 to 1"),
        (["--by", "tier", "--out", "audit.txt"], "the ending says the format"),
        (["--by", "tier", "--router", "no/such"], "no router artifact"),
        (["--by", "tier", "--level", "1"], "0 < level < 1"),
    ],
)
def test_errors_are_one_line(labelled: Path, arguments: list[str], said: str) -> None:
    code, shown, told = run("audit", str(labelled), *arguments)
    assert code == 1
    assert said in told
    assert shown == ""


def test_a_file_that_cannot_be_written_is_told(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, told = run("audit", str(labelled), "--by", "tier", "--out", str(tmp_path / "file" / "a.json"))
    assert code == 1
    assert "cannot be written" in told


def test_explain_shows_bars_sum_and_neighbours(labelled: Path) -> None:
    code, shown, _ = run("explain", "Prove [bold]that each of 3, if any, is total.", "--training", str(labelled))
    assert code == 0
    for said in ("Exact: ", "log odds", "█", "│", "intercept", "sum", "numbers", "similarity", "others"):
        assert said in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert "is twice the total" in shown


def test_explain_writes_json_of_all_contributions() -> None:
    code, shown, _ = run("explain", "How many primes lie between 100 and 200?", "--json", "--top", "1")
    assert code == 0
    document = json.loads(shown)
    total = document["intercept"] + sum(one["value"] for one in document["contributions"])
    assert total == pytest.approx(document["score"])
    assert len(document["contributions"]) > 10


def test_explain_tells_errors_in_a_line(tmp_path: Path) -> None:
    code, _, told = run("explain", "a", "--router", str(tmp_path))
    assert code == 1
    assert "no router artifact" in told
    code, _, told = run("explain", "a", "--training", str(tmp_path / "none.jsonl"))
    assert code == 1
    assert "does not exist" in told


def test_bars_reach_to_either_side() -> None:
    from shared_router.cli.explain import BAR, _bar

    assert _bar(1.0) == " " * BAR + "│" + "█" * BAR
    assert _bar(-1.0) == "█" * BAR + "│"
    assert _bar(1e-9).count("█") == 1


def test_help_teaches_with_an_example() -> None:
    assert "--by language" in run("audit", "--help")[1]
    assert "--training labelled.jsonl" in run("explain", "--help")[1]
