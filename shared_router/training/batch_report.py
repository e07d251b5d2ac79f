"""A table of answers → who answers its open queries; where none is open, a rehearsal of that.

As OptLLM (Liu et al. 2024, arXiv 2405.15130) learns and allocates in one run: a few labelled queries (1 % in the
paper, and 1 % for validation) pay for the allocation of all others, so that no predictor is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from shared_router.errors import OutcomeError
from shared_router.tables.answers import Answers
from shared_router.training.answer_costs import Price
from shared_router.training.batch_allocation import Allotment, Outturn, allocate
from shared_router.training.success_models import SuccessMethod, SuccessModels, fit_success_models, random_split

__all__ = ["BatchReport", "allocate_batch"]


@dataclass(frozen=True, slots=True, eq=False)
class BatchReport:
    """What became of a table of answers.

    Attributes:
        batch: The queries that were allocated.
        models: The predictors.
        allotment: Who answers what.
        outturn: What that really costs and makes; None where qualities or costs are not known.
        partly: Queries that were left aside, because the quality of some models only is known.
    """

    batch: Answers
    models: SuccessModels
    allotment: Allotment
    outturn: Outturn | None
    partly: int


def allocate_batch(
    answers: Answers,
    *,
    budget: float | None = None,
    accuracy: float | None = None,
    method: SuccessMethod = "ridge",
    resamples: int = 100,
    prices: Mapping[str, Price] | None = None,
    output_tokens: float | None = None,
    train_share: float = 0.2,
    exact: bool = False,
    seed: int = 0,
    advance: Callable[[str], None] = lambda title: None,
) -> BatchReport:
    """Learn from the queries with a quality of every model, and allocate those without any.

    Args:
        answers: Where none is without any, ``train_share`` of the complete ones is learned from and the rest allocated
            by predictions alone; its costs are predicted, too, since nobody knows what an answer costs before it is
            there.
        budget: At most this total cost.
        accuracy: At least this mean of predicted success, in [0, 1].
        method: See ``fit_success_models``.
        resamples: See ``fit_success_models``.
        prices: See ``fit_success_models``.
        output_tokens: See ``fit_success_models``.
        train_share: Of a rehearsal, in (0, 1).
        exact: See ``allocate``.
        seed: Same answers and seed, same assignment.
        advance: Told the title of each step before it begins.

    Raises:
        KnobError: Not exactly one of ``budget`` and ``accuracy`` is given, or it cannot be kept.
        OutcomeError: Too few queries to learn from, or nothing that costs could be taken from.
        MissingExtraError: scikit-learn is not installed.
    """
    complete, open_rows = answers.complete, np.flatnonzero(np.isnan(answers.quality).all(axis=1))
    learned, is_rehearsal = np.flatnonzero(complete), not open_rows.size
    rows = open_rows
    if is_rehearsal:
        first, second = random_split(answers.groups[learned], train_share, seed)
        learned, rows = learned[first], learned[second]
    if not rows.size:
        raise OutcomeError(f"nothing is left to allocate of {len(answers)} queries; lower the share to learn from")
    batch = answers.part(rows)
    models = fit_success_models(
        answers.part(learned),
        method=method,
        resamples=resamples,
        prices=prices,
        output_tokens=output_tokens,
        seed=seed,
        advance=advance,
    )
    advance("allocating")
    given = None if is_rehearsal else batch.cost
    allotment = allocate(batch.queries, models, budget=budget, accuracy=accuracy, cost=given, exact=exact)
    partly = len(answers) - int(complete.sum()) - len(open_rows)
    return BatchReport(batch, models, allotment, _outturn(allotment, batch), partly)


def _outturn(allotment: Allotment, batch: Answers) -> Outturn | None:
    if np.isnan(batch.quality).any():
        return None
    # costs by prices are all that is known where the table has none
    paid = allotment.forecast.cost if np.isnan(batch.cost).all() else batch.cost
    return None if np.isnan(paid).any() else allotment.outturn(batch.quality, paid)
