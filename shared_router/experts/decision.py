"""Which expert answers one call, and why: as the router ranks them, and as it came about."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared_router.records import JSON

__all__ = ["Choice", "ExpertDecision"]


@dataclass(frozen=True, slots=True)
class ExpertDecision:
    """Which expert answers one call, and why.

    Attributes:
        expert: Its name.
        reason: "cluster" where the query's cluster decided; "router" where the user's function did, and a difficulty
            router's own word ("score", "uncertified") where one did; "unknown_text" where nothing of the text is
            known; "spill" where the experts before it were busy; "forced"; what the preferred expert lacks
            ("modality", "tools", "structured_output", "context_window"); "router_error" where the router could not
            say; "fallback" after an expert failed.
        cluster: The query's cluster; None where none was looked for or found.
        distance: From the cluster's centre, in [0, 2]: vectors have length 1.
        preferred: The expert that the router named first, whoever answers.
        waited: Seconds in a queue.
        router_id: Which router decided.
        failed: After a fallback, the expert that failed first and its error's class; None otherwise.
    """

    expert: str
    reason: str
    cluster: int | None
    distance: float | None
    preferred: str
    waited: float
    router_id: str
    failed: str | None = None

    @property
    def target(self) -> str:
        """The expert, under the name that decisions between two models have for it."""
        return self.expert

    def as_metadata(self, model_name: str) -> dict[str, JSON]:
        """The decision as both plug-ins put it on a response: plain JSON values only, never the query's text.

        Args:
            model_name: Name of the model that answered.
        """
        return {
            "target": self.expert,
            "expert": self.expert,
            "model": model_name,
            "reason": self.reason,
            "cluster": self.cluster,
            "distance": self.distance,
            "preferred": self.preferred,
            "waited": round(self.waited, 6),
            "router": self.router_id,
            **({"failed": self.failed} if self.failed is not None else {}),
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to ask, before it is known who has time.

    Attributes:
        ranking: Experts that may answer, best first; at least one.
        reason: Why the first of them is the first.
        preferred: The expert that the router named first.
        router_id: Which router decided.
        cluster: The query's cluster, if any.
        distance: From its centre.
        failed: As in ``ExpertDecision``.
        spills: Others than the first may take over where that one is busy.
    """

    ranking: tuple[str, ...]
    reason: str
    preferred: str
    router_id: str
    cluster: int | None = None
    distance: float | None = None
    failed: str | None = None
    spills: bool = True

    def taken(self, expert: str, waited: float) -> ExpertDecision:
        """The decision, once an expert has taken the call.

        Args:
            expert: One of the ranking.
            waited: Seconds that the call waited for it.
        """
        return ExpertDecision(
            expert=expert,
            reason=self.reason if expert == self.ranking[0] else "spill",
            cluster=self.cluster,
            distance=self.distance,
            preferred=self.preferred,
            waited=waited,
            router_id=self.router_id,
            failed=self.failed,
        )

    def after_failure(self, expert: str, error: BaseException) -> Choice | None:
        """The choice among the others after an expert failed before its first token.

        Args:
            expert: Who failed.
            error: What it raised; only its class name is kept.

        Returns:
            None after a fallback, where nobody else is left, and where the user demanded this very expert.
        """
        others = tuple(name for name in self.ranking if name != expert)
        if self.failed is not None or not others or not self.spills:
            return None
        return replace(self, ranking=others, reason="fallback", failed=f"{expert}: {type(error).__name__}")
