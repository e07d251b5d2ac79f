"""LiteLLM's complexity router with its default classifier, "heuristic".

Source: BerriAI/litellm, litellm/router_strategy/complexity_router.

Called: ``ComplexityRouter.classify(text)``, which returns a tier and the raw score, on a router with nothing but its
default configuration. The score is a weighted sum over keyword lists (code, reasoning, technical terms, simple
openers), coarse length classes, step patterns and question marks; higher = more complex, and it takes few values. The
tier cuts it at .15, .35 and .60, and two reasoning words lift a text to the highest tier: SIMPLE < MEDIUM < COMPLEX <
REASONING, here 0 … 3.

Default decision: the example of LiteLLM's documentation ("Autorouter SDK") gives SIMPLE and MEDIUM to the fast model,
COMPLEX and REASONING to the capable one, and so is "large" counted here.

At import it asks GitHub for its price list and, refused, takes the one that it ships.

Not 1.82.7, 1.82.8 and 1.107.0: those uploads were malicious.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve

TIERS = ("SIMPLE", "MEDIUM", "COMPLEX", "REASONING")

PINNED = ("litellm==1.108.14 --hash=sha256:892ec37440b0819928eb6fd81e0aa32644ecb9ff5f2df78455d5dda1bfb638cf",)
"""The hash is that of the wheel for Linux on x86-64."""


def _load() -> Callable[[str], Verdict]:
    from litellm import Router
    from litellm.router_strategy.complexity_router import ComplexityRouter

    router = ComplexityRouter("auto", Router(model_list=[]))

    def judge(text: str) -> Verdict:
        tier, score, _ = router.classify(text)
        rank = TIERS.index(tier.value)
        return Verdict({"score": float(score), "tier": float(rank)}, rank >= 2)

    return judge


PEER = Peer("LiteLLM heuristic", _load, distribution="litellm", environment="litellm", pinned=PINNED)

if __name__ == "__main__":
    serve(PEER)
