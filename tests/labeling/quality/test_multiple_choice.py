"""Options found in answers."""

from __future__ import annotations

import pytest

from shared_router.labeling.quality.multiple_choice import chosen_letter, multiple_choice, reference_letter


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("b is wrong. The answer is (c).", "C"),
        ("(B)", "B"),
        ("B. Paris", "B"),
        ("**D**", "D"),
        ("C\nbecause of the heat", "C"),
        ("The answer is B because A is wrong.", "B"),
        ("The answer is A because of C.", "A"),
        ("Answer: **(J)**", "J"),
        ("The correct option is: option D.", "D"),
        ("first the answer is A, but no: the answer is B", "B"),
        ("the answer is b.", "B"),
        (r"so \boxed{C} and not A", "C"),
        (r"\boxed{\text{(d)}}", "D"),
        ("It must be (A), or maybe (E)", "E"),
        ("A tall building? I think it is D", "D"),
        ("It can only be A.", "A"),
        ("I would say a lot of things about it", None),
        ("A cat is what I see in it", None),
        ("the answer is a cat", None),
        ("the answer is I think unknowable", None),
        ("CAB DEF", None),
        ("", None),
        ("K", None),
    ],
)
def test_the_option_that_an_answer_names(response: str, letter: str | None) -> None:
    assert chosen_letter(response) == letter


@pytest.mark.parametrize(
    ("reference", "letter"),
    [("B", "B"), (" (b) ", "B"), ("B) Paris", "B"), ("b.", "B"), ("A cat", None), ("Paris", None), ("2", None)],
)
def test_the_option_that_a_reference_is(reference: str, letter: str | None) -> None:
    assert reference_letter(reference) == letter


def test_the_quality() -> None:
    assert multiple_choice("The answer is (B)", ("B",)).value == 1.0
    assert multiple_choice("The answer is (B)", ("A", "B. Paris")).value == 1.0
    assert multiple_choice("The answer is (C)", ("A", "B")).value == 0.0
    assert multiple_choice("no idea", ("A",)).notes == ("no option's letter found in the answer: quality 0",)
    assert multiple_choice("A", ("Paris",)).fault == "the reference 'Paris' is no option's letter, A to J"
