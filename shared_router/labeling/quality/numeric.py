r"""Whether a number is right: the answers of mathematics problems, compared as exact fractions.

The number is looked for in this order: in the last ``\boxed{}``; after the last ``####`` (GSM8K); in the sentence of
the last "answer is" or "answer:"; the last number of the text. Read are signs, thousands separators (1,234), decimals,
exponents (1.5e3, 1.5 × 10^3), fractions (3/4, \frac{3}{4}, ¾, 1 3/4), percent, and what stands around a number
(currency, units, LaTeX). Nothing is evaluated: what is no plain number (2√3, 2^10, 3x, a pair) is none.

50% equals 0.5, and also 50, as questions that ask for a percentage have it. Rounded values are not equal to exact ones:
0.333 is not 1/3.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from shared_router.labeling.quality.measure import Quality, ReferenceMeasure

__all__ = ["NUMERIC", "Number", "numeric", "numeric_answer", "reference_number", "same_number"]

MAX_DIGITS = 400
"""Of a number and of an exponent's value: beyond, a short text could stand for a number that fills the memory."""

NO_NUMBER = "no number found in the answer: quality 0"

NUMBER = re.compile(
    r"""
    (?<![_^])(?<![_^]\{)                                        # no index, no exponent
    (?P<sign>(?<![\w)\]}.%])[-+])?                              # no sign, but minus, after a digit or a bracket
    (?P<mixed>\d+[ ]+(?=\d+/\d))?                               # the 1 of 1 3/4
    (?P<value>\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
    (?:[eE](?P<exponent>[-+]?\d+))?
    (?:[ ]?/[ ]?(?P<below>\d+(?:\.\d+)?))?
    (?P<percent>[ ]?(?:%|percent\b|per[ ]cent\b))?
    """,
    re.VERBOSE,
)
NOT_PLAIN = re.compile(
    r"\\(?:sqrt|pi|infty|ln|log|sin|cos|tan|binom)(?![a-z])|[√π∞]|\d[ ]?(?:\^|[²³]|[xyz](?![a-z]))|\d!"
)
ANSWER = re.compile(r"answers?\s*(?:is|are|:|=)", re.IGNORECASE)
SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)")
EQUALS = re.compile(r"=|≈|\\approx|\\equiv")

TIDY = (
    (re.compile("[¼-¾⅐-⅞]"), lambda found: " " + unicodedata.normalize("NFKC", found[0]).replace("⁄", "/")),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\left|\\right|\\[,!;: ]|\^\{?\\circ\}?|°"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"([-+])\s?\$\s?(?=[\d.])"), r"\1"),
    (re.compile(r"\$"), " "),
    (re.compile(r"(?<=\d)\s*(?=\\[dtc]?frac)"), " "),
    (re.compile(r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), lambda found: f"{found[1].strip()}/{found[2].strip()}"),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (re.compile(r"(?<=\d)\s*(?:\\times|\\cdot|[×·*x])\s*10\s*\^\s*\{?\s*([-+]?\d+)\s*\}?"), r"e\1"),
)
"""Patterns and what replaces them, in order."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written.

    Attributes:
        written: Its value without the sign for percent.
        percent: Whether that sign followed.
    """

    written: Fraction
    percent: bool = False

    @property
    def value(self) -> Fraction:
        """What it stands for: 50% is 1/2."""
        return self.written / 100 if self.percent else self.written


def same_number(first: Number, second: Number) -> bool:
    """Whether two numbers are equal; where one of them is in percent, with or without the division by 100."""
    return first.value == second.value or (first.percent != second.percent and first.written == second.written)


def numeric_answer(response: str) -> Number | None:
    """The number that a text arrives at.

    Args:
        response: Any text.

    Returns:
        The number, exact; None where there is none, or where the answer that is marked as such is no plain number.
    """
    text = _tidy(response)
    boxed = _last_boxed(text)
    if boxed is not None:
        return _only_number(boxed)
    _, hashes, after = text.rpartition("####")
    if hashes:
        return _first_number(after)
    marks = list(ANSWER.finditer(text))
    if marks:
        sentence = SENTENCE_END.split(text[marks[-1].end() :].lstrip(), maxsplit=1)[0]
        if NUMBER.search(sentence):
            return _first_number(sentence)
    found = list(NUMBER.finditer(text))
    return _number(found[-1]) if found else None


def reference_number(reference: str) -> Number | None:
    r"""The number that a reference is, or arrives at where it is a worked solution.

    Args:
        reference: "42", "\frac{3}{4}", or a solution with ``\boxed{}``, ``####`` or "answer is".

    Returns:
        None where it is neither.
    """
    text = _tidy(reference)
    if _last_boxed(text) is not None or "####" in text or ANSWER.search(text):
        return numeric_answer(reference)
    return _only_number(text)


def numeric(response: str, references: tuple[str, ...]) -> Quality:
    """Whether an answer arrives at one of the reference numbers.

    Args:
        response: The answer, with or without the way to it.
        references: At least one.

    Returns:
        1 or 0; a fault where a reference is no number.
    """
    right = [reference_number(reference) for reference in references]
    numbers = [number for number in right if number is not None]
    if len(numbers) < len(right):
        return Quality(None, fault=f"the reference {references[right.index(None)]!r:.60} is no plain number")
    answer = numeric_answer(response)
    if answer is None:
        return Quality(0.0, notes=(NO_NUMBER,))
    return Quality(float(any(same_number(answer, number) for number in numbers)))


def _tidy(text: str) -> str:
    for pattern, replacement in TIDY:
        text = pattern.sub(replacement, text)
    return text


def _last_boxed(text: str) -> str | None:
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    start = text.index("{", start) + 1
    depth = 1
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return text[start:place]
    return text[start:]


def _result(text: str) -> str | None:
    sides = [side for side in EQUALS.split(text) if NUMBER.search(side)]
    return None if not sides or NOT_PLAIN.search(sides[-1]) else sides[-1]


def _first_number(text: str) -> Number | None:
    result = _result(text)
    found = None if result is None else NUMBER.search(result)
    return None if found is None else _number(found)


def _only_number(text: str) -> Number | None:
    result = _result(text)
    found = [] if result is None else list(NUMBER.finditer(result))
    return _number(found[0]) if len(found) == 1 else None


def _number(found: re.Match[str]) -> Number | None:
    digits = re.sub(r"[,\u00a0\u2009\u202f]", "", found["value"])
    exponent = found["exponent"] or "0"
    if len(found[0]) > MAX_DIGITS or len(exponent) > len(str(MAX_DIGITS)) + 1 or abs(int(exponent)) > MAX_DIGITS:
        return None
    below = Fraction(found["below"] or 1)
    if not below:
        return None
    whole = Fraction(found["mixed"].strip()) if found["mixed"] else Fraction(0)
    value = whole + Fraction(digits) * Fraction(10) ** int(exponent) / below
    return Number(-value if found["sign"] == "-" else value, percent=bool(found["percent"]))


NUMERIC = ReferenceMeasure("numeric", "1", numeric)
