"""Latency, load time, memory and throughput of the embedded router: ``python -m benchmarks.bench_router``.

All on one core, with one thread.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

ONE_CORE = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

WORDS = (
    "the",
    "committee",
    "must",
    "decide",
    "which",
    "of",
    "these",
    "seven",
    "proposals",
    "costs",
    "less",
    "per",
    "year",
)
"""Each of these is one token."""

MEMORY = """
import resource, sys
import numpy
if {load}:
    from shared_router.router import Router
    router = Router.default()
    router.difficulty(["one question"] * 1000 + ["a longer one " * 40] * 20)
print(open("/proc/self/statm").read().split()[1] if sys.platform == "linux" else
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

LOAD = """
import time
import numpy, tokenizers, safetensors.numpy
import shared_router
start = time.perf_counter()
from shared_router.router import Router
Router.default().difficulty(["one question"])
print(time.perf_counter() - start)
"""


def _child(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _milliseconds(work: Callable[[], object], rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return sorted(taken)


def main() -> None:
    """Measure and print."""
    os.environ.update(ONE_CORE)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from shared_router.router import Router

    router = Router.default()
    hundred = " ".join(WORDS[i % len(WORDS)] for i in range(100))
    router.difficulty([hundred])
    one = _milliseconds(lambda: router.difficulty([hundred]), 2000)
    print(f"one query of 100 tokens   p50 {statistics.median(one):.3f} ms   p99 {one[1979]:.3f} ms   (limit: p50 0.3)")
    short = [f"What is the capital of country number {i}?" for i in range(10_000)]
    batch = _milliseconds(lambda: router.difficulty(short), 5)
    print(f"short queries, vectorised {10_000_000 / statistics.median(batch):,.0f} a second   (limit: 10,000)")
    megabyte = "word " * 200_000
    long = _milliseconds(lambda: router.difficulty([megabyte]), 50)
    print(f"one query of 1 MB         p50 {statistics.median(long):.3f} ms")
    loads = [_child(LOAD) for _ in range(5)]
    print(f"load and first query      {statistics.median(loads):.3f} s   (limit: 0.3)")
    page = os.sysconf("SC_PAGE_SIZE") if sys.platform == "linux" else 1024
    with_router, without = (
        statistics.median(_child(MEMORY.format(load=load)) for _ in range(3)) for load in (True, False)
    )
    print(f"memory above numpy alone  {(with_router - without) * page / 2**20:.1f} MB   (limit: 80)")


if __name__ == "__main__":
    main()
