"""The embedded default's scorer, on a vocabulary of a few words."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from shared_router.encoders.static import StaticEncoder
from shared_router.errors import ArtifactFormatError
from shared_router.scorers import scorer_class
from shared_router.scorers.static_difficulty import CHUNK, ScoreScale, StaticDifficultyScorer
from shared_router.scorers.surface_features import FEATURES, token_traits

VOCABULARY = {"[UNK]": 0, "7": 1, ",": 2, "hello": 3, "prove": 4, "if": 5}
SCALE = replace(
    ScoreScale.unit(), surface_std=2.0, length_std=2.0, length_weight=1.0, token_std=1000.0, token_weight=0.5
)


def scorer(scale: ScoreScale = SCALE) -> StaticDifficultyScorer:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    table = np.array([[0, 0], [1, 0], [0, 1], [-5, 1], [5, 1], [2, 2]], dtype=np.int8)
    encoder = StaticEncoder(tokenizer.to_str().encode(), table)
    return StaticDifficultyScorer(encoder, token_traits(VOCABULARY), np.array([1000, 0], dtype=np.int32), scale)


def test_it_is_registered() -> None:
    assert scorer_class("static_difficulty") is StaticDifficultyScorer


def test_words_that_point_the_hard_way_score_higher() -> None:
    easy, hard = scorer().token_part(scorer().counts(["hello", "prove"]).vectors)
    assert easy == pytest.approx(-5 / np.sqrt(26))
    assert hard == -easy


def test_longer_and_fuller_questions_score_higher() -> None:
    short, long = scorer(replace(SCALE, token_weight=0.0, length_weight=0.0)).score(["prove", "prove, if 7, 7, 7"])
    assert long > short


def test_the_length_part_counts_the_options_too() -> None:
    made = scorer()
    counts = made.counts(["if 7\nA) hello\nB) hello", "if 7\n", ""])
    assert counts.chars.tolist() == [len("if 7\nA) hello\nB) hello"), len("if 7"), 0]
    assert made.length_part(counts.chars).tolist() == (np.log1p(counts.chars) / 2.0).tolist()


def test_the_empty_text_has_a_defined_score() -> None:
    assert scorer().score([""]).tolist() == [0.0]
    assert scorer().score([]).shape == (0,)


def test_options_count_for_the_words_but_not_for_the_length() -> None:
    counts = scorer().counts(["if 7\nA) hello\nB) hello", "if 7\n"])
    assert counts.vectors.tolist()[0] != counts.vectors.tolist()[1]
    stem_chars = FEATURES.index("stem_chars")
    assert counts.features[0, stem_chars] == pytest.approx(np.log1p(len("if 7\n")))


@given(st.lists(st.text(st.characters(codec=None), max_size=60), min_size=1, max_size=20))
def test_scores_do_not_depend_on_the_batch(texts: list[str]) -> None:
    made = scorer()
    together = made.score([*texts, "A) hello\nB) prove", ""] * 2)
    assert together[: len(texts)].tolist() == [made.score([text])[0] for text in texts]
    assert np.isfinite(together).all()


def test_many_texts_are_scored_in_chunks() -> None:
    made = scorer()
    texts = [f"prove {'7, ' * (i % 5)}" for i in range(2 * CHUNK + 3)]
    assert made.score(texts).tolist() == [made.score([text])[0] for text in texts]


def test_a_scorer_can_be_sent_to_another_process() -> None:
    made = scorer()
    again = pickle.loads(pickle.dumps(made))
    assert again.score(["prove", "é"]).tolist() == made.score(["prove", "é"]).tolist()


def test_state_makes_the_same_scorer() -> None:
    made = scorer()
    config, tensors = made.to_state()
    again = StaticDifficultyScorer.from_state(config, tensors)
    texts = ["hello", "prove if 7, 7", "", "A) hello\nB) prove"]
    assert again.score(texts).tolist() == made.score(texts).tolist()


@pytest.mark.parametrize("missing", ["feature_mean", "token_weight", "features"])
def test_settings_that_lack_something_are_an_artifact_error(missing: str) -> None:
    config, tensors = scorer().to_state()
    del config[missing]
    with pytest.raises(ArtifactFormatError, match=missing):
        StaticDifficultyScorer.from_state(config, tensors)


@pytest.mark.parametrize("missing", ["table", "tokenizer", "traits", "direction"])
def test_arrays_that_are_missing_are_an_artifact_error(missing: str) -> None:
    config, tensors = scorer().to_state()
    del tensors[missing]
    with pytest.raises(ArtifactFormatError, match=missing):
        StaticDifficultyScorer.from_state(config, tensors)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("table", np.zeros((6, 2))),
        ("table", np.zeros((2, 2), dtype=np.int8)),
        ("direction", np.zeros(3, dtype=np.int32)),
        ("traits", np.zeros((6, 1), dtype=np.int16)),
    ],
)
def test_arrays_that_do_not_fit_are_an_artifact_error(name: str, array: np.ndarray) -> None:
    config, tensors = scorer().to_state()
    with pytest.raises(ArtifactFormatError):
        StaticDifficultyScorer.from_state(config, {**tensors, name: array})


@pytest.mark.parametrize("change", [{"surface_std": 0.0}, {"token_std": float("nan")}, {"feature_mean": np.zeros(2)}])
def test_a_scale_that_would_yield_nan_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ArtifactFormatError):
        scorer(replace(SCALE, **change))  # type: ignore[arg-type]


def test_another_list_of_features_is_refused() -> None:
    config, tensors = scorer().to_state()
    with pytest.raises(ArtifactFormatError, match="train it again"):
        StaticDifficultyScorer.from_state({**config, "features": ["length"]}, tensors)
