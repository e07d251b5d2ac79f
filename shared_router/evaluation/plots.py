"""An evaluation's curves as PNG and SVG, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared_router.errors import MissingExtraError
from shared_router.evaluation.figures import LENGTH, ORACLE, RANDOM, ROUTER
from shared_router.evaluation.results import Curve, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INLINE_COLOURS", "InlineFigure", "curves_png", "curves_svg", "inline_figures"]

PAPER = {
    "ink": "#1f2328",
    "faint": "#6a737d",
    "grid": "#d8dee4",
    "ground": "#ffffff",
    ROUTER: "#0072b2",
    LENGTH: "#d55e00",
    "other1": "#009e73",
    "other2": "#aa4499",
    "other3": "#7a5c00",
}
"""Colours that the colour-blind can tell apart (after Okabe and Ito 2008), 3:1 or more on white; each score also has
its own dashes."""

INLINE_COLOURS = {name: f"#0a0b{place:02d}" for place, name in enumerate(PAPER)}
"""Stand-ins for the same, each of which a page replaces by its own ``var(--name)``, so that it can turn dark."""

DASHES: Mapping[str, Any] = {
    RANDOM: (0, (1, 2)),
    LENGTH: (0, (5, 2)),
    ORACLE: (0, (8, 2, 1, 2)),
    ROUTER: "-",
    "other1": (0, (4, 1, 1, 1)),
    "other2": (0, (2, 1)),
    "other3": (0, (6, 1, 1, 1, 1, 1)),
}


@dataclass(frozen=True, slots=True)
class InlineFigure:
    """A drawing to stand in an HTML page.

    Attributes:
        title: What it shows.
        caption: How to read it.
        svg: An ``<svg>`` element without colours, fonts or identifiers of its own.
    """

    title: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    caption: str
    draw: Callable[[Axes, Evaluation, Mapping[str, str]], None]


def curves_png(evaluation: Evaluation) -> bytes:
    """All panels in one picture of 990 pixels' width.

    Args:
        evaluation: What was found.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return _saved(evaluation, "png")


def curves_svg(evaluation: Evaluation) -> bytes:
    """All panels in one drawing, on white.

    Args:
        evaluation: What was found.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return _saved(evaluation, "svg")


def inline_figures(evaluation: Evaluation) -> tuple[InlineFigure, ...]:
    """Each panel for itself, in the stand-in colours of ``INLINE_COLOURS`` and the font of the page.

    Args:
        evaluation: What was found.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = []
    with _settings(text="none") as figure_class:
        for number, panel in enumerate(_panels(evaluation)):
            figure: Figure = figure_class(figsize=(5.6, 4.0), layout="constrained")
            figure.patch.set_alpha(0.0)
            _draw(figure.add_subplot(), panel, evaluation, INLINE_COLOURS, titled=False)
            drawn.append(
                InlineFigure(panel.title, panel.caption, _inline(_bytes(figure, "svg"), f"f{number}-", panel.title))
            )
    return tuple(drawn)


@contextmanager
def _settings(*, text: str) -> Iterator[type[Figure]]:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError('drawing curves needs matplotlib: pip install "hybrid-llm[eval]"') from error
    settings: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        # the same data give the same file
        "svg.hashsalt": "hybrid-llm",
        "svg.fonttype": text,
    }
    with matplotlib.rc_context(settings):
        yield Figure


def _saved(evaluation: Evaluation, kind: str) -> bytes:
    panels = _panels(evaluation)
    rows = (len(panels) + 1) // 2
    with _settings(text="path") as figure_class:
        figure: Figure = figure_class(figsize=(9.0, 3.7 * rows), layout="constrained")
        figure.patch.set_facecolor(PAPER["ground"])
        for number, panel in enumerate(panels):
            _draw(figure.add_subplot(rows, 2, number + 1), panel, evaluation, PAPER, titled=True)
        return _bytes(figure, kind)


def _bytes(figure: Figure, kind: str) -> bytes:
    written = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(written, format=kind, dpi=110, metadata=metadata)
    return written.getvalue()


def _panels(evaluation: Evaluation) -> tuple[_Panel, ...]:
    panels = []
    if any(curve.drop is not None for curve in evaluation.curves):
        panels.append(_Panel("Cost advantage and loss", _DROP_CAPTION, _draw_drop))
    if any(curve.pgr is not None for curve in evaluation.curves):
        panels.append(_Panel("Large share and performance gap recovered", _PGR_CAPTION, _draw_pgr))
    if evaluation.calibration is not None:
        panels.append(_Panel("Calibration", _CALIBRATION_CAPTION, _draw_calibration))
    if evaluation.histogram is not None:
        panels.append(_Panel("Difficulties", _HISTOGRAM_CAPTION, _draw_histogram))
    return tuple(panels)


_DROP_CAPTION = (
    "How much of the large model's quality is lost when so many calls are left to the small one. Lower is better; a "
    "router is of use where it lies below the dotted line of random routing. The band is pointwise."
)
_PGR_CAPTION = (
    "How much of what the large model adds is kept when so many calls go to it. Higher is better; random routing is "
    "the dotted diagonal, and the area under a curve is its APGR. The band is pointwise."
)
_CALIBRATION_CAPTION = (
    "Prompts in ten groups from easy to hard: how often the small model fell short, against what the difficulty said. "
    "On the diagonal a difficulty is a probability."
)
_HISTOGRAM_CAPTION = (
    "How many prompts get which difficulty. A router can only be turned finely where difficulties differ; it separates "
    "well where the two colours do."
)


def _draw(axes: Axes, panel: _Panel, evaluation: Evaluation, colours: Mapping[str, str], *, titled: bool) -> None:
    axes.set_facecolor("none")
    axes.grid(visible=True, color=colours["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours["faint"])
    axes.tick_params(colors=colours["ink"], which="both")
    panel.draw(axes, evaluation, colours)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(colours["ink"])
    if titled:
        axes.set_title(panel.title, loc="left", color=colours["ink"])
    _legend(axes, colours)


def _legend(axes: Axes, colours: Mapping[str, str]) -> None:
    legend = axes.legend(frameon=False, fontsize=8, labelcolor=colours["ink"], handlelength=3.0)
    for text in legend.get_texts():
        # a score's name may hold a dollar sign
        text.set_parse_math(False)


def _styles(evaluation: Evaluation) -> dict[str, str]:
    """Colour and dashes of each score: its own key, or one of "other1" to "other3"."""
    others = [score.name for score in evaluation.scores if score.name not in (RANDOM, LENGTH, ROUTER, ORACLE)]
    return {
        **{name: name for name in (RANDOM, LENGTH, ROUTER, ORACLE)},
        **{name: f"other{place % 3 + 1}" for place, name in enumerate(others)},
    }


def _lines(
    axes: Axes,
    evaluation: Evaluation,
    colours: Mapping[str, str],
    points: Callable[[Curve], tuple[tuple[float, ...], tuple[float, ...]] | None],
) -> None:
    styles = _styles(evaluation)
    titles = {score.name: score.title for score in evaluation.scores}
    for curve in evaluation.curves:
        drawn = points(curve)
        if drawn is None:
            continue
        style = styles[curve.name]
        colour = colours.get(style, colours["ink" if style == ORACLE else "faint"])
        axes.plot(
            [100 * x for x in drawn[0]],
            [100 * y for y in drawn[1]],
            color=colour,
            linestyle=DASHES[style],
            linewidth=2.2 if curve.name == ROUTER else 1.3,
            zorder=3 if curve.name == ROUTER else 2,
            label=titles[curve.name],
        )


def _band(axes: Axes, x: tuple[float, ...], band: tuple[tuple[float, ...], tuple[float, ...]], colour: str) -> None:
    low, high = ([100 * value for value in end] for end in band)
    axes.fill_between([100 * value for value in x], low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)


def _router_curve(evaluation: Evaluation) -> Curve:
    return next(curve for curve in evaluation.curves if curve.name == ROUTER)


def _kept(curve: Curve) -> tuple[float, ...]:
    return tuple(1.0 - share for share in curve.large_share)


def _draw_drop(axes: Axes, evaluation: Evaluation, colours: Mapping[str, str]) -> None:
    axes.axhline(0.0, color=colours["faint"], linewidth=0.8)
    router = _router_curve(evaluation)
    if router.drop_band is not None:
        _band(axes, _kept(router), router.drop_band, colours[ROUTER])
    _lines(axes, evaluation, colours, lambda curve: None if curve.drop is None else (_kept(curve), curve.drop))
    axes.set_xlim(0, 100)
    axes.set_xlabel("cost advantage: calls left to the small model (%)")
    axes.set_ylabel("loss against always large (%)")


def _draw_pgr(axes: Axes, evaluation: Evaluation, colours: Mapping[str, str]) -> None:
    router = _router_curve(evaluation)
    if router.pgr_band is not None:
        _band(axes, router.large_share, router.pgr_band, colours[ROUTER])
    _lines(axes, evaluation, colours, lambda curve: None if curve.pgr is None else (curve.large_share, curve.pgr))
    axes.set_xlim(0, 100)
    axes.set_xlabel("large share: calls sent to the large model (%)")
    axes.set_ylabel("performance gap recovered (%)")


def _draw_calibration(axes: Axes, evaluation: Evaluation, colours: Mapping[str, str]) -> None:
    if evaluation.calibration is None:
        return
    bins = evaluation.calibration.bins
    axes.plot([0, 1], [0, 1], color=colours["faint"], linestyle=DASHES[RANDOM], linewidth=1.3, label="perfect")
    axes.errorbar(
        [one.difficulty for one in bins],
        [one.observed for one in bins],
        yerr=[[one.observed - one.low for one in bins], [one.high - one.observed for one in bins]],
        color=colours[ROUTER],
        marker="o",
        markersize=4,
        linewidth=1.2,
        elinewidth=1.0,
        capsize=2,
        label=f"the router, ECE {evaluation.calibration.ece:.3f}",
    )
    shown = [value for one in bins for value in (one.difficulty, one.low, one.high)]
    low, high = max(0.0, min(shown) - 0.05), min(1.0, max(shown) + 0.05)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("difficulty")
    axes.set_ylabel("small model fell short (share)")


def _draw_histogram(axes: Axes, evaluation: Evaluation, colours: Mapping[str, str]) -> None:
    if evaluation.histogram is None:
        return
    histogram = evaluation.histogram
    left = histogram.edges[:-1]
    width = 0.92 * (histogram.edges[1] - histogram.edges[0])
    axes.bar(left, histogram.well, width, align="edge", color=colours[ROUTER], label="small model did as well")
    axes.bar(
        left,
        histogram.short,
        width,
        bottom=histogram.well,
        align="edge",
        color=colours[LENGTH],
        label="small model fell short",
    )
    axes.set_xlabel("difficulty")
    axes.set_ylabel("prompts")


def _inline(svg: bytes, prefix: str, title: str) -> str:
    """The bare element: no size, font, style sheet or metadata of its own, and identifiers that no other figure has."""
    opening = rf'<svg viewBox="\1" role="img" aria-label="{title}">'
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<svg[^>]*viewBox=\"([^\"]*)\"[^>]*>", opening, text, count=1)
    text = re.sub(r"\bid=\"([^\"]*)\"", rf'id="{prefix}\1"', text)
    text = re.sub(r"xlink:href=\"#([^\"]*)\"", rf'href="#{prefix}\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}\1)", text)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    return re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
