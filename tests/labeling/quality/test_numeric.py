"""Numbers found in answers, and compared exactly."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from shared_router.labeling.quality.numeric import Number, numeric, numeric_answer, reference_number, same_number


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("42", 42),
        ("She has 5 apples in 3 baskets.", 3),
        ("The answer is 42, because 6 * 7 is that.", 42),
        ("The answer is 3. Check: 1 + 1 = 2", 3),
        ("the answer is 3 + 4 = 7.", 7),
        ("Answer: **7**", 7),
        ("the answer is below:\n\n42", 42),
        ("first the answer is 5; no, the answer is 6", 6),
        ("2 + 2 = 4\n#### 1,234", 1234),
        (r"so \boxed{12} and not 13", 12),
        (r"\boxed{1} then \boxed{x = 2}", 2),
        (r"\boxed{\text{about } 5\text{ m}^2}", 5),
        (r"\boxed{90^\circ}", 90),
        (r"\boxed{7", 7),
        ("-0.5", Fraction(-1, 2)),
        ("−3", -3),
        (".5", Fraction(1, 2)),
        ("10-3", 3),
        ("it costs -$1,234.50 in all", Fraction(-2469, 2)),
        (r"$12{,}345$", 12345),
        ("1\u202f234\u202f567", 1234567),
        ("3/4", Fraction(3, 4)),
        ("1 3/4 cups", Fraction(7, 4)),
        ("1½ cups", Fraction(3, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"$-\dfrac12$", Fraction(-1, 2)),
        (r"2\tfrac{ 1 }{3}", Fraction(7, 3)),
        ("1.5e3", 1500),
        (r"1.5 \times 10^{-2}", Fraction(3, 200)),
        ("2 × 10^3", 2000),
        ("٣", 3),
        ("the answer is 5!", 5),
    ],
)
def test_the_number_that_a_text_arrives_at(response: str, value: int | Fraction) -> None:
    found = numeric_answer(response)
    assert found is not None
    assert (found.value, found.percent) == (value, False)


@pytest.mark.parametrize(
    "response",
    [
        "none",
        "",
        r"\boxed{2\sqrt{3}} is about 3.46",
        r"\boxed{2^{10}}",
        r"\boxed{3x}",
        r"\boxed{(3, 4)}",
        r"\boxed{5!}",
        "the answer is 2π.",
        "1/0",
        r"\boxed{}",
        "x^2",
        "1e999999999",
        "9" * 5000,
        "1e" + "9" * 5000,
    ],
)
def test_what_is_no_plain_number_is_none(response: str) -> None:
    assert numeric_answer(response) is None


@pytest.mark.parametrize(
    "text", ["\\frac{" + " " * 50_000, "1 " * 50_000, "answer is" + " (" * 20_000, "-" * 200_000, "\\boxed{" * 20_000]
)
def test_a_degenerate_answer_takes_no_longer_than_its_length(text: str) -> None:
    start = time.perf_counter()
    numeric_answer(text)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Number(Fraction(1, 2)), Number(Fraction(50), percent=True), True),
        (Number(Fraction(50)), Number(Fraction(50), percent=True), True),
        (Number(Fraction(50), percent=True), Number(Fraction(50), percent=True), True),
        (Number(Fraction(1, 2)), Number(Fraction(50)), False),
        (Number(Fraction(1, 3)), Number(Fraction(333, 1000)), False),
    ],
)
def test_percent(first: Number, second: Number, same: bool) -> None:
    assert same_number(first, second) is same
    assert same_number(second, first) is same


def test_a_reference_is_a_number_or_a_solution_that_arrives_at_one() -> None:
    assert reference_number("48/2 = 24\n48 + 24 = 72\n#### 72") == Number(Fraction(72))
    assert reference_number(r"thus \boxed{\frac{1}{2}}.") == Number(Fraction(1, 2))
    assert reference_number("18.00 dollars") == Number(Fraction(18))
    assert reference_number("3 to 5") is None
    assert reference_number(r"2\sqrt{3}") is None


def test_the_quality() -> None:
    assert numeric("so it is 0.75", ("3/4",)).value == 1.0
    assert numeric("so it is 0.75", ("1", r"\frac{3}{4}")).value == 1.0
    assert numeric("so it is 0.7500001", ("3/4",)).value == 0.0
    without = numeric("I cannot say", ("3/4",))
    assert (without.value, without.fault) == (0.0, "")
    assert without.notes == ("no number found in the answer: quality 0",)
    assert numeric("3", ("three",)).fault == "the reference 'three' is no plain number"


def test_nothing_in_an_answer_is_evaluated() -> None:
    assert numeric("__import__('os').abort() or 2**10", ("1024",)).value == 0.0
    assert numeric(r"\boxed{1+1}", ("2",)).value == 0.0
