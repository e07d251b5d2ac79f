"""A model that was not in the battles: its vector from few battles, with all else as it was learned.

With k = 128 numbers a vector is too much to learn from fifty battles. Trained models differ from each other in few ways
(one of them: strength), so the new vector is looked for there:

    v = mean of the trained models' vectors + Σ_r c_r · axis_r,    c ~ N(0, I)

The axes are the principal ones of the trained models' strengths over the sampled prompts, each as long as the models
are spread along it. The coefficients are the most probable ones under the battles and that prior, which one new label
hardly moves and a hundred do. The vector is not brought to length 1: that would change the strength that was found.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.scorers.bradley_terry import sigmoid
from shared_router.scorers.matrix_factorization import Factors, MatrixFactorizationScorer
from shared_router.tables.battles import MIN_PER_MODEL, Battles

__all__ = ["AXES", "with_new_model"]

Floats = npt.NDArray[np.float64]

AXES = 8
"""Ways in which a new model may differ from the mean of the known ones, at most."""

STEPS = 50
TOLERANCE = 1e-10


def with_new_model(scorer: MatrixFactorizationScorer, model: str, battles: Battles) -> MatrixFactorizationScorer:
    """The same scorer, knowing one more model; nothing that it knew is changed.

    Args:
        scorer: Learned from other battles, of at least 2 models.
        model: The new model's name.
        battles: Battles of the new model with known ones; others are not looked at. Labels of a pair are such battles
            too (``labels_as_battles``).

    Raises:
        OutcomeError: The scorer knows the model already, or there are too few battles between it and known models.
    """
    factors = scorer.factors
    if model in factors.models:
        raise OutcomeError(f"the router knows {model!r} already; its vector is kept")
    opponent, won, weight, prompts = _meetings(factors, model, battles)
    directions = scorer.encoder.directions([battles.prompts[place] for place in prompts.tolist()])
    effects = factors.effects(directions)
    mean = factors.vectors.mean(axis=0)
    axes = _axes(factors, scorer.sample)
    offset = (effects * (mean - factors.vectors[opponent])).sum(axis=1)
    vector = mean + _coefficients(effects @ axes.T, offset, won, weight) @ axes
    known = replace(factors, models=(*factors.models, model), vectors=np.vstack([factors.vectors, vector]))
    return MatrixFactorizationScorer(scorer.encoder, known, scorer.small, scorer.large, scorer.sample)


def _meetings(
    factors: Factors, model: str, battles: Battles
) -> tuple[npt.NDArray[np.int64], Floats, Floats, npt.NDArray[np.int64]]:
    """Opponent (among the factors' models), share of the new model's win, weight and prompt of each battle."""
    place = np.array([factors.models.index(name) if name in factors.models else -1 for name in battles.models])
    new = np.array([name == model for name in battles.models], dtype=np.bool_)
    is_first, is_second = new[battles.first], new[battles.second]
    opponent = np.where(is_first, place[battles.second], place[battles.first])
    chosen = np.flatnonzero((is_first | is_second) & (opponent >= 0))
    if len(chosen) < MIN_PER_MODEL:
        raise OutcomeError(
            f"{len(chosen)} battles are between the new model {model!r} and models that the router knows, "
            f"{MIN_PER_MODEL} are needed (it knows: {', '.join(factors.models)})"
        )
    won = np.where(is_first, battles.won, 1.0 - battles.won)
    return opponent[chosen], won[chosen], battles.weight[chosen], battles.prompt[chosen]


def _axes(factors: Factors, sample: npt.NDArray[np.int8]) -> Floats:
    """Differences of vectors along which the models' strengths are spread, shape (r, k)."""
    spread = factors.vectors - factors.vectors.mean(axis=0)
    strengths = spread @ factors.effects(sample).T
    models, sizes, _ = np.linalg.svd(strengths, full_matrices=False)
    count = min(AXES, int((sizes > 1e-9 * max(float(sizes[0]), 1e-300)).sum()), len(spread) - 1)
    axes: Floats = models[:, :count].T @ spread / np.sqrt(max(len(spread) - 1, 1))
    return axes


def _coefficients(design: Floats, offset: Floats, won: Floats, weight: Floats) -> Floats:
    """Logistic regression with a standard normal prior, by Newton's method, shape (r,)."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chance = sigmoid(design @ coefficients + offset)
        slope = design.T @ (weight * (won - chance)) - coefficients
        curvature = (design * (weight * chance * (1.0 - chance))[:, None]).T @ design + np.eye(len(coefficients))
        step = np.linalg.solve(curvature, slope)
        size = float(np.abs(step).max(initial=0.0))
        coefficients = coefficients + step * min(1.0, 1.0 / max(size, TOLERANCE))
        if size < TOLERANCE:
            break
    return coefficients
