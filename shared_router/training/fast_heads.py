"""Heads that learn one pair's quality gap in seconds, on what the embedded encoder sees of a text.

    embedded   the embedded default's difficulty as it is; only its calibration is the user's own
    surface    ridge on the gap: difficulty, length and surface features
    static     ridge on the gap: the same and the direction of the token sum
    words      ridge on the gap: hashed word pieces and pairs (TF-IDF)
    mixed      ridge on the gap: words and surface together
    logistic   logistic regression on "small falls short", same columns as mixed
    knn        mean gap of the nearest labelled texts

From simple to complex, in the order of ``METHODS``. The gap (large − small) is a better target than "small falls short"
where both models fail on the same queries (benchmarks/README.md). The embedded difficulty is a column among others, so
that a ridge with few labels, which shrinks a hundred thousand pieces to nothing, still has it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared_router.artifact import Artifact
from shared_router.errors import MissingExtraError, OutcomeError
from shared_router.evaluation.metrics import apgr
from shared_router.router import DEFAULT_ROUTER
from shared_router.scorers import Scorer
from shared_router.scorers.hashed_linear import HashedLinearScorer, LinearWeights, piece_values
from shared_router.scorers.static_difficulty import CHUNK, StaticDifficultyScorer
from shared_router.scorers.static_neighbours import (
    GAP_SCALE,
    StaticNeighboursScorer,
    mean_of_nearest,
    whole_directions,
)
from shared_router.scorers.text_columns import BUCKETS, LEADING_COLUMNS, PieceCounts, dense_columns, pieces_of

__all__ = [
    "METHODS",
    "OUTER_FOLDS",
    "FittedHead",
    "Lesson",
    "Method",
    "best_setting",
    "constant_scorer",
    "embedded_scorer",
    "fitted",
    "folds",
    "lesson_from",
    "out_of_fold",
]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

OUTER_FOLDS = 5
INNER_FOLDS = 3

PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0)
"""Ridge penalties, the strongest first, for rows of about unit length."""

LOGISTIC_PENALTIES = (30.0, 10.0, 3.0)
"""The inverse of C. Fewer, for logistic regression takes several times as long as ridge."""

NEIGHBOURS = (100.0, 30.0, 10.0)

MIN_DOCUMENTS = 2
"""A bucket that only one training text has cannot be told from that text's noise."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """n labelled texts, counted once.

    Attributes:
        embedded: The embedded default's scorer.
        dense: From ``dense_columns``, shape (n, m).
        pieces: Hashed pieces.
        directions: From ``whole_directions``, shape (n, d).
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, shape (n,).
        groups: Texts of one number stay on one side of every split, shape (n,).
        short: How probably the small model falls short, what the logistic head learns, in [0, 1], shape (n,).
    """

    embedded: StaticDifficultyScorer
    dense: Floats
    pieces: PieceCounts
    directions: npt.NDArray[np.int8]
    small: Floats
    large: Floats
    groups: Rows
    short: Floats

    def part(self, rows: Rows) -> Lesson:
        """The same for some of the texts.

        Args:
            rows: Their places, rising, shape (k,).
        """
        place = np.full(len(self.dense), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        kept = place[self.pieces.rows] >= 0
        pieces = PieceCounts(
            len(rows), place[self.pieces.rows[kept]], self.pieces.buckets[kept], self.pieces.counts[kept]
        )
        return Lesson(
            self.embedded,
            self.dense[rows],
            pieces,
            self.directions[rows],
            self.small[rows],
            self.large[rows],
            self.groups[rows],
            self.short[rows],
        )


class FittedHead(Protocol):
    """A head with its weights."""

    def raw(self, lesson: Lesson) -> Floats:
        """Raw difficulties of a lesson's texts, shape (n,)."""
        ...

    def scorer(self, embedded: StaticDifficultyScorer) -> Scorer:
        """What serves it; scores as ``raw`` does."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """A way to learn a head.

    Attributes:
        name: As ``--method`` takes it.
        title: In a few words, for tables.
        settings: Values to choose from by cross-validation, the most cautious first.
        fit: Lesson, settings → one fitted head a setting.
    """

    name: str
    title: str
    settings: tuple[float, ...]
    fit: Callable[[Lesson, Sequence[float]], list[FittedHead]]


def _library(name: str) -> Any:
    # by name, and when first needed: importing this module costs nothing, and who lacks the extra is told which it is
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError('fitting a router needs scikit-learn: pip install "hybrid-llm[train]"') from error


def embedded_scorer() -> StaticDifficultyScorer:
    """The scorer of the embedded default router."""
    artifact = Artifact.load(DEFAULT_ROUTER)
    return StaticDifficultyScorer.from_state(artifact.scorer_config, artifact.tensors)


def lesson_from(
    embedded: StaticDifficultyScorer,
    texts: Sequence[str],
    small: Floats,
    large: Floats,
    groups: Rows | None = None,
    short: Floats | None = None,
) -> Lesson:
    """Count n labelled texts.

    Args:
        embedded: The embedded default's scorer.
        texts: n texts.
        small: Quality of the small model, shape (n,).
        large: Quality of the large model, shape (n,).
        groups: Texts of one number stay on one side of every split, shape (n,); None for each text its own.
        short: How probably the small model falls short, in [0, 1], shape (n,): 1 less one of Hybrid LLM's labels
            (arXiv 2404.14618, §3); None for whether its quality is below the large model's.
    """
    counts = [embedded.counts(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    return Lesson(
        embedded=embedded,
        dense=np.concatenate([dense_columns(embedded, part) for part in counts]),
        pieces=pieces_of(embedded, texts),
        directions=np.concatenate([whole_directions(part.vectors) for part in counts]),
        small=small,
        large=large,
        groups=np.arange(len(texts)) if groups is None else groups,
        short=(small < large).astype(np.float64) if short is None else short,
    )


@dataclass(frozen=True, slots=True)
class _LinearHead:
    weights: LinearWeights

    def raw(self, lesson: Lesson) -> Floats:
        weights = self.weights
        used = np.flatnonzero(weights.dense_weight)
        standard = (lesson.dense[:, used] - weights.dense_mean[used]) / weights.dense_std[used]
        total: Floats = standard @ weights.dense_weight[used]
        if len(weights.piece_idf):
            pieces = lesson.pieces
            weighted = piece_values(pieces, weights.piece_idf) * weights.piece_weight[pieces.buckets]
            total = total + np.bincount(pieces.rows, weights=weighted, minlength=pieces.texts)
        return total

    def scorer(self, embedded: StaticDifficultyScorer) -> Scorer:
        return HashedLinearScorer(embedded, self.weights)


def _unweighted(dense: Floats) -> LinearWeights:
    columns = dense.shape[1]
    std = dense.std(axis=0)
    # a column that does not vary is told nothing from: its deviations are rounding errors, best divided by 1
    std = np.where(std > 1e-9, std, 1.0)
    none = np.zeros(0, dtype=np.float32)
    return LinearWeights(dense.mean(axis=0), std, np.zeros(columns), none, none)


def _inverse_frequencies(pieces: PieceCounts) -> npt.NDArray[np.float32]:
    documents = np.bincount(pieces.buckets, minlength=BUCKETS)
    # as scikit-learn's TfidfTransformer smooths it
    idf = np.log((1.0 + pieces.texts) / (1.0 + documents)) + 1.0
    return np.where(documents >= MIN_DOCUMENTS, idf, 0.0).astype(np.float32)


def _linear(
    lesson: Lesson,
    settings: Sequence[float],
    *,
    dense: int | None,
    pieces: bool,
    coefficients: Callable[[Any, Lesson, float], Floats],
) -> list[FittedHead]:
    """Linear heads on the first ``dense`` dense columns (None: all) and the pieces, one a penalty."""
    start = _unweighted(lesson.dense)
    used = lesson.dense.shape[1] if dense is None else dense
    # the whole dense block has about unit length in each row, as the pieces have: one penalty fits both
    scale = 1.0 / np.sqrt(max(used, 1))
    design: Any = (lesson.dense[:, :used] - start.dense_mean[:used]) / start.dense_std[:used] * scale
    idf, buckets = start.piece_idf, np.empty(0, dtype=np.int64)
    if pieces:
        sparse = _library("scipy.sparse")
        idf = _inverse_frequencies(lesson.pieces)
        buckets = np.flatnonzero(idf)
        known = idf[lesson.pieces.buckets] > 0
        column = np.searchsorted(buckets, lesson.pieces.buckets[known])
        values = piece_values(lesson.pieces, idf)[known]
        shape = (lesson.pieces.texts, len(buckets))
        words = sparse.csr_matrix((values, (lesson.pieces.rows[known], column)), shape=shape)
        design = sparse.hstack([sparse.csr_matrix(design), words], format="csr")
    heads: list[FittedHead] = []
    for setting in settings:
        learned = coefficients(design, lesson, setting)
        dense_weight = np.zeros(lesson.dense.shape[1])
        dense_weight[:used] = learned[:used] * scale
        piece_weight = np.zeros(len(idf), dtype=np.float32)
        piece_weight[buckets] = learned[used:]
        heads.append(_LinearHead(replace(start, dense_weight=dense_weight, piece_idf=idf, piece_weight=piece_weight)))
    return heads


def _ridge(design: Any, lesson: Lesson, penalty: float) -> Floats:
    model = _library("sklearn.linear_model").Ridge(alpha=penalty, tol=1e-6)
    result: Floats = model.fit(design, lesson.large - lesson.small).coef_
    return result


def _logistic(design: Any, lesson: Lesson, penalty: float) -> Floats:
    short = lesson.short
    if short.min() == short.max() and short[0] in (0.0, 1.0):
        return np.zeros(design.shape[1])
    # a row with a soft label is the same row twice, once with either hard label, weighted
    yes, no = np.flatnonzero(short > 0.0), np.flatnonzero(short < 1.0)
    rows = np.concatenate([yes, no])
    hard = np.repeat([1, 0], [len(yes), len(no)])
    weight = np.concatenate([short[yes], 1.0 - short[no]])
    model = _library("sklearn.linear_model").LogisticRegression(C=1.0 / penalty, max_iter=2000)
    result: Floats = model.fit(design[rows], hard, sample_weight=weight).coef_[0]
    return result


def _embedded(lesson: Lesson, settings: Sequence[float]) -> list[FittedHead]:
    start = _unweighted(lesson.dense)
    weight = np.zeros(lesson.dense.shape[1])
    # by its deviation, so that the score is the embedded default's own up to a constant
    weight[0] = start.dense_std[0]
    return [_LinearHead(replace(start, dense_weight=weight)) for _ in settings]


def _surface(lesson: Lesson, settings: Sequence[float]) -> list[FittedHead]:
    return _linear(lesson, settings, dense=len(LEADING_COLUMNS), pieces=False, coefficients=_ridge)


def _static(lesson: Lesson, settings: Sequence[float]) -> list[FittedHead]:
    return _linear(lesson, settings, dense=None, pieces=False, coefficients=_ridge)


def _words(lesson: Lesson, settings: Sequence[float]) -> list[FittedHead]:
    return _linear(lesson, settings, dense=0, pieces=True, coefficients=_ridge)


def _mixed(lesson: Lesson, settings: Sequence[float]) -> list[FittedHead]:
    return _linear(lesson, settings, dense=len(LEADING_COLUMNS), pieces=True, coefficients=_ridge)


def _falls_short(lesson: Lesson, settings: Sequence[float]) -> list[FittedHead]:
    return _linear(lesson, settings, dense=len(LEADING_COLUMNS), pieces=True, coefficients=_logistic)


@dataclass(frozen=True, slots=True)
class _NeighboursHead:
    known: npt.NDArray[np.int8]
    gaps: npt.NDArray[np.int64]
    k: int

    def raw(self, lesson: Lesson) -> Floats:
        parts = [
            mean_of_nearest(lesson.directions[start : start + CHUNK], self.known, self.gaps, self.k)
            for start in range(0, len(lesson.directions), CHUNK)
        ]
        return np.concatenate(parts)

    def scorer(self, embedded: StaticDifficultyScorer) -> Scorer:
        return StaticNeighboursScorer(embedded, self.known, self.gaps, self.k)


def _neighbours(lesson: Lesson, settings: Sequence[float]) -> list[FittedHead]:
    gap = lesson.large - lesson.small
    # less its mean: without it, the scores of different folds would differ by what their training rows happened to be
    gaps = np.rint((gap - gap.mean()) * GAP_SCALE).astype(np.int64)
    return [_NeighboursHead(lesson.directions, gaps, min(int(k), len(gaps))) for k in settings]


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("embedded", "embedded difficulty, recalibrated", (0.0,), _embedded),
        Method("surface", "ridge on surface features", PENALTIES, _surface),
        Method("static", "ridge on static vectors and surface", PENALTIES, _static),
        Method("words", "ridge on hashed words and pairs", PENALTIES, _words),
        Method("mixed", "ridge on words and surface", PENALTIES, _mixed),
        Method("logistic", "logistic on words and surface", LOGISTIC_PENALTIES, _falls_short),
        Method("knn", "nearest labelled texts", NEIGHBOURS, _neighbours),
    )
}
"""By name, from simple to complex."""


def constant_scorer(embedded: StaticDifficultyScorer) -> HashedLinearScorer:
    """A scorer that gives every text 0: what is left where no head ranks better than chance.

    Args:
        embedded: The embedded default's scorer.
    """
    columns = len(LEADING_COLUMNS) + embedded.encoder.table.shape[1]
    none = np.zeros(0, dtype=np.float32)
    return HashedLinearScorer(
        embedded, LinearWeights(np.zeros(columns), np.ones(columns), np.zeros(columns), none, none)
    )


def folds(groups: Rows, count: int, seed: int) -> list[Rows]:
    """A random partition of rows, whole groups at a time, into parts whose numbers of groups differ by one at most.

    Args:
        groups: Group of each row, shape (n,).
        count: Parts, ≥ 2.
        seed: Same seed, same parts.

    Returns:
        The rows of each part, rising.

    Raises:
        OutcomeError: Fewer groups than parts.
    """
    names, group = np.unique(groups, return_inverse=True)
    if not 2 <= count <= len(names):
        raise OutcomeError(
            f"cross-validation in {count} parts needs at least 2 parts and as many groups of rows, got {len(names)} "
            f"groups of {len(groups)} rows; rows of one group stay together, so that none is tested on what it taught"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    part_of = np.empty(len(names), dtype=np.int64)
    for start in range(count):
        part_of[order[start::count]] = start
    return [np.flatnonzero(part_of[group] == start) for start in range(count)]


def _others(rows: Rows, n: int) -> Rows:
    rest = np.ones(n, dtype=np.bool_)
    rest[rows] = False
    return np.flatnonzero(rest)


def best_setting(lesson: Lesson, method: Method, seed: int) -> float:
    """The setting with the highest cross-validated APGR; the more cautious one of equals.

    Args:
        lesson: Training texts only.
        method: What to choose a setting of.
        seed: Same seed, same parts.
    """
    n = len(lesson.dense)
    # without a gap APGR is undefined, and below none it would reward the wrong order
    if len(method.settings) == 1 or lesson.large.mean() - lesson.small.mean() < 1e-9:
        return method.settings[0]
    raw = np.empty((len(method.settings), n))
    for part in folds(lesson.groups, INNER_FOLDS, seed):
        held_out = lesson.part(part)
        heads = method.fit(lesson.part(_others(part, n)), method.settings)
        for scores, head in zip(raw, heads, strict=True):
            scores[part] = head.raw(held_out)
    return method.settings[int(np.argmax([apgr(scores, lesson.small, lesson.large) for scores in raw]))]


def fitted(lesson: Lesson, method: Method, seed: int) -> FittedHead:
    """A head of which the setting was chosen by cross-validation inside the lesson.

    Args:
        lesson: Training texts only.
        method: How to learn it.
        seed: Same seed, same head.
    """
    return method.fit(lesson, [best_setting(lesson, method, seed)])[0]


def out_of_fold(lesson: Lesson, method: Method, seed: int) -> Floats:
    """Raw scores of all texts, each from a head that saw neither the text nor chose its setting on it.

    Nested cross-validation (Varma and Simon 2006, doi 10.1186/1471-2105-7-91).

    Args:
        lesson: n labelled texts.
        method: How to learn a head.
        seed: Same seed, same parts.

    Returns:
        Shape (n,).
    """
    n = len(lesson.dense)
    raw = np.empty(n)
    for part in folds(lesson.groups, OUTER_FOLDS, seed):
        raw[part] = fitted(lesson.part(_others(part, n)), method, seed + 1).raw(lesson.part(part))
    return raw
