"""A batch's cost–quality front as a PNG, drawn by matplotlib without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from shared_router.errors import MissingExtraError

__all__ = ["front_png"]

EXPECTED, REAL, CHOSEN, SINGLE = "#0072b2", "#009e73", "#d55e00", "#6a737d"
"""Colours that the colour-blind can tell apart (Okabe and Ito 2008)."""


def front_png(
    expected: npt.NDArray[Any],
    chosen: tuple[float, float],
    *,
    real: npt.NDArray[Any] | None = None,
    singles: Sequence[tuple[str, float, float]] = (),
) -> bytes:
    """The front with the assignment that was chosen.

    Args:
        expected: The front by what is predicted, (cost, quality), shape (k, 2).
        chosen: Expected cost and quality of the assignment.
        real: What the front's points really cost and make, shape (k, 2); None where nobody knows.
        singles: Name, cost and quality of each model alone.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError('drawing needs matplotlib: pip install "hybrid-llm[train]"') from error
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(expected[:, 0], expected[:, 1], color=EXPECTED, label="expected")
    if real is not None:
        axes.plot(real[:, 0], real[:, 1], color=REAL, linestyle=(0, (5, 2)), label="real")
    axes.plot(*chosen, "o", color=CHOSEN, label="chosen")
    for number, (name, cost, quality) in enumerate(singles):
        axes.plot(cost, quality, "x", color=SINGLE, label="one model for all" if not number else None)
        # a dollar sign would begin a formula
        axes.annotate(name.replace("$", r"\$"), (cost, quality), fontsize=7, color=SINGLE)
    axes.set_xlabel("total cost")
    axes.set_ylabel("mean quality")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=110, metadata={"Software": None})
    return written.getvalue()
