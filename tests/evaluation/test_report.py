"""The report: whole, self-contained, escaped, atomic."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from shared_router.errors import MissingExtraError, OutcomeError
from shared_router.evaluation import report
from shared_router.evaluation.costs import constant_costs
from shared_router.evaluation.evaluate import evaluate
from shared_router.evaluation.plots import PAPER, curves_png, curves_svg, inline_figures
from shared_router.evaluation.report import FILES, html_report, save_report
from shared_router.evaluation.results import Evaluation, Wish
from shared_router.evaluation.tabulated import knob_table, models_table, money_table, score_table, task_table
from shared_router.tables.labeled import LabeledPrompt, labeled_from

pytest.importorskip("matplotlib")

EVIL = "<script>alert('x')</script> & \"$x^2$\""

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Tags that are open, all that were seen, and the text outside of style sheets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def evaluated(**settings: object) -> Evaluation:
    generator = np.random.default_rng(0)
    hard = generator.random(120)
    rows = [
        LabeledPrompt(f"p{i}", (float(hard[i] < 0.5),), (1.0,), {EVIL: f"{EVIL} {i % 2}"}) for i in range(len(hard))
    ]
    given = {
        "costs": constant_costs(120, 1.0, 3.0),
        "others": {"knn": generator.random(120)},
        "titles": {"knn": EVIL},
        "wishes": (Wish(EVIL, 0.5, 0.5, 0.9),),
        "by": EVIL,
        "data": EVIL,
        "router": EVIL,
        "small_model": EVIL,
        "large_model": EVIL,
        "date": "2026-01-02",
        "resamples": 60,
    }
    return evaluate(0.2 + 0.6 * hard, labeled_from(rows), **{**given, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluated()


@pytest.fixture(scope="module")
def page(found: Evaluation) -> str:
    return html_report(found, inline_figures(found))


def test_the_page_is_whole_and_the_verdict_comes_first(page: str, found: Evaluation) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert page.startswith("<!DOCTYPE html>")
    assert found.verdict.text in parsed.text
    order = [parsed.text.index(part) for part in ("Routing pays", "How well each score routes", "Curves", "The knob")]
    assert order == sorted(order)
    for said in ("2026-01-02", "120", "performance gap recovered (PGR)", "Without routing", "worth in money", EVIL):
        assert said in parsed.text
    assert "<h2>By " in page


def test_nothing_is_loaded_and_nothing_of_the_data_becomes_markup(page: str) -> None:
    tags = Page(page).tags
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image"}
    for _, attributes in tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert (value or "").startswith("#")
    assert "default-src 'none'" in page
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?://|url\((?!#)|@import", outside)


def test_identifiers_are_unique_and_their_references_meet(page: str) -> None:
    tags = Page(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', page))
    assert used
    assert used <= set(ids)


def test_colours_follow_the_readers_setting(page: str) -> None:
    drawn = page[page.index('class="figures"') :]
    assert not re.search(r"#[0-9a-f]{6}\b", drawn[: drawn.index("</section>")])
    assert set(re.findall(r"var\(--(\w+)\)", drawn)) <= set(PAPER)
    dark = page[page.index("prefers-color-scheme: dark") :]
    for name in PAPER:
        assert f"--{name}:" in dark[: dark.index("} }")]


def test_the_drawings_have_all_panels_and_are_the_same_twice(found: Evaluation) -> None:
    titles = [figure.title for figure in inline_figures(found)]
    assert titles == [
        "Cost advantage and loss",
        "Large share and performance gap recovered",
        "Calibration",
        "Difficulties",
    ]
    png, svg = curves_png(found), curves_svg(found)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == 990
    assert ET.fromstring(svg).tag.endswith("svg")
    assert svg == curves_svg(found)


def test_where_there_is_no_gap_and_no_probability_panels_are_left_out() -> None:
    rows = [LabeledPrompt(f"p{i}", (1.0,), (float(i % 2),)) for i in range(50)]
    flat = evaluate(np.arange(50.0), labeled_from(rows), resamples=20)
    assert [figure.title for figure in inline_figures(flat)] == ["Cost advantage and loss"]
    assert "Use the small model" in html_report(flat, inline_figures(flat))
    assert curves_png(flat)


def test_the_report_is_saved_as_four_files(found: Evaluation, tmp_path: Path) -> None:
    paths = save_report(found, tmp_path / "deep" / "report")
    assert [path.name for path in paths] == list(FILES)
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(FILES)
    assert json.loads(paths[1].read_text(encoding="utf-8"))["about"]["data"] == EVIL
    assert paths[0].read_text(encoding="utf-8").endswith("</html>\n")
    assert paths[0].stat().st_size < 300_000


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a second, and these tests look at something else."""
    monkeypatch.setattr(report, "inline_figures", lambda evaluation: ())
    monkeypatch.setattr(report, "curves_png", lambda evaluation: b"png")
    monkeypatch.setattr(report, "curves_svg", lambda evaluation: b"svg")


def test_an_error_leaves_the_older_report_as_it_was(
    found: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    save_report(found, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(evaluation: Evaluation) -> bytes:
        raise RuntimeError("no ink")

    monkeypatch.setattr(report, "curves_svg", fails)
    with pytest.raises(RuntimeError):
        save_report(replace(found, notes=("new",)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(found: Evaluation, tmp_path: Path, undrawn: None) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutcomeError, match="cannot be written to"):
        save_report(found, tmp_path / "taken")


def test_without_matplotlib_the_install_line_is_named(found: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"hybrid-llm\[eval\]"):
        curves_png(found)


def test_tables_have_a_cell_for_each_column(found: Evaluation) -> None:
    for table in (models_table, score_table, knob_table, task_table, money_table):
        made = table(found)
        assert made is not None
        assert {len(row) for row in made.rows} == {len(made.columns)}
        assert max(made.narrow) < len(made.columns)
        assert not any("nan" in cell for row in made.rows for cell in row)
    bare = evaluated(costs=None, wishes=(), by=None, others={}, titles={})
    assert [table(bare) for table in (knob_table, task_table, money_table)] == [None, None, None]
    assert score_table(bare).rows[2][0] == "the router"
