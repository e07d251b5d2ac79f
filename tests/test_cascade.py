"""What a cascade decides: the running quantile, the knobs, the router before it, labels, limits and failures."""

from __future__ import annotations

import logging
import math
import pickle
import random
import threading
from typing import Any

import pytest

from shared_router import HybridError, Knob, KnobError, Router
from shared_router.cascade import (
    CASCADE,
    Cascade,
    CascadeDecider,
    RunningThreshold,
    as_cascade,
    check_policy,
    escalation_share,
)
from shared_router.conversations import Conversations
from shared_router.deciding import Decider, RoutingRequest
from shared_router.guards import Capabilities, Needs, Stickiness
from shared_router.limits import ShareLimit
from shared_router.testing import BrokenDifficulty, linear_calibration_set, linear_curve, table_router
from shared_router.uncertainty import Evidence, Token

DIFFICULTIES = {"easy": 0.1, "hard": 0.95}


def sure(chance: float) -> Evidence:
    """An answer whose first token has this probability, at least a half: its uncertainty is 2 − 2 chance."""
    other = max(1.0 - chance, 1e-12)
    return Evidence("q", "a", (Token("A", math.log(chance), (("A", math.log(chance)), ("B", math.log(other)))),))


def of(uncertainty: float) -> Evidence:
    return sure(1.0 - uncertainty / 2.0)


def decider(knob: str = "threshold", **settings: Any) -> CascadeDecider:
    cascade = settings.pop("cascade", Cascade())
    route_threshold = settings.pop("route_threshold", None)
    return CascadeDecider(
        Decider(settings.pop("router", table_router(DIFFICULTIES)), **settings), cascade, route_threshold
    )


def fitted(**settings: Any) -> Cascade:
    return Cascade(curve=linear_curve(), calibration_set=linear_calibration_set(), cascade_id="own", **settings)


# ── the share ──


def test_the_share_of_a_budget_is_the_papers() -> None:
    assert escalation_share(3.0, 1.0, 10.0) == pytest.approx(0.2)
    assert escalation_share(1.0, 1.0, 10.0) == 0.0
    assert escalation_share(100.0, 1.0, 10.0) == 1.0
    with pytest.raises(KnobError, match="does not pay"):
        escalation_share(0.5, 1.0, 10.0)
    with pytest.raises(KnobError, match="finite"):
        escalation_share(1.0, 1.0, 0.0)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["even", "skewed", "coarse", "constant", "two"])
def test_the_share_is_kept_on_a_long_stream_whatever_the_uncertainties_are_like(share: float, kind: str) -> None:
    draw = random.Random(3)
    make = {
        "even": draw.random,
        "skewed": lambda: draw.random() ** 8,
        "coarse": lambda: draw.choice([0.0, 0.0, 0.2, 0.4, 0.6]),
        "constant": lambda: 1.0,
        "two": lambda: float(draw.random() < 0.3),
    }[kind]
    running = RunningThreshold(window=500)
    passed = [running.passes_on(make(), share)[0] for _ in range(4000)]
    assert sum(passed) / len(passed) == pytest.approx(share, abs=0.02)


def test_the_most_uncertain_ones_are_passed_on() -> None:
    draw = random.Random(5)
    running = RunningThreshold()
    values = [draw.random() for _ in range(2000)]
    passed = [value for value in values if running.passes_on(value, 0.25)[0]]
    kept = sorted(set(values) - set(passed))
    assert sum(passed) / len(passed) > 0.85
    assert kept[int(0.99 * len(kept))] < 0.85


def test_it_is_the_papers_rule_where_nothing_ties() -> None:
    draw = random.Random(7)
    running, margins = RunningThreshold(), []
    for i in range(400):
        margin = draw.random()
        margins = sorted([*margins, margin])
        # utils_method.make_cascade: once more than 20 were seen, escalate iff margin < element floor(len * p)
        expected = len(margins) > 20 and margin < margins[int(len(margins) * 0.3)]
        passed, threshold = running.passes_on(1.0 - margin, 0.3)
        if threshold != 1.0 - margin:
            assert passed == expected, i


def test_nothing_is_passed_on_before_the_warm_up_and_all_at_a_share_of_one() -> None:
    running = RunningThreshold()
    assert [running.passes_on(0.9 + i / 1000, 0.9)[0] for i in range(20)] == [False] * 20
    assert running.passes_on(0.99, 0.9)[0]
    assert RunningThreshold().passes_on(0.0, 1.0) == (True, 0.0)
    assert not RunningThreshold().passes_on(1.0, 0.0)[0]


def test_memory_is_bounded_and_follows_the_traffic() -> None:
    running = RunningThreshold(window=100)
    for _ in range(1000):
        running.passes_on(0.9, 0.5)
    for i in range(200):
        running.passes_on(0.1 + i / 10_000, 0.2)
    assert len(running) == 100
    assert running.passes_on(0.2, 0.2)[0]


def test_what_is_passed_on_anyhow_counts() -> None:
    draw = random.Random(11)
    running, passed = RunningThreshold(), 0
    for i in range(3000):
        forced = i % 10 == 0
        passed += running.passes_on(1.0 if forced else draw.choice([0.2, 0.4]), 0.3, anyhow=forced)[0]
    assert passed / 3000 == pytest.approx(0.3, abs=0.02)


def test_many_threads_share_one_quantile() -> None:
    running, counts, start = RunningThreshold(window=300), [], threading.Barrier(8)

    def work(seed: int) -> None:
        draw = random.Random(seed)
        start.wait()
        counts.append(sum(running.passes_on(draw.random(), 0.3)[0] for _ in range(500)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(running) == 300
    assert running._ranked == sorted(running._recent)
    assert sum(counts) / 4000 == pytest.approx(0.3, abs=0.03)


def test_it_travels_without_what_it_has_seen() -> None:
    running = RunningThreshold(window=7, warm_up=3)
    running.remember(0.5)
    copy = pickle.loads(pickle.dumps(running))
    assert (copy.window, copy.warm_up, len(copy)) == (7, 3, 0)


# ── measures ──


def test_what_cannot_be_said_counts_as_uncertain_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cascade = Cascade("mean_logprob", cascade_id="said-once")
    with caplog.at_level(logging.WARNING):
        assert [cascade.uncertainty(Evidence("q", "a")) for _ in range(3)] == [1.0] * 3
    assert len(caplog.records) == 1
    assert "count as uncertain" in caplog.text


def test_a_users_function_is_asked_and_its_failures_cost_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def own(query: str, message: Any) -> float:
        asked.append((query, message))
        return 0.25

    assert Cascade(own).uncertainty(Evidence("q", "a", message="m")) == 0.25
    assert asked == [("q", "m")]
    with caplog.at_level(logging.WARNING):
        assert Cascade(lambda query, message: 2.0, cascade_id="two").uncertainty(Evidence("q")) == 1.0
        assert Cascade(lambda query, message: 1 / 0, cascade_id="zero").uncertainty(Evidence("q")) == 1.0
    assert "ZeroDivisionError" in caplog.text


def test_an_unusable_answer_is_uncertain_whatever_its_tokens_say() -> None:
    assert Cascade().uncertainty(Evidence("q", "a", sure(1.0).tokens, usable=False)) == 1.0


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(KnobError, match="did you mean 'first_token_margin'"):
        as_cascade("first_token_margn")
    for settings in ({"samples": 1}, {"alternatives": 0}, {"held_tokens": 2.5}):
        with pytest.raises(KnobError, match="whole number"):
            Cascade(**settings)  # type: ignore[arg-type]
    with pytest.raises(KnobError, match="or a function"):
        Cascade(7)  # type: ignore[arg-type]
    assert as_cascade(None).measure == "first_token_margin"


# ── decisions ──


def decided(host: CascadeDecider, evidence: Evidence, **knob: Any) -> tuple[str, str]:
    ((name, value),) = (knob or {"threshold": 0.5}).items()
    (first,) = host.decide([RoutingRequest("easy", Knob(name, value))])  # type: ignore[arg-type]
    assert (first.target, first.reason) == ("small", CASCADE)
    last = host.after_answer(first, evidence)
    return last.target, last.reason


def test_a_threshold_cuts_the_uncertainty() -> None:
    host = decider()
    assert decided(host, of(0.49)) == ("small", "confident")
    assert decided(host, of(0.5)) == ("large", "uncertain")
    assert decided(host, of(0.9), threshold=1.0) == ("small", "confident")


def test_a_decision_says_what_was_asked_and_how_sure_it_was() -> None:
    host = decider()
    (first,) = host.decide([RoutingRequest("easy", Knob("threshold", 0.5))])
    last = host.after_answer(first, of(0.75))
    record = last.as_metadata("big")
    assert record["asked"] == ["small", "large"]
    assert (record["uncertainty"], record["threshold"], record["calibrated"]) == (0.75, 0.5, False)
    assert record["router"] == "first_token_margin"
    assert "asked" not in first.as_metadata("little")


def test_an_answer_that_is_none_is_never_handed_out() -> None:
    host = decider()
    broken = Evidence("q", "", usable=False)
    assert decided(host, broken, large_share=0.0) == ("large", "uncertain")
    assert decided(host, broken, threshold=1.0) == ("large", "uncertain")


def test_promises_need_labels() -> None:
    with pytest.raises(KnobError, match="labelled answers"):
        decider().decide([RoutingRequest("easy", Knob("quality", 0.9))])


def test_labels_grant_promises_and_certificates() -> None:
    host = decider(cascade=fitted())
    (first,) = host.decide([RoutingRequest("easy", Knob("quality", 0.5))])
    last = host.after_answer(first, of(0.6))
    assert (last.target, last.threshold, last.calibrated, last.certified) == ("large", 0.5, True, False)
    (first,) = host.decide([RoutingRequest("easy", Knob("quality", 0.9, 0.95))])
    last = host.after_answer(first, of(0.1))
    assert (last.target, last.certified) == ("small", True)


def test_where_all_goes_to_the_large_model_the_small_one_is_not_asked() -> None:
    cascade = Cascade(curve=linear_curve(), cascade_id="own")
    (one,) = decider(cascade=cascade).decide([RoutingRequest("easy", Knob("quality", 0.9, 0.95))])
    assert (one.target, one.reason) == ("large", "uncertified")
    (one,) = decider().decide([RoutingRequest("easy", Knob("threshold", 0.0))])
    assert (one.target, one.reason) == ("large", "uncertain")


def test_guards_come_first() -> None:
    can = {"small": Capabilities(tools=False), "large": Capabilities(tools=True)}
    request = RoutingRequest("easy", Knob("threshold", 0.5), Needs(tools=True), can)
    (one,) = decider().decide([request])
    assert (one.target, one.reason) == ("large", "tools")
    (one,) = decider().decide([RoutingRequest("hard", Knob("route", "small"))])
    assert (one.target, one.reason) == ("small", "forced")


def test_a_sticky_conversation_keeps_who_answered() -> None:
    host = decider(stickiness=Stickiness("sticky"), conversations=Conversations())
    request = RoutingRequest("easy", Knob("threshold", 0.5), conversation="one")
    (first,) = host.decide([request])
    host.after_answer(first, of(0.9), "one")
    (second,) = host.decide([request])
    assert (second.target, second.reason) == ("large", "sticky")


def test_a_limit_keeps_uncertain_answers_and_counts_the_rest() -> None:
    limit = ShareLimit(0.02)
    host = decider(limit=limit)
    assert decided(host, of(0.9)) == ("large", "uncertain")
    assert decided(host, of(0.9)) == ("small", "budget")
    assert decided(host, of(0.1)) == ("small", "confident")
    assert decided(host, Evidence("q", usable=False)) == ("large", "uncertain")
    assert limit.realised == pytest.approx(0.5)


def test_a_failure_of_the_small_model_is_an_uncertain_call() -> None:
    limit = ShareLimit(0.5)
    host = decider(limit=limit)
    (first,) = host.decide([RoutingRequest("easy", Knob("large_share", 0.1))])
    last = host.after_failure(first, OSError("down"))
    assert (last.target, last.reason, last.failed) == ("large", "fallback", "small: OSError")
    assert last.asked == ("small", "large")
    assert len(host.running) == 1
    assert limit.realised == 1.0


# ── a router before the cascade ──


def test_hard_queries_go_to_the_large_model_at_once() -> None:
    host = decider(route_threshold=0.9)
    hard, easy = host.decide([RoutingRequest(text, Knob("threshold", 0.5)) for text in ("hard", "easy")])
    assert (hard.target, hard.reason, hard.difficulty, hard.threshold) == ("large", "score", 0.95, 0.9)
    assert (easy.target, easy.reason, easy.difficulty) == ("small", CASCADE, 0.1)
    assert hard.knob == Knob("threshold", 0.5)
    last = host.after_answer(easy, of(0.7))
    assert (last.target, last.difficulty, last.uncertainty) == ("large", 0.1, 0.7)


async def test_awaiting_decides_alike() -> None:
    requests = [RoutingRequest(text, Knob("threshold", 0.5)) for text in ("hard", "easy", "hard")]
    for cut in (None, 0.9):
        assert await decider(route_threshold=cut).adecide(requests) == decider(route_threshold=cut).decide(requests)


def test_a_broken_router_leaves_the_cascade() -> None:
    host = decider(router=Router(BrokenDifficulty(), curve=linear_curve(), router_id="broken"), route_threshold=0.9)
    (one,) = host.decide([RoutingRequest("easy", Knob("threshold", 0.5))])
    assert (one.target, one.reason) == ("small", CASCADE)


@pytest.mark.parametrize("hard_share", [0.1, 0.5])
def test_both_steps_together_keep_the_share(hard_share: float) -> None:
    draw, large = random.Random(13), 0
    host = decider(route_threshold=0.9)
    for _ in range(3000):
        text = "hard" if draw.random() < hard_share else "easy"
        (one,) = host.decide([RoutingRequest(text, Knob("large_share", 0.3))])
        if one.reason == CASCADE:
            one = host.after_answer(one, of(draw.random()))
        large += one.target == "large"
    assert large / 3000 == pytest.approx(0.3, abs=0.02)


def test_a_limit_counts_both_steps_once() -> None:
    limit = ShareLimit(0.02)
    host = decider(route_threshold=0.9, limit=limit)
    request = RoutingRequest("hard", Knob("threshold", 0.5))
    assert [host.decide([request])[0].reason for _ in range(2)] == ["score", "budget"]
    assert limit.realised == 0.5


def test_promises_hold_only_with_what_they_were_fitted_with() -> None:
    request = RoutingRequest("easy", Knob("quality", 0.5))
    with pytest.raises(KnobError, match="fitted with route_threshold=None"):
        decider(cascade=fitted(), route_threshold=0.9).decide([request])
    (one,) = decider(cascade=fitted(route_threshold=0.9), route_threshold=0.9).decide([request])
    assert one.reason == CASCADE


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("route", "entropy", Knob("quality", 0.9), None, "per_call"), "belongs to policy"),
        (("route", None, Knob("quality", 0.9), 0.5, "per_call"), "route_threshold belongs"),
        (("cascade", None, Knob("threshold", 0.9), 0.5, "per_call"), "route_threshold belongs"),
        (("cascade", None, Knob("threshold", 0.9), None, "switch_cost"), "switch cost"),
        (("cascade", None, Knob("quality", 0.9), None, "per_call"), "labelled answers"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: Any, said: str) -> None:
    with pytest.raises(HybridError, match=said):
        check_policy(*settings)
