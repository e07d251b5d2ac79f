"""``hybrid-llm evaluate``."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors, steps
from shared_router.cli.calibration import show_reading

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import Console

    from shared_router.evaluation.costs import Costs
    from shared_router.evaluation.results import Evaluation
    from shared_router.evaluation.tabulated import Table
    from shared_router.router import Router
    from shared_router.tables.labeled import LabeledPrompts

__all__ = ["evaluate", "evaluation_of", "show_evaluation"]

EVALUATE_HELP = """\
Measure a router on labelled prompts that it did not learn from, and say whether routing pays.

\b
The file is one that fit takes, with the quality of both models' answers. All figures come with bootstrap
intervals, beside always small, always large, random, prompt length, nearest neighbours among your labels, and
the oracle. Columns that are used if they are there: group (resampled as a whole), small_cost and large_cost
(of one answer, in any one currency).

\b
Examples:
    hybrid-llm evaluate held-out.jsonl --router my-router --out report
    hybrid-llm evaluate held-out.jsonl --by task
"""

KNN_TITLE = "kNN on these labels"

WIDE = 130
"""Terminals with fewer columns are shown less."""


@app.command(help=EVALUATE_HELP)
def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled prompts: .jsonl, .ndjson, .csv or .parquet.")],
    router: Annotated[str, typer.Option(help="Folder written by fit; without it the embedded router.")] = "default",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.html, evaluation.json, curves.png, curves.svg; older ones are replaced."),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Column to show apart, such as task or language.")] = None,
    small_model: Annotated[str, typer.Option(help="The small model's name, for the report.")] = "small",
    large_model: Annotated[str, typer.Option(help="The large model's name, for the report.")] = "large",
    small_cost: Annotated[float | None, typer.Option(help="Mean cost of the small model's answers.")] = None,
    large_cost: Annotated[float | None, typer.Option(help="Mean cost of the large model's, same currency.")] = None,
    knn: Annotated[
        bool, typer.Option("--knn/--no-knn", help="Compare with nearest neighbours among the prompts.")
    ] = True,
    resamples: Annotated[int, typer.Option(help="Bootstrap samples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Same file, router and seed, same figures.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print evaluation.json instead of the tables.")] = False,
) -> None:
    """Measure a router on labelled prompts that it did not learn from, and say whether routing pays."""
    from shared_router.evaluation.report import save_report
    from shared_router.router import as_router
    from shared_router.tables.labeled import read_labeled

    with errors():
        labeled = read_labeled(file, skip_bad=skip_bad)
        chosen = as_router(router)
        with steps() as advance:
            found = evaluation_of(
                chosen,
                labeled,
                data=file.name,
                costs=_costs(labeled, small_cost, large_cost),
                by=by,
                small_model=small_model,
                large_model=large_model,
                knn=knn,
                resamples=resamples,
                seed=seed,
                advance=advance,
            )
            if out is not None:
                advance("drawing")
                save_report(found, out)
        show_reading(labeled, err=True)
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        show_evaluation(found)
        if found.verdict.word == "use_other":
            typer.echo(f"Fit one: hybrid-llm fit {file} --out my-router")
    if out is not None:
        typer.echo(f"Written: {out / 'report.html'}; beside it evaluation.json, curves.png, curves.svg.", err=as_json)


def evaluation_of(
    router: Router,
    labeled: LabeledPrompts,
    *,
    data: str,
    costs: Costs | None,
    by: str | None = None,
    small_model: str = "small",
    large_model: str = "large",
    knn: bool = True,
    knob: bool = True,
    resamples: int = 2000,
    seed: int = 0,
    advance: Callable[[str], None],
) -> Evaluation:
    """A router measured on labelled prompts that it did not learn from.

    Args:
        router: The router.
        labeled: The prompts.
        data: Where they come from, for the report.
        costs: What the answers cost; None where unknown.
        by: Column to show apart.
        small_model: The small model's name, for the report.
        large_model: The large model's.
        knn: Compare with nearest neighbours among the prompts.
        knob: Compare what the router's curve promises with what comes of it; for prompts on which the curve itself was
            measured that would say nothing.
        resamples: Bootstrap samples.
        seed: Same prompts, router and seed, same figures.
        advance: Told the title of each step before it begins.
    """
    from shared_router.evaluation import evaluate as evaluating

    advance("scoring")
    difficulty = router.difficulty(list(labeled.prompts))
    others = {}
    if knn:
        advance("nearest neighbours, out of fold")
        others = _neighbours(labeled, seed)
    advance("resampling")
    return evaluating.evaluate(
        difficulty,
        labeled,
        costs=costs,
        others=others,
        titles=dict.fromkeys(others, KNN_TITLE),
        wishes=evaluating.wishes_from(router.curve) if knob else (),
        by=by,
        data=data,
        router=router.router_id,
        small_model=small_model,
        large_model=large_model,
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        resamples=resamples,
        seed=seed,
    )


def _costs(labeled: LabeledPrompts, small: float | None, large: float | None) -> Costs | None:
    from shared_router.errors import OutcomeError
    from shared_router.evaluation.costs import constant_costs, costs_from

    if small is None and large is None:
        return costs_from(labeled)
    if small is None or large is None:
        raise OutcomeError("--small-cost and --large-cost go together: give both, or neither")
    return constant_costs(len(labeled), small, large)


def _neighbours(labeled: LabeledPrompts, seed: int) -> dict[str, npt.NDArray[np.float64]]:
    """Out-of-fold scores of the prompts' nearest neighbours, if neighbours can teach anything."""
    from shared_router.errors import OutcomeError
    from shared_router.tables.labeled import teachable
    from shared_router.training.fast_heads import METHODS, embedded_scorer, lesson_from, out_of_fold
    from shared_router.training.fit_own import groups_of

    try:
        teachable(labeled)
        lesson = lesson_from(embedded_scorer(), labeled.prompts, labeled.small, labeled.large, groups_of(labeled))
        return {"knn": out_of_fold(lesson, METHODS["knn"], seed)}
    except OutcomeError as error:
        typer.echo(f"Nearest neighbours are left out: {error}.", err=True)
        return {}


def show_evaluation(found: Evaluation) -> None:
    """The tables and the verdict, as wide as the terminal allows."""
    from rich.console import Console

    from shared_router.evaluation.tabulated import knob_table, models_table, money_table, score_table, task_table

    console = Console()
    wide = console.width >= WIDE
    about = found.about
    groups = "" if about.groups is None else f" in {about.groups} groups"
    typer.echo(f"{about.rows} prompts{groups}; router {about.router}")
    for table in (models_table, score_table, knob_table, task_table, money_table):
        _show_table(console, table(found), wide=wide)
    if not wide:
        typer.echo(f"Some columns are left out; a terminal of {WIDE} columns, --out and --json have them all.")
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"\n{found.verdict.text}")


def _show_table(console: Console, table: Table | None, *, wide: bool) -> None:
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    if table is None:
        return
    drawn = Drawn(
        title=table.title, caption=table.note, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left"
    )
    shown = range(len(table.columns)) if wide else table.narrow
    for column in shown:
        # as Text: a task's name may hold what rich would take for markup
        drawn.add_column(Text(table.columns[column]), justify="left" if column == 0 else "right")
    for place, row in enumerate(table.rows):
        drawn.add_row(*(Text(row[column]) for column in shown), style="bold" if place == table.marked else None)
    console.print(drawn)
