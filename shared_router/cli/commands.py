"""All commands, registered by importing them in the order in which ``--help`` lists them."""

from __future__ import annotations

from shared_router.cli import audit, calibrate, collect, evaluate, explain, fit, label, learn, score, train
from shared_router.cli.app import app

__all__ = ["app", "audit", "calibrate", "collect", "evaluate", "explain", "fit", "label", "learn", "score", "train"]
