"""What an answer of each of many models will cost: by prices, or by what answers have cost so far.

Learned costs are a ridge on their logarithm, since the lengths of answers differ by factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.tables.answers import Answers
from shared_router.token_estimate import estimated_tokens

__all__ = ["AnswerCosts", "Price"]

Floats = npt.NDArray[np.float64]

Price: TypeAlias = tuple[float, float]
"""Of a million tokens: (input, output)."""

PER_PRICE = 1_000_000

PENALTY = 10.0
"""Of the ridge, for rows of about unit length."""

LOWEST_COST = 1e-12
"""What a free answer counts as where logarithms are taken."""


@dataclass(frozen=True, slots=True, eq=False)
class AnswerCosts:
    """Columns of texts → what each of m models will cost.

    Attributes:
        weight: Of the logarithm of the cost, shape (d, m).
        base: Shape (m,).
        factor: What a prediction from logarithms falls short of the mean, shape (m,).
        price: Of a million tokens, (input, output), shape (m, 2); None where costs were learned.
        output_tokens: Of an answer, shape (m,); looked at with prices only.
    """

    weight: Floats
    base: Floats
    factor: Floats
    price: Floats | None = None
    output_tokens: Floats | None = None

    @classmethod
    def fitted(
        cls, answers: Answers, columns: Floats, prices: Mapping[str, Price] | None, output_tokens: float | None
    ) -> AnswerCosts:
        """From prices where they are given, else from the costs of answers.

        Args:
            answers: n queries and m models.
            columns: Of the queries' texts, shape (n, d).
            prices: Name → price of a million tokens.
            output_tokens: Of an answer, where the answers do not say; looked at with prices only.

        Raises:
            OutcomeError: A model has neither price nor cost, or nobody says how long its answers are.
        """
        if prices is not None:
            return cls._priced(answers, prices, output_tokens)
        if free := [name for name, paid in zip(answers.models, answers.cost.T, strict=True) if np.isnan(paid).all()]:
            raise OutcomeError(
                f"no answer of {', '.join(free)} has a cost; add a column cost, or give prices of a million tokens"
            )
        weights, bases, factors = [], [], []
        for paid in answers.cost.T:
            known = ~np.isnan(paid)
            logs = np.log(np.maximum(paid[known], LOWEST_COST))
            base, deviation = logs.mean(), columns[known]
            gram = deviation.T @ deviation + PENALTY * np.eye(columns.shape[1])
            weight = np.linalg.solve(gram, deviation.T @ (logs - base))
            # Duan's smearing estimate (1983): the mean of what an exponential of a mean leaves out
            factor = paid[known].mean() / max(np.exp(deviation @ weight + base).mean(), LOWEST_COST)
            weights.append(weight)
            bases.append(base)
            factors.append(factor)
        return cls(np.stack(weights, axis=1), np.array(bases), np.array(factors))

    @classmethod
    def _priced(cls, answers: Answers, prices: Mapping[str, Price], output_tokens: float | None) -> AnswerCosts:
        missing = [name for name in answers.models if name not in prices]
        if missing:
            raise OutcomeError(f"no price is given for {', '.join(missing)}")
        m = len(answers.models)
        known = ~np.isnan(answers.output_tokens)
        counts = known.sum(axis=0)
        told = np.where(known, answers.output_tokens, 0.0).sum(axis=0)
        tokens = np.divide(told, counts, out=np.full(m, np.nan), where=counts > 0)
        tokens = np.where(np.isnan(tokens), np.nan if output_tokens is None else output_tokens, tokens)
        if np.isnan(tokens).any():
            raise OutcomeError("with prices, say how many tokens an answer has, or add a column output_tokens")
        price = np.array([prices[name] for name in answers.models], dtype=np.float64)
        return cls(np.zeros((0, m)), np.zeros(m), np.ones(m), price, tokens)

    def predict(self, columns: Floats, queries: Sequence[str]) -> Floats:
        """Expected cost, ≥ 0, shape (n, m)."""
        if self.price is not None and self.output_tokens is not None:
            sent = np.array([estimated_tokens(text) for text in queries])
            costs: Floats = (sent[:, None] * self.price[:, 0] + self.output_tokens * self.price[:, 1]) / PER_PRICE
            return costs
        logs: Floats = columns @ self.weight + self.base
        return np.exp(logs) * self.factor
