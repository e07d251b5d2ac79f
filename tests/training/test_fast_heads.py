"""Heads on a toy pair whose gap hangs on words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import apgr
from shared_router.training.fast_heads import (
    METHODS,
    Lesson,
    best_setting,
    constant_scorer,
    embedded_scorer,
    fitted,
    folds,
    lesson_from,
    out_of_fold,
)

FILLERS = ("river", "table", "green", "seven", "window", "paper", "music", "stone")


def toy_rows(count: int, seed: int = 0, *, noise: bool = False) -> tuple[list[str], np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    hard = generator.random(count) < 0.5
    words = generator.choice(FILLERS, size=(count, 5))
    texts = [
        f"{' '.join(row)} {'integral' if is_hard else 'greeting'} {i}"
        for i, (row, is_hard) in enumerate(zip(words, hard, strict=True))
    ]
    chance = np.where(hard & ~np.array(noise), 0.2, 0.8) if not noise else np.full(count, 0.5)
    small = (generator.random(count) < chance).astype(np.float64)
    return texts, small, (generator.random(count) < 0.95).astype(np.float64)


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return lesson_from(embedded_scorer(), *toy_rows(240))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in {"embedded", "surface"}])
def test_heads_that_read_words_learn_them(lesson: Lesson, name: str) -> None:
    raw = out_of_fold(lesson, METHODS[name], seed=0)
    assert apgr(raw, lesson.small, lesson.large) > 0.62


@pytest.mark.parametrize("name", METHODS)
def test_what_is_served_scores_as_what_was_measured(lesson: Lesson, name: str) -> None:
    texts, small, large = toy_rows(60, seed=5)
    head = fitted(lesson, METHODS[name], seed=0)
    measured = head.raw(lesson_from(lesson.embedded, texts, small, large))
    assert head.scorer(lesson.embedded).score(texts) == pytest.approx(measured, abs=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_scores(lesson: Lesson, name: str) -> None:
    first, second = (out_of_fold(lesson, METHODS[name], seed=3) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_the_embedded_head_keeps_the_embedded_order(lesson: Lesson) -> None:
    texts, _, _ = toy_rows(240)
    raw = fitted(lesson, METHODS["embedded"], seed=0).raw(lesson)
    own = lesson.embedded.score(texts)
    assert raw - raw.mean() == pytest.approx(own - own.mean())


def test_a_part_of_a_lesson_is_the_lesson_of_the_part() -> None:
    texts, small, large = toy_rows(20)
    embedded = embedded_scorer()
    rows = np.array([1, 4, 17])
    part = lesson_from(embedded, texts, small, large).part(rows)
    alone = lesson_from(embedded, [texts[i] for i in rows], small[rows], large[rows])
    assert part.dense.tolist() == alone.dense.tolist()
    for name in ("rows", "buckets", "counts"):
        assert getattr(part.pieces, name).tolist() == getattr(alone.pieces, name).tolist()
    assert part.directions.tolist() == alone.directions.tolist()


def test_noise_is_not_learned() -> None:
    lesson = lesson_from(embedded_scorer(), *toy_rows(240, noise=True))
    raw = out_of_fold(lesson, METHODS["words"], seed=0)
    assert apgr(raw, lesson.small, lesson.large) == pytest.approx(0.5, abs=0.08)


def test_without_a_gap_the_most_cautious_setting_is_taken(lesson: Lesson) -> None:
    turned = replace(lesson, small=lesson.large, large=lesson.small)
    assert best_setting(turned, METHODS["words"], seed=0) == METHODS["words"].settings[0]


def test_one_class_in_a_part_leaves_the_logistic_head_at_zero() -> None:
    texts, _, large = toy_rows(20)
    lesson = lesson_from(embedded_scorer(), texts, large, large)
    assert METHODS["logistic"].fit(lesson, [1.0])[0].raw(lesson).tolist() == [0.0] * 20


def test_folds_part_the_rows() -> None:
    parts = folds(np.arange(23), 5, seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(23))
    assert {len(part) for part in parts} == {4, 5}
    with pytest.raises(OutcomeError, match="3 rows"):
        folds(np.arange(3), 5, seed=0)


def test_folds_keep_groups_together() -> None:
    groups = np.array([7, 1, 7, 2, 3, 1, 4, 5, 7, 6])
    parts = folds(groups, 3, seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(10))
    assert sum(len(set(groups[part].tolist())) for part in parts) == 7
    with pytest.raises(OutcomeError, match="2 groups of 4 rows"):
        folds(np.array([0, 0, 1, 1]), 3, seed=0)


def test_the_constant_scorer_is_constant() -> None:
    assert constant_scorer(embedded_scorer()).score(["a", "a longer text, 7", ""]).tolist() == [0.0, 0.0, 0.0]
