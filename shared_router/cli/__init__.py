"""``hybrid-llm``: parse, call one function, show what came of it; one module a command.

Needs the extra ``train``. What a command works with is imported when it runs, so that ``--help`` is fast.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of ``hybrid-llm``."""
    try:
        from shared_router.cli.commands import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.stderr.write('Error: the command line needs typer and rich: pip install "hybrid-llm[train]"\n')
        raise SystemExit(1) from None
    app()
