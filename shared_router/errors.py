"""What can go wrong, as one tree.

    HybridError                     everything raised by this project
    ├── KnobError                   a quality knob that is out of range, unknown, or said twice
    ├── QueryError                  an input from which no text to judge can be taken
    ├── ScoreError                  a router that returned something that is not a difficulty
    ├── ArtifactError               a router file that cannot be used
    │   ├── ArtifactNotFoundError   nothing there
    │   ├── ArtifactFormatError     not one of ours, or damaged
    │   ├── ArtifactVersionError    written by a newer release
    │   └── ArtifactHashError       the bytes are not those that were written
    ├── ExpertsBusyError            all experts are at their limits, and so are their queues
    ├── OutcomeError                outcome arrays or tables that cannot be used
    └── MissingExtraError           an optional dependency that is not installed

The root is a ``RuntimeError`` and no ``ValueError``: LlamaIndex' response synthesizers swallow ``ValueError`` and
``TypeError`` and answer "Empty Response", which would hide a wrong setting; pydantic would fold a ``ValueError`` raised
in a validator into its own report.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "ArtifactFormatError",
    "ArtifactHashError",
    "ArtifactNotFoundError",
    "ArtifactVersionError",
    "ExpertsBusyError",
    "HybridError",
    "KnobError",
    "MissingExtraError",
    "OutcomeError",
    "QueryError",
    "ScoreError",
]


class HybridError(RuntimeError):
    """Root of all errors of this project."""


class KnobError(HybridError):
    """The quality knob is out of range, of the wrong type, unknown, or given more than once."""


class QueryError(HybridError):
    """The input is neither text nor turns."""


class ScoreError(HybridError):
    """A scorer returned something that is no difficulty in [0, 1]."""


class ArtifactError(HybridError):
    """A router artifact cannot be used."""


class ArtifactNotFoundError(ArtifactError):
    """There is no artifact at the given path."""


class ArtifactFormatError(ArtifactError):
    """The file is not an artifact of this project, or it is damaged."""


class ArtifactVersionError(ArtifactError):
    """The artifact was written in a newer format than this release reads."""


class ArtifactHashError(ArtifactError):
    """The artifact's content does not match the hash that was written with it."""


class ExpertsBusyError(HybridError):
    """No expert could take a call: all are at their limits, and the queue is full or the time to wait is over."""


class OutcomeError(HybridError):
    """Outcome arrays or tables are malformed: wrong shape, NaN, or nothing to compare."""


class MissingExtraError(HybridError, ImportError):
    """An optional dependency is missing; the message names the install line."""
