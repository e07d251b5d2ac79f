"""Frozen values that pass between modules.

Whatever crosses a module border has a name, here or in the module that produces it, and cannot be changed by who
receives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["JSON", "TARGETS", "Role", "Target", "Turn"]

JSON: TypeAlias = "None | bool | int | float | str | Sequence[JSON] | Mapping[str, JSON]"
"""A value that ``json.dumps`` writes without help."""

Target = Literal["small", "large"]
"""Which of the two models answers."""

TARGETS: tuple[Target, ...] = ("small", "large")

Role = Literal["system", "human", "assistant", "tool"]
"""Who speaks in a turn; both hosts' role names are translated to these at the edge."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation, reduced to what routing looks at.

    Attributes:
        role: Who speaks.
        text: The text parts of the message, joined by a blank line; images and the like are not in it.
    """

    role: Role
    text: str
