"""Model files → OpenAI-compatible endpoints on the loopback interface, stopped on every exit.

Each model runs in a process of its own, so that one that crashes takes nothing else down.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from local_models.catalogue import ModelFile

__all__ = ["ServerError", "serving"]

SCRIPT = Path(__file__).with_name("server_process.py")
CONTEXT_TOKENS = 4096
START_SECONDS = 120.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.05


class ServerError(RuntimeError):
    """A model server did not start."""


@contextlib.contextmanager
def serving(models: Sequence[tuple[ModelFile, Path]]) -> Iterator[list[str]]:
    """Serve models while the ``with`` block runs.

    Args:
        models: Each model with its file.

    Yields:
        One base URL a model, such as ``http://127.0.0.1:40123/v1``, in the order of ``models``.

    Raises:
        ServerError: A server ended or stayed silent; the message holds what it said last.
    """
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hybrid-llm-", ignore_cleanup_errors=True)))
        # all are started before any is waited for: loading takes its time
        started = [
            (model, logs / str(i), stack.enter_context(_process(model, path, logs / str(i))))
            for i, (model, path) in enumerate(models)
        ]
        yield [_base_url(process, model, log) for model, log, process in started]


@contextlib.contextmanager
def _process(model: ModelFile, path: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(SCRIPT), str(path), model.label, str(CONTEXT_TOKENS)]
    with log.with_suffix(".out").open("wb") as output, log.with_suffix(".err").open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=errors)
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:  # still loading: it does not look at its standard input yet
        process.kill()
        process.wait()


def _base_url(process: subprocess.Popen[bytes], model: ModelFile, log: Path) -> str:
    """Wait until the server has said where it listens, and answers there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        address = log.with_suffix(".out").read_text(encoding="utf-8", errors="replace")
        if address.endswith("\n") and _is_healthy(address.strip()):
            return f"{address.strip()}/v1"
        if process.poll() is not None:
            break
        time.sleep(POLL_SECONDS)
    said = log.with_suffix(".err").read_text(encoding="utf-8", errors="replace").strip()[-500:]
    what = "is not ready" if process.poll() is None else f"ended with status {process.returncode}"
    raise ServerError(f"the server of {model.label} {what}: {said or 'it said nothing'}")


def _is_healthy(address: str) -> bool:
    try:
        # a proxy that the environment names must not see requests to this machine
        return httpx.get(f"{address}/health", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
