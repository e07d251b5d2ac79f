"""Slots: one count for threads and tasks, order of arrival, spill, time limits, nothing leaked."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared_router.errors import ExpertsBusyError, HybridError
from shared_router.experts.slots import ExpertSlots, as_slots


def in_use(slots: ExpertSlots) -> dict[str, int]:
    return {name: load.in_use for name, load in slots.load().items()}


def test_without_limits_every_call_has_a_slot_at_once() -> None:
    slots = ExpertSlots()
    held = [slots.hold(["a", "b"]) for _ in range(50)]
    assert {slot.expert for slot in held} == {"a"}
    assert in_use(slots) == {"a": 50}
    for slot in held:
        slot.release()
        slot.release()
    assert in_use(slots) == {"a": 0}


@pytest.mark.parametrize("limits", [1, {"a": 1}])
def test_a_busy_expert_spills_to_the_next_after_its_patience(limits: object) -> None:
    slots = ExpertSlots(limits, spill_after=0.02)  # type: ignore[arg-type]
    with slots.hold(["a", "b"]):
        begun = time.monotonic()
        with slots.hold(["a", "b"]) as second:
            assert second.expert == "b"
            assert second.waited >= 0.02
        assert time.monotonic() - begun < 1.0
    assert in_use(slots) == {"a": 0, "b": 0}


def test_a_full_queue_spills_at_once() -> None:
    slots = ExpertSlots({"a": 1}, queue=0, spill_after=10.0)
    with slots.hold(["a", "b"]), slots.hold(["a", "b"]) as second:
        assert (second.expert, second.waited) == ("b", 0.0) or second.waited < 0.01


def test_a_slow_expert_is_not_waited_for() -> None:
    slots = ExpertSlots(1, spill_after=0.01)
    with slots.hold(["a"]):
        time.sleep(0.05)
    with slots.hold(["a", "b"]), slots.hold(["a", "b"]) as second:
        assert second.expert == "b"
        assert second.waited < 0.01


def test_without_spill_the_best_one_answers_or_nobody() -> None:
    for settings, spills in (({"spill_after": None}, True), ({}, False)):
        slots = ExpertSlots(1, time_limit=0.02, **settings)  # type: ignore[arg-type]
        with slots.hold(["a", "b"]), pytest.raises(ExpertsBusyError, match=r"no slot within 0\.02 s \(a answers 1"):
            slots.hold(["a", "b"], spills=spills)
        assert in_use(slots) == {"a": 0}
        assert slots.load()["a"].waiting == 0


def test_all_queues_full_is_said_at_once() -> None:
    slots = ExpertSlots(1, queue=0)
    with slots.hold(["a"]), slots.hold(["b"]), pytest.raises(ExpertsBusyError, match="the queue is full"):
        slots.hold(["a", "b"])


def test_who_waits_for_several_takes_the_first_that_is_free() -> None:
    slots = ExpertSlots(1, spill_after=0.0, time_limit=5.0)
    a, b = slots.hold(["a"]), slots.hold(["b"])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slots.hold, ["a", "b"])
        while slots.load()["b"].waiting == 0:
            time.sleep(0.001)
        b.release()
        with waiting.result(5) as slot:
            assert slot.expert == "b"
            assert slots.load()["a"].waiting == 0
    a.release()
    assert in_use(slots) == {"a": 0, "b": 0}


def test_the_order_of_arrival_is_kept() -> None:
    slots = ExpertSlots(1, spill_after=None)
    first = slots.hold(["a"])
    order: list[int] = []

    def one(number: int) -> None:
        with slots.hold(["a"]):
            order.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=one, args=(number,)))
        threads[-1].start()
        while slots.load()["a"].waiting <= number:
            time.sleep(0.001)
    first.release()
    for thread in threads:
        thread.join(5)
    assert order == list(range(5))


async def test_threads_and_tasks_share_one_count() -> None:
    slots = ExpertSlots(3, spill_after=None, queue=None)
    lock, now, most = threading.Lock(), Counter[str](), Counter[str]()

    def enter() -> None:
        with lock:
            now["a"] += 1
            most["a"] = max(most["a"], now["a"])

    def leave() -> None:
        with lock:
            now["a"] -= 1

    def blocking() -> None:
        with slots.hold(["a"]):
            enter()
            time.sleep(0.001)
            leave()

    async def waiting() -> None:
        with await slots.ahold(["a"]):
            enter()
            await asyncio.sleep(0.001)
            leave()

    with ThreadPoolExecutor(20) as pool:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(pool, blocking) for _ in range(100)]
        await asyncio.gather(*jobs, *(waiting() for _ in range(100)))
    assert most["a"] == 3
    assert in_use(slots) == {"a": 0}


async def test_a_cancelled_call_leaves_the_queue_and_gives_back_what_it_was_handed() -> None:
    slots = ExpertSlots(1, spill_after=None)
    held = slots.hold(["a"])
    waiting = asyncio.create_task(slots.ahold(["a"]))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert slots.load()["a"].waiting == 0
    granted = asyncio.create_task(slots.ahold(["a"]))
    await asyncio.sleep(0)
    held.release()  # handed over, but the task has not run yet
    granted.cancel()
    await asyncio.gather(granted, return_exceptions=True)
    assert in_use(slots) == {"a": 0}


async def test_waiting_takes_the_time_limit_and_the_spill_in_tasks_too() -> None:
    slots = ExpertSlots(1, spill_after=0.01, time_limit=0.03)
    with await slots.ahold(["a"]), await slots.ahold(["a", "b"]) as second:
        assert second.expert == "b"
        with pytest.raises(ExpertsBusyError, match="no slot within"):
            await slots.ahold(["a", "b"])
    assert in_use(slots) == {"a": 0, "b": 0}


def test_a_loop_that_is_gone_does_not_keep_what_it_waited_for() -> None:
    slots = ExpertSlots(1, spill_after=None)
    held = slots.hold(["a"])
    loop = asyncio.new_event_loop()
    task = loop.create_task(slots.ahold(["a"]))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    held.release()
    assert in_use(slots) == {"a": 0}
    task.get_coro().close()  # type: ignore[union-attr]
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_slot_that_nobody_refers_to_comes_back() -> None:
    slots = ExpertSlots(1)

    def stream(slot: object) -> object:
        yield slot

    never_read = stream(slots.hold(["a"]))
    assert in_use(slots) == {"a": 1}
    del never_read
    assert in_use(slots) == {"a": 0}
    cycle: list[object] = [slots.hold(["a"])]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert in_use(slots) == {"a": 0}


def test_a_slot_that_comes_back_while_the_lock_is_held_is_taken_up_after_it() -> None:
    slots = ExpertSlots(1)
    held = slots.hold(["a"])
    with slots._locked():
        held.release()  # as the garbage collector may, in the middle of any line
        assert slots._experts["a"].in_use == 1
    assert slots._experts["a"].in_use == 0


def test_settings_that_do_not_fit_are_refused() -> None:
    for settings in (
        {"limits": 0},
        {"limits": {"a": 1.5}},
        {"limits": True},
        {"queue": -1},
        {"time_limit": float("nan")},
        {"spill_after": "1"},
    ):
        with pytest.raises(HybridError, match="number of"):
            ExpertSlots(**settings)  # type: ignore[arg-type]


def test_a_copy_in_another_process_counts_its_own() -> None:
    slots = ExpertSlots({"a": 2}, queue=3, time_limit=None, spill_after=0.5)
    slots.hold(["a"])
    copy = pickle.loads(pickle.dumps(slots))
    assert repr(copy) == repr(slots)
    assert copy.load() == {}
    assert as_slots(slots) is slots
    assert as_slots({"a": 2}).limits == {"a": 2}
