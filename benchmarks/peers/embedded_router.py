"""Our embedded router, held to the same protocol as the others. Runs in our environment.

Score: the calibrated difficulty of ``Router.default().route(text)``. Default decision: the target of the same call, at
the knob that holds when nobody sets one (keep 90 % of the quality gap where its curve was measured).
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve


def _load() -> Callable[[str], Verdict]:
    from shared_router.router import Router

    router = Router.default()

    def judge(text: str) -> Verdict:
        decision = router.route(text)
        assert decision.difficulty is not None
        return Verdict({"difficulty": decision.difficulty}, decision.target == "large")

    return judge


PEER = Peer("embedded router", _load, distribution="hybrid-llm")

if __name__ == "__main__":
    serve(PEER)
