import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router import Knob, KnobError, OutcomeError, QueryError, Router, ScoreError, Turn
from shared_router.calibration_set import CalibrationSet
from shared_router.errors import ArtifactNotFoundError
from shared_router.router import as_router
from shared_router.testing import TableDifficulty, linear_calibration_set, linear_curve, table_router

KNOBS = st.one_of(
    st.builds(Knob, st.sampled_from(["quality", "max_drop", "large_share", "threshold"]), st.floats(0.0, 1.0)),
    st.builds(Knob, st.just("route"), st.sampled_from(["small", "large"])),
)


def length_difficulty(text: str) -> float:
    return min(1.0, len(text) / 100)


@given(st.floats(0.0, 1.0), KNOBS)
def test_large_iff_difficulty_reaches_the_threshold(difficulty: float, knob: Knob) -> None:
    decision = table_router(otherwise=difficulty).route("a question", knob)
    if knob.forced:
        assert (decision.target, decision.reason, decision.difficulty) == (knob.value, "forced", None)
    else:
        assert decision.threshold is not None
        assert (decision.target == "large") == (difficulty >= decision.threshold)
        assert decision.reason == "score"


@given(st.lists(st.tuples(st.floats(0.0, 1.0), KNOBS), max_size=8))
def test_many_at_once_decide_like_one_by_one(calls: list[tuple[float, Knob]]) -> None:
    table = {str(i): difficulty for i, (difficulty, _) in enumerate(calls)}
    router = table_router(table)
    knobs = [knob for _, knob in calls]
    assert router.route_many(list(table), knobs) == [
        router.route(text, knob) for text, knob in zip(table, knobs, strict=True)
    ]


def test_a_batch_is_scored_in_one_pass_and_forced_calls_not_at_all() -> None:
    scorer = TableDifficulty({})
    router = Router(scorer, curve=linear_curve(), router_id="table")
    router.route_many(["a", "b", "c"], [Knob("quality", 0.5), Knob("route", "large"), Knob("threshold", 0.5)])
    assert scorer.asked == [["a", "c"]]


def test_the_judged_text_of_a_conversation_is_the_last_human_ask() -> None:
    scorer = TableDifficulty({})
    turns = [Turn("system", "be brief"), Turn("human", "capital of Peru?"), Turn("assistant", ""), Turn("tool", "Lima")]
    Router(scorer, curve=linear_curve(), router_id="table").route(turns)
    assert scorer.asked == [["capital of Peru?"]]


def test_the_decision_as_metadata_is_json_and_holds_no_text() -> None:
    metadata = table_router({"secret": 0.9}).route("secret", Knob("quality", 0.5)).as_metadata("gpt-large")
    assert metadata == {
        "target": "large",
        "model": "gpt-large",
        "difficulty": 0.9,
        "threshold": 0.5,
        "reason": "score",
        "knob": {"quality": 0.5},
        "router": "table",
        "calibrated": False,
    }
    assert all(type(value) in (str, float, bool, dict) for value in metadata.values())


def test_calibrated_is_said_only_for_a_curve_of_the_own_pair() -> None:
    assert table_router(own_pair=True).route("x").calibrated
    assert not table_router(own_pair=False).route("x").calibrated
    assert not table_router(own_pair=True, with_curve=False).route("x").calibrated


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1, math.inf])
def test_a_score_that_is_no_difficulty_is_an_error(bad: float) -> None:
    with pytest.raises(ScoreError, match=r"a difficulty is a number in \[0, 1\]"):
        Router.from_callable(lambda text: bad).difficulty(["x"])


def test_a_wrong_number_of_scores_is_an_error() -> None:
    router = Router(lambda texts: np.zeros(1), curve=None, router_id="short")
    with pytest.raises(ScoreError, match=r"shape \(1,\) for 2 texts"):
        router.difficulty(["a", "b"])


def test_a_bare_string_is_not_read_letter_by_letter() -> None:
    with pytest.raises(ScoreError, match=r"router\.difficulty\(\[text\]\)"):
        table_router().difficulty("hello")


def test_no_texts_have_no_difficulties() -> None:
    difficulties = table_router().difficulty([])
    assert difficulties.shape == (0,)
    assert difficulties.dtype == np.float64


@pytest.mark.parametrize("query", [None, 3, b"bytes", ["text"], {"role": "human"}])
def test_something_else_than_text_or_turns_is_an_error(query: object) -> None:
    with pytest.raises(QueryError):
        table_router().route(query)  # type: ignore[arg-type]


def test_a_callable_is_named_in_the_decision() -> None:
    decision = as_router(length_difficulty).route("x" * 80, Knob("quality", 0.3))
    assert decision.router_id == "length_difficulty"
    assert (decision.target, decision.threshold) == ("large", 0.7)


def test_what_can_stand_for_a_router(tmp_path: Path) -> None:
    router = table_router()
    assert as_router(router) is router
    assert as_router("default") is as_router(None) is Router.default()
    with pytest.raises(ArtifactNotFoundError, match="does not exist"):
        as_router(tmp_path / "nowhere")
    with pytest.raises(ScoreError, match="got int"):
        as_router(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [table_router, lambda: Router.from_callable(length_difficulty), Router.default])
def test_a_router_survives_pickling(make: Callable[[], Router]) -> None:
    router = make()
    copy = pickle.loads(pickle.dumps(router))
    assert copy.route("How many?") == router.route("How many?")


class TestCertifiedKnobs:
    PROMISE = Knob("quality", 0.9, 0.95)

    def test_work_at_a_threshold_that_is_certified(self) -> None:
        router = table_router({"easy": 0.1, "hard": 0.6}, own_pair=True, calibration_set=linear_calibration_set())
        certificate = router.certificate(self.PROMISE)
        assert certificate is not None
        # all below 0.5 can be left to the small model at no loss, and the promise allows a tenth of the other half more
        assert certificate.threshold is not None
        assert 0.4 < certificate.threshold < 0.55
        decisions = router.route_many(["easy", "hard"], [self.PROMISE] * 2)
        assert [decision.target for decision in decisions] == ["small", "large"]
        assert all(decision.certified and decision.calibrated for decision in decisions)
        assert decisions[0].threshold == certificate.threshold
        metadata = decisions[0].as_metadata("tiny")
        assert (metadata["knob"], metadata["certified"]) == ({"quality": 0.9, "confidence": 0.95}, True)
        assert router.certificate(self.PROMISE) is certificate

    def test_go_to_the_large_model_where_nothing_is_certified_and_say_so_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        few = table_router(otherwise=0.0, own_pair=True, calibration_set=linear_calibration_set(10))
        for router in (few, table_router(otherwise=0.0), Router.from_callable(lambda text: 0.0)):
            caplog.clear()
            decisions = [router.route("x", self.PROMISE) for _ in range(3)]
            assert {(d.target, d.reason, d.certified, d.calibrated) for d in decisions} == {
                ("large", "uncertified", False, False)
            }
            assert caplog.text.count("all calls go to the large model") == 1
        assert "cannot be certified from 10 queries" in str(few.certificate(self.PROMISE))

    def test_without_a_confidence_nothing_is_certified(self) -> None:
        router = table_router(own_pair=True, calibration_set=linear_calibration_set())
        decision = router.route("x", Knob("quality", 0.9))
        assert not decision.certified
        assert "certified" not in decision.as_metadata("tiny")
        with pytest.raises(KnobError, match="has no confidence"):
            router.certificate(Knob("quality", 0.9))

    def test_a_drop_of_qualities_of_both_signs_is_the_callers_error(self) -> None:
        known = CalibrationSet(np.array([0.2, 0.8]), np.array([-1.0, -1.0]), np.ones(2), (-1.0, 1.0))
        with pytest.raises(KnobError, match="one sign"):
            table_router(calibration_set=known).route("x", Knob("max_drop", 0.1, 0.9))


def test_a_calibration_set_is_checked() -> None:
    with pytest.raises(OutcomeError, match="one shape"):
        CalibrationSet(np.array([0.2]), np.zeros(2), np.ones(2))
    with pytest.raises(OutcomeError, match="difficulty lies in"):
        CalibrationSet(np.array([np.nan]), np.zeros(1), np.ones(1))
