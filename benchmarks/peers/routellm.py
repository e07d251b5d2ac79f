"""RouteLLM (lm-sys/RouteLLM, package routellm 0.2.0): not run.

``routellm.controller`` imports all its routers, and one of those (routers/similarity_weighted/utils.py) opens an OpenAI
client at import, which raises without a key (issues #19, #38); its routers' weights and the embeddings come from a hub
and from OpenAI. So there is nothing that can be scored offline. Its published figures on the same tables stand in
benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve


def _load() -> Callable[[str], Verdict]:
    raise RuntimeError(PEER.left_out)


PEER = Peer(
    "RouteLLM 0.2.0",
    _load,
    left_out="importing it needs an OpenAI key (lm-sys/RouteLLM#19), its weights a model hub",
)

if __name__ == "__main__":
    serve(PEER)
