"""What an adapter and the driver say to each other. Standard library only: this runs in the peer's environment.

An adapter reads JSON lines and answers each with one JSON line, so it can be tried by hand, too:

    $ echo '"Prove that there are infinitely many primes."' | python -m benchmarks.peers.prompt_length
    {"version": "", "start_seconds": 1.9e-06}
    {"scores": {"characters": 45.0}, "large": null, "between": false}

- First comes a line that nobody asked for: the version and the seconds until the first score, or ``{"failed": ...}``.
- A JSON string is a text to score. A text that the peer fails on gives ``{"error": ...}``; the rest go on.
- ``{"time": [texts]}`` gives ``{"milliseconds": [...]}``, one a text.
- ``{"facts": true}`` gives ``{"resident_bytes": ..., "reached_for": [...]}``: memory above the bare interpreter (null
  where there is no /proc), and every network address that the peer asked for; none of them is let through.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

__all__ = ["NoNetwork", "Peer", "Verdict", "serve"]

FIRST_TEXT = "What is the capital of France?"
LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Verdict:
    """What a peer says of one text.

    Attributes:
        scores: The peer's scores by name, higher = rather the large model.
        large: True if the peer, as it comes, would send the text to the large model; None if it has no default.
        between: True if it would send the text to a model between the smallest and the large one.
    """

    scores: Mapping[str, float]
    large: bool | None
    between: bool = False


@dataclass(frozen=True)
class Peer:
    """One router.

    Attributes:
        title: Its name in the tables.
        load: Imports the peer and returns what judges one text.
        distribution: Its package, of which the version is reported; "" if it has none.
        environment: Folder of its virtual environment; "" to run in ours.
        pinned: The peer itself with version and hash, a line each as in a requirements file; installed without
            dependencies and with the hash checked.
        dependencies: What to install besides; None for whatever the pinned packages ask for.
        left_out: Why it is not run; "" if it is.
    """

    title: str
    load: Callable[[], Callable[[str], Verdict]]
    distribution: str = ""
    environment: str = ""
    pinned: tuple[str, ...] = ()
    dependencies: tuple[str, ...] | None = None
    left_out: str = ""


class NoNetwork:
    """An audit hook that notes where Python code wants to connect, and refuses."""

    EVENTS = frozenset(("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"))

    def __init__(self) -> None:
        self.reached_for: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by the interpreter at each audit event."""
        if event not in self.EVENTS:
            return
        # a host name comes first, or the socket and then the address
        where = arguments[0] if isinstance(arguments[0], str) else arguments[1:]
        self.reached_for.append(f"{event} {where!s}"[:LONGEST_MESSAGE])
        raise OSError("this process has no network")


def resident_bytes() -> int | None:
    """Resident memory of this process; None where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_MESSAGE]


def _judged(judge: Callable[[str], Verdict], text: str) -> dict[str, Any]:
    try:
        verdict = judge(text)
        # whatever kind of number the peer has, JSON gets Python's
        scores = {name: float(score) for name, score in verdict.scores.items()}
        large = None if verdict.large is None else bool(verdict.large)
        return {"scores": scores, "large": large, "between": bool(verdict.between)}
    except Exception as error:  # whatever a stranger's code raises is a row, not the end of the run
        return {"error": _said(error)}


def _timed(judge: Callable[[str], Verdict], texts: list[str]) -> dict[str, Any]:
    milliseconds = []
    for text in texts:
        start = time.perf_counter()
        judge(text)
        milliseconds.append(1000.0 * (time.perf_counter() - start))
    return {"milliseconds": milliseconds}


def _answer(judge: Callable[[str], Verdict], asked: Any, guard: NoNetwork, before: int | None) -> dict[str, Any]:
    if isinstance(asked, str):
        return _judged(judge, asked)
    if "time" in asked:
        try:
            return _timed(judge, asked["time"])
        except Exception as error:
            return {"error": _said(error)}
    now = resident_bytes()
    grown = None if now is None or before is None else now - before
    return {"resident_bytes": grown, "reached_for": guard.reached_for}


def serve(peer: Peer, lines: TextIO | None = None) -> None:
    """Load the peer and answer until the input ends.

    Args:
        peer: Whom to load.
        lines: Where requests come from; default: standard input.
    """
    # whatever the peer prints must not land among the answers
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    guard = NoNetwork()
    sys.addaudithook(guard)
    before = resident_bytes()
    start = time.perf_counter()
    try:
        judge = peer.load()
        judge(FIRST_TEXT)
    except Exception as error:
        say({"failed": _said(error)})
        return
    seconds = time.perf_counter() - start
    version = metadata.version(peer.distribution) if peer.distribution else ""
    say({"version": version, "start_seconds": seconds})
    for line in lines or sys.stdin:
        if line.strip():
            say(_answer(judge, json.loads(line), guard, before))
