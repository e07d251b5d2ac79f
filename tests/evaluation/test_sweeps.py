"""Sweeping one score under many weightings gives what repeating the rows would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import apgr, operating_curve
from shared_router.evaluation.shortfall import shortfall_auc
from shared_router.evaluation.sweeps import Ordered, area, checked, gained_at, reaching, spent_at

ROWS = st.lists(
    st.tuples(st.integers(-3, 3), st.floats(0, 1, width=16), st.floats(0, 1, width=16), st.integers(0, 3)),
    min_size=2,
    max_size=25,
)


@given(ROWS)
def test_a_weight_is_a_row_that_stands_so_often(rows: list[tuple[int, float, float, int]]) -> None:
    score, small, large, weight = np.array(rows, dtype=float).T
    if not weight.sum():
        return
    times = weight.astype(int)
    repeated = Ordered(np.repeat(score, times), np.repeat(small, times), np.repeat(large, times)).sweep()
    weighed = Ordered(score, small, large).sweep(weight[None])
    shares = np.linspace(0, 1, 7)
    assert area(weighed)[0] == pytest.approx(area(repeated)[0], abs=1e-12)
    assert gained_at(weighed, shares) == pytest.approx(gained_at(repeated, shares), abs=1e-9)
    assert weighed.auc == pytest.approx(repeated.auc, nan_ok=True)
    assert (weighed.small[0], weighed.large[0]) == pytest.approx((repeated.small[0], repeated.large[0]))


def test_a_sweep_is_the_operating_curve() -> None:
    generator = np.random.default_rng(0)
    score, small, large = generator.integers(0, 6, 50), generator.random(50), generator.random(50) + 0.3
    sweep, curve = Ordered(score.astype(float), small, large).sweep(), operating_curve(score, small, large)
    assert sweep.share[0] == pytest.approx(curve.large_share)
    assert small.mean() + sweep.gained[0] == pytest.approx(curve.quality)
    assert area(sweep)[0] / sweep.gap[0] == pytest.approx(apgr(score, small, large))


def test_the_first_crossing_counts_where_a_curve_turns_back() -> None:
    # gains of 1, −1, 1 in falling order of difficulty
    sweep = Ordered(np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0])).sweep()
    assert reaching(sweep, np.array([1 / 6]))[0] == pytest.approx(1 / 6)
    assert reaching(sweep, np.array([1 / 3]))[0] == pytest.approx(1 / 3)
    assert reaching(sweep, np.array([0.0]))[0] == 0.0
    assert np.isnan(reaching(sweep, np.array([0.5]))[0])


def test_costs_are_swept_in_the_same_order() -> None:
    sweep = Ordered(np.array([2.0, 1.0]), np.zeros(2), np.ones(2), np.array([10.0, 2.0])).sweep()
    assert spent_at(sweep, np.array([0.0, 0.25, 0.5, 1.0]))[0] == pytest.approx([0.0, 2.5, 5.0, 6.0])
    with pytest.raises(OutcomeError, match="no costs"):
        spent_at(Ordered(np.ones(2), np.zeros(2), np.ones(2)).sweep(), np.array([0.5]))


def test_the_order_of_tied_rows_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    score, small, large = generator.integers(0, 3, 40).astype(float), generator.random(40), generator.random(40)
    turned = generator.permutation(40)
    one = Ordered(score, small, large).sweep()
    other = Ordered(score[turned], small[turned], large[turned]).sweep()
    assert one.gained == pytest.approx(other.gained)
    assert shortfall_auc(score, small, large) == pytest.approx(
        shortfall_auc(score[turned], small[turned], large[turned])
    )


def test_a_weighting_of_nothing_is_nan_and_no_warning() -> None:
    sweep = Ordered(np.array([1.0, 2.0]), np.zeros(2), np.ones(2)).sweep(np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert np.isnan(area(sweep)[0])
    assert area(sweep)[1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0], "b": [1.0, 2.0]}, r"a, b are arrays of one shape"),
        ({"a": []}, "n ≥ 1"),
        ({"a": [[1.0]]}, "one shape"),
        ({"a": [1.0], "b": [np.inf]}, "b has 1 values that are NaN or infinite"),
    ],
)
def test_columns_are_checked_by_name(columns: dict[str, object], message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        checked(**columns)  # type: ignore[arg-type]
