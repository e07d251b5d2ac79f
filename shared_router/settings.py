"""What a user sets about routing, the same in both plug-ins: checked, and made into a decider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

from shared_router.cascade import Policy
from shared_router.conversations import Conversations
from shared_router.deciding import Decider, Fallback, OnDrift
from shared_router.errors import HybridError, KnobError
from shared_router.guards import MODALITIES, Capabilities, Modality, Stickiness
from shared_router.knob import Knob
from shared_router.limits import Limit
from shared_router.monitor import DriftMonitor, reference_histogram
from shared_router.records import TARGETS, Target
from shared_router.router import Router

__all__ = [
    "CapabilitiesLike",
    "CurrentDecider",
    "StickinessMode",
    "as_capabilities",
    "check_settings",
    "checked",
    "drift_monitor",
]

StickinessMode: TypeAlias = Literal["per_call", "sticky", "switch_cost"]

CapabilitiesLike: TypeAlias = "Capabilities | Mapping[str, Any] | None"
"""What a user states about a model: the value itself, or its fields by name."""


def as_capabilities(stated: CapabilitiesLike) -> Capabilities:
    """What the user states about a model, as a value; nothing stated, nothing known.

    Raises:
        HybridError: A field that does not exist, or a value that does not fit it.
    """
    if stated is None:
        return Capabilities()
    if isinstance(stated, Capabilities):
        return stated
    names = [one.name for one in fields(Capabilities)]
    unknown = [str(name) for name in stated if name not in names] if isinstance(stated, Mapping) else [repr(stated)]
    if unknown:
        raise HybridError(f"a model's capabilities are {', '.join(names)}; got {', '.join(unknown)}")
    values = dict(stated)
    if values.get("modalities") is not None:
        values["modalities"] = _modalities(values["modalities"])
    for name in ("tools", "structured_output"):
        if not isinstance(values.get(name), bool | None):
            raise HybridError(f"{name} is True, False or None (not known), got {values[name]!r}")
    window = values.get("context_window")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window <= 0):
        raise HybridError(f"context_window is a number of tokens, got {window!r}")
    return Capabilities(**values)


def _modalities(stated: Any) -> frozenset[Modality]:
    # a string is a collection too, of its letters
    if isinstance(stated, str) or not set(stated) <= set(MODALITIES):
        raise HybridError(f"modalities are any of {', '.join(MODALITIES)}, got {stated!r}")
    return frozenset(stated)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that do not fit, by name; one that is not given is fine.

    Raises:
        HybridError: One does not fit; the message says what would.
    """
    for name, value in settings.items():
        checked(name, value)


def checked(name: str, value: Any) -> Any:
    """A setting as it is kept.

    Args:
        name: Its name; one that is not about routing is passed on as it is.
        value: What the user gave.

    Raises:
        HybridError: It does not fit; the message says what would.
    """
    check = _CHECKS.get(name)
    return value if check is None else check(name, value)


def _target(name: str, value: Any) -> Any:
    if value not in TARGETS:
        raise HybridError(f'{name} is "small" or "large", got {value!r}')
    return value


def _time_limit(name: str, value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise HybridError(f"{name} is a number of seconds above 0, or None, got {value!r}")
    return value


def _fallback(name: str, value: Any) -> Any:
    if value is not None and value not in get_args(Fallback):
        raise HybridError(f'{name} is "large", "other" or None, got {value!r}')
    return value


def _on_drift(name: str, value: Any) -> Any:
    if value is None or value in ("large", "report"):
        return value
    try:
        return Knob("quality", value).value
    except KnobError as error:
        raise HybridError(f'{name} is "large", "report", a quality from 0 to 1, or None, got {value!r}') from error


def _limit(name: str, value: Any) -> Any:
    if value is not None and not (callable(getattr(value, "admits", None)) and callable(getattr(value, "note", None))):
        raise HybridError(f"{name} is a ShareLimit, a SpendLimit, or None, got {value!r}; see shared_router.limits")
    return value


def _policy(name: str, value: Any) -> Any:
    if value not in get_args(Policy):
        raise HybridError(f'{name} is "route", "cascade" or "route_then_cascade", got {value!r}')
    return value


def _route_threshold(name: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        return Knob("threshold", value).value
    except KnobError as error:
        raise HybridError(f"{name} is a difficulty from 0 to 1, or None, got {value!r}") from error


def _function(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise HybridError(f"{name} is a function, or None, got {value!r}")
    return value


def _capabilities(name: str, value: Any) -> Any:
    return None if value is None else as_capabilities(value)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "on_router_error": _target,
    "router_time_limit": _time_limit,
    "fallback": _fallback,
    "stickiness": lambda name, value: Stickiness(value).mode,
    "switch_cost": lambda name, value: Stickiness(cost=value).cost,
    "on_drift": _on_drift,
    "limit": _limit,
    "policy": _policy,
    "route_threshold": _route_threshold,
    "conversation": _function,
    "judged": _function,
    "small_capabilities": _capabilities,
    "large_capabilities": _capabilities,
}


@dataclass(slots=True)
class CurrentDecider:
    """The decider for the settings that hold now; made anew when one was reassigned, with the same memory.

    What conversations settled on is kept as long as the model lives, what the traffic looked like as long as its
    router.
    """

    _conversations: Conversations = field(default_factory=Conversations)
    _monitored: tuple[Router, DriftMonitor | None] | None = None
    _made: tuple[tuple[Any, ...], Decider] | None = None

    def under(
        self,
        router: Router,
        on_router_error: Target,
        router_time_limit: float | None,
        stickiness: StickinessMode,
        switch_cost: float,
        on_drift: OnDrift | None = None,
        limit: Limit | None = None,
    ) -> Decider:
        """The decider under these settings, the one made before if they are the same.

        Args:
            router: The router.
            on_router_error: Who answers where the router fails or is too slow.
            router_time_limit: Seconds that the router may take.
            stickiness: Whether conversations keep their model.
            switch_cost: What a switch costs, on the scale of the difficulty.
            on_drift: What becomes of promises once the traffic has drifted.
            limit: What the large model may be asked at most.
        """
        settings = (router, on_router_error, router_time_limit, stickiness, switch_cost, on_drift, limit)
        made = self._made
        if made is None or made[0] != settings:
            kept = Stickiness(stickiness, switch_cost)
            decider = Decider(
                router=router,
                on_router_error=on_router_error,
                time_limit=router_time_limit,
                stickiness=kept,
                on_drift=on_drift,
                conversations=self._conversations,
                limit=limit,
                monitor=self.monitor(router),
            )
            made = (settings, decider)
            self._made = made
        return made[1]

    def monitor(self, router: Router) -> DriftMonitor | None:
        """What watches the traffic of a router; None for one without a calibration set, which has nothing to leave."""
        if self._monitored is None or self._monitored[0] is not router:
            self._monitored = (router, drift_monitor(router))
        return self._monitored[1]


def drift_monitor(router: Router) -> DriftMonitor | None:
    """A fresh monitor of the traffic of a router; None for one without a calibration set."""
    known = router.calibration_set
    return None if known is None else DriftMonitor(reference_histogram(known.difficulty.tolist()))
