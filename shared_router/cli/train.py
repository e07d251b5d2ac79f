"""``hybrid-llm train``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared_router.cli.app import app, errors, steps
from shared_router.cli.calibration import range_of, show_promises, show_reading

if TYPE_CHECKING:
    from shared_router.training.transformer_fit import TransformerReport

__all__ = ["train"]

TRAIN_HELP = """\
Train Hybrid LLM's own router: a transformers encoder, fine-tuned on soft labels, served as ONNX int8.

\b
Each row has a prompt and the quality of each sampled answer of either model:
    {"prompt": "...", "small_quality": [0, 0.5, 0], "large_quality": [1, 1, 0.5]}
A GPU and thousands of prompts are what it is for; for a few hundred, and without a GPU, take `hybrid-llm fit`.

\b
Examples:
    hybrid-llm train labelled.jsonl --out my-router
    hybrid-llm train labelled.jsonl --out my-router --resume
    hybrid-llm train labelled.jsonl --encoder ./MiniLM-L6 --learning-rate 1e-4 --batch-size 16 --out my-router
    torchrun --nproc-per-node 4 --no-python hybrid-llm train labelled.jsonl --out my-router
"""


@app.command(help=TRAIN_HELP)
def train(
    file: Annotated[Path, typer.Argument(help="Labelled prompts: .jsonl, .ndjson, .csv or .parquet.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write the router to; an older router there is replaced.")
    ],
    encoder: Annotated[
        str, typer.Option(help="A model of the Hugging Face hub, or a folder with its files.")
    ] = "microsoft/deberta-v3-large",
    labels: Annotated[
        str, typer.Option(help="det (first answers), prob (all pairs), or trans (prob, relaxed by the best t*).")
    ] = "prob",
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoints; without it the --out folder's name + -checkpoints.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the prompts.")] = 5,
    learning_rate: Annotated[float, typer.Option(help="Smaller encoders want more, such as 1e-4.")] = 1e-5,
    batch_size: Annotated[int, typer.Option(help="Prompts a step, over all devices.")] = 128,
    device_batch_size: Annotated[int, typer.Option(help="Prompts that a device takes at once.")] = 8,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a prompt that are read.")] = 128,
    checkpoint_steps: Annotated[
        int | None, typer.Option(help="Steps from one checkpoint to the next; without it one after each pass.")
    ] = None,
    validation: Annotated[float, typer.Option(help="Share of the prompts that chooses the checkpoint.")] = 0.2,
    held_out: Annotated[
        float, typer.Option(help="Share of the prompts that measures and certifies; with 0 nothing can be certified.")
    ] = 0.0,
    quality_range: Annotated[
        str | None, typer.Option(help="LOW,HIGH: worst and best quality that can occur, where not 0,1.")
    ] = None,
    float32: Annotated[bool, typer.Option("--float32", help="Do not quantise to int8.")] = False,
    seed: Annotated[int, typer.Option(help="Same file, seed and machine, same router.")] = 42,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Train Hybrid LLM's own router: a transformers encoder, fine-tuned on soft labels, served as ONNX int8."""
    from shared_router.tables.labeled import read_labeled
    from shared_router.training.soft_labels import label_kind
    from shared_router.training.transformer_fit import fit_transformer
    from shared_router.training.transformer_router import TransformerSettings

    with errors():
        kind = label_kind(labels)
        ends = range_of(quality_range)
        settings = TransformerSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            device_batch_size=device_batch_size,
            max_tokens=max_tokens,
            checkpoint_steps=checkpoint_steps,
            seed=seed,
        )
        labeled = read_labeled(file, skip_bad=skip_bad)
        _quieten()
        target = out.resolve()
        with _told_once() as advance:
            report = fit_transformer(
                labeled,
                output_dir=checkpoints or target.with_name(f"{target.name}-checkpoints"),
                base=encoder,
                kind=kind,
                settings=settings,
                validation=validation,
                held_out=held_out,
                quality_range=ends,
                quantise=not float32,
                resume=resume,
                name=target.name,
                advance=advance,
            )
        # of several processes one writes
        if report is not None:
            show_reading(labeled)
            _show(report)
            show_promises(report.artifact)
            saved = report.artifact.save(out)
            typer.echo(f'Written: {out} ({saved.content_hash[:12]}). Use it: HybridChatModel(..., router="{out}")')


def _told_once() -> AbstractContextManager[Callable[[str], None]]:
    """Of several processes that train together the first tells how far they are."""
    return steps() if os.environ.get("RANK", "0") == "0" else nullcontext(lambda title: None)


def _quieten() -> None:
    """Nothing is told to the hub, and of transformers' own messages only errors are shown: ours say how far it is."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        logging: Any = importlib.import_module("transformers.utils.logging")
    except ImportError:
        # what is missing is said by the training, which needs more than this
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _show(report: TransformerReport) -> None:
    parts, trained, served = report.parts, report.trained, report.served
    typer.echo(
        f"{len(parts.learned)} prompts learned from, {len(parts.validation)} to choose the checkpoint, "
        f"{f'{len(parts.measured)} held out to measure' if parts.held_out else 'which also measure'}"
    )
    if trained.truncated:
        typer.echo(
            f"{trained.truncated} of {len(parts.learned)} prompts have more than {trained.settings.max_tokens} tokens; "
            "their beginning counts."
        )
    if report.kind == "trans":
        same = "; the labels are those of prob" if report.collapsed else ""
        typer.echo(f"t* = {report.t:g}{same}")
    ranks = ", ".join(f"step {step}: {value:.3f}" for step, value in trained.spearman.items())
    typer.echo(f"Rank correlation with the quality gap on validation: {ranks}; kept: step {trained.best_step}")
    size = served.scorer.onnx.size / 1e6
    typer.echo(f"Served: {size:.1f} MB, {served.advice}. Trained in {trained.seconds:.0f} s.")
    apgr, over = report.apgr, report.over_length
    typer.echo(
        f"APGR {apgr.estimate:.3f} [{apgr.low:.3f}, {apgr.high:.3f}] (guessing has .500), over prompt length "
        f"{over.estimate:+.3f} [{over.low:+.3f}, {over.high:+.3f}]"
    )
    if apgr.low <= 0.5:
        typer.echo("It does not rank the prompts significantly above chance: compare it with `hybrid-llm fit`.")
