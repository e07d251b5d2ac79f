"""Factors from battles: gradients, seeds, ties, early stopping, and models that come later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import apgr
from shared_router.scorers.bradley_terry import sigmoid
from shared_router.scorers.matrix_factorization import MatrixFactorizationScorer
from shared_router.scorers.query_vectors import FunctionDirections, StaticDirections
from shared_router.tables.battles import Battle, Battles, battles_from, labels_as_battles
from shared_router.training.battles.factorization import (
    FactorizationSettings,
    FittedFactors,
    Parameters,
    StepRows,
    fit_factors,
    gradients,
    log_loss,
    started,
)
from shared_router.training.battles.methods import overall_ratings, split_by_prompt
from shared_router.training.battles.new_models import with_new_model
from shared_router.training.fast_heads import embedded_scorer

QUICK = FactorizationSettings(dimensions=16, epochs=4, rate=3e-3)


def encoder() -> StaticDirections:
    return StaticDirections(embedded_scorer().encoder)


def fit(battles: Battles, settings: FactorizationSettings = QUICK) -> FittedFactors:
    return fit_factors(encoder().directions(battles.prompts), *split_by_prompt(battles, 0), settings)


@pytest.fixture(scope="module")
def fitted(world: Any) -> FittedFactors:
    return fit(world.battles)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = np.random.default_rng(0)
    parameters = started(4, 3, 5, generator)
    met = np.zeros((6, 4))
    for row in range(6):
        met[row, generator.choice(4, 2, replace=False)] = (1.0, -1.0)
    rows = StepRows(generator.normal(size=(6, 3)), met, np.array([0, 1, 0.5, 1, 0, 0.5]), 0.1 + generator.random(6))

    def loss(given: Parameters) -> float:
        units = given.vectors / np.sqrt((given.vectors**2).sum(axis=1, keepdims=True))
        logits = (rows.met @ units * ((rows.queries @ given.projection + given.bias) * given.weight)).sum(axis=1)
        return float(np.average(log_loss(logits, rows.won), weights=rows.weight))

    slope = gradients(parameters, rows)
    for name in ("vectors", "projection", "bias", "weight"):
        values = getattr(parameters, name)
        for place in np.ndindex(values.shape):
            step = np.zeros(values.shape)
            step[place] = 1e-6
            ends = [loss(replace(parameters, **{name: values + sign * step})) for sign in (1.0, -1.0)]
            assert getattr(slope, name)[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_the_loss_of_a_tie_is_least_at_even_odds() -> None:
    logits = np.array([-2.0, 0.0, 2.0])
    assert log_loss(logits, np.full(3, 0.5)).argmin() == 1
    assert log_loss(np.array([3.0]), np.array([1.0])) == pytest.approx(-np.log(sigmoid(np.array([3.0]))))
    assert np.isfinite(log_loss(np.array([1e4, -1e4]), np.array([0.0, 1.0]))).all()


def test_topics_and_ranking_are_recovered(world: Any, fitted: FittedFactors) -> None:
    directions = encoder().directions(world.prompts)
    strengths = fitted.factors.strengths(directions)
    names = list(fitted.factors.models)
    # on average over prompts the order is that of constant ratings
    overall = overall_ratings(world.battles)
    assert np.corrcoef(strengths.mean(axis=0), overall)[0, 1] > 0.95
    for small, large in (("little", "maths"), ("chatty", "coder"), ("tiny", "giant")):
        gap = world.gap(small, large)
        raw = strengths[:, names.index(large)] - strengths[:, names.index(small)]
        assert np.corrcoef(raw, gap)[0, 1] > 0.8
        oracle = apgr(gap, np.zeros(len(gap)), gap)
        # a constant has .5; what the text tells is nearly all there is
        assert apgr(raw, np.zeros(len(gap)), gap) > 0.5 + 0.8 * (oracle - 0.5)


def test_it_beats_constant_ratings_on_battles_it_has_not_seen(make: Any, fitted: FittedFactors) -> None:
    fresh = make.battles(1500, 5)
    directions = encoder().directions(fresh.prompts)[fresh.prompt]
    rated = overall_ratings(make.battles(4000))
    strengths, row = fitted.factors.strengths(directions), np.arange(len(fresh))
    with_text = log_loss(strengths[row, fresh.first] - strengths[row, fresh.second], fresh.won)
    constant = log_loss(rated[fresh.first] - rated[fresh.second], fresh.won)
    gain = constant - with_text
    assert gain.mean() > 3.0 * gain.std() / np.sqrt(len(gain))
    assert fitted.held_out_loss == pytest.approx(with_text.mean(), abs=0.05)


def test_same_seed_same_factors(make: Any) -> None:
    battles = make.battles(300)
    quick = replace(QUICK, epochs=1)
    first, second = fit(battles, quick), fit(battles, quick)
    assert first.factors.vectors.tolist() == second.factors.vectors.tolist()
    assert fit(battles, replace(quick, seed=1)).factors.vectors.tolist() != first.factors.vectors.tolist()


def test_vectors_of_models_have_length_one(fitted: FittedFactors) -> None:
    assert (fitted.factors.vectors**2).sum(axis=1) == pytest.approx(np.ones(8))


def test_training_stops_when_held_out_battles_say_so(make: Any) -> None:
    generator = np.random.default_rng(0)
    noise = battles_from([replace(row, won=float(generator.random() < 0.5)) for row in make.rows(400)])
    told: list[int] = []
    directions = encoder().directions(noise.prompts)
    settings = FactorizationSettings(dimensions=16, rate=3e-2, patience=2)
    fit_factors(directions, *split_by_prompt(noise, 0), settings, advance=told.append)
    assert len(told) < 20


def test_ties_count_half_or_not_at_all(make: Any) -> None:
    # "small" ties with "large" on one half of the prompts and loses on the other
    texts = [f"{'recipe holiday garden' if i % 2 else 'integral matrix theorem'} number {i}" for i in range(600)]
    rows = [Battle(text, "small", "large", 0.5 if i % 2 else 0.0) for i, text in enumerate(texts)]
    battles = battles_from(rows)
    easy, hard = encoder().directions(["recipe holiday garden", "integral matrix theorem"])
    half, dropped = (fit(battles, replace(QUICK, ties=ties)).factors for ties in ("half", "drop"))

    def odds(factors: Any, direction: np.ndarray) -> float:
        strengths = factors.strengths(direction[None])[0]
        return float(strengths[factors.models.index("large")] - strengths[factors.models.index("small")])

    assert odds(half, easy) < 0.5 < odds(half, hard)
    assert odds(dropped, easy) > 1.0


def test_weights_count_as_copies() -> None:
    rows = [Battle(f"integral {i}", "a", "b", float(i % 4 != 0)) for i in range(400)]
    heavy = [replace(row, weight=5.0 if row.won == 0.0 else 1.0) for row in rows]
    strengths = []
    for battles in (battles_from(rows), battles_from(heavy)):
        factors = fit(battles).factors
        found = factors.strengths(encoder().directions(["integral 7"]))[0]
        strengths.append(float(found[0] - found[1]))
    assert strengths[0] > 0.3
    assert strengths[1] < 0.0


def test_any_function_may_encode(make: Any) -> None:
    battles = make.battles(400)
    own = FunctionDirections(lambda texts: np.array([["python" in t, "recipe" in t, 1.0] for t in texts], dtype=float))
    fitted = fit_factors(own.directions(battles.prompts), *split_by_prompt(battles, 0), replace(QUICK, epochs=1))
    assert fitted.factors.projection.shape == (3, 16)


@pytest.mark.parametrize(
    "change", [{"dimensions": 0}, {"epochs": 0}, {"rate": 0.0}, {"noise": -0.1}, {"decay": -1.0}, {"ties": "third"}]
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(OutcomeError):
        FactorizationSettings(**change)


def test_battles_that_are_all_ties_cannot_be_dropped() -> None:
    battles = battles_from([Battle(f"integral {i}", "a", "b", 0.5) for i in range(200)])
    with pytest.raises(OutcomeError, match="0 battles to learn from"):
        fit(battles, replace(QUICK, ties="drop"))


@pytest.fixture(scope="module")
def seven(make: Any) -> MatrixFactorizationScorer:
    battles = make.battles(4000, models=tuple(name for name in make.models if name != "coder"))
    directions = encoder().directions(battles.prompts)
    return MatrixFactorizationScorer(encoder(), fit(battles).factors, "little", "giant", directions[:300])


def test_a_new_model_is_placed_by_few_battles(world: Any, make: Any, seven: MatrixFactorizationScorer) -> None:
    few = make.battles(150, 3, must="coder")
    extended = with_new_model(seven, "coder", few)
    assert extended.models == (*seven.models, "coder")
    # what was known is unchanged
    assert extended.score(world.prompts[:9]).tolist() == seven.score(world.prompts[:9]).tolist()
    raw, gap = extended.for_pair("chatty", "coder").score(world.prompts), world.gap("chatty", "coder")
    assert apgr(raw, np.zeros(len(gap)), gap) > 0.7
    wrong = abs(sigmoid(raw).mean() - 0.5 - gap.mean())
    assert wrong < 0.12


def test_labels_of_a_pair_place_a_new_model_too(make: Any, seven: MatrixFactorizationScorer) -> None:
    labeled = make.labels(100, "middle", "giant")
    extended = with_new_model(seven, "newcomer", labels_as_battles(labeled, "middle", "newcomer"))
    raw = extended.for_pair("middle", "newcomer").score(labeled.prompts)
    assert raw.mean() > 0.2


def test_one_battle_in_ten_thousand_axes_moves_nothing_far(seven: MatrixFactorizationScorer) -> None:
    rows = [Battle(f"python regex {i}", "newcomer", "middle", float(i % 2)) for i in range(10)]
    raw = with_new_model(seven, "newcomer", battles_from(rows)).for_pair("middle", "newcomer").score(["python regex"])
    assert abs(raw[0]) < 2.0


def test_new_models_need_battles_with_known_ones(seven: MatrixFactorizationScorer) -> None:
    strangers = battles_from([Battle(f"prompt {i}", "newcomer", "stranger", 1.0) for i in range(50)])
    with pytest.raises(OutcomeError, match="0 battles are between the new model 'newcomer' and models"):
        with_new_model(seven, "newcomer", strangers)
    with pytest.raises(OutcomeError, match="knows 'giant' already"):
        with_new_model(seven, "giant", strangers)
