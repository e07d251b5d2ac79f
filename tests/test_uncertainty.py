"""Measures of how sure a model was of its answer: known values, limits and what servers really send."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.uncertainty import (
    MEASURES,
    Evidence,
    Token,
    agreement,
    alternatives_entropy,
    entropy,
    final_answer,
    first_token_log_margin,
    first_token_margin,
    mean_logprob,
    measured,
    self_consistency,
    tokens_from,
)


def token(text: str, *chances: float, others: str = "xyzuvw") -> Token:
    """A token of the first chance, with the others as alternatives."""
    spelled = [
        (text, math.log(chances[0])),
        *((other, math.log(p)) for other, p in zip(others, chances[1:], strict=False)),
    ]
    return Token(text, math.log(chances[0]), tuple(spelled) if len(chances) > 1 else ())


def test_margins_of_known_probabilities() -> None:
    first = token("A", 0.6, 0.3)
    assert first_token_margin([first]) == pytest.approx(1 - (0.6 - 0.3))
    # 2 / (1 + p1/p2), the logits' difference log 2 on a scale from 0 to 1
    assert first_token_log_margin([first]) == pytest.approx(2 / 3)


def test_the_two_margins_order_answers_differently() -> None:
    sure_by_ratio, sure_by_gap = token("A", 0.5, 0.01), token("A", 0.9, 0.08)
    assert first_token_log_margin([sure_by_ratio]) < first_token_log_margin([sure_by_gap])
    assert first_token_margin([sure_by_ratio]) > first_token_margin([sure_by_gap])


def test_only_the_first_token_counts_for_a_margin() -> None:
    assert first_token_margin([token("A", 0.9, 0.1), token("B", 0.5, 0.5)]) == pytest.approx(0.2)


def test_without_alternatives_all_that_is_left_is_one_other_token() -> None:
    assert first_token_margin([token("A", 0.7)]) == pytest.approx(1 - (0.7 - 0.3))
    assert first_token_margin([token("A", 0.2)]) == 1.0


def test_spellings_of_one_answer_are_no_alternatives() -> None:
    said = Token("Yes", math.log(0.5), (("Yes", math.log(0.5)), (" yes", math.log(0.3)), ("No", math.log(0.1))))
    assert first_token_margin([said]) == pytest.approx(1 - (0.5 - 0.1))
    # where nothing else was returned, no other token is likelier than what is left
    alone = Token("Yes", math.log(0.5), (("Yes", math.log(0.5)), (" yes", math.log(0.3))))
    assert first_token_margin([alone]) == pytest.approx(1 - (0.5 - 0.2))


def test_entropy_and_mean_of_known_probabilities() -> None:
    assert alternatives_entropy(token("A", 1.0)) == 0.0
    even = token("A", 0.5, 0.25)  # the quarter that was not returned is one more outcome
    bits = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(3)
    assert alternatives_entropy(even) == pytest.approx(bits)
    assert entropy([even, token("A", 1.0)]) == pytest.approx(bits / 2)
    assert mean_logprob([token("A", 0.9), token("B", 0.4)]) == pytest.approx(1 - math.sqrt(0.9 * 0.4))


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6))
def test_every_measure_stays_in_its_range_and_falls_as_the_first_token_gets_surer(chances: list[float]) -> None:
    total = sum(chances)
    shares = sorted((chance / total for chance in chances), reverse=True)
    said = token("A", *shares)
    surer = token("A", *[share / 2 + (0.5 if i == 0 else 0.0) for i, share in enumerate(shares)])
    for measure in (first_token_margin, first_token_log_margin, mean_logprob):
        assert 0.0 <= measure([surer]) <= measure([said]) + 1e-12 <= 1.0 + 1e-12
    assert 0.0 <= entropy([said]) <= 1.0


def test_what_servers_report_is_read_in_all_their_forms() -> None:
    chat = {
        "content": [{"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "A", "logprob": -0.1}]}],
        "refusal": None,
    }
    older = {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [{"A": -0.1}]}
    expected = (Token("A", -0.1, (("A", -0.1),)),)
    assert tokens_from(chat) == tokens_from(chat["content"]) == tokens_from(older) == expected


@pytest.mark.parametrize(
    "reported",
    [None, {}, [], "A", {"content": None}, {"content": [{"token": "A"}]}, [{"token": "A", "logprob": float("nan")}],
     [{"token": "A", "logprob": 0.5}], [{"token": "A", "logprob": True}], {"token_logprobs": [None], "tokens": ["A"]},
     [{"token": "A", "logprob": -0.1}, 7]],
)  # fmt: skip
def test_what_is_no_report_is_none(reported: object) -> None:
    assert tokens_from(reported) is None


def test_a_probability_rounded_to_just_above_one_is_one() -> None:
    assert tokens_from([{"token": "A", "logprob": 1e-7}]) == (Token("A", 0.0),)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is (B).", "b"),
        ("Answer: b", "b"),
        ("Because of this, the answer is: C) Rome", "c"),
        ("#### 1,234.50", "1234.5"),
        ("5 + 7 = 12\n#### 12", "12"),
        ("So x grows.\n\nThe total is 42 apples.", "42"),
        (r"Thus \boxed{17}.", "17"),
        ("It was May 1.\nA: 05/01/2021", "5/1/2021"),
        ("So it is late.\nA: 5/1/2021", "5/1/2021"),
        ("The answer is 10:05.", "10:5"),
        ("  Paris. ", "paris"),
        ("the answer is a dog", "a dog"),
        ("", ""),
    ],
)
def test_an_answer_comes_to_the_same_however_it_is_said(text: str, answer: str) -> None:
    assert final_answer(text) == answer


def test_a_long_answer_is_read_from_its_end_in_no_time() -> None:
    assert final_answer("a 1 {" * 200_000 + "\n#### 7") == "7"


def test_self_consistency_is_the_share_outside_the_majority() -> None:
    samples = ["#### 7", "The answer is 7", "#### 8", None]
    assert agreement(samples) == (0, 2)
    assert self_consistency(samples) == 0.5
    assert self_consistency(["a", "b", "c", "d"]) == 0.75
    assert self_consistency([None, None]) == 1.0
    assert agreement(["#### 8", "#### 7", "7"]) == (1, 2)
    with pytest.raises(ValueError, match="no sample"):
        agreement([None])


def test_a_measure_says_nothing_where_the_evidence_does_not() -> None:
    for name in MEASURES:
        assert measured(name, Evidence("q", "a")) is None
        assert measured(name, Evidence("q", "a", tokens=())) is None
    assert measured("self_consistency", Evidence("q", "a", samples=("a", "b"))) == 0.5
    assert measured("mean_logprob", Evidence("q", "a", tokens=(token("a", 0.25),))) == pytest.approx(0.75)
