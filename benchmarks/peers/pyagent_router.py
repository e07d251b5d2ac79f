"""pyagent-router (pyagent-core/pyagent, pyagent_router/scorer.py and selector.py). Needs Python 3.11.

Called: ``ModelSelector().select(text)``, which scores with ``DifficultyScorer`` and picks the cheapest of eight models
whose range covers the score. The score is a whole number from 1 to 10, higher = harder, from words, keyword lists,
numbered parts, question marks and code or mathematics markers. Default decision: up to a score of 6 the pick is a nano
or mini general model, from 7 on (the peer's own ``is_hard``) a reasoning model; the latter is counted as large.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve


def _load() -> Callable[[str], Verdict]:
    from pyagent_router import ModelSelector

    selector = ModelSelector()

    def judge(text: str) -> Verdict:
        difficulty = selector.select(text).difficulty
        return Verdict({"difficulty": float(difficulty.score)}, difficulty.is_hard)

    return judge


PEER = Peer(
    "pyagent-router",
    _load,
    distribution="pyagent-router",
    environment="pyagent-router",
    pinned=("pyagent-router==0.3.0 --hash=sha256:37d612e248daef629beb50ffc7596009ddce9ea006d9d9fdbdc7121827bd1ffe",),
)

if __name__ == "__main__":
    serve(PEER)
