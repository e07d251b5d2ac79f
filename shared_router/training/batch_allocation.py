"""A batch of texts and several models → who answers what, within a budget or for an accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.allocation import AllocationFront, allocation_front
from shared_router.allocation import allocate as allocate_arrays
from shared_router.training.realised_front import realised
from shared_router.training.success_models import Forecast, SuccessModels

__all__ = ["Allotment", "Outturn", "allocate"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Allotment:
    """Who answers what.

    Attributes:
        models: Names, length m.
        chosen: Model of each query, as a place in ``models``, shape (n,).
        forecast: What it was decided by.
        front: All assignments that no other beats, by the same forecast.
    """

    models: tuple[str, ...]
    chosen: Ints
    forecast: Forecast
    front: AllocationFront

    @property
    def names(self) -> list[str]:
        """The model of each query, by name."""
        return [self.models[place] for place in self.chosen]

    @property
    def counts(self) -> dict[str, int]:
        """How many queries each model answers."""
        counted = np.bincount(self.chosen, minlength=len(self.models))
        return dict(zip(self.models, counted.tolist(), strict=True))

    @property
    def expected_cost(self) -> float:
        """Of the whole batch."""
        return float(_picked(self.forecast.cost, self.chosen).sum())

    @property
    def expected_quality(self) -> float:
        """Mean of p̄ + ασ over the batch, which is what ``accuracy`` speaks of."""
        return float(_picked(self.forecast.success, self.chosen).mean())

    @property
    def mean_quality(self) -> float:
        """Mean of p̄ over the batch: optimistic, since models were chosen for what was predicted of them."""
        return float(_picked(self.forecast.mean, self.chosen).mean())

    def outturn(self, quality: npt.ArrayLike, cost: npt.ArrayLike) -> Outturn:
        """What it really comes to.

        Args:
            quality: What the models made of the queries, finite, shape (n, m).
            cost: What they cost, finite, shape (n, m).
        """
        marks, prices = np.asarray(quality, dtype=np.float64), np.asarray(cost, dtype=np.float64)
        best = int(marks.mean(axis=0).argmax())
        return Outturn(
            cost=float(_picked(prices, self.chosen).sum()),
            quality=float(_picked(marks, self.chosen).mean()),
            single_cost=prices.sum(axis=0),
            single_quality=marks.mean(axis=0),
            best=best,
            points=realised(self.front, marks, prices),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Outturn:
    """What an allotment really costs and makes.

    Attributes:
        cost: Of the whole batch.
        quality: Mean over the batch.
        single_cost: What each model alone would cost, shape (m,).
        single_quality: What each model alone would make, shape (m,).
        best: Place of the best single model.
        points: Real (cost, quality) of the front's points, shape (k, 2).
    """

    cost: float
    quality: float
    single_cost: Floats
    single_quality: Floats
    best: int
    points: Floats

    @property
    def cost_to_match(self) -> float | None:
        """The lowest real cost on the front with the best single model's quality; None where no point has it.

        Found by looking at the outcomes, as OptLLM's published savings are.
        """
        enough = self.points[:, 1] >= self.single_quality[self.best] - 1e-12
        return float(self.points[enough, 0].min()) if enough.any() else None


def allocate(
    queries: Sequence[str],
    models: SuccessModels,
    *,
    budget: float | None = None,
    accuracy: float | None = None,
    cost: npt.ArrayLike | None = None,
    exact: bool = False,
) -> Allotment:
    """Who answers what: the best within a budget, or the cheapest that is expected to reach an accuracy.

    Args:
        queries: Texts, length n.
        models: From ``fit_success_models``.
        budget: At most this total cost, in the currency of the costs that were learned from.
        accuracy: At least this mean of predicted success, in [0, 1].
        cost: Costs where they are known, NaN where they are to be predicted, shape (n, m); None to predict all.
        exact: Search for the integer optimum with HiGHS; it gains less than the front's next step.

    Raises:
        KnobError: Not exactly one of ``budget`` and ``accuracy`` is given, or it cannot be kept.
        OutcomeError: No query, or costs that do not fit.
        MissingExtraError: ``exact`` is asked for and scipy is not installed.
    """
    forecast = models.forecast(queries, cost)
    chosen = allocate_arrays(forecast.success, forecast.cost, budget=budget, accuracy=accuracy, exact=exact)
    return Allotment(models.models, chosen, forecast, allocation_front(forecast.success, forecast.cost))


def _picked(values: Floats, chosen: Ints) -> Floats:
    picked: Floats = values[np.arange(len(chosen)), chosen]
    return picked
