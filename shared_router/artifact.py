"""A trained router on disk: where training and serving meet.

A folder of two files:

    router.json                           format version, scorer, calibration, operating curve, metadata, content hash
    weights-<first of hash>.safetensors   the scorer's arrays, and those of the calibration set if there is one

Plain JSON and safetensors: reading one executes nothing. ``router.json`` names its weights file and is replaced last
and atomically, so that a reader finds the old artifact or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from shared_router.calibration import Calibrator, calibrator_from
from shared_router.calibration_set import CalibrationSet
from shared_router.errors import (
    ArtifactFormatError,
    ArtifactHashError,
    ArtifactNotFoundError,
    ArtifactVersionError,
    OutcomeError,
)
from shared_router.files import write_atomically
from shared_router.knob import OperatingCurve
from shared_router.records import JSON

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FORMAT_VERSION", "MANIFEST", "Artifact"]

FORMAT = "hybrid-llm-router"
FORMAT_VERSION = 1
MANIFEST = "router.json"
SET_PREFIX = "calibration_set."
"""Of the calibration set's arrays among the scorer's."""
SET_ARRAYS = ("difficulty", "small", "large")

Part = TypeVar("Part")


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
        from safetensors.numpy import save as tensors_to_bytes

        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {**self.tensors, **_set_tensors(self.calibration_set)}
        weights = tensors_to_bytes({key: tensors[key] for key in sorted(tensors)})
        weights_hash = hashlib.sha256(weights).hexdigest()
        weights_name = f"weights-{weights_hash[:12]}.safetensors"
        body = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
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
            "weights": {"file": weights_name, "sha256": weights_hash},
        }
        if self.calibration_set is not None:
            body["calibration_set"] = {"quality_range": list(self.calibration_set.quality_range)}
        content_hash = _hash(body)
        manifest = (
            json.dumps({**body, "content_hash": content_hash}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )
        write_atomically(folder / weights_name, weights)
        write_atomically(folder / MANIFEST, manifest.encode("utf-8"))
        for stale in folder.glob("weights-*.safetensors"):
            if stale.name != weights_name:
                stale.unlink(missing_ok=True)
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
        manifest_path = _manifest_path(Path(path))
        document = _document(manifest_path)
        expected = document.pop("content_hash", None)
        found = _hash(document)
        if expected != found:
            raise ArtifactHashError(
                f"{manifest_path} was changed after it was written (content hash {found[:12]}, "
                f"expected {str(expected)[:12]}); restore it, or train the router again"
            )
        try:
            weights, scorer = _part(document, "weights", dict), _part(document, "scorer", dict)
            curve = _part(document, "curve", dict)
            tensors = _tensors(manifest_path.parent, _part(weights, "file", str), _part(weights, "sha256", str))
            return cls(
                name=_part(document, "name", str),
                scorer_kind=_part(scorer, "kind", str),
                scorer_config=_part(scorer, "config", dict),
                tensors={name: array for name, array in tensors.items() if not name.startswith(SET_PREFIX)},
                calibration=calibrator_from(_part(document, "calibration", dict)),
                curve=OperatingCurve(**{column: tuple(map(float, values)) for column, values in curve.items()}),
                own_pair=_part(document, "own_pair", bool),
                metadata=_part(document, "metadata", dict),
                calibration_set=_calibration_set(document, tensors),
                content_hash=found,
            )
        except (KeyError, TypeError, ValueError, OutcomeError) as error:
            raise _damaged(manifest_path, f"{type(error).__name__}: {error}") from error


def _set_tensors(calibration_set: CalibrationSet | None) -> dict[str, npt.NDArray[np.generic]]:
    if calibration_set is None:
        return {}
    return {f"{SET_PREFIX}{name}": getattr(calibration_set, name) for name in SET_ARRAYS}


def _calibration_set(
    document: Mapping[str, object], tensors: Mapping[str, npt.NDArray[np.generic]]
) -> CalibrationSet | None:
    if "calibration_set" not in document:
        return None
    low, high = map(float, _part(_part(document, "calibration_set", dict), "quality_range", list))
    arrays = {name: tensors[f"{SET_PREFIX}{name}"].astype("float64") for name in SET_ARRAYS}
    return CalibrationSet(**arrays, quality_range=(low, high))


def _part(document: Mapping[str, object], key: str, kind: type[Part]) -> Part:
    value = document[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is {type(value).__name__}, expected {kind.__name__}")
    return value


def _manifest_path(path: Path) -> Path:
    manifest = path if path.name == MANIFEST else path / MANIFEST
    if manifest.is_file():
        return manifest
    if path.is_file():
        raise ArtifactFormatError(f"{path} is a file, not a router artifact; pass the folder that holds {MANIFEST}")
    what = f"no {MANIFEST} in it" if path.is_dir() else "does not exist"
    raise ArtifactNotFoundError(
        f"no router artifact at {path}: {what}; pass a folder written by training, or use Router.default()"
    )


def _document(manifest_path: Path) -> dict[str, object]:
    try:
        document = json.loads(manifest_path.read_bytes().decode("utf-8"), parse_constant=_not_a_number)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _damaged(manifest_path, f"not readable as JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise ArtifactFormatError(
            f"{manifest_path} is not a router artifact of this project (format {found!r}, expected {FORMAT!r})"
        )
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _damaged(manifest_path, f"format_version {version!r}")
    if version > FORMAT_VERSION:
        raise ArtifactVersionError(
            f"{manifest_path} has format version {version}, this release reads up to {FORMAT_VERSION}; "
            "upgrade hybrid-llm"
        )
    return document


def _not_a_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not allowed")


def _tensors(folder: Path, name: str, expected: str) -> dict[str, npt.NDArray[np.generic]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as tensors_from_bytes

    weights_path = folder / name
    # the name comes from a file that somebody may have handed us: it must not lead out of the folder
    if Path(name).name != name or not weights_path.is_file():
        raise ArtifactNotFoundError(
            f"the weights {name!r} are missing beside {folder / MANIFEST}; copy the whole folder"
        )
    data = weights_path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ArtifactHashError(
            f"{weights_path} is truncated or was changed ({len(data)} bytes, sha256 {found[:12]}, "
            f"expected {expected[:12]}); copy the folder again, or train the router again"
        )
    try:
        tensors: dict[str, npt.NDArray[np.generic]] = tensors_from_bytes(data)
    except SafetensorError as error:
        raise _damaged(weights_path, str(error)) from error
    return tensors


def _damaged(path: Path, what: str) -> ArtifactFormatError:
    return ArtifactFormatError(f"{path} is damaged: {what}; copy the folder again, or train the router again")


def _hash(body: Mapping[str, object]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
