"""Battles from files: what is read, and what every kind of bad input is told."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.tables.battles import (
    MIN_BATTLES,
    Battle,
    Battles,
    battles_from,
    comparable,
    joined,
    labels_as_battles,
    model_place,
    read_battles,
    weighted,
    without_prompts,
)
from shared_router.tables.labeled import LabeledPrompt, labeled_from

ASKED = "What is the capital of Peru?"
ROW = {"prompt": ASKED, "model_a": "b", "model_b": "a", "winner": "model_a"}


def jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def facts(battles: Battles) -> list[tuple[str, str, str, float]]:
    columns = battles.prompt.tolist(), battles.first.tolist(), battles.second.tolist(), battles.won.tolist()
    return [
        (battles.prompts[prompt], battles.models[first], battles.models[second], won)
        for prompt, first, second, won in zip(*columns, strict=True)
    ]


def chain(models: str, count: int = MIN_BATTLES) -> Battles:
    """Battles of each model with the next."""
    pairs = list(itertools.pairwise(models))
    return battles_from([Battle(f"prompt {i}", *pairs[i % len(pairs)], won=1.0) for i in range(count)])


@pytest.mark.parametrize(
    ("winner", "won"),
    [("model_a", 1.0), ("model_b", 0.0), ("tie", 0.5), ("tie (bothbad)", 0.5), ("both_bad", 0.5), (" Tie ", 0.5)],
)
def test_winners(tmp_path: Path, winner: str, won: float) -> None:
    read = read_battles(jsonl(tmp_path / "a.jsonl", [{**ROW, "winner": winner}]))
    assert facts(read) == [(ASKED, "b", "a", won)]
    assert read.ties == (won == 0.5)


def test_weights_and_sources(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "source": "judge", "weight": 0.25}, {**ROW, "source": "judge"}]
    read = read_battles(jsonl(tmp_path / "a.ndjson", rows))
    assert read.sources == ("", "judge", "judge")
    assert read.weight.tolist() == [1.0, 0.25, 1.0]
    assert weighted(read, {"judge": 2.0}).weight.tolist() == [1.0, 0.5, 2.0]
    with pytest.raises(OutcomeError, match=r"no battle is of source 'judges' \(there are: judge\)"):
        weighted(read, {"judges": 2.0})
    with pytest.raises(OutcomeError, match="finite number above 0"):
        weighted(read, {"judge": 0.0})


@pytest.mark.parametrize(
    ("column", "as_text"),
    [("conversation", False), ("conversation", True), ("conversation_a", False), ("prompt", False)],
)
def test_conversations(tmp_path: Path, column: str, as_text: bool) -> None:
    turns = [
        {"role": "user", "content": "Tell me about the number two."},
        {"role": "assistant", "content": "It is even."},
        {"role": "user", "content": [{"type": "text", "text": "Prove that its root is irrational."}]},
        {"role": "assistant", "content": "Suppose it were."},
    ]
    row = {"model_a": "b", "model_b": "a", "winner": "tie", column: json.dumps(turns) if as_text else turns}
    file = jsonl(tmp_path / "a.jsonl", [row])
    assert read_battles(file).prompts == ("Prove that its root is irrational.",)
    assert read_battles(file, turn="first").prompts == ("Tell me about the number two.",)


def test_the_one_hot_columns_of_kaggle_in_csv(tmp_path: Path) -> None:
    names = ["id", "model_a", "model_b", "prompt", "response_a", "winner_model_a", "winner_model_b", "winner_tie"]
    prompt = json.dumps(["Is it morally right?", None, "Explain with an é, please."])
    rows = [[i, "gpt-4", "vicuna", prompt, "no", *(int(i == j) for j in range(3))] for i in range(3)]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    read = read_battles(tmp_path / "a.csv")
    assert read.prompts == ("Explain with an é, please.",)
    assert read.won.tolist() == [1.0, 0.0, 0.5]
    assert read_battles(tmp_path / "a.csv", turn="first").prompts == ("Is it morally right?",)


def test_a_prompt_that_looks_like_json_is_a_prompt_outside_kaggle(tmp_path: Path) -> None:
    row = {**ROW, "prompt": '["sort", "this", "list", "please"]'}
    assert read_battles(jsonl(tmp_path / "a.jsonl", [row])).prompts == (row["prompt"],)


def test_parquet(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "Lima"}]
    pd.DataFrame([{**ROW, "prompt": None, "conversation_a": turns}, ROW]).to_parquet(tmp_path / "a.parquet")
    assert facts(read_battles(tmp_path / "a.parquet")) == [(ASKED, "b", "a", 1.0)] * 2
    pd.DataFrame([ROW]).drop(columns="model_b").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(OutcomeError, match=r"lacks the columns model_b"):
        read_battles(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"winner": "gpt-4"}, "winner is one of model_a, model_b, tie"),
        ({"winner": 1}, "winner is one of"),
        ({"winner": None}, "no value for winner_model_a"),
        ({"winner": None, "winner_model_a": 1, "winner_model_b": 1, "winner_tie": 0}, "exactly one is 1"),
        ({"winner": None, "winner_model_a": 0, "winner_model_b": 0, "winner_tie": 0}, "exactly one is 1"),
        ({"winner": None, "winner_model_a": "x", "winner_model_b": 0, "winner_tie": 0}, "winner_model_a is a number"),
        ({"model_b": None}, "no value for model_b"),
        ({"model_b": " "}, "model_b is empty"),
        ({"model_a": 4}, "model_a is a string"),
        ({"prompt": None}, r"no value for prompt or conversation \(there are: "),
        ({"prompt": None, "conversation": "so what"}, "conversation is a list of turns, or one written as JSON"),
        ({"prompt": None, "conversation": {"role": "user"}}, "conversation is a list of turns, got dict"),
        ({"prompt": None, "conversation": [3]}, "a message is an object, got int"),
        ({"prompt": [{"role": "assistant", "content": "hello"}]}, "no turn of a user"),
        ({"prompt": []}, "the list of messages is empty"),
        ({"prompt": "\ud83d what is this face?"}, "prompt is not valid UTF-8"),
        ({"prompt": ["what is this \ud83d face?"]}, "not valid UTF-8"),
        ({"weight": 0}, "weight is above 0"),
        ({"weight": "heavy"}, "weight is a number"),
        ({"weight": float("nan")}, "weight is nan"),
        ({"source": 3}, "source is a string"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, object], what: str) -> None:
    file = jsonl(tmp_path / "a.jsonl", [ROW, {**ROW, **change}])
    with pytest.raises(OutcomeError, match=rf"a\.jsonl, line 2: .*{what}"):
        read_battles(file)
    read = read_battles(file, skip_bad=True)
    assert len(read) == 1
    assert "line 2" in read.skipped[0]


def test_bytes_that_are_no_utf8_are_a_bad_row(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(json.dumps(ROW).encode() + b"\n" + json.dumps(ROW).encode().replace(b"Peru", b"Per\xfa"))
    with pytest.raises(OutcomeError, match="line 2: prompt is not valid UTF-8"):
        read_battles(file)
    assert len(read_battles(file, skip_bad=True)) == 1


def test_short_prompts_and_models_that_meet_themselves_are_counted(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "prompt": "hi"}, {**ROW, "model_b": "b"}]
    read = read_battles(jsonl(tmp_path / "a.jsonl", rows))
    assert (len(read), read.short, read.same) == (1, 1, 1)
    assert len(read_battles(tmp_path / "a.jsonl", min_chars=0)) == 2


@pytest.mark.parametrize("change", [{"model_b": "b"}, {"prompt": "hi"}])
def test_a_file_in_which_nothing_is_left_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    with pytest.raises(OutcomeError, match="has no usable battle"):
        read_battles(jsonl(tmp_path / "a.jsonl", [{**ROW, **change}]))


@pytest.mark.parametrize("row", [Battle("p", "a", "b", 0.3), Battle("p", "a", "b", 1.0, weight=0.0)])
def test_rows_made_in_code_are_checked(row: Battle) -> None:
    with pytest.raises(OutcomeError, match=r"0, 0\.5 or 1"):
        battles_from([row])


def test_labels_become_battles() -> None:
    rows = [("x", 0.2, 0.4), ("y", 1.0, 0.0), ("z", 0.5, 0.5)]
    labeled = labeled_from([LabeledPrompt(prompt, (small,), (large,)) for prompt, small, large in rows])
    made = labels_as_battles(labeled, "S", "L", weight=3.0)
    assert facts(made) == [("x", "L", "S", 1.0), ("y", "L", "S", 0.0), ("z", "L", "S", 0.5)]
    assert set(made.weight.tolist()) == {3.0}
    assert set(made.sources) == {"labels"}


def test_joined_files_share_prompts_and_models() -> None:
    one = battles_from([Battle("p", "b", "c", 1.0), Battle("q", "c", "b", 0.5, 2.0, "judge")])
    other = battles_from([Battle("q", "a", "b", 0.0), Battle("r", "b", "a", 1.0)])
    both = joined([one, other])
    assert facts(both) == [*facts(one), *facts(other)]
    assert both.prompts == ("p", "q", "r")
    assert both.models == ("a", "b", "c")
    assert both.sources == ("", "judge", "", "")
    assert both.weight.tolist() == [1.0, 2.0, 1.0, 1.0]


def test_parts_keep_places() -> None:
    battles = chain("abc", 6)
    part = battles.part(np.array([4, 1]))
    assert facts(part) == [facts(battles)[4], facts(battles)[1]]
    assert part.models == battles.models
    assert facts(battles.part(battles.first == 1)) == facts(battles)[1::2]
    assert battles.of_each_model().tolist() == [3, 6, 3]


def test_prompts_are_left_out_whatever_their_case_and_spaces() -> None:
    battles = chain("abc", 6)
    assert len(without_prompts(battles, ["PROMPT  1 ", "prompt 3", "other"])) == 4
    with pytest.raises(OutcomeError, match="also stand among the labels"):
        without_prompts(battles, battles.prompts)


def test_what_can_be_compared() -> None:
    battles = chain("abcd", 120)
    assert comparable(battles, "a", "d") is battles
    for pair, what in {
        ("a", "a"): "both 'a'",
        ("a", "x"): r"no battle is of a model 'x' \(there are: a, b, c, d\)",
    }.items():
        with pytest.raises(OutcomeError, match=what):
            comparable(battles, *pair)
    with pytest.raises(OutcomeError, match=f"{MIN_BATTLES - 1} usable battles"):
        comparable(chain("abcd", MIN_BATTLES - 1), "a", "d")
    few = joined([battles, battles_from([Battle("p", "a", "rare", 1.0)] * 9)])
    with pytest.raises(OutcomeError, match="'rare' stands in 9 battles"):
        comparable(few, "a", "rare")
    island = joined([battles, chain("xyz", 60)])
    with pytest.raises(OutcomeError, match="no chain of battles leads from 'a' to 'x'"):
        comparable(island, "a", "x")


def test_a_model_that_there_is_not_gets_a_hint() -> None:
    with pytest.raises(OutcomeError, match=r"did you mean 'gpt-4-1106'\?"):
        model_place(("claude", "gpt-4-1106"), "gpt-4-1105")
    with pytest.raises(OutcomeError, match="and 10 more"):
        model_place([f"m{i}" for i in range(30)], "unheard of")
