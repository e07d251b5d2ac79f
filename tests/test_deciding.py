import asyncio
import logging
import pickle
import threading
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from shared_router import HybridError, Knob, KnobError, Router
from shared_router.deciding import Decider, OnDrift, RoutingRequest, may_fall_back
from shared_router.decision import RoutingDecision
from shared_router.guards import Capabilities, Needs, Stickiness
from shared_router.settings import CurrentDecider, check_settings
from shared_router.testing import (
    BrokenDifficulty,
    TableDifficulty,
    linear_calibration_set,
    linear_curve,
    table_router,
)

HALF = Knob("threshold", 0.5)


def broken() -> Router:
    return Router(BrokenDifficulty(), curve=linear_curve(), router_id="broken")


def decide(decider: Decider, *requests: RoutingRequest, asynchronous: bool = False) -> list[RoutingDecision]:
    return asyncio.run(decider.adecide(requests)) if asynchronous else decider.decide(requests)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class TestARouterThatFails:
    def test_costs_no_answer(self, asynchronous: bool, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            (decision,) = decide(Decider(broken()), RoutingRequest("my secret"), asynchronous=asynchronous)
        assert (decision.target, decision.reason, decision.difficulty) == ("large", "router_error", None)
        assert "OSError" in caplog.text
        assert "my secret" not in caplog.text

    def test_falls_to_the_model_of_choice(self) -> None:
        (decision,) = decide(Decider(broken(), on_router_error="small"), RoutingRequest("x"))
        assert decision.target == "small"

    def test_gives_up_only_the_queries_that_cannot_be_judged(self) -> None:
        def picky(text: str) -> float:
            if text == "bad":
                raise OSError(text)
            return 0.0

        decider = Decider(Router.from_callable(picky))
        decisions = decide(decider, *(RoutingRequest(text, HALF) for text in ("ok", "bad", "ok")))
        assert [decision.reason for decision in decisions] == ["score", "router_error", "score"]

    def test_does_not_hide_a_wrong_knob(self) -> None:
        with pytest.raises(KnobError):
            decide(Decider(Router.from_callable(lambda text: 0.5)), RoutingRequest("x", Knob("large_share", 0.5)))

    def test_does_not_overrule_a_guard(self) -> None:
        request = RoutingRequest("x", HALF, Needs(tools=True), {"large": Capabilities(tools=False)})
        decisions = decide(Decider(broken(), time_limit=1.0), request, RoutingRequest("y", Knob("route", "small")))
        assert [(d.target, d.reason) for d in decisions] == [("small", "tools"), ("small", "forced")]


class TestATimeLimit:
    def slow(self, seconds: float) -> Router:
        released = threading.Event()

        def wait(texts: Sequence[str], /) -> npt.NDArray[np.float64]:
            released.wait(seconds)
            return np.zeros(len(texts))

        return Router(wait, curve=None, router_id="slow")

    def test_a_slow_router_is_given_up(self, asynchronous: bool) -> None:
        begin = time.monotonic()
        (decision,) = decide(Decider(self.slow(5.0), time_limit=0.02), RoutingRequest("x"), asynchronous=asynchronous)
        assert (decision.target, decision.reason) == ("large", "router_timeout")
        assert time.monotonic() - begin < 2.0

    def test_a_quick_one_is_heard(self, asynchronous: bool) -> None:
        decider = Decider(table_router(otherwise=0.1), time_limit=5.0)
        (decision,) = decide(decider, RoutingRequest("x", HALF), asynchronous=asynchronous)
        assert (decision.target, decision.reason) == ("small", "score")

    def test_a_wrong_knob_is_still_the_callers_error(self) -> None:
        decider = Decider(Router.from_callable(lambda text: 0.5), time_limit=5.0)
        with pytest.raises(KnobError):
            decide(decider, RoutingRequest("x", Knob("max_drop", 0.1)))


class TestTheEventLoop:
    async def test_an_unknown_scorer_is_asked_in_a_thread_and_a_quick_one_then_on_the_loop(self) -> None:
        threads: list[int] = []

        def note(texts: Sequence[str], /) -> npt.NDArray[np.float64]:
            threads.append(threading.get_ident())
            return np.zeros(len(texts))

        decider = Decider(Router(note, curve=None, router_id="noting"))
        await decider.adecide([RoutingRequest("x")])
        decider.seconds_per_text = 1e-5
        await decider.adecide([RoutingRequest("x")])
        assert threads[0] != threading.get_ident()
        assert threads[1] == threading.get_ident()


class TestConversations:
    def test_a_sticky_conversation_keeps_its_first_model(self, asynchronous: bool) -> None:
        decider = Decider(table_router({"hard": 0.9, "easy": 0.1}), stickiness=Stickiness("sticky"))
        texts = [("hard", "a"), ("easy", "a"), ("easy", "b"), ("hard", "b"), ("easy", None), ("hard", None)]
        targets = [
            decide(decider, RoutingRequest(text, HALF, conversation=key), asynchronous=asynchronous)[0].target
            for text, key in texts
        ]
        assert targets == ["large", "large", "small", "small", "small", "large"]

    def test_a_switch_cost_lets_a_clear_case_switch_up_and_down(self) -> None:
        table = {"hard": 0.9, "middling": 0.55, "easy": 0.1}
        decider = Decider(table_router(table), stickiness=Stickiness("switch_cost", 0.2))
        decisions = [
            decide(decider, RoutingRequest(text, HALF, conversation="a"))[0]
            for text in ("easy", "middling", "hard", "middling", "easy")
        ]
        assert [d.target for d in decisions] == ["small", "small", "large", "large", "small"]
        assert [d.reason for d in decisions] == ["score", "switch_cost", "score", "score", "score"]

    def test_an_exception_settles_nothing(self) -> None:
        decider = Decider(table_router(otherwise=0.1), stickiness=Stickiness("sticky"))
        forced = RoutingRequest("x", Knob("route", "large"), conversation="a")
        plain = RoutingRequest("x", HALF, conversation="a")
        assert [decide(decider, request)[0].target for request in (forced, plain)] == ["large", "small"]

    def test_without_stickiness_every_call_is_decided_anew(self) -> None:
        decider = Decider(table_router({"hard": 0.9}, otherwise=0.1))
        requests = [RoutingRequest(text, HALF, conversation="a") for text in ("hard", "x")]
        assert [decide(decider, request)[0].target for request in requests] == ["large", "small"]


def test_a_batch_is_scored_in_one_pass() -> None:
    scorer = TableDifficulty({})
    decide(Decider(Router(scorer, curve=None, router_id="t")), RoutingRequest("a"), RoutingRequest("b"))
    assert scorer.asked == [["a", "b"]]


def test_a_decider_pickles() -> None:
    decider = Decider(table_router(), stickiness=Stickiness("sticky"), time_limit=1.0)
    copy = pickle.loads(pickle.dumps(decider))
    assert (copy.stickiness, copy.time_limit) == (decider.stickiness, decider.time_limit)


@pytest.mark.parametrize(
    ("target", "reason", "fallback", "allowed"),
    [
        ("small", "score", None, False),
        ("small", "score", "large", True),
        ("large", "score", "large", False),
        ("small", "score", "other", True),
        ("large", "score", "other", True),
        ("small", "sticky", "large", True),
        ("large", "router_error", "other", True),
        ("small", "forced", "other", False),
        ("small", "tools", "other", False),
        ("large", "fallback", "other", False),
    ],
)
def test_who_may_be_asked_after_a_failure(target: str, reason: str, fallback: str | None, allowed: bool) -> None:
    failed = "small: OSError" if reason == "fallback" else None
    decision = RoutingDecision(target, reason, None, None, HALF, "r", False, failed=failed)  # type: ignore[arg-type]
    assert may_fall_back(decision, fallback) is allowed  # type: ignore[arg-type]


class TestDrift:
    CERTIFIED = Knob("quality", 0.9, 0.95)

    def decider(self, on_drift: OnDrift | None = None, difficulty: float = 0.45) -> Decider:
        router = table_router(otherwise=difficulty, own_pair=True, calibration_set=linear_calibration_set())
        decider = CurrentDecider().under(router, "large", None, "per_call", 0.1, on_drift)
        assert decider.monitor is not None
        return decider

    def drifted(self, on_drift: OnDrift | None = None) -> Decider:
        # all of one difficulty, where calibration had every one alike
        decider = self.decider(on_drift)
        decide(decider, *(RoutingRequest(f"query {i}", HALF) for i in range(300)))
        return decider

    def test_is_said_and_certified_promises_go_to_the_large_model(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            decider = self.drifted()
        assert caplog.text.count("hybrid-llm calibrate") == 1
        certified, plain = decide(
            decider, RoutingRequest("x", self.CERTIFIED), RoutingRequest("y", Knob("quality", 0.5))
        )
        assert (certified.target, certified.reason, certified.calibrated, certified.certified) == (
            "large",
            "drift",
            False,
            False,
        )
        assert (plain.target, plain.reason, plain.calibrated) == ("small", "drift", False)

    def test_nothing_is_said_of_traffic_like_that_of_calibration(self) -> None:
        known = linear_calibration_set().difficulty
        shuffled = np.random.default_rng(0).permutation(known)
        router = table_router(
            {f"q{i}": value for i, value in enumerate(shuffled.tolist())},
            own_pair=True,
            calibration_set=linear_calibration_set(),
        )
        decider = CurrentDecider().under(router, "large", None, "per_call", 0.1)
        decisions = decide(decider, *(RoutingRequest(f"q{i}", self.CERTIFIED) for i in range(len(known))))
        assert {decision.reason for decision in decisions} == {"score"}
        assert all(decision.certified and decision.calibrated for decision in decisions)

    @pytest.mark.parametrize(
        ("on_drift", "target"), [("large", "large"), ("report", "small"), (0.9, "large"), (0.0, "small")]
    )
    def test_a_safer_point_is_worked_at(self, on_drift: OnDrift, target: str) -> None:
        (decision,) = decide(self.drifted(on_drift), RoutingRequest("x", Knob("quality", 0.5)))
        assert (decision.target, decision.reason) == (target, "drift")

    def test_what_no_promise_decided_stays(self) -> None:
        decisions = decide(
            self.drifted("large"),
            RoutingRequest("x", HALF),
            RoutingRequest("x", Knob("large_share", 0.5)),
            RoutingRequest("x", Knob("route", "small")),
        )
        assert [(d.target, d.reason) for d in decisions] == [
            ("small", "score"),
            ("small", "score"),
            ("small", "forced"),
        ]

    def test_further_steps_of_an_agents_loop_do_not_count(self) -> None:
        decider = self.decider()
        for step in range(300):
            decide(decider, RoutingRequest("the same", HALF, in_loop=step > 0))
        assert decider.monitor is not None
        assert decider.monitor.snapshot().observed == 1
        assert not decider.monitor.drifted

    def test_the_monitor_outlives_a_changed_setting_but_not_its_router(self) -> None:
        current, known = CurrentDecider(), linear_calibration_set()
        first, second = (table_router(calibration_set=known) for _ in range(2))
        one = current.under(first, "large", None, "per_call", 0.1).monitor
        assert current.under(first, "small", None, "per_call", 0.1).monitor is one
        assert current.under(second, "small", None, "per_call", 0.1).monitor is not one
        assert current.under(table_router(), "small", None, "per_call", 0.1).monitor is None


@pytest.mark.parametrize("value", ["small", 1.5, True, [0.9]])
def test_on_drift_is_checked(value: object) -> None:
    with pytest.raises(HybridError, match="on_drift"):
        check_settings({"on_drift": value})
