"""The three scorers that were learned from battles: what they score, and that nothing around a text changes it."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from shared_router.encoders.static import StaticEncoder
from shared_router.errors import ArtifactFormatError, OutcomeError, ScoreError
from shared_router.scorers import Scorer, scorer_class
from shared_router.scorers.battle_memory import BattleMemory
from shared_router.scorers.battle_neighbours import BattleNeighboursScorer, crossing_tiers
from shared_router.scorers.bradley_terry import ratings, win_matrix
from shared_router.scorers.matrix_factorization import Factors, MatrixFactorizationScorer
from shared_router.scorers.query_vectors import (
    FunctionDirections,
    StaticDirections,
    encoder_from_state,
    encoder_state,
    rounded_directions,
)
from shared_router.scorers.similarity_weighted import SimilarityWeightedScorer
from shared_router.scorers.static_difficulty import CHUNK

VOCABULARY = {"[UNK]": 0, "7": 1, ",": 2, "hello": 3, "prove": 4, "if": 5}
NAMES = ("a", "b", "c", "d")


def encoder() -> StaticDirections:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    table = np.array([[0, 0], [1, 0], [0, 1], [-5, 1], [5, 1], [2, 2]], dtype=np.int8)
    return StaticDirections(StaticEncoder(tokenizer.to_str().encode(), table))


def factors(seed: int = 0) -> Factors:
    generator = np.random.default_rng(seed)
    shapes = {"vectors": (4, 3), "projection": (2, 3), "bias": (3,), "weight": (3,)}
    return Factors(models=NAMES, **{name: generator.normal(size=shape) for name, shape in shapes.items()})


def memory(count: int = 300, seed: int = 0) -> BattleMemory:
    """Battles of four models; on prompts to the right, "d" beats all, on prompts to the left "a" does."""
    generator = np.random.default_rng(seed)
    angle = generator.random(count) * 2.0 * np.pi
    directions = np.rint(127.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.int8)
    first = generator.integers(0, 4, count)
    second = (first + generator.integers(1, 4, count)) % 4
    strength = np.array([-1.0, 0.0, 0.5, 1.0])
    along = 2.0 * np.cos(angle) + 0.5
    chance = 1.0 / (1.0 + np.exp(-along * (strength[first] - strength[second])))
    halves = 2 * (generator.random(count) < chance)
    halves[generator.random(count) < 0.2] = 1
    return BattleMemory(
        NAMES,
        directions,
        np.arange(count, dtype=np.int32),
        first.astype(np.int16),
        second.astype(np.int16),
        halves.astype(np.int8),
        np.ones(count, dtype=np.float32),
    )


def factorized() -> MatrixFactorizationScorer:
    return MatrixFactorizationScorer(encoder(), factors(), "a", "d", np.array([[127, 0]], dtype=np.int8))


def similar() -> SimilarityWeightedScorer:
    return SimilarityWeightedScorer(encoder(), memory(), "a", "d", tiers=3, gamma=50.0)


def neighbours() -> BattleNeighboursScorer:
    return BattleNeighboursScorer(encoder(), memory(), "a", "d", tiers=4, neighbours=5)


SCORERS = [factorized(), similar(), neighbours()]
each_scorer = pytest.mark.parametrize("made", SCORERS, ids=lambda made: made.kind)
each_remembering = pytest.mark.parametrize("made", SCORERS[1:], ids=lambda made: made.kind)


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
    assert made.score(texts)[:7].tolist() == [made.score([text])[0] for text in texts[:7]]
    assert made.score(texts)[-1] == made.score(texts[-1:])[0]
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


@each_scorer
@pytest.mark.parametrize(
    "change", [{"small": "x"}, {"large": None}, {"models": "abcd"}, {"models": ["a", "a", "b", "d"]}, {"encoder": {}}]
)
def test_state_that_is_wrong_is_an_artifact_error(made: Scorer, change: dict[str, object]) -> None:
    config, tensors = made.to_state()
    with pytest.raises(ArtifactFormatError):
        type(made).from_state({**config, **change}, tensors)  # type: ignore[dict-item]


@each_scorer
def test_a_new_pair_needs_no_training(made: MatrixFactorizationScorer) -> None:
    texts = ["hello", "prove if 7, 7"]
    turned = made.for_pair("d", "a")
    assert turned.score(texts) == pytest.approx(-made.score(texts), abs=1e-9)
    assert made.for_pair("b", "d").for_pair("a", "d").score(texts).tolist() == made.score(texts).tolist()
    assert made.models == NAMES
    with pytest.raises(OutcomeError, match=r"knows no model 'x' \(it knows: a, b, c, d\)"):
        made.for_pair("a", "x")


@each_remembering
def test_similar_battles_decide(made: SimilarityWeightedScorer) -> None:
    right, left = made.score(["prove", "hello"])
    assert right > left
    assert right > 0.0


def test_a_factorized_score_is_the_difference_of_strengths() -> None:
    made = factorized()
    directions = np.array([[127, 0], [-3, 126], [0, 0]], dtype=np.int8)
    strengths = made.factors.strengths(directions)
    assert made.score_directions(directions) == pytest.approx(strengths[:, 3] - strengths[:, 0], abs=1e-6)
    # by hand, for one query and one model
    hidden = directions[1] @ made.factors.projection + made.factors.bias
    assert strengths[1, 2] == pytest.approx(float((made.factors.vectors[2] * hidden) @ made.factors.weight))


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": np.ones((3, 3))},
        {"bias": np.ones(2)},
        {"weight": np.ones((3, 1))},
        {"projection": np.ones(3)},
        {"bias": np.array([0.0, np.nan, 0.0])},
    ],
)
def test_factors_that_do_not_fit_are_refused(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ArtifactFormatError):
        replace(factors(), **change)  # type: ignore[arg-type]


def test_a_factorized_scorer_checks_its_sample_and_its_size() -> None:
    with pytest.raises(ArtifactFormatError, match="sampled directions"):
        MatrixFactorizationScorer(encoder(), factors(), "a", "d", np.zeros((0, 2), dtype=np.int8))
    with pytest.raises(ArtifactFormatError, match="too large"):
        huge = replace(factors(), projection=1e9 * factors().projection)
        MatrixFactorizationScorer(encoder(), huge, "a", "d", np.array([[127, 0]], dtype=np.int8))


@pytest.mark.parametrize("scaling", ["query", "none"])
def test_weighted_ratings_by_hand(scaling: str) -> None:
    known, asked = memory(40), np.array([120, 41], dtype=np.int8)
    made = SimilarityWeightedScorer(encoder(), known, "a", "d", tiers=4, gamma=10.0, scaling=scaling)  # type: ignore[arg-type]
    cosine = known.directions.astype(np.float64) @ asked / 127.0**2
    weight = 10.0 ** (1.0 + (cosine / cosine.max() if scaling == "query" else cosine))
    tier = made.tier
    first, second = tier[known.first], tier[known.second]
    expected = ratings(win_matrix(first, second, known.won, weight / weight.mean(), 4))
    assert made.ratings(asked) == pytest.approx(expected, abs=1e-7)


def test_a_query_that_resembles_nothing_gets_the_overall_ratings() -> None:
    made = similar()
    assert made.ratings(np.zeros(2, dtype=np.int8)) == pytest.approx(made.overall, abs=1e-7)


def test_models_of_the_pair_are_never_in_one_tier() -> None:
    made = SimilarityWeightedScorer(encoder(), memory(), "c", "d", tiers=2)
    assert made.tier[2] != made.tier[3]


def test_the_neighbours_share_by_hand() -> None:
    known, asked = memory(400, 3), np.array([[127, 0]], dtype=np.int8)
    made = BattleNeighboursScorer(encoder(), known, "a", "d", tiers=4, neighbours=5)
    met = ((known.first == 0) & (known.second == 3)) | ((known.first == 3) & (known.second == 0))
    won = np.where(known.first == 3, known.won, 1.0 - known.won)[met]
    similarity = known.directions[met].astype(np.int64) @ asked[0]
    nearest = np.argsort(-similarity, kind="stable")[:5]
    share = (won.sum() + 0.5) / (met.sum() + 1.0)
    expected = np.log(won[nearest].sum() + 2.0 * share) - np.log((1.0 - won[nearest]).sum() + 2.0 * (1.0 - share))
    assert made.score_directions(asked) == pytest.approx([expected])


def test_neighbours_take_fewer_tiers_where_tiers_have_hardly_met() -> None:
    known = memory(300)
    met = int((((known.first == 0) & (known.second == 3)) | ((known.first == 3) & (known.second == 0))).sum())
    assert len(set(crossing_tiers(known, 0, 3, 4, met).tolist())) == 4
    assert len(set(crossing_tiers(known, 0, 3, 4, met + 1).tolist())) < 4


def test_neighbours_of_tiers_that_have_never_met_are_refused() -> None:
    known, count = memory(300), 150
    island = np.repeat([0, 3], count).astype(np.int16)
    other = np.repeat([1, 2], count).astype(np.int16)
    won = np.full(2 * count, 2, dtype=np.int8)
    apart = replace(known, first=island, second=other, halves=won)
    with pytest.raises(OutcomeError, match="no battle is between models like 'a' and models like 'd'"):
        BattleNeighboursScorer(encoder(), apart, "a", "d")


@pytest.mark.parametrize(
    "change",
    [
        {"directions": np.zeros(4, dtype=np.int8)},
        {"prompt": np.full(300, 300, dtype=np.int32)},
        {"first": np.full(300, 4, dtype=np.int16)},
        {"second": np.full(300, -1, dtype=np.int16)},
        {"halves": np.full(300, 3, dtype=np.int8)},
        {"weight": np.zeros(300, dtype=np.float32)},
        {"weight": np.full(300, np.nan, dtype=np.float32)},
        {"halves": np.zeros(4, dtype=np.int8)},
    ],
)
def test_memories_that_do_not_fit_are_refused(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ArtifactFormatError):
        replace(memory(), **change)  # type: ignore[arg-type]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ArtifactFormatError, match="gamma > 1"):
        SimilarityWeightedScorer(encoder(), memory(), "a", "d", gamma=1.0)
    with pytest.raises(ArtifactFormatError, match="tiers ≥ 2"):
        SimilarityWeightedScorer(encoder(), memory(), "a", "d", tiers=1)
    with pytest.raises(ArtifactFormatError, match="neighbours ≥ 1"):
        BattleNeighboursScorer(encoder(), memory(), "a", "d", neighbours=0)


def test_directions_of_any_vectors() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-1e-9, 0.0]])
    assert rounded_directions(vectors).tolist() == [[76, 102], [0, 0], [-127, 0]]
    with pytest.raises(ScoreError, match="finite vectors"):
        rounded_directions(np.array([[np.nan, 1.0]]))


def test_a_function_can_be_learned_with_but_not_saved() -> None:
    made = FunctionDirections(lambda texts: np.array([[len(text), 1.0] for text in texts]))
    assert made.directions(["", "abc"]).tolist() == [[0, 127], [120, 40]]
    with pytest.raises(ArtifactFormatError, match="cannot be written"):
        encoder_state(made)
    with pytest.raises(ScoreError, match="1 vectors for 2 texts"):
        FunctionDirections(lambda texts: np.ones((1, 2))).directions(["a", "b"])
    with pytest.raises(ArtifactFormatError, match="no encoder 'function'"):
        encoder_from_state({"encoder": {"kind": "function", "config": {}}}, {})


def test_fifty_thousand_battles_are_weighed_in_milliseconds() -> None:
    generator = np.random.default_rng(0)
    count = 50_000
    known = BattleMemory(
        tuple(f"m{i}" for i in range(64)),
        rounded_directions(generator.normal(size=(count, 64))),
        np.arange(count, dtype=np.int32),
        *(lambda first: (first, ((first + generator.integers(1, 64, count)) % 64).astype(np.int16)))(
            generator.integers(0, 64, count).astype(np.int16)
        ),
        generator.integers(0, 3, count).astype(np.int8),
        np.ones(count, dtype=np.float32),
    )
    made = SimilarityWeightedScorer(encoder(), known, "m0", "m1")
    query = known.directions[0]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        made.ratings(query)
        times.append(time.perf_counter() - start)
    # measured: 1.3 ms; the bound is for a busy machine
    assert min(times) < 0.05
