"""What ``fit`` and ``calibrate`` ask and show alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shared_router.errors import HybridError

if TYPE_CHECKING:
    from shared_router.artifact import Artifact
    from shared_router.certificate import CertifiedThreshold
    from shared_router.tables.labeled import LabeledPrompts
    from shared_router.training.calibrating import CalibrationMethod

__all__ = ["check_wishes", "folder_for", "method_of", "range_of", "show_promises", "show_reading"]


def range_of(stated: str | None) -> tuple[float, float] | None:
    """``LOW,HIGH`` as two numbers.

    Raises:
        HybridError: It is something else.
    """
    if stated is None:
        return None
    try:
        low, high = map(float, stated.split(","))
    except ValueError as error:
        raise HybridError(f"--quality-range is LOW,HIGH, such as -5,0 or 1,10; got {stated!r}") from error
    if not low < high:
        raise HybridError(f"--quality-range is LOW,HIGH with LOW < HIGH, got {stated!r}")
    return low, high


def folder_for(path: Path) -> Path:
    """A folder that can be written to, whether it is there or not.

    Raises:
        HybridError: A file is in its place.
    """
    for place in (path, *path.parents):
        if place.is_file():
            raise HybridError(f"{path} cannot be a folder: {place} is a file; give another place")
    return path


def check_wishes(method: str, held_out: float | None, seed: int) -> None:
    """Refuse what ``fit`` would refuse, before anything is done.

    Raises:
        HybridError: An unknown method, a share out of range, or a negative seed.
    """
    from shared_router.training.fit_own import methods_named

    methods_named(method)
    if held_out is not None and not 0.0 <= held_out < 1.0:
        raise HybridError(f"--held-out is a share from 0 to below 1, got {held_out!r}")
    if seed < 0:
        raise HybridError(f"--seed is a whole number from 0 on, got {seed}")


def method_of(stated: str) -> CalibrationMethod:
    """A calibration method by its name.

    Raises:
        HybridError: There is none of that name.
    """
    from shared_router.training.calibrating import CALIBRATION_METHODS

    for method in CALIBRATION_METHODS:
        if stated == method:
            return method
    raise HybridError(f"unknown calibration {stated!r} (there are: {', '.join(CALIBRATION_METHODS)})")


def show_reading(labeled: LabeledPrompts, *, err: bool = False) -> None:
    """What was left out, merged and clipped while reading.

    Args:
        labeled: What was read.
        err: On standard error, where standard output is for data.
    """
    for place in labeled.skipped:
        typer.echo(f"left out: {place}", err=True)
    if labeled.merged:
        typer.echo(f"{labeled.merged} rows repeat an earlier prompt; the mean of each prompt counts.", err=err)
    if labeled.clipped:
        typer.echo(f"{labeled.clipped} prompts are longer than what is read; their beginning counts.", err=err)


def show_promises(artifact: Artifact) -> None:
    """A table of wishes: what each costs as measured, and as certified."""
    from rich.console import Console
    from rich.table import Table

    from shared_router.knob import operating_point
    from shared_router.training.calibrating import CONFIDENCE, SHOWN_PROMISES, promises

    known = artifact.calibration_set
    if known is None:
        typer.echo(
            "Nothing can be certified: qualities lie outside 0 to 1, and --quality-range does not say how bad an "
            "answer can be."
            if artifact.metadata.get("held_out", 1)
            else "Nothing can be certified: no prompts were held out (from 200 on 40 % are, or as --held-out says)."
        )
        shares = ((wish, operating_point(wish, artifact.curve).large_share) for wish in SHOWN_PROMISES)
        measured = ", ".join(f"{wish.name}={wish.value:g} → {share or 0:.0%}" for wish, share in shares)
        typer.echo(f"Share of calls to the large model, as measured: {measured}")
        return
    table = Table(
        "wish",
        "as measured",
        f"certified, {CONFIDENCE:.0%}",
        title=f"Share of calls to the large model, on {len(known):,} prompts",
    )
    for promise in promises(artifact.curve, known):
        share = promise.measured.large_share
        wish = f"{promise.knob.name}={promise.knob.value:g}"
        table.add_row(wish, "" if share is None else f"{share:.0%}", _certified(promise.certificate))
    Console().print(table)


def _certified(certificate: CertifiedThreshold | None) -> str:
    if certificate is None:
        return "no relative loss of qualities of both signs"
    if certificate.threshold is not None:
        return f"{certificate.large_share:.0%}"
    if certificate.samples_needed is None:
        return "all; prompts like these show no threshold that keeps it"
    return f"all; about {certificate.samples_needed:,} prompts would certify a saving of 10 %"
