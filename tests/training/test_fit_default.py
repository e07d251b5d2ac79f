"""The training steps on a toy language in which some words make a question hard."""

from __future__ import annotations

import numpy as np
import pytest

from shared_router.calibration import LogisticCalibrator
from shared_router.errors import OutcomeError
from shared_router.knob import NEVER_LARGE
from shared_router.scorers.static_difficulty import StaticDifficultyScorer
from shared_router.training import fit_default
from shared_router.training.fit_default import (
    PairOutcomes,
    Start,
    fit_scorer,
    logistic_calibrator,
    measured_curve,
    pair_outcomes,
    training_rows,
)
from shared_router.training.outcomes import Outcomes
from shared_router.training.sources import Pair
from shared_router.training.static_table import (
    LearnedTable,
    TableSettings,
    distilled_table,
    ridge,
    teacher_scores,
    token_weights,
    whole_numbers,
)

WORDS = ["[UNK]", "easy", "hard", "word", "other", "more"]
SETTINGS = TableSettings(dimensions=3, epochs=20, batch=16)


def toy_tables(seed: int = 0, count: int = 240) -> list[Outcomes]:
    generator = np.random.default_rng(seed)
    hard = generator.random(count) < 0.5
    fillers = generator.choice(WORDS[3:], size=(count, 3))
    texts = tuple(" ".join([*row, "hard" if is_hard else "easy"]) for row, is_hard in zip(fillers, hard, strict=True))
    small = np.where(hard, generator.random(count) < 0.2, generator.random(count) < 0.8).astype(float)
    quality = np.stack([small, np.ones(count)], axis=1)
    split = np.array(["train", "train", "validation"] * (count // 3))
    overlap = np.zeros(count, dtype=bool)
    overlap[0] = True
    groups = np.array([f"g{i}" for i in range(count)])
    return [Outcomes("toy", texts, np.array(["t"] * count), groups, overlap, split, ("s", "l"), quality)]


def start() -> Start:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.random.default_rng(0).normal(size=(len(WORDS), 5))
    return Start(tokenizer.to_str().encode(), distilled_table(vectors, SETTINGS.dimensions))


@pytest.fixture(scope="module")
def fitted() -> StaticDifficultyScorer:
    pytest.importorskip("torch")
    rows = training_rows(toy_tables())
    vectors = np.array([[float("hard" in text), 1.0] for text in rows.texts])
    return fit_scorer(rows, vectors, start(), SETTINGS)


@pytest.fixture(autouse=True)
def toy_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_default, "PAIRS", {"toy": (Pair("s", "l"),)})


def test_training_rows_are_of_the_training_split_and_in_no_benchmark() -> None:
    tables = toy_tables()
    rows = training_rows(tables, frozenset({"g1"}))
    # 160 are marked train; g0 overlaps, g1 is to stay unseen
    assert len(rows.texts) == 158
    assert rows.target.mean() == pytest.approx(0.0, abs=1e-12)
    assert rows.target.std() == pytest.approx(1.0)
    with pytest.raises(OutcomeError, match="no training rows"):
        training_rows(tables, frozenset(tables[0].groups))


def test_the_scorer_learns_which_words_are_hard(fitted: StaticDifficultyScorer) -> None:
    easy, hard = fitted.token_part(fitted.counts(["easy word", "hard word"]).vectors)
    assert hard > easy
    assert fitted.encoder.table.dtype == np.int8


def test_training_is_repeatable(fitted: StaticDifficultyScorer) -> None:
    rows = training_rows(toy_tables())
    vectors = np.array([[float("hard" in text), 1.0] for text in rows.texts])
    again = fit_scorer(rows, vectors, start(), SETTINGS)
    assert (again.encoder.table == fitted.encoder.table).all()
    assert (again.direction == fitted.direction).all()


def test_calibration_and_curve_on_the_validation_rows(fitted: StaticDifficultyScorer) -> None:
    held_out = [table.rows(table.split == "validation") for table in toy_tables()]
    outcomes = pair_outcomes(held_out, [fitted.score(table.texts) for table in held_out])
    calibration = logistic_calibrator(outcomes)
    assert calibration.probability(outcomes.raw).mean() == pytest.approx((outcomes.small < outcomes.large).mean())
    curve = measured_curve(outcomes, calibration)
    assert curve.thresholds[0] == NEVER_LARGE
    assert (curve.large_share[0], curve.large_share[-1], curve.quality[-1]) == (0.0, 1.0, 1.0)
    assert curve.drop[-1] == 0.0


def test_a_score_that_points_the_wrong_way_is_not_calibrated() -> None:
    raw = np.linspace(-1, 1, 50)
    outcomes = PairOutcomes(raw, small=(raw > 0).astype(float), large=np.ones(50), weight=np.ones(50))
    with pytest.raises(OutcomeError, match="slope"):
        logistic_calibrator(outcomes)


def test_the_calibrator_recovers_a_known_map() -> None:
    generator = np.random.default_rng(0)
    raw = generator.normal(size=20000)
    short = generator.random(20000) < LogisticCalibrator(1.5, -0.5).probability(raw)
    found = logistic_calibrator(PairOutcomes(raw, 1.0 - short, np.ones(20000), np.ones(20000)))
    assert (found.slope, found.intercept) == (pytest.approx(1.5, abs=0.08), pytest.approx(-0.5, abs=0.05))


def test_ridge_without_penalty_is_least_squares() -> None:
    features = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    assert ridge(features, features @ [3.0, -1.0], np.ones(3), 0.0) == pytest.approx([3.0, -1.0])


def test_the_teacher_standardises_within_sources() -> None:
    generator = np.random.default_rng(0)
    sources = np.array(["a"] * 30 + ["b"] * 30)
    vectors = generator.normal(size=(60, 4))
    scores = teacher_scores(vectors, vectors[:, 0], sources, 1e-6)
    assert scores[:30].mean() == pytest.approx(0.0, abs=1e-9)
    assert scores[:30].std() == pytest.approx(1.0)
    assert np.corrcoef(scores[:30], vectors[:30, 0])[0, 1] > 0.9


def test_frequent_words_weigh_less() -> None:
    weights = token_weights(30000)
    assert weights[1996] < weights[2500] < weights[20000] <= 1.0
    assert weights[0] == 0.3


def test_whole_numbers_keep_directions() -> None:
    learned = LearnedTable(np.random.default_rng(0).normal(size=(500, 8)), np.arange(1.0, 9.0))
    whole = whole_numbers(learned)
    assert np.abs(whole.table.astype(int)).max() == 127
    assert whole.direction.tolist()[-1] == 32767
    assert np.corrcoef(whole.table @ whole.direction, learned.vectors @ learned.direction)[0, 1] > 0.999
