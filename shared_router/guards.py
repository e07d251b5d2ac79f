"""What overrides the score.

A guard looks at what is asked, never at the score, and names the one model that must answer, or passes. Guards are
asked in order before anything is scored; the first that speaks decides, so a forced call costs no scoring:

    forced        the user said route="small" or "large"
    capability    only one of the two models can serve the call
    conversation  the conversation keeps its model (mode "sticky")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from shared_router.errors import KnobError
from shared_router.knob import DEFAULT_KNOB, Knob
from shared_router.records import Target

__all__ = [
    "MODALITIES",
    "Call",
    "Capabilities",
    "Modality",
    "Needs",
    "Stickiness",
    "Verdict",
    "capability",
    "forced_route",
    "kept_model",
    "verdict",
]

Modality: TypeAlias = Literal["image", "audio", "video", "file"]
MODALITIES: tuple[Modality, ...] = ("image", "audio", "video", "file")


@dataclass(frozen=True, slots=True)
class Needs:
    """What one call asks of a model beyond text.

    Attributes:
        modalities: Kinds of content other than text in the prompt.
        tools: Tools are offered.
        structured_output: The answer must follow a schema.
        tokens: Tokens of the whole prompt plus those reserved for the answer; 0 where nobody counted.
    """

    modalities: frozenset[Modality] = frozenset()
    tools: bool = False
    structured_output: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one model can do. None means unknown, and the unknown is assumed to work: the model itself will say if not.

    Attributes:
        modalities: Kinds of content it takes besides text.
        tools: It can call tools.
        structured_output: It can be held to a schema.
        context_window: Tokens that prompt and answer may have together.
    """

    modalities: frozenset[Modality] | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    context_window: int | None = None

    def lacking(self, needs: Needs) -> str | None:
        """The first need that this model cannot meet, as the reason a decision gives, or None if it can serve."""
        if self.modalities is not None and not needs.modalities <= self.modalities:
            return "modality"
        if needs.tools and self.tools is False:
            return "tools"
        if needs.structured_output and self.structured_output is False:
            return "structured_output"
        if self.context_window is not None and needs.tokens > self.context_window:
            return "context_window"
        return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A guard's word.

    Attributes:
        target: The model that must answer.
        reason: Why, as one lower-case word that ends up in ``RoutingDecision.reason``.
    """

    target: Target
    reason: str


@dataclass(frozen=True, slots=True)
class Stickiness:
    """Whether a conversation keeps its model.

    Attributes:
        mode: "per_call" decides each call anew; "sticky" keeps the first choice until the conversation ends;
            "switch_cost" switches, up or down, only where the expected gain exceeds the cost of a cold prompt cache.
        cost: That cost, on the scale of the difficulty, in [0, 1]. The threshold is the price of a large call on that
            scale: difficulty − threshold is what asking the large model gains beyond its price, its negative what the
            small one saves.
    """

    mode: Literal["per_call", "sticky", "switch_cost"] = "per_call"
    cost: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an unknown mode, and a cost that would never or always matter."""
        if self.mode not in ("per_call", "sticky", "switch_cost"):
            raise KnobError(f'stickiness is "per_call", "sticky" or "switch_cost", got {self.mode!r}')
        if not 0.0 <= self.cost <= 1.0:
            raise KnobError(f"a switch cost is a number from 0 to 1, got {self.cost!r}")

    def outweighs(self, gain: float) -> bool:
        """True where switching models costs more than it gains, both on the scale of the difficulty."""
        return self.mode == "switch_cost" and gain < self.cost


@dataclass(frozen=True, slots=True)
class Call:
    """Everything about one call that guards look at.

    Attributes:
        knob: The wish that holds for this call.
        needs: What it asks of a model beyond text.
        capabilities: What each of the two models can do; a model that is not named can do everything.
        previous: The model that answered this conversation's last turn; None at its start, or where nobody remembers.
        stickiness: Whether the conversation keeps its model.
    """

    knob: Knob = DEFAULT_KNOB
    needs: Needs = field(default_factory=Needs)
    capabilities: Mapping[Target, Capabilities] = field(default_factory=dict)
    previous: Target | None = None
    stickiness: Stickiness = field(default_factory=Stickiness)


def forced_route(call: Call) -> Verdict | None:
    """The user said ``route="small"`` or ``route="large"``."""
    return Verdict(call.knob.forced, "forced") if call.knob.forced is not None else None


def capability(call: Call) -> Verdict | None:
    """Only one of the two models can serve the call.

    Where neither can, the score decides and the model itself says what it lacks.
    """
    lacking: dict[Target, str | None] = {
        target: model.lacking(call.needs) for target, model in call.capabilities.items()
    }
    small, large = lacking.get("small"), lacking.get("large")
    if small is not None and large is None:
        return Verdict("large", small)
    if large is not None and small is None:
        return Verdict("small", large)
    return None


def kept_model(call: Call) -> Verdict | None:
    """A sticky conversation keeps the model that has answered so far."""
    if call.stickiness.mode == "sticky" and call.previous is not None:
        return Verdict(call.previous, "sticky")
    return None


def verdict(call: Call) -> Verdict | None:
    """The first guard's word, or None if the score decides."""
    return forced_route(call) or capability(call) or kept_model(call)
