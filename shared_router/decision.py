"""The routing decision, and the pure function that makes it."""

from __future__ import annotations

from dataclasses import dataclass

from shared_router.guards import Verdict
from shared_router.knob import Knob, OperatingPoint
from shared_router.records import JSON, Target

__all__ = ["RoutingDecision", "decide", "overridden"]


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Which model answers one call, and why.

    Attributes:
        target: "small" or "large".
        reason: "score" where the difficulty decided, else the guard's word ("forced", "router_error", …).
        difficulty: Calibrated difficulty in [0, 1]; None where nothing was scored.
        threshold: The cut that was applied; None where nothing was compared.
        knob: The wish that held for this call.
        router_id: Which router decided: name and content hash of its artifact, or the callable's name.
        calibrated: True only if the threshold stems from a curve measured on the user's own pair of models.
        large_share: Share of calls that went to the large model at this cut where the curve was measured; None without
            a curve.
    """

    target: Target
    reason: str
    difficulty: float | None
    threshold: float | None
    knob: Knob
    router_id: str
    calibrated: bool
    large_share: float | None = None

    def as_metadata(self, model_name: str) -> dict[str, JSON]:
        """The decision as both plug-ins put it on a response: plain JSON values only, never the query's text.

        Args:
            model_name: Name of the model that answered.
        """
        return {
            "target": self.target,
            "model": model_name,
            "difficulty": self.difficulty,
            "threshold": self.threshold,
            "reason": self.reason,
            "knob": {self.knob.name: self.knob.value},
            "router": self.router_id,
            "calibrated": self.calibrated,
        }


def decide(
    difficulty: float, point: OperatingPoint, knob: Knob, *, router_id: str, calibrated: bool
) -> RoutingDecision:
    """Large iff difficulty ≥ threshold (architecture §4; RouteLLM's convention, Ong et al. §3)."""
    return RoutingDecision(
        target="large" if difficulty >= point.threshold else "small",
        reason="score",
        difficulty=difficulty,
        threshold=point.threshold,
        knob=knob,
        router_id=router_id,
        calibrated=calibrated,
        large_share=point.large_share,
    )


def overridden(verdict: Verdict, knob: Knob, *, router_id: str) -> RoutingDecision:
    """The decision where a guard spoke and nothing was scored."""
    return RoutingDecision(
        target=verdict.target,
        reason=verdict.reason,
        difficulty=None,
        threshold=None,
        knob=knob,
        router_id=router_id,
        calibrated=False,
    )
