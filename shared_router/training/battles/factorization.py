"""Battles → the factors of ``shared_router.scorers.matrix_factorization``, by Adam on the Bradley–Terry loss.

What is RouteLLM's (arXiv 2406.18665, §4.2 and appendix; its training script): the model, k = 128, vectors of models at
length 1, Adam at 3e-4 with weight decay 1e-5, batches of 64, noise of 0.1 on the query's vector in training, 5 % held
out. What is not, and why:

- The bias b stands in the paper and not in the code; it is here. Without it a model's overall strength has no place but
  the queries' common direction.
- Ties are dropped in the code. Here they count as half a win for either side, unless ``ties="drop"``: they say that the
  small model is good enough.
- The code splits battles, here prompts are split: two battles over one prompt lie on one side.
- The code trains for 100 epochs and the paper speaks of about 10. Here the held-out loss decides: training ends when it
  has not fallen for ``patience`` epochs, and the best epoch's factors are kept. RouteLLM's 65,000 battles make a
  thousand steps an epoch; of a few hundred battles an epoch is as many passes as make ``EPOCH_STEPS`` steps, so that
  the same rate learns from them too.
- Queries' directions are centred and brought to a mean square length of 1 over the training prompts, so that 0.1 is as
  much noise for one encoder as for another. Both are folded into P and b afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.scorers.bradley_terry import sigmoid
from shared_router.scorers.matrix_factorization import Factors
from shared_router.tables.battles import Battles

__all__ = [
    "FactorizationSettings",
    "FittedFactors",
    "Parameters",
    "StepRows",
    "fit_factors",
    "gradients",
    "log_loss",
    "started",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EPOCH_STEPS = 200
"""Steps of an epoch at least."""

FIRST_MOMENT, SECOND_MOMENT, EPSILON = 0.9, 0.999, 1e-8
"""Adam's (Kingma & Ba 2015, algorithm 1)."""


@dataclass(frozen=True, slots=True)
class FactorizationSettings:
    """How factors are learned.

    Attributes:
        dimensions: k, ≥ 1.
        epochs: At most, ≥ 1; each goes over all battles, and over few of them several times.
        patience: Epochs without a lower held-out loss after which training ends, ≥ 1.
        batch: Battles a step, ≥ 1.
        rate: Adam's step, above 0.
        decay: Squared length of all parameters that is added to the loss, halved, ≥ 0.
        noise: Standard deviation of what is added to each part of a query's vector in training, ≥ 0.
        ties: "half" a win for either side, or "drop".
        seed: Same seed, same factors.

    Raises:
        OutcomeError: A setting is out of range.
    """

    dimensions: int = 128
    epochs: int = 100
    patience: int = 10
    batch: int = 64
    rate: float = 3e-4
    decay: float = 1e-5
    noise: float = 0.1
    ties: Literal["half", "drop"] = "half"
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject settings with which nothing could be learned."""
        counts = (self.dimensions, self.epochs, self.patience, self.batch)
        if min(counts) < 1 or not self.rate > 0.0 or not min(self.decay, self.noise) >= 0.0:
            raise OutcomeError(f"counts are at least 1, the rate is above 0, decay and noise are not below; got {self}")
        if self.ties not in ("half", "drop"):
            raise OutcomeError(f'ties count "half" or "drop" out, got {self.ties!r}')


@dataclass(frozen=True, slots=True)
class FittedFactors:
    """Factors, and how they came about.

    Attributes:
        factors: Of the best epoch.
        epoch: Which that was, from 1.
        held_out_loss: Mean negative log likelihood on the held-out battles at that epoch.
    """

    factors: Factors
    epoch: int
    held_out_loss: float


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is learned, before vectors are brought to length 1.

    Attributes:
        vectors: One a model, not 0, shape (m, k).
        projection: Shape (d, k).
        bias: Shape (k,).
        weight: Shape (k,).
    """

    vectors: Floats
    projection: Floats
    bias: Floats
    weight: Floats

    def arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        """All four."""
        return self.vectors, self.projection, self.bias, self.weight


@dataclass(frozen=True, slots=True)
class StepRows:
    """Battles of a step: queries' vectors (b, d), who met (b, m; +1 and −1), share of the win (b,), weight (b,)."""

    queries: Floats
    met: Floats
    won: Floats
    weight: Floats


def started(models: int, width: int, dimensions: int, generator: np.random.Generator) -> Parameters:
    """Random parameters, spread as PyTorch spreads those of embeddings and linear layers.

    Args:
        models: m.
        width: d.
        dimensions: k.
        generator: Source of chance.
    """
    bound, inner = 1.0 / np.sqrt(width), 1.0 / np.sqrt(dimensions)
    return Parameters(
        vectors=generator.normal(size=(models, dimensions)),
        projection=generator.uniform(-bound, bound, size=(width, dimensions)),
        bias=generator.uniform(-bound, bound, size=dimensions),
        weight=generator.uniform(-inner, inner, size=dimensions),
    )


def log_loss(logits: Floats, won: Floats) -> Floats:
    """Negative log likelihood of each battle; a tie is half of either result.

    Args:
        logits: Logarithm of the odds that the first model wins, shape (n,).
        won: Its share of the win, in [0, 1], shape (n,).
    """
    result: Floats = np.logaddexp(0.0, logits) - won * logits
    return result


def gradients(parameters: Parameters, rows: StepRows) -> Parameters:
    """Gradient of the weighted mean loss of some battles.

    Args:
        parameters: Where.
        rows: The battles.
    """
    vectors, projection, bias, weight = parameters.arrays()
    length = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    units = vectors / length
    between = rows.met @ units
    hidden = rows.queries @ projection + bias
    effects = hidden * weight
    logits = (between * effects).sum(axis=1)
    of_logit = (rows.weight * (sigmoid(logits) - rows.won) / rows.weight.sum())[:, None]
    of_hidden = of_logit * between * weight
    of_units = rows.met.T @ (of_logit * effects)
    # only what turns a vector changes its unit vector
    along = (of_units * units).sum(axis=1, keepdims=True)
    return Parameters(
        vectors=(of_units - along * units) / length,
        projection=rows.queries.T @ of_hidden,
        bias=of_hidden.sum(axis=0),
        weight=(of_logit * between * hidden).sum(axis=0),
    )


class _Adam:
    def __init__(self, parameters: Parameters, settings: FactorizationSettings) -> None:
        self.settings = settings
        self.step = 0
        self.first = [np.zeros_like(array) for array in parameters.arrays()]
        self.second = [np.zeros_like(array) for array in parameters.arrays()]

    def update(self, parameters: Parameters, slope: Parameters) -> None:
        """Change the parameters in place."""
        self.step += 1
        rate = self.settings.rate * np.sqrt(1.0 - SECOND_MOMENT**self.step) / (1.0 - FIRST_MOMENT**self.step)
        for value, by, first, second in zip(parameters.arrays(), slope.arrays(), self.first, self.second, strict=True):
            by += self.settings.decay * value
            first += (1.0 - FIRST_MOMENT) * (by - first)
            second += (1.0 - SECOND_MOMENT) * (by * by - second)
            value -= rate * first / (np.sqrt(second) + EPSILON)


def fit_factors(
    directions: npt.NDArray[np.int8],
    learned: Battles,
    held_out: Battles,
    settings: FactorizationSettings | None = None,
    *,
    advance: Callable[[int], None] | None = None,
) -> FittedFactors:
    """Factors of the models of the battles.

    Args:
        directions: Of the prompts, shape (p, d).
        learned: Battles to learn from.
        held_out: Battles over other prompts, with the same lists of prompts and models, by which training is stopped.
        settings: How to learn.
        advance: Told the number of each epoch that begins.

    Raises:
        OutcomeError: There is nothing to learn from, or nothing held out.
    """
    settings = settings or FactorizationSettings()
    if settings.ties == "drop":
        learned, held_out = (part.part(part.won != 0.5) for part in (learned, held_out))
    if not len(learned) or not len(held_out):
        raise OutcomeError(
            f"{len(learned)} battles to learn from and {len(held_out)} held out (ties: {settings.ties}); "
            "at least one of either is needed"
        )
    tell = advance or (lambda epoch: None)
    generator = np.random.default_rng(settings.seed)
    asked = np.unique(learned.prompt)
    mean = directions[asked].mean(axis=0)
    scale = float(np.sqrt(((directions[asked] - mean) ** 2).sum(axis=1).mean()))
    queries = (directions - mean) / (scale if scale > 0.0 else 1.0)
    parameters = started(len(learned.models), directions.shape[1], settings.dimensions, generator)
    adam = _Adam(parameters, settings)
    best, best_loss, best_epoch = parameters, np.inf, 0
    for epoch in range(1, settings.epochs + 1):
        tell(epoch)
        for places in _batches(len(learned), settings.batch, generator):
            rows = _rows(queries, learned, places)
            rows.queries[:] += settings.noise * generator.standard_normal(rows.queries.shape)
            adam.update(parameters, gradients(parameters, rows))
        loss = _held_out_loss(parameters, queries, held_out)
        if loss < best_loss:
            best = Parameters(*(array.copy() for array in parameters.arrays()))
            best_loss, best_epoch = loss, epoch
        elif epoch - best_epoch >= settings.patience:
            break
    return FittedFactors(_folded(best, learned.models, mean, scale if scale > 0.0 else 1.0), best_epoch, best_loss)


def _batches(count: int, size: int, generator: np.random.Generator) -> Iterator[Ints]:
    """The places of an epoch's steps."""
    steps = -(-count // size)
    for _ in range(-(-EPOCH_STEPS // steps) if steps < EPOCH_STEPS else 1):
        order = generator.permutation(count)
        for start in range(0, count, size):
            yield order[start : start + size]


def _rows(queries: Floats, battles: Battles, places: Ints) -> StepRows:
    met = np.zeros((len(places), len(battles.models)))
    row = np.arange(len(places))
    met[row, battles.first[places]] = 1.0
    met[row, battles.second[places]] = -1.0
    return StepRows(queries[battles.prompt[places]], met, battles.won[places], battles.weight[places])


def _held_out_loss(parameters: Parameters, queries: Floats, battles: Battles) -> float:
    units = parameters.vectors / np.sqrt((parameters.vectors**2).sum(axis=1, keepdims=True))
    effects = (queries[battles.prompt] @ parameters.projection + parameters.bias) * parameters.weight
    logits = ((units[battles.first] - units[battles.second]) * effects).sum(axis=1)
    return float(np.average(log_loss(logits, battles.won), weights=battles.weight))


def _folded(parameters: Parameters, models: tuple[str, ...], mean: Floats, scale: float) -> Factors:
    projection = parameters.projection / scale
    return Factors(
        models=models,
        vectors=parameters.vectors / np.sqrt((parameters.vectors**2).sum(axis=1, keepdims=True)),
        projection=projection,
        bias=parameters.bias - mean @ projection,
        weight=parameters.weight,
    )
