"""The front of a batch: by hand, against all assignments there are, and against OptLLM's search."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_router.allocation import SLACK, AllocationFront, allocate, allocation_front, robust_prediction
from shared_router.errors import KnobError, MissingExtraError, OutcomeError
from shared_router.evaluation.optllm import destroy_reconstruct

Floats = npt.NDArray[np.float64]
Batch = tuple[Floats, Floats]

# two queries, three models: the middle model is worth its price on the first query only
QUALITY = np.array([[0.2, 0.8, 0.9], [0.5, 0.5, 0.7]])
COST = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 3.0]])


def values_of(assignment: npt.NDArray[np.intp], quality: Floats, cost: Floats) -> tuple[float, float]:
    rows = np.arange(len(assignment))
    return float(cost[rows, assignment].sum()), float(quality[rows, assignment].mean())


def every_value(quality: Floats, cost: Floats) -> Floats:
    """(cost, quality) of all m ** n assignments."""
    n, m = quality.shape
    return np.array([values_of(np.array(one), quality, cost) for one in itertools.product(range(m), repeat=n)])


@st.composite
def batches(draw: st.DrawFn, queries: int = 12, models: int = 6) -> Batch:
    """Coarse values for many ties, or fine ones."""
    n, m = draw(st.integers(1, queries)), draw(st.integers(1, models))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        steps = draw(st.integers(1, 6))
        return generator.integers(0, steps, (n, m)) / steps, generator.integers(0, 5, (n, m)).astype(np.float64)
    return generator.random((n, m)), generator.exponential(1e-3, (n, m))


def shortfall(front: AllocationFront, cost: Floats, quality: Floats) -> Floats:
    """How far points lie below the straight lines between the front's points."""
    return np.interp(cost, front.cost, front.quality) - quality


# — by hand —


def test_two_queries_and_three_models_by_hand() -> None:
    front = allocation_front(QUALITY, COST)
    # steps: query 0 to model 1 gains 0.6 for 1; query 1 to model 2 gains 0.2 for 2; query 0 to model 2 gains 0.1 for 2
    assert front.cost == pytest.approx([2.0, 3.0, 5.0, 7.0])
    assert front.quality == pytest.approx([0.35, 0.65, 0.75, 0.8])
    assert [front.assignment(k).tolist() for k in range(len(front))] == [[0, 0], [1, 0], [1, 2], [2, 2]]
    assert front.assignment(-1).tolist() == [2, 2]


@pytest.mark.parametrize(("budget", "point"), [(2.0, 0), (2.9, 0), (3.0, 1), (5.5, 2), (7.0, 3), (math.inf, 3)])
def test_a_budget_buys_the_last_point_it_pays_for(budget: float, point: int) -> None:
    front = allocation_front(QUALITY, COST)
    assert front.within_budget(budget) == point
    assert allocate(QUALITY, COST, budget=budget).tolist() == front.assignment(point).tolist()


@pytest.mark.parametrize(("accuracy", "point"), [(-1.0, 0), (0.35, 0), (0.36, 1), (0.65, 1), (0.7, 2), (0.8, 3)])
def test_an_accuracy_costs_the_first_point_that_has_it(accuracy: float, point: int) -> None:
    front = allocation_front(QUALITY, COST)
    assert front.reaching(accuracy) == point
    assert allocate(QUALITY, COST, accuracy=accuracy).tolist() == front.assignment(point).tolist()


def test_one_model_leaves_no_choice() -> None:
    front = allocation_front([[0.5], [0.7]], [[1.0], [2.0]])
    assert (front.cost.tolist(), front.assignment(0).tolist()) == ([3.0], [0, 0])
    assert front.quality == pytest.approx([0.6])


def test_a_dearer_model_that_is_no_better_is_never_chosen() -> None:
    front = allocation_front([[0.5, 0.5, 0.4]], [[1.0, 2.0, 3.0]])
    assert len(front) == 1


def test_a_model_below_the_line_between_two_others_is_passed_over_and_one_on_it_is_not() -> None:
    below = allocation_front([[0.0, 0.4, 1.0]], [[0.0, 1.0, 2.0]])
    on = allocation_front([[0.0, 0.5, 1.0]], [[0.0, 1.0, 2.0]])
    assert below.step_model.tolist() == [2]
    assert on.step_model.tolist() == [1, 2]


def test_equal_costs_go_to_the_better_model_and_equal_models_to_the_first() -> None:
    front = allocation_front([[0.1, 0.9, 0.9], [0.3, 0.3, 0.3]], np.ones((2, 3)))
    assert (len(front), front.assignment(0).tolist()) == (1, [1, 0])


def test_steps_worth_the_same_are_taken_cheapest_first_then_in_order_of_the_queries() -> None:
    front = allocation_front([[0.0, 1.0], [0.0, 0.5], [0.0, 0.5]], [[0.0, 2.0], [0.0, 1.0], [0.0, 1.0]])
    assert front.step_query.tolist() == [1, 2, 0]


def test_of_steps_worth_the_same_to_equal_costs_the_smaller_is_first() -> None:
    front = allocation_front([[0.0, 1.0], [0.0, 0.5]], [[0.0, 2.0], [1.0, 2.0]])
    assert front.step_query.tolist() == [1, 0]


def test_costs_that_hardly_differ_overflow_nothing() -> None:
    front = allocation_front([[0.0, 1.0, 2.0]], [[0.0, 5e-324, 1.0]])
    assert front.step_model.tolist() == [1, 2]


def test_the_arrays_of_a_front_cannot_be_changed_and_an_assignment_can() -> None:
    front = allocation_front(QUALITY, COST)
    with pytest.raises(ValueError, match="read-only"):
        front.cost[0] = 0.0
    front.assignment(0)[0] = 2
    assert front.assignment(0).tolist() == [0, 0]


# — bad input —


@pytest.mark.parametrize(
    ("quality", "cost", "said"),
    [
        ([[0.5, math.nan]], [[1.0, 2.0]], "quality has 1 values"),
        ([[0.5, 0.6]], [[1.0, math.inf]], "cost has 1 values"),
        ([[0.5, 0.6]], [[1.0, -2.0]], "costs are ≥ 0, got -2"),
        ([[0.5, 0.6]], [[1.0]], r"\(1, 2\) and \(1, 1\)"),
        ([0.5, 0.6], [1.0, 2.0], "one shape"),
        (np.empty((3, 0)), np.empty((3, 0)), "at least one query and one model"),
        (np.empty((0, 3)), np.empty((0, 3)), "at least one query and one model"),
        ([["good"]], [[1.0]], "arrays of numbers"),
        ([[0.5], [0.5, 0.6]], [[1.0]], "arrays of numbers"),
    ],
)
def test_arrays_that_cannot_be_used_are_named(quality: npt.ArrayLike, cost: npt.ArrayLike, said: str) -> None:
    with pytest.raises(OutcomeError, match=said):
        allocation_front(quality, cost)
    with pytest.raises(OutcomeError, match=said):
        allocate(quality, cost, budget=1.0)


@pytest.mark.parametrize("exact", [False, True])
def test_what_cannot_be_kept_is_answered_with_what_can(exact: bool) -> None:
    with pytest.raises(KnobError, match=r"1\.5 is too small.* costs 2 in all"):
        allocate(QUALITY, COST, budget=1.5, exact=exact)
    with pytest.raises(KnobError, match=r"0\.95 is out of reach.* makes 0\.8, at a total cost of 7"):
        allocate(QUALITY, COST, accuracy=0.95, exact=exact)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({}, "got neither"),
        ({"budget": 3.0, "accuracy": 0.5}, "budget=3.0 and accuracy=0.5"),
        ({"budget": math.nan}, "got NaN"),
        ({"budget": -1.0}, "got -1"),
        ({"budget": True}, "of type bool"),
        ({"accuracy": "0.5"}, "of type str"),
        ({"accuracy": math.nan}, "got NaN"),
    ],
)
def test_a_wish_is_said_once_and_is_a_number(wish: dict[str, float], said: str) -> None:
    with pytest.raises(KnobError, match=said):
        allocate(QUALITY, COST, **wish)


@pytest.mark.parametrize("k", [4, -5])
def test_a_point_beyond_the_front_is_an_index_error(k: int) -> None:
    with pytest.raises(IndexError, match="the front has 4 points"):
        allocation_front(QUALITY, COST).assignment(k)


# — properties —


@given(batches())
def test_the_front_rises_ever_more_slowly(batch: Batch) -> None:
    front = allocation_front(*batch)
    more, better = np.diff(front.cost), np.diff(front.quality)
    assert (more >= 0.0).all() and (better >= 0.0).all()
    # concave: better[i] / more[i] does not rise, multiplied out
    assert (better[1:] * more[:-1] - better[:-1] * more[1:] <= 1e-12 * more.sum()).all()


@given(batches())
def test_the_ends_are_the_cheapest_and_the_best(batch: Batch) -> None:
    quality, cost = batch
    front = allocation_front(quality, cost)
    assert front.cost[0] == pytest.approx(cost.min(axis=1).sum())
    assert front.quality[-1] == pytest.approx(quality.max(axis=1).mean())
    cheapest = np.where(cost == cost.min(axis=1, keepdims=True), quality, -np.inf).max(axis=1)
    best = np.where(quality == quality.max(axis=1, keepdims=True), cost, np.inf).min(axis=1)
    assert front.quality[0] == pytest.approx(cheapest.mean())
    assert front.cost[-1] == pytest.approx(best.sum())


@given(batches())
def test_every_assignment_has_the_cost_and_quality_of_its_point_and_differs_in_one_query(batch: Batch) -> None:
    front = allocation_front(*batch)
    chosen = [front.assignment(k) for k in range(len(front))]
    assert [values_of(one, *batch)[0] for one in chosen] == pytest.approx(front.cost.tolist())
    assert [values_of(one, *batch)[1] for one in chosen] == pytest.approx(front.quality.tolist())
    assert all((a != b).sum() == 1 for a, b in itertools.pairwise(chosen))


@given(batches(queries=4, models=4))
def test_no_assignment_lies_above_the_front_and_no_point_is_dominated(batch: Batch) -> None:
    front = allocation_front(*batch)
    every = every_value(*batch)
    assert (shortfall(front, every[:, 0], every[:, 1]) >= -1e-9).all()
    scale = every[:, 0].max()
    for cost, quality in zip(front.cost, front.quality, strict=True):
        cheaper = every[:, 0] <= cost + 1e-9 * scale
        assert every[cheaper, 1].max() <= quality + 1e-9
        better = every[:, 1] >= quality - 1e-9
        assert every[better, 0].min() >= cost - 1e-9 * scale


@given(batches(queries=4, models=4), st.floats(1e-3, 1e3))
def test_whatever_the_price_of_quality_the_front_has_the_best_assignment(batch: Batch, price: float) -> None:
    front = allocation_front(*batch)
    every = every_value(*batch)
    assert (front.quality - price * front.cost).max() == pytest.approx((every[:, 1] - price * every[:, 0]).max())


@given(batches(), st.floats(0, 1))
def test_a_budget_is_kept_and_the_next_point_would_break_it(batch: Batch, share: float) -> None:
    front = allocation_front(*batch)
    budget = float(front.cost[0] + share * (front.cost[-1] - front.cost[0]))
    k = front.within_budget(budget)
    assert values_of(allocate(*batch, budget=budget), *batch)[0] <= budget * (1 + 2 * SLACK)
    assert k == len(front) - 1 or front.cost[k + 1] > budget


@given(batches(), st.floats(0, 1))
def test_an_accuracy_is_reached_and_the_point_before_misses_it(batch: Batch, share: float) -> None:
    front = allocation_front(*batch)
    accuracy = float(front.quality[0] + share * (front.quality[-1] - front.quality[0]))
    k = front.reaching(accuracy)
    assert values_of(allocate(*batch, accuracy=accuracy), *batch)[1] >= accuracy - 2 * SLACK
    assert k == 0 or front.quality[k - 1] < accuracy


@given(batches())
def test_the_sum_of_the_cheapest_costs_is_a_sufficient_budget(batch: Batch) -> None:
    quality, cost = batch
    front = allocation_front(quality, cost)
    # added up in another order than the front does
    assert front.within_budget(math.fsum(cost.min(axis=1)[::-1])) >= 0
    assert front.reaching(math.fsum(quality.max(axis=1)[::-1]) / len(quality)) <= len(front) - 1


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_queries_and_models_does_not_matter(batch: Batch, random: object) -> None:
    quality, cost = batch
    generator = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    rows, columns = generator.permutation(quality.shape[0]), generator.permutation(quality.shape[1])
    front = allocation_front(quality, cost)
    mixed = allocation_front(quality[rows][:, columns], cost[rows][:, columns])
    assert mixed.cost == pytest.approx(front.cost)
    assert mixed.quality == pytest.approx(front.quality)


@given(batches(), st.integers(-8, 8), st.integers(-8, 8))
def test_units_do_not_matter(batch: Batch, power: int, other: int) -> None:
    quality, cost = batch
    front = allocation_front(quality, cost)
    # powers of two, so that the numbers stay exact and every choice is the same
    scaled = allocation_front(quality * 2.0**power, cost * 2.0**other)
    assert scaled.step_query.tolist() == front.step_query.tolist()
    assert scaled.step_model.tolist() == front.step_model.tolist()
    assert scaled.cost == pytest.approx(front.cost * 2.0**other)


@given(batches(queries=3))
def test_a_batch_given_twice_has_the_same_front_with_each_step_twice(batch: Batch) -> None:
    quality, cost = batch
    front, twice = allocation_front(quality, cost), allocation_front(np.tile(quality, (2, 1)), np.tile(cost, (2, 1)))
    assert len(twice) == 2 * len(front) - 1
    assert twice.cost[::2] == pytest.approx(2 * front.cost)
    assert twice.quality[::2] == pytest.approx(front.quality)


# — the integer optimum —


def test_the_optimum_uses_a_rest_that_no_step_of_the_front_fits() -> None:
    # the front's second step costs 5 of the 2 that are left; a worse bargain for 2 fits
    quality, cost = np.array([[0.0, 0.3, 1.0], [0.0, 1.0, 1.0]]), np.array([[0.0, 2.0, 5.0], [0.0, 1.0, 1.0]])
    assert allocate(quality, cost, budget=3.0).tolist() == [0, 1]
    assert allocate(quality, cost, budget=3.0, exact=True).tolist() == [1, 1]
    assert allocate(quality, cost, accuracy=0.6).tolist() == [2, 1]
    assert allocate(quality, cost, accuracy=0.6, exact=True).tolist() == [1, 1]


@settings(deadline=None, max_examples=40)
@given(batches(queries=4, models=3), st.floats(0, 1))
def test_the_optimum_is_the_best_of_all_assignments_and_no_worse_than_the_front(batch: Batch, share: float) -> None:
    every = every_value(*batch)
    low, high = every.min(axis=0), every.max(axis=0)
    budget, accuracy = (float(value) for value in low + share * (high - low))
    # a wish between two attainable values, so that HiGHS's tolerances decide nothing
    budget, accuracy = budget * (1 + 1e-5) + 1e-12, accuracy - 1e-5
    spent, made = values_of(allocate(*batch, budget=budget, exact=True), *batch)
    assert spent <= budget * (1 + 2 * SLACK)
    assert made == pytest.approx(every[every[:, 0] <= budget, 1].max(), abs=2e-5)
    assert made >= values_of(allocate(*batch, budget=budget), *batch)[1] - 1e-12
    spent, made = values_of(allocate(*batch, accuracy=accuracy, exact=True), *batch)
    assert made >= accuracy - 2 * SLACK
    assert spent == pytest.approx(every[every[:, 1] >= accuracy, 0].min(), rel=1e-4)
    assert spent <= values_of(allocate(*batch, accuracy=accuracy), *batch)[0] * (1 + 1e-12)


def test_without_scipy_only_the_optimum_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("scipy", "scipy.optimize", "scipy.sparse"):
        monkeypatch.setitem(sys.modules, module, None)
    assert allocate(QUALITY, COST, budget=4.0).tolist() == [1, 0]
    with pytest.raises(MissingExtraError, match=r"pip install \"hybrid-llm\["):
        allocate(QUALITY, COST, budget=4.0, exact=True)


# — OptLLM —


@settings(deadline=None)
@given(batches(queries=20), st.integers(1, 20))
def test_all_that_destroy_and_reconstruct_finds_lies_on_the_front(batch: Batch, grid: int) -> None:
    found = destroy_reconstruct(*batch, grid=grid)
    front = allocation_front(*batch)
    assert shortfall(front, found.cost, found.quality) == pytest.approx(0.0, abs=1e-9)
    assert found.cost[[0, -1]] == pytest.approx(front.cost[[0, -1]])
    assert (np.diff(found.cost) > 0.0).all() and (np.diff(found.quality) > 0.0).all()
    assert len(found.cost) <= 2 * grid
    for k, chosen in enumerate(found.assignment):
        assert values_of(chosen, *batch) == pytest.approx((found.cost[k], found.quality[k]))


def test_destroy_and_reconstruct_by_hand() -> None:
    # up: query 0 takes model 2 (+0.7 ≥ 0.225); then 0.05 a unit is given up there for 0.1 a unit on query 1 → [1, 2].
    # down: query 0 takes model 0 (−3 ≥ 1.25); then 0.6 a unit is bought back for 0.1 a unit on query 1 → [1, 0]
    found = destroy_reconstruct(QUALITY, COST, grid=4)
    assert found.assignment.tolist() == [[0, 0], [1, 0], [1, 2], [2, 2]]


def test_many_queries_and_models_on_the_front() -> None:
    generator = np.random.default_rng(5)
    quality, cost = np.sort(generator.random((300, 12)), axis=1), np.sort(generator.random((300, 12)), axis=1)
    found = destroy_reconstruct(quality, cost)
    front = allocation_front(quality, cost)
    assert len(front) > len(found.cost) > 50
    assert np.abs(shortfall(front, found.cost, found.quality)).max() < 1e-12


@pytest.mark.parametrize(
    ("quality", "cost", "grid", "said"),
    [
        ([[0.5, math.nan]], [[1.0, 2.0]], 50, "finite"),
        ([[0.5, 0.6]], [[1.0, -2.0]], 50, "≥ 0"),
        ([[0.5, 0.6]], [[1.0]], 50, "one shape"),
        (np.empty((3, 0)), np.empty((3, 0)), 50, "not empty"),
        ([[0.5]], [[1.0]], 0, "grid is at least 1, got 0"),
    ],
)
def test_destroy_and_reconstruct_names_bad_input(
    quality: npt.ArrayLike, cost: npt.ArrayLike, grid: int, said: str
) -> None:
    with pytest.raises(OutcomeError, match=said):
        destroy_reconstruct(quality, cost, grid=grid)


# — robust prediction —


def test_robust_prediction_adds_deviations_and_stays_a_probability() -> None:
    assert robust_prediction([0.2, 0.5, 0.9], [0.2, 0.0, 0.4], 0.5) == pytest.approx([0.3, 0.5, 1.0])
    assert robust_prediction([0.2, 0.5, 0.9], [0.3, 0.0, 0.4], -1.0) == pytest.approx([0.0, 0.5, 0.5])
    assert robust_prediction(np.full((2, 3), 0.5), np.ones((2, 3)), 0.0) == pytest.approx(np.full((2, 3), 0.5))


@pytest.mark.parametrize(
    ("mean", "std", "alpha", "said"),
    [
        ([0.5], [0.1, 0.1], 1.0, "one shape"),
        ([1.5], [0.1], 1.0, "lies in"),
        ([math.nan], [0.1], 1.0, "lies in"),
        ([0.5], [-0.1], 1.0, "std is finite and ≥ 0"),
        ([0.5], [math.inf], 1.0, "std is finite and ≥ 0"),
        ([0.5], [0.1], math.nan, "alpha is finite"),
    ],
)
def test_robust_prediction_names_bad_input(mean: list[float], std: list[float], alpha: float, said: str) -> None:
    with pytest.raises(OutcomeError, match=said):
        robust_prediction(mean, std, alpha)
