"""The quality knob → an operating point.

A knob is one wish in the user's own terms; exactly one can be given at a time:

    quality      keep at least this share of what the large model adds over the small one (PGR ≥ quality)
    max_drop     accept at most this relative loss of mean quality against always asking the large model
    large_share  a budget: at most this share of calls goes to the large model
    threshold    the raw cut on the difficulty, for experts
    route        "small" or "large": no routing at all for this call

The first three are turned into a threshold by looking them up on a measured operating curve. To the first two, which
are promises, ``confidence`` may be added: then the threshold is one that keeps the promise with at least that
probability, whatever the traffic looks like (``shared_router.certificate``), instead of one that kept it on a sample.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Literal, TypeAlias, cast, get_args

from shared_router.errors import ArtifactFormatError, KnobError
from shared_router.records import TARGETS, Target

__all__ = [
    "ALWAYS_LARGE",
    "ALWAYS_SMALL",
    "CONFIDENCE",
    "DEFAULT_KNOB",
    "KNOB_NAMES",
    "KNOB_SETTINGS",
    "NEVER_LARGE",
    "PROMISES",
    "Knob",
    "KnobName",
    "OperatingCurve",
    "OperatingPoint",
    "knob_from",
    "operating_point",
    "split_knob",
]

KnobName: TypeAlias = Literal["quality", "max_drop", "large_share", "threshold", "route"]
KNOB_NAMES: tuple[KnobName, ...] = get_args(KnobName)

CONFIDENCE = "confidence"
KNOB_SETTINGS: tuple[str, ...] = (*KNOB_NAMES, CONFIDENCE)
"""Everything that belongs to a knob where it is given as keywords."""

PROMISES = frozenset({"quality", "max_drop"})
"""Knobs that say what is kept, and so can be kept or broken."""

NEVER_LARGE = math.nextafter(1.0, 2.0)
"""The threshold that no difficulty in [0, 1] reaches."""


def _share(name: str, value: object) -> float:
    # a bool is an int to Python, and quality=True is more likely a slip than a wish; numpy's numbers are registered as
    # Real, its bool is not
    if isinstance(value, bool) or not isinstance(value, Real):
        raise KnobError(f"{name} is a number from 0 to 1, got {value!r} of type {type(value).__name__}")
    number = float(value)
    if math.isnan(number):
        raise KnobError(f"{name} is a number from 0 to 1, got NaN")
    if not 0.0 <= number <= 1.0:
        hint = f"; for {number:g} % write {name}={number / 100:g}" if 1.0 < number <= 100.0 else ""
        raise KnobError(f"{name} is a number from 0 to 1, got {number:g}{hint}")
    return number


def _confidence(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise KnobError(f"confidence is a number between 0 and 1, got {value!r} of type {type(value).__name__}")
    number = float(value)
    if not 0.0 < number < 1.0:
        hint = f"; for {number:g} % write confidence={number / 100:g}" if 1.0 < number < 100.0 else ""
        raise KnobError(f"confidence lies between 0 and 1, without the ends, got {number:g}{hint}")
    return number


def _unknown(name: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown knob {name!r}{hint} (there are: {', '.join(known)})"


@dataclass(frozen=True, slots=True)
class Knob:
    """One wish. Build it with ``knob_from`` or directly; both check it.

    Attributes:
        name: Which of the five ways to say it.
        value: A number in [0, 1], or "small" / "large" for ``route``.
        confidence: Probability with which a promise (``quality``, ``max_drop``) shall be kept, in (0, 1); None for what
            was measured on a sample and nothing more.

    Raises:
        KnobError: The name is unknown, or a value is out of range, NaN or of the wrong type, or of a knob that promises
            nothing a confidence is given.
    """

    name: KnobName
    value: float | Target
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Check name and value, and store the number as a plain float."""
        if self.name not in KNOB_NAMES:
            raise KnobError(_unknown(self.name, KNOB_NAMES))
        if self.confidence is not None:
            if self.name not in PROMISES:
                raise KnobError(f"a confidence goes with a promise, quality or max_drop; {self.name} promises nothing")
            object.__setattr__(self, "confidence", _confidence(self.confidence))
        if self.name == "route":
            if self.value not in TARGETS:
                raise KnobError(f'route is "small" or "large", got {self.value!r}')
            return
        object.__setattr__(self, "value", _share(self.name, self.value))

    @property
    def forced(self) -> Target | None:
        """The model that this knob demands, or None if it leaves the choice open."""
        return cast("Target", self.value) if self.name == "route" else None

    @property
    def settings(self) -> dict[str, float | Target]:
        """The knob as keywords, from which ``knob_from`` makes the same one."""
        said: dict[str, float | Target] = {self.name: self.value}
        return said if self.confidence is None else {**said, CONFIDENCE: self.confidence}


DEFAULT_KNOB = Knob("quality", 0.9)
"""What holds where the user says nothing."""


def knob_from(settings: Mapping[str, object]) -> Knob | None:
    """The one knob among keyword settings.

    Args:
        settings: Knob names, or "confidence", to values; a value of None means "not given".

    Returns:
        The knob, or None if none is given.

    Raises:
        KnobError: A name is no knob, two knobs are given at once, a confidence without a promise, or a value does not
            fit.
    """
    for name in settings:
        if name not in KNOB_SETTINGS:
            raise KnobError(_unknown(name, KNOB_SETTINGS))
    given = {name: value for name, value in settings.items() if value is not None}
    confidence = given.pop(CONFIDENCE, None)
    if len(given) > 1:
        said = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise KnobError(f"say it in one way only: {said} were given together; keep one of them")
    for name, value in given.items():
        return Knob(cast("KnobName", name), cast("float", value), cast("float | None", confidence))
    if confidence is not None:
        raise KnobError("confidence says how surely a promise is kept: give quality or max_drop beside it")
    return None


def split_knob(settings: Mapping[str, object]) -> tuple[Knob | None, dict[str, object]]:
    """Take the knob out of a call's keyword arguments.

    Args:
        settings: Keyword arguments of one call, the host's and ours mixed.

    Returns:
        The knob, or None if none was given, and all other arguments, which belong to the chosen model.

    Raises:
        KnobError: Two knobs are given, one is misspelt, or a value does not fit.
    """
    if not settings:  # most calls: looking for knobs costs some microseconds
        return None, {}
    knob = knob_from({name: value for name, value in settings.items() if name in KNOB_SETTINGS})
    others = {name: value for name, value in settings.items() if name not in KNOB_SETTINGS}
    for name in others:
        if _is_misspelt(name):
            raise KnobError(_unknown(name, KNOB_SETTINGS))
    return knob, others


@functools.lru_cache(maxsize=1024)
def _is_misspelt(name: str) -> bool:
    # of a model's own arguments none comes near; "route" is left out, since others may well have a "router"
    names = [knob for knob in KNOB_SETTINGS if knob != "route"]
    return bool(difflib.get_close_matches(name, names, n=1, cutoff=0.8))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a router works: the cut, and what was measured there.

    Attributes:
        threshold: The large model is chosen iff difficulty ≥ threshold; in [0, NEVER_LARGE].
        large_share: Share of calls that went to the large model where the curve was measured; None without a curve.
        quality: PGR measured there; None without a curve.
        certificate: Whether a certificate holds for the threshold ("certified"), was asked for and cannot be given, so
            that all goes to the large model ("uncertified"), or was not asked for ("").
    """

    threshold: float
    large_share: float | None = None
    quality: float | None = None
    certificate: Literal["certified", "uncertified", ""] = ""


@dataclass(frozen=True, slots=True)
class OperatingCurve:
    """Measured on outcomes: what each threshold costs and keeps. Points in order of growing large share.

    Attributes:
        thresholds: Cuts on the difficulty, strictly falling, in [0, NEVER_LARGE].
        large_share: Share of calls with difficulty ≥ threshold, not falling, in [0, 1].
        quality: Performance gap recovered at that cut, ≤ 1 at the end but unbounded between.
        drop: Loss of mean quality relative to always asking the large model; negative where routing beats it.
    """

    thresholds: tuple[float, ...]
    large_share: tuple[float, ...]
    quality: tuple[float, ...]
    drop: tuple[float, ...]

    def __post_init__(self) -> None:
        """Reject curves on which a look-up would give nonsense."""
        columns = (self.thresholds, self.large_share, self.quality, self.drop)
        if len({len(column) for column in columns}) != 1 or len(self.thresholds) < 2:
            raise ArtifactFormatError("an operating curve has four columns of one length, of at least 2 points")
        if not all(math.isfinite(value) for column in columns for value in column):
            raise ArtifactFormatError("an operating curve holds finite numbers only")
        if not all(a > b for a, b in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise ArtifactFormatError("the thresholds of an operating curve fall strictly")
        if not all(a <= b for a, b in zip(self.large_share, self.large_share[1:], strict=False)):
            raise ArtifactFormatError("the large share of an operating curve does not fall")
        if not (self.thresholds[-1] >= 0.0 and self.thresholds[0] <= NEVER_LARGE):
            raise ArtifactFormatError(
                "the thresholds of an operating curve lie in [0, 1], or just above 1 for 'never large'"
            )
        if not (self.large_share[0] >= 0.0 and self.large_share[-1] <= 1.0):
            raise ArtifactFormatError("the large share of an operating curve lies in [0, 1]")

    def point(self, index: int) -> OperatingPoint:
        """The operating point at a position of the curve."""
        return OperatingPoint(self.thresholds[index], self.large_share[index], self.quality[index])


ALWAYS_SMALL = OperatingPoint(NEVER_LARGE, large_share=0.0, quality=0.0)
ALWAYS_LARGE = OperatingPoint(0.0, large_share=1.0, quality=1.0)


def operating_point(knob: Knob, curve: OperatingCurve | None) -> OperatingPoint:
    """The cut that grants a wish at the lowest large share.

    ``quality=0`` is the small model throughout; ``quality=1`` is the first point without expected loss, which normally
    still leaves some queries to the small model. Where no measured point grants the wish, all goes to the large model.

    Without a curve (a router given as a plain callable) ``quality`` q means the threshold 1 − q, and a share or a drop
    cannot be looked up.

    Args:
        knob: The wish; not ``route``, which needs no operating point. Its confidence is not looked at: what a curve
            says is measured, not certified.
        curve: The measured curve, or None.

    Raises:
        KnobError: The knob needs a curve and there is none, or it is ``route``.
    """
    if knob.name == "route":
        raise KnobError("route forces one model; there is no operating point to look up")
    value = cast("float", knob.value)
    if knob.name == "threshold":
        return OperatingPoint(value)
    if curve is None:
        if knob.name != "quality":
            raise KnobError(
                f"{knob.name} needs a router with a measured operating curve; this one is a plain function: "
                "say quality or threshold, or use a trained router"
            )
        return OperatingPoint(1.0 - value if value > 0.0 else NEVER_LARGE)
    if knob.name == "large_share":
        return _largest_within(curve, value)
    if knob.name == "quality":
        if value == 0.0:
            return ALWAYS_SMALL
        return next((curve.point(i) for i, kept in enumerate(curve.quality) if kept >= value), ALWAYS_LARGE)
    return next((curve.point(i) for i, lost in enumerate(curve.drop) if lost <= value), ALWAYS_LARGE)


def _largest_within(curve: OperatingCurve, budget: float) -> OperatingPoint:
    if budget >= 1.0:
        return ALWAYS_LARGE
    within = [i for i, share in enumerate(curve.large_share) if share <= budget]
    return curve.point(within[-1]) if within else ALWAYS_SMALL
