"""``hybrid-llm``: parse, call one function, show what came of it.

Needs the extra ``train``. What a command works with is imported when it runs, so that ``--help`` is fast.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from shared_router.errors import HybridError, MissingExtraError

try:
    import typer
except ImportError as error:
    raise MissingExtraError('the command line needs typer and rich: pip install "hybrid-llm[train]"') from error

if TYPE_CHECKING:
    from shared_router.decision import RoutingDecision
    from shared_router.training.fit_own import FitReport

__all__ = ["app", "main"]

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

FIT_HELP = """\
Fit a router for your own two models from labelled prompts (100 are a start, 500 are good).

\b
Each row has a prompt and the quality of either model's answer, on one scale, higher = better:
    {"prompt": "...", "small_quality": 0.5, "large_quality": 1}
Several heads are compared by cross-validation; you are told if routing pays on your data at all.

\b
Example:
    hybrid-llm fit outcomes.jsonl --out my-router
"""

SCORE_HELP = """\
Show difficulty and decision of texts.

\b
Examples:
    hybrid-llm score "What is the capital of Peru?" "Prove that 2 is irrational."
    hybrid-llm score --router my-router --quality 0.95 --json - < prompts.txt
"""

SHOWN_KNOBS = (0.5, 0.8, 0.9, 0.95)
"""Wishes whose price the report of ``fit`` shows."""

SHOWN_CHARS = 60

app = typer.Typer(
    name="hybrid-llm", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback(help=HELP)
def commands() -> None:
    """Route queries between a small and a large language model."""


@app.command(help=FIT_HELP)
def fit(
    file: Annotated[Path, typer.Argument(help="Labelled prompts: .jsonl, .ndjson, .csv or .parquet.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write the router to; an older router there is replaced.")
    ],
    method: Annotated[
        str, typer.Option(help="auto, or one of: embedded, surface, static, words, mixed, logistic, knn.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Same file and seed, same router.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Fit a router for your own two models from labelled prompts (100 are a start, 500 are good)."""
    from shared_router.training.fit_own import fit_own
    from shared_router.training.labeled import read_labeled

    with _errors():
        labeled = read_labeled(file, skip_bad=skip_bad)
        with _steps() as advance:
            report = fit_own(labeled, method=method, seed=seed, name=out.resolve().name, advance=advance)
        for place in labeled.skipped:
            typer.echo(f"left out: {place}", err=True)
        if labeled.merged:
            typer.echo(f"{labeled.merged} rows repeat an earlier prompt; the mean of each prompt counts.")
        if labeled.clipped:
            typer.echo(f"{labeled.clipped} prompts are longer than what is read of a prompt; their beginning counts.")
        _show(report)
        if report.artifact is None:
            typer.echo("Nothing was written.", err=True)
            raise typer.Exit(1)
        saved = report.artifact.save(out)
        typer.echo(f'Written: {out} ({saved.content_hash[:12]}). Use it: HybridChatModel(..., router="{out}")')


@app.command(help=SCORE_HELP)
def score(
    texts: Annotated[list[str], typer.Argument(help="Texts to judge; - reads them from standard input, one a line.")],
    router: Annotated[str, typer.Option(help="Folder written by fit; without it the embedded router.")] = "default",
    quality: Annotated[float | None, typer.Option(help="Share of the large model's gain to keep, 0 to 1.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Accepted relative loss of quality, 0 to 1.")] = None,
    large_share: Annotated[float | None, typer.Option(help="Largest share of calls to the large model.")] = None,
    threshold: Annotated[float | None, typer.Option(help="The raw cut on the difficulty.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a text instead of a table.")] = False,
) -> None:
    """Show difficulty and decision of texts."""
    from shared_router.knob import DEFAULT_KNOB, knob_from
    from shared_router.router import as_router

    with _errors():
        wish = {"quality": quality, "max_drop": max_drop, "large_share": large_share, "threshold": threshold}
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


def main() -> None:
    """Entry point of ``hybrid-llm``."""
    app()


@contextmanager
def _errors() -> Iterator[None]:
    """An error of ours is told in its own words, without a traceback."""
    try:
        yield
    except HybridError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda title: progress.update(task, description=title)


def _lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


def _show(report: FitReport) -> None:
    from rich.console import Console
    from rich.table import Table

    from shared_router.knob import Knob, operating_point

    console = Console()
    gap = report.gap
    typer.echo(
        f"{report.rows} prompts; mean quality: small {report.small_quality:.3f}, large {report.large_quality:.3f}, "
        f"gap {gap.estimate:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    )
    if report.heads:
        table = Table(
            "head", "APGR", "95 %", "over prompt length, 95 %", "", title="Cross-validated; guessing has .500"
        )
        for head in report.heads:
            over = head.over_length
            difference = "" if head.name == "length" else f"{over.estimate:+.3f} [{over.low:+.3f}, {over.high:+.3f}]"
            interval = f"{head.apgr.low:.3f} to {head.apgr.high:.3f}"
            mark = "served" if head.name == report.chosen else ""
            table.add_row(head.name, f"{head.apgr.estimate:.3f}", interval, difference, mark)
        table.add_row("oracle", f"{report.oracle:.3f}", "", "", "")
        console.print(table)
    if report.artifact is not None:
        points = [operating_point(Knob("quality", wish), report.artifact.curve) for wish in SHOWN_KNOBS]
        shares = ", ".join(
            f"{wish:g} → {point.large_share:.0%}"
            for wish, point in zip(SHOWN_KNOBS, points, strict=True)
            if point.large_share is not None
        )
        typer.echo(f"quality → share of calls to the large model, as measured: {shares}")
    if report.chosen == "constant":
        typer.echo("No head beat chance: the router that is written gives every prompt the same difficulty.")
    typer.echo(report.advice)


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
