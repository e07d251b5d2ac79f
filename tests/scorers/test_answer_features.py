"""The learned answer scorer: signs of answers, and a linear head that is the same in every batch and after saving."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared_router.errors import ArtifactFormatError
from shared_router.scorers.answer_features import ANSWER_SIGNS, AnswerScorer, answer_columns, answer_signs
from shared_router.scorers.hashed_linear import LinearWeights
from shared_router.scorers.text_columns import BUCKETS
from shared_router.training.fast_heads import embedded_scorer


def signs(answer: str, query: str = "What is 6 times 7?") -> dict[str, float]:
    return dict(zip(ANSWER_SIGNS, answer_signs(query, answer), strict=True))


def test_signs_of_a_known_answer() -> None:
    found = signs("I think 6 times 7 is 42. Wait, let me recheck.\n- 6 x 7 = 42\n\nThe answer is 42.")
    assert found["chars"] == pytest.approx(math.log1p(78))
    assert found["lines"] == pytest.approx(math.log1p(3))
    assert found["hedges"] == pytest.approx(math.log(2))
    assert found["corrections"] == pytest.approx(math.log(3))
    assert found["list_items"] == pytest.approx(math.log(2))
    assert found["conclusion_repeated"] == pytest.approx(math.log(4))
    assert (found["concludes"], found["ends_cleanly"], found["empty"], found["code"]) == (1.0, 1.0, 0.0, 0.0)
    assert found["query_words"] == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("answer", "sign", "value"),
    [
        ("I'm sorry, I cannot answer that.", "refusals", math.log(3)),
        ('[{"name": "clock", "args": {}}]', "json", 1.0),
        ('{"name": ', "json", 0.0),
        ("```python\nx = 1\n```", "code", 1.0),
        ("go on and on and on and on and on", "repetition", 5 / 8),
        ("cut off in the mid", "ends_cleanly", 0.0),
        ("12 34", "digits", 0.8),
        ("", "empty", 1.0),
    ],
)
def test_each_sign_shows_what_it_is_named_after(answer: str, sign: str, value: float) -> None:
    assert signs(answer)[sign] == pytest.approx(value)


@pytest.mark.parametrize("answer", ["", " ", "\x00", "\ud800", "[" * 3000, "a" * 100_000, "?" * 50_000, "١٢٣"])
def test_every_answer_has_finite_signs(answer: str) -> None:
    assert np.isfinite(answer_signs("", answer)).all()
    assert np.isfinite(answer_columns(embedded_scorer(), ["q"], [answer])).all()


def scorer(seed: int = 0) -> AnswerScorer:
    embedded = embedded_scorer()
    columns = answer_columns(embedded, ["q"], ["a"]).shape[1]
    draw = np.random.default_rng(seed)
    pieces = draw.random(BUCKETS).astype(np.float32)
    return AnswerScorer(
        embedded, LinearWeights(draw.random(columns), np.ones(columns), draw.normal(size=columns), pieces, pieces)
    )


def test_an_answer_has_one_score_in_every_batch_and_after_saving() -> None:
    one = scorer()
    queries, answers = ["What is 6 times 7?", "Who was Ada?", "x"], ["42, I think.", "A mathematician.", ""]
    together = one.score(queries, answers)
    alone = [one.score([query], [answer])[0] for query, answer in zip(queries, answers, strict=True)]
    assert together.tolist() == pytest.approx(alone, abs=1e-9)
    saved = AnswerScorer.from_state(*one.to_state())
    assert saved.score(queries, answers).tolist() == together.tolist()
    assert one.score([], []).shape == (0,)


def test_query_and_answer_both_count() -> None:
    one = scorer()
    assert one.score(["a"], ["x"])[0] != one.score(["b"], ["x"])[0] != one.score(["b"], ["y"])[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"dense_weight": np.zeros(3)},
        {"piece_idf": np.zeros(3, dtype=np.float32)},
        {"dense_std": None},
        {"dense_mean": np.nan},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, Any]) -> None:
    weights = scorer().weights
    ((name, value),) = changed.items()
    array = getattr(weights, name)
    new = value if isinstance(value, np.ndarray) else np.full_like(array, 0.0 if value is None else value)
    with pytest.raises(ArtifactFormatError):
        AnswerScorer(embedded_scorer(), replace(weights, **{name: new}))


def test_a_state_of_another_release_is_refused() -> None:
    config, tensors = scorer().to_state()
    with pytest.raises(ArtifactFormatError, match="other columns"):
        AnswerScorer.from_state({**config, "columns": []}, tensors)
    with pytest.raises(ArtifactFormatError, match="not the state"):
        AnswerScorer.from_state(config, {name: array for name, array in tensors.items() if name != "dense_mean"})
