"""The static encoder: exact sums, whatever the batch and whatever the text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from shared_router.encoders.static import MAX_CHARS, MAX_TOKENS, StaticEncoder, TokenBatch, clipped, token_sums
from shared_router.errors import ArtifactFormatError

VOCABULARY = {"[UNK]": 0, "how": 1, "many": 2, "apples": 3, "?": 4, "7": 5}


def tokenizer_json() -> bytes:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer.to_str().encode()


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    return StaticEncoder(tokenizer_json(), np.arange(12, dtype=np.int8).reshape(6, 2))


def test_a_text_is_the_sum_of_its_tokens(encoder: StaticEncoder) -> None:
    assert encoder.encode(["How many apples?", "", "7 7"]).tolist() == [
        [2 + 4 + 6 + 8, 3 + 5 + 7 + 9],
        [0, 0],
        [20, 22],
    ]


def test_sums_are_exact_where_int8_would_overflow() -> None:
    table = np.full((1, 1), 127, dtype=np.int8)
    batch = TokenBatch(np.zeros(MAX_TOKENS, dtype=np.int64), np.array([0, MAX_TOKENS, 0], dtype=np.int64))
    assert token_sums(table, batch).tolist() == [[0], [127 * MAX_TOKENS], [0]]


def test_no_texts(encoder: StaticEncoder) -> None:
    assert encoder.encode([]).shape == (0, 2)


AWKWARD = ["", " \n", "\x00", "\ud800", "a\udfffb", "🤔👩‍👩‍👧", "你好吗", "مرحبا", "e\u0301" * 50, "how " * 5000]


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_have_a_sum(encoder: StaticEncoder, text: str) -> None:
    assert encoder.encode([text]).shape == (1, 2)


@given(st.lists(st.text(st.characters(codec=None), max_size=30), max_size=40))
def test_a_text_does_not_depend_on_its_batch(texts: list[str]) -> None:
    encoder = StaticEncoder(tokenizer_json(), np.arange(12, dtype=np.int8).reshape(6, 2))
    together = encoder.encode([*texts, *AWKWARD])
    alone = [encoder.encode([text])[0] for text in texts]
    assert all((one == row).all() for one, row in zip(alone, together, strict=False))


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_the_short_cut_for_ascii_changes_no_token(text: str) -> None:
    encoder = StaticEncoder(tokenizer_json(), np.zeros((6, 2), dtype=np.int8))
    plain = Tokenizer.from_str(tokenizer_json().decode())
    assert encoder.tokens([text]).ids.tolist() == plain.encode(text, add_special_tokens=False).ids


def test_only_the_beginning_of_a_long_text_is_read(encoder: StaticEncoder) -> None:
    page = "how many " * MAX_CHARS
    assert len(clipped(page)) <= MAX_CHARS
    assert (encoder.encode([page]) == encoder.encode([page + "apples ?"])).all()
    assert encoder.tokens([clipped(page)]).counts.tolist() == [MAX_TOKENS]


def test_a_tokenizer_that_cannot_be_read_is_an_artifact_error() -> None:
    with pytest.raises(ArtifactFormatError, match="cannot be read"):
        StaticEncoder(b"{}", np.zeros((6, 2), dtype=np.int8))


@pytest.mark.parametrize("table", [np.zeros((5, 2), dtype=np.int8), np.zeros((6, 2)), np.zeros(6, dtype=np.int8)])
def test_a_table_that_does_not_fit_is_an_artifact_error(table: np.ndarray) -> None:
    with pytest.raises(ArtifactFormatError, match="one row for each of 6 tokens"):
        StaticEncoder(tokenizer_json(), table)
