"""lc-shift (package lc-shift, modules lc_shift/strategies.py and lc_shift/router.py).

Called: ``lc_shift.strategies.compute_complexity(text)`` for the score, which adds up a length class by words, whether
there is a code block, reasoning words and numbered parts, in steps of .05 from 0 to 1, higher = more complex; and
``RouterShifter.route`` over two tiers of different price for the default decision (the dear tier from a complexity of
.5 on).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve


def _load() -> Callable[[str], Verdict]:
    from lc_shift import ModelTier, RouterConfig, RouterShifter, ShiftRequest
    from lc_shift.strategies import compute_complexity

    def tier(name: str, price: float) -> ModelTier:
        return ModelTier(
            name=name,
            provider="none",
            model_id=name,
            cost_per_1k_input=price,
            cost_per_1k_output=price,
            avg_latency_ms=1,
        )

    tiers = {"small": tier("small", 0.001), "large": tier("large", 0.01)}
    router = RouterShifter(RouterConfig(tiers=tiers, default_tier="small"))
    loop = asyncio.new_event_loop()

    def judge(text: str) -> Verdict:
        decision = loop.run_until_complete(router.route(ShiftRequest(prompt=text)))
        return Verdict({"complexity": compute_complexity(text)}, decision.tier_name == "large")

    return judge


PEER = Peer(
    "lc-shift",
    _load,
    distribution="lc-shift",
    environment="lc-shift",
    pinned=("lc-shift==0.1.1 --hash=sha256:399e28bdc4a01c2a68222185a799d632be48bd2edd44c8623ac16a64b0c57ce5",),
)

if __name__ == "__main__":
    serve(PEER)
