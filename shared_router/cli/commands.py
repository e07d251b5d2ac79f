"""All commands, registered by importing them."""

from __future__ import annotations

from shared_router.cli import (
    allocate,
    audit,
    calibrate,
    collect,
    evaluate,
    experts,
    explain,
    fit,
    label,
    learn,
    score,
    train,
)
from shared_router.cli.app import app

__all__ = [
    "allocate",
    "app",
    "audit",
    "calibrate",
    "collect",
    "evaluate",
    "experts",
    "explain",
    "fit",
    "label",
    "learn",
    "score",
    "train",
]
