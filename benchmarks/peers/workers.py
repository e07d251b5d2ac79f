"""Environments for the peers, and their adapters as processes that are asked in turn."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import Peer

__all__ = ["PeerError", "Started", "Worker", "installed", "no_network_command"]

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 600.0
START_SECONDS = 120.0
ANSWER_SECONDS = 60.0
LONGEST_MESSAGE = 300


class PeerError(Exception):
    """A peer that cannot be installed, started or asked; its message is a row of the table."""


def _run(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{what} took more than {INSTALL_SECONDS:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
        raise PeerError(f"{what} failed: {errors[-1]}"[:LONGEST_MESSAGE])


def _recipe(peer: Peer) -> str:
    asked = json.dumps([peer.pinned, peer.dependencies, sys.version_info[:2]])
    return hashlib.sha256(asked.encode()).hexdigest()


def installed(peer: Peer, home: Path) -> Path:
    """The interpreter that the peer runs in; its environment is made where it is missing or outdated.

    Args:
        peer: Whose.
        home: Folder of all environments. It ignores itself in git.

    Raises:
        PeerError: It cannot be installed.
    """
    if not peer.environment:
        return Path(sys.executable)
    folder = home / peer.environment
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = folder / "recipe"
    if stamp.is_file() and stamp.read_text() == _recipe(peer):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    (home / ".gitignore").write_text("*\n")
    _run([sys.executable, "-m", "venv", str(folder)], "making the environment")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = folder / "pinned.txt"
    pinned.write_text("\n".join(peer.pinned) + "\n")
    _run([*pip, "--no-deps", "--require-hashes", "--requirement", str(pinned)], "installing the pinned package")
    # the pinned versions are there already, so that this adds only what they ask for
    others = [line.split()[0] for line in peer.pinned] if peer.dependencies is None else peer.dependencies
    if others:
        _run([*pip, *others], "installing its dependencies")
    stamp.write_text(_recipe(peer))
    return python


def no_network_command() -> tuple[str, ...]:
    """What to put before a command so that it has no network at all; empty where the system offers nothing."""
    prefix = ("unshare", "--net", "--map-root-user")
    try:
        works = subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return prefix if works else ()


@dataclass(frozen=True, slots=True)
class Started:
    """What a worker said when it was up.

    Attributes:
        version: Of the peer's package; "" if it has none.
        seconds: Import, set-up and first score.
    """

    version: str
    seconds: float


class Worker:
    """One adapter's process.

    Args:
        module: Name of the adapter module, such as "lc_shift".
        python: The interpreter.
        before: What to put before the command.
        package: Package of the adapter module.
        root: Folder from which that package is imported, besides ours.
        patience: Seconds to wait for an answer.

    Raises:
        PeerError: It does not start.
    """

    def __init__(
        self,
        module: str,
        python: Path,
        before: Sequence[str] = (),
        *,
        package: str = "benchmarks.peers",
        root: Path = ROOT,
        patience: float = ANSWER_SECONDS,
    ) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="peer-")
        self._stderr = (Path(self._home.name) / "stderr").open("w+b")
        # nothing of ours goes along: no keys, no proxies, no settings of other tools
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": self._home.name,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(root))),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._process = subprocess.Popen(
            [*before, str(python), "-m", f"{package}.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            cwd=self._home.name,
            env=environment,
        )
        self._broken = ""
        self._patience = patience
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            first = self._next(START_SECONDS)
            if "failed" in first:
                raise PeerError(str(first["failed"]))
        except PeerError:
            self.close()
            raise
        self.started = Started(str(first["version"]), float(first["start_seconds"]))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _next(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            # its answers would no longer fit the questions
            self._broken = f"no answer within {seconds:.0f} s"
            self._process.kill()
            raise PeerError(self._broken) from None
        if line is None:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> PeerError:
        status = self._process.wait(timeout=10)
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "no message")
        return PeerError(f"its process ended with {status}: {last}"[:LONGEST_MESSAGE])

    def ask(self, what: str | dict[str, Any]) -> dict[str, Any]:
        """One request, one answer (``benchmarks.peers.protocol``).

        Args:
            what: A text to score, or a command.

        Raises:
            PeerError: The process ended or does not answer.
        """
        assert self._process.stdin is not None
        if self._broken:
            raise PeerError(self._broken)
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self._next(self._patience)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove what it wrote into its home."""
        self._process.kill()
        self._process.wait(timeout=10)
        self._reader.join(timeout=10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # a kill can leave a request in the buffer, which closing would try to send
                with suppress(BrokenPipeError):
                    stream.close()
        self._stderr.close()
        self._home.cleanup()
