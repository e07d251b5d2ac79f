"""What a text looks like from outside: how long, how many numbers and clauses, how rare its words.

Everything is counted over whole numbers: traits of tokens (a table with one row per token of the vocabulary, summed by
``encoders.static.token_sums``) and characters. Answer options are told apart from the question before them, for a
question does not get harder because its options are long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["FEATURES", "TRAITS", "capitals", "stem_and_options", "surface_features", "token_traits"]

TRAITS = ("number", "comma", "quantity", "sentence_end", "condition", "code", "continuation", "word", "rarity")
"""Columns of the trait table."""

FEATURES = (
    "stem_chars",
    "numbers",
    "commas",
    "quantity_words",
    "sentences",
    "condition_words",
    "code_words",
    "mean_rarity",
    "continuation_share",
    "capitals",
)
"""Columns of the feature matrix; all are expected to be higher in harder questions."""

RARITY_SCALE = 1000
"""Rarity is kept as whole thousandths, so that its sums are exact."""

FIRST_WORD_ID = 1996
"""BERT's uncased vocabulary lists its words from here on, "the" first, roughly by falling frequency: the logarithm of
the place in that list is a word's rarity, and needs no corpus."""

_QUANTITY = frozenset(
    ("each", "every", "per", "than", "twice", "half", "times", "total", "remaining", "left", "more")
) | {
    "less",
    "fewer",
    "rest",
    "altogether",
    "combined",
}
_CONDITION = frozenset(("if", "then", "suppose", "assume", "assuming", "given", "let", "such"))
_CODE = frozenset(("function", "python", "code", "def", "return", "string", "array", "list", "class", "int"))
_OPTION = re.compile(r"^[ \t]*\(?[A-J][).:][ \t]", re.MULTILINE)
_NO_CAPITALS = str.maketrans("", "", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def stem_and_options(text: str) -> tuple[str, str]:
    """A multiple-choice question's stem and its options.

    Args:
        text: A question; options are lines that begin with ``A.``, ``(A)``, ``A)`` or ``A:``, at least two of them.

    Returns:
        Stem and options; the whole text and "" if there are no options.
    """
    first = _OPTION.search(text)
    if first is None or _OPTION.search(text, first.end()) is None:
        return text, ""
    return text[: first.start()], text[first.start() :]


def capitals(text: str) -> int:
    """How many ASCII capitals a text has."""
    return len(text) - len(text.translate(_NO_CAPITALS))


def token_traits(vocabulary: Mapping[str, int]) -> npt.NDArray[np.int16]:
    """The trait table of a BERT uncased vocabulary.

    Args:
        vocabulary: Token → id.

    Returns:
        Shape (largest id + 1, len(TRAITS)); rarity in thousandths, all else 0 or 1.
    """
    table = np.zeros((max(vocabulary.values()) + 1, len(TRAITS)), dtype=np.int16)
    for token, place in vocabulary.items():
        is_word = place >= FIRST_WORD_ID
        rarity = round(RARITY_SCALE * float(np.log(max(place - FIRST_WORD_ID + 1, 1)))) if is_word else 0
        table[place] = (
            token[0].isdigit(),
            token == ",",
            token in _QUANTITY,
            token in {".", "!", "?"},
            token in _CONDITION,
            token in _CODE,
            token.startswith("##"),
            is_word,
            rarity,
        )
    return table


def surface_features(
    stem_traits: npt.NDArray[np.int64],
    traits: npt.NDArray[np.int64],
    tokens: npt.NDArray[np.int64],
    stem_chars: Sequence[int],
    stem_capitals: Sequence[int],
) -> npt.NDArray[np.float64]:
    """The feature matrix from counts.

    Args:
        stem_traits: Trait sums of the stems, shape (n, len(TRAITS)).
        traits: Trait sums of the whole texts, shape (n, len(TRAITS)).
        tokens: Tokens of the whole texts, shape (n,).
        stem_chars: Characters of the stems, length n.
        stem_capitals: Capitals of the stems, length n.

    Returns:
        Shape (n, len(FEATURES)); counts as log(1 + count), finite for empty texts too.
    """
    column = {name: i for i, name in enumerate(TRAITS)}
    features = np.empty((len(FEATURES), len(tokens)), dtype=np.float64)
    features[0] = stem_chars
    features[1:7] = stem_traits[:, :6].T
    features[9] = stem_capitals
    np.log1p(features[:7], out=features[:7])
    np.log1p(features[9], out=features[9])
    features[7] = traits[:, column["rarity"]] / (RARITY_SCALE * np.maximum(traits[:, column["word"]], 1))
    features[8] = traits[:, column["continuation"]] / np.maximum(tokens, 1)
    by_text: npt.NDArray[np.float64] = features.T
    return by_text
