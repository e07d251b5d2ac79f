"""A batch's budget: by hand, by its limits, and by what it must never do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.budget import BUDGET, Budget, Load, checked_budget, within_budget
from shared_router.decision import RoutingDecision
from shared_router.errors import KnobError
from shared_router.knob import Knob
from shared_router.records import Target

PRICES = {"small_price": (1.0, 2.0), "large_price": (10.0, 20.0)}


def scored(difficulty: float, target: Target = "small") -> RoutingDecision:
    return RoutingDecision(target, "score", difficulty, 0.5, Knob("threshold", 0.5), "table", True, 0.3)


def guarded(target: Target, reason: str = "forced") -> RoutingDecision:
    return RoutingDecision(target, reason, None, None, Knob("route", target), "table", False)


def targets(decisions: list[RoutingDecision]) -> list[str]:
    return [decision.target for decision in decisions]


def loads(n: int) -> list[Load]:
    return [Load()] * n


def test_the_most_difficult_get_the_large_model() -> None:
    found = within_budget([scored(one) for one in (0.2, 0.9, 0.4, 0.6)], 0.5, loads(4))
    assert targets(found) == ["small", "large", "small", "large"]
    assert {decision.reason for decision in found} == {BUDGET}
    assert found[0].difficulty == 0.2
    assert found[0].threshold is None
    assert found[0].knob == Knob("large_share", 0.5)
    assert found[0].large_share == 0.5
    assert not found[0].calibrated


def test_what_a_guard_demands_stays_and_is_paid_for_first() -> None:
    decisions = [scored(0.9), guarded("large", "modality"), scored(0.8), guarded("small")]
    found = within_budget(decisions, 0.5, loads(4))
    assert targets(found) == ["large", "large", "small", "small"]
    assert found[1] is decisions[1]
    assert found[3] is decisions[3]


def test_a_budget_that_guards_exceed_is_refused() -> None:
    decisions = [guarded("large"), guarded("large"), scored(0.9), scored(0.1)]
    with pytest.raises(KnobError, match="allows 1 calls to the large model, but 2 may go to no other"):
        within_budget(decisions, 0.25, loads(4))


def test_what_the_router_could_not_judge_is_as_hard_as_its_fallback_says() -> None:
    up, down = guarded("large", "router_error"), guarded("small", "router_timeout")
    assert targets(within_budget([up, scored(0.9)], 0.5, loads(2))) == ["large", "small"]
    assert targets(within_budget([down, scored(0.1)], 0.5, loads(2))) == ["small", "large"]
    changed = within_budget([up, scored(0.9)], 0.0, loads(2))
    assert targets(changed) == ["small", "small"]
    assert changed[0].reason == BUDGET
    assert within_budget([up, scored(0.9)], 0.5, loads(2))[0].reason == "router_error"


def test_nothing_is_spent_on_what_gains_nothing() -> None:
    assert targets(within_budget([scored(0.0), scored(0.3)], 1.0, loads(2))) == ["small", "large"]


def test_money_by_hand() -> None:
    # 1,000 tokens in and 500 out: 0.002 small, 0.02 large
    assert Budget(1.0, output_tokens=500, **PRICES).cost(Load(1000)) == pytest.approx((0.002, 0.02))
    budget = Budget(0.002 * 2 + 0.02, output_tokens=500, **PRICES)
    found = within_budget([scored(0.5), scored(0.7), scored(0.6)], budget, [Load(1000)] * 3)
    assert targets(found) == ["small", "large", "small"]
    assert found[0].knob == Knob("large_share", 1 / 3)


def test_of_equally_difficult_calls_the_shorter_one_is_worth_more() -> None:
    budget = Budget(0.0125, output_tokens=0, **PRICES)
    assert targets(within_budget([scored(0.5), scored(0.5)], budget, [Load(1200), Load(900)])) == ["small", "large"]


def test_money_that_does_not_even_pay_the_small_model_is_refused() -> None:
    with pytest.raises(KnobError, match=r"too small for 2 calls: at least 0\.022 is estimated, of which 0\.02 for 1"):
        within_budget(
            [scored(0.5), guarded("large")], Budget(0.01, output_tokens=500, **PRICES), [Load(1000), Load(1000)]
        )


def test_entries_of_several_calls_count_with_each() -> None:
    # a share of 7 calls: the four of the first fit, not with one of the second
    found = within_budget([scored(0.9), scored(0.8), scored(0.7)], 4 / 7, [Load(answers=4), Load(answers=2), Load()])
    assert targets(found) == ["large", "small", "small"]
    assert found[0].large_share == pytest.approx(4 / 7)


@pytest.mark.parametrize("budget", [True, "0.5", None, math.nan, -0.1, 1.5, (1.0,)])
def test_what_is_no_budget_is_refused(budget: object) -> None:
    with pytest.raises(KnobError, match="budget"):
        checked_budget(budget)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"usd": -1.0}, {"usd": math.inf}, {"output_tokens": math.nan}, {"small_price": 3.0}, {"large_price": "12"}],
)
def test_an_amount_has_proper_numbers(wrong: dict[str, object]) -> None:
    with pytest.raises(KnobError, match=next(iter(wrong))):
        Budget(**{"usd": 1.0, "output_tokens": 10, **PRICES, **wrong})  # type: ignore[arg-type]


def test_an_empty_batch_needs_no_budget() -> None:
    assert within_budget([], 0.0, []) == []


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60),
    st.integers(0, 100),
    st.integers(0, 20),
)
def test_the_share_is_used_up_and_never_exceeded(difficulties: list[float], percent: int, guards: int) -> None:
    decisions = [scored(one) for one in difficulties] + [guarded("small")] * guards
    found = within_budget(decisions, percent / 100, loads(len(decisions)))
    large = targets(found).count("large")
    allowed = percent * len(decisions) // 100
    assert large == min(allowed, sum(one > 0.0 for one in difficulties))
    sent = [decision.difficulty for decision in found if decision.target == "large"]
    kept = [decision.difficulty for decision in found if decision.reason == BUDGET and decision.target == "small"]
    assert not sent or not kept or min(sent) >= max(kept)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 5000)), min_size=1, max_size=30), st.floats(0.0, 1.0))
def test_money_is_never_exceeded(calls: list[tuple[float, int]], share: float) -> None:
    entries = [Load(tokens) for _, tokens in calls]
    least, most = (
        sum(Budget(1.0, output_tokens=100, **PRICES).cost(load)[place] for load in entries) for place in (0, 1)
    )
    budget = Budget(least + share * (most - least), output_tokens=100, **PRICES)
    found = within_budget([scored(difficulty) for difficulty, _ in calls], budget, entries)
    spent = sum(budget.cost(load)[decision.target == "large"] for decision, load in zip(found, entries, strict=True))
    assert spent <= budget.usd * (1 + 1e-6)
