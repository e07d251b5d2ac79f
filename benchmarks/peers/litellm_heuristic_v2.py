"""LiteLLM's complexity router with the classifier "heuristic_v2".

Source: BerriAI/litellm, litellm/router_strategy/complexity_router, modules complexity_router.py and tier_predictor.py.

Called: ``ComplexityRouter.aclassify(text)`` of a router whose only setting is ``classifier_type="heuristic_v2"``. It
puts a text into a cell (kind of request by regular expressions, length class, code, mathematics, multiple choice,
script) and looks up how often models of four tiers succeeded on UltraFeedback in that cell, smoothed towards coarser
cells. It gives four probabilities of success; as the score is taken 1 − the lowest tier's, the chance that the small
model falls short. The tier is the first whose probability reaches the shipped threshold (.75), here 0 … 3; "large" is,
as for the first heuristic, COMPLEX or REASONING.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.peers.litellm_heuristic import PINNED, TIERS
from benchmarks.peers.protocol import Peer, Verdict, serve


def _load() -> Callable[[str], Verdict]:
    from litellm import Router
    from litellm.router_strategy.complexity_router import ComplexityRouter

    router = ComplexityRouter("auto", Router(model_list=[]), {"classifier_type": "heuristic_v2"})
    loop = asyncio.new_event_loop()

    def judge(text: str) -> Verdict:
        outcome = loop.run_until_complete(router.aclassify(text))
        rank = TIERS.index(outcome.tier.value)
        short = 1.0 - outcome.heuristic_v2_forecast["probabilities"]["SIMPLE"]
        return Verdict({"1 − P(lowest tier succeeds)": short, "tier": float(rank)}, rank >= 2)

    return judge


PEER = Peer("LiteLLM heuristic v2", _load, distribution="litellm", environment="litellm", pinned=PINNED)

if __name__ == "__main__":
    serve(PEER)
