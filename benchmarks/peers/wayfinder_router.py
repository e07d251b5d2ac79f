"""wayfinder-router (itsthelore/wayfinder-router, wayfinder_router/complexity.py).

Called: ``score_complexity(text)`` with its default configuration. The score is a saturating weighted mean of counts
(words, list items, headings, code blocks, table rows, links) from 0 to 1, higher = more complex, rounded by the peer to
two digits. For plain questions it is a word count: the other counts are zero, and the lexical ones have weight 0. The
default decision is its ``recommendation``: "cloud" from a score of .5 on.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve


def _load() -> Callable[[str], Verdict]:
    from wayfinder_router import score_complexity

    def judge(text: str) -> Verdict:
        result = score_complexity(text)
        return Verdict({"score": result.score}, result.recommendation == "cloud")

    return judge


PEER = Peer(
    "wayfinder-router",
    _load,
    distribution="wayfinder-router",
    environment="wayfinder-router",
    pinned=(
        "wayfinder-router==2026.7.0 --hash=sha256:c75128680d93d9644ce00638c72c0c1ba48e6f8aa3a26c03a4ead005353f3cb5",
    ),
)

if __name__ == "__main__":
    serve(PEER)
