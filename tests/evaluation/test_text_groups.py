"""What is told of texts, and what makes a column of groups."""

from __future__ import annotations

import sys
import types

import pytest

from shared_router.errors import HybridError, MissingExtraError, OutcomeError
from shared_router.evaluation.text_groups import (
    DETECTORS,
    MAX_GROUPS,
    MISSING,
    GroupColumn,
    detected_column,
    given_column,
    script_of,
)


def groups(column: GroupColumn) -> list[str]:
    return [column.names[place] for place in column.place.tolist()]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("What is the capital of Peru?", "Latin"),
        ("Какая столица Перу?", "Cyrillic"),
        ("Ποια είναι η πρωτεύουσα;", "Greek"),
        ("ما هي عاصمة بيرو؟", "Arabic"),
        ("מהי בירת פרו?", "Hebrew"),
        ("पेरू की राजधानी क्या है?", "Devanagari"),
        ("পেরুর রাজধানী কী?", "Bengali"),
        ("பெருவின் தலைநகரம் என்ன?", "Tamil"),
        ("เมืองหลวงของเปรูคืออะไร", "Thai"),
        ("የፔሩ ዋና ከተማ ምንድን ነው?", "Ethiopic"),
        ("페루의 수도는 어디입니까?", "Hangul"),
        ("秘鲁的首都是哪里？", "Han"),
        ("ペルーの首都はどこですか", "Japanese"),
        ("ﾍﾟﾙｰ", "Japanese"),
        ("Ｗｈａｔ", "Latin"),
        ("𝒙 + 𝒚", "Latin"),
        ("2 + 2 = ?", "no letters"),
        ("", "no letters"),
        ("🙂", "no letters"),
        ("𐌀𐌁𐌂", "other"),
    ],
)
def test_scripts(text: str, script: str) -> None:
    assert script_of(text) == script


def test_latin_words_in_another_script_do_not_hide_it() -> None:
    assert script_of("请用 Python 写一个函数 quicksort") == "Han"
    assert script_of("Translate into English, please, and explain the grammar: 你好") == "Latin"


def test_greek_letters_of_formulas_do_not_make_a_text_greek() -> None:
    assert script_of("Find α if α + β = γ.") == "Latin"
    assert script_of("Ποιο α;") == "Greek"


def test_a_given_column_names_each_kind_of_value() -> None:
    values = ["hi", " hi ", "en", "en", "en", None, float("nan"), "", True, 3, 2.0, "  a\nb "]
    column = given_column("language", values)
    assert groups(column) == ["hi", "hi", "en", "en", "en", *[MISSING] * 3, "true", "3", "2", "a b"]
    assert column.names == ("en", "hi", "2", "3", "a b", "true", MISSING)
    assert column.name == "language"


def test_the_same_name_in_two_unicode_forms_is_one_group() -> None:
    assert given_column("town", ["Zu\u0308rich", "Z\u00fcrich"]).names == ("Z\u00fcrich",)


def test_signs_that_would_steer_a_terminal_are_not_shown() -> None:
    assert given_column("x", ["a\x1b[31m"]).names == ("a\ufffd[31m",)


@pytest.mark.parametrize("value", [["en"], {"a": 1}, b"en", ("a",)])
def test_values_that_name_no_group_are_refused(value: object) -> None:
    with pytest.raises(OutcomeError, match=f"'x' holds values of type {type(value).__name__}"):
        given_column("x", [value])


def test_text_and_ids_are_no_groups_and_are_not_repeated() -> None:
    with pytest.raises(OutcomeError, match="text of 83 characters") as caught:
        given_column("question", ["a secret" + "x" * 75])
    assert "secret" not in str(caught.value)
    with pytest.raises(OutcomeError, match=f"{MAX_GROUPS + 1} different values") as caught:
        given_column("user", [f"secret{i}" for i in range(MAX_GROUPS + 1)])
    assert "secret" not in str(caught.value)


def test_quarters_of_length_part_the_texts() -> None:
    column = detected_column("length", ["x" * n for n in range(1, 101)])
    assert column.names == (
        "up to 25 characters",
        "26 to 50 characters",
        "51 to 75 characters",
        "over 75 characters",
    )
    assert [column.place.tolist().count(place) for place in range(4)] == [25, 25, 25, 25]
    assert column.name == "length (detected)"


def test_equally_long_texts_are_in_one_group() -> None:
    assert detected_column("length", ["abc", "def", "ghi"]).names == ("up to 3 characters",)
    names = detected_column("length", ["a", "a", "a", "a", "a", "a", "a", "bcd"]).names
    assert names == ("up to 1 characters", "over 1 characters")


@pytest.mark.parametrize(
    "text",
    [
        "Why does this fail?\n```\nprint(1)\n```",
        "def f(x):\n    return x",
        "from math import sqrt",
        "Explain: int x = 3;\nfree(x);",
        "for (;;) {\nif (x) {\n",
        "const f = (a, b) => a + b",
        "SELECT name FROM users",
        "<b>bold</b>",
        "#include <stdio.h>",
    ],
)
def test_code_is_seen(text: str) -> None:
    assert groups(detected_column("code", [text])) == ["code"]


@pytest.mark.parametrize(
    "text",
    [
        "Write a Python function that sorts a list.",
        "Please select one from the list; define your terms; then stop.",
        "Find $\\frac{a}{b}$ and\n$\\frac{c}{d}$",
        "Classes of import goods are taxed. From there, import taxes rise.",
        "if a < b and c > d, what follows?",
    ],
)
def test_prose_and_formulas_are_no_code(text: str) -> None:
    assert groups(detected_column("code", [text])) == ["no code"]


def test_forms() -> None:
    texts = ["Which?\nA. one\nB. two", "Where is it?", "どこですか？", "أين؟", "Translate this.", "Γιατί\u037e"]
    assert groups(detected_column("form", texts)) == [
        "multiple choice",
        *["question mark"] * 3,
        "no question mark",
        "question mark",
    ]


def test_only_what_the_router_reads_of_a_text_is_looked_at() -> None:
    assert groups(detected_column("form", ["x" * 9000 + "?"])) == ["no question mark"]


def fake_langid(answers: dict[str, tuple[str, float]]) -> types.ModuleType:
    class Identifier:
        @classmethod
        def from_model_file(cls, path: str, *, norm_probs: bool) -> Identifier:
            assert norm_probs
            assert path == "model"
            return cls()

        def classify(self, text: str) -> tuple[str, float]:
            return answers[text]

    module = types.ModuleType("py3langid.langid")
    module.MODEL_FILE = "model"  # type: ignore[attr-defined]
    module.LanguageIdentifier = Identifier  # type: ignore[attr-defined]
    return module


def test_languages_are_named_where_they_are_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"wo ist es": ("de", 0.9), "ok": ("sr", 0.01), "x=1": ("zxx", 0.8), "where": ("en", 0.51)}
    monkeypatch.setitem(sys.modules, "py3langid", types.ModuleType("py3langid"))
    monkeypatch.setitem(sys.modules, "py3langid.langid", fake_langid(answers))
    assert groups(detected_column("language", list(answers))) == ["de", "unsure", "no language", "en"]


def test_the_real_library_knows_languages() -> None:
    pytest.importorskip("py3langid")
    texts = ["What is the capital of Peru?", "Was ist die Hauptstadt von Peru?", "ok"]
    assert groups(detected_column("language", texts)) == ["en", "de", "unsure"]


def test_without_the_library_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        detected_column("language", ["a"])


def test_an_old_version_of_the_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", types.ModuleType("py3langid"))
    monkeypatch.setitem(sys.modules, "py3langid.langid", types.ModuleType("py3langid.langid"))
    with pytest.raises(MissingExtraError, match=r"0\.4 or later"):
        detected_column("language", ["a"])


def test_unknown_detectors_are_refused_with_a_hint() -> None:
    with pytest.raises(HybridError, match="did you mean 'script'"):
        detected_column("scripts", ["a"])
    with pytest.raises(HybridError, match="give it as a column"):
        detected_column("dialect", ["a"])


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "language"])
def test_detectors_take_any_text_and_none(name: str) -> None:
    texts = ["", "\x00\ud800", "a" * 20_000, "1;{" * 3000, "SELECT " * 2000, "def " * 3000, "(" * 9000]
    column = detected_column(name, texts)
    assert len(groups(column)) == len(texts)
    assert sorted(set(column.place.tolist())) == list(range(len(column.names)))
    assert detected_column(name, []).names == ()
