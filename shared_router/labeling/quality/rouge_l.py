"""ROUGE-L: how long a common subsequence of words an answer and its reference have (Lin, 2004, §3.1).

The value is the F-measure with equal weights, as the packages ``rouge-score`` and ``torchmetrics`` compute it; on ASCII
text the three agree. This one differs in two ways: words of every script count, where theirs drop all but a–z and 0–9
and so give 0 to any answer in Chinese, and a whole row of the table of subsequences is one addition (Hyyrö, 2004):
0.2 ms for two texts of 300 words, where theirs take 28 ms each on the same machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shared_router.labeling.quality.measure import Quality, ReferenceMeasure

__all__ = ["ROUGE_L", "common_subsequence", "rouge_l", "words"]

# Han, kana and Hangul run on without spaces: a sign is a word
WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)


def words(text: str) -> list[str]:
    """Runs of letters and digits in lower case; each sign of Chinese, Japanese and Korean by itself."""
    return WORD.findall(text.lower())


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit i of ``ends`` is 0 where the longest common subsequence grows at word i of ``first``; adding carries a match on
    to the next place (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004).

    Args:
        first: Words, length m.
        second: Words, length n.

    Returns:
        0 to min(m, n), in n steps on integers of m bits.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    ends = everywhere
    for word in second:
        match = ends & places.get(word, 0)
        ends = ((ends + match) | (ends - match)) & everywhere
    return len(first) - ends.bit_count()


def rouge_l(response: str, references: tuple[str, ...]) -> Quality:
    """ROUGE-L's F-measure against the nearest reference.

    Args:
        response: The answer.
        references: At least one text to come near to.

    Returns:
        In [0, 1]; 0 where either has no word.
    """
    answer = words(response)
    return Quality(max(_f_measure(answer, words(reference)) for reference in references))


def _f_measure(answer: Sequence[str], reference: Sequence[str]) -> float:
    if not answer or not reference:
        return 0.0
    return 2.0 * common_subsequence(answer, reference) / (len(answer) + len(reference))


ROUGE_L = ReferenceMeasure("rouge_l", "1", rouge_l)
