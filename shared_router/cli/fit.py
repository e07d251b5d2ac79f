"""``hybrid-llm fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors, steps
from shared_router.cli.calibration import method_of, range_of, show_promises, show_reading

if TYPE_CHECKING:
    from shared_router.training.fit_own import FitReport

__all__ = ["fit"]

FIT_HELP = """\
Fit a router for your own two models from labelled prompts (100 are a start, 500 are good).

\b
Each row has a prompt and the quality of either model's answer, on one scale, higher = better:
    {"prompt": "...", "small_quality": 0.5, "large_quality": 1}
Several heads are compared by cross-validation; a part of the prompts is held out, on which you are told if routing
pays at all, and what can be promised. Columns that are understood: group (prompts that belong together), small_cost,
large_cost.

\b
Example:
    hybrid-llm fit outcomes.jsonl --out my-router
"""


@app.command(help=FIT_HELP)
def fit(
    file: Annotated[Path, typer.Argument(help="Labelled prompts: .jsonl, .ndjson, .csv or .parquet.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write the router to; an older router there is replaced.")
    ],
    method: Annotated[
        str, typer.Option(help="auto, or one of: embedded, surface, static, words, mixed, logistic, knn.")
    ] = "auto",
    held_out: Annotated[
        float | None,
        typer.Option(help="Share to measure and certify on, 0 to 1; 0.4 from 200 prompts on, nothing below."),
    ] = None,
    calibration: Annotated[str, typer.Option(help="platt, or isotonic (wants some 500 prompts).")] = "platt",
    quality_range: Annotated[
        str | None, typer.Option(help="LOW,HIGH: worst and best quality that can occur, where not 0,1.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same file and seed, same router.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Fit a router for your own two models from labelled prompts (100 are a start, 500 are good)."""
    from shared_router.tables.labeled import read_labeled
    from shared_router.training.fit_own import fit_own

    with errors():
        ends = range_of(quality_range)
        how = method_of(calibration)
        labeled = read_labeled(file, skip_bad=skip_bad)
        with steps() as advance:
            report = fit_own(
                labeled,
                method=method,
                seed=seed,
                name=out.resolve().name,
                held_out=held_out,
                calibration=how,
                quality_range=ends,
                advance=advance,
            )
        show_reading(labeled)
        _show(report)
        if report.artifact is None:
            typer.echo("Nothing was written.", err=True)
            raise typer.Exit(1)
        show_promises(report.artifact)
        saved = report.artifact.save(out)
        typer.echo(f'Written: {out} ({saved.content_hash[:12]}). Use it: HybridChatModel(..., router="{out}")')


def _show(report: FitReport) -> None:
    from rich.console import Console
    from rich.table import Table

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
    if report.measured is not None:
        served, over = report.measured.apgr, report.measured.over_length
        typer.echo(
            f"On {len(report.held_out)} prompts that were held out: APGR {served.estimate:.3f} "
            f"[{served.low:.3f}, {served.high:.3f}], over prompt length {over.estimate:+.3f} "
            f"[{over.low:+.3f}, {over.high:+.3f}]"
        )
    if report.chosen == "constant":
        typer.echo("No head beat chance: the router that is written gives every prompt the same difficulty.")
    typer.echo(report.advice)
