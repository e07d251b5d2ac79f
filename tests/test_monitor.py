"""The monitor's odds are exact, its alarms rarely false, and it sees what it can see."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared_router import monitor as module
from shared_router.errors import ArtifactFormatError, KnobError, OutcomeError, ScoreError
from shared_router.knob import Knob
from shared_router.monitor import (
    DriftMonitor,
    PromiseMonitor,
    ReferenceHistogram,
    reference_histogram,
)

Draw = Callable[[random.Random], float]


def within(share: float, draws: int) -> float:
    """The share plus three standard errors."""
    return share + 3 * math.sqrt(share * (1 - share) / draws)


def uniform(chance: random.Random) -> float:
    return chance.random()


def few_values(chance: random.Random) -> float:
    return chance.choices((0.1, 0.5, 0.9), (0.6, 0.3, 0.1))[0]


def one_value(chance: random.Random) -> float:
    return 0.5


def half_an_atom(chance: random.Random) -> float:
    return 0.25 if chance.random() < 0.5 else chance.random()


def watched(draw: Draw, n: int, calm: int, seed: int, **settings: Any) -> tuple[DriftMonitor, random.Random]:
    """A monitor that has seen calm traffic, and what draws the rest."""
    chance = random.Random(f"traffic {seed}")
    reference = reference_histogram([draw(chance) for _ in range(n)], seed=seed)
    monitor = DriftMonitor(reference, seed=seed, **settings)
    monitor.observe([draw(chance) for _ in range(calm)])
    return monitor, chance


def delay(monitor: DriftMonitor, draw: Draw, chance: random.Random, longest: int) -> int:
    assert not monitor.drifted
    for position in range(1, longest + 1):
        monitor.observe([draw(chance)])
        if monitor.drifted:
            return position
    raise AssertionError(f"no alarm within {longest} queries: {monitor!r}")


# -- the odds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "later", "bins"), [(3, 3, 2), (3, 3, 3), (4, 2, 3), (2, 4, 20), (5, 2, 4)])
def test_the_odds_are_exact_over_all_orders(n: int, later: int, bins: int) -> None:
    values = [i / 10 for i in range(n + later)]
    paths: Counter[tuple[int, ...]] = Counter()
    for order in itertools.permutations(values):
        reference = reference_histogram(order[:n], bins=bins)
        paths[tuple(reference.bin(value, random.Random(0)) for value in order[n:])] += 1
    places = reference_histogram(values[:n], bins=bins).places
    assert sum(places) == n + 1
    for path in itertools.product(range(len(places)), repeat=later):
        urn, probability = list(places), 1.0
        for found in path:
            probability *= urn[found] / sum(urn)
            urn[found] += 1
        assert paths[path] / math.factorial(n + later) == pytest.approx(probability, abs=1e-12)


@pytest.mark.parametrize("draw", [one_value, few_values])
def test_the_odds_hold_where_difficulties_are_equal(draw: Draw) -> None:
    # one seed for both, as in use: the numbers that break ties must nevertheless be independent
    draws, paths = 4000, Counter[tuple[int, ...]]()
    for seed in range(draws):
        chance = random.Random(f"ties {seed}")
        reference = reference_histogram([draw(chance) for _ in range(3)], bins=3, seed=seed)
        monitor = DriftMonitor(reference, seed=seed)
        taken = []
        for _ in range(2):
            before = monitor.snapshot().histogram
            monitor.observe([draw(chance)])
            taken.append(next(i for i, count in enumerate(monitor.snapshot().histogram) if count != before[i]))
        paths[tuple(taken)] += 1
    for path in itertools.product(range(3), repeat=2):
        places = list(reference.places)
        probability = places[path[0]] / 4
        places[path[0]] += 1
        probability *= places[path[1]] / 5
        error = math.sqrt(probability * (1 - probability) / draws)
        assert paths[path] / draws == pytest.approx(probability, abs=4 * error)


@pytest.mark.parametrize("seed", range(5))
def test_no_bet_gains_or_loses_on_average(seed: int) -> None:
    chance = random.Random(seed)
    reference = reference_histogram([chance.random() for _ in range(chance.choice((1, 7, 50)))])
    game = module._Game(reference, 1e-9)
    for _ in range(300):
        total = sum(game._places)
        expected = 0.0
        for found, here in enumerate(game._places):
            world = copy.deepcopy(game)
            world.play(found)
            expected += here / total * world.purse.capital
        assert expected == pytest.approx(game.purse.capital, rel=1e-12)
        # anything but fair traffic
        game.play(min(int(chance.betavariate(1, 3) * len(reference.counts)), len(reference.counts) - 1))


def test_the_purse_pays_out_and_keeps_the_sum() -> None:
    purse = module._Purse([1.0, 2.0], 0.01)
    for _ in range(20_000):
        purse.settle([1.0, 1.0])
    assert purse.capital == pytest.approx(1.0, abs=1e-12)
    assert 0.0 < purse._kept < 0.2
    for _ in range(1000):
        purse.settle([0.0, 0.0])
    assert 0.0 < purse._kept == pytest.approx(purse.capital)


# -- false alarms ------------------------------------------------------------------------------------------------------

FALSE_ALARM = 0.1
STREAMS = 200


@pytest.mark.parametrize("n", [20, 500])
@pytest.mark.parametrize("draw", [uniform, few_values, one_value, half_an_atom])
def test_false_alarms_are_as_rare_as_promised(draw: Draw, n: int) -> None:
    alarms = sum(watched(draw, n, 400, seed, false_alarm=FALSE_ALARM)[0].drifted for seed in range(STREAMS))
    assert alarms / STREAMS <= within(FALSE_ALARM, STREAMS)


def test_the_level_is_not_given_away() -> None:
    # a test that never rejects would pass the one before
    alarms = sum(watched(uniform, 200, 1000, seed, false_alarm=0.5)[0].drifted for seed in range(100))
    assert alarms >= 10


# -- what is seen ------------------------------------------------------------------------------------------------------


def shifted(chance: random.Random) -> float:
    return chance.random() ** 0.5


def narrow(chance: random.Random) -> float:
    return 0.25 + 0.5 * chance.random()


def wide(chance: random.Random) -> float:
    return chance.betavariate(0.4, 0.4)


def attacked(chance: random.Random) -> float:
    return 0.97 + 0.01 * chance.random() if chance.random() < 0.3 else chance.random()


@pytest.mark.parametrize("calm", [0, 500, 5000])
@pytest.mark.parametrize(
    ("drift", "longest"), [(shifted, 250), (narrow, 250), (wide, 400), (attacked, 250), (lambda _: 0.99, 60)]
)
def test_drift_is_seen_early_and_late(drift: Draw, longest: int, calm: int) -> None:
    monitor, chance = watched(uniform, 500, calm, 1)
    taken = delay(monitor, drift, chance, longest)
    seen = monitor.snapshot()
    assert seen.alarm_position == calm + taken
    assert seen.onset is not None
    assert abs(seen.onset - calm) <= 400
    assert seen.log_evidence >= seen.log_needed == pytest.approx(math.log(100))


@pytest.mark.parametrize("power", [0.7, 1 / 0.7])
def test_small_shifts_are_seen_in_time(power: float) -> None:
    # the copier alone needs 1.6 times as long
    delays = []
    for seed in range(7):
        monitor, chance = watched(uniform, 1000, 500, seed)
        delays.append(delay(monitor, lambda chance: chance.random() ** power, chance, 2000))
    assert sorted(delays)[3] <= 350


def test_a_change_of_shares_among_few_values_is_seen() -> None:
    monitor, chance = watched(few_values, 300, 300, 2)
    assert delay(monitor, lambda chance: chance.choices((0.1, 0.5, 0.9), (0.3, 0.3, 0.4))[0], chance, 200)


def test_a_value_that_calibration_did_not_know_is_seen() -> None:
    monitor, chance = watched(one_value, 100, 100, 3)
    assert delay(monitor, lambda _: 0.50001, chance, 60)
    monitor, chance = watched(one_value, 100, 100, 3)
    assert delay(monitor, lambda _: 0.0, chance, 60)


def test_twenty_calibration_queries_show_a_large_drift() -> None:
    monitor, chance = watched(uniform, 20, 0, 4)
    assert delay(monitor, lambda chance: 0.9 + 0.1 * chance.random(), chance, 100)


def test_one_calibration_query_is_enough_to_begin() -> None:
    reference = reference_histogram([0.5])
    assert reference.places == (1, 1)
    monitor = DriftMonitor(reference)
    monitor.observe([0.1, 0.5, 0.9])
    assert not monitor.drifted


# -- alarms and snapshots ----------------------------------------------------------------------------------------------


def drifted_monitor() -> DriftMonitor:
    monitor, chance = watched(uniform, 200, 100, 5)
    delay(monitor, lambda _: 0.99, chance, 60)
    return monitor


def test_an_alarm_stays_until_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1234.5)
    monitor = drifted_monitor()
    first = monitor.snapshot()
    assert first.alarm_time == 1234.5
    monitor.observe([0.99] * 100)
    monitor.observe([random.Random(0).random() for _ in range(1900)])
    later = monitor.snapshot()
    assert later.drifted
    assert monitor.drifted
    assert (later.alarm_position, later.onset, later.log_evidence) == (
        first.alarm_position,
        first.onset,
        first.log_evidence,
    )
    assert later.observed == first.observed + 2000 == sum(later.histogram)
    monitor.reset()
    fresh = monitor.snapshot()
    assert fresh == DriftMonitor(monitor.reference, seed=5).snapshot()
    assert not fresh.drifted


def test_reset_takes_a_new_reference() -> None:
    monitor = drifted_monitor()
    monitor.reset(reference_histogram([0.98, 0.99, 0.99, 0.995] * 50))
    monitor.observe([0.98, 0.995, 0.99, 0.99] * 50)
    assert monitor.snapshot().calibration == 200
    assert not monitor.drifted


def test_the_snapshot_counts() -> None:
    monitor = DriftMonitor(reference_histogram([0.1, 0.2, 0.3, 0.4, 0.5], bins=3))
    nothing = monitor.snapshot()
    assert (nothing.observed, nothing.distance, nothing.large_share, nothing.share) == (0, None, None, None)
    monitor.observe([0.0, 0.15, 0.35, 0.9], [False, False, True, True])
    monitor.observe([0.95])
    seen = monitor.snapshot()
    assert seen.edges == (0.2, 0.4)
    assert seen.expected == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert seen.histogram == seen.recent == (2, 1, 2)
    assert seen.distance == pytest.approx(2 / 15)
    assert seen.large_share == seen.recent_large_share == 0.5
    assert seen.share is None


def test_recent_calls_are_the_last_ones() -> None:
    monitor = DriftMonitor(reference_histogram([i / 100 for i in range(100)]))
    monitor.observe([0.5] * 100, [False] * 100)
    monitor.observe([i / module.RECENT for i in range(module.RECENT)], [True] * module.RECENT)
    seen = monitor.snapshot()
    assert sum(seen.recent) == module.RECENT
    assert seen.recent_large_share == 1.0
    assert seen.large_share == pytest.approx(module.RECENT / (module.RECENT + 100))
    assert seen.distance is not None
    assert seen.distance < 0.02


def numbers_only(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and numbers_only(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(numbers_only, value))
    return value is None or isinstance(value, bool | int | float)


def test_snapshots_are_json_of_numbers_alone() -> None:
    monitor = drifted_monitor()
    monitor.observe(np.array([0.1, 0.9]), np.array([True, False]), np.array([0.5, 0.5]))
    for snapshot in (monitor.snapshot(), DriftMonitor(monitor.reference).snapshot()):
        document = json.loads(json.dumps(snapshot.as_json(), allow_nan=False))
        assert numbers_only(document)
        assert document["observed"] == snapshot.observed


# -- the large share ---------------------------------------------------------------------------------------------------


def test_the_share_is_held_against_the_promised_one() -> None:
    chance = random.Random(0)
    monitor = DriftMonitor(reference_histogram([0.5] * 100))
    wishes = [chance.choice((0.2, 0.4, None)) for _ in range(3000)]
    # where nothing is promised, all go to the large model, and this counts for nothing
    models = [True if wish is None else chance.random() < wish for wish in wishes]
    monitor.observe([0.5] * 3000, models, wishes)
    share = monitor.snapshot().share
    assert share is not None
    assert share.calls == sum(wish is not None for wish in wishes)
    assert share.promised == pytest.approx(0.3, abs=0.01)
    assert share.low < share.seen < share.high
    assert share.as_promised
    assert share.high - share.low < 0.12
    monitor.observe([0.5] * 3000, [chance.random() < 0.5 for _ in range(3000)], [0.3] * 3000)
    share = monitor.snapshot().share
    assert share is not None
    assert not share.as_promised


@pytest.mark.parametrize("calls", [1, 100, 10_000])
@pytest.mark.parametrize("error", [0.01, 0.3])
def test_the_interval_ends_where_the_mixture_reaches_its_level(calls: int, error: float) -> None:
    # Robbins' martingale: exp(λ S − λ² v / 2), averaged over λ ~ N(0, 1 / rho)
    tuned = 2 * math.log(1 / error)
    rho = 250 / (tuned + math.log1p(tuned))
    deviation, variance = calls * module._share_radius(calls, error), calls / 4
    mixed = math.sqrt(rho / (variance + rho)) * math.exp(deviation**2 / (2 * (variance + rho)))
    assert mixed == pytest.approx(1 / error)


def test_the_interval_holds_at_all_times() -> None:
    ones = np.cumsum(np.random.default_rng(0).random((400, 3000)) < 0.3, axis=1)
    radius = np.array([module._share_radius(calls, 0.1) for calls in range(1, 3001)])
    ever = (np.abs(ones / np.arange(1, 3001) - 0.3) > radius).any(axis=1)
    assert ever.mean() <= within(0.1, 400)
    assert radius[-1] < 0.04


# -- one stream, however it comes --------------------------------------------------------------------------------------


def test_order_and_seed_determine_all() -> None:
    chance = random.Random(0)
    reference = reference_histogram([few_values(chance) for _ in range(100)])
    stream = [few_values(chance) for _ in range(500)]
    whole, single, other = (DriftMonitor(reference, seed=seed) for seed in (7, 7, 8))
    whole.observe(stream)
    for difficulty in stream:
        single.observe([difficulty])
    other.observe(stream)
    assert whole.snapshot() == single.snapshot()
    assert whole.snapshot() != other.snapshot()


def test_the_order_of_calibration_means_nothing() -> None:
    values = [i // 3 / 200 for i in range(200)]
    assert reference_histogram(values) == reference_histogram(values[::-1])


def test_threads_lose_nothing() -> None:
    chance = random.Random(0)
    monitor = DriftMonitor(reference_histogram([chance.random() for _ in range(200)]))
    streams = [[chance.random() for _ in range(600)] for _ in range(8)]
    failures: list[BaseException] = []

    def watch(stream: list[float]) -> None:
        try:
            for difficulty in stream:
                monitor.observe([difficulty], [difficulty > 0.5], [0.5])
                if difficulty > 0.98:
                    monitor.snapshot()
                    pickle.dumps(monitor)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=watch, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    seen = monitor.snapshot()
    assert seen.observed == sum(seen.histogram) == 4800
    everything = list(itertools.chain(*streams))
    ends = [*seen.edges, 1.0]
    assert seen.histogram[0] == sum(difficulty <= ends[0] for difficulty in everything)
    assert seen.large_share == sum(difficulty > 0.5 for difficulty in everything) / 4800
    assert sum(monitor._game._places) == 201 + 4800


@pytest.mark.parametrize("again", [lambda monitor: pickle.loads(pickle.dumps(monitor)), copy.deepcopy, copy.copy])
def test_copies_go_on_from_where_it_stood(again: Callable[[DriftMonitor], DriftMonitor]) -> None:
    monitor, chance = watched(few_values, 100, 200, 6)
    twin = again(monitor)
    assert twin.snapshot() == monitor.snapshot()
    stream = [few_values(chance) for _ in range(200)]
    monitor.observe(stream)
    assert twin.snapshot().observed == 200
    twin.observe(stream)
    assert twin.snapshot() == monitor.snapshot()
    assert again(drifted_monitor()).drifted


def test_it_does_not_grow() -> None:
    monitor, chance = watched(uniform, 200, 3000, 7)
    size = len(pickle.dumps(monitor))
    monitor.observe([chance.random() for _ in range(20_000)])
    assert len(pickle.dumps(monitor)) < size + 200


def test_weights_that_grow_are_rescaled(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = watched(uniform, 200, 1000, 8)[0].snapshot()
    monkeypatch.setattr(module, "LARGEST_WEIGHT", 3.0)
    rescaled = watched(uniform, 200, 1000, 8)[0].snapshot()
    assert rescaled.log_evidence == pytest.approx(plain.log_evidence, rel=1e-9)
    assert replace(rescaled, log_evidence=0.0) == replace(plain, log_evidence=0.0)


def test_a_hundred_thousand_queries_leave_it_able_to_bet() -> None:
    monitor, chance = watched(uniform, 500, 100_000, 9)
    capital = monitor._game.purse.capital
    assert math.isfinite(capital)
    assert 0.0 < capital < 100.0
    assert delay(monitor, lambda _: 0.99, chance, 60)


def test_importing_it_loads_no_numpy() -> None:
    code = "import sys, shared_router.monitor; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- the reference -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 18, 19, 20, 500, 501])
@pytest.mark.parametrize("draw", [uniform, few_values, one_value])
def test_bins_are_of_one_size_and_json(draw: Draw, n: int) -> None:
    chance = random.Random(n)
    reference = reference_histogram([draw(chance) for _ in range(n)])
    assert reference.n == n
    assert len(reference.counts) == min(module.BINS, n + 1)
    assert max(reference.places) - min(reference.places) <= 1
    document = json.loads(json.dumps(reference.as_json(), allow_nan=False))
    assert ReferenceHistogram.from_json(document) == reference


def test_numpy_arrays_are_taken_and_left_behind() -> None:
    reference = reference_histogram(np.random.default_rng(0).random(50).astype(np.float32))
    assert all(type(edge) is float for edge in reference.edges)
    json.dumps(reference.as_json())


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [1.5], [-0.1], [math.inf], ["a"], [None], 3])
def test_calibration_difficulties_are_checked(values: Any) -> None:
    with pytest.raises(OutcomeError, match="difficulty"):
        reference_histogram(values)


@pytest.mark.parametrize("bins", [1, 0, -3, 2.5, True, "many"])
def test_bins_are_checked(bins: Any) -> None:
    with pytest.raises(KnobError, match="bins"):
        reference_histogram([0.5], bins=bins)


GOOD: dict[str, Any] = {"edges": [0.2, 0.5, 0.5], "ties": [0.9, 0.1, 0.2], "counts": [2, 2, 1, 0]}


@pytest.mark.parametrize(
    "change",
    [
        {"edges": [0.2, 0.5]},
        {"edges": [0.5, 0.2, 0.5]},
        {"edges": [0.2, 0.5, math.nan]},
        {"edges": [0.2, 0.5, 1.5]},
        {"edges": None},
        {"edges": ["a", "b", "c"]},
        {"ties": [0.9, 0.2, 0.1]},
        {"ties": [0.9, 0.2, 0.2]},
        {"ties": [0.9, 0.2, 1.0]},
        {"counts": [2, 2, 0, 1]},
        {"counts": [2, 2, 1]},
        {"counts": [2, 2, 1, -1]},
        {"counts": [2, 2, 1, 0.5]},
        {"counts": [2, True, 1, 1]},
        {"edges": [], "ties": [], "counts": [5]},
    ],
)
def test_damaged_references_are_refused(change: dict[str, Any]) -> None:
    assert ReferenceHistogram.from_json(GOOD).n == 5
    with pytest.raises(ArtifactFormatError):
        ReferenceHistogram.from_json({**GOOD, **change})
    with pytest.raises(ArtifactFormatError):
        ReferenceHistogram.from_json({key: value for key, value in GOOD.items() if key not in change})


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("difficulties", [[0.5, math.nan], [0.5, 1.0001], [-1e-9], [math.inf], ["hard"], [None], 0.5])
def test_difficulties_are_checked_and_nothing_is_taken_in(difficulties: Any) -> None:
    monitor, _ = watched(uniform, 50, 10, 0)
    before = monitor.snapshot()
    with pytest.raises(ScoreError, match="difficult"):
        monitor.observe(difficulties)
    assert monitor.snapshot() == before


@pytest.mark.parametrize(
    ("large", "promised"),
    [
        ([True], None),
        ([], None),
        ([True] * 3, None),
        (None, [0.5]),
        ([True, True], [0.5]),
        ([True, True], [0.5, 1.5]),
        ([True, True], [math.nan, 0.5]),
        ([True, True], ["half", 0.5]),
    ],
)
def test_shares_are_checked_and_nothing_is_taken_in(large: Any, promised: Any) -> None:
    monitor, _ = watched(uniform, 50, 10, 0)
    before = monitor.snapshot()
    with pytest.raises(OutcomeError):
        monitor.observe([0.1, 0.2], large, promised)
    assert monitor.snapshot() == before


@pytest.mark.parametrize("false_alarm", [0.0, 1.0, -0.1, 5, math.nan, True, "1%", None])
def test_false_alarm_is_checked(false_alarm: Any) -> None:
    with pytest.raises(KnobError, match="false_alarm"):
        DriftMonitor(reference_histogram([0.5]), false_alarm=false_alarm)
    with pytest.raises(KnobError, match="false_alarm"):
        PromiseMonitor(Knob("quality", 0.9), false_alarm=false_alarm)


def test_no_queries_change_nothing() -> None:
    monitor, _ = watched(uniform, 50, 10, 0)
    before = monitor.snapshot()
    monitor.observe([])
    assert monitor.snapshot() == before
    assert repr(monitor) == "DriftMonitor(no drift, 10 queries against 50)"


# -- the promise -------------------------------------------------------------------------------------------------------

# one query: who answers, the small model's quality, the large one's
Query = tuple[str, float, float]


def drop_world(broken: float) -> Callable[[random.Random], Query]:
    """The drop is 5 % plus ``broken``: 8 in 10 are right by the large model, all go to the small one."""

    def draw(chance: random.Random) -> Query:
        large = float(chance.random() < 0.8)
        return "small", large if chance.random() < 0.95 - broken else 0.0, large

    return draw


def quality_world(broken: float) -> Callable[[random.Random], Query]:
    """The large model adds .4 over the small one; 80 % of that is kept, less ``broken``."""

    def draw(chance: random.Random) -> Query:
        kept = chance.random() < 0.8 - broken
        small = float(chance.random() < 0.5)
        return ("large" if kept else "small"), small, small if chance.random() < 0.2 else 1.0

    return draw


def log_world(broken: float) -> Callable[[random.Random], Query]:
    """Qualities ≤ 0, as BARTScore: the small model's are lower by 5 % and more."""

    def draw(chance: random.Random) -> Query:
        large = -2.0 - chance.random()
        return "small", large * (1.05 + broken + 0.2 * (chance.random() - 0.5)), large

    return draw


WORLDS: list[tuple[Knob, tuple[float, float], Callable[[float], Callable[[random.Random], Query]], float]] = [
    (Knob("max_drop", 0.05), (0.0, 1.0), drop_world, 0.15),
    (Knob("quality", 0.8), (0.0, 1.0), quality_world, 0.4),
    (Knob("max_drop", 0.05), (-10.0, 0.0), log_world, 0.3),
]


@pytest.mark.parametrize(("promise", "ends", "world", "broken"), WORLDS)
def test_a_promise_that_is_just_kept_is_rarely_called_broken(
    promise: Knob, ends: tuple[float, float], world: Any, broken: float
) -> None:
    alarms = 0
    for seed in range(STREAMS):
        chance, draw = random.Random(seed), world(0.0)
        monitor = PromiseMonitor(promise, false_alarm=FALSE_ALARM, quality_range=ends)
        for _ in range(400):
            monitor.observe(*draw(chance))
        alarms += monitor.broken
    assert alarms / STREAMS <= within(FALSE_ALARM, STREAMS)


@pytest.mark.parametrize("calm", [0, 3000])
@pytest.mark.parametrize(("promise", "ends", "world", "broken"), WORLDS)
def test_a_broken_promise_is_found(
    promise: Knob, ends: tuple[float, float], world: Any, broken: float, calm: int
) -> None:
    chance = random.Random(1)
    monitor = PromiseMonitor(promise, quality_range=ends)
    for _ in range(calm):
        monitor.observe(*world(0.0)(chance))
    assert not monitor.broken
    for _ in range(600):
        monitor.observe(*world(broken)(chance))
    seen = monitor.snapshot()
    assert seen.broken
    assert monitor.broken
    assert seen.alarm_position is not None
    assert calm < seen.alarm_position <= calm + 600 == seen.observed
    assert seen.onset is not None
    assert seen.log_evidence >= seen.log_needed
    monitor.reset()
    assert monitor.snapshot() == PromiseMonitor(promise, quality_range=ends).snapshot()


def test_slacks_are_those_of_the_certificate() -> None:
    cases: list[tuple[Knob, tuple[float, float], Query, float]] = [
        (Knob("quality", 0.8), (0.0, 1.0), ("large", 0.0, 1.0), 0.2),
        (Knob("quality", 0.8), (0.0, 1.0), ("small", 0.0, 1.0), -0.8),
        (Knob("max_drop", 0.1), (0.0, 1.0), ("small", 0.5, 1.0), -0.4),
        (Knob("max_drop", 0.1), (0.0, 1.0), ("large", 0.5, 1.0), 0.1),
        (Knob("max_drop", 0.1), (-10.0, 0.0), ("small", -3.0, -2.0), -0.8),
    ]
    for promise, ends, query, slack in cases:
        monitor = PromiseMonitor(promise, quality_range=ends)
        assert monitor.snapshot().mean_slack is None
        monitor.observe(*query)  # type: ignore[arg-type]
        assert monitor.snapshot().mean_slack == pytest.approx(slack)


@pytest.mark.parametrize("name", ["quality", "max_drop"])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (2.0, 5.0), (-7.0, -1.0)])
def test_no_query_ruins_or_is_worth_more_than_it_can_be(name: Any, value: float, ends: tuple[float, float]) -> None:
    monitor = PromiseMonitor(Knob(name, value), quality_range=ends)
    for target, small, large in itertools.product(("small", "large"), ends, ends):
        slack, largest = monitor._slack(large if target == "large" else small, small, large)
        assert slack <= largest + 1e-12
        assert largest > 0.0


def test_promise_monitors_travel_and_are_json() -> None:
    monitor = PromiseMonitor(Knob("max_drop", 0.05))
    chance = random.Random(0)
    for _ in range(100):
        monitor.observe(*drop_world(0.0)(chance))  # type: ignore[arg-type]
    twin = pickle.loads(pickle.dumps(monitor))
    assert twin.snapshot() == monitor.snapshot()
    twin.observe("small", np.float32(0.5), 1)
    assert monitor.snapshot().observed == 100
    assert numbers_only(json.loads(json.dumps(twin.snapshot().as_json(), allow_nan=False)))


@pytest.mark.parametrize(
    "query",
    [("medium", 0.5, 0.5), ("small", math.nan, 0.5), ("small", 0.5, 1.5), ("large", -0.1, 0.5), ("large", "good", 0.5)],
)
def test_labels_are_checked(query: Any) -> None:
    monitor = PromiseMonitor(Knob("quality", 0.9))
    with pytest.raises(OutcomeError):
        monitor.observe(*query)
    assert monitor.snapshot().observed == 0


@pytest.mark.parametrize("knob", [Knob("large_share", 0.3), Knob("threshold", 0.3), Knob("route", "small")])
def test_only_a_promise_can_be_monitored(knob: Knob) -> None:
    with pytest.raises(KnobError, match="promises no quality"):
        PromiseMonitor(knob)


@pytest.mark.parametrize(
    ("name", "ends"), [("quality", (1.0, 0.0)), ("quality", (0.0, math.inf)), ("max_drop", (-1.0, 1.0))]
)
def test_the_range_is_checked(name: Any, ends: tuple[float, float]) -> None:
    with pytest.raises(OutcomeError, match="quality_range"):
        PromiseMonitor(Knob(name, 0.1), quality_range=ends)
