import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.errors import ArtifactFormatError, HybridError, KnobError
from shared_router.knob import (
    DEFAULT_KNOB,
    KNOB_NAMES,
    NEVER_LARGE,
    Knob,
    OperatingCurve,
    knob_from,
    operating_point,
    split_knob,
)
from shared_router.testing import linear_curve

SHARES = st.floats(0.0, 1.0)
NUMBER_KNOBS = [name for name in KNOB_NAMES if name != "route"]


@st.composite
def curves(draw: st.DrawFn) -> OperatingCurve:
    """Any legal curve, also one whose quality is not monotone."""
    size = draw(st.integers(2, 12))
    thresholds = sorted(draw(st.lists(SHARES, min_size=size, max_size=size, unique=True)), reverse=True)
    large_share = sorted(draw(st.lists(SHARES, min_size=size, max_size=size)))
    quality = draw(st.lists(st.floats(-1.0, 2.0), min_size=size, max_size=size))
    drop = draw(st.lists(st.floats(-1.0, 1.0), min_size=size, max_size=size))
    return OperatingCurve(tuple(thresholds), tuple(large_share), tuple(quality), tuple(drop))


@pytest.mark.parametrize("name", NUMBER_KNOBS)
@pytest.mark.parametrize("value", [-0.01, 1.01, 90, math.nan, math.inf, -math.inf])
def test_a_number_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(KnobError, match=f"{name} is a number from 0 to 1, got"):
        knob_from({name: value})


@pytest.mark.parametrize("name", NUMBER_KNOBS)
@pytest.mark.parametrize("value", ["0.9", True, [0.9], object(), b"1", 1j])
def test_a_value_of_the_wrong_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(KnobError, match=f"{name} is a number from 0 to 1, got .* of type"):
        knob_from({name: value})


def test_a_percentage_gets_a_hint() -> None:
    with pytest.raises(KnobError, match=r"for 90 % write quality=0\.9"):
        knob_from({"quality": 90})


@pytest.mark.parametrize("value", [0, 1, np.float32(0.5), np.int64(1), np.float64(0.25)])
def test_whole_and_numpy_numbers_become_plain_floats(value: float) -> None:
    knob = knob_from({"quality": value})
    assert knob is not None
    assert type(knob.value) is float


@pytest.mark.parametrize("value", ["medium", "LARGE", 1, True, ["small"]])
def test_route_takes_two_words_only(value: object) -> None:
    with pytest.raises(KnobError, match='route is "small" or "large"'):
        knob_from({"route": value})


def test_two_knobs_are_one_too_many() -> None:
    with pytest.raises(KnobError, match=r"one way only: quality=0\.9, max_drop=0\.01"):
        knob_from({"quality": 0.9, "max_drop": 0.01, "route": None})


def test_a_misspelt_knob_is_named_with_its_neighbour() -> None:
    with pytest.raises(KnobError, match="unknown knob 'qualty'; did you mean 'quality'"):
        knob_from({"qualty": 0.9})


def test_no_knob_is_none() -> None:
    assert knob_from({}) is None
    assert knob_from(dict.fromkeys(KNOB_NAMES)) is None
    assert Knob("quality", 0.9) == DEFAULT_KNOB


def test_a_knob_is_taken_out_of_keyword_arguments() -> None:
    knob, rest = split_knob({"temperature": 0.2, "quality": 0.7, "route": None})
    assert knob == Knob("quality", 0.7)
    assert rest == {"temperature": 0.2}


def test_errors_are_not_value_errors() -> None:
    # response synthesizers of LlamaIndex swallow ValueError and answer "Empty Response"
    assert issubclass(HybridError, RuntimeError)
    assert not issubclass(KnobError, ValueError)


@given(curves(), SHARES)
def test_a_point_keeps_the_promised_quality_at_the_lowest_share(curve: OperatingCurve, wish: float) -> None:
    point = operating_point(Knob("quality", wish), curve)
    assert point.large_share is not None
    assert point.quality is not None
    assert point.quality >= wish
    if wish > 0:
        cheaper = [
            kept for share, kept in zip(curve.large_share, curve.quality, strict=True) if share < point.large_share
        ]
        assert all(kept < wish for kept in cheaper)


@given(curves(), SHARES)
def test_a_budget_is_never_exceeded(curve: OperatingCurve, budget: float) -> None:
    point = operating_point(Knob("large_share", budget), curve)
    assert point.large_share is not None
    assert point.large_share <= budget


@given(curves(), SHARES, SHARES)
def test_a_higher_wish_never_costs_less(curve: OperatingCurve, one: float, other: float) -> None:
    low, high = sorted((one, other))
    for name in ("quality", "large_share"):
        cheap, dear = (operating_point(Knob(name, value), curve).large_share for value in (low, high))  # type: ignore[arg-type]
        assert cheap is not None
        assert dear is not None
        assert cheap <= dear


@given(curves(), SHARES)
def test_a_threshold_is_taken_as_it_is(curve: OperatingCurve, threshold: float) -> None:
    assert operating_point(Knob("threshold", threshold), curve).threshold == threshold


def test_the_ends_of_the_knob() -> None:
    curve = linear_curve()
    assert operating_point(Knob("quality", 0.0), curve).threshold == NEVER_LARGE
    assert operating_point(Knob("large_share", 0.0), curve).threshold == NEVER_LARGE
    assert operating_point(Knob("large_share", 1.0), curve).threshold == 0.0
    assert operating_point(Knob("quality", 1.0), curve).threshold == 0.0
    assert operating_point(Knob("max_drop", 0.25), curve).large_share == 0.5


def test_quality_one_may_leave_queries_to_the_small_model() -> None:
    curve = OperatingCurve((1.0, 0.5, 0.0), (0.0, 0.4, 1.0), (0.0, 1.1, 1.0), (0.2, -0.02, 0.0))
    assert operating_point(Knob("quality", 1.0), curve).large_share == 0.4
    assert operating_point(Knob("max_drop", 0.0), curve).large_share == 0.4


@pytest.mark.parametrize(("quality", "threshold"), [(0.0, NEVER_LARGE), (0.3, 0.7), (1.0, 0.0)])
def test_without_a_curve_quality_is_one_minus_the_threshold(quality: float, threshold: float) -> None:
    assert operating_point(Knob("quality", quality), None).threshold == pytest.approx(threshold)


@pytest.mark.parametrize("name", ["max_drop", "large_share"])
def test_without_a_curve_a_share_cannot_be_granted(name: str) -> None:
    with pytest.raises(KnobError, match="needs a router with a measured operating curve"):
        operating_point(Knob(name, 0.5), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "columns",
    [
        ((0.5,), (0.0,), (0.0,), (0.0,)),
        ((0.5, 0.5), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)),
        ((0.5, 0.6), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)),
        ((0.5, 0.1), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)),
        ((0.5, 0.1), (0.0, 1.1), (0.0, 1.0), (0.0, 0.0)),
        ((1.5, 0.1), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)),
        ((0.5, 0.1), (0.0, 1.0), (0.0, math.nan), (0.0, 0.0)),
        ((0.5, 0.1), (0.0, 1.0), (0.0,), (0.0, 0.0)),
    ],
)
def test_a_curve_that_makes_no_sense_is_refused(columns: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ArtifactFormatError):
        OperatingCurve(*columns)


class TestConfidence:
    def test_goes_with_a_promise_and_comes_back_as_settings(self) -> None:
        knob = knob_from({"max_drop": 0.05, "confidence": 0.95, "quality": None})
        assert knob == Knob("max_drop", 0.05, 0.95)
        assert knob is not None
        assert knob.settings == {"max_drop": 0.05, "confidence": 0.95}
        assert knob_from(knob.settings) == knob
        assert Knob("quality", 0.9).settings == {"quality": 0.9}

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"confidence": 0.95}, "give quality or max_drop beside it"),
            ({"large_share": 0.5, "confidence": 0.95}, "large_share promises nothing"),
            ({"route": "large", "confidence": 0.95}, "route promises nothing"),
            ({"quality": 0.9, "confidence": 1.0}, "without the ends"),
            ({"quality": 0.9, "confidence": 95}, "for 95 % write confidence=0.95"),
            ({"quality": 0.9, "confidence": True}, "got True"),
            ({"quality": 0.9, "confidence": "high"}, "got 'high'"),
            ({"quality": 0.9, "confidence": math.nan}, "got nan"),
        ],
    )
    def test_is_refused_where_it_means_nothing(self, settings: dict[str, Any], said: str) -> None:
        with pytest.raises(KnobError, match=re.escape(said)):
            knob_from(settings)

    def test_is_taken_out_of_a_calls_keywords_and_a_misspelt_one_is_noticed(self) -> None:
        knob, others = split_knob({"quality": 0.9, "confidence": 0.9, "stop": "x"})
        assert (knob, others) == (Knob("quality", 0.9, 0.9), {"stop": "x"})
        with pytest.raises(KnobError, match="did you mean 'confidence'"):
            split_knob({"confidense": 0.9})
