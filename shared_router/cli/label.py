"""``hybrid-llm label``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors

if TYPE_CHECKING:
    from rich.table import Table

    from shared_router.labeling.judged import JudgingReport, LabelReport

__all__ = ["label"]

LABEL_HELP = """\
Judge the collected answers, and label each prompt: is the small model good enough?

\b
Each row of the file is one answer, as `hybrid-llm collect` writes it:
    {"id": "7", "prompt": "...", "target": "small", "sample": 0, "response": "...", "reference": "42"}

\b
How good an answer is can be judged in many ways (docs/labelling.md says when to take which):
    with a reference    exact_match, numeric, multiple_choice, rouge_l, bertscore, bartscore
    without             judge (both answers side by side), judge_score (1 to 10), reward_model
    your own            function (module:function), given (the qualities in the file)

\b
Examples:
    hybrid-llm label outcomes.jsonl --by numeric --out labelled.jsonl
    hybrid-llm label outcomes.jsonl --by judge --model gpt-4.1 --out labelled.jsonl
    hybrid-llm label outcomes.jsonl --by bartscore --weights bart_score.pth --out labelled.parquet

\b
Stopped or killed, the same command goes on where it was; what is judged is never judged again. Next:
    hybrid-llm fit labelled.jsonl --out my-router
"""

BAR = 24
"""Signs of the longest bar of a histogram."""

FEW_TOLD_APART = 0.5
"""Share of prompts with label_prob = 0 above which it is said that label_trans is the one to take."""

SHOWN = 5
"""Answers that were left out, of which the reason is told."""


@app.command(help=LABEL_HELP)
def label(
    file: Annotated[Path, typer.Argument(help="Outcomes: .jsonl, .ndjson or .parquet.")],
    by: Annotated[str, typer.Option("--by", help="How answers are judged; one of the names above.")],
    out: Annotated[Path, typer.Option("--out", help="File of labelled prompts: .jsonl, .ndjson or .parquet.")],
    judged: Annotated[
        Path | None, typer.Option(help="File of judged answers, .jsonl; else beside --out, with the measure's name.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The judge's name, or a model of transformers: a folder, or a name on the hub.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where the judge is served; else OPENAI_BASE_URL, else OpenAI's.")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds its key; else OPENAI_API_KEY, where set.")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="judge: matched (2 calls per sample, the default) or all (2 per pair of samples)."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the judge; 0 if not given, below 0 = not sent, for models that refuse it.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of a judge's reply; else not sent.")] = None,
    at_once: Annotated[int | None, typer.Option(help="Prompts that a judge is asked about at a time; 8.")] = None,
    weights: Annotated[str | None, typer.Option(help="bartscore: weights to put in, such as bart_score.pth.")] = None,
    layer: Annotated[int | None, typer.Option(help="bertscore: which hidden states; else the best known.")] = None,
    bounded: Annotated[
        bool, typer.Option("--bounded", help="reward_model: rewards through 1/(1 + e^-x), into 0 to 1.")
    ] = False,
    batch_size: Annotated[int | None, typer.Option(help="Texts that a model of transformers reads at once.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; else the first GPU, if there is one.")] = None,
    function: Annotated[
        str | None, typer.Option(help="module:function of yours: (prompt, response, reference) -> a number.")
    ] = None,
    grid_points: Annotated[int, typer.Option(help="How many t are tried for label_trans.")] = 50,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON, too.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Judge all anew, whatever was judged before.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows and answers that cannot be used.")
    ] = False,
) -> None:
    """Judge the collected answers, and label each prompt: is the small model good enough?"""
    from shared_router.labeling.judged import judge_outcomes
    from shared_router.labeling.judgements import written_atomically
    from shared_router.labeling.quality.catalogue import measure_named

    settings = {
        "model": model,
        "url": url,
        "key_env": key_env,
        "pairs": pairs,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "at_once": at_once,
        "weights": weights,
        "layer": layer,
        "bounded": bounded or None,
        "batch_size": batch_size,
        "device": device,
        "function": function,
    }
    with errors():
        measure = measure_named(by, **_given(settings))
        if function is not None:
            # as `python -m` does it: a module of one's own lies where one is
            sys.path.insert(0, str(Path.cwd()))
        with _bar() as advance, _leaving():
            made = judge_outcomes(
                file,
                measure,
                out,
                judged=judged,
                grid_points=grid_points,
                skip_bad=skip_bad,
                again=again,
                advance=advance,
            )
        if report is not None:
            text = json.dumps(asdict(made), indent=2, default=str, ensure_ascii=False)
            written_atomically(report, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    _show_judging(made.judging)
    _show(made)


def _given(settings: Mapping[str, object]) -> dict[str, object]:
    given = {name: value for name, value in settings.items() if value is not None}
    temperature = given.get("temperature")
    if isinstance(temperature, float) and temperature < 0:
        given["temperature"] = None
    return given


@contextmanager
def _leaving() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Left. What is judged is kept; the same command goes on from there.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; what it yields is told how many prompts are judged, and of how many."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("judging prompts", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show_judging(report: JudgingReport) -> None:
    for place in report.skipped:
        typer.echo(f"left out: {place}", err=True)
    for fault in report.faults[:SHOWN]:
        typer.echo(f"without a quality: {fault}", err=True)
    if len(report.faults) > SHOWN:
        typer.echo(f"without a quality: {len(report.faults) - SHOWN} more answers", err=True)
    name, version, *settings = (f"{key} {value}" for key, value in report.measure.items() if value is not None)
    typer.echo(f"Judged by {name.partition(' ')[2]} ({', '.join([version, *settings])}):")
    kept = f", {report.reused} judged before" if report.reused else ""
    without = f", {report.unjudged} without a quality" if report.unjudged else ""
    typer.echo(f"{report.newly_judged} answers judged{kept}{without}.")
    for note, count in report.notes.items():
        typer.echo(f"  {count} × {note}")
    if report.usage:
        typer.echo("  " + ", ".join(f"{count:,} {what}" for what, count in report.usage.items()))


def _show(report: LabelReport) -> None:
    from rich.console import Console

    small, large = report.mean_quality["small"], report.mean_quality["large"]
    typer.echo(f"{report.prompts} prompts labelled; mean quality: small {small:.3f}, large {large:.3f}.")
    for target, counts in report.answers.items():
        if len(counts) > 1:
            told = ", ".join(f"{prompts} with {answers}" for answers, prompts in counts.items())
            typer.echo(f"The prompts have different numbers of answers of the {target} model: {told}; all count.")
    for reason, count in report.incomplete.items():
        typer.echo(f"{count} prompts are not labelled: {reason}.")
    for name in report.left_out:
        typer.echo(f"The column {name} of the prompts is not carried along: the labelled file has its own.")
    Console().print(_histograms(report))
    for line in _on_labels(report):
        typer.echo(line)
    typer.echo(f"Written: {report.file}, and the judged answers: {report.judging.file}")
    typer.echo(f"Next: hybrid-llm fit {report.file} --out my-router")


def _histograms(report: LabelReport) -> Table:
    from rich.table import Table

    table = Table("label", *report.histograms, title="Prompts by label; 1 = the small model is good enough")
    bins = len(next(iter(report.histograms.values())))
    for place in range(bins):
        cells = []
        for counts in report.histograms.values():
            bar = "█" * round(BAR * counts[place] / report.prompts)
            cells.append(f"{bar or ('▏' if counts[place] else '')} {counts[place]}")
        end = "]" if place == bins - 1 else ")"
        table.add_row(f"[{place / bins:.1f}, {(place + 1) / bins:.1f}{end}".replace("[", r"\["), *cells)
    table.add_section()
    table.add_row("mean", *(f"{mean:.3f}" for mean in report.means.values()))
    return table


def _on_labels(report: LabelReport) -> Iterator[str]:
    tried = f"best of {len(report.grid)} from 0 to {report.grid[-1]:.4g}" if len(report.grid) > 1 else "nothing to try"
    yield (
        f"t* = {report.t:.4g} ({tried}); spread of the labels: {report.prob_spread:.3f} for label_prob, "
        f"{report.spread:.3f} for label_trans (at most 0.5)."
    )
    if report.collapsed:
        yield f"label_trans is label_prob here: {report.collapsed}."
    yield f"label_prob is 0 on {report.prob_zero:.0%} of the prompts" + (
        ": it tells few prompts apart, so take label_trans."
        if report.prob_zero > FEW_TOLD_APART and not report.collapsed
        else "."
    )
