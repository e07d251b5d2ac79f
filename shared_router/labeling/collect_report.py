"""What a collection tells of itself: while it goes on, and when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared_router.records import Target

__all__ = ["CollectReport", "FailedCall", "ModelReport", "Progress"]


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call that was given up; the next run asks again.

    Attributes:
        id: The prompt's.
        target: Which model.
        sample: Which of its samples.
        message: What went wrong.
    """

    id: str
    target: Target
    sample: int
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection is.

    Attributes:
        done: Calls recorded, earlier runs included.
        total: Calls wanted.
        new: Calls recorded in this run.
        failed: Calls given up in this run.
        cost_usd: What all recorded calls cost, as far as it is known.
        stopping: Whether only calls under way are waited for.
    """

    done: int
    total: int
    new: int
    failed: int
    cost_usd: float
    stopping: bool


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was asked of one model. Sums are over all recorded calls for these prompts, earlier runs included.

    Attributes:
        model: Its name.
        wanted: Calls wanted: prompts × samples.
        recorded: Of these, calls recorded.
        new: Calls recorded in this run.
        failed: Calls given up in this run.
        retries: Requests beyond the first of a call, in this run.
        input_tokens: Sum, as far as it is known.
        output_tokens: Likewise.
        cost_usd: Likewise.
        unpriced: Recorded calls whose cost is not known.
        cut: Answers of this run that were cut off at their greatest length.
        empty: Recorded answers without text.
        served: Names under which the model answered; more than one if the endpoint changed it meanwhile.
    """

    model: str
    wanted: int
    recorded: int
    new: int
    failed: int
    retries: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: int
    cut: int
    empty: int
    served: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Calls that are not recorded."""
        return self.wanted - self.recorded


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What came of a collection.

    Attributes:
        out: The file of outcomes.
        small: The small model's calls.
        large: The large model's.
        failures: Calls given up in this run.
        stopped: Why the run ended before all was asked; empty if it did not.
        interrupted: Whether that was a signal.
        cut: Bytes of an unfinished line at the end of the file, which were cut off.
        others: Rows in the file for other prompts or further samples; they stay.
    """

    out: Path
    small: ModelReport
    large: ModelReport
    failures: tuple[FailedCall, ...]
    stopped: str
    interrupted: bool
    cut: int
    others: int

    @property
    def missing(self) -> int:
        """Calls that are not recorded; the same call to ``collect`` asks them."""
        return self.small.missing + self.large.missing
