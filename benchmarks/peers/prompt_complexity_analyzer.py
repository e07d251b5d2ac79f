"""prompt-complexity-analyzer (package of that name, module prompt_complexity_analyzer/_core.py).

Called: ``complexity(text)``, which gives a score from 1 to 10 in steps of .1, higher = more complex, and a tier (fast <
balanced < capable; "large" is capable, balanced counts as between).

It ships a pickled scikit-learn model and loads it at import. That model was fitted on keyword counts joined with
vectors of a sentence encoder, which the peer fetches from a model hub. Without a hub the vectors are missing, the model
does not fit the input, and the peer falls back to its keyword score; ``backend`` says which one spoke, and if it is not
the same for all texts the adapter fails rather than mixing them. So what is measured is the fallback.
``sentence-transformers`` is therefore not installed: it would bring gigabytes, and no weights. scikit-learn is held at
1.8.0, which wrote the model: as the package declares it (≥ 1.3) pip takes 1.9.1, and the import fails with "No module
named '_loss'".
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.protocol import Peer, Verdict, serve


def _load() -> Callable[[str], Verdict]:
    from prompt_complexity_analyzer import complexity

    backend = complexity("one question").backend

    def judge(text: str) -> Verdict:
        result = complexity(text)
        if result.backend != backend:
            raise RuntimeError(f"scored by {result.backend}, other texts by {backend}")
        return Verdict({f"score ({backend})": result.score}, result.tier == "capable", result.tier == "balanced")

    return judge


PEER = Peer(
    "prompt-complexity-analyzer",
    _load,
    distribution="prompt-complexity-analyzer",
    environment="prompt-complexity-analyzer",
    pinned=(
        "prompt-complexity-analyzer==0.1.1 "
        "--hash=sha256:23af0750c702b6abf231a2431fba298a5fa0b364f374789bc4a0593dccfef2b0",
    ),
    dependencies=("numpy", "scikit-learn==1.8.0", "joblib", "aiohttp"),
)

if __name__ == "__main__":
    serve(PEER)
