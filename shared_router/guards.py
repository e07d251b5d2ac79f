"""What overrides the score.

A guard looks at what is asked, never at the score, and names the one model that must answer, or passes. Guards are
asked in order before anything is scored; the first that speaks decides, so a forced call costs no scoring.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared_router.knob import Knob
from shared_router.records import Target

__all__ = ["Verdict", "forced_route", "verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A guard's word.

    Attributes:
        target: The model that must answer.
        reason: Why, as one lower-case word that ends up in ``RoutingDecision.reason``.
    """

    target: Target
    reason: str


def forced_route(knob: Knob) -> Verdict | None:
    """The user said ``route="small"`` or ``route="large"``."""
    return Verdict(knob.forced, "forced") if knob.forced is not None else None


def verdict(knob: Knob) -> Verdict | None:
    """The first guard's word, or None if the score decides."""
    return forced_route(knob)
