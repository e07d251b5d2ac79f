"""Bootstrap weights and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.evaluation.resampling import interval, resampled_weights


def drawn(n: int, **settings: object) -> np.ndarray:
    return np.concatenate(list(resampled_weights(n, **settings)))  # type: ignore[arg-type]


def test_each_sample_draws_as_many_queries_as_there_are() -> None:
    weights = drawn(50, resamples=40, seed=1)
    assert weights.shape == (40, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean() == 1.0
    assert weights.var() == pytest.approx(1.0 - 1 / 50, abs=0.1)
    assert (weights == drawn(50, resamples=40, seed=1)).all()
    assert (weights != drawn(50, resamples=40, seed=2)).any()


def test_many_queries_come_in_chunks_that_sum_up() -> None:
    chunks = list(resampled_weights(100_000, resamples=5))
    assert len(chunks) > 1
    assert sum(len(chunk) for chunk in chunks) == 5


def test_groups_are_drawn_as_wholes_and_the_ungrouped_alone() -> None:
    weights = drawn(5, groups=["a", 1, "a", None, None], resamples=200)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 3] != weights[:, 4]).any()
    # four units are drawn, of which "a" counts for two queries
    units = weights[:, [0, 1, 3, 4]]
    assert (units.sum(axis=1) == 4).all()


def test_groups_widen_an_interval_as_much_as_rows_are_repeated() -> None:
    # each value stands four times: single rows pretend to four times as much knowledge
    values = np.repeat(np.random.default_rng(0).normal(size=100), 4)
    groups = np.repeat(np.arange(100), 4).tolist()
    single, clustered = drawn(400, resamples=800), drawn(400, groups=groups, resamples=800)
    spread = [float(np.std(weights @ values / weights.sum(axis=1))) for weights in (single, clustered)]
    assert spread[1] / spread[0] == pytest.approx(2.0, rel=0.15)


def test_the_interval_has_its_level_and_is_none_where_a_figure_is_not_defined() -> None:
    samples = np.arange(101.0)
    found = interval(50.0, samples, 0.9)
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((50.0, 5.0, 95.0))
    assert interval(np.nan, samples, 0.9) is None
    assert interval(50.0, np.where(samples < 20, np.nan, samples), 0.9) is None
    assert interval(50.0, np.where(samples < 5, np.nan, samples), 0.9) is not None


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for seed in range(100):
        values = (generator.random(60) < 0.4).astype(float)
        weights = drawn(60, resamples=200, seed=seed)
        found = interval(float(values.mean()), weights @ values / 60, 0.9)
        assert found is not None
        covered += found.low <= 0.4 <= found.high
    # 90 expected, standard deviation 3
    assert 80 <= covered <= 98


@pytest.mark.parametrize(
    ("n", "settings", "message"),
    [
        (0, {}, "at least one query"),
        (3, {"resamples": 0}, "one resample"),
        (3, {"groups": ["a"]}, "1 entries for 3"),
        (2, {"groups": ["a", "a"]}, "one group"),
    ],
)
def test_bad_settings(n: int, settings: dict[str, object], message: str) -> None:
    with pytest.raises(OutcomeError, match=message):
        drawn(n, **settings)
