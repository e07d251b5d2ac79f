"""``hybrid-llm score``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors
from shared_router.errors import QueryError

if TYPE_CHECKING:
    from shared_router.decision import RoutingDecision

__all__ = ["score"]

SCORE_HELP = """\
Show difficulty and decision of texts.

\b
Examples:
    hybrid-llm score "What is the capital of Peru?" "Prove that 2 is irrational."
    hybrid-llm score --router my-router --quality 0.95 --json - < prompts.txt
"""

SHOWN_CHARS = 60


@app.command(help=SCORE_HELP)
def score(
    texts: Annotated[list[str], typer.Argument(help="Texts to judge; - reads them from standard input, one a line.")],
    router: Annotated[str, typer.Option(help="Folder written by fit; without it the embedded router.")] = "default",
    quality: Annotated[float | None, typer.Option(help="Share of the large model's gain to keep, 0 to 1.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Accepted relative loss of quality, 0 to 1.")] = None,
    large_share: Annotated[float | None, typer.Option(help="Largest share of calls to the large model.")] = None,
    threshold: Annotated[float | None, typer.Option(help="The raw cut on the difficulty.")] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Keep the promise with this probability; beside --quality or --max-drop.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a text instead of a table.")] = False,
) -> None:
    """Show difficulty and decision of texts."""
    from shared_router.knob import DEFAULT_KNOB, knob_from
    from shared_router.router import as_router

    with errors():
        wish = {"quality": quality, "max_drop": max_drop, "large_share": large_share, "threshold": threshold}
        wish["confidence"] = confidence
        knob = knob_from(wish) or DEFAULT_KNOB
        judged = [text for given in texts for text in (_lines() if given == "-" else [given])]
        decisions = as_router(router).route_many(judged, [knob] * len(judged))
    if as_json:
        for text, decision in zip(judged, decisions, strict=True):
            fields = decision.as_metadata("")
            del fields["model"]
            typer.echo(json.dumps({"text": text, **fields}, ensure_ascii=False))
    else:
        _show_decisions(judged, decisions)


def _lines() -> list[str]:
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QueryError(f"standard input is not UTF-8 ({error}); convert it first") from error
    return [line for line in text.splitlines() if line.strip()]


def _show_decisions(texts: list[str], decisions: list[RoutingDecision]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not decisions:
        return
    first = decisions[0]
    typer.echo(
        f"router {first.router_id}, {first.knob.name}={first.knob.value}, threshold {first.threshold}, "
        f"calibrated: {first.calibrated}"
    )
    table = Table("difficulty", "model", "text")
    for text, decision in zip(texts, decisions, strict=True):
        line = " ".join(text.split())
        shown = line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"
        # as Text: a prompt may hold what rich would take for markup
        table.add_row(f"{decision.difficulty:.3f}", decision.target, Text(shown))
    Console().print(table)
