"""How well, and at what cost, each of many models will answer a query: predicted, with the uncertainty.

After OptLLM (Liu et al. 2024, arXiv 2405.15130): one multi-label head is fitted to each of μ bootstrap resamples of the
labelled queries, p̄ is the mean of what they say, each weighted by its accuracy ω on validation queries, σ their
standard deviation, and what is allocated by is p = p̄ + ασ. Three things differ:

- The heads see what the embedded encoder sees of a text, and the topics of its words; the paper's 100 trees of depth 10
  on mean word vectors are there as method "forest", for comparing (one forest for all models, not one each).
- ω is the share of single labels that a head gets right on queries that it has not seen: those that its resample left
  out (Breiman 1996, "Out-of-bag estimation"), so that none has to be held back, or the user's validation queries. (The
  authors' program compares with predictions for the test queries by mistake, so that its ω means nothing; and the share
  of queries of which all labels are right is 0 for everyone from some ten models on.)
- α is the one whose front really makes most of those same queries, by the area under it; but 0 unless another is
  better by more than two standard errors, since few queries would choose at random among so many.

The forests get the direction of the token sum alone, as the paper's get the mean word vector.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from shared_router.allocation import allocation_front, robust_prediction
from shared_router.errors import MissingExtraError, OutcomeError
from shared_router.evaluation.fronts import hypervolume
from shared_router.tables.answers import Answers
from shared_router.training.answer_costs import AnswerCosts, Price
from shared_router.training.fast_heads import folds
from shared_router.training.realised_front import realised
from shared_router.training.topic_columns import TopicColumns

__all__ = [
    "ALPHAS",
    "METHODS",
    "Forecast",
    "SuccessMethod",
    "SuccessModels",
    "fit_success_models",
    "method_of",
    "random_split",
]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SuccessMethod: TypeAlias = Literal["ridge", "logistic", "forest"]
METHODS: tuple[SuccessMethod, ...] = get_args(SuccessMethod)

ALPHAS = (0.0, -0.5, 0.5, -1.0, 1.0, -2.0, 2.0)
"""Values of α to choose from, the one first that is kept without need of another; the paper's five and two more."""

REDRAWS = 50
"""Bootstrap resamples of the queries for the standard error of a gain in area."""

PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
"""Ridge penalties, the strongest first, for rows of about unit length."""

FOLDS = 5
"""Of the cross-validation that chooses among them."""

MIN_QUERIES = 20
"""Below, neither a head nor a choice of α is more than chance."""

TREES, DEPTH = 100, 10
"""Of the paper's forests."""

Predict: TypeAlias = Callable[[Floats], Floats]
"""Columns of n texts, shape (n, d) → predicted success, shape (n, m)."""


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What is expected of each model on each query, all of shape (n, m).

    Attributes:
        mean: Predicted success p̄, in [0, 1].
        std: Its uncertainty σ, ≥ 0.
        success: p̄ + ασ, clipped to [0, 1].
        cost: Expected cost, ≥ 0.
    """

    mean: Floats
    std: Floats
    success: Floats
    cost: Floats


@dataclass(frozen=True, slots=True, eq=False)
class SuccessModels:
    """Fitted predictors of the success and cost of m models.

    Attributes:
        models: Names, length m.
        alpha: How many standard deviations are added.
        weights: ω of each head, summing to 1, shape (μ,).
        penalty: The ridge's or the logistic regression's, None for a forest.
        accuracy: Share of the single labels of unseen queries that p̄ gets right.
        areas: Area under the unseen queries' real front for each α that was tried.
        known: Labelled queries that were learned from.
    """

    models: tuple[str, ...]
    alpha: float
    weights: Floats
    penalty: float | None
    accuracy: float
    areas: Mapping[float, float]
    known: int
    _columns: TopicColumns
    _heads: tuple[Predict, ...]
    _costs: AnswerCosts

    def forecast(self, queries: Sequence[str], cost: npt.ArrayLike | None = None) -> Forecast:
        """What is expected on some queries.

        Args:
            queries: Texts, length n ≥ 1.
            cost: Costs where they are known, NaN where they are to be predicted, shape (n, m); None to predict all.

        Raises:
            OutcomeError: No query, or costs of another shape.
        """
        if not len(queries):
            raise OutcomeError("there is no query to predict for")
        columns = self._columns.of(queries)
        said = np.stack([head(columns) for head in self._heads])
        mean, std = _mean_and_std(said, self.weights, np.ones(said.shape[:2], dtype=np.bool_))
        expected = self._costs.predict(columns, queries)
        if cost is not None:
            given = np.asarray(cost, dtype=np.float64)
            if given.shape != expected.shape:
                raise OutcomeError(f"cost has shape {given.shape}, expected {expected.shape} (queries × models)")
            expected = np.where(np.isnan(given), expected, given)
        return Forecast(mean, std, robust_prediction(mean, std, self.alpha), expected)


def fit_success_models(
    answers: Answers,
    *,
    method: SuccessMethod = "ridge",
    resamples: int = 100,
    validation: Answers | None = None,
    alphas: Sequence[float] = ALPHAS,
    prices: Mapping[str, Price] | None = None,
    output_tokens: float | None = None,
    seed: int = 0,
    advance: Callable[[str], None] = lambda title: None,
) -> SuccessModels:
    """Learn from labelled queries.

    Args:
        answers: Queries to learn from; those without a quality of every model are left out.
        method: "ridge", "logistic" (slower, about as good), or the paper's "forest" (slower by far).
        resamples: Bootstrap resamples μ, ≥ 2; the paper has 100.
        validation: Queries that ω and α are chosen on; None for those that a resample has left out.
        alphas: Values of α to choose from.
        prices: Name → price of a million tokens; costs then come from the queries' estimated tokens.
        output_tokens: Tokens of an answer, where prices are given and the answers do not say.
        seed: Same answers and seed, same predictors.
        advance: Told the title of each step before it begins.

    Raises:
        OutcomeError: Too few complete queries, nothing that costs could be taken from, or an unknown method.
        MissingExtraError: scikit-learn is not installed.
    """
    if method not in METHODS or resamples < 2 or not alphas:
        raise OutcomeError(
            f"method is one of {', '.join(METHODS)}, resamples at least 2, alphas not empty; got {method!r}, "
            f"{resamples}, {tuple(alphas)!r}"
        )
    learned = answers.part(np.flatnonzero(answers.complete))
    checked = learned if validation is None else validation.part(np.flatnonzero(validation.complete))
    if len(learned) < MIN_QUERIES or not len(checked):
        raise OutcomeError(
            f"{len(learned)} queries have a quality of every one of the {len(answers.models)} models, at least "
            f"{MIN_QUERIES} are needed; name fewer models, or judge more answers"
        )
    advance("reading the texts")
    columns = TopicColumns.fitted(learned.queries, topics=method != "forest", seed=seed)
    inside = columns.of(learned.queries)
    outside = inside if validation is None else columns.of(checked.queries)
    costs = AnswerCosts.fitted(learned, inside, prices, output_tokens)
    advance("fitting the heads")
    penalty = None if method == "forest" else _best_penalty(inside, learned, seed)
    generator = np.random.default_rng(seed)
    draws = _resamples(learned.groups, resamples, generator)
    heads = tuple(
        _FITS[method](inside, learned.quality, counts, penalty or 0.0, seed + number)
        for number, counts in enumerate(draws)
    )
    advance("choosing how much uncertainty counts")
    said = np.stack([head(outside) for head in heads])
    # a head knows the queries that it was fitted to
    unseen = draws == 0.0 if validation is None else np.ones((len(heads), len(checked)), dtype=np.bool_)
    rows = np.flatnonzero(unseen.any(axis=0))
    said, unseen, checked = said[:, rows], unseen[:, rows], checked.part(rows)
    weights = _weights(said, unseen, checked.quality)
    mean, std = _mean_and_std(said, weights, unseen)
    expected = costs.predict(outside[rows], checked.queries)
    paid = np.where(np.isnan(checked.cost), expected, checked.cost)
    candidates = {alpha: robust_prediction(mean, std, alpha) for alpha in alphas}
    areas = {alpha: _area(success, expected, checked.quality, paid) for alpha, success in candidates.items()}
    return SuccessModels(
        models=answers.models,
        alpha=_best_alpha(candidates, areas, expected, checked.quality, paid, generator),
        weights=weights,
        penalty=penalty,
        accuracy=_share_right(mean, checked.quality),
        areas=areas,
        known=len(learned),
        _columns=columns,
        _heads=heads,
        _costs=costs,
    )


def method_of(stated: str) -> SuccessMethod:
    """A method by its name.

    Raises:
        OutcomeError: There is none of that name.
    """
    for method in METHODS:
        if stated == method:
            return method
    raise OutcomeError(f"unknown method {stated!r} (there are: {', '.join(METHODS)})")


def random_split(groups: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Two parts of rows at random, whole groups at a time.

    Args:
        groups: Group of each row, shape (n,).
        share: Of the groups, for the first part, in (0, 1).
        seed: Same seed, same parts.

    Returns:
        The rows of either part, rising.

    Raises:
        OutcomeError: The share is out of range.
    """
    if not 0.0 < share < 1.0:
        raise OutcomeError(f"a share to hold back lies between 0 and 1, got {share!r}")
    names, group = np.unique(groups, return_inverse=True)
    chosen = np.random.default_rng(seed).permutation(len(names)) < round(share * len(names))
    return np.flatnonzero(chosen[group]), np.flatnonzero(~chosen[group])


def _resamples(groups: Rows, count: int, generator: np.random.Generator) -> Floats:
    """How often each of n rows is drawn in each bootstrap resample of the groups, shape (count, n)."""
    names, group = np.unique(groups, return_inverse=True)
    k = len(names)
    return np.stack([np.bincount(generator.integers(0, k, k), minlength=k)[group] for _ in range(count)]).astype(float)


def _linear(weight: Floats, centre: Floats, base: Floats) -> Predict:
    return lambda columns: np.clip((columns - centre) @ weight + base, 0.0, 1.0)


def _ridge(columns: Floats, quality: Floats, counts: Floats, penalty: float, seed: int) -> Predict:
    drawn = counts[:, None]
    centre, base = (drawn * columns).sum(axis=0) / counts.sum(), (drawn * quality).sum(axis=0) / counts.sum()
    deviation = columns - centre
    gram = deviation.T @ (drawn * deviation) + penalty * np.eye(columns.shape[1])
    weight = np.linalg.solve(gram, deviation.T @ (drawn * (quality - base)))
    return _linear(weight, centre, base)


def _logistic(columns: Floats, quality: Floats, counts: Floats, penalty: float, seed: int) -> Predict:
    linear_model = _library("sklearn.linear_model")
    # a quality of 0.3 is a success in three of ten cases
    doubled = np.concatenate([columns, columns])
    label = np.repeat([1, 0], len(columns))
    heads = []
    for marks in quality.T:
        weight = np.concatenate([counts * marks, counts * (1.0 - marks)])
        kept = weight > 0.0
        if len(np.unique(label[kept])) < 2:
            heads.append((np.zeros(columns.shape[1]), math.inf if label[kept][0] else -math.inf))
            continue
        # the log-loss of a yes or no curves about a quarter as much as the squared error, halved
        model = linear_model.LogisticRegression(C=4.0 / penalty, max_iter=500)
        fitted = model.fit(doubled[kept], label[kept], sample_weight=weight[kept])
        heads.append((fitted.coef_[0], float(fitted.intercept_[0])))
    weights, bases = np.stack([weight for weight, _ in heads], axis=1), np.array([base for _, base in heads])
    # tanh does not overflow where exp would
    return lambda others: 0.5 + 0.5 * np.tanh((others @ weights + bases) / 2.0)


def _forest(columns: Floats, quality: Floats, counts: Floats, penalty: float, seed: int) -> Predict:
    forest = _library("sklearn.ensemble").RandomForestRegressor(TREES, max_depth=DEPTH, random_state=seed, n_jobs=1)
    drawn = np.repeat(np.arange(len(columns)), counts.astype(np.int64))
    fitted = forest.fit(columns[drawn], quality[drawn])
    return lambda others: np.clip(np.asarray(fitted.predict(others)).reshape(len(others), -1), 0.0, 1.0)


_FITS: Mapping[SuccessMethod, Callable[[Floats, Floats, Floats, float, int], Predict]] = {
    "ridge": _ridge,
    "logistic": _logistic,
    "forest": _forest,
}


def _best_penalty(columns: Floats, learned: Answers, seed: int) -> float:
    """The penalty with the least cross-validated squared error of a ridge, the strongest of equals."""
    errors = dict.fromkeys(PENALTIES, 0.0)
    for held in folds(learned.groups, FOLDS, seed):
        drawn = np.ones(len(learned))
        drawn[held] = 0.0
        for penalty in PENALTIES:
            head = _ridge(columns, learned.quality, drawn, penalty, 0)
            errors[penalty] += float(((head(columns[held]) - learned.quality[held]) ** 2).sum())
    return min(PENALTIES, key=lambda penalty: errors[penalty])


def _weights(said: Floats, unseen: Flags, quality: Floats) -> Floats:
    """ω of each head, summing to 1.

    Args:
        said: Predictions, shape (μ, n, m).
        unseen: Whether a head may be judged by a query, shape (μ, n).
        quality: Labels, shape (n, m).
    """
    right = np.array([_share_right(one[rows], quality[rows]) for one, rows in zip(said, unseen, strict=True)])
    total = float(right.sum())
    return right / total if total > 0.0 else np.full(len(said), 1.0 / len(said))


def _mean_and_std(said: Floats, weights: Floats, unseen: Flags) -> tuple[Floats, Floats]:
    """p̄ and σ of each query over the heads that have not seen it, both of shape (n, m)."""
    share = weights[:, None] * unseen
    share /= share.sum(axis=0)
    # a weighted mean of ones may exceed 1 in its last digit
    mean = np.clip((share[:, :, None] * said).sum(axis=0), 0.0, 1.0)
    count = unseen.sum(axis=0)[:, None]
    plain = (said * unseen[:, :, None]).sum(axis=0) / count
    return mean, np.sqrt(((said - plain) ** 2 * unseen[:, :, None]).sum(axis=0) / count)


def _share_right(predicted: Floats, quality: Floats) -> float:
    """Share of single labels on which prediction and truth are on the same side of a half; 0 of none."""
    return 0.0 if not len(quality) else float(((predicted >= 0.5) == (quality >= 0.5)).mean())


def _best_alpha(
    candidates: Mapping[float, Floats],
    areas: Mapping[float, float],
    expected: Floats,
    quality: Floats,
    paid: Floats,
    generator: np.random.Generator,
) -> float:
    """The first α, or the one with the largest area of those that beat it by two standard errors."""
    first, *others = candidates
    gains: dict[float, list[float]] = {alpha: [] for alpha in others}
    for _ in range(REDRAWS if others else 0):
        rows = generator.integers(0, len(quality), len(quality))
        drawn = [_area(success[rows], expected[rows], quality[rows], paid[rows]) for success in candidates.values()]
        for alpha, area in zip(others, drawn[1:], strict=True):
            gains[alpha].append(area - drawn[0])
    better = [alpha for alpha in others if areas[alpha] - areas[first] > 2.0 * np.std(gains[alpha])]
    return max(better, key=lambda alpha: areas[alpha], default=first)


def _area(success: Floats, expected: Floats, quality: Floats, paid: Floats) -> float:
    """Area under what the points of a predicted front really cost and make."""
    points = realised(allocation_front(success, expected), quality, paid)
    return hypervolume(points, cost=float(paid.max(axis=1).sum()), quality=0.0)


def _library(name: str) -> Any:
    # by name, and when first needed: importing this module costs nothing
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError('predicting success needs scikit-learn: pip install "hybrid-llm[train]"') from error
