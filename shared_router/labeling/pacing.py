"""When the next call may go out: rate limits, pauses that a provider asks for, and a budget.

Calls are spread evenly over the minute instead of being sent in a burst at its beginning, so that stopping and starting
again cannot break a limit.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

__all__ = ["Budget", "Pace", "pause_before_retry"]

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before the first retry, and at most; it doubles from one to the next."""


def pause_before_retry(
    attempt: int, *, first: float = FIRST_PAUSE, chance: Callable[[], float] = random.random
) -> float:
    """Seconds to wait after a call that failed: exponential, and random in its upper half.

    Args:
        attempt: How often the call has failed before, from 0.
        first: Seconds at most after the first failure.
        chance: Uniform in [0, 1); so that calls that failed together do not come back together.
    """
    # a power beyond this would only overflow
    longest = min(first * 2.0 ** min(attempt, 30), LONGEST_PAUSE)
    return longest * (0.5 + 0.5 * chance())


class Pace:
    """The rate at which one model is asked.

    Args:
        requests_per_minute: None = as fast as it goes.
        tokens_per_minute: Of prompts and answers together; likewise.
        clock: Seconds, rising.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._request = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = self._next_token = self._held = clock()

    def reserve(self, tokens: float) -> float:
        """Take the next place.

        Args:
            tokens: What the call will use, about.

        Returns:
            Seconds to wait before the call goes out.
        """
        now = self._clock()
        start = max(now, self._next_request, self._next_token, self._held)
        self._next_request = max(self._next_request, now) + self._request
        self._next_token = max(self._next_token, now) + tokens * self._token
        return start - now

    def settle(self, surplus: float) -> None:
        """Correct a reservation.

        Args:
            surplus: Tokens that the call used beyond what was reserved; negative if it used fewer.
        """
        self._next_token += surplus * self._token

    def hold(self, seconds: float) -> None:
        """Let no call go out for a while: what a provider tells one call holds for all."""
        self._held = max(self._held, self._clock() + seconds)

    def held(self) -> float:
        """Seconds for which no call may go out."""
        return max(0.0, self._held - self._clock())


class Budget:
    """USD that may be spent, on both models together.

    Args:
        limit: None = without limit.
        spent: What was spent before.

    Attributes:
        limit: See above.
        spent: What was spent in all, as far as it is known.
    """

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit = limit
        self.spent = spent
        self._reserved = 0.0
        self._calls = 0
        self._changed = asyncio.Condition()

    async def reserve(self, cost: Callable[[], float]) -> float | None:
        """Set money aside for a call; where too little is left, wait for what calls under way turn out to cost.

        Args:
            cost: What the call will cost, about; asked again after each wait.

        Returns:
            What was set aside; None where the call may not go out. No call is under way any more then.
        """
        if self.limit is None:
            return 0.0
        async with self._changed:
            while self.spent + self._reserved + (expected := cost()) > self.limit:
                if not self._calls:
                    return None
                await self._changed.wait()
            self._reserved += expected
            self._calls += 1
            return expected

    async def settle(self, reserved: float, cost: float) -> None:
        """Give back what was set aside for a call, and count what it cost; 0 if it failed."""
        self.spent += cost
        if self.limit is None:
            return
        async with self._changed:
            self._reserved -= reserved
            self._calls -= 1
            if not self._calls:
                # sums of many small numbers do not come back to 0 by themselves
                self._reserved = 0.0
            self._changed.notify_all()
