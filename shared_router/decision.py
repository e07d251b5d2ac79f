"""The routing decision, and the pure function that makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared_router.guards import Call, Verdict
from shared_router.knob import PROMISES, Knob, OperatingPoint
from shared_router.records import JSON, Target

__all__ = ["RoutingDecision", "decide", "overridden"]

THRESHOLD_REASONS = frozenset({"score", "switch_cost", "uncertified"})
"""Reasons that rest on a threshold that was looked up."""


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Which model answers one call, and why.

    Attributes:
        target: "small" or "large".
        reason: "score" where the difficulty decided; "switch_cost" where staying was worth more; "uncertified" where a
            confidence was asked for that no threshold has, so that the large model answers; "drift" where the traffic
            is no longer that of the calibration set; "budget" where a limit kept it from the large model, or the
            budget of its batch decided; a guard's word ("forced", "modality", "tools", "structured_output",
            "context_window", "sticky"); "router_error" or "router_timeout" where the router could not say; "fallback"
            after the first model failed. Of a cascade: "cascade" while the small model is asked first, then
            "confident" or "uncertain".
        difficulty: Calibrated difficulty in [0, 1]; None where nothing was scored.
        threshold: The cut that was applied; None where nothing was compared.
        knob: The wish that held for this call.
        router_id: Which router decided: name and content hash of its artifact, or the callable's name.
        calibrated: True only if the threshold stems from outcomes of the user's own pair of models, and the traffic
            has not drifted from where they were measured.
        large_share: Share of calls that went to the large model at this cut where the curve was measured; None without
            a curve.
        failed: After a fallback, the model that failed first and its error's class; None otherwise.
        certified: True only if a certificate with the knob's confidence holds for the threshold.
        uncertainty: Of the small model's answer in [0, 1], which is what the threshold then cuts; None outside a
            cascade, and before that answer.
        asked: The models that a cascade asked for this call, in order, once for each answer; empty outside one.
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
    certified: bool = False
    uncertainty: float | None = None
    asked: tuple[Target, ...] = ()

    def after_failure(self, error: BaseException) -> RoutingDecision:
        """The decision to ask the other model once, after the first one failed before its first token.

        Args:
            error: What the first model raised; only its class name is kept.
        """
        other: Target = "small" if self.target == "large" else "large"
        return replace(self, target=other, reason="fallback", failed=f"{self.target}: {type(error).__name__}")

    def after_drift(self, safer: OperatingPoint | None) -> RoutingDecision:
        """The decision where the traffic has left what the threshold was measured on.

        Only decisions that a threshold made for the user change; what a guard, a budget or a raw threshold demanded
        stays.

        Args:
            safer: An operating point to work at until the router is calibrated again; where it sends a query to the
                large model, the large one answers. None to stay where it was, and only say so.
        """
        if self.reason not in THRESHOLD_REASONS or self.knob.name not in PROMISES or self.difficulty is None:
            return self
        up = safer is not None and self.difficulty >= safer.threshold
        return replace(
            self,
            target="large" if up else self.target,
            reason="drift",
            threshold=safer.threshold if up and safer is not None else self.threshold,
            large_share=None,
            calibrated=False,
            certified=False,
        )

    def over_limit(self) -> RoutingDecision:
        """The decision where a limit does not let the call go to the large model."""
        return replace(self, target="small", reason="budget", large_share=None, certified=False)

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
            "knob": dict(self.knob.settings),
            "router": self.router_id,
            "calibrated": self.calibrated,
            **({"certified": self.certified} if self.knob.confidence is not None else {}),
            **({"failed": self.failed} if self.failed is not None else {}),
            **({"uncertainty": self.uncertainty} if self.uncertainty is not None else {}),
            **({"asked": list(self.asked)} if self.asked else {}),
        }


def decide(
    difficulty: float, point: OperatingPoint, call: Call, *, router_id: str, calibrated: bool
) -> RoutingDecision:
    """Large iff difficulty ≥ threshold (RouteLLM's convention: Ong et al. 2024, §3).

    Where switching has a cost, the model that answered last stays unless the difficulty lies on the other side of the
    threshold by at least that much; the reason is then "switch_cost".
    """
    target: Target = "large" if difficulty >= point.threshold else "small"
    reason = "uncertified" if point.certificate == "uncertified" else "score"
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
        calibrated=calibrated and point.certificate != "uncertified",
        large_share=point.large_share,
        # a certificate covers the threshold, not a choice beside it
        certified=point.certificate == "certified" and reason == "score",
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
