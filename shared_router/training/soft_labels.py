"""Labelled prompts → what the paper's router learns from: one soft label a prompt (Ding et al. 2024, §3.1 to §3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from shared_router.errors import HybridError, OutcomeError
from shared_router.labeling.labels import (
    ROUNDING,
    default_grid,
    deterministic_labels,
    gini_mean_difference,
    transformed_labels,
)
from shared_router.tables.labeled import LabeledPrompts

__all__ = ["LABEL_KINDS", "LabelKind", "RouterExamples", "examples_from", "label_kind", "relaxation"]

Floats = npt.NDArray[np.float64]

LabelKind: TypeAlias = Literal["det", "prob", "trans"]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)

SampledLabels: TypeAlias = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class RouterExamples:
    """n prompts with what is to be learned about them.

    Attributes:
        texts: The prompts, length n ≥ 1.
        labels: How probably the small model is good enough, in [0, 1], the paper's orientation, shape (n,).
        gap: Mean quality of the small model less the large one's, by which checkpoints are compared, shape (n,).
    """

    texts: tuple[str, ...]
    labels: Floats
    gap: Floats

    def __post_init__(self) -> None:
        """Reject arrays that do not fit each other.

        Raises:
            OutcomeError: Other shapes than (n,), NaN, or a label outside [0, 1].
        """
        shapes = {"texts": (len(self.texts),), "labels": self.labels.shape, "gap": self.gap.shape}
        if len(set(shapes.values())) != 1 or not self.texts:
            raise OutcomeError(f"texts, labels and gap are of one length n ≥ 1, got {shapes}")
        # written so that NaN fails it
        if not ((self.labels >= 0.0) & (self.labels <= 1.0)).all() or not np.isfinite(self.gap).all():
            raise OutcomeError("labels lie in [0, 1] and gaps are finite; some are not, or are NaN")


def label_kind(name: str) -> LabelKind:
    """A kind of labels by its name.

    Raises:
        HybridError: There is no such kind.
    """
    for kind in LABEL_KINDS:
        if name == kind:
            return kind
    raise HybridError(f"labels are {', '.join(LABEL_KINDS)}, got {name!r}")


def _over_samples(labeled: LabeledPrompts, labels: SampledLabels) -> Floats:
    """Labels of prompts that were answered a different number of times: rows of one shape go together."""
    by_shape: dict[tuple[int, int], list[int]] = {}
    for row, (small, large) in enumerate(zip(labeled.small_samples, labeled.large_samples, strict=True)):
        by_shape.setdefault((len(small), len(large)), []).append(row)
    found = np.empty(len(labeled))
    for rows in by_shape.values():
        ours = np.array([labeled.small_samples[row] for row in rows])
        theirs = np.array([labeled.large_samples[row] for row in rows])
        found[rows] = labels(ours, theirs)
    return found


def relaxation(labeled: LabeledPrompts, kind: LabelKind) -> float:
    """How much worse than the large model the small one may be and still be good enough.

    Args:
        labeled: The prompts that teach; t* is searched on them alone.
        kind: "trans" for t* of §3.3, where the labels' Gini mean difference is largest, over the 50 points of
            ``default_grid``; of equally good ones the smallest. "det" and "prob" for 0.

    Returns:
        t ≥ 0 in units of quality.

    Raises:
        HybridError: There is no such kind.
    """
    if label_kind(kind) != "trans":
        return 0.0
    largest = float(
        _over_samples(labeled, lambda small, large: np.full(len(small), default_grid(small, large)[-1])).max()
    )
    grid = np.linspace(0.0, largest, 50) if largest > 0.0 else np.zeros(1)
    spreads = np.array([gini_mean_difference(_labels_at(labeled, float(t))) for t in grid])
    return float(grid[np.flatnonzero(spreads >= spreads.max() - ROUNDING)[0]])


def _labels_at(labeled: LabeledPrompts, t: float) -> Floats:
    return _over_samples(labeled, lambda small, large: transformed_labels(small, large, t))


def examples_from(labeled: LabeledPrompts, kind: LabelKind, t: float) -> RouterExamples:
    """The examples that labelled prompts make.

    Args:
        labeled: n prompts with the quality of each sampled answer; the numbers of samples may differ from row to row.
            The authors' code reads the first ten of them, this reads all; "det" reads the first one.
        kind: "det", "prob" or "trans".
        t: From ``relaxation`` on the prompts that teach, so that validation prompts get labels of the same meaning.

    Raises:
        HybridError: There is no such kind.
    """
    labels = _over_samples(labeled, deterministic_labels) if label_kind(kind) == "det" else _labels_at(labeled, t)
    return RouterExamples(labeled.prompts, labels, labeled.small - labeled.large)
