"""Labelled answers → a fitted cascade: how the small model's answers are judged, where the cut lies, what it promises.

Two roads to the same artifact. ``fitted_measure`` takes uncertainties that were measured while labelling, say the first
token's margin, and learns what they mean; ``fit_answers`` learns a scorer of query and answer, for models that report
no log-probabilities (FrugalGPT, arXiv 2305.05176, §3). Both hold queries out to measure the operating curve and to
certify promises on, as ``hybrid-llm fit`` does for a router.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from shared_router.artifact import Artifact
from shared_router.cascade import MEASURE
from shared_router.errors import MissingExtraError, OutcomeError
from shared_router.evaluation.metrics import apgr
from shared_router.records import JSON
from shared_router.scorers.answer_features import ANSWER_SIGNS, AnswerScorer, answer_columns, answer_pieces
from shared_router.scorers.hashed_linear import LinearWeights, piece_values
from shared_router.scorers.static_difficulty import CHUNK, StaticDifficultyScorer
from shared_router.scorers.text_columns import BUCKETS, LEADING_COLUMNS, PieceCounts
from shared_router.training.calibrating import (
    CalibrationMethod,
    calibrator_by,
    own_curve,
    own_set,
)
from shared_router.training.fast_heads import embedded_scorer, folds
from shared_router.uncertainty import MEASURES, MeasureName

__all__ = ["AnswerLesson", "answer_lesson", "answers_out_of_fold", "fit_answers", "fitted_answers", "fitted_measure"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0)
"""Ridge penalties, the strongest first, for rows of about unit length."""

INNER_FOLDS = 3
OUTER_FOLDS = 5

MOST_EXACT = 1500
"""Rows or columns up to which ridge is solved by an eigendecomposition."""

MIN_DOCUMENTS = 3
"""Training answers that a bucket must occur in to be weighed."""

HELD_OUT = 0.4
MIN_ANSWERS = 50

BLOCKS = ("signs", "vectors", "words")
"""What a head may see, from simple to complex: leading columns and signs; with the directions; with the pieces."""


@dataclass(frozen=True, slots=True)
class AnswerLesson:
    """n labelled answers, counted once.

    Attributes:
        embedded: The embedded default's scorer.
        dense: From ``answer_columns``, shape (n, m).
        pieces: The answers' hashed pieces.
        small: Quality of the small model's answers, shape (n,).
        large: Quality of the large model's, shape (n,).
        groups: Queries of one number stay on one side of every split, shape (n,).
    """

    embedded: StaticDifficultyScorer
    dense: Floats
    pieces: PieceCounts
    small: Floats
    large: Floats
    groups: Rows

    def part(self, rows: Rows) -> AnswerLesson:
        """The same for some of the answers.

        Args:
            rows: Their places, rising, shape (k,).
        """
        place = np.full(len(self.dense), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        kept = place[self.pieces.rows] >= 0
        pieces = PieceCounts(
            len(rows), place[self.pieces.rows[kept]], self.pieces.buckets[kept], self.pieces.counts[kept]
        )
        return AnswerLesson(
            self.embedded, self.dense[rows], pieces, self.small[rows], self.large[rows], self.groups[rows]
        )

    def raw(self, weights: LinearWeights) -> Floats:
        """Scores by a head, as ``AnswerScorer.score`` gives them, shape (n,)."""
        total: Floats = (self.dense - weights.dense_mean) / weights.dense_std @ weights.dense_weight
        if len(weights.piece_idf):
            weighted = piece_values(self.pieces, weights.piece_idf) * weights.piece_weight[self.pieces.buckets]
            total = total + np.bincount(self.pieces.rows, weights=weighted, minlength=self.pieces.texts)
        return total


def answer_lesson(
    queries: Sequence[str],
    answers: Sequence[str],
    small: npt.ArrayLike,
    large: npt.ArrayLike,
    groups: Rows | None = None,
    embedded: StaticDifficultyScorer | None = None,
) -> AnswerLesson:
    """Count n labelled answers.

    Args:
        queries: n queries.
        answers: The small model's n answers.
        small: Their quality, shape (n,).
        large: Quality of the large model's answers to the same queries, shape (n,).
        groups: Queries of one number stay on one side of every split, shape (n,); None for each query its own.
        embedded: The embedded default's scorer; None to load it.

    Raises:
        OutcomeError: The columns are not of one length, or a quality is not a finite number.
    """
    qualities = [np.asarray(one, dtype=np.float64) for one in (small, large)]
    n = len(queries)
    if len(answers) != n or any(one.shape != (n,) for one in qualities):
        raise OutcomeError(f"queries, answers and both qualities are of one length, got {n} and {len(answers)}")
    if not all(np.isfinite(one).all() for one in qualities):
        raise OutcomeError("a quality is NaN or infinite; drop those rows first")
    scorer = embedded or embedded_scorer()
    parts = [slice(start, start + CHUNK) for start in range(0, n, CHUNK)]
    dense = [answer_columns(scorer, queries[part], answers[part]) for part in parts]
    return AnswerLesson(
        embedded=scorer,
        dense=np.concatenate(dense),
        pieces=answer_pieces(scorer, answers),
        small=qualities[0],
        large=qualities[1],
        groups=np.arange(n) if groups is None else groups,
    )


@dataclass(frozen=True, slots=True)
class _Setting:
    block: str
    penalty: float


SETTINGS = tuple(_Setting(block, penalty) for block in BLOCKS for penalty in PENALTIES)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError('fitting a cascade needs scikit-learn: pip install "hybrid-llm[train]"') from error


def _heads(lesson: AnswerLesson, settings: Sequence[_Setting]) -> list[LinearWeights]:
    """Ridge on the gap, one head a setting."""
    found: dict[_Setting, LinearWeights] = {}
    for block in dict.fromkeys(setting.block for setting in settings):
        penalties = [setting.penalty for setting in settings if setting.block == block]
        for penalty, head in zip(penalties, _block_heads(lesson, block, penalties), strict=True):
            found[_Setting(block, penalty)] = head
    return [found[setting] for setting in settings]


def _block_heads(lesson: AnswerLesson, block: str, penalties: Sequence[float]) -> list[LinearWeights]:
    lead = len(LEADING_COLUMNS) + len(ANSWER_SIGNS)
    used = lead if block != "vectors" else lesson.dense.shape[1]
    mean, std = lesson.dense.mean(axis=0), lesson.dense.std(axis=0)
    # a column that does not vary is told nothing from: its deviations are rounding errors, best divided by 1
    std = np.where(std > 1e-9, std, 1.0)
    # the dense block has about unit length in each row, as the pieces have: one penalty fits both
    scale = 1.0 / np.sqrt(used)
    design: Any = (lesson.dense[:, :used] - mean[:used]) / std[:used] * scale
    idf, buckets = np.zeros(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    if block == "words":
        idf = _inverse_frequencies(lesson.pieces)
        buckets = np.flatnonzero(idf)
        sparse = _library("scipy.sparse")
        known = idf[lesson.pieces.buckets] > 0
        column = np.searchsorted(buckets, lesson.pieces.buckets[known])
        values = piece_values(lesson.pieces, idf)[known]
        words = sparse.csr_matrix(
            (values, (lesson.pieces.rows[known], column)), shape=(lesson.pieces.texts, len(buckets))
        )
        design = sparse.hstack([sparse.csr_matrix(design), words], format="csr")
    heads = []
    for learned in _ridge(design, lesson.large - lesson.small, penalties):
        dense_weight = np.zeros(lesson.dense.shape[1])
        dense_weight[:used] = learned[:used] * scale
        piece_weight = np.zeros(len(idf), dtype=np.float32)
        piece_weight[buckets] = learned[used:]
        heads.append(LinearWeights(mean, std, dense_weight, idf, piece_weight))
    return heads


def _ridge(design: Any, target: Floats, penalties: Sequence[float]) -> list[Floats]:
    """Ridge with an intercept, which is left out of the result: one vector of coefficients a penalty.

    Exact by one eigendecomposition for all penalties, of columns or of rows, whichever are fewer; for more rows than
    that takes seconds for, by conjugate gradients.
    """
    rows, columns = design.shape
    centred = target - target.mean()
    if min(rows, columns) > MOST_EXACT:
        ridge = _library("sklearn.linear_model").Ridge
        return [ridge(alpha=one, solver="sparse_cg", tol=1e-3).fit(design, target).coef_ for one in penalties]
    if columns <= rows:
        dense = design if isinstance(design, np.ndarray) else design.toarray()
        dense = dense - dense.mean(axis=0)
        values, vectors = np.linalg.eigh(dense.T @ dense)
        turned = vectors.T @ (dense.T @ centred)
        return [vectors @ (turned / (np.maximum(values, 0.0) + one)) for one in penalties]
    product: Any = design @ design.T
    kernel: Floats = product if isinstance(product, np.ndarray) else product.toarray()
    means = kernel.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel - means - means[:, None] + means.mean())
    turned = vectors.T @ centred
    return [np.asarray(design.T @ (vectors @ (turned / (np.maximum(values, 0.0) + one)))) for one in penalties]


def _inverse_frequencies(pieces: PieceCounts) -> npt.NDArray[np.float32]:
    documents = np.bincount(pieces.buckets, minlength=BUCKETS)
    idf = np.log((1.0 + pieces.texts) / (1.0 + documents)) + 1.0
    return np.where(documents >= MIN_DOCUMENTS, idf, 0.0).astype(np.float32)


def _rest(rows: Rows, n: int) -> Rows:
    others = np.ones(n, dtype=np.bool_)
    others[rows] = False
    return np.flatnonzero(others)


def fitted_answers(lesson: AnswerLesson, seed: int = 0) -> AnswerScorer:
    """A scorer of which block and penalty were chosen by cross-validated APGR; the more cautious one of equals.

    Args:
        lesson: Training answers only.
        seed: Same seed, same scorer.

    Raises:
        OutcomeError: The large model is no better than the small one on them.
    """
    return _chosen(lesson, seed)[0]


def _chosen(lesson: AnswerLesson, seed: int) -> tuple[AnswerScorer, Floats]:
    """The scorer, and the scores by which it was chosen: each from a head that did not see the answer, shape (n,)."""
    if lesson.large.mean() - lesson.small.mean() < 1e-9:
        raise OutcomeError("the large model is no better than the small one on these queries: use the small model")
    n = len(lesson.dense)
    raw = np.empty((len(SETTINGS), n))
    for part in folds(lesson.groups, INNER_FOLDS, seed):
        heads = _heads(lesson.part(_rest(part, n)), SETTINGS)
        held_out = lesson.part(part)
        for scores, head in zip(raw, heads, strict=True):
            scores[part] = held_out.raw(head)
    best = int(np.argmax([apgr(scores, lesson.small, lesson.large) for scores in raw]))
    return AnswerScorer(lesson.embedded, _heads(lesson, [SETTINGS[best]])[0]), raw[best]


def answers_out_of_fold(lesson: AnswerLesson, seed: int = 0) -> Floats:
    """Raw scores of all answers, each from a scorer that saw neither the answer nor chose its settings on it.

    Args:
        lesson: n labelled answers.
        seed: Same seed, same parts.

    Returns:
        Shape (n,).
    """
    n = len(lesson.dense)
    raw = np.empty(n)
    for part in folds(lesson.groups, OUTER_FOLDS, seed):
        scorer = fitted_answers(lesson.part(_rest(part, n)), seed + 1)
        raw[part] = lesson.part(part).raw(scorer.weights)
    return raw


def fit_answers(
    queries: Sequence[str],
    answers: Sequence[str],
    small: npt.ArrayLike,
    large: npt.ArrayLike,
    *,
    groups: Rows | None = None,
    difficulty: npt.ArrayLike | None = None,
    route_threshold: float | None = None,
    held_out: float = HELD_OUT,
    method: CalibrationMethod = "isotonic",
    quality_range: tuple[float, float] | None = None,
    name: str = "answers",
    seed: int = 0,
) -> Artifact:
    """A cascade that judges answers by a learned scorer; save it, and give its folder as ``uncertainty``.

    Args:
        queries: n queries, as a random sample of the traffic.
        answers: The small model's n answers.
        small: Their quality, shape (n,).
        large: Quality of the large model's answers to the same queries, shape (n,).
        groups: Queries of one number stay on one side of every split, shape (n,); None for each query its own.
        difficulty: What the router says of the queries, in [0, 1], shape (n,), for ``policy="route_then_cascade"``.
        route_threshold: Difficulty from which those calls go to the large model at once.
        held_out: Share that is held out to measure and to certify on, in (0, 1).
        method: "isotonic" or "platt", for raw scores → P(the small model falls short).
        quality_range: Lowest and highest quality that can occur, for certificates; None for 0 to 1 if all lie in it.
        name: The cascade's name, which stands in every decision.
        seed: Same data and seed, same cascade.

    Returns:
        The artifact.

    Raises:
        OutcomeError: There are too few answers, they do not fit each other, or nothing can be learned from them.
        MissingExtraError: scikit-learn is not installed.
    """
    lesson = answer_lesson(queries, answers, small, large, groups)
    tested = _tested(lesson.groups, held_out, seed)
    learned, test = lesson.part(_rest(tested, len(queries))), lesson.part(tested)
    scorer, raw = _chosen(learned, seed)
    calibration = calibrator_by(method, raw, learned.small, learned.large)
    known = None if difficulty is None else np.asarray(difficulty, dtype=np.float64)[tested]
    config, tensors = scorer.to_state()
    settings = _settings(route_threshold)
    fitted = _measured(
        calibration.probability(test.raw(scorer.weights)), test.small, test.large, known, route_threshold, quality_range
    )
    return Artifact(
        name=name,
        scorer_kind=scorer.kind,
        scorer_config={**config, "cascade": settings},
        tensors=tensors,
        calibration=calibration,
        own_pair=True,
        metadata=_metadata(test.small, test.large, len(queries), method),
        **fitted,
    )


def fitted_measure(
    measure: MeasureName,
    uncertainty: npt.ArrayLike,
    small: npt.ArrayLike,
    large: npt.ArrayLike,
    *,
    difficulty: npt.ArrayLike | None = None,
    route_threshold: float | None = None,
    samples: int | None = None,
    method: CalibrationMethod = "isotonic",
    quality_range: tuple[float, float] | None = None,
    name: str | None = None,
) -> Artifact:
    """A cascade whose measure is calibrated on labels; save it, and give its folder as ``uncertainty``.

    Isotonic calibration changes no ranking, so that promises can be certified on the rows that it was fitted on
    (UCCI, arXiv 2605.18796, finds it worth a third of the cost for thresholds that are stated as probabilities).

    Args:
        measure: A name of ``shared_router.uncertainty``.
        uncertainty: As measured on the small model's answers, in [0, 1], shape (n,).
        small: Quality of these answers, shape (n,).
        large: Quality of the large model's answers to the same queries, shape (n,).
        difficulty: What the router says of the queries, in [0, 1], shape (n,), for ``policy="route_then_cascade"``.
        route_threshold: Difficulty from which those calls go to the large model at once.
        samples: Answers that were drawn for "self_consistency"; None for the default.
        method: "isotonic" or "platt".
        quality_range: Lowest and highest quality that can occur, for certificates; None for 0 to 1 if all lie in it.
        name: The cascade's name; None for the measure's.

    Raises:
        OutcomeError: There is no such measure, the arrays do not fit each other, or uncertainties say nothing about
            falling short.
        MissingExtraError: scikit-learn is not installed.
    """
    if measure not in MEASURES:
        raise OutcomeError(f"{measure!r} is no measure (there are: {', '.join(MEASURES)})")
    raw, s, q = (np.asarray(one, dtype=np.float64) for one in (uncertainty, small, large))
    if not raw.shape == s.shape == q.shape or raw.ndim != 1 or len(raw) < MIN_ANSWERS:
        raise OutcomeError(f"uncertainty and both qualities have one shape (n,), n ≥ {MIN_ANSWERS}, got {raw.shape}")
    if not ((raw >= 0.0) & (raw <= 1.0)).all():
        raise OutcomeError("an uncertainty lies in [0, 1]")
    calibration = calibrator_by(method, raw, s, q)
    known = None if difficulty is None else np.asarray(difficulty, dtype=np.float64)
    settings = {"measure": measure, **_settings(route_threshold), **({} if samples is None else {"samples": samples})}
    return Artifact(
        name=name or measure,
        scorer_kind=MEASURE,
        scorer_config={"cascade": settings},
        tensors={},
        calibration=calibration,
        own_pair=True,
        metadata=_metadata(s, q, len(raw), method),
        **_measured(calibration.probability(raw), s, q, known, route_threshold, quality_range),
    )


def _settings(route_threshold: float | None) -> dict[str, JSON]:
    return {} if route_threshold is None else {"route_threshold": route_threshold}


def _metadata(small: Floats, large: Floats, rows: int, method: str) -> dict[str, JSON]:
    return {
        "rows": rows,
        "measured_on": len(small),
        "calibration_method": method,
        "small_quality": float(small.mean()),
        "large_quality": float(large.mean()),
    }


def _measured(
    uncertainty: Floats,
    small: Floats,
    large: Floats,
    difficulty: Floats | None,
    route_threshold: float | None,
    quality_range: tuple[float, float] | None,
) -> dict[str, Any]:
    """Operating curve and calibration set; a call that goes to the large model at once counts as uncertainty 1."""
    if (difficulty is None) != (route_threshold is None):
        raise OutcomeError("difficulty and route_threshold go together: the one is compared with the other")
    if difficulty is not None:
        uncertainty = np.where(difficulty >= cast("float", route_threshold), 1.0, uncertainty)
    known = own_set(uncertainty, small, large, quality_range)
    return {"curve": own_curve(uncertainty, small, large, _AsIs()), "calibration_set": known}


class _AsIs:
    """The map of uncertainties that are calibrated already."""

    def probability(self, raw: Floats) -> Floats:
        return raw

    def to_state(self) -> dict[str, JSON]:
        return {}


def _tested(groups: Rows, share: float, seed: int) -> Rows:
    names, group = np.unique(groups, return_inverse=True)
    if not 0.0 < share < 1.0 or min(share, 1.0 - share) * len(names) < MIN_ANSWERS:
        raise OutcomeError(
            f"holding out {share!r} of {len(names)} groups of queries leaves fewer than {MIN_ANSWERS} on one side; "
            "label more answers"
        )
    chosen = np.random.default_rng(seed).permutation(len(names)) < round(share * len(names))
    return np.flatnonzero(chosen[group])
