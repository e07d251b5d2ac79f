"""Limits on what the large model may be asked, enforced while serving.

``large_share=0.2`` as a *knob* looks a threshold up on a curve that was measured once: when traffic drifts, so does the
share. A *limit* watches what is really sent and corrects itself.

**A limit on the share.** ``ShareLimit`` follows the level a of adaptive conformal inference (Gibbs & Candès 2021, arXiv
2106.00170): a query may go to the large model where its difficulty is among the highest share a of the last queries,
and after every query a rises by gain · share, and falls by gain where one was sent. Whatever the traffic does, also if
somebody chooses it to do harm, the sum telescopes: of T queries since the start at most

    share · T + (share + gain) / gain

are sent, and of any T in a row at most share · T + (1.25 + gain) / gain. So the realised share exceeds a limit of a
fifth by at most half a point after 1,000 queries. Text that is appended to every query to make it look hard moves all
difficulties, and with them the threshold: it gets no more queries to the large model, it only makes the choice among
them worse. The level does not rise above 1.25, so that a quiet hour saves next to nothing up for a flood.

**A limit on money.** ``SpendLimit`` adds up the estimated cost of calls over a sliding window, and has the small model
answer where the large one would exceed it. It is hard: no window of that length holds more, but for calls that were
forced, and by as much as the estimates are wrong (``settle`` corrects them by what a call really cost).
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from numbers import Real
from typing import Any, Protocol

from shared_router.errors import KnobError
from shared_router.records import Target

__all__ = ["Limit", "ShareLimit", "SpendLimit"]

GAIN = 0.05
CEILING = 1.25
"""Highest level: from 1 on all may pass, and what is above was left over from easier traffic, some queries' worth."""
WINDOW = 500
SLOTS = 60
"""Parts of a spend limit's window that are forgotten at once: the window is exact to a sixtieth, on the safe side."""


class Limit(Protocol):
    """What says, for one call after another, whether the large model may be asked."""

    def admits(self, difficulty: float | None, *, wanted: bool) -> bool:
        """Whether a call may go to the large model; the answer is taken as what is done.

        Args:
            difficulty: In [0, 1]; None where nothing was scored.
            wanted: Whether it would go there without the limit.
        """
        ...

    def note(self, target: Target) -> None:
        """A call that the limit was not asked about, because the user or a capability demanded its model."""
        ...


def _within(name: str, value: object, low: float, high: float) -> float:
    # a bool is an int to Python; written so that NaN fails it
    if isinstance(value, bool) or not isinstance(value, Real) or not low < float(value) <= high:
        raise KnobError(f"{name} is a number above {low:g} and at most {high:g}, got {value!r}")
    return float(value)


class ShareLimit:
    """At most a share of the calls goes to the large model, the most difficult ones of late.

    Safe to share between threads and models; a copy in another process counts its own calls.

    Args:
        large_share: The limit, in (0, 1].
        gain: How fast the level follows, in (0, 1]; higher holds the share more tightly and chooses less well.
        window: Queries among which difficulties are compared.

    Raises:
        KnobError: An argument is out of range.
    """

    def __init__(self, large_share: float, *, gain: float = GAIN, window: int = WINDOW) -> None:
        self.large_share = _within("large_share", large_share, 0.0, 1.0)
        self.gain = _within("gain", gain, 0.0, 1.0)
        self.window = int(_within("window", window, 0.0, math.inf))
        self._lock = threading.Lock()
        self._level = self.large_share
        self._recent: deque[float] = deque()
        self._ranked: list[float] = []
        self._calls = self._sent = 0

    def __repr__(self) -> str:
        """The limit and what was sent."""
        return f"ShareLimit({self.large_share:g}, {self._sent:,} of {self._calls:,} sent)"

    @property
    def realised(self) -> float | None:
        """Share of all calls that went to the large model; None before the first."""
        return self._sent / self._calls if self._calls else None

    def admits(self, difficulty: float | None, *, wanted: bool) -> bool:
        """See ``Limit``."""
        with self._lock:
            sent = wanted and self._among_the_hardest(difficulty)
            self._count(sent)
            if difficulty is not None:
                self._remember(difficulty)
            return sent

    def note(self, target: Target) -> None:
        """See ``Limit``."""
        with self._lock:
            self._count(target == "large")

    def _among_the_hardest(self, difficulty: float | None) -> bool:
        if self._level <= 0.0:
            return False
        if difficulty is None or not self._ranked:
            return True
        harder = len(self._ranked) - bisect_left(self._ranked, difficulty)
        # of queries of one difficulty all or none may pass; the level settles which
        return harder <= self._level * len(self._ranked) or self._level >= 1.0

    def _count(self, sent: bool) -> None:
        self._calls += 1
        self._sent += sent
        self._level = min(CEILING, self._level + self.gain * (self.large_share - sent))

    def _remember(self, difficulty: float) -> None:
        self._recent.append(difficulty)
        insort(self._ranked, difficulty)
        if len(self._recent) > self.window:
            del self._ranked[bisect_left(self._ranked, self._recent.popleft())]

    def __getstate__(self) -> dict[str, Any]:
        return {"large_share": self.large_share, "gain": self.gain, "window": self.window}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a lock does not travel, and calls elsewhere are counted there


class SpendLimit:
    """At most so much money in any window of so many seconds.

    Safe to share between threads and models; a copy in another process counts its own calls.

    Args:
        usd: The limit, above 0.
        seconds: Length of the window, above 0: 60 for a minute, 86,400 for a day.
        small_call: What a call of the small model costs on average, in the same currency, ≥ 0.
        large_call: What a call of the large model costs on average, above 0.
        clock: Seconds that never run back.

    Raises:
        KnobError: An argument is out of range.
    """

    def __init__(
        self,
        usd: float,
        *,
        seconds: float,
        small_call: float,
        large_call: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.usd = _within("usd", usd, 0.0, math.inf)
        self.seconds = _within("seconds", seconds, 0.0, math.inf)
        self.large_call = _within("large_call", large_call, 0.0, math.inf)
        self.small_call = 0.0 if small_call == 0 else _within("small_call", small_call, 0.0, math.inf)
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: deque[tuple[int, float]] = deque()

    def __repr__(self) -> str:
        """The limit and what was spent."""
        return f"SpendLimit({self.usd:g} in {self.seconds:g} s, {self.spent:g} spent)"

    @property
    def spent(self) -> float:
        """What was spent in the window that ends now."""
        with self._lock:
            return self._total()

    def admits(self, difficulty: float | None, *, wanted: bool) -> bool:
        """See ``Limit``."""
        with self._lock:
            sent = wanted and self._total() + self.large_call <= self.usd * (1.0 + 1e-12)
            self._add(self.large_call if sent else self.small_call)
            return sent

    def note(self, target: Target) -> None:
        """See ``Limit``."""
        with self._lock:
            self._add(self.large_call if target == "large" else self.small_call)

    def settle(self, target: Target, usd: float) -> None:
        """What a call really cost, in place of the average that was counted for it.

        Args:
            target: The model that answered.
            usd: Its price, finite and ≥ 0.

        Raises:
            KnobError: The price is out of range.
        """
        if not 0.0 <= usd < math.inf:
            raise KnobError(f"a call costs a finite amount ≥ 0, got {usd!r}")
        with self._lock:
            self._add(usd - (self.large_call if target == "large" else self.small_call))

    def _slot(self) -> int:
        return math.floor(self._clock() * SLOTS / self.seconds)

    def _add(self, amount: float) -> None:
        slot = self._slot()
        if self._slots and self._slots[-1][0] == slot:
            amount += self._slots.pop()[1]
        self._slots.append((slot, amount))

    def _total(self) -> float:
        # the slot that the window begins in counts whole
        oldest = self._slot() - SLOTS
        while self._slots and self._slots[0][0] < oldest:
            self._slots.popleft()
        return math.fsum(amount for _, amount in self._slots)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("usd", "seconds", "small_call", "large_call")
        return {name: getattr(self, name) for name in kept} | {"clock": self._clock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        usd = state.pop("usd")
        self.__init__(usd, **state)  # type: ignore[misc]  # a lock does not travel, and calls elsewhere are counted there
