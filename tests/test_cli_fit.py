"""From bare prompts to a router in one command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("sklearn")

from langchain_core.language_models import FakeListChatModel
from typer.testing import CliRunner

from langchain_hybrid import HybridChatModel
from shared_router.cli.commands import app
from shared_router.router import Router
from shared_router.tables.labeled import read_labeled

runner = CliRunner()
WIDE = {"COLUMNS": "200"}

MODELS = """
def answer(prompt, right):
    with open(__file__ + ".calls", "a") as asked:
        asked.write(prompt + "\\n")
    first, second = (int(word) for word in prompt.split() if word.isdigit())
    product = "times" in prompt
    value = first * second if product else first + second
    return f"The answer is {value if right(product, first) else value + 1}."

def small(prompt: str) -> str:
    return answer(prompt, lambda product, first: not product or first % 7 == 0)

def large(prompt: str) -> str:
    return answer(prompt, lambda product, first: first % 11 != 0)
"""


def write_prompts(folder: Path, count: int = 220) -> Path:
    rows = []
    for i in range(count):
        first, second, product = 10 + i, 3 + i % 17, i % 2 == 0
        words = f"What is {first} {'times' if product else 'plus'} {second} ?"
        rows.append({"prompt": words, "reference": first * second if product else first + second})
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "models.py").write_text(MODELS)
    return folder / "prompts.jsonl"


def test_bare_prompts_are_answered_judged_and_learned_from(tmp_path: Path) -> None:
    file = write_prompts(tmp_path)
    out = tmp_path / "mine"
    models = ["--small", f"{tmp_path}/models.py:small", "--large", f"{tmp_path}/models.py:large"]
    arguments = ["fit", str(file), *models, "--by", "numeric", "--samples", "1", "--out", str(out)]
    run = runner.invoke(app, arguments, env=WIDE)
    assert run.exit_code == 0, run.output
    assert "Routing pays on this data" in run.output
    router = Router.load(out)
    assert router.own_pair
    assert router.calibration_set is not None
    assert len((tmp_path / "mine-work" / "outcomes.jsonl").read_text().splitlines()) == 440
    hard, easy = router.difficulty(["What is 30 times 4 ?", "What is 30 plus 4 ?"])
    assert hard > easy + 0.3
    chat = HybridChatModel(
        small=FakeListChatModel(responses=["small"]),
        large=FakeListChatModel(responses=["large"]),
        router=str(out),
        quality=0.8,
        confidence=0.9,
    )
    texts = [json.loads(line)["prompt"] for line in file.read_text().splitlines()]
    order = router.difficulty(texts).argsort()
    answers = [chat.invoke(texts[place]) for place in (order[-1], order[0])]
    assert [answer.content for answer in answers] == ["large", "small"]
    assert answers[1].response_metadata["hybrid"]["certified"] is True
    for name in ("report.html", "evaluation.json", "curves.png", "curves.svg"):
        assert (out / "report" / name).is_file()
    held_out = read_labeled(tmp_path / "mine-work" / "held-out.jsonl")
    assert len(held_out) == len(router.calibration_set)
    np.testing.assert_array_equal(router.calibration_set.difficulty, router.difficulty(held_out.prompts))
    # all that was asked is asked once, also where the command runs again
    asked = (tmp_path / "models.py.calls").read_text().splitlines()
    assert len(asked) == 440
    again = runner.invoke(app, arguments, env=WIDE)
    assert again.exit_code == 0, again.output
    assert len((tmp_path / "models.py.calls").read_text().splitlines()) == 440
    assert Router.load(out).router_id == router.router_id


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (["--by", "nonsense"], "no measure"),
        (["--by", "judge"], "needs --judge"),
        (["--by", "function"], "for the steps"),
        (["--by", "numeric", "--method", "wrods"], "did you mean 'words'"),
        (["--by", "numeric", "--held-out", "3"], "a share from 0"),
        (["--by", "numeric", "--seed", "-1"], "from 0 on"),
        (["--by", "numeric", "--quality-range", "1"], "LOW,HIGH"),
        (["--by", "numeric", "--out", "models.py"], "is a file"),
    ],
)
def test_a_wrong_wish_is_told_before_a_model_is_asked(
    wishes: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_prompts(tmp_path)
    monkeypatch.chdir(tmp_path)
    models = ["--small", "models.py:small", "--large", "models.py:large", "--out", "mine"]
    run = runner.invoke(app, ["fit", str(file), *models, *wishes], env=WIDE)
    assert run.exit_code == 1
    assert said in run.output
    assert "Traceback" not in run.output
    assert not (tmp_path / "models.py.calls").exists()


def test_prompts_that_could_not_be_judged_are_told_before_a_model_is_asked(tmp_path: Path) -> None:
    file = write_prompts(tmp_path, 50)
    file.write_text(file.read_text() + '\n{"prompt": "What is 1 plus 1 ?"}')
    models = ["--small", f"{tmp_path}/models.py:small", "--large", f"{tmp_path}/models.py:large"]
    run = runner.invoke(app, ["fit", str(file), *models, "--by", "numeric", "--out", str(tmp_path / "r")], env=WIDE)
    assert run.exit_code == 1
    assert "1 of 51 prompts" in run.output
    assert not (tmp_path / "models.py.calls").exists()


def test_half_of_what_bare_prompts_need_is_refused(tmp_path: Path) -> None:
    file = write_prompts(tmp_path, 3)
    run = runner.invoke(app, ["fit", str(file), "--small", "x", "--out", str(tmp_path / "r")])
    assert run.exit_code == 1
    assert "--large and --by is missing" in run.output
