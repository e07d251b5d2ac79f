"""A folder of one JSON document and one file of arrays, sealed by hashes: how everything that is trained is kept.

    <manifest>.json                       format, version, content, the name and hash of the arrays' file, content hash
    <prefix>-<first of hash>.safetensors  the arrays

Plain JSON and safetensors: reading one executes nothing. The document names its arrays' file and is replaced last and
atomically, so that a reader finds the old content or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from shared_router.errors import (
    ArtifactFormatError,
    ArtifactHashError,
    ArtifactNotFoundError,
    ArtifactVersionError,
)
from shared_router.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FolderKind", "SealedFolder", "hash_of", "part_of"]

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class SealedFolder:
    """What was read, found whole.

    Attributes:
        document: The JSON content, without its hash.
        tensors: The arrays by name.
        content_hash: sha256 over all of it.
    """

    document: Mapping[str, object]
    tensors: Mapping[str, npt.NDArray[np.generic]]
    content_hash: str


@dataclass(frozen=True, slots=True)
class FolderKind:
    """One kind of content, and the words in which its errors speak.

    Attributes:
        what: What it is called, such as "router artifact".
        format: How the document names it.
        version: The newest version that this release reads, and writes.
        manifest: File name of the document.
        prefix: Of the arrays' file name; two kinds in one folder have different ones.
        way_out: What to do where there is none, after "pass a folder written by training, or ".
    """

    what: str
    format: str
    version: int
    manifest: str
    prefix: str
    way_out: str

    def save(
        self,
        path: str | os.PathLike[str],
        body: Mapping[str, object],
        tensors: Mapping[str, npt.NDArray[np.generic]],
    ) -> str:
        """Write a folder, atomically; what lies there already of this kind is replaced.

        Args:
            path: The folder; made if it is missing.
            body: JSON values by name; "format", "format_version", "weights" and "content_hash" are added.
            tensors: The arrays.

        Returns:
            The content hash.
        """
        from safetensors.numpy import save as tensors_to_bytes

        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        weights = tensors_to_bytes({key: tensors[key] for key in sorted(tensors)})
        weights_hash = hashlib.sha256(weights).hexdigest()
        weights_name = f"{self.prefix}-{weights_hash[:12]}.safetensors"
        sealed = {
            "format": self.format,
            "format_version": self.version,
            **body,
            "weights": {"file": weights_name, "sha256": weights_hash},
        }
        content_hash = hash_of(sealed)
        text = json.dumps({**sealed, "content_hash": content_hash}, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / weights_name, weights)
        write_atomically(folder / self.manifest, f"{text}\n".encode())
        for stale in folder.glob(f"{self.prefix}-*.safetensors"):
            if stale.name != weights_name:
                stale.unlink(missing_ok=True)
        return content_hash

    def load(self, path: str | os.PathLike[str]) -> SealedFolder:
        """Read a folder and check that it is whole.

        Args:
            path: The folder, or its document.

        Raises:
            ArtifactNotFoundError: There is nothing at ``path``.
            ArtifactFormatError: Not of this kind, or damaged.
            ArtifactVersionError: Written in a newer format.
            ArtifactHashError: The content is not what was written.
        """
        manifest = self.manifest_at(path)
        document = self._document(manifest)
        expected = document.pop("content_hash", None)
        found = hash_of(document)
        if expected != found:
            raise ArtifactHashError(
                f"{manifest} was changed after it was written (content hash {found[:12]}, "
                f"expected {str(expected)[:12]}); restore it, or train the router again"
            )
        try:
            weights = part_of(document, "weights", dict)
            name, seal = part_of(weights, "file", str), part_of(weights, "sha256", str)
        except (KeyError, TypeError) as error:
            raise self.damaged(manifest, f"{type(error).__name__}: {error}") from error
        return SealedFolder(document, self._tensors(manifest.parent, name, seal), found)

    def manifest_at(self, path: str | os.PathLike[str]) -> Path:
        """The document of a folder.

        Args:
            path: The folder, or its document.

        Raises:
            ArtifactNotFoundError: There is nothing at ``path``.
            ArtifactFormatError: It is another file.
        """
        given = Path(path)
        manifest = given if given.name == self.manifest else given / self.manifest
        if manifest.is_file():
            return manifest
        if given.is_file():
            raise ArtifactFormatError(
                f"{given} is a file, not a {self.what}; pass the folder that holds {manifest.name}"
            )
        found = f"no {self.manifest} in it" if given.is_dir() else "does not exist"
        raise ArtifactNotFoundError(
            f"no {self.what} at {given}: {found}; pass a folder written by training, or {self.way_out}"
        )

    def damaged(self, path: str | os.PathLike[str], what: str) -> ArtifactFormatError:
        """The error for content that cannot be what was written.

        Args:
            path: The file, or the folder.
            what: What is wrong with it.
        """
        return ArtifactFormatError(f"{path} is damaged: {what}; copy the folder again, or train the router again")

    def _document(self, manifest: Path) -> dict[str, object]:
        try:
            document = json.loads(manifest.read_bytes().decode("utf-8"), parse_constant=_not_a_number)
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise self.damaged(manifest, f"not readable as JSON ({error})") from error
        if not isinstance(document, dict) or document.get("format") != self.format:
            found = document.get("format") if isinstance(document, dict) else type(document).__name__
            raise ArtifactFormatError(
                f"{manifest} is not a {self.what} of this project (format {found!r}, expected {self.format!r})"
            )
        version = document.get("format_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise self.damaged(manifest, f"format_version {version!r}")
        if version > self.version:
            raise ArtifactVersionError(
                f"{manifest} has format version {version}, this release reads up to {self.version}; upgrade hybrid-llm"
            )
        return document

    def _tensors(self, folder: Path, name: str, expected: str) -> dict[str, npt.NDArray[np.generic]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load as tensors_from_bytes

        weights_path = folder / name
        # the name comes from a file that somebody may have handed us: it must not lead out of the folder
        if Path(name).name != name or not weights_path.is_file():
            raise ArtifactNotFoundError(
                f"the weights {name!r} are missing beside {folder / self.manifest}; copy the whole folder"
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
            raise self.damaged(weights_path, str(error)) from error
        return tensors


def part_of(document: Mapping[str, object], key: str, kind: type[Part]) -> Part:
    """A part of a document, of the type that it must have.

    Args:
        document: JSON values by name.
        key: The part's name.
        kind: Its Python type.

    Raises:
        KeyError: It is missing.
        TypeError: It is of another type.
    """
    value = document[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is {type(value).__name__}, expected {kind.__name__}")
    return value


def _not_a_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not allowed")


def hash_of(body: Mapping[str, object]) -> str:
    """The content hash of a document: sha256, whatever the order of its keys."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
