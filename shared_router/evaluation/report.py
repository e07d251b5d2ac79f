"""An evaluation as one HTML page that needs nothing else: no script, no font, no picture from anywhere.

Everything that comes from the data is escaped. The page follows the reader's light or dark setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from shared_router.errors import OutcomeError
from shared_router.evaluation.plots import INLINE_COLOURS, InlineFigure, curves_png, curves_svg, inline_figures
from shared_router.evaluation.results import Evaluation, VerdictWord
from shared_router.evaluation.tabulated import (
    Table,
    knob_table,
    models_table,
    money_table,
    score_table,
    task_table,
)
from shared_router.files import write_atomically

__all__ = ["FILES", "html_report", "remove_report", "save_report"]

FILES = ("report.html", "evaluation.json", "curves.png", "curves.svg")

HEADLINES: dict[VerdictWord, str] = {
    "routing_pays": "Routing pays",
    "use_length": "Prompt length does as well",
    "use_other": "Another score routes better",
    "use_small": "Use the small model",
    "does_not_pay": "Routing does not pay",
    "too_few": "Too few prompts to tell",
}

TERMS = (
    ("small, large", "the two models between which queries are routed."),
    ("difficulty", "the router's score, high where the small model will probably fall short of the large one."),
    ("large share", "share of the calls that go to the large model."),
    ("cost advantage (CA)", "share of the calls that go to the small model: one less the large share (Hybrid LLM)."),
    (
        "loss",
        "mean quality lost against always asking the large model, relative to its mean quality; negative where routing "
        "is better than always large (Hybrid LLM's performance drop).",
    ),
    ("gap", "mean quality of the large model less that of the small one."),
    (
        "performance gap recovered (PGR)",
        "share of the gap that routing keeps: 0 is always small, 1 is always large; more than 1 is possible, because "
        "the small model is better on some queries (RouteLLM).",
    ),
    ("APGR", "PGR averaged over all large shares. Guessing has 0.5 (RouteLLM)."),
    ("CPT", "call-performance threshold: the smallest large share that reaches a PGR (RouteLLM)."),
    ("AUC", "chance that a query on which the small model falls short is scored above one on which it does not."),
    ("random", "a router that guesses, at the same large share: a straight line."),
    ("prompt length", "the number of characters as difficulty: the router that costs nothing, and must be beaten."),
    ("oracle", "a router that knows both answers' quality. What lies between is out of reach for want of knowledge."),
    (
        "interval",
        "bootstrap percentile interval, prompts resampled. Differences are paired: both scores are measured on the "
        "same resampled prompts. An interval that holds 0 shows no difference.",
    ),
    (
        "calibration",
        "ECE is the mean distance between difficulty and observed share over groups of equal size. A perfect "
        "difficulty shows about the stated floor, by chance alone; the debiased value has that taken out.",
    ),
)

CSS = """
:root { color-scheme: light dark; --ground: #ffffff; --card: #f6f8fa; --ink: #1f2328; --faint: #59636e; --grid: #d8dee4;
  --router: #0072b2; --length: #d55e00; --other1: #009e73; --other2: #aa4499; --other3: #7a5c00;
  --good: #0f6b3c; --bad: #9a4a00; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --card: #161b22; --ink: #e6edf3; --faint: #9198a1;
  --grid: #30363d; --router: #56b4e9; --length: #f0884a; --other1: #2fc39a; --other2: #e08cc8; --other3: #d9b84a;
  --good: #3fb97b; --bad: #e8a05c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 3rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
dl.about { display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; margin: 0 0 1.25rem; color: var(--faint);
  font-size: .875rem; }
dl.about div { display: flex; gap: .4rem; min-width: 0; }
dl.about dd { margin: 0; color: var(--ink); overflow-wrap: anywhere; }
.verdict { border-left: .35rem solid var(--bad); background: var(--card); padding: .9rem 1.1rem;
  border-radius: .25rem; }
.verdict.pays { border-color: var(--good); }
.verdict strong { display: block; font-size: 1.2rem; color: var(--bad); }
.verdict.pays strong { color: var(--good); }
.verdict p { margin: .3rem 0 0; max-width: 65rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th { font-weight: 600; color: var(--faint); vertical-align: bottom; }
thead th { white-space: normal; }
tbody th { font-weight: 400; color: var(--ink); }
th:first-child { text-align: left; padding-left: 0; }
tr.marked th, tr.marked td { font-weight: 650; background: var(--card); }
p.note, figcaption { color: var(--faint); font-size: .85rem; margin: .4rem 0 0; max-width: 60rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem 2rem; }
figure { margin: 0; }
figure h3 { font-size: 1rem; margin: 0 0 .3rem; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; }
details { margin-top: 2.25rem; }
summary { cursor: pointer; font-weight: 600; }
dl.terms { font-size: .9rem; max-width: 60rem; }
dl.terms dt { font-weight: 600; margin-top: .6rem; }
dl.terms dd { margin: 0; }
footer { margin-top: 2rem; color: var(--faint); font-size: .8rem; }
@media print { body { max-width: none; } details > * { display: block; } }
"""


def html_report(evaluation: Evaluation, figures: Sequence[InlineFigure] = ()) -> str:
    """The page.

    Args:
        evaluation: What was found.
        figures: From ``inline_figures``; none leaves the drawings out.
    """
    about = evaluation.about
    tables = [
        score_table(evaluation),
        models_table(evaluation),
        knob_table(evaluation),
        task_table(evaluation),
        money_table(evaluation),
    ]
    first, *others = [_table(table) for table in tables if table is not None]
    title = f"Router evaluation: {about.data}" if about.data else "Router evaluation"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # whatever an escaping had missed could still load and run nothing
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title>",
            f"<style>{CSS}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{escape(title)}</h1>",
            _about(evaluation),
            _verdict(evaluation),
            first,
            _figures(figures),
            *others,
            _calibration(evaluation),
            _terms(),
            "</main>",
            _footer(evaluation),
            "</body>",
            "</html>",
            "",
        ]
    )


def save_report(evaluation: Evaluation, folder: str | Path) -> tuple[Path, ...]:
    """Write ``report.html``, ``evaluation.json``, ``curves.png`` and ``curves.svg``, each atomically.

    All four are made before the first is written, so that an error leaves an older report as it was.

    Args:
        evaluation: What was found.
        folder: Made if it is missing; files of these names are replaced.

    Returns:
        The paths, in that order.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutcomeError: The folder cannot be written to.
    """
    page = html_report(evaluation, inline_figures(evaluation)).encode("utf-8")
    found = (json.dumps(evaluation.to_json(), ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode("utf-8")
    contents = (page, found, curves_png(evaluation), curves_svg(evaluation))
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, content in zip(FILES, contents, strict=True):
            write_atomically(place / name, content)
    except OSError as error:
        raise OutcomeError(f"the report cannot be written to {place} ({error}); give another folder") from error
    return tuple(place / name for name in FILES)


def remove_report(folder: str | Path) -> None:
    """Take away what ``save_report`` wrote to a folder, and nothing else that may lie there.

    Args:
        folder: May be missing.
    """
    place = Path(folder)
    for name in FILES:
        (place / name).unlink(missing_ok=True)
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()


def _about(evaluation: Evaluation) -> str:
    about = evaluation.about
    prompts = f"{about.rows:,}" + (f" in {about.groups:,} groups" if about.groups is not None else "")
    facts = (
        ("data", about.data),
        ("prompts", prompts),
        ("router", about.router),
        ("small", about.small_model),
        ("large", about.large_model),
        ("date", about.date),
    )
    shown = (f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value)
    return f'<dl class="about">{"".join(shown)}</dl>'


def _verdict(evaluation: Evaluation) -> str:
    verdict = evaluation.verdict
    kind = "verdict pays" if verdict.word == "routing_pays" else "verdict"
    notes = "".join(f"<p>{escape(note)}</p>" for note in evaluation.notes)
    return (
        f'<section class="{kind}" aria-label="Verdict"><strong>{HEADLINES[verdict.word]}</strong>'
        f"<p>{escape(verdict.text)}</p>{notes}</section>"
    )


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        f'<tr{" class=marked" if place == table.marked else ""}><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for place, row in enumerate(table.rows)
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>{note}</section>"
    )


def _figures(figures: Sequence[InlineFigure]) -> str:
    if not figures:
        return ""
    stand_ins = {colour: name for name, colour in INLINE_COLOURS.items()}
    pattern = re.compile("|".join(map(re.escape, stand_ins)))
    drawn = "".join(
        f"<figure><h3>{escape(figure.title)}</h3>"
        f"{pattern.sub(lambda found: f'var(--{stand_ins[found.group()]})', figure.svg)}"
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        for figure in figures
    )
    return f'<section><h2>Curves</h2><div class="figures">{drawn}</div></section>'


def _calibration(evaluation: Evaluation) -> str:
    found = evaluation.calibration
    if found is None:
        return ""
    return (
        '<p class="note">Calibration of the difficulty: expected calibration error '
        f"{found.ece:.3f} (a perfect difficulty shows {found.floor:.3f} with so many prompts), debiased "
        f"{found.debiased:.3f}; Brier score {found.brier:.3f}, of the base rate alone {found.brier_constant:.3f}.</p>"
    )


def _terms() -> str:
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(meaning)}</dd>" for name, meaning in TERMS)
    return f'<details><summary>What the terms mean</summary><dl class="terms">{terms}</dl></details>'


def _footer(evaluation: Evaluation) -> str:
    about = evaluation.about
    return (
        f"<footer>Intervals: {100 * about.level:g} % bootstrap percentile, {about.resamples:,} resamples, seed "
        f"{about.seed}. The verdict holds for prompts that the router did not learn from and was not chosen on. The "
        "same figures for programs: evaluation.json. Made by hybrid-llm evaluate.</footer>"
    )
