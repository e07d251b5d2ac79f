"""Routers that were compared with the embedded one. Each is a function from training rows to a scoring function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import Ridge

from shared_router.encoders.static import clipped
from shared_router.scorers.static_difficulty import StaticDifficultyScorer
from shared_router.training.fit_default import Start, TrainingRows, fit_scorer, sound_quality
from shared_router.training.outcomes import Outcomes
from shared_router.training.static_table import LearnedTable, TableSettings, ridge, token_weights, whole_numbers
from shared_router.training.targets import centred, fail_rate, gap, item_difficulty, source_weights, standardised

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts with everything a method may ask for.

    Attributes:
        texts: n texts.
        vectors: The sentence encoder's, shape (n, 384); None where they were not computed.
    """

    texts: Sequence[str]
    vectors: Floats | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a method learns from.

    Attributes:
        tables: The training rows of each source.
        texts: Their texts, n in all, in the order of the tables.
        start: The distilled token table.
    """

    tables: Sequence[Outcomes]
    texts: Texts
    start: Start

    @property
    def sources(self) -> npt.NDArray[np.str_]:
        """Source of each text."""
        return np.array([table.source for table in self.tables for _ in table.texts])

    @property
    def tasks(self) -> npt.NDArray[np.str_]:
        """Task of each text."""
        return np.concatenate([table.tasks for table in self.tables])

    def target(self, kind: str, within: npt.NDArray[np.str_]) -> Floats:
        """Target centred within groups, with standard deviation 1 in each source."""
        made = {"fail": fail_rate, "gap": gap, "rasch": item_difficulty}[kind]
        values = centred(np.concatenate([made(sound_quality(table)) for table in self.tables]), within)
        return standardised(values, self.sources)


Score = Callable[[Texts], Floats]
Method = Callable[[Lesson], Score]


def _linear(features: Floats, target: Floats, lesson: Lesson, within: npt.NDArray[np.str_], penalty: float) -> Floats:
    return ridge(centred(features, within), target, source_weights(lesson.sources), penalty)


def length(lesson: Lesson) -> Score:
    """Characters."""
    return lambda asked: np.array([float(len(text)) for text in asked.texts])


def _bag(lesson: Lesson, vectoriser: TfidfVectorizer | HashingVectorizer, kind: str) -> Score:
    features = vectoriser.fit_transform(lesson.texts.texts)
    weight = source_weights(lesson.sources)
    model = Ridge(alpha=3.0).fit(features, lesson.target(kind, lesson.sources), sample_weight=weight)
    return lambda asked: np.asarray(model.predict(vectoriser.transform(asked.texts)), dtype=np.float64)


def tfidf_fail(lesson: Lesson) -> Score:
    """TF-IDF of words and word pairs, ridge on "small models fail"."""
    return _bag(lesson, TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), "fail")


def tfidf_gap(lesson: Lesson) -> Score:
    """The same on the gap between strong and weak models."""
    return _bag(lesson, TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), "gap")


def hashed_fail(lesson: Lesson) -> Score:
    """Hashed words and word pairs (2**16), ridge on "small models fail"."""
    return _bag(lesson, HashingVectorizer(n_features=2**16, ngram_range=(1, 2)), "fail")


def _plain_scorer(start: Start) -> StaticDifficultyScorer:
    """A scorer around the distilled table, used for its counts only."""
    from shared_router.encoders.static import StaticEncoder
    from shared_router.scorers.static_difficulty import ScoreScale
    from shared_router.scorers.surface_features import token_traits

    weighted = start.vectors * token_weights(len(start.vectors))[:, None]
    whole = whole_numbers(LearnedTable(weighted, np.ones(start.vectors.shape[1])))
    encoder = StaticEncoder(start.tokenizer_json, whole.table)
    traits = token_traits(encoder.vocabulary())
    return StaticDifficultyScorer(encoder, traits, whole.direction, ScoreScale.unit())


def _static(scorer: StaticDifficultyScorer, texts: Sequence[str]) -> Floats:
    sums = scorer.encoder.encode(texts).astype(np.float64)
    unit: Floats = sums / np.maximum(np.sqrt((sums**2).sum(axis=1, keepdims=True)), 1e-9)
    return unit * np.sqrt(sums.shape[1])


def _static_ridge(kind: str, penalty: float) -> Method:
    def method(lesson: Lesson) -> Score:
        scorer = _plain_scorer(lesson.start)
        within = lesson.sources if kind == "gap" else lesson.tasks
        target = lesson.target(kind, within)
        weights = _linear(_static(scorer, lesson.texts.texts), target, lesson, within, penalty)
        return lambda asked: np.asarray(_static(scorer, asked.texts) @ weights)

    return method


def _static_neighbours(lesson: Lesson) -> Score:
    """30 nearest neighbours among distilled static vectors, on "small models fail"."""
    scorer = _plain_scorer(lesson.start)
    known, target = _static(scorer, lesson.texts.texts), lesson.target("fail", lesson.tasks)

    def score(asked: Texts) -> Floats:
        parts = []
        vectors = _static(scorer, asked.texts)
        for start in range(0, len(vectors), 512):
            near = vectors[start : start + 512] @ known.T / known.shape[1]
            chosen = np.argpartition(-near, 30, axis=1)[:, :30]
            weight = np.clip(np.take_along_axis(near, chosen, 1), 1e-6, None) ** 4
            parts.append((weight * target[chosen]).sum(axis=1) / weight.sum(axis=1))
        return np.concatenate(parts)

    return score


def surface_ridge(lesson: Lesson) -> Score:
    """The ten surface features, ridge on "small models fail"."""
    scorer = _plain_scorer(lesson.start)
    features = scorer.counts(lesson.texts.texts).features
    std = centred(features, lesson.tasks).std(axis=0)
    weights = _linear(features / std, lesson.target("fail", lesson.tasks), lesson, lesson.tasks, 1.0)
    return lambda asked: np.asarray((scorer.counts(asked.texts).features / std) @ weights)


def surface_trees(lesson: Lesson) -> Score:
    """The ten surface features, gradient-boosted trees on "small models fail"."""
    scorer = _plain_scorer(lesson.start)
    model = HistGradientBoostingRegressor(
        learning_rate=0.05, max_iter=60, max_leaf_nodes=8, min_samples_leaf=40, random_state=0
    )
    target = lesson.target("fail", lesson.sources)
    model.fit(scorer.counts(lesson.texts.texts).features, target, sample_weight=source_weights(lesson.sources))
    return lambda asked: np.asarray(model.predict(scorer.counts(asked.texts).features), dtype=np.float64)


def _sentence_ridge(kind: str) -> Method:
    def method(lesson: Lesson) -> Score:
        assert lesson.texts.vectors is not None
        scale = np.sqrt(lesson.texts.vectors.shape[1])
        within = lesson.sources if kind == "gap" else lesson.tasks
        target = lesson.target(kind, within)
        weights = _linear(lesson.texts.vectors * scale, target, lesson, within, 3e-3)

        def score(asked: Texts) -> Floats:
            assert asked.vectors is not None
            return np.asarray(asked.vectors * scale @ weights)

        return score

    return method


def _with_length(method: Method) -> Method:
    def mixed(lesson: Lesson) -> Score:
        learned = method(lesson)
        unit = learned(lesson.texts).std()
        return lambda asked: learned(asked) / unit + np.array([np.log1p(len(clipped(text))) for text in asked.texts])

    return mixed


def learned(lesson: Lesson, settings: TableSettings) -> StaticDifficultyScorer:
    """The embedded router's scorer, fitted on this lesson."""
    assert lesson.texts.vectors is not None
    rows = TrainingRows(tuple(lesson.texts.texts), lesson.sources, lesson.target("gap", lesson.sources))
    return fit_scorer(rows, lesson.texts.vectors, lesson.start, settings)


def default_variants(lesson: Lesson) -> dict[str, Score]:
    """The parts and mixtures of the embedded router, by name."""
    scorer = learned(lesson, TableSettings())
    alone = learned(lesson, TableSettings(teacher_weight=0.0))

    def mixed(surface: float, length: float, token: float, of: StaticDifficultyScorer = scorer) -> Score:
        def score(asked: Texts) -> Floats:
            counts = of.counts(asked.texts)
            part = surface * of.surface_part(counts.features) + length * of.length_part(counts.chars)
            return part + token * of.token_part(counts.vectors)

        return score

    return {
        "surface signs, unit weights": mixed(1.0, 0.0, 0.0),
        "learned table, no teacher": mixed(0.0, 0.0, 1.0, alone),
        "learned table": mixed(0.0, 0.0, 1.0),
        "surface + 0.2 learned table": mixed(1.0, 0.0, 0.2),
        "surface + 0.4 learned table": mixed(1.0, 0.0, 0.4),
        "surface + 0.4 table, no teacher": mixed(1.0, 0.0, 0.4, alone),
        "surface + 0.5 length + 0.2 table": mixed(1.0, 0.5, 0.2),
        "surface + 0.5 length + 0.4 table": mixed(1.0, 0.5, 0.4),
        "surface + length": mixed(1.0, 1.0, 0.0),
        "surface + length + 0.2 table": mixed(1.0, 1.0, 0.2),
        "surface + length + 0.4 table": mixed(1.0, 1.0, 0.4),
        "surface + 1.5 length + 0.2 table": mixed(1.0, 1.5, 0.2),
    }


METHODS: dict[str, Method] = {
    "prompt length": length,
    "TF-IDF ridge, fail": tfidf_fail,
    "TF-IDF ridge, gap": tfidf_gap,
    "hashed n-grams ridge, fail": hashed_fail,
    "surface features ridge, fail": surface_ridge,
    "surface features trees, fail": surface_trees,
    "static table ridge, fail": _static_ridge("fail", 0.1),
    "static table ridge, Rasch": _static_ridge("rasch", 0.1),
    "static table ridge, gap": _static_ridge("gap", 0.01),
    "static table ridge, fail + log length": _with_length(_static_ridge("fail", 0.1)),
    "static table 30-NN, fail": _static_neighbours,
    "MiniLM ridge, fail (too slow to serve)": _sentence_ridge("fail"),
    "MiniLM ridge, gap (too slow to serve)": _sentence_ridge("gap"),
}
SENTENCE_METHODS = {name for name in METHODS if name.startswith("MiniLM")}
"""Methods that need sentence vectors of the texts that are scored."""
