"""Outcomes of N experts: answers of many models (``shared_router.tables.answers``) where all have answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.tables.answers import Answers

__all__ = ["ExpertOutcomes", "expert_outcomes"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ExpertOutcomes:
    """n prompts, each answered by m experts.

    Attributes:
        prompts: Length n.
        experts: Names, length m ≥ 2.
        quality: Finite, shape (n, m).
        cost: Of one answer, finite and ≥ 0, shape (n, m); zeros where nobody knows.
        groups: A number for each group of prompts, shape (n,).
        has_costs: Costs were given.
        incomplete: Prompts that were left out because an expert's answer is missing.
        skipped: What was wrong with each row that was left out.
    """

    prompts: tuple[str, ...]
    experts: tuple[str, ...]
    quality: Floats
    cost: Floats
    groups: npt.NDArray[np.int64]
    has_costs: bool = True
    incomplete: int = 0
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse arrays of other shapes, and what is no number."""
        shape = (len(self.prompts), len(self.experts))
        if self.quality.shape != shape or self.cost.shape != shape or self.groups.shape != shape[:1]:
            raise OutcomeError(
                f"quality and cost have shape {shape}, groups {shape[:1]}, got {self.quality.shape}, "
                f"{self.cost.shape}, {self.groups.shape}"
            )
        if len(self.experts) < 2 or not self.prompts:
            raise OutcomeError(
                f"outcomes are some prompts that at least two experts have answered, got {shape[0]} prompts and "
                f"{shape[1]} experts"
            )
        if not np.isfinite(self.quality).all() or not np.isfinite(self.cost).all() or (self.cost < 0.0).any():
            raise OutcomeError("qualities are finite numbers, costs are finite numbers of at least 0")

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, rows: npt.NDArray[np.int64]) -> ExpertOutcomes:
        """The same for some of the prompts.

        Args:
            rows: Their places, shape (k,).
        """
        prompts = tuple(self.prompts[row] for row in rows.tolist())
        return ExpertOutcomes(
            prompts, self.experts, self.quality[rows], self.cost[rows], self.groups[rows], self.has_costs
        )


def expert_outcomes(answers: Answers) -> ExpertOutcomes:
    """The prompts that all models have answered.

    Prompts that lack an answer are left out and counted: whom to send them to could not be judged fairly.

    Args:
        answers: With a quality each; with a cost each, or with none at all.

    Raises:
        OutcomeError: No prompt was answered by all, or some costs are known and some are not.
    """
    complete = np.flatnonzero(answers.complete)
    if not complete.size:
        raise OutcomeError(f"no prompt has a quality for all of {', '.join(answers.models)}")
    whole = answers.part(complete)
    known = np.isfinite(whole.cost)
    if known.any() and not known.all():
        raise OutcomeError(
            f"{int(known.sum())} of {known.size} answers have a cost; give it for all of them, or for none"
        )
    return ExpertOutcomes(
        prompts=whole.queries,
        experts=whole.models,
        quality=whole.quality,
        cost=np.where(known, whole.cost, 0.0),
        groups=whole.groups,
        has_costs=bool(known.all()),
        incomplete=len(answers) - len(whole),
        skipped=answers.skipped,
    )
