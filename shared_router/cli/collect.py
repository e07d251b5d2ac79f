"""``hybrid-llm collect``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors
from shared_router.errors import HybridError

if TYPE_CHECKING:
    from shared_router.labeling.collect_report import CollectReport, ModelReport
    from shared_router.labeling.collect_report import Progress as SoFar
    from shared_router.labeling.respondents import Price, Respondent, Sampling
    from shared_router.records import Target
    from shared_router.tables.prompts import Prompts

__all__ = ["collect"]

COLLECT_HELP = """\
Put your prompts to both models, several times each, and record the answers.

\b
Prompts are rows with a prompt (or messages) and, if you like, id, reference, group and other columns:
    {"prompt": "What is the capital of Peru?", "reference": "Lima"}
or an export of LangSmith or Langfuse, or logs of chat calls: .jsonl, .json, .csv, .parquet.

\b
A model is a name at an OpenAI-compatible endpoint, or something in your own code that answers:
    hybrid-llm collect prompts.jsonl --small gpt-4.1-nano --large gpt-4.1 --out outcomes.jsonl
    hybrid-llm collect prompts.jsonl --small llama3 --small-url http://localhost:8000/v1
        --large my_models:large --out outcomes.jsonl --max-cost 20 --large-price 2,8 --small-price 0,0

\b
Stopped or killed, the same command goes on where it was; what is recorded is never asked again. Next:
    hybrid-llm label outcomes.jsonl --by numeric --out labelled.jsonl
"""

SHOWN_FAILURES = 5

MODEL = "A model's name at an OpenAI-compatible endpoint, or module:attribute or file.py:attribute in your own code."
URL = "Where it is served; else the address in OPENAI_BASE_URL, else OpenAI's."
KEY = "Environment variable that holds its key; else OPENAI_API_KEY, where that is set."
PRICE = "USD per million tokens: INPUT,OUTPUT."


@app.command(help=COLLECT_HELP)
def collect(
    file: Annotated[Path, typer.Argument(help="Prompts: .jsonl, .ndjson, .json, .csv or .parquet.")],
    small: Annotated[str, typer.Option(help=f"The small model. {MODEL}")],
    large: Annotated[str, typer.Option(help="The large model, likewise.")],
    out: Annotated[Path, typer.Option("--out", help="File of outcomes, .jsonl; continued if it exists.")],
    samples: Annotated[int, typer.Option(help="Answers per prompt and model; 1 for deterministic labels.")] = 10,
    small_url: Annotated[str | None, typer.Option(help=URL)] = None,
    large_url: Annotated[str | None, typer.Option(help=URL)] = None,
    small_key_env: Annotated[str | None, typer.Option(help=KEY)] = None,
    large_key_env: Annotated[str | None, typer.Option(help=KEY)] = None,
    small_price: Annotated[str | None, typer.Option(help=PRICE)] = None,
    large_price: Annotated[str | None, typer.Option(help=PRICE)] = None,
    max_cost: Annotated[float | None, typer.Option(help="USD that the file may cost, earlier runs included.")] = None,
    temperature: Annotated[float | None, typer.Option(help="For models at endpoints; 1 if not given.")] = None,
    top_p: Annotated[float | None, typer.Option(help="For models at endpoints; else their default.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    seed: Annotated[int | None, typer.Option(help="Likewise; sample i is asked with seed + i.")] = None,
    concurrency: Annotated[int, typer.Option(help="Calls of either model under way at once.")] = 8,
    requests_per_minute: Annotated[
        str | None, typer.Option(help="Limit for each model: one number, or SMALL,LARGE.")
    ] = None,
    tokens_per_minute: Annotated[str | None, typer.Option(help="Likewise, prompts and answers together.")] = None,
    retries: Annotated[int, typer.Option(help="Further attempts after errors that may pass.")] = 6,
    timeout: Annotated[float, typer.Option(help="Seconds for one attempt.")] = 300.0,
    stop_after: Annotated[int, typer.Option(help="Failed calls of one model in a row that end the run.")] = 10,
    format: Annotated[str, typer.Option(help="auto, or one of: rows, langsmith, langfuse, chat, sharegpt.")] = "auto",
    logged_as_reference: Annotated[
        bool, typer.Option("--logged-as-reference", help="Take logged answers for the right ones.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Put your prompts to both models, several times each, and record the answers."""
    from shared_router.labeling import collecting
    from shared_router.labeling.respondents import Sampling
    from shared_router.tables.prompts import read_prompts

    with errors():
        given = Sampling(temperature, top_p, max_tokens, seed)
        models = (
            _model(small, small_url, small_key_env, small_price, given),
            _model(large, large_url, large_key_env, large_price, given),
        )
        _refuse_unused(given, models)
        prompts = read_prompts(file, format=format, skip_bad=skip_bad, logged_as_reference=logged_as_reference)
        _show_prompts(prompts)
        if temperature == 0 and samples > 1:
            typer.echo("At temperature 0 all samples are alike; --samples 1 costs less and says the same.", err=True)
        with _bar() as advance, _leaving(out):
            report = collecting.collect(
                prompts.rows,
                *models,
                out,
                samples=samples,
                concurrency=concurrency,
                requests_per_minute=_per_model("--requests-per-minute", requests_per_minute),
                tokens_per_minute=_per_model("--tokens-per-minute", tokens_per_minute),
                max_cost_usd=max_cost,
                retries=retries,
                timeout_seconds=timeout,
                stop_after=stop_after,
                advance=advance,
                stop_on_signals=True,
            )
    _show(report, samples)
    if report.missing:
        raise typer.Exit(1)


def _model(spec: str, url: str | None, key_env: str | None, price: str | None, given: Sampling) -> Respondent:
    from dataclasses import replace

    from shared_router.labeling.respondent_specs import respondent_named

    sampling = given if given.temperature is not None else replace(given, temperature=1.0)
    return respondent_named(spec, url=url, key_env=key_env, sampling=sampling, price=_price(price))


def _refuse_unused(given: Sampling, models: tuple[Respondent, Respondent]) -> None:
    from shared_router.labeling.respondents import EndpointRespondent, Sampling

    if given != Sampling(temperature=None) and not any(isinstance(model, EndpointRespondent) for model in models):
        raise HybridError(
            "--temperature, --top-p, --max-tokens and --seed are for models at endpoints; set them in your own code"
        )


def _price(text: str | None) -> Price | None:
    from shared_router.labeling.respondents import Price

    if text is None:
        return None
    numbers = _numbers(text)
    if len(numbers) != 2 or min(numbers) < 0:
        raise HybridError(f"a price is USD per million tokens of input and of output, such as 0.1,0.4; got {text!r}")
    return Price(*numbers)


def _per_model(option: str, text: str | None) -> float | dict[Target, float] | None:
    if text is None:
        return None
    numbers = _numbers(text)
    if len(numbers) not in (1, 2) or min(numbers) <= 0:
        raise HybridError(f"{option} is one number above 0, or two: SMALL,LARGE; got {text!r}")
    return numbers[0] if len(numbers) == 1 else {"small": numbers[0], "large": numbers[1]}


def _numbers(text: str) -> list[float]:
    import math

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


@contextmanager
def _leaving(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Left. What is recorded is in {out}; the same command goes on from there.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _bar() -> Iterator[Callable[[SoFar], None]]:
    """A bar on standard error; what it yields is told how far the calls are."""
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
        TextColumn("{task.fields[so_far]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("asking", total=None, so_far="")

        def advance(now: SoFar) -> None:
            cost = f"${now.cost_usd:.4g}" if now.cost_usd else ""
            failed = f"{now.failed} failed" if now.failed else ""
            waiting = "waiting for the calls under way (again: leave them)" if now.stopping else "asking"
            bar.update(
                task,
                completed=now.done,
                total=now.total,
                so_far=" ".join(filter(None, (cost, failed))),
                description=waiting,
            )

        yield advance


def _show_prompts(prompts: Prompts) -> None:
    for place in prompts.skipped:
        typer.echo(f"left out: {place}", err=True)
    typer.echo(f"{len(prompts.rows)} prompts, read as {prompts.format}.")
    if prompts.merged:
        typer.echo(f"{prompts.merged} rows repeat an earlier prompt; each is asked once.")
    if prompts.passed_over:
        typer.echo(f"{prompts.passed_over} rows are no call to a model; they were passed over.")


def _show(report: CollectReport, samples: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    models = (report.small, report.large)
    table = Table("", title="Recorded, earlier runs included")
    for target in ("small", "large"):
        table.add_column(target, justify="right")
    # as Text: a model's name may hold what rich would take for markup
    table.add_row("model", *(Text(model.model) for model in models))
    table.add_row("calls", *(f"{model.recorded}/{model.wanted}" for model in models))
    table.add_row("new", *(str(model.new) for model in models))
    table.add_row("failed", *(str(model.failed) for model in models))
    table.add_row("retries", *(str(model.retries) for model in models))
    table.add_row("tokens in", *(f"{model.input_tokens:,}" for model in models))
    table.add_row("tokens out", *(f"{model.output_tokens:,}" for model in models))
    table.add_row("USD", *(_cost(model) for model in models))
    Console().print(table)
    for note in _notes(report):
        typer.echo(note)
    for message, count in Counter(f"{one.target}: {one.message}" for one in report.failures).most_common(
        SHOWN_FAILURES
    ):
        typer.echo(f"{count} calls failed, {message}", err=True)
    if not report.missing:
        typer.echo(
            f"All answers ({samples} per prompt and model) are in {report.out}. Next: "
            f"hybrid-llm label {report.out} --by … --out labelled.jsonl"
        )
        return
    why = f"Stopped: {report.stopped}. " if report.stopped else ""
    typer.echo(
        f"{why}{report.missing} calls are missing in {report.out}; the same command asks them"
        f"{' (with a higher --max-cost)' if 'max_cost_usd' in report.stopped else ''}.",
        err=True,
    )


def _cost(model: ModelReport) -> str:
    return "unknown" if model.recorded and model.unpriced == model.recorded else f"{model.cost_usd:.4f}"


def _notes(report: CollectReport) -> Iterator[str]:
    if report.cut:
        yield f"An unfinished line of {report.cut} bytes at the end of {report.out} was cut off; it is asked again."
    if report.others:
        yield f"{report.others} rows in {report.out} are for other prompts or further samples; they stay."
    for target, model in (("small", report.small), ("large", report.large)):
        if model.cut:
            yield f"{model.cut} new answers of the {target} model were cut off at their greatest length (--max-tokens)."
        if model.empty:
            yield f"{model.empty} answers of the {target} model are empty."
        if 0 < model.unpriced < model.recorded:
            yield f"The cost of {model.unpriced} answers of the {target} model is not known and not in the sum."
        if len(model.served) > 1:
            yield f"The {target} model answered under several names: {', '.join(model.served)}."
