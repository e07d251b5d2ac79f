"""``hybrid-llm experts``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from shared_router.cli.app import app, errors, steps

if TYPE_CHECKING:
    from shared_router.training.expert_clusters import Encoder
    from shared_router.training.fit_experts import ExpertReport

__all__ = ["experts"]

GROUP_HELP = """\
Route between several models, each the expert of some kinds of queries.

\b
    hybrid-llm experts fit answers.jsonl --out my-experts
    hybrid-llm experts rank --router my-experts "Sort a list in C."
and in your program:
    ExpertChatModel(experts={"code": ..., "chat": ...}, router="my-experts", limits=8)
"""

FIT_HELP = """\
Learn which expert is best for which kind of query, from answers of all of them (1,000 prompts are a start).

\b
Each row is one answer:
    {"prompt": "Sort a list in C.", "model": "code", "quality": 1, "cost": 0.0004}
    {"prompt": "Sort a list in C.", "model": "chat", "quality": 0, "cost": 0.0002}
The models' names are those under which you serve them. Costs may be missing, in all rows.

\b
Queries are clustered by their words; each cluster goes to the expert with the best quality there, at a mean cost of at
most the budget. A part of the prompts is held out, on which you are told if it pays beside one model for everything.

\b
Examples:
    hybrid-llm experts fit answers.jsonl --out my-experts
    hybrid-llm experts fit answers.parquet --out my-experts --clusters 32 --encoder embedded --budget 0.0005
"""

RANK_HELP = """\
Show the cluster of a query and the experts for it, best first.

\b
Example:
    hybrid-llm experts rank --router my-experts "Sort a list in C." "Who wrote Faust?"
"""

experts = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=GROUP_HELP)
app.add_typer(experts, name="experts")


@experts.command(help=FIT_HELP)
def fit(
    file: Annotated[Path, typer.Argument(help="Answers: .jsonl, .ndjson, .csv or .parquet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write the router to; an older one there is replaced.")],
    clusters: Annotated[int, typer.Option(help="How many kinds of queries.")] = 16,
    encoder: Annotated[str, typer.Option(help="words (the paper's), or embedded.")] = "words",
    balanced: Annotated[bool, typer.Option("--balanced", help="Clusters of equal size, for equal loads.")] = False,
    budget: Annotated[
        float | None, typer.Option(help="Mean cost of a query; else that of the best single model.")
    ] = None,
    shrinkage: Annotated[
        float | None, typer.Option(help="Prompts that a cluster needs to be believed by half; else 50.")
    ] = None,
    held_out: Annotated[float, typer.Option(help="Share to measure on.")] = 0.4,
    seed: Annotated[int, typer.Option(help="Same file and seed, same router.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Learn which expert is best for which kind of query."""
    from shared_router.tables.answers import read_answers
    from shared_router.tables.expert_outcomes import expert_outcomes
    from shared_router.training.fit_experts import SHRINKAGE, fit_experts

    with errors():
        outcomes = expert_outcomes(read_answers(file, skip_bad=skip_bad))
        with steps() as advance:
            report = fit_experts(
                outcomes,
                clusters=clusters,
                encoder=cast("Encoder", encoder),
                balanced=balanced,
                budget=budget,
                shrinkage=SHRINKAGE if shrinkage is None else shrinkage,
                held_out=held_out,
                seed=seed,
                name=out.resolve().name,
                advance=advance,
            )
        for line in outcomes.skipped:
            typer.echo(f"Left out: {line}", err=True)
        if outcomes.incomplete:
            typer.echo(f"Left out: {outcomes.incomplete} prompts that not all models have answered", err=True)
        _show(report, with_costs=outcomes.has_costs)
        saved = report.router.save(out)
        typer.echo(f'Written: {out} ({saved.content_hash[:12]}). Use it: ExpertChatModel(..., router="{out}")')


@experts.command(help=RANK_HELP)
def rank(
    queries: Annotated[list[str], typer.Argument(help="One or several texts.")],
    router: Annotated[Path, typer.Option("--router", help="A folder written by experts fit.")],
) -> None:
    """Show the cluster of a query and the experts for it, best first."""
    from shared_router.experts.router import ExpertRouter

    with errors():
        ranked = ExpertRouter.load(router).rank(queries)
    for query, one in zip(queries, ranked, strict=True):
        where = "no known word" if one.distance is None else f"cluster {one.cluster}, distance {one.distance:.3f}"
        typer.echo(f"{', '.join(one.experts)}  ({where})  {query:.60}")


def _show(report: ExpertReport, *, with_costs: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    typer.echo(f"Learned from {report.learned} prompts, measured on {report.held_out} others.")
    table = Table("", "quality", *(["cost"] if with_costs else []), "over the best single model, 95 %")
    for system in report.systems:
        over = system.over_single
        difference = "" if over is None else f"{over.estimate:+.3f} [{over.low:+.3f}, {over.high:+.3f}]"
        cost = [f"{system.cost:.3g}"] if with_costs else []
        table.add_row(system.name, f"{system.quality:.3f}", *cost, difference)
    Console().print(table)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in report.shares.items() if share)
    typer.echo(f"Shares of the router: {shares}")
    typer.echo(report.advice)
