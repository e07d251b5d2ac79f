"""Near-duplicates between benchmark questions and training texts, and MT-Bench's first turns."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.leakage import (
    LEAST_STEM,
    SHINGLE,
    at_an_end,
    near_in_characters,
    near_in_meaning,
    normalised,
    same,
    stems,
)
from benchmarks.mt_bench import first_turns

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")


def test_case_space_and_punctuation_do_not_tell_texts_apart_but_numbers_do() -> None:
    assert normalised("What is  2+2?\n(A) Vier") == normalised("what is 22 a VIER")
    found = same([normalised("Tom has 3 apples."), normalised("Tom has 4 apples."), ""], ["tomhas3apples", ""])
    assert found.tolist() == [0, -1, -1]


def test_a_question_between_instructions_is_found() -> None:
    question = "josephspent500inmayand60lessinjunehowmuchintotal"
    learned = ["zzz", f"{question}putitinabox", "short", f"aninstruction{question[::-1]}", "aaa"]
    asked = [question, question[::-1], "short", "sho", question[:-1] + "x", ""]
    assert min(len(question), LEAST_STEM) == LEAST_STEM
    assert at_an_end(asked, learned).tolist() == [1, 3, 2, -1, -1, -1]


def test_a_stem_ends_at_the_last_list_of_options() -> None:
    question = "Which of these planets is the largest one of all?"
    assert stems([f"{question}\nA. Mars\nB. Venus\nAnswer:"]) == stems([f"{question}\n(A) Venus\n(B) Mars\n(C) Pluto"])
    keys = "Translate the formula with the key that is given.\nA: Tom reads.\nB: Ann runs.\n"
    one, other = stems([f"{keys}A > B\nA. If so\nB. Or", f"{keys}B > A\nA. If so\nB. Or"])
    assert one != other
    assert stems(["A question without options that is long enough for all", "Why?\nA. So\nB. Thus"]) == ["", ""]


def jaccard(one: str, other: str) -> float:
    sets = [{text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)} for text in (one, other)]
    union = sets[0] | sets[1]
    return len(sets[0] & sets[1]) / len(union) if union else 0.0


def test_the_search_by_shingles_misses_nothing() -> None:
    source = random.Random(0)

    def text() -> str:
        return "".join(source.choice("ab") for _ in range(source.randrange(1, 14))) + "cdefg" * source.randrange(3)

    asked, learned = [text() for _ in range(120)], [text() for _ in range(150)]
    for least in (0.3, 0.8, 1.0):
        best = np.array([[jaccard(one, other) for other in learned] for one in asked])
        found = near_in_characters(asked, learned, least)
        np.testing.assert_array_equal(found >= 0, best.max(axis=1) >= least)
        hit = np.flatnonzero(found >= 0)
        np.testing.assert_allclose(best[hit, found[hit]], best[hit].max(axis=1))
        assert len(hit)


def test_texts_too_short_for_a_shingle_match_nothing() -> None:
    assert near_in_characters(["ab"], ["ab"]).tolist() == [-1]


def test_the_closest_vector_counts_from_the_cosine_on() -> None:
    learned = np.array([[1.0, 0.0], [0.0, 1.0]])
    asked = np.array([[0.96, 0.28], [0.6, 0.8], [0.0, 1.0]])
    assert near_in_meaning(asked, learned).tolist() == [0, -1, 1]


def test_a_first_turn_has_the_mean_of_both_turns(tmp_path: Path) -> None:
    rows = [
        ("writing", f"{question}-t{turn}", f"text {question} {turn}", model, float(mark), 0, "g", None, "benchmark")
        for question, turn, model, mark in (
            (82, 1, "s", 1),
            (82, 2, "s", 4),
            (82, 1, "l", 9),
            (82, 2, "l", 10),
            (81, 1, "s", 2),
            (81, 2, "s", 2),
            (81, 1, "l", 6),
            (81, 2, "l", 8),
        )
    ]
    columns = ["task", "query_id", "query", "model", "quality", "sample", "group", "overlap", "split"]
    pd.DataFrame(rows, columns=columns).to_parquet(tmp_path / "mt_bench_routellm.parquet")
    table, ids = first_turns(tmp_path)
    assert dict(zip(ids, table.texts, strict=True)) == {"81": "text 81 1", "82": "text 82 1"}
    assert dict(zip(ids, table.marks("s"), strict=True)) == {"81": 2.0, "82": 2.5}
    assert dict(zip(ids, table.marks("l"), strict=True)) == {"81": 7.0, "82": 9.5}
