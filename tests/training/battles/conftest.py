"""Battles from a known latent model: how strong a model is depends on what the prompt is about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from shared_router.tables.battles import Battle, Battles, battles_from
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from

WORDS = (
    ("integral", "prime", "matrix", "theorem", "algebra"),
    ("holiday", "recipe", "music", "garden", "movie"),
    ("python", "compiler", "pointer", "thread", "regex"),
)
MODELS = ("tiny", "little", "middle", "maths", "chatty", "coder", "broad", "giant")
STRENGTH = np.array(
    [
        [-1.6, -0.6, -1.2],
        [-1.2, 0.4, -0.9],
        [0.0, 0.0, 0.0],
        [1.4, -0.9, -0.3],
        [-1.0, 1.2, -0.8],
        [-0.2, -0.7, 1.4],
        [0.6, 0.5, 0.4],
        [1.5, 0.5, 1.3],
    ]
)
"""Of each model on each topic, in natural logarithms of odds."""


@dataclass(frozen=True)
class World:
    """Battles, and prompts with the true odds."""

    battles: Battles
    prompts: list[str]
    topics: np.ndarray

    def gap(self, small: str, large: str) -> np.ndarray:
        """True chance that the large model is preferred, less one half, on each prompt."""
        one, other = (STRENGTH[MODELS.index(name), self.topics] for name in (small, large))
        return 1.0 / (1.0 + np.exp(one - other)) - 0.5


def asked(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    generator = np.random.default_rng(seed)
    topics = generator.integers(0, 3, count)
    texts = [
        f"{' '.join(generator.choice(WORDS[topic], 4))}, please, number {seed}-{i}" for i, topic in enumerate(topics)
    ]
    return texts, topics


def fought(count: int, seed: int = 0, *, models: tuple[str, ...] = MODELS, must: str | None = None) -> list[Battle]:
    generator = np.random.default_rng(seed + 1000)
    rows = []
    for text, topic in zip(*asked(count, seed), strict=True):
        first, second = generator.choice(models, 2, replace=False).tolist()
        if must is not None and must not in (first, second):
            second = must
        odds = STRENGTH[MODELS.index(first), topic] - STRENGTH[MODELS.index(second), topic]
        won = 0.5 if generator.random() < 0.15 else float(generator.random() < 1.0 / (1.0 + np.exp(-odds)))
        rows.append(Battle(text, first, second, won, 1.0, "arena"))
    return rows


def labels(count: int, small: str, large: str, seed: int = 77) -> LabeledPrompts:
    generator = np.random.default_rng(seed)
    rows = []
    for text, topic in zip(*asked(count, seed), strict=True):
        marks = [
            float(generator.random() < 1.0 / (1.0 + np.exp(-STRENGTH[MODELS.index(name), topic])))
            for name in (small, large)
        ]
        rows.append(LabeledPrompt(text, (marks[0],), (marks[1],)))
    return labeled_from(rows)


@pytest.fixture(scope="session")
def world() -> World:
    return World(battles_from(fought(4000)), *asked(600, 9))


@pytest.fixture(scope="session")
def make() -> type:
    """The functions above, for tests cannot import this file."""

    class Make:
        battles = staticmethod(lambda *given, **named: battles_from(fought(*given, **named)))
        rows = staticmethod(fought)
        labels = staticmethod(labels)
        models = MODELS

    return Make
