"""Outcome tables → the embedded default router."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.calibration import Calibrator, LogisticCalibrator
from shared_router.encoders.static import StaticEncoder, TokenBatch, clipped
from shared_router.errors import OutcomeError
from shared_router.knob import NEVER_LARGE, OperatingCurve
from shared_router.scorers.static_difficulty import ScoreScale, StaticDifficultyScorer
from shared_router.scorers.surface_features import token_traits
from shared_router.training.outcomes import Outcomes
from shared_router.training.sources import FORMAT_FAILURES, PAIRS
from shared_router.training.static_table import (
    TableSettings,
    distilled_table,
    learned_table,
    teacher_scores,
    whole_numbers,
)
from shared_router.training.targets import gap, source_weights, standardised

__all__ = [
    "LENGTH_WEIGHT",
    "TOKEN_WEIGHT",
    "PairOutcomes",
    "Start",
    "TrainingRows",
    "fit_scorer",
    "logistic_calibrator",
    "measured_curve",
    "pair_outcomes",
    "sound_quality",
    "start_from",
    "training_rows",
]

Floats = npt.NDArray[np.float64]

LENGTH_WEIGHT = 1.0
TOKEN_WEIGHT = 0.2
"""The length part and the learned token part against the surface part, all at standard deviation 1.

Chosen for the aim that no source falls below prompt length: of the settings whose mean over sources left out is within
0.008 of the best, one whose worst source is least below length, at the smallest token weight. The 0.008 is a judgement,
not a standard error: the mean that is given up is more than chance (benchmarks/README.md)."""

CURVE_POINTS = 101


@dataclass(frozen=True, slots=True)
class Start:
    """What training begins with: the encoder's tokenizer, and its tokens in few dimensions.

    Attributes:
        tokenizer_json: Content of ``tokenizer.json``.
        vectors: From ``distilled_table``, shape (vocabulary, d).
    """

    tokenizer_json: bytes
    vectors: Floats


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The texts a router may learn from.

    Attributes:
        texts: n texts.
        sources: Source of each, shape (n,), str.
        target: Gap between strong and weak models, standardised within each source, shape (n,).
    """

    texts: tuple[str, ...]
    sources: npt.NDArray[np.str_]
    target: Floats


@dataclass(frozen=True, slots=True)
class PairOutcomes:
    """Both models' marks on validation texts, one row per text and pair.

    Attributes:
        raw: Raw score of the row's text, shape (k,).
        small: The small model's mark, shape (k,).
        large: The large model's mark, shape (k,).
        weight: Weights under which each source counts alike, mean 1, shape (k,).
    """

    raw: Floats
    small: Floats
    large: Floats
    weight: Floats


def start_from(tokenizer_json: bytes, token_vectors: Floats, settings: TableSettings) -> Start:
    """The start of the table.

    Args:
        tokenizer_json: Content of ``tokenizer.json``.
        token_vectors: The encoder's vectors of single tokens, shape (vocabulary, D).
        settings: Sizes.
    """
    return Start(tokenizer_json, distilled_table(token_vectors, settings.dimensions))


def sound_quality(outcomes: Outcomes) -> Floats:
    """Marks without the models that failed on form.

    Args:
        outcomes: One source.

    Returns:
        Shape (n, m).
    """
    failed = FORMAT_FAILURES.get(outcomes.source, ())
    return outcomes.quality[:, [model not in failed for model in outcomes.models]]


def training_rows(tables: Sequence[Outcomes], unseen_groups: frozenset[str] = frozenset()) -> TrainingRows:
    """Rows marked train, without those that stand in a benchmark or among questions that must stay unseen.

    Args:
        tables: The sources to learn from.
        unseen_groups: Groups of questions to leave out.

    Raises:
        OutcomeError: Nothing is left.
    """
    texts: list[str] = []
    sources: list[str] = []
    targets: list[Floats] = []
    for outcomes in tables:
        unseen = np.array([group in unseen_groups for group in outcomes.groups], dtype=np.bool_)
        chosen = outcomes.rows((outcomes.split == "train") & ~outcomes.overlap & ~unseen)
        texts += chosen.texts
        sources += [outcomes.source] * len(chosen.texts)
        targets.append(gap(sound_quality(chosen)) if chosen.texts else np.empty(0))
    if not texts:
        raise OutcomeError("no training rows are left: every row is of another split, overlaps, or is to stay unseen")
    labels = np.array(sources)
    return TrainingRows(tuple(texts), labels, standardised(np.concatenate(targets), labels))


def fit_scorer(
    rows: TrainingRows,
    sentence_vectors: Floats,
    start: Start,
    settings: TableSettings,
    *,
    length_weight: float = LENGTH_WEIGHT,
    token_weight: float = TOKEN_WEIGHT,
    advance: Callable[[int], None] | None = None,
) -> StaticDifficultyScorer:
    """Fit the whole scorer.

    Args:
        rows: n training texts.
        sentence_vectors: The teacher's vectors of them, shape (n, D).
        start: Tokenizer and start of the table.
        settings: Sizes and rates.
        length_weight: Weight of the length part.
        token_weight: Weight of the token part.
        advance: Told after each training step.
    """
    batch = _tokens(start, rows.texts)
    teacher = teacher_scores(sentence_vectors, rows.target, rows.sources, settings.teacher_ridge)
    targets = np.stack([rows.target, teacher], axis=1)
    whole = whole_numbers(learned_table(start.vectors, batch, targets, rows.sources, settings, advance))
    encoder = StaticEncoder(start.tokenizer_json, whole.table)
    traits = token_traits(encoder.vocabulary())
    plain = StaticDifficultyScorer(encoder, traits, whole.direction, ScoreScale.unit())
    counts = plain.counts(rows.texts)
    # rows count alike here: the standardisation only sets units
    mean, std = counts.features.mean(axis=0), counts.features.std(axis=0)
    length = plain.length_part(counts.chars)
    scale = ScoreScale(
        feature_mean=mean,
        feature_std=np.maximum(std, 1e-9),
        surface_std=float(((counts.features - mean) / np.maximum(std, 1e-9)).sum(axis=1).std()),
        length_mean=float(length.mean()),
        length_std=float(max(length.std(), 1e-9)),
        length_weight=length_weight,
        token_std=float(plain.token_part(counts.vectors).std()),
        token_weight=token_weight,
    )
    return StaticDifficultyScorer(encoder, traits, whole.direction, scale)


def _tokens(start: Start, texts: Sequence[str]) -> TokenBatch:
    empty = np.zeros((len(start.vectors), 1), dtype=np.int8)
    batch = StaticEncoder(start.tokenizer_json, empty).tokens([clipped(text) for text in texts])
    if not batch.counts.all():
        raise OutcomeError(f"{int((batch.counts == 0).sum())} training texts have no tokens; drop them first")
    return batch


def pair_outcomes(tables: Sequence[Outcomes], raw: Sequence[Floats]) -> PairOutcomes:
    """The marks of each source's pairs, one under the other.

    Args:
        tables: Validation rows of the sources.
        raw: Raw scores of each table's texts, each of shape (n,).
    """
    parts, names = [], []
    for outcomes, scores in zip(tables, raw, strict=True):
        for pair in PAIRS[outcomes.source]:
            small, large = outcomes.marks(pair.small), outcomes.marks(pair.large)
            known = np.isfinite(small) & np.isfinite(large)
            parts.append(np.stack([scores, small, large], axis=1)[known])
            names += [outcomes.source] * int(known.sum())
    scores, small, large = np.concatenate(parts).T
    return PairOutcomes(scores, small, large, source_weights(np.array(names), power=1.0))


def logistic_calibrator(outcomes: PairOutcomes, *, steps: int = 50) -> LogisticCalibrator:
    """Platt's map from raw score to P(small falls short of large), by Newton's method.

    Falling short is ``small < large`` in marks.

    Args:
        outcomes: Validation rows.
        steps: Newton steps.

    Raises:
        OutcomeError: The score does not rise with falling short; such a router must not be shipped.
    """
    short = (outcomes.small < outcomes.large).astype(np.float64)
    design = np.stack([outcomes.raw, np.ones(len(outcomes.raw))], axis=1)
    coefficients = np.zeros(2)
    for _ in range(steps):
        probability = 0.5 * (1.0 + np.tanh(0.5 * design @ coefficients))
        slope = design.T @ (outcomes.weight * (short - probability))
        curvature = (design * (outcomes.weight * probability * (1.0 - probability))[:, None]).T @ design
        coefficients = coefficients + np.linalg.solve(curvature + 1e-9 * np.eye(2), slope)
    if not coefficients[0] > 0:
        raise OutcomeError(
            f"harder scores do not mean more shortfalls on the validation rows (slope {coefficients[0]})"
        )
    return LogisticCalibrator(float(coefficients[0]), float(coefficients[1]))


def measured_curve(outcomes: PairOutcomes, calibration: Calibrator) -> OperatingCurve:
    """The operating curve over all validation rows and pairs, each source counting alike.

    Args:
        outcomes: Validation rows.
        calibration: Raw score → difficulty.
    """
    difficulty = calibration.probability(outcomes.raw)
    gained = outcomes.weight * (outcomes.large - outcomes.small)
    small, large = (float((outcomes.weight * marks).mean()) for marks in (outcomes.small, outcomes.large))
    cuts = np.unique(np.quantile(difficulty, np.linspace(0.0, 1.0, CURVE_POINTS), method="lower"))[::-1][:-1]
    points = [(NEVER_LARGE, 0.0, 0.0)]
    for cut in cuts:
        sent = difficulty >= cut
        share = float(outcomes.weight[sent].sum() / outcomes.weight.sum())
        points.append((float(cut), share, float(gained[sent].sum() / gained.sum())))
    points.append((0.0, 1.0, 1.0))
    thresholds, shares, kept = zip(*points, strict=True)
    drop = tuple((large - small) * (1.0 - pgr) / large for pgr in kept)
    return OperatingCurve(thresholds, shares, kept, drop)
