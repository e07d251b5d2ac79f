"""How many calls each expert answers at once, who waits for it, and when a call goes to the next best one instead.

One count for threads and event loops: a call holds a slot of its expert from before it is asked until its answer is
whole, its stream is closed or forgotten, or it has failed. Where all slots of an expert are taken, calls wait in the
order in which they came, and a slot that becomes free is handed to the first of them. A call that waits may stand in
the queues of several experts; whichever has a slot first, answers.

    a slot of the best expert is free         it answers
    its queue is short                        wait there for ``spill_after`` seconds, then also in all other queues
    its queue is long or full                 the same for the next best one, and so on
    all are slow                              wait in all queues that have room
    no queue has room, or ``time_limit`` ends ExpertsBusyError, so that load is shed and not piled up

A queue is long where its length × the mean time of an answer / the expert's limit exceeds ``spill_after``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeAlias

from shared_router.errors import ExpertsBusyError, HybridError

__all__ = ["ExpertLoad", "ExpertSlots", "LimitsLike", "Slot", "as_slots"]

WEIGHT = 0.2
"""Of the last answer's time in the moving mean."""


@dataclass(frozen=True, slots=True)
class ExpertLoad:
    """What one expert carries at a moment.

    Attributes:
        in_use: Calls that it answers.
        waiting: Calls that wait for it, those included that wait for others too.
        seconds: Moving mean of the time that an answer holds a slot; None before the first.
    """

    in_use: int
    waiting: int
    seconds: float | None


class Slot:
    """The right to ask an expert.

    Given back once, by whatever comes first: ``release``, the end of a ``with`` block, or that nobody refers to it any
    more.

    Attributes:
        expert: Whose.
        waited: Seconds that it took to get it.
    """

    __slots__ = ("_begun", "_owner", "expert", "waited")

    def __init__(self, owner: ExpertSlots, expert: str, waited: float) -> None:
        self._owner: ExpertSlots | None = owner
        self._begun = time.monotonic()
        self.expert = expert
        self.waited = waited

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner._give_back(self.expert, time.monotonic() - self._begun)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        # a stream that was never read, or is forgotten half-way
        self.release()


class _Waiter:
    """A call that waits, in one or several queues."""

    __slots__ = ("begun", "places", "slot")

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.places: list[_Expert] = []
        self.slot: Slot | None = None

    def wake(self) -> bool:
        """Tell the call that it has a slot; False if it cannot be told any more."""
        raise NotImplementedError

    @property
    def waited(self) -> float:
        return time.monotonic() - self.begun


class _ThreadWaiter(_Waiter):
    __slots__ = ("_event",)

    def __init__(self) -> None:
        super().__init__()
        self._event = threading.Event()

    def wake(self) -> bool:
        self._event.set()
        return True

    def wait(self, seconds: float | None) -> None:
        self._event.wait(seconds)


class _TaskWaiter(_Waiter):
    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:  # the loop is closed, and with it whoever waited in it
            return False
        return True

    def _set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        await asyncio.wait({self._future}, timeout=seconds)


@dataclass(slots=True, eq=False)
class _Expert:
    name: str
    limit: int | None
    in_use: int = 0
    # a dict keeps the order of arrival and lets one leave from the middle
    waiting: dict[_Waiter, None] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def is_free(self) -> bool:
        return self.limit is None or self.in_use < self.limit

    @property
    def expected_wait(self) -> float:
        return (len(self.waiting) + 1) * (self.seconds or 0.0) / (self.limit or 1)

    def note(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else (1.0 - WEIGHT) * self.seconds + WEIGHT * seconds


class ExpertSlots:
    """Limits, queues and spill for any number of experts, known by their names.

    Safe to share between threads, event loops and models of both plug-ins; a copy in another process counts its own.

    Args:
        limits: Calls that an expert answers at once: one number for each of them, or name → number; an expert that is
            not named has no limit. None for no limits.
        queue: Calls that may wait for one expert; None for any number.
        time_limit: Seconds that a call may wait; None for as long as it takes.
        spill_after: Seconds that a call waits for the best expert before it takes the next best one, too; also the
            expected wait from which it does not even begin to. None for never: the best one answers, or nobody.

    Raises:
        HybridError: A setting that does not fit.
    """

    def __init__(
        self,
        limits: Mapping[str, int] | int | None = None,
        *,
        queue: int | None = 100,
        time_limit: float | None = 30.0,
        spill_after: float | None = 1.0,
    ) -> None:
        for name, limit in limits.items() if isinstance(limits, Mapping) else [("each expert", limits)]:
            if limit is not None:
                _whole(f"the limit of {name}", limit, 1)
        if queue is not None:
            _whole("queue", queue, 0)
        self.limits = dict(limits) if isinstance(limits, Mapping) else limits
        self.queue = queue
        self.time_limit = None if time_limit is None else _seconds("time_limit", time_limit)
        self.spill_after = None if spill_after is None else _seconds("spill_after", spill_after)
        self._experts: dict[str, _Expert] = {}
        self._lock = threading.Lock()
        self._returned: deque[tuple[str, float]] = deque()

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        # locks do not pickle, and what is in use here is not in use elsewhere
        return _slots, (self.limits, self.queue, self.time_limit, self.spill_after)

    def __deepcopy__(self, memo: dict[int, Any]) -> ExpertSlots:
        return self

    def __repr__(self) -> str:
        return (
            f"ExpertSlots({self.limits!r}, queue={self.queue!r}, time_limit={self.time_limit!r}, "
            f"spill_after={self.spill_after!r})"
        )

    def load(self) -> dict[str, ExpertLoad]:
        """What each expert carries that has been asked so far."""
        with self._locked():
            return {name: ExpertLoad(one.in_use, len(one.waiting), one.seconds) for name, one in self._experts.items()}

    def hold(self, ranking: Sequence[str], *, spills: bool = True) -> Slot:
        """A slot of the best expert that has time; blocks the thread while all are busy.

        Args:
            ranking: Experts, best first, at least one.
            spills: Others than the first may take over.

        Raises:
            ExpertsBusyError: No queue has room, or the time limit is over.
        """
        if (slot := self._at_once(ranking)) is not None:
            return slot
        options = self._options(ranking, spills)
        waiter = _ThreadWaiter()
        try:
            self._arrive(waiter, options)
            waiter.wait(self._patience(waiter, options))
            self._widen(waiter, options)
            waiter.wait(self._left(waiter))
            return self._result(waiter, options)
        except BaseException:
            self._leave(waiter)
            raise

    async def ahold(self, ranking: Sequence[str], *, spills: bool = True) -> Slot:
        """The same without blocking the event loop; see ``hold``."""
        if (slot := self._at_once(ranking)) is not None:
            return slot
        options = self._options(ranking, spills)
        waiter = _TaskWaiter()
        try:
            self._arrive(waiter, options)
            if waiter.slot is None:
                await waiter.wait(self._patience(waiter, options))
                self._widen(waiter, options)
            if waiter.slot is None:
                await waiter.wait(self._left(waiter))
            return self._result(waiter, options)
        except BaseException:
            self._leave(waiter)
            raise

    # the steps of a call; those that change something hold the lock

    def _at_once(self, ranking: Sequence[str]) -> Slot | None:
        with self._locked():
            best = self._expert(ranking[0])
            return self._taken(best, 0.0) if best.is_free else None

    def _options(self, ranking: Sequence[str], spills: bool) -> list[str]:
        return list(ranking) if spills and self.spill_after is not None else list(ranking[:1])

    def _arrive(self, waiter: _Waiter, options: Sequence[str]) -> None:
        with self._locked():
            experts = [self._expert(name) for name in options]
            for expert in experts:
                if expert.is_free:
                    return self._grant(expert, waiter)
                if self._has_room(expert) and (
                    self.spill_after is None or len(experts) == 1 or expert.expected_wait <= self.spill_after
                ):
                    return self._join(expert, waiter)
            for expert in filter(self._has_room, experts):
                self._join(expert, waiter)
        if not waiter.places:
            raise self._busy("the queue is full", options, waiter)
        return None

    def _widen(self, waiter: _Waiter, options: Sequence[str]) -> None:
        """The patience is over: take whoever has time, and else wait for all."""
        with self._locked():
            if waiter.slot is not None:
                return
            others = [expert for name in options if (expert := self._expert(name)) not in waiter.places]
            free = next((expert for expert in others if expert.is_free), None)
            if free is not None:
                self._grant(free, waiter)
                return
            for expert in filter(self._has_room, others):
                self._join(expert, waiter)

    def _result(self, waiter: _Waiter, options: Sequence[str]) -> Slot:
        with self._locked():
            slot = waiter.slot
            if slot is not None:
                waiter.slot = None
                return slot
        raise self._busy(f"no slot within {self.time_limit:g} s", options, waiter)

    def _leave(self, waiter: _Waiter) -> None:
        with self._locked():
            self._dequeue(waiter)
            slot, waiter.slot = waiter.slot, None
        if slot is not None:
            slot.release()

    def _patience(self, waiter: _Waiter, options: Sequence[str]) -> float | None:
        if waiter.slot is not None:
            return 0.0
        left = self._left(waiter)
        if self.spill_after is None or len(waiter.places) == len(options):
            return left
        return self.spill_after if left is None else min(self.spill_after, left)

    def _left(self, waiter: _Waiter) -> float | None:
        if waiter.slot is not None:
            return 0.0
        return None if self.time_limit is None else max(self.time_limit - waiter.waited, 0.0)

    def _busy(self, what: str, options: Sequence[str], waiter: _Waiter) -> ExpertsBusyError:
        load = self.load()
        carried = ", ".join(f"{name} answers {load[name].in_use}, {load[name].waiting} wait" for name in options)
        return ExpertsBusyError(
            f"no expert has time for this call: {what} ({carried}); raise limits, queue or time_limit, let calls "
            f"spill, or ask less at once (it waited {waiter.waited:.2f} s)"
        )

    # below this line the lock is held

    def _expert(self, name: str) -> _Expert:
        expert = self._experts.get(name)
        if expert is None:
            limit = self.limits.get(name) if isinstance(self.limits, dict) else self.limits
            expert = self._experts[name] = _Expert(name, limit)
        return expert

    def _has_room(self, expert: _Expert) -> bool:
        return self.queue is None or len(expert.waiting) < self.queue

    def _join(self, expert: _Expert, waiter: _Waiter) -> None:
        expert.waiting[waiter] = None
        waiter.places.append(expert)

    def _dequeue(self, waiter: _Waiter) -> None:
        for expert in waiter.places:
            expert.waiting.pop(waiter, None)
        waiter.places.clear()

    def _taken(self, expert: _Expert, waited: float) -> Slot:
        expert.in_use += 1
        return Slot(self, expert.name, waited)

    def _grant(self, expert: _Expert, waiter: _Waiter) -> None:
        self._dequeue(waiter)
        waiter.slot = self._taken(expert, waiter.waited)

    def _take_back(self, name: str, held: float) -> None:
        expert = self._expert(name)
        expert.in_use -= 1
        expert.note(held)
        while expert.is_free and expert.waiting:
            waiter = next(iter(expert.waiting))
            self._dequeue(waiter)
            if waiter.wake():
                self._grant(expert, waiter)

    # Slots come back from anywhere, also from the garbage collector in the middle of any line of this file: so what
    # comes back is laid down without waiting for the lock, and taken up by whoever has it or gets it.

    def _give_back(self, name: str, held: float) -> None:
        self._returned.append((name, held))
        self._settle()

    def _settle(self) -> None:
        while self._returned and self._lock.acquire(blocking=False):
            try:
                while self._returned:
                    self._take_back(*self._returned.popleft())
            finally:
                self._lock.release()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        finally:
            self._settle()


LimitsLike: TypeAlias = "ExpertSlots | Mapping[str, int] | int | None"
"""What the plug-ins take as ``limits``: all of it, or the limits alone."""


def as_slots(limits: LimitsLike) -> ExpertSlots:
    """The slots that are meant.

    Raises:
        HybridError: A limit that does not fit.
    """
    return limits if isinstance(limits, ExpertSlots) else ExpertSlots(limits)


def _slots(
    limits: Mapping[str, int] | int | None, queue: int | None, time_limit: float | None, spill_after: float | None
) -> ExpertSlots:
    return ExpertSlots(limits, queue=queue, time_limit=time_limit, spill_after=spill_after)


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise HybridError(f"{name} is a whole number of calls, at least {least}, or None for no limit, got {value!r}")


def _seconds(name: str, value: object) -> float:
    # written so that NaN fails it
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0.0:
        raise HybridError(f"{name} is a number of seconds, at least 0, or None, got {value!r}")
    return float(value)
