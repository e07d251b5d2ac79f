"""When the next call may go out, on a clock that stands still unless it is set."""

from __future__ import annotations

import asyncio

import pytest

from shared_router.labeling.pacing import LONGEST_PAUSE, Budget, Pace, pause_before_retry


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def sent(pace: Pace, clock: Clock, calls: int, tokens: float = 0.0) -> list[float]:
    """Seconds at which calls go out that are all there from the beginning."""
    return [clock.now - Clock.now + pace.reserve(tokens) for _ in range(calls)]


def test_requests_are_spread_over_the_minute() -> None:
    clock = Clock()
    times = sent(Pace(120, clock=clock), clock, 300)
    assert times == pytest.approx([0.5 * i for i in range(300)])
    assert max(sum(start <= time < start + 60 for time in times) for start in times) == 120


def test_idle_time_is_not_saved_up() -> None:
    clock = Clock()
    pace = Pace(60, clock=clock)
    pace.reserve(0)
    clock.now += 600
    assert sent(pace, clock, 3) == pytest.approx([600, 601, 602])


def test_tokens_hold_back_the_calls_that_follow_and_are_corrected() -> None:
    clock = Clock()
    pace = Pace(None, 600, clock=clock)
    assert sent(pace, clock, 3, tokens=100) == pytest.approx([0, 10, 20])
    pace.settle(-100)
    pace.settle(50)
    assert pace.reserve(0) == pytest.approx(30 - 10 + 5)


def test_the_stricter_limit_counts() -> None:
    clock = Clock()
    assert sent(Pace(60, 600, clock=clock), clock, 3, tokens=100) == pytest.approx([0, 10, 20])
    assert sent(Pace(60, 6e6, clock=clock), clock, 3, tokens=100) == pytest.approx([0, 1, 2])


def test_without_limits_nothing_waits_unless_it_is_held() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    assert sent(pace, clock, 100, tokens=1e9) == [0.0] * 100
    pace.hold(5)
    pace.hold(3)
    assert (pace.reserve(0), pace.held()) == (5.0, 5.0)
    clock.now += 6
    assert (pace.reserve(0), pace.held()) == (0.0, 0.0)


def test_pauses_double_up_to_a_minute_and_are_random_in_their_upper_half() -> None:
    assert [pause_before_retry(i, chance=lambda: 1.0) for i in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [pause_before_retry(i, chance=lambda: 0.0) for i in range(3)] == [0.5, 1, 2]
    assert pause_before_retry(10**6, first=0.1) <= LONGEST_PAUSE


async def test_a_budget_waits_for_calls_under_way_and_then_says_no() -> None:
    budget = Budget(1.0, spent=0.4)
    expected = 0.3

    def cost() -> float:
        return expected

    assert await budget.reserve(cost) == 0.3
    assert await budget.reserve(cost) == 0.3
    third = asyncio.ensure_future(budget.reserve(cost))
    await asyncio.sleep(0)
    assert not third.done()
    await budget.settle(0.3, 0.1)
    await asyncio.sleep(0)
    assert not third.done()
    # meanwhile it is known that calls are cheaper, or dearer
    expected = 0.35
    await budget.settle(0.3, 0.1)
    assert await third == 0.35
    await budget.settle(0.35, 0.3)
    assert budget.spent == pytest.approx(0.9)
    assert await budget.reserve(lambda: 0.2) is None
    assert await budget.reserve(lambda: 0.1) == 0.1


async def test_without_a_limit_costs_are_only_counted() -> None:
    budget = Budget(None)
    assert await budget.reserve(lambda: 1e9) == 0.0
    await budget.settle(0.0, 2.0)
    assert budget.spent == 2.0
