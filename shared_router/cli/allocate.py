"""``hybrid-llm allocate``."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors, steps
from shared_router.errors import HybridError, OutcomeError

if TYPE_CHECKING:
    from shared_router.tables.answers import Answers
    from shared_router.training.batch_allocation import Allotment, Outturn
    from shared_router.training.batch_report import BatchReport

__all__ = ["allocate"]

ALLOCATE_HELP = """\
Say which of several models answers which query of a batch, within a budget or for an accuracy.

\b
One row an answer, or a place for one. Queries with a quality of every model are learned from, those without any are
allocated:
    {"query": "Capital of Peru?", "model": "tiny", "quality": 1, "cost": 0.00002}
    {"query": "Capital of Peru?", "model": "grand", "quality": 1, "cost": 0.0011}
    {"query": "Prove that the root of 2 is irrational.", "model": "tiny"}
    {"query": "Prove that the root of 2 is irrational.", "model": "grand"}
Where every query has all qualities it is a rehearsal: a share is learned from, the rest is allocated as if nobody knew,
and you are told what that would really have cost and made. Costs of queries to come are taken from the file where it
has them, else from --price, else predicted from what answers have cost.

\b
Examples:
    hybrid-llm allocate outcomes.parquet --budget 5.0 --out assignment.jsonl
    hybrid-llm allocate outcomes.jsonl --accuracy 0.9 --price tiny=0.1,0.4 --price grand=3,15 --output-tokens 300
"""


@app.command(help=ALLOCATE_HELP)
def allocate(
    file: Annotated[Path, typer.Argument(help="Answers of many models: .jsonl, .ndjson, .csv or .parquet.")],
    budget: Annotated[float | None, typer.Option(help="Spend at most this much on the whole batch.")] = None,
    accuracy: Annotated[float | None, typer.Option(help="Reach this expected mean quality, 0 to 1.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, .jsonl: a row a query, with its model.")] = None,
    plot: Annotated[Path | None, typer.Option(help="File to write, .png: cost against quality.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; may be given several times.")] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="NAME=INPUT,OUTPUT: price of a million tokens; may be given several times.")
    ] = None,
    output_tokens: Annotated[float | None, typer.Option(help="Tokens of an answer, with --price.")] = None,
    method: Annotated[str, typer.Option(help="ridge, logistic, or forest (the paper's; slow).")] = "ridge",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples that tell how sure a prediction is.")] = 100,
    train_share: Annotated[float, typer.Option(help="Of a rehearsal: share of the queries to learn from.")] = 0.2,
    exact: Annotated[bool, typer.Option("--exact", help="Search for the integer optimum; a little better.")] = False,
    seed: Annotated[int, typer.Option(help="Same file and seed, same assignment.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Say which of several models answers which query of a batch, within a budget or for an accuracy."""
    from shared_router.tables.answers import read_answers
    from shared_router.training.batch_report import allocate_batch
    from shared_router.training.success_models import method_of

    with errors():
        _check_endings(out, plot)
        prices = dict(map(_price, price)) if price else None
        with steps() as advance:
            answers = read_answers(file, models=model or (), skip_bad=skip_bad)
            report = allocate_batch(
                answers,
                budget=budget,
                accuracy=accuracy,
                method=method_of(method),
                resamples=resamples,
                prices=prices,
                output_tokens=output_tokens,
                train_share=train_share,
                exact=exact,
                seed=seed,
                advance=advance,
            )
        if out is not None:
            _write(out, _assignment(report).encode())
        if plot is not None:
            _write(plot, _picture(report.allotment, report.outturn))
    _show_reading(answers)
    _show(report)
    for path in (out, plot):
        if path is not None:
            typer.echo(f"Written: {path}", err=True)


def _check_endings(out: Path | None, plot: Path | None) -> None:
    for path, endings in ((out, (".jsonl", ".ndjson")), (plot, (".png",))):
        if path is not None and path.suffix.lower() not in endings:
            raise OutcomeError(f"{path}: the ending says the format; use {' or '.join(endings)}")


def _price(stated: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = stated.rpartition("=")
    try:
        sent, answered = map(float, numbers.split(","))
    except ValueError:
        name = ""
    # written so that NaN fails
    if not name or not (0.0 <= sent < float("inf") and 0.0 <= answered < float("inf")):
        raise HybridError(f"--price is NAME=INPUT,OUTPUT, the price of a million tokens each, got {stated!r}")
    return name, (sent, answered)


def _assignment(report: BatchReport) -> str:
    allotment, batch = report.allotment, report.batch
    lines = []
    for row, place in enumerate(allotment.chosen):
        fields = {
            **({"id": batch.ids[row]} if batch.ids[row] else {}),
            "query": batch.queries[row],
            "model": batch.models[place],
            "expected_quality": round(float(allotment.forecast.mean[row, place]), 6),
            "std": round(float(allotment.forecast.std[row, place]), 6),
            "expected_cost": float(allotment.forecast.cost[row, place]),
        }
        lines.append(json.dumps(fields, ensure_ascii=False, allow_nan=False))
    return "\n".join(lines) + "\n"


def _picture(allotment: Allotment, outturn: Outturn | None) -> bytes:
    import numpy as np

    from shared_router.evaluation.front_plot import front_png

    expected = np.column_stack([allotment.front.cost, allotment.front.quality])
    chosen = (allotment.expected_cost, allotment.expected_quality)
    if outturn is None:
        return front_png(expected, chosen)
    singles = zip(allotment.models, outturn.single_cost.tolist(), outturn.single_quality.tolist(), strict=True)
    return front_png(expected, chosen, real=outturn.points, singles=list(singles))


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutcomeError(f"{path} cannot be written ({error})") from error


def _show_reading(answers: Answers) -> None:
    for place in answers.skipped:
        typer.echo(f"left out: {place}", err=True)
    if answers.merged:
        typer.echo(f"{answers.merged} rows are a further sample of an answer; the mean counts.", err=True)


def _show(report: BatchReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    allotment, outturn, models = report.allotment, report.outturn, report.models
    typer.echo(
        f"{models.known} queries learned from, {len(report.batch)} to allocate, {len(models.models)} models; "
        f"{models.accuracy:.1%} of unseen labels predicted right, alpha {models.alpha:g}."
    )
    if report.partly:
        typer.echo(f"{report.partly} queries have qualities of some models only; they were left aside.")
    console = Console()
    table = Table("model", "queries", *(["alone: cost", "quality"] if outturn else []))
    for place, (name, count) in enumerate(allotment.counts.items()):
        alone = [f"{outturn.single_cost[place]:.4g}", f"{outturn.single_quality[place]:.4f}"] if outturn else []
        # as Text: a name may hold what rich would take for markup
        table.add_row(Text(name), f"{count:,}", *alone)
    console.print(table)
    totals = Table("", "cost", "quality")
    mean = float(allotment.mean_quality)
    totals.add_row("expected", f"{allotment.expected_cost:.4g}", f"{mean:.4f}")
    if models.alpha:
        totals.add_row("decided by, with uncertainty", "", f"{allotment.expected_quality:.4f}")
    if outturn is not None:
        totals.add_row("real", f"{outturn.cost:.4g}", f"{outturn.quality:.4f}")
    totals.add_row("cheapest on the front", f"{allotment.front.cost[0]:.4g}", f"{allotment.front.quality[0]:.4f}")
    totals.add_row("best on the front", f"{allotment.front.cost[-1]:.4g}", f"{allotment.front.quality[-1]:.4f}")
    console.print(totals)
    if outturn is not None:
        _show_match(allotment, outturn)


def _show_match(allotment: Allotment, outturn: Outturn) -> None:
    name, paid = allotment.models[outturn.best], float(outturn.single_cost[outturn.best])
    least = outturn.cost_to_match
    if least is None:
        typer.echo(f"No point of the front really has the quality of {name} alone.")
    else:
        saved = f"{1.0 - least / paid:.0%} less than {paid:.4g}" if paid > 0.0 else f"instead of {paid:.4g}"
        typer.echo(
            f"The front has the quality of {name} alone from a real cost of {least:.4g} on, {saved}; found by looking "
            "at the outcomes, which flatters."
        )
