"""The command ``hybrid-llm`` itself, and what its sub-commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from shared_router.errors import HybridError

__all__ = ["app", "errors", "steps"]

# \b keeps the lines of the paragraph that follows as they are
HELP = """\
Route queries between a small and a large language model.

\b
Start from prompts that both of your models answered, with a quality for either answer, one JSON object a line:
    {"prompt": "What is the capital of Peru?", "small_quality": 1, "large_quality": 1}
    {"prompt": "Prove that 2 is irrational.", "small_quality": 0, "large_quality": 1}

\b
Then:
    hybrid-llm fit outcomes.jsonl --out my-router
    hybrid-llm score --router my-router "How many primes lie between 100 and 200?"
and in your program:
    HybridChatModel(small=..., large=..., router="my-router", quality=0.9)
"""

app = typer.Typer(
    name="hybrid-llm", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback(help=HELP)
def commands() -> None:
    """Route queries between a small and a large language model."""


@contextmanager
def errors() -> Iterator[None]:
    """An error of ours is told in its own words, without a traceback."""
    try:
        yield
    except HybridError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """A spinner on standard error; what it yields is told the title of each step before it begins."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda title: progress.update(task, description=title)
