"""A trained router on disk: where training and serving meet.

A folder of two files:

    router.json                           format version, scorer, calibration, operating curve, metadata, content hash
    weights-<first of hash>.safetensors   the scorer's arrays, and those of the calibration set if there is one

Plain JSON and safetensors: reading one executes nothing. ``router.json`` names its weights file and is replaced last
and atomically, so that a reader finds the old artifact or the new one, never a mixture.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shared_router.calibration import Calibrator, calibrator_from
from shared_router.calibration_set import CalibrationSet
from shared_router.errors import OutcomeError
from shared_router.knob import OperatingCurve
from shared_router.records import JSON
from shared_router.sealed_folder import FolderKind, part_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FORMAT_VERSION", "MANIFEST", "Artifact"]

FORMAT_VERSION = 1
MANIFEST = "router.json"
FOLDER = FolderKind(
    what="router artifact",
    format="hybrid-llm-router",
    version=FORMAT_VERSION,
    manifest=MANIFEST,
    prefix="weights",
    way_out="use Router.default()",
)
SET_PREFIX = "calibration_set."
"""Of the calibration set's arrays among the scorer's."""
SET_ARRAYS = ("difficulty", "small", "large")


@dataclass(frozen=True, slots=True)
class Artifact:
    """All that a router needs to serve.

    Attributes:
        name: A short name for people, such as "default".
        scorer_kind: Key of the scorer in ``shared_router.scorers``.
        scorer_config: The scorer's settings, JSON values.
        tensors: The scorer's arrays by name.
        calibration: Raw score → difficulty.
        curve: What each cut costs and keeps.
        own_pair: True if the curve was measured on the very pair of models that the router serves.
        metadata: What people want to know: training data, date, figures. Not read by the code.
        calibration_set: Queries of the user's own traffic on which promises are certified and drift is noticed; None
            where there are none.
        content_hash: sha256 over all of the above; empty until saved or loaded.
    """

    name: str
    scorer_kind: str
    scorer_config: Mapping[str, JSON]
    tensors: Mapping[str, npt.NDArray[np.generic]]
    calibration: Calibrator
    curve: OperatingCurve
    own_pair: bool
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    calibration_set: CalibrationSet | None = None
    content_hash: str = ""

    def save(self, path: str | os.PathLike[str]) -> Artifact:
        """Write the artifact into a folder, atomically; an artifact that lies there already is replaced.

        Args:
            path: The folder; made if it is missing.

        Returns:
            The same artifact with its ``content_hash``.
        """
        body: dict[str, object] = {
            "name": self.name,
            "scorer": {"kind": self.scorer_kind, "config": dict(self.scorer_config)},
            "calibration": self.calibration.to_state(),
            "curve": {
                "thresholds": list(self.curve.thresholds),
                "large_share": list(self.curve.large_share),
                "quality": list(self.curve.quality),
                "drop": list(self.curve.drop),
            },
            "own_pair": self.own_pair,
            "metadata": dict(self.metadata),
        }
        if self.calibration_set is not None:
            body["calibration_set"] = {"quality_range": list(self.calibration_set.quality_range)}
        content_hash = FOLDER.save(path, body, {**self.tensors, **_set_tensors(self.calibration_set)})
        return replace(self, content_hash=content_hash)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Artifact:
        """Read an artifact and check that it is whole.

        Args:
            path: The folder, or its ``router.json``.

        Raises:
            ArtifactNotFoundError: There is nothing at ``path``.
            ArtifactFormatError: Not an artifact of this project, or damaged.
            ArtifactVersionError: Written in a newer format.
            ArtifactHashError: The content is not what was written.
        """
        found = FOLDER.load(path)
        document, tensors = found.document, found.tensors
        try:
            scorer, curve = part_of(document, "scorer", dict), part_of(document, "curve", dict)
            return cls(
                name=part_of(document, "name", str),
                scorer_kind=part_of(scorer, "kind", str),
                scorer_config=part_of(scorer, "config", dict),
                tensors={name: array for name, array in tensors.items() if not name.startswith(SET_PREFIX)},
                calibration=calibrator_from(part_of(document, "calibration", dict)),
                curve=OperatingCurve(**{column: tuple(map(float, values)) for column, values in curve.items()}),
                own_pair=part_of(document, "own_pair", bool),
                metadata=part_of(document, "metadata", dict),
                calibration_set=_calibration_set(document, tensors),
                content_hash=found.content_hash,
            )
        except (KeyError, TypeError, ValueError, OutcomeError) as error:
            raise FOLDER.damaged(FOLDER.manifest_at(path), f"{type(error).__name__}: {error}") from error


def _set_tensors(calibration_set: CalibrationSet | None) -> dict[str, npt.NDArray[np.generic]]:
    if calibration_set is None:
        return {}
    return {f"{SET_PREFIX}{name}": getattr(calibration_set, name) for name in SET_ARRAYS}


def _calibration_set(
    document: Mapping[str, object], tensors: Mapping[str, npt.NDArray[np.generic]]
) -> CalibrationSet | None:
    if "calibration_set" not in document:
        return None
    low, high = map(float, part_of(part_of(document, "calibration_set", dict), "quality_range", list))
    arrays = {name: tensors[f"{SET_PREFIX}{name}"].astype("float64") for name in SET_ARRAYS}
    return CalibrationSet(**arrays, quality_range=(low, high))
