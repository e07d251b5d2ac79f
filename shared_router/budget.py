"""A batch and a budget → which of its calls the large model answers.

The difficulty of a call is what asking the large model gains there, so that the most difficult calls get it, as many as
the budget pays for: ``shared_router.allocation`` decides, over two models. What a guard demands (a forced model, a
capability, a sticky conversation) stays as it is and is paid for first. A budget is kept or refused, before anything is
asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, TypeAlias

from shared_router.decision import RoutingDecision
from shared_router.errors import KnobError
from shared_router.knob import Knob
from shared_router.records import TARGETS, Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["BUDGET", "SCORING", "Budget", "BudgetLike", "Load", "checked_budget", "within_budget"]

BUDGET = "budget"
"""The reason that decisions give which the budget made."""

SCORING = Knob("threshold", 1.0)
"""What calls are scored under before the budget decides: a wish that every router can grant, and that promises nothing
which drift could break."""

NOT_JUDGED = frozenset({"router_error", "router_timeout"})
"""Reasons of decisions that have no difficulty though no guard spoke."""

PER_PRICE = 1_000_000
"""Tokens that a price is for."""


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of money for a batch, with what its calls are estimated to cost.

    Attributes:
        usd: At most this much for the whole batch, ≥ 0; any currency, the prices' own.
        small_price: Price of a million tokens of the small model, (input, output), ≥ 0.
        large_price: The same of the large model.
        output_tokens: Tokens that an answer has, expected, ≥ 0; take a high number where overspending would hurt.

    Raises:
        KnobError: A number is missing, negative, infinite or NaN.
    """

    usd: float
    small_price: tuple[float, float]
    large_price: tuple[float, float]
    output_tokens: float

    def __post_init__(self) -> None:
        """Check the numbers, and store prices as plain pairs."""
        object.__setattr__(self, "usd", _amount("usd", self.usd))
        object.__setattr__(self, "output_tokens", _amount("output_tokens", self.output_tokens))
        for name in ("small_price", "large_price"):
            price = getattr(self, name)
            if isinstance(price, str) or not isinstance(price, Sequence) or len(price) != 2:
                raise KnobError(f"{name} is (input, output), the price of a million tokens each, got {price!r}")
            object.__setattr__(self, name, tuple(_amount(name, number) for number in price))

    def cost(self, load: Load) -> tuple[float, float]:
        """What the small and the large model cost for a load."""
        answered = load.answers * self.output_tokens
        small, large = (
            (load.input_tokens * price[0] + answered * price[1]) / PER_PRICE
            for price in (self.small_price, self.large_price)
        )
        return small, large


BudgetLike: TypeAlias = "float | Budget"
"""The largest share of a batch's calls that goes to the large model, in [0, 1], or an amount of money."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one entry of a batch asks for.

    Attributes:
        input_tokens: Tokens that are sent in all, ≥ 0; only looked at where the budget is money.
        answers: Calls to a model that it takes, ≥ 1.
    """

    input_tokens: float = 0.0
    answers: int = 1


def checked_budget(budget: BudgetLike) -> BudgetLike:
    """A budget as it is kept.

    Raises:
        KnobError: Neither a share in [0, 1] nor a ``Budget``.
    """
    if isinstance(budget, Budget):
        return budget
    stated: object = budget
    # a bool is an int to Python, and budget=True is more likely a slip than a wish
    if isinstance(stated, bool) or not isinstance(stated, Real):
        raise KnobError(
            f"budget is the largest share of calls to the large model, from 0 to 1, or Budget(usd=...), got {stated!r}"
        )
    share = float(stated)
    # written so that NaN fails
    if not 0.0 <= share <= 1.0:
        raise KnobError(
            f"budget is a share of calls from 0 to 1, got {share:g}; for an amount of money write Budget(usd=...)"
        )
    return share


def within_budget(
    decisions: Sequence[RoutingDecision], budget: BudgetLike, loads: Sequence[Load]
) -> list[RoutingDecision]:
    """The decisions on a batch, so that it stays within a budget and the most difficult calls get the large model.

    Args:
        decisions: As scores and guards made them, length n. Those with a difficulty are open; a call that the router
            could not judge counts as the most difficult where the large model shall answer then, else as the easiest.
        budget: Share or amount. As much of it is used as gains something.
        loads: What each asks for, length n.

    Returns:
        n decisions in the same order. Those that were open say "budget"; their knob is ``large_share``, what the budget
        came to as a share of the batch's calls.

    Raises:
        KnobError: The budget does not pay for what guards demand, with the cheaper model for all others.
    """
    allowed = checked_budget(budget)
    if not decisions:
        return []
    gains = [_gain(decision) for decision in decisions]
    prices = [allowed.cost(load) if isinstance(allowed, Budget) else (0.0, float(load.answers)) for load in loads]
    limit = allowed.usd if isinstance(allowed, Budget) else allowed * sum(load.answers for load in loads)
    targets = _targets(decisions, gains, prices, loads, limit, allowed)
    calls = sum(load.answers for load in loads)
    large = sum(load.answers for target, load in zip(targets, loads, strict=True) if target == "large")
    share = large / calls
    knob = Knob("large_share", share if isinstance(allowed, Budget) else allowed)
    return [
        decision if gain is None else _decided(decision, target, knob, share)
        for decision, target, gain in zip(decisions, targets, gains, strict=True)
    ]


def _gain(decision: RoutingDecision) -> float | None:
    """What the large model gains on a call, in [0, 1]; None where a guard has spoken."""
    if decision.difficulty is not None:
        return decision.difficulty
    if decision.reason in NOT_JUDGED:
        return 1.0 if decision.target == "large" else 0.0
    return None


def _targets(
    decisions: Sequence[RoutingDecision],
    gains: Sequence[float | None],
    prices: Sequence[tuple[float, float]],
    loads: Sequence[Load],
    limit: float,
    budget: BudgetLike,
) -> list[Target]:
    import numpy as np  # with the first batch, not with the package

    from shared_router.allocation import SLACK, allocate

    cost = np.array(prices, dtype=np.float64)
    for row, (decision, gain) in enumerate(zip(decisions, gains, strict=True)):
        if gain is None:
            cost[row] = prices[row][TARGETS.index(decision.target)]
    quality = np.array([(0.0, (gain or 0.0) * load.answers) for gain, load in zip(gains, loads, strict=True)])
    least = float(cost.min(axis=1).sum())
    if least > limit * (1.0 + SLACK):
        raise KnobError(_refusal(cost, gains, least, limit, budget))
    chosen = allocate(quality, cost, budget=limit)
    return [
        decision.target if gain is None else TARGETS[index]
        for decision, gain, index in zip(decisions, gains, chosen.tolist(), strict=True)
    ]


def _refusal(
    cost: npt.NDArray[np.float64], gains: Sequence[float | None], least: float, limit: float, budget: BudgetLike
) -> str:
    guarded = [row for row, gain in enumerate(gains) if gain is None]
    if isinstance(budget, Budget):
        paid = float(cost[guarded, 0].sum())
        return (
            f"a budget of {limit:g} is too small for {len(gains)} calls: at least {least:.4g} is estimated, of which "
            f"{paid:.4g} for {len(guarded)} calls whose model a guard demands; raise it, or expect shorter answers"
        )
    return (
        f"budget={budget:g} allows {limit:g} calls to the large model, but {least:g} may go to no other (route, "
        "capabilities, sticky conversations); raise it, or take those calls out of the batch"
    )


def _decided(decision: RoutingDecision, target: Target, knob: Knob, share: float) -> RoutingDecision:
    if decision.difficulty is None and decision.target == target:
        return decision
    return replace(
        decision,
        target=target,
        reason=BUDGET,
        threshold=None,
        knob=knob,
        calibrated=False,
        large_share=share,
        certified=False,
    )


def _amount(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) < math.inf:
        raise KnobError(f"{name} is a finite number ≥ 0, got {value!r}")
    return float(value)
