"""Prompts → groups: by a column that the user gives, or by what a plain look at the text tells.

Detected columns say only what can be told of a text itself, without a model and in one pass:

    script     in which script most of it is written (Unicode)
    length     quarters of the prompts by their number of characters
    code       whether it has code in it
    form       multiple choice, with a question mark, or without
    language   which language (by the optional library py3langid); "unsure" where none is more probable than all others

A dialect is not among them, nor is who is asking. The light detectors that exist were learned on one platform's posts
and not measured on prompts of a line or two; a group made of guesses tells little about the people whom it is named
after. Give it as a column of your own.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import clipped
from shared_router.errors import HybridError, MissingExtraError, OutcomeError
from shared_router.scorers.surface_features import stem_and_options

__all__ = ["DETECTORS", "MAX_GROUPS", "MISSING", "GroupColumn", "detected_column", "given_column", "script_of"]

MISSING = "(none)"
"""Group of the prompts that have no value in a column."""

MAX_GROUPS = 100
"""A column with more different values holds something else than groups: names, ids, or text."""

MAX_NAME_CHARS = 80

OTHER_SCRIPT_SHARE = 0.2
"""From this share of letters on, a script other than Latin names the text: prompts in all scripts quote Latin words,
code and formulas, and Latin ones rarely quote as much of another."""

SURE = 0.5
"""A language is named where it is more probable than all others together."""

_SCRIPT_NAMES = (
    "Arabic Armenian Bengali Bopomofo Cherokee Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Hangul "
    "Hebrew Kannada Khmer Lao Latin Malayalam Mongolian Myanmar Nko Oriya Sinhala Syriac Tamil Telugu Thaana Thai "
    "Tibetan Tifinagh"
)

SCRIPTS = {
    "CANADIAN": "Canadian Aboriginal",
    "CJK": "Han",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    **{name.upper(): name for name in _SCRIPT_NAMES.split()},
}
"""First word of a letter's Unicode name → script in use today; "Japanese" (ISO 15924) is kana, with or without Han."""

_LONE_GREEK = re.compile(r"(?<![^\W\d_])[\u0370-\u03ff](?![^\W\d_])")
_QUESTION_MARKS = frozenset("?？؟⁇⁈\u037e\u055e\u1367")
"""Latin, full-width, Arabic, doubled, Greek, Armenian and Ethiopic."""

_CODE = re.compile(
    r"```"
    r"|^[ \t]*(?:async[ ]+)?def[ ]+\w+[ ]*\(|^[ \t]*class[ ]+\w+[^\n]{0,80}[:{][ \t]*$"
    r"|^[ \t]*from[ ]+[\w.]+[ ]+import[ ]|^[ \t]*import[ ]+[\w.{][^\n]{0,80};[ \t]*$|^[ \t]*#include[ ]*[<\"]"
    r"|\bfunction[ ]*\w*[ ]*\([^()\n]{0,80}\)[ ]*\{|\)[ ]*=>[ ]*[{(\w]"
    r"|\bSELECT\b[^;]{1,200}?\bFROM\b"
    r"|</[A-Za-z][A-Za-z0-9]{0,20}>",
    re.MULTILINE,
)
_STATEMENT = re.compile(r"[=()][^\n]{0,80};[ \t]*$|[^\s{}][ \t]*\{[ \t]*$", re.MULTILINE)
STATEMENTS = 2
"""So many lines that end as statements do are code, whatever the language."""


@dataclass(frozen=True, slots=True)
class GroupColumn:
    """Which group each of n prompts belongs to.

    Attributes:
        name: The column's; a detected one says so.
        names: The groups in the order in which people want to see them, each different.
        place: Group of each prompt, a place in ``names``, shape (n,).
    """

    name: str
    names: tuple[str, ...]
    place: npt.NDArray[np.int64]


def given_column(name: str, values: Sequence[object]) -> GroupColumn:
    """A column as the user's file has it, the largest group first.

    Args:
        name: The column's name.
        values: One a prompt: text, numbers, true or false; None, NaN and empty text make up the group ``MISSING``.

    Raises:
        OutcomeError: Values that name no group, or more than ``MAX_GROUPS`` different ones; the message does not repeat
            them, as they may be text that somebody wrote.
    """
    groups = [_group_name(name, value) for value in values]
    counted = Counter(groups)
    if len(counted) > MAX_GROUPS:
        raise OutcomeError(
            f"column {name!r} has {len(counted)} different values, and groups to compare are at most {MAX_GROUPS}; "
            "put them into a few classes first"
        )
    return _column(name, groups, sorted(counted, key=lambda group: (group == MISSING, -counted[group], group)))


def detected_column(name: str, texts: Sequence[str]) -> GroupColumn:
    """A column told from the texts.

    Args:
        name: Key of ``DETECTORS``.
        texts: n prompts.

    Raises:
        HybridError: There is no such detector.
        MissingExtraError: "language", and py3langid is not installed.
    """
    if name not in DETECTORS:
        near = difflib.get_close_matches(name, DETECTORS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        if name == "dialect":
            hint = "; a dialect cannot be told reliably from a prompt: give it as a column of your file"
        raise HybridError(f"nothing detects {name!r}{hint} (there are: {', '.join(DETECTORS)})")
    return DETECTORS[name](f"{name} (detected)", [clipped(text) for text in texts])


def script_of(text: str) -> str:
    """The script in which a text is written.

    Greek letters that stand alone count as symbols of mathematics.

    Args:
        text: Any string.

    Returns:
        A value of ``SCRIPTS``, "other" for scripts that are not in it, "no letters" for a text without any.
    """
    letters: Counter[str] = Counter()
    for sign, count in Counter(unicodedata.normalize("NFKC", _LONE_GREEK.sub(" ", text))).items():
        script = _script_of_sign(sign)
        if script:
            letters[script] += count
    if not letters:
        return "no letters"
    # Japanese is written in kana and Han together
    if letters["Japanese"]:
        letters["Japanese"] += letters.pop("Han", 0)
    total = letters.total()
    others = [script for script in letters if script != "Latin" and letters[script] >= OTHER_SCRIPT_SHARE * total]
    return max(others, key=lambda script: (letters[script], script)) if others else "Latin"


@functools.lru_cache(maxsize=65536)
def _script_of_sign(sign: str) -> str:
    if not unicodedata.category(sign).startswith("L"):
        return ""
    return SCRIPTS.get(unicodedata.name(sign, "").partition(" ")[0].partition("-")[0], "other")


def _group_name(column: str, value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, list | tuple | dict | set | bytes):
        raise OutcomeError(
            f"column {column!r} holds values of type {type(value).__name__}; a group is named by text, a number, or "
            "true or false"
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    said = f"{value:g}" if isinstance(value, float) else str(value)
    shown = "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(said.split()))
    if len(shown) > MAX_NAME_CHARS:
        raise OutcomeError(
            f"column {column!r} holds text of {len(shown)} characters, which names no group; a name has at most "
            f"{MAX_NAME_CHARS}"
        )
    return unicodedata.normalize("NFC", shown) or MISSING


def _column(name: str, groups: Sequence[str], order: Iterable[str]) -> GroupColumn:
    names = tuple(order)
    place = {group: i for i, group in enumerate(names)}
    return GroupColumn(name, names, np.array([place[group] for group in groups], dtype=np.int64))


def _by_size(name: str, groups: Sequence[str]) -> GroupColumn:
    counted = Counter(groups)
    return _column(name, groups, sorted(counted, key=lambda group: (-counted[group], group)))


def _scripts(name: str, texts: Sequence[str]) -> GroupColumn:
    return _by_size(name, [script_of(text) for text in texts])


def _lengths(name: str, texts: Sequence[str]) -> GroupColumn:
    chars = np.array([len(text) for text in texts], dtype=np.int64)
    # of equally long texts all lie in one quarter, so that there may be fewer than four
    edges = np.unique(np.quantile(chars, [0.25, 0.5, 0.75], method="lower")).tolist() if len(chars) else []
    titles = [
        f"up to {edges[0]} characters" if i == 0 else f"{edges[i - 1] + 1} to {edges[i]} characters"
        for i in range(len(edges))
    ]
    titles.append(f"over {edges[-1]} characters" if edges else "")
    groups = [titles[i] for i in np.searchsorted(edges, chars, side="left").tolist()]
    present = set(groups)
    return _column(name, groups, (title for title in titles if title in present))


def _codes(name: str, texts: Sequence[str]) -> GroupColumn:
    return _by_size(
        name,
        ["code" if _CODE.search(text) or len(_STATEMENT.findall(text)) >= STATEMENTS else "no code" for text in texts],
    )


def _forms(name: str, texts: Sequence[str]) -> GroupColumn:
    return _by_size(name, [_form_of(text) for text in texts])


def _form_of(text: str) -> str:
    if stem_and_options(text)[1]:
        return "multiple choice"
    return "no question mark" if _QUESTION_MARKS.isdisjoint(text) else "question mark"


def _languages(name: str, texts: Sequence[str]) -> GroupColumn:
    try:
        langid = importlib.import_module("py3langid.langid")
        identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(
            'detecting languages needs py3langid 0.4 or later: pip install "py3langid>=0.4"; '
            "or give the language as a column of your file"
        ) from error
    guesses = [identifier.classify(text) for text in texts]
    # "zxx" is ISO 639's word for "no linguistic content"
    groups = [
        "unsure" if probability < SURE else "no language" if language == "zxx" else str(language)
        for language, probability in guesses
    ]
    return _by_size(name, groups)


DETECTORS: dict[str, Callable[[str, Sequence[str]], GroupColumn]] = {
    "script": _scripts,
    "length": _lengths,
    "code": _codes,
    "form": _forms,
    "language": _languages,
}
"""What can be detected: name → function of the column's name and the texts."""
