"""The command ``hybrid-llm`` itself, and what its sub-commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from typer.core import TyperGroup

from shared_router.errors import HybridError

__all__ = ["app", "errors", "steps"]

# \b keeps the lines of the paragraph that follows as they are
HELP = """\
Route queries between a small and a large language model.

\b
From prompts to a router of your own in one command:
    hybrid-llm fit prompts.jsonl --small gpt-4.1-nano --large gpt-4.1 --by judge --judge gpt-4.1 --out my-router
or step by step:
    hybrid-llm collect prompts.jsonl --small gpt-4.1-nano --large gpt-4.1 --out outcomes.jsonl
    hybrid-llm label outcomes.jsonl --by numeric --out labelled.jsonl
    hybrid-llm fit labelled.jsonl --out my-router

\b
Prompts that both models answered already, with a quality for either answer, are labelled prompts:
    {"prompt": "What is the capital of Peru?", "small_quality": 1, "large_quality": 1}
    {"prompt": "Prove that 2 is irrational.", "small_quality": 0, "large_quality": 1}

\b
Then:
    hybrid-llm score --router my-router "How many primes lie between 100 and 200?"
and in your program:
    HybridChatModel(small=..., large=..., router="my-router", quality=0.9, confidence=0.95)
"""

ROAD = ("collect", "label", "fit", "train", "learn", "calibrate", "evaluate", "score", "explain", "audit", "allocate")
"""Commands in the order in which they are needed; others follow."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: object) -> list[str]:
        return sorted(self.commands, key=lambda name: (ROAD.index(name) if name in ROAD else len(ROAD), name))


app = typer.Typer(
    name="hybrid-llm",
    cls=_InOrder,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
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
