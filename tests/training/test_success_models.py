"""Predicted success of several models, and batches allocated by it, on queries whose words tell who can answer them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from shared_router.allocation import allocation_front
from shared_router.errors import KnobError, OutcomeError
from shared_router.tables.answers import Answers, answers_from
from shared_router.training.batch_allocation import Outturn, allocate
from shared_router.training.batch_report import allocate_batch
from shared_router.training.realised_front import realised
from shared_router.training.success_models import (
    METHODS,
    SuccessMethod,
    SuccessModels,
    _area,
    _best_alpha,
    _mean_and_std,
    _weights,
    fit_success_models,
    method_of,
    random_split,
)

FILLERS = ("river", "table", "green", "seven", "window", "paper", "music", "stone")
MODELS = ("grand", "polyglot", "tiny")


def answers(count: int = 160, seed: int = 0, *, costs: bool = True) -> Answers:
    """The large model answers all; one small one Greek questions, the other easy ones."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, 3, count)
    words = generator.choice(FILLERS, size=(count, 4))
    texts = [f"{' '.join(words[i])} {('integral', 'greek', 'hello')[kind[i]]} {i}" for i in range(count)]
    chance = np.array([[0.95, 0.05, 0.05], [0.95, 0.9, 0.1], [0.95, 0.3, 0.95]])[kind]
    cost = np.array([1.0, 0.1, 0.05]) * generator.lognormal(0.0, 0.2, (count, 3))
    quality = (generator.random((count, 3)) < chance).astype(np.float64)
    return answers_from(texts, MODELS, quality, cost if costs else None)


@pytest.fixture(scope="module")
def models() -> SuccessModels:
    return fit_success_models(answers(), resamples=20)


def asked(*kinds: str) -> list[str]:
    return [f"river table green seven {kind} 500" for kind in kinds]


@pytest.mark.parametrize("method", METHODS)
def test_words_that_tell_who_can_answer_are_learned(method: SuccessMethod) -> None:
    found = fit_success_models(answers(), method=method, resamples=5)
    said = found.forecast(asked("integral", "greek", "hello"))
    assert said.mean.shape == said.std.shape == said.success.shape == said.cost.shape == (3, 3)
    assert (said.mean[:, 0] > 0.7).all()
    assert said.mean[1, 1] > said.mean[0, 1]
    assert said.mean[2, 2] > said.mean[0, 2]
    assert found.accuracy > 0.7
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.alpha in found.areas


def test_costs_are_predicted_near_their_mean(models: SuccessModels) -> None:
    known = answers(seed=5)
    said = models.forecast(known.queries)
    assert said.cost.mean(axis=0) == pytest.approx(known.cost.mean(axis=0), rel=0.15)
    given = np.full((len(known), 3), np.nan)
    given[0, 1] = 42.0
    assert models.forecast(known.queries, given).cost[0, 1] == 42.0
    assert models.forecast(known.queries, given).cost[1, 1] == said.cost[1, 1]
    with pytest.raises(OutcomeError, match="cost has shape"):
        models.forecast(known.queries, given[:1])


def test_prices_by_hand() -> None:
    prices = {"grand": (10.0, 30.0), "polyglot": (1.0, 2.0), "tiny": (0.0, 1.0)}
    found = fit_success_models(answers(costs=False), resamples=3, prices=prices, output_tokens=200)
    # 40 ASCII characters are 10 tokens
    said = found.forecast(["x" * 40])
    assert said.cost[0] == pytest.approx(np.array([10 * 10.0 + 200 * 30.0, 10 * 1.0 + 200 * 2.0, 200.0]) / 1e6)
    with pytest.raises(OutcomeError, match="no price is given for polyglot"):
        fit_success_models(answers(), prices={name: (1.0, 1.0) for name in ("grand", "tiny")}, output_tokens=1)
    with pytest.raises(OutcomeError, match="how many tokens an answer has"):
        fit_success_models(answers(), prices=prices)
    with pytest.raises(OutcomeError, match="no answer of grand, polyglot, tiny has a cost"):
        fit_success_models(answers(costs=False))


def test_the_same_seed_gives_the_same_predictors(models: SuccessModels) -> None:
    again = fit_success_models(answers(), resamples=20)
    np.testing.assert_array_equal(models.forecast(asked("hello")).success, again.forecast(asked("hello")).success)
    other = fit_success_models(answers(), resamples=20, seed=1)
    assert (models.forecast(asked("hello")).mean != other.forecast(asked("hello")).mean).any()


def test_validation_queries_of_ones_own() -> None:
    found = fit_success_models(answers(), resamples=5, validation=answers(60, seed=9))
    assert found.known == 160
    assert found.accuracy > 0.7


def test_too_little_to_learn_from_is_said() -> None:
    with pytest.raises(OutcomeError, match="19 queries have a quality of every one of the 3 models"):
        fit_success_models(answers(19))
    incomplete = answers(40)
    quality = incomplete.quality.copy()
    quality[:30, 1] = np.nan
    with pytest.raises(OutcomeError, match="10 queries"):
        fit_success_models(answers_from(incomplete.queries, MODELS, quality, incomplete.cost))
    with pytest.raises(OutcomeError, match="resamples at least 2"):
        fit_success_models(answers(), resamples=1)
    with pytest.raises(OutcomeError, match="unknown method 'magic'"):
        method_of("magic")
    with pytest.raises(OutcomeError, match="no query"):
        fit_success_models(answers(), resamples=2).forecast([])


def test_a_model_that_always_or_never_answers_can_be_learned() -> None:
    known = answers(40)
    quality = known.quality.copy()
    quality[:, 0], quality[:, 1] = 1.0, 0.0
    sure = answers_from(known.queries, MODELS, quality, known.cost)
    for method in METHODS:
        said = fit_success_models(sure, method=method, resamples=2).forecast(asked("hello", "greek"))
        assert said.mean[:, 0] == pytest.approx(1.0)
        assert said.mean[:, 1] == pytest.approx(0.0)
        assert said.std[:, :2] == pytest.approx(0.0)


# — the parts by hand —


def test_weights_mean_and_deviation_by_hand() -> None:
    said = np.array([[[0.9], [0.2]], [[0.1], [0.4]]])
    quality = np.array([[1.0], [0.0]])
    everyone = np.ones((2, 2), dtype=np.bool_)
    # the first head is right on both, the second on one
    weights = _weights(said, everyone, quality)
    assert weights == pytest.approx([2 / 3, 1 / 3])
    mean, std = _mean_and_std(said, weights, everyone)
    assert mean[:, 0] == pytest.approx([(2 * 0.9 + 0.1) / 3, (2 * 0.2 + 0.4) / 3])
    assert std[:, 0] == pytest.approx([0.4, 0.1])


def test_a_head_says_nothing_about_queries_that_it_was_fitted_to() -> None:
    said = np.array([[[0.9], [0.2]], [[0.1], [0.4]]])
    unseen = np.array([[True, False], [True, True]])
    # the first is judged by the query that it has not seen, and alone there
    assert _weights(said, unseen, np.array([[1.0], [0.0]])) == pytest.approx([2 / 3, 1 / 3])
    mean, std = _mean_and_std(said, np.array([0.5, 0.5]), unseen)
    assert mean[:, 0] == pytest.approx([0.5, 0.4])
    assert std[:, 0] == pytest.approx([0.4, 0.0])


def test_alpha_stays_where_another_is_not_clearly_better() -> None:
    generator = np.random.default_rng(0)
    n = 300
    quality = np.column_stack([np.zeros(n), generator.random(n) < 0.5]).astype(np.float64)
    cost = np.tile([0.0, 1.0], (n, 1))
    blind, clear = np.full((n, 2), 0.5), np.column_stack([np.zeros(n), 0.2 + 0.6 * quality[:, 1]])
    blind[:, 1] += generator.random(n) * 0.1

    def chosen(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
        candidates = {0.0: first, 1.0: second}
        areas = {alpha: _area(success, cost, quality, cost) for alpha, success in candidates.items()}
        return _best_alpha(candidates, areas, cost, quality, cost, np.random.default_rng(1))

    assert chosen(blind, clear) == 1.0
    assert chosen(clear, blind) == 0.0
    assert chosen(blind, blind) == 0.0


def test_groups_stay_together_in_a_split() -> None:
    groups = np.repeat(np.arange(20), 3)
    held, rest = random_split(groups, 0.25, 0)
    assert len(set(groups[held])) == 5
    assert not set(groups[held]) & set(groups[rest])
    assert sorted([*held, *rest]) == list(range(60))
    with pytest.raises(OutcomeError, match="between 0 and 1"):
        random_split(groups, 1.0, 0)


# — allocating —


@pytest.mark.parametrize("seed", range(5))
def test_real_values_along_a_front(seed: int) -> None:
    generator = np.random.default_rng(seed)
    front = allocation_front(generator.random((30, 5)), generator.random((30, 5)))
    quality, cost = generator.random((30, 5)), generator.random((30, 5))
    points = realised(front, quality, cost)
    assert points.shape == (len(front), 2)
    at = np.arange(30)
    for k in range(len(front)):
        chosen = front.assignment(k)
        assert points[k] == pytest.approx([cost[at, chosen].sum(), quality[at, chosen].mean()])


def test_a_front_of_one_point_has_one_real_point() -> None:
    front = allocation_front([[0.5]], [[1.0]])
    assert realised(front, [[0.25]], [[3.0]]).tolist() == [[3.0, 0.25]]


def test_a_budget_is_kept_and_well_spent(models: SuccessModels) -> None:
    new = answers(300, seed=3)
    found = allocate(new.queries, models, budget=60.0)
    assert found.expected_cost <= 60.0
    assert sum(found.counts.values()) == 300
    assert found.names[0] in MODELS
    real = found.outturn(new.quality, new.cost)
    # a fifth of what the large model alone costs, and better than any other
    assert real.cost < 0.3 * real.single_cost[0]
    assert real.quality > real.single_quality[1:].max() + 0.1
    assert real.best == 0
    assert 0.0 < found.mean_quality <= 1.0


def test_an_accuracy_is_expected_at_the_lowest_cost(models: SuccessModels) -> None:
    new = answers(300, seed=3)
    found = allocate(new.queries, models, accuracy=0.8)
    assert found.expected_quality >= 0.8
    cheaper = allocate(new.queries, models, accuracy=0.7)
    assert cheaper.expected_cost < found.expected_cost
    with pytest.raises(KnobError, match="out of reach"):
        allocate(new.queries, models, accuracy=1.0)
    with pytest.raises(KnobError, match="say one of budget and accuracy"):
        allocate(new.queries, models)


def test_what_it_costs_to_match_the_best_single_model() -> None:
    points = np.array([[1.0, 0.4], [2.0, 0.7], [2.5, 0.6], [3.0, 0.75], [4.0, 0.8]])
    outturn = Outturn(2.0, 0.7, np.array([5.0, 1.0]), np.array([0.7, 0.4]), 0, points)
    assert outturn.cost_to_match == 2.0
    assert replace(outturn, single_quality=np.array([0.78, 0.4])).cost_to_match == 4.0
    assert replace(outturn, single_quality=np.array([0.9, 0.4])).cost_to_match is None


def test_open_queries_are_allocated_and_others_learned_from() -> None:
    known, new = answers(), answers(20, seed=4)
    quality = np.concatenate([known.quality, np.full((20, 3), np.nan)])
    quality[0, 1] = np.nan
    table = answers_from(
        [*known.queries, *(f"new {text}" for text in new.queries)],
        MODELS,
        quality,
        np.concatenate([known.cost, new.cost]),
    )
    report = allocate_batch(table, budget=5.0, resamples=5)
    assert len(report.batch) == 20
    assert report.partly == 1
    assert report.models.known == 159
    assert report.outturn is None
    # the costs that the table has are taken
    np.testing.assert_array_equal(report.allotment.forecast.cost, new.cost)


def test_a_rehearsal_knows_neither_qualities_nor_costs_of_what_it_allocates() -> None:
    table = answers(400)
    report = allocate_batch(table, budget=50.0, resamples=5, train_share=0.3)
    assert report.models.known == 120
    assert len(report.batch) == 280
    assert report.outturn is not None
    assert (report.allotment.forecast.cost != report.batch.cost).all()
    assert report.outturn.cost == pytest.approx(report.allotment.expected_cost, rel=0.2)
    changed = answers_from(table.queries, MODELS, 1.0 - table.quality, table.cost)
    # what was learned from decides, so that another outcome of the rest changes nothing but the outturn
    learned, rest = random_split(table.groups, 0.3, 0)
    mixed = table.quality.copy()
    mixed[rest] = changed.quality[rest]
    other = allocate_batch(
        answers_from(table.queries, MODELS, mixed, table.cost), budget=50.0, resamples=5, train_share=0.3
    )
    np.testing.assert_array_equal(other.allotment.chosen, report.allotment.chosen)
    assert other.outturn is not None
    assert other.outturn.quality != report.outturn.quality
    assert len(learned) == 120
