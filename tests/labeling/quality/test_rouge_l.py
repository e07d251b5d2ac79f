"""ROUGE-L against the paper's examples, rouge-score's values and the textbook's table."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from shared_router.labeling.quality.rouge_l import common_subsequence, rouge_l, words


@pytest.mark.parametrize(
    ("response", "reference", "quality"),
    [
        # Lin (2004), §3.1
        ("police kill the gunman", "police killed the gunman", 0.75),
        ("the gunman kill police", "police killed the gunman", 0.5),
        # rouge-score 0.1.2, rougeL, without a stemmer
        ("The quick brown dog jumps on the log.", "the quick brown fox jumps over the lazy dog", 0.5882352941176471),
        ("g f e d c b a", "a b c d e f g", 0.14285714285714285),
        ("X 1 costs 3 50", "x_1 costs $3.50!", 1.0),
        ("", "a b", 0.0),
        ("...", "a b", 0.0),
        ("a b", "!", 0.0),
    ],
)
def test_known_values(response: str, reference: str, quality: float) -> None:
    assert rouge_l(response, (reference,)).value == pytest.approx(quality, abs=1e-12)


def test_the_nearest_reference_counts() -> None:
    assert rouge_l("lima", ("cusco", "lima peru", "lima")).value == 1.0


def test_other_scripts_count() -> None:
    assert rouge_l("Лима — столица", ("лима столица",)).value == 1.0
    assert words("東京は首都") == list("東京は首都")
    assert rouge_l("東京は首都", ("京都は首都",)).value == pytest.approx(0.8)


def table(first: Sequence[str], second: Sequence[str]) -> int:
    row = [0] * (len(first) + 1)
    for word in second:
        before = row
        row = [0]
        for place, other in enumerate(first):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    return row[-1]


@pytest.mark.parametrize("vocabulary", ["ab", "abcdefghij"])
def test_the_subsequence_is_the_textbooks(vocabulary: str) -> None:
    draw = random.Random(0)
    for _ in range(300):
        first = draw.choices(vocabulary, k=draw.randrange(90))
        second = draw.choices(vocabulary, k=draw.randrange(90))
        assert common_subsequence(first, second) == table(first, second) == common_subsequence(second, first)
