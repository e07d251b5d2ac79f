import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from shared_router import Artifact
from shared_router.artifact import FORMAT_VERSION, MANIFEST
from shared_router.calibration import IsotonicCalibrator, LogisticCalibrator
from shared_router.calibration_set import CalibrationSet
from shared_router.errors import (
    ArtifactFormatError,
    ArtifactHashError,
    ArtifactNotFoundError,
    ArtifactVersionError,
)
from shared_router.router import Router
from shared_router.sealed_folder import hash_of
from shared_router.testing import linear_curve


def make_artifact(seed: int = 0) -> Artifact:
    table = np.random.default_rng(seed).integers(-127, 127, (5, 3)).astype(np.int8)
    return Artifact(
        name="mine",
        scorer_kind="unheard-of",
        scorer_config={"a": 1, "umlaut": "ü"},
        tensors={"table": table},
        calibration=LogisticCalibrator(2.0, -0.5),
        curve=linear_curve(),
        own_pair=True,
        metadata={"trained_on": ["tests"]},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_artifact().save(tmp_path / "router")
    return tmp_path / "router"


def manifest(folder: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((folder / MANIFEST).read_text("utf-8"))
    return document


def weights(folder: Path) -> Path:
    (path,) = folder.glob("weights-*.safetensors")
    return path


def test_what_is_saved_comes_back(folder: Path) -> None:
    saved, loaded = make_artifact(), Artifact.load(folder)
    for field in dataclasses.fields(Artifact):
        if field.name == "tensors":
            np.testing.assert_array_equal(loaded.tensors["table"], saved.tensors["table"])
        elif field.name != "content_hash":
            assert getattr(loaded, field.name) == getattr(saved, field.name), field.name
    assert len(loaded.content_hash) == 64
    assert Artifact.load(folder / MANIFEST).content_hash == loaded.content_hash


def test_the_same_content_has_the_same_hash_and_other_content_another(tmp_path: Path) -> None:
    hashes = [make_artifact(seed).save(tmp_path / str(i)).content_hash for i, seed in enumerate([0, 0, 1])]
    assert hashes[0] == hashes[1] != hashes[2]


def test_saving_again_replaces_and_leaves_no_stray_files(folder: Path) -> None:
    make_artifact(1).save(folder)
    np.testing.assert_array_equal(Artifact.load(folder).tensors["table"], make_artifact(1).tensors["table"])
    assert len(list(folder.iterdir())) == 2


def test_a_failed_save_leaves_the_old_artifact_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Artifact.load(folder).content_hash
    real = os.replace

    def crash_on_manifest(source: str, target: Path) -> None:
        if Path(target).name == MANIFEST:
            raise OSError("disk full")
        real(source, target)

    monkeypatch.setattr(os, "replace", crash_on_manifest)
    with pytest.raises(OSError, match="disk full"):
        make_artifact(1).save(folder)
    assert Artifact.load(folder).content_hash == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFoundError, match=r"does not exist.*Router\.default"):
        Artifact.load(tmp_path / "nowhere")
    with pytest.raises(ArtifactNotFoundError, match=r"no router\.json in it"):
        Artifact.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"format": "other"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": NaN}',
    ],
)
def test_a_foreign_or_truncated_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactFormatError, match=r"router\.json is (damaged|not a router artifact)"):
        Artifact.load(folder)


def test_a_foreign_file(tmp_path: Path) -> None:
    model = tmp_path / "model.pkl"
    model.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ArtifactFormatError, match="is a file, not a router artifact"):
        Artifact.load(model)


def test_a_newer_format(folder: Path) -> None:
    document = manifest(folder) | {"format_version": FORMAT_VERSION + 1}
    (folder / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(ArtifactVersionError, match="upgrade hybrid-llm"):
        Artifact.load(folder)


@pytest.mark.parametrize("version", [0, -1, True, "1", None, 1.0])
def test_a_version_that_is_none(folder: Path, version: object) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest(folder) | {"format_version": version}))
    with pytest.raises(ArtifactFormatError, match="format_version"):
        Artifact.load(folder)


def test_a_changed_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest(folder) | {"own_pair": False}))
    with pytest.raises(ArtifactHashError, match="changed after it was written"):
        Artifact.load(folder)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"\x7f", lambda data: b""])
def test_truncated_or_changed_weights(folder: Path, damage: object) -> None:
    path = weights(folder)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ArtifactHashError, match="truncated or was changed"):
        Artifact.load(folder)


def test_missing_weights(folder: Path) -> None:
    weights(folder).unlink()
    with pytest.raises(ArtifactNotFoundError, match="copy the whole folder"):
        Artifact.load(folder)


def test_weights_cannot_be_taken_from_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "evil.safetensors").write_bytes(weights(folder).read_bytes())
    document = manifest(folder)
    document["weights"] = document["weights"] | {"file": "../evil.safetensors"}  # type: ignore[operator]
    monkeypatch.setattr("shared_router.sealed_folder.hash_of", lambda body: document["content_hash"])
    (folder / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(ArtifactNotFoundError):
        Artifact.load(folder)


@pytest.mark.parametrize("key", ["scorer", "calibration", "curve", "weights", "name", "own_pair"])
@pytest.mark.parametrize("value", [None, 3, [], {"unexpected": 1}])
def test_a_well_hashed_manifest_of_the_wrong_shape(folder: Path, key: str, value: object) -> None:
    document = manifest(folder) | {key: value}
    document.pop("content_hash")
    (folder / MANIFEST).write_text(json.dumps({**document, "content_hash": hash_of(document)}))
    with pytest.raises(ArtifactFormatError, match="is damaged"):
        Artifact.load(folder)


def test_an_unknown_scorer_is_named(folder: Path) -> None:
    with pytest.raises(ArtifactFormatError, match="no scorer 'unheard-of'"):
        Router.load(folder)


def test_a_calibration_set_travels_with_the_artifact_and_apart_from_the_scorer(tmp_path: Path) -> None:
    known = CalibrationSet(np.array([0.25, 0.75]), np.array([1.0, -0.5]), np.ones(2), (-1.0, 1.0))
    saved = dataclasses.replace(make_artifact(), calibration_set=known).save(tmp_path / "router")
    loaded = Artifact.load(tmp_path / "router")
    assert loaded.calibration_set is not None
    assert loaded.calibration_set.quality_range == (-1.0, 1.0)
    for name in ("difficulty", "small", "large"):
        np.testing.assert_array_equal(getattr(loaded.calibration_set, name), getattr(known, name))
    assert set(loaded.tensors) == set(saved.tensors) == {"table"}


def test_an_impossible_calibration_set_is_a_damaged_artifact(tmp_path: Path) -> None:
    known = CalibrationSet(np.array([0.25, 0.75]), np.zeros(2), np.ones(2))
    folder = tmp_path / "router"
    dataclasses.replace(make_artifact(), calibration_set=known).save(folder)
    document = manifest(folder)
    del document["content_hash"]
    document["calibration_set"] = {"quality_range": [0.0, 0.5]}
    (folder / MANIFEST).write_text(json.dumps({**document, "content_hash": hash_of(document)}))
    with pytest.raises(ArtifactFormatError, match=r"large lies in \[0, 0.5\]"):
        Artifact.load(folder)


def test_an_isotonic_calibration_travels_too(tmp_path: Path) -> None:
    calibration = IsotonicCalibrator((-1.0, 0.0, 2.0), (0.1, 0.3, 0.8))
    dataclasses.replace(make_artifact(), calibration=calibration).save(tmp_path / "router")
    assert Artifact.load(tmp_path / "router").calibration == calibration
