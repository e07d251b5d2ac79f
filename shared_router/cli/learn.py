"""``hybrid-llm learn``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.artifact import MANIFEST
from shared_router.cli.app import app, errors, steps
from shared_router.cli.calibration import show_promises, show_reading
from shared_router.errors import HybridError, OutcomeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared_router.tables.battles import Battles, JudgedTurn
    from shared_router.tables.labeled import LabeledPrompts
    from shared_router.training.battles.learning import LearnReport
    from shared_router.training.battles.methods import HeldOut, LearnSettings

__all__ = ["learn"]

LEARN_HELP = """\
Learn a router from battles: which of two models' answers people preferred, whatever the models.

\b
Each row has a prompt (or a conversation), two models and who won, as Chatbot Arena publishes them:
    {"prompt": "...", "model_a": "gpt-4", "model_b": "vicuna-13b", "winner": "model_a"}
winner is model_a, model_b, tie or tie (bothbad). Several files are read as one.

\b
Examples:
    hybrid-llm learn battles.parquet --small mixtral-8x7b --large gpt-4 --out my-router
    hybrid-llm learn battles.parquet judge.jsonl --source-weight judge=0.5 --method sw --small ... --large ... --out r
20 to 100 labelled prompts of your own (as for fit) calibrate it for your traffic:
    hybrid-llm learn battles.parquet --small ... --large ... --labels labelled.jsonl --out my-router
Another pair of the same models, from a router that was learned before; nothing is trained again, and method and
settings stay as they were:
    hybrid-llm learn my-router --small claude-haiku --large claude-opus --out other-router
A model that such a router (of the method mf) does not know is placed by some 50 battles or labels of it:
    hybrid-llm learn my-router --gold labelled.jsonl --small claude-haiku --large new-model --out other-router
"""


@app.command(help=LEARN_HELP)
def learn(
    files: Annotated[
        list[Path],
        typer.Argument(help="Battles: .jsonl, .ndjson, .csv or .parquet. Or first the folder of a learned router."),
    ],
    small: Annotated[str, typer.Option(help="Name of the small model in the battles.")],
    large: Annotated[str, typer.Option(help="Name of the large model in the battles.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write the router to; an older router there is replaced.")
    ],
    method: Annotated[
        str,
        typer.Option(
            help="mf: matrix factorisation; sw: models rated again for each query; knn: who won similar battles."
        ),
    ] = "mf",
    labels: Annotated[
        Path | None, typer.Option(help="Labelled prompts of the pair to calibrate on, as for fit; never learned from.")
    ] = None,
    gold: Annotated[
        Path | None, typer.Option(help="Labelled prompts of the pair to learn from as battles; equal is a tie.")
    ] = None,
    gold_weight: Annotated[float, typer.Option(help="How much one of them counts against a battle.")] = 1.0,
    source_weight: Annotated[
        list[str] | None, typer.Option(help="SOURCE=FACTOR for rows with that column source; may be repeated.")
    ] = None,
    ties: Annotated[str, typer.Option(help="half: a tie is half a win for either; drop: as RouteLLM's mf.")] = "half",
    tiers: Annotated[int, typer.Option(help="Tiers into which sw and knn merge the models.")] = 10,
    neighbours: Annotated[int, typer.Option(help="Battles that knn asks.")] = 100,
    min_chars: Annotated[int, typer.Option(help="Leave out battles with shorter prompts.")] = 16,
    turn: Annotated[str, typer.Option(help="Which user turn of a conversation is judged: last or first.")] = "last",
    seed: Annotated[int, typer.Option(help="Same files and seed, same router.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
) -> None:
    """Learn a router from battles: which of two models' answers people preferred, whatever the models."""
    from shared_router.tables.labeled import read_labeled

    with errors():
        known = files[0] if (files[0] / MANIFEST).is_file() else None
        settings = _settings(method, ties, tiers, neighbours)
        judged, factors = _turn(turn), _factors(source_weight or [])
        calibration = None if labels is None else read_labeled(labels, skip_bad=skip_bad)
        augmentation = None if gold is None else read_labeled(gold, skip_bad=skip_bad)
        with steps() as advance:
            battles = _battles(files if known is None else files[1:], judged, min_chars, skip_bad)
            battles = _augmented(battles, augmentation, (small, large), gold_weight, factors)
            report = _learned(battles, known, (small, large), settings, calibration, seed, out, advance)
        if battles is not None:
            _show_battles(battles)
        if calibration is not None:
            show_reading(calibration)
        _show(report)
        saved = report.artifact.save(out)
        typer.echo(f'Written: {out} ({saved.content_hash[:12]}). Use it: HybridChatModel(..., router="{out}")')


def _settings(method: str, ties: str, tiers: int, neighbours: int) -> LearnSettings:
    from shared_router.training.battles.factorization import FactorizationSettings
    from shared_router.training.battles.methods import LearnSettings

    # what the options say is checked where it is used
    factorization = FactorizationSettings(ties=ties)  # type: ignore[arg-type]
    return LearnSettings(method=method, tiers=tiers, neighbours=neighbours, factorization=factorization)  # type: ignore[arg-type]


def _turn(stated: str) -> JudgedTurn:
    from shared_router.tables.battles import TURNS

    for turn in TURNS:
        if stated == turn:
            return turn
    raise HybridError(f"--turn is last or first, got {stated!r}")


def _factors(stated: list[str]) -> dict[str, float]:
    factors = {}
    for one in stated:
        source, found, factor = one.partition("=")
        try:
            factors[source] = float(factor)
        except ValueError:
            found = ""
        if not found or not source:
            raise HybridError(f"--source-weight is SOURCE=FACTOR, such as judge=0.5; got {one!r}")
    return factors


def _battles(files: list[Path], turn: JudgedTurn, min_chars: int, skip_bad: bool) -> Battles | None:
    from shared_router.tables.battles import joined, read_battles

    if not files:
        return None
    return joined([read_battles(file, min_chars=min_chars, turn=turn, skip_bad=skip_bad) for file in files])


def _augmented(
    battles: Battles | None,
    gold: LabeledPrompts | None,
    pair: tuple[str, str],
    gold_weight: float,
    factors: dict[str, float],
) -> Battles | None:
    from shared_router.tables.battles import joined, labels_as_battles, weighted

    parts = [] if battles is None else [battles]
    if gold is not None:
        parts.append(labels_as_battles(gold, *pair, weight=gold_weight))
    return weighted(joined(parts), factors) if parts else None


def _learned(
    battles: Battles | None,
    known: Path | None,
    pair: tuple[str, str],
    settings: LearnSettings,
    labels: LabeledPrompts | None,
    seed: int,
    out: Path,
    advance: Callable[[str], None],
) -> LearnReport:
    from shared_router.artifact import Artifact
    from shared_router.training.battles.learning import learn_router, paired_again

    small, large = pair
    name = out.resolve().name
    if known is not None:
        return paired_again(
            Artifact.load(known), small=small, large=large, battles=battles, labels=labels, seed=seed, name=name
        )
    if battles is None:
        raise OutcomeError("no battles were given")
    return learn_router(
        battles,
        small=small,
        large=large,
        settings=settings,
        labels=labels,
        seed=seed,
        name=name,
        advance=advance,
    )


def _show_battles(battles: Battles) -> None:
    for place in battles.skipped:
        typer.echo(f"left out: {place}", err=True)
    if battles.short:
        typer.echo(f"{battles.short} battles have prompts that are too short (--min-chars) and were left out.")
    if battles.same:
        typer.echo(f"{battles.same} battles of a model with itself were left out.")


def _show(report: LearnReport) -> None:
    if report.settings is not None:
        typer.echo(
            f"{report.battles:,} battles ({report.ties:,} ties) over {report.prompts:,} prompts between "
            f"{report.models} models."
        )
    if report.left_out:
        typer.echo(f"{report.left_out} battles stand over prompts that are also among the labels, and were left out.")
    config = report.artifact.scorer_config
    typer.echo(
        f"{config['large']} is preferred to {config['small']} {report.win_rate:.0%} of the time (a tie is half)."
    )
    if report.held_out is not None:
        _show_held_out(report.held_out)
    if report.labels is not None:
        apgr, embedded, length = report.labels.apgr, report.labels.over_embedded, report.labels.over_length
        typer.echo(
            f"On {report.labels.labels} labels: APGR {apgr.estimate:.3f} [{apgr.low:.3f}, {apgr.high:.3f}] (guessing: "
            f".500); over the embedded router {embedded.estimate:+.3f} [{embedded.low:+.3f}, {embedded.high:+.3f}], "
            f"over prompt length {length.estimate:+.3f} [{length.low:+.3f}, {length.high:+.3f}]."
        )
        show_promises(report.artifact)
    typer.echo(report.advice)


def _show_held_out(held_out: HeldOut) -> None:
    gain = held_out.gain
    typer.echo(
        f"{held_out.battles:,} held-out battles: log loss {held_out.loss:.4f} with the prompt's text, "
        f"{held_out.constant_loss:.4f} by the models' names alone; gain {gain.estimate:+.4f} "
        f"[{gain.low:+.4f}, {gain.high:+.4f}]."
    )
