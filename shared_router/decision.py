"""The routing decision, and the pure function that makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared_router.guards import Call, Verdict
from shared_router.knob import Knob, OperatingPoint
from shared_router.records import JSON, Target

__all__ = ["RoutingDecision", "decide", "overridden"]


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Which model answers one call, and why.

    Attributes:
        target: "small" or "large".
        reason: "score" where the difficulty decided; "switch_cost" where staying was worth more; a guard's word
            ("forced", "modality", "tools", "structured_output", "context_window", "sticky"); "router_error" or
            "router_timeout" where the router could not say; "fallback" after the first model failed.
        difficulty: Calibrated difficulty in [0, 1]; None where nothing was scored.
        threshold: The cut that was applied; None where nothing was compared.
        knob: The wish that held for this call.
        router_id: Which router decided: name and content hash of its artifact, or the callable's name.
        calibrated: True only if the threshold stems from a curve measured on the user's own pair of models.
        large_share: Share of calls that went to the large model at this cut where the curve was measured; None without
            a curve.
        failed: After a fallback, the model that failed first and its error's class; None otherwise.
    """

    target: Target
    reason: str
    difficulty: float | None
    threshold: float | None
    knob: Knob
    router_id: str
    calibrated: bool
    large_share: float | None = None
    failed: str | None = None

    def after_failure(self, error: BaseException) -> RoutingDecision:
        """The decision to ask the other model once, after the first one failed before its first token.

        Args:
            error: What the first model raised; only its class name is kept.
        """
        other: Target = "small" if self.target == "large" else "large"
        return replace(self, target=other, reason="fallback", failed=f"{self.target}: {type(error).__name__}")

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
            **({"failed": self.failed} if self.failed is not None else {}),
        }


def decide(
    difficulty: float, point: OperatingPoint, call: Call, *, router_id: str, calibrated: bool
) -> RoutingDecision:
    """Large iff difficulty ≥ threshold (RouteLLM's convention: Ong et al. 2024, §3).

    Where switching has a cost, the model that answered last stays unless the difficulty lies on the other side of the
    threshold by at least that much; the reason is then "switch_cost".
    """
    target: Target = "large" if difficulty >= point.threshold else "small"
    reason = "score"
    switches = call.previous is not None and call.previous != target
    if switches and call.stickiness.outweighs(abs(difficulty - point.threshold)):
        target, reason = call.previous or target, "switch_cost"
    return RoutingDecision(
        target=target,
        reason=reason,
        difficulty=difficulty,
        threshold=point.threshold,
        knob=call.knob,
        router_id=router_id,
        calibrated=calibrated,
        large_share=point.large_share,
    )


def overridden(verdict: Verdict, call: Call, *, router_id: str) -> RoutingDecision:
    """The decision where a guard spoke and nothing was scored."""
    return RoutingDecision(
        target=verdict.target,
        reason=verdict.reason,
        difficulty=None,
        threshold=None,
        knob=call.knob,
        router_id=router_id,
        calibrated=False,
    )
