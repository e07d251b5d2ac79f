"""``hybrid-llm audit``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared_router.cli.app import app, errors, steps
from shared_router.errors import OutcomeError
from shared_router.files import write_atomically

if TYPE_CHECKING:
    from rich.table import Table

    from shared_router.evaluation.audit import Audit, ColumnAudit, GroupResult
    from shared_router.evaluation.disparity import Rate

__all__ = ["audit"]

AUDIT_HELP = """\
Compare who gets the small model, and what that costs them.

Groups are columns of your file (--by), or what a look at the text tells (--detect: script, length, code, form,
language). With qualities you see what each group loses against always asking the large model; with prompts alone, how
often each gets the small one. Use prompts from which the router learned nothing.

\b
Examples:
    hybrid-llm audit labelled.jsonl --router my-router --by language --by segment --quality 0.9
    hybrid-llm audit labelled.jsonl --router my-router --detect script,length --out audit.json --out audit.csv
"""

ENDINGS = (".json", ".csv")

WIDE = 96
"""Terminals with fewer columns are shown less."""


@app.command(help=AUDIT_HELP)
def audit(
    file: Annotated[Path, typer.Argument(help="Prompts, best labelled: .jsonl, .ndjson, .csv or .parquet.")],
    router: Annotated[str, typer.Option(help="Folder written by fit; without it the embedded router.")] = "default",
    by: Annotated[list[str] | None, typer.Option(help="A column of the file; may be given several times.")] = None,
    detect: Annotated[
        list[str] | None, typer.Option(help="script, length, code, form or language; several with commas between.")
    ] = None,
    quality: Annotated[float | None, typer.Option(help="Share of the large model's gain to keep, 0 to 1.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Accepted relative loss of quality, 0 to 1.")] = None,
    large_share: Annotated[float | None, typer.Option(help="Largest share of calls to the large model.")] = None,
    threshold: Annotated[float | None, typer.Option(help="The raw cut on the difficulty.")] = None,
    confidence: Annotated[float | None, typer.Option(help="Certify quality or max-drop with this probability.")] = None,
    level: Annotated[float, typer.Option(help="Of the intervals; 1 less this is the level of the tests.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Same file and seed, same report.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and report rows that cannot be used.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON instead of tables.")] = False,
    out: Annotated[
        list[Path] | None, typer.Option(help="File to write: .json, the report, or .csv, a row a group.")
    ] = None,
) -> None:
    """Compare who gets the small model, and what that costs them."""
    from shared_router.evaluation.audit import audit as audited
    from shared_router.evaluation.audit import audited_prompts
    from shared_router.knob import DEFAULT_KNOB, knob_from

    with errors():
        for path in out or ():
            if path.suffix.lower() not in ENDINGS:
                raise OutcomeError(f"{path}: the ending says the format; use one of {', '.join(ENDINGS)}")
        wish = {"quality": quality, "max_drop": max_drop, "large_share": large_share, "threshold": threshold}
        knob = knob_from({**wish, "confidence": confidence}) or DEFAULT_KNOB
        detected = [name.strip() for given in detect or () for name in given.split(",") if name.strip()]
        with steps() as advance:
            prompts = audited_prompts(file, skip_bad=skip_bad)
            advance("routing and comparing")
            report = audited(prompts, router, knob, by=by or (), detect=detected, level=level, seed=seed)
        for place in prompts.skipped:
            typer.echo(f"left out: {place}", err=True)
        if prompts.merged:
            typer.echo(
                f"{prompts.merged} rows repeat an earlier prompt; each prompt counts once, with its mean quality, in "
                "the group of the first.",
                err=True,
            )
        for path in out or ():
            _write(path, _json_text(report) if path.suffix.lower() == ".json" else _csv_text(report))
    if as_json:
        typer.echo(_json_text(report), nl=False)
    else:
        _show(report)
    for path in out or ():
        typer.echo(f"Written: {path}", err=True)


def _json_text(report: Audit) -> str:
    return json.dumps(report.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _csv_text(report: Audit) -> str:
    from shared_router.evaluation.audit import csv_rows

    rows = csv_rows(report)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode("utf-8"))
    except OSError as error:
        raise OutcomeError(f"{path} cannot be written ({error})") from error


def _show(report: Audit) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    knob = ", ".join(f"{name}={value}" for name, value in report.knob.settings.items())
    typer.echo(f"router {report.router_id}, {knob}, {report.overall.n} prompts")
    for column in report.columns:
        console.print(_table(report, column, wide=console.width >= WIDE))
        for sentence in column.verdict:
            console.print(Text(f"• {sentence}"))
        console.print()
    console.print(Text(_footnote(report)))


def _table(report: Audit, column: ColumnAudit, *, wide: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, title=Text(column.name), title_justify="left", padding=(0, 1, 0, 0), pad_edge=False
    )
    rows = [_cells(group, wide=wide) for group in (*column.groups, report.overall)]
    for title in rows[0]:
        # the group's name alone gives way where the terminal is narrow
        table.add_column(title, justify="left" if title == "group" else "right", no_wrap=title != "group")
    for row in rows:
        # as Text: a cell may hold what rich would take for markup
        table.add_row(*map(Text, row.values()))
    return table


def _cells(group: GroupResult, *, wide: bool) -> dict[str, str]:
    """Title → cell."""
    cells = {
        "group": group.name if group.tested else f"{group.name} *",
        "n": str(group.n),
        "to small": f"{group.rate.share:.0%} [{100 * group.rate.low:.0f}, {100 * group.rate.high:.0f}]",
    }
    if wide:
        cells["diffi-\nculty"] = f"{group.difficulty:.2f}"
    harm = group.harm
    if harm is None:
        return cells
    if wide:
        qualities = (harm.small_quality, harm.routed_quality, harm.large_quality)
        cells["quality\nS → routed ← L"] = " ".join(f"{value:.2f}" for value in qualities)
    cells["drop, %"] = "–"
    if harm.drop is not None:
        low, estimate, high = (_percent(value) for value in (harm.drop.low, harm.drop.estimate, harm.drop.high))
        cells["drop, %"] = f"{estimate} [{low}, {high}]" if harm.varies else f"{estimate} [no spread]"
    cells["to small if S\nshort, as good"] = f"{_share(harm.if_short)}, {_share(harm.if_as_good)}"
    return cells


def _percent(value: float) -> str:
    return f"{100 * value:.0f}" if abs(value) >= 0.1 else f"{100 * value:.1f}"


def _share(rate: Rate | None) -> str:
    return "–" if rate is None else f"{rate.share:.0%}"


def _footnote(report: Audit) -> str:
    from shared_router.evaluation.audit import MIN_GROUP

    said = [f"Intervals in brackets: {report.level:.0%}."]
    if report.overall.harm is not None:
        said.append("Drop: share of the large model's mean quality that routing loses. S, L: small, large.")
    else:
        said.append("The file has no qualities: whether a group is harmed cannot be told from shares alone.")
    if not all(group.tested for column in report.columns for group in column.groups):
        said.append(f"* fewer than {MIN_GROUP} prompts: not tested.")
    return " ".join(said)
