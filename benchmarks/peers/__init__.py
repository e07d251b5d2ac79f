"""Routers of others, each behind one adapter script that runs in an environment of its own.

An adapter is a module with a ``PEER`` (``benchmarks.peers.protocol.Peer``) that needs nothing but the standard library
until its ``load`` is called, and so can be read here and run there. ``benchmarks.peers.workers`` makes the
environments and talks to the adapters; ``benchmarks.bench_peers`` measures them.
"""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers.protocol import Peer

__all__ = ["ADAPTERS", "all_peers"]

ADAPTERS = (
    "prompt_length",
    "embedded_router",
    "litellm_heuristic",
    "litellm_heuristic_v2",
    "lc_shift",
    "wayfinder_router",
    "pareto_router",
    "pyagent_router",
    "prompt_complexity_analyzer",
    "routellm",
)
"""Names of the adapter modules, in the order of the tables."""


def all_peers() -> dict[str, Peer]:
    """Every adapter's peer by the name of its module."""
    return {name: import_module(f"{__name__}.{name}").PEER for name in ADAPTERS}
