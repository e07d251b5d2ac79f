"""How long importing our packages takes beyond what they must import of their host.

    python -m benchmarks.bench_imports

Host alone and host with ours are started in turn, each in a fresh interpreter, so that a noisy machine hits both alike;
the limit is 0.15 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

HOSTS = {
    "shared_router": "sys",
    "langchain_hybrid": "langchain_core.language_models.chat_models, langchain_core.tools",
    "llamaindex_hybrid": "llama_index.core.llms.function_calling",
}
ROUNDS = 9


def seconds_to_import(modules: str) -> float:
    """Seconds that ``import <modules>`` takes in a fresh interpreter, start-up not counted."""
    code = f"import time; start = time.perf_counter(); import {modules}; print(time.perf_counter() - start)"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    """Print one line a package."""
    print(
        f"{'package':<18} {'host alone':>11} {'with ours':>11} {'extra':>8}   (median of {ROUNDS}, seconds; limit 0.15)"
    )
    for package, host in HOSTS.items():
        alone, together = [], []
        for _ in range(ROUNDS):
            alone.append(seconds_to_import(host))
            together.append(seconds_to_import(f"{host}, {package}"))
        extra = statistics.median(both - one for one, both in zip(alone, together, strict=True))
        print(f"{package:<18} {statistics.median(alone):>11.3f} {statistics.median(together):>11.3f} {extra:>8.3f}")


if __name__ == "__main__":
    main()
