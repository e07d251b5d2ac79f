"""``hybrid-llm fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from shared_router.cli.app import app, errors, steps
from shared_router.cli.calibration import check_wishes, folder_for, method_of, range_of, show_promises, show_reading
from shared_router.cli.collect import collect
from shared_router.cli.evaluate import evaluation_of, show_evaluation
from shared_router.cli.label import label
from shared_router.errors import HybridError

if TYPE_CHECKING:
    from shared_router.artifact import Artifact
    from shared_router.tables.labeled import LabeledPrompts
    from shared_router.training.fit_own import FitReport

__all__ = ["fit"]

REPORT = "report"
"""Folder of the evaluation inside the router's."""

HELD_OUT_FILE = "held-out.jsonl"

FIT_HELP = """\
Fit a router for your own two models (100 prompts are a start, 500 are good).

\b
From labelled prompts: each row has the quality of either model's answer, on one scale, higher = better:
    {"prompt": "...", "small_quality": 0.5, "large_quality": 1}
or from bare prompts, with --small, --large and --by: both models are asked, the answers judged, and then the router
fitted: collect, label, fit and evaluate in one. Killed or stopped, the same command goes on where it was.

\b
Several heads are compared by cross-validation; a part of the prompts is held out, on which you are told if routing
pays at all, and what can be promised. Columns that are understood: group (prompts that belong together), small_cost,
large_cost.

\b
Examples:
    hybrid-llm fit labelled.jsonl --out my-router
    hybrid-llm fit prompts.jsonl --small gpt-4.1-nano --large gpt-4.1 --by judge --judge gpt-4.1 --out my-router
    hybrid-llm fit prompts.jsonl --small llama3 --small-url http://localhost:8000/v1 --large my_models:large
        --by numeric --samples 3 --out my-router
"""


@app.command(help=FIT_HELP)
def fit(
    file: Annotated[Path, typer.Argument(help="Labelled prompts, or bare ones: .jsonl, .ndjson, .csv or .parquet.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write the router to; an older router there is replaced.")
    ],
    small: Annotated[str | None, typer.Option(help="Bare prompts: the small model, as for collect.")] = None,
    large: Annotated[str | None, typer.Option(help="Bare prompts: the large model, likewise.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Bare prompts: how answers are judged, as for label.")] = None,
    samples: Annotated[int, typer.Option(help="Bare prompts: answers per prompt and model.")] = 10,
    small_url: Annotated[str | None, typer.Option(help="Where the small model is served.")] = None,
    large_url: Annotated[str | None, typer.Option(help="Where the large model is served.")] = None,
    small_key_env: Annotated[str | None, typer.Option(help="Environment variable with its key.")] = None,
    large_key_env: Annotated[str | None, typer.Option(help="Environment variable with its key.")] = None,
    small_price: Annotated[str | None, typer.Option(help="USD per million tokens: INPUT,OUTPUT.")] = None,
    large_price: Annotated[str | None, typer.Option(help="USD per million tokens: INPUT,OUTPUT.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="USD that the answers may cost.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of models at endpoints; 1 if not given.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer of models at endpoints.")] = None,
    judge: Annotated[str | None, typer.Option(help="The judge's name, or a model of transformers.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Where the judge is served.")] = None,
    judge_key_env: Annotated[str | None, typer.Option(help="Environment variable with its key.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for answers and labels; else beside --out, with -work behind its name.")
    ] = None,
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
    seed: Annotated[int, typer.Option(help="Same rows and seed, same router, in whatever order they are.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Fit a router for your own two models (100 prompts are a start, 500 are good)."""
    from shared_router.evaluation.report import remove_report
    from shared_router.tables.labeled import read_labeled, write_labeled_prompts
    from shared_router.training.fit_own import fit_own

    with errors():
        # whatever is wrong with the wishes is said before a model is asked
        ends = range_of(quality_range)
        how = method_of(calibration)
        check_wishes(method, held_out, seed)
        folder_for(out)
        folder = work or out.with_name(f"{out.name}-work")
        if _asks_models(small, large, by):
            _check_measure(file, cast("str", by), judge, judge_url, judge_key_env, skip_bad)
            folder_for(folder).mkdir(parents=True, exist_ok=True)
            try:
                collect(
                    file,
                    small=cast("str", small),
                    large=cast("str", large),
                    out=folder / "outcomes.jsonl",
                    samples=samples,
                    small_url=small_url,
                    large_url=large_url,
                    small_key_env=small_key_env,
                    large_key_env=large_key_env,
                    small_price=small_price,
                    large_price=large_price,
                    max_cost=max_cost,
                    temperature=temperature,
                    max_tokens=max_tokens,
                    skip_bad=skip_bad,
                )
            except typer.Exit:
                # some prompts no model will ever answer, such as those that its provider refuses
                if not skip_bad or not (folder / "outcomes.jsonl").is_file():
                    typer.echo("To go on with the answers that are there: the same command with --skip-bad.", err=True)
                    raise
            label(
                folder / "outcomes.jsonl",
                by=cast("str", by),
                out=folder / "labelled.jsonl",
                model=judge,
                url=judge_url,
                key_env=judge_key_env,
                skip_bad=skip_bad,
            )
            file = folder / "labelled.jsonl"
        labeled = read_labeled(file, skip_bad=skip_bad)
        # answers are recorded as they come in: whichever came first shall not decide what is learned
        labeled = labeled.part(sorted(range(len(labeled)), key=labeled.prompts.__getitem__))
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
        saved = report.artifact.save(out)
        # a page about the router that lay here before must not lie beside this one
        remove_report(out / REPORT)
        if report.held_out:
            held_out_part = labeled.part(report.held_out)
            _evaluate(held_out_part, saved, file, out, seed)
            folder.mkdir(parents=True, exist_ok=True)
            write_labeled_prompts(folder / HELD_OUT_FILE, held_out_part)
            typer.echo(f"The prompts that were held out, for evaluate and audit: {folder / HELD_OUT_FILE}")
        show_promises(report.artifact)
        typer.echo(f'Written: {out} ({saved.content_hash[:12]}). Use it: HybridChatModel(..., router="{out}")')


def _asks_models(small: str | None, large: str | None, by: str | None) -> bool:
    """Whether the file holds bare prompts, which the models have to answer first."""
    given = {"--small": small, "--large": large, "--by": by}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise HybridError(
            f"bare prompts need --small, --large and --by; {' and '.join(missing)} is missing "
            "(labelled prompts need none of them)"
        )
    return not missing


def _evaluate(held_out: LabeledPrompts, saved: Artifact, file: Path, out: Path, seed: int) -> None:
    """What the router is worth on the prompts that were held out, as tables and as a page."""
    from shared_router.evaluation.costs import costs_from
    from shared_router.evaluation.report import save_report
    from shared_router.router import Router

    with steps() as advance:
        found = evaluation_of(
            Router.from_artifact(saved),
            held_out,
            data=f"{file.name}, held out",
            costs=costs_from(held_out),
            knob=False,
            seed=seed,
            advance=advance,
        )
        advance("drawing")
        save_report(found, out / REPORT)
    show_evaluation(found)
    typer.echo(f"As a page: {out / REPORT / 'report.html'}")


def _check_measure(
    file: Path, by: str, judge: str | None, url: str | None, key_env: str | None, skip_bad: bool
) -> None:
    """Refuse, before a model is asked, answers that could not be judged afterwards."""
    from shared_router.labeling.quality.catalogue import measure_named
    from shared_router.tables.labeled import MIN_ROWS
    from shared_router.tables.prompts import read_prompts

    if by == "function":
        raise HybridError("judging by your own function is for the steps: hybrid-llm collect, label --by function, fit")
    if by in ("judge", "judge_score", "reward_model") and judge is None:
        raise HybridError(f"--by {by} needs --judge, the judge's name")
    given = {"model": judge, "url": url, "key_env": key_env}
    measure = measure_named(by, **{name: value for name, value in given.items() if value is not None})
    prompts = read_prompts(file, skip_bad=skip_bad).rows
    if len(prompts) < MIN_ROWS:
        raise HybridError(
            f"{file} has {len(prompts)} prompts; a router needs {MIN_ROWS} at the very least, and some 500"
        )
    without = sum(prompt.reference is None for prompt in prompts)
    if measure.needs_reference and without:
        raise HybridError(
            f"--by {by} compares with a reference, and {without} of {len(prompts)} prompts in {file} have none; add a "
            "column reference, leave those prompts out, or judge in another way"
        )


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
    if report.chosen == "constant":
        typer.echo("No head beat chance: the router that is written gives every prompt the same difficulty.")
    if report.held_out:
        typer.echo(f"\nMeasured on {len(report.held_out)} prompts that were held out, and taught and chose nothing:")
    else:
        typer.echo(report.advice)
