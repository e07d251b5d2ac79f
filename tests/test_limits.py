"""Limits hold whatever the traffic does."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_router.errors import KnobError
from shared_router.limits import CEILING, GAIN, ShareLimit, SpendLimit


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def sent(limit: ShareLimit, difficulties: np.ndarray) -> np.ndarray:
    return np.array([limit.admits(float(value), wanted=True) for value in difficulties])


class TestShareLimit:
    @pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9, 1.0])
    def test_holds_within_two_points_under_drifting_traffic(self, share: float) -> None:
        generator = np.random.default_rng(0)
        # from easy to hard and back, with a jump
        middle = np.concatenate([np.linspace(0.2, 0.8, 2000), np.full(1000, 0.1), np.linspace(0.9, 0.3, 2000)])
        difficulties = np.clip(middle + 0.15 * generator.normal(size=len(middle)), 0.0, 1.0)
        routed = sent(ShareLimit(share), difficulties)
        assert routed.mean() == pytest.approx(share, abs=0.02)
        for start in range(0, 5000, 1000):
            assert routed[start : start + 1000].mean() == pytest.approx(share, abs=0.03)

    @pytest.mark.parametrize("attack", [np.ones(3000), np.linspace(0.5, 1.0, 3000), np.full(3000, 0.7)])
    def test_holds_under_an_attack_that_makes_every_query_look_hard(self, attack: np.ndarray) -> None:
        limit = ShareLimit(0.2)
        calm = sent(limit, np.random.default_rng(1).random(2000))
        attacked = sent(limit, attack)
        assert calm.mean() == pytest.approx(0.2, abs=0.02)
        assert attacked.mean() == pytest.approx(0.2, abs=0.02)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=400), st.floats(0.01, 1.0))
    def test_the_bound_holds_for_any_traffic(self, difficulties: list[float], share: float) -> None:
        limit = ShareLimit(share)
        number = sum(limit.admits(value, wanted=True) for value in difficulties)
        assert number <= share * len(difficulties) + (share + GAIN) / GAIN + 1e-9

    def test_sends_the_hardest(self) -> None:
        generator = np.random.default_rng(2)
        difficulties = generator.random(4000)
        routed = sent(ShareLimit(0.3), difficulties)[1000:]
        best = np.sort(difficulties[1000:])[::-1][: routed.sum()].mean()
        assert difficulties[1000:][routed].mean() > best - 0.03

    def test_what_is_not_wanted_is_not_sent_and_saves_nothing_up_for_a_flood(self) -> None:
        limit = ShareLimit(0.2)
        assert not any(limit.admits(0.9, wanted=False) for _ in range(1000))
        flood = sent(limit, np.random.default_rng(3).random(1000))
        assert flood.sum() <= 0.2 * 1000 + (CEILING + GAIN) / GAIN
        assert limit.realised == pytest.approx(flood.sum() / 2000)

    def test_forced_calls_count(self) -> None:
        limit = ShareLimit(0.2)
        for _ in range(100):
            limit.note("large")
        assert not any(sent(limit, np.ones(100)))

    def test_threads_share_it(self) -> None:
        limit = ShareLimit(0.5)
        counts: list[int] = []

        def work(seed: int) -> None:
            counts.append(int(sent(limit, np.random.default_rng(seed).random(500)).sum()))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert limit.realised == pytest.approx(sum(counts) / 2000)
        assert limit.realised == pytest.approx(0.5, abs=0.03)

    def test_a_copy_counts_its_own_calls(self) -> None:
        limit = ShareLimit(0.5, gain=0.1, window=50)
        limit.note("large")
        again = pickle.loads(pickle.dumps(limit))
        assert (again.large_share, again.gain, again.window, again.realised) == (0.5, 0.1, 50, None)

    @pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan"), True, "0.5"])
    def test_what_is_no_share_is_refused(self, share: object) -> None:
        with pytest.raises(KnobError, match="large_share"):
            ShareLimit(share)  # type: ignore[arg-type]


class TestSpendLimit:
    def limit(self, clock: Clock, **changes: float) -> SpendLimit:
        given = {"usd": 1.0, "seconds": 60.0, "small_call": 0.01, "large_call": 0.3, **changes}
        return SpendLimit(given.pop("usd"), clock=clock, **given)

    def test_no_window_holds_more(self) -> None:
        clock, spent = Clock(), []
        limit = self.limit(clock, small_call=0.0)
        generator = np.random.default_rng(0)
        for _ in range(2000):
            clock.now += float(generator.exponential(1.0))
            if limit.admits(0.5, wanted=True):
                spent.append((clock.now, 0.3))
        times = np.array([when for when, _ in spent])
        for when in times:
            assert 0.3 * ((times > when - 60.0) & (times <= when)).sum() <= 1.0 + 1e-9
        # and nearly all of it is used
        assert len(spent) * 0.3 > 0.8 * clock.now / 60.0

    def test_forced_calls_and_real_prices_count(self) -> None:
        clock = Clock()
        limit = self.limit(clock)
        limit.note("large")
        assert limit.spent == pytest.approx(0.3)
        limit.settle("large", 0.95)
        assert limit.spent == pytest.approx(0.95)
        assert not limit.admits(0.9, wanted=True)
        assert limit.spent == pytest.approx(0.96)
        clock.now = 62.0
        assert limit.admits(0.9, wanted=True)
        assert "0.3 spent" in repr(limit)

    def test_a_copy_counts_its_own_calls(self) -> None:
        limit = SpendLimit(1.0, seconds=60.0, small_call=0.0, large_call=0.5)
        limit.note("large")
        again = pickle.loads(pickle.dumps(limit))
        assert (again.usd, again.spent) == (1.0, 0.0)

    @pytest.mark.parametrize("change", [{"usd": 0.0}, {"seconds": -1.0}, {"large_call": 0.0}, {"small_call": -1.0}])
    def test_what_is_no_limit_is_refused(self, change: dict[str, float]) -> None:
        with pytest.raises(KnobError, match=next(iter(change))):
            self.limit(Clock(), **change)
        with pytest.raises(KnobError, match="costs a finite amount"):
            self.limit(Clock()).settle("small", float("inf"))
