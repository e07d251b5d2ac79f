"""From bare prompts to a router in one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("sklearn")

from langchain_core.language_models import FakeListChatModel
from typer.testing import CliRunner

from langchain_hybrid import HybridChatModel
from shared_router.cli.commands import app
from shared_router.router import Router

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
    # all that was asked is asked once, also where the command runs again
    asked = (tmp_path / "models.py.calls").read_text().splitlines()
    assert len(asked) == 440
    again = runner.invoke(app, arguments, env=WIDE)
    assert again.exit_code == 0, again.output
    assert len((tmp_path / "models.py.calls").read_text().splitlines()) == 440
    assert Router.load(out).router_id == router.router_id


def test_half_of_what_bare_prompts_need_is_refused(tmp_path: Path) -> None:
    file = write_prompts(tmp_path, 3)
    run = runner.invoke(app, ["fit", str(file), "--small", "x", "--out", str(tmp_path / "r")])
    assert run.exit_code == 1
    assert "--large and --by is missing" in run.output
