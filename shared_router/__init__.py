"""hybrid-llm's core: a learned difficulty score and a quality knob choose between a small and a large language model.

Knows no framework; ``langchain_hybrid`` and ``llamaindex_hybrid`` wrap it.
"""

from shared_router.artifact import Artifact
from shared_router.decision import RoutingDecision
from shared_router.errors import (
    ArtifactError,
    HybridError,
    KnobError,
    MissingExtraError,
    OutcomeError,
    QueryError,
    ScoreError,
)
from shared_router.guards import Capabilities
from shared_router.knob import Knob, OperatingCurve, OperatingPoint
from shared_router.query import query_text
from shared_router.records import Turn
from shared_router.router import Router

__all__ = [
    "Artifact",
    "ArtifactError",
    "Capabilities",
    "HybridError",
    "Knob",
    "KnobError",
    "MissingExtraError",
    "OperatingCurve",
    "OperatingPoint",
    "OutcomeError",
    "QueryError",
    "Router",
    "RoutingDecision",
    "ScoreError",
    "Turn",
    "query_text",
]

__version__ = "0.1.0"
