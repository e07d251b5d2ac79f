"""pareto-router (package pareto-router, modules evaluator/heuristic.py and core/policy.py).

Called: ``HeuristicEvaluator().evaluate_sync(text)`` and ``ParetoPolicy().evaluate_coordinates(scores)``, which is what
its gateway does before a call; the gateway itself is not called, since it answers by itself when there is no key. Its
output is a tier (compact < mid < frontier, here 0 … 2), from two scores (logic: words and patterns of mathematics and
code; knowledge: words, long words, capitals, length), and a reasoning effort in [0, 1]. Both outputs are measured,
higher = more model. Default decision: "large" is the tier frontier; mid is counted as between.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve

TIERS = ("compact", "mid", "frontier")


def _load() -> Callable[[str], Verdict]:
    from pareto_router import HeuristicEvaluator, ParetoPolicy

    evaluator, policy = HeuristicEvaluator(), ParetoPolicy()

    def judge(text: str) -> Verdict:
        decision = policy.evaluate_coordinates(evaluator.evaluate_sync(text))
        rank = TIERS.index(decision.tier.value)
        return Verdict({"tier": float(rank), "effort": decision.effort_score}, rank == 2, rank == 1)

    return judge


PEER = Peer(
    "pareto-router",
    _load,
    distribution="pareto-router",
    environment="pareto-router",
    pinned=("pareto-router==0.1.0 --hash=sha256:f861f58d2906e94fb742fce5f7e6dc6af670a0b6e55bc5989bcf91a69da11b28",),
)

if __name__ == "__main__":
    serve(PEER)
