"""``hybrid-llm calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared_router.cli.app import app, errors
from shared_router.cli.calibration import folder_for, method_of, range_of, show_promises, show_reading

__all__ = ["calibrate"]

CALIBRATE_HELP = """\
Measure a router on your own two models: its probabilities, its operating curve, and what can be promised.

\b
The prompts must be new to the router, a random sample of your traffic, labelled as for fit. Some 200 give a curve;
promises with a confidence need more, and you are told how many.

\b
Examples:
    hybrid-llm calibrate fresh.jsonl --router my-router --out my-router
    hybrid-llm calibrate labelled.jsonl --out my-router          (the embedded router, on your traffic)
and in your program:
    HybridChatModel(small=..., large=..., router="my-router", quality=0.9, confidence=0.95)
"""


@app.command(help=CALIBRATE_HELP)
def calibrate(
    file: Annotated[Path, typer.Argument(help="Labelled prompts: .jsonl, .ndjson, .csv or .parquet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; it may be that of --router.")],
    router: Annotated[str, typer.Option(help="Folder of a router; without it the embedded one.")] = "default",
    method: Annotated[
        str, typer.Option(help="platt, isotonic (wants some 500 prompts), or keep for the probabilities as they are.")
    ] = "platt",
    quality_range: Annotated[
        str | None, typer.Option(help="LOW,HIGH: worst and best quality that can occur, where not 0,1.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Measure a router on your own two models."""
    from shared_router.artifact import Artifact
    from shared_router.evaluation.report import remove_report
    from shared_router.router import DEFAULT_ROUTER
    from shared_router.tables.labeled import read_labeled
    from shared_router.training.calibrating import calibrated

    with errors():
        labeled = read_labeled(file, skip_bad=skip_bad)
        known = Artifact.load(DEFAULT_ROUTER if router == "default" else router)
        artifact = calibrated(
            known,
            labeled,
            method=method_of(method),
            quality_range=range_of(quality_range),
            name=out.resolve().name,
        )
        show_reading(labeled)
        show_promises(artifact)
        saved = artifact.save(folder_for(out))
        # a page about the router that lay here before must not lie beside this one
        remove_report(out / "report")
        typer.echo(f'Written: {out} ({saved.content_hash[:12]}). Use it: HybridChatModel(..., router="{out}")')
