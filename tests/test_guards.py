from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.decision import decide
from shared_router.errors import KnobError
from shared_router.guards import Call, Capabilities, Needs, Stickiness, Verdict, verdict
from shared_router.knob import Knob, OperatingPoint
from shared_router.records import Target

TEXT_ONLY = Capabilities(frozenset(), tools=False, structured_output=False, context_window=1_000)
ALL = Capabilities(frozenset({"image", "audio"}), tools=True, structured_output=True, context_window=100_000)
NEEDS = {
    "modality": Needs(modalities=frozenset({"image"})),
    "tools": Needs(tools=True),
    "structured_output": Needs(structured_output=True),
    "context_window": Needs(tokens=5_000),
}


@pytest.mark.parametrize("reason", NEEDS)
def test_a_call_goes_to_the_only_model_that_can_serve_it(reason: str) -> None:
    call = Call(needs=NEEDS[reason], capabilities={"small": TEXT_ONLY, "large": ALL})
    assert verdict(call) == Verdict("large", reason)
    assert verdict(replace(call, capabilities={"small": ALL, "large": TEXT_ONLY})) == Verdict("small", reason)


@pytest.mark.parametrize("reason", NEEDS)
@pytest.mark.parametrize("model", [TEXT_ONLY, ALL, Capabilities()])
def test_where_both_or_neither_can_the_score_decides(reason: str, model: Capabilities) -> None:
    assert verdict(Call(needs=NEEDS[reason], capabilities={"small": model, "large": model})) is None


@pytest.mark.parametrize("reason", NEEDS)
def test_the_unknown_is_assumed_to_work(reason: str) -> None:
    assert verdict(Call(needs=NEEDS[reason], capabilities={"small": Capabilities(), "large": ALL})) is None
    assert verdict(Call(needs=NEEDS[reason])) is None


def test_text_that_fits_needs_no_guard() -> None:
    assert verdict(Call(needs=Needs(tokens=1_000), capabilities={"small": TEXT_ONLY, "large": ALL})) is None


def test_the_users_word_comes_first_then_capability_then_the_conversation() -> None:
    sticky = Stickiness("sticky")
    call = Call(Knob("route", "small"), NEEDS["tools"], {"small": TEXT_ONLY, "large": ALL}, "small", sticky)
    assert verdict(call) == Verdict("small", "forced")
    assert verdict(replace(call, knob=Knob("quality", 0.5))) == Verdict("large", "tools")
    assert verdict(replace(call, knob=Knob("quality", 0.5), needs=Needs())) == Verdict("small", "sticky")


@pytest.mark.parametrize("stickiness", [Stickiness(), Stickiness("switch_cost", 0.5)])
def test_only_sticky_conversations_keep_their_model_unseen(stickiness: Stickiness) -> None:
    assert verdict(Call(previous="large", stickiness=stickiness)) is None
    assert verdict(Call(previous=None, stickiness=Stickiness("sticky"))) is None


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from([None, "small", "large"]))
def test_a_switch_must_gain_what_it_costs(
    difficulty: float, threshold: float, cost: float, previous: Target | None
) -> None:
    call = Call(previous=previous, stickiness=Stickiness("switch_cost", cost))
    point = OperatingPoint(threshold)
    plain = decide(difficulty, point, Call(), router_id="r", calibrated=False)
    decision = decide(difficulty, point, call, router_id="r", calibrated=False)
    if previous in (None, plain.target) or abs(difficulty - threshold) >= cost:
        assert decision == plain
    else:
        assert (decision.target, decision.reason) == (previous, "switch_cost")


@pytest.mark.parametrize(
    "arguments", [("always",), ("switch_cost", -0.1), ("switch_cost", 1.5), ("switch_cost", float("nan"))]
)
def test_a_stickiness_that_makes_no_sense_is_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(KnobError):
        Stickiness(*arguments)  # type: ignore[arg-type]


def test_a_fallback_names_who_failed() -> None:
    first = decide(0.9, OperatingPoint(0.5), Call(), router_id="r", calibrated=False)
    second = first.after_failure(TimeoutError("https://key@host"))
    assert (second.target, second.reason, second.failed) == ("small", "fallback", "large: TimeoutError")
    assert second.as_metadata("m")["failed"] == "large: TimeoutError"
    assert "failed" not in first.as_metadata("m")
