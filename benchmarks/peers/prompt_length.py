"""Prompt length: the number of characters, the baseline that every router has to beat.

It has no threshold of its own, so no share sent by default. Runs in our environment.
"""

from __future__ import annotations

from benchmarks.peers.protocol import Peer, Verdict, serve


def _judge(text: str) -> Verdict:
    return Verdict({"characters": float(len(text))}, None)


PEER = Peer("prompt length", lambda: _judge)

if __name__ == "__main__":
    serve(PEER)
