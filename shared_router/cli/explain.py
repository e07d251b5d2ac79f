"""``hybrid-llm explain``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors

if TYPE_CHECKING:
    from rich.table import Table

    from shared_router.explanation import Explanation

__all__ = ["explain"]

EXPLAIN_HELP = """\
Show what moved a text's difficulty, and the labelled prompts that are most like it.

For a router with a linear head the contributions are exact; for others each word is left out in turn. The router holds
no text: to see similar prompts, pass the file that it was fitted on.

\b
Example:
    hybrid-llm explain --router my-router "Prove that 2 is irrational." --training labelled.jsonl
"""

BAR = 12
"""Characters of the longest bar to either side."""

SHOWN_CHARS = 60


@app.command(help=EXPLAIN_HELP)
def explain(
    text: Annotated[str, typer.Argument(help="The text to explain.")],
    router: Annotated[str, typer.Option(help="Folder written by fit; without it the embedded router.")] = "default",
    training: Annotated[
        Path | None, typer.Option(help="Labelled prompts to look for similar ones: .jsonl, .ndjson, .csv, .parquet.")
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Similar prompts to show.")] = 5,
    words: Annotated[int, typer.Option(min=1, help="Different words that are left out at most.")] = 64,
    top: Annotated[int, typer.Option(min=1, help="Contributions to show; JSON has all.")] = 12,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be used.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """Show what moved a text's difficulty, and the labelled prompts that are most like it."""
    from shared_router.explanation import explain as explained
    from shared_router.tables.labeled import read_labeled

    with errors():
        labeled = None if training is None else read_labeled(training, skip_bad=skip_bad)
        explanation = explained(router, text, training=labeled, neighbours=neighbours, max_words=words)
    if as_json:
        typer.echo(json.dumps(explanation.as_json(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _show(explanation, top)


def _show(explanation: Explanation, top: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    typer.echo(f"router {explanation.router_id}, difficulty {explanation.difficulty:.3f}")
    console.print(Text(explanation.statement))
    if explanation.contributions:
        console.print(_contributions(explanation, top))
    else:
        typer.echo("Nothing in the text moved the score.")
    if explanation.neighbours:
        console.print(_similar(explanation))


def _contributions(explanation: Explanation, top: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown, rest = explanation.contributions[:top], explanation.contributions[top:]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("what", overflow="fold", max_width=40)
    table.add_column("")
    table.add_column(explanation.unit, justify="right", no_wrap=True)
    table.add_column(f"{'◂ small':>{BAR}} {'large ▸':<{BAR}}", no_wrap=True)
    largest = abs(shown[0].value)
    for one in shown:
        # as Text: a word may hold what rich would take for markup
        table.add_row(Text(one.name), one.kind, f"{one.value:+.3f}", _bar(one.value / largest))
    exact = explanation.method == "exact"
    if rest:
        total = f"{sum(one.value for one in rest):+.3f}" if exact else ""
        table.add_row(f"{len(rest)} others", "", total, "")
    if exact:
        table.add_row("intercept", "", f"{explanation.intercept:+.3f}", "")
        table.add_row("sum", "", f"{explanation.score:+.3f}", "")
    return table


def _bar(share: float) -> str:
    """A bar to the right of the middle for what is above 0, to the left for what is below."""
    blocks = "█" * max(1, round(abs(share) * BAR))
    return f"{'':{BAR}}│{blocks}" if share > 0 else f"{blocks:>{BAR}}│"


def _similar(explanation: Explanation) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("similarity", "small", "large"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("most similar labelled prompts", overflow="ellipsis", no_wrap=True)
    for one in explanation.neighbours:
        line = " ".join(one.prompt.split())
        shown = line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"
        table.add_row(f"{one.similarity:.2f}", f"{one.small:.2f}", f"{one.large:.2f}", Text(shown))
    return table
