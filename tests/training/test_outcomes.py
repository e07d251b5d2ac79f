"""Reading outcome tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.training.outcomes import outcomes_from, read_outcomes
from shared_router.training.sources import BENCHMARKS, FORMAT_FAILURES, PAIRS, SHIPPABLE, SOURCES

pd = pytest.importorskip("pandas")


def long_table() -> object:
    rows = [
        ("t@test", "1", "one?", "small", 0.0, 0, "g1", None, "test"),
        ("t@test", "1", "one?", "large", 1.0, 0, "g1", None, "test"),
        ("t", "2", "two?", "small", 1.0, 0, "g2", "gsm8k_test", "train"),
    ]
    columns = ["task", "query_id", "query", "model", "quality", "sample", "group", "overlap", "split"]
    return pd.DataFrame(rows, columns=columns)


def test_long_to_wide() -> None:
    outcomes = outcomes_from(long_table(), "toy")  # type: ignore[arg-type]
    assert sorted(outcomes.texts) == ["one?", "two?"]
    first = outcomes.texts.index("one?")
    assert outcomes.tasks.tolist() == ["t", "t"]
    assert outcomes.overlap.tolist()[first] is False
    assert outcomes.overlap.sum() == 1
    assert outcomes.marks("large")[first] == 1.0
    assert np.isnan(outcomes.marks("large")[1 - first])
    kept = outcomes.rows(outcomes.split == "train")
    assert (kept.texts, kept.quality.shape) == (("two?",), (1, 2))


def test_where_a_query_was_asked_often_its_success_rate_counts() -> None:
    frame = long_table()
    rate = frame[frame["model"] == "small"].assign(sample=-1, quality=0.25)  # type: ignore[index]
    outcomes = outcomes_from(pd.concat([frame, rate]), "toy")
    assert outcomes.marks("small").tolist() == [0.25, 0.25]


def test_an_unknown_model_is_named_with_those_there_are() -> None:
    with pytest.raises(OutcomeError, match=r"no model 'gpt'.*large, small"):
        outcomes_from(long_table(), "toy").marks("gpt")  # type: ignore[arg-type]


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="no outcome table"):
        read_outcomes(tmp_path, "toy")
    pd.DataFrame({"task": ["t"]}).to_parquet(tmp_path / "toy.parquet")
    with pytest.raises(OutcomeError, match="needs the columns"):
        read_outcomes(tmp_path, "toy")
    with pytest.raises(OutcomeError, match="no rows"):
        outcomes_from(long_table().iloc[:0], "toy")  # type: ignore[attr-defined]


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    long_table().to_parquet(tmp_path / "toy.parquet")  # type: ignore[attr-defined]
    assert sorted(read_outcomes(tmp_path, "toy").texts) == ["one?", "two?"]


def test_the_lists_of_sources_agree() -> None:
    assert set(SHIPPABLE) < set(SOURCES)
    assert not set(BENCHMARKS) & set(SOURCES)
    for source, pairs in PAIRS.items():
        assert not {pair.large for pair in pairs} & set(FORMAT_FAILURES.get(source, ()))
