"""The heads that serve one's own pair: what they score, and that nothing around a text changes its score."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from shared_router.encoders.static import StaticEncoder, TokenBatch
from shared_router.errors import ArtifactFormatError
from shared_router.scorers import Scorer, scorer_class
from shared_router.scorers.hashed_linear import HashedLinearScorer, LinearWeights, piece_values
from shared_router.scorers.static_difficulty import CHUNK, ScoreScale, StaticDifficultyScorer
from shared_router.scorers.static_neighbours import GAP_SCALE, StaticNeighboursScorer, mean_of_nearest
from shared_router.scorers.surface_features import token_traits
from shared_router.scorers.text_columns import BUCKETS, LEADING_COLUMNS, PieceCounts, dense_columns, piece_counts

VOCABULARY = {"[UNK]": 0, "7": 1, ",": 2, "hello": 3, "prove": 4, "if": 5}
COLUMNS = len(LEADING_COLUMNS) + 2
KNOWN = [(0, 73957, 1), (0, 79311, 1), (0, 93566, 1), (0, 94024, 2), (2, 107246, 1)]


def embedded() -> StaticDifficultyScorer:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    table = np.array([[0, 0], [1, 0], [0, 1], [-5, 1], [5, 1], [2, 2]], dtype=np.int8)
    encoder = StaticEncoder(tokenizer.to_str().encode(), table)
    scale = replace(ScoreScale.unit(), surface_std=2.0, length_weight=1.0, token_std=1000.0, token_weight=0.5)
    return StaticDifficultyScorer(encoder, token_traits(VOCABULARY), np.array([1000, 0], dtype=np.int32), scale)


def weights(seed: int = 0) -> LinearWeights:
    generator = np.random.default_rng(seed)
    return LinearWeights(
        dense_mean=generator.normal(size=COLUMNS),
        dense_std=1.0 + generator.random(COLUMNS),
        dense_weight=generator.normal(size=COLUMNS),
        piece_idf=(1.0 + generator.random(BUCKETS)).astype(np.float32),
        piece_weight=generator.normal(size=BUCKETS).astype(np.float32),
    )


def linear() -> HashedLinearScorer:
    return HashedLinearScorer(embedded(), weights())


def neighbours() -> StaticNeighboursScorer:
    known = np.array([[127, 0], [0, 127], [-127, 0]], dtype=np.int8)
    return StaticNeighboursScorer(embedded(), known, np.array([GAP_SCALE, 0, -GAP_SCALE], dtype=np.int64), 1)


SCORERS = [linear(), neighbours()]
each_scorer = pytest.mark.parametrize("made", SCORERS, ids=lambda made: made.kind)


@each_scorer
def test_it_is_registered(made: Scorer) -> None:
    assert scorer_class(made.kind) is type(made)


@given(st.lists(st.text(st.characters(codec=None), max_size=60), min_size=1, max_size=12))
@each_scorer
def test_scores_do_not_depend_on_the_batch(made: Scorer, texts: list[str]) -> None:
    together = made.score([*texts, "A) hello\nB) prove", "", "prove if 7, 7 hello"] * 2)
    assert together[: len(texts)].tolist() == [made.score([text])[0] for text in texts]
    assert np.isfinite(together).all()


@each_scorer
def test_many_texts_are_scored_in_chunks(made: Scorer) -> None:
    texts = [f"prove {'7, hello ' * (i % 5)}" for i in range(CHUNK + 3)]
    assert made.score(texts).tolist() == [made.score([text])[0] for text in texts]
    assert made.score([]).shape == (0,)


@each_scorer
def test_state_and_pickle_make_the_same_scorer(made: Scorer) -> None:
    texts = ["hello", "prove if 7, 7", "", "A) hello\nB) prove", "é"]
    expected = made.score(texts).tolist()
    assert type(made).from_state(*made.to_state()).score(texts).tolist() == expected
    assert pickle.loads(pickle.dumps(made)).score(texts).tolist() == expected


@each_scorer
def test_state_that_lacks_something_is_an_artifact_error(made: Scorer) -> None:
    config, tensors = made.to_state()
    for name in tensors:
        with pytest.raises(ArtifactFormatError):
            type(made).from_state(config, {key: array for key, array in tensors.items() if key != name})
    for name in config:
        with pytest.raises(ArtifactFormatError):
            type(made).from_state({key: value for key, value in config.items() if key != name}, tensors)


def test_hashes_are_those_of_every_machine() -> None:
    # known values: another hash would silently spoil every artifact that was written before
    batch = TokenBatch(np.array([3, 4, 3, 5], dtype=np.int64), np.array([3, 0, 1], dtype=np.int64))
    counted = piece_counts(batch)
    assert counted.texts == 3
    assert list(zip(counted.rows.tolist(), counted.buckets.tolist(), counted.counts.tolist(), strict=True)) == KNOWN


def test_a_pair_has_an_order_and_does_not_cross_texts() -> None:
    def buckets(ids: list[int], counts: list[int]) -> list[list[int]]:
        counted = piece_counts(TokenBatch(np.array(ids, dtype=np.int64), np.array(counts, dtype=np.int64)))
        return [counted.buckets[counted.rows == row].tolist() for row in range(len(counts))]

    assert buckets([3, 4], [2]) != buckets([4, 3], [2])
    assert buckets([3, 4], [1, 1]) == [buckets([3], [1])[0], buckets([4], [1])[0]]
    assert buckets([], [0]) == [[]]


def test_piece_values_have_length_one_and_skip_unused_buckets() -> None:
    idf = np.zeros(BUCKETS, dtype=np.float32)
    idf[[1, 2]] = 2.0
    rows, buckets = np.array([0, 0, 0, 1], dtype=np.int64), np.array([1, 2, 3, 3], dtype=np.int64)
    values = piece_values(PieceCounts(2, rows, buckets, np.array([1, 1, 9, 9], dtype=np.int64)), idf)
    assert values == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0])


def test_the_first_dense_column_is_the_embedded_difficulty() -> None:
    made, texts = embedded(), ["hello", "prove if 7, 7", ""]
    assert dense_columns(made, made.counts(texts))[:, 0].tolist() == made.score(texts).tolist()


def test_a_head_may_do_without_pieces() -> None:
    none = np.zeros(0, dtype=np.float32)
    made = HashedLinearScorer(embedded(), replace(weights(), piece_idf=none, piece_weight=none))
    assert made.score(["hello", "prove"]).shape == (2,)


@pytest.mark.parametrize(
    "change",
    [
        {"dense_std": np.zeros(COLUMNS)},
        {"dense_mean": np.zeros(3)},
        {"dense_weight": np.full(COLUMNS, np.nan)},
        {"piece_idf": np.zeros(5, dtype=np.float32)},
        {"piece_idf": np.full(BUCKETS, -1.0, dtype=np.float32)},
    ],
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ArtifactFormatError):
        HashedLinearScorer(embedded(), replace(weights(), **change))  # type: ignore[arg-type]


def test_the_nearest_decide_and_of_equals_the_first() -> None:
    known = np.array([[127, 0], [127, 0], [0, 127]], dtype=np.int8)
    gaps = np.array([GAP_SCALE, -GAP_SCALE, GAP_SCALE // 2], dtype=np.int64)
    asked = np.array([[127, 0], [0, 127]], dtype=np.int8)
    assert mean_of_nearest(asked, known, gaps, 1).tolist() == [1.0, 0.5]
    assert mean_of_nearest(asked, known, gaps, 2).tolist() == [0.0, 0.75]
    assert mean_of_nearest(asked, known, gaps, 3) == pytest.approx([1 / 6, 1 / 6])


@pytest.mark.parametrize("k", [0, 4])
def test_a_number_of_neighbours_that_there_are_not_is_refused(k: int) -> None:
    made = neighbours()
    with pytest.raises(ArtifactFormatError, match="from 1 to 3"):
        StaticNeighboursScorer(made.embedded, made.known, made.gaps, k)
