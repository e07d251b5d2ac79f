"""An evaluation's tables as text cells, for the terminal and the HTML report alike."""

from __future__ import annotations

from dataclasses import dataclass

from shared_router.evaluation.figures import ORACLE, RANDOM, ROUTER
from shared_router.evaluation.metrics import Interval
from shared_router.evaluation.results import Evaluation, ScoreResult
from shared_router.evaluation.verdict import signed

__all__ = ["Table", "knob_table", "models_table", "money_table", "score_table", "task_table"]

NONE = "–"
NBSP = "\u00a0"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text.

    Attributes:
        title: What it shows.
        columns: Headings; the first column is text, all others are numbers.
        rows: Of as many cells as there are columns.
        note: What a reader must know to read it; may be empty.
        marked: The row to point out; None for none.
        narrow: Places of the columns that matter most, where there is no room for all.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    marked: int | None = None
    narrow: tuple[int, ...] = (0, 1, 2, 3)


def _number(value: Interval | None, digits: int = 3) -> str:
    # the sum makes a negative zero a plain one
    return NONE if value is None else f"{round(value.estimate, digits) + 0.0:.{digits}f}"


def _ranged(value: Interval | None, digits: int = 3) -> str:
    if value is None:
        return NONE
    low, high = (round(end, digits) + 0.0 for end in (value.low, value.high))
    return f"{_number(value, digits)} [{low:.{digits}f}, {high:.{digits}f}]"


def _percent(value: Interval | None) -> str:
    return NONE if value is None else f"{round(100 * value.estimate, 1) + 0.0:.1f} %"


def _percent_ranged(value: Interval | None) -> str:
    if value is None:
        return NONE
    low, high = (round(100 * end, 1) + 0.0 for end in (value.low, value.high))
    return f"{_percent(value)} [{low:.1f}, {high:.1f}]"


def _level(evaluation: Evaluation) -> str:
    return f"{100 * evaluation.about.level:g} %"


def models_table(evaluation: Evaluation) -> Table:
    """Always small, always large, and the better of the two.

    Args:
        evaluation: What was found.
    """
    models, about = evaluation.models, evaluation.about
    rows: list[tuple[str, ...]] = [
        ("always small", about.small_model, _ranged(models.small_quality), _percent_ranged(models.small_drop), "0 %"),
        ("always large", about.large_model, _ranged(models.large_quality), "0.0 %", "100 %"),
    ]
    if models.small_cost is not None and models.large_cost is not None:
        rows = [(*row, f"{cost:g}") for row, cost in zip(rows, (models.small_cost, models.large_cost), strict=True)]
    money = ("mean cost",) if models.small_cost is not None else ()
    return Table(
        title="Without routing",
        columns=("", "model", "mean quality", "loss", "large share", *money),
        rows=tuple(rows),
        note=f"Gap, large less small: {signed(models.gap)}. The best constant by quality: always {models.best}.",
        marked=0 if models.best == "small" else 1,
    )


def score_table(evaluation: Evaluation) -> Table:
    """What each score reaches, the router's lead over it, and the losses at Hybrid LLM's cost advantages.

    Args:
        evaluation: What was found.
    """
    deviation = evaluation.random_deviation
    one_run = f" One random router scatters about 0.500 by {deviation:.3f} (standard deviation)." if deviation else ""
    return Table(
        title="How well each score routes",
        columns=(
            "score",
            f"APGR [{_level(evaluation)}]",
            "router − it",
            f"CPT 50{NBSP}%",
            f"CPT 80{NBSP}%",
            f"loss, CA{NBSP}10{NBSP}%",
            f"loss, CA{NBSP}20{NBSP}%",
            f"loss, CA{NBSP}40{NBSP}%",
            f"saved at 1{NBSP}% loss",
            "AUC",
        ),
        rows=tuple(_score_cells(score) for score in evaluation.scores),
        note=(
            "APGR 0.500 is guessing, higher is better. CPT: large share that recovers half, or four fifths, of the "
            "gap. CA: cost advantage, the share of calls left to the small model. CPT and what is saved are read off "
            f"these very data, a best case.{one_run}"
        ),
        marked=[score.name for score in evaluation.scores].index(ROUTER),
        narrow=(0, 1, 2, 6),
    )


def _score_cells(score: ScoreResult) -> tuple[str, ...]:
    metrics, minus = score.metrics, score.router_minus.get("apgr")
    # random and the constant score are the same straight line; the oracle is out of reach by construction
    lead = "" if minus is None or score.name == ORACLE else signed(minus)
    return (
        score.title,
        _number(metrics["apgr"]) if score.name == RANDOM else _ranged(metrics["apgr"]),
        lead,
        _percent(metrics["cpt_50"]),
        _percent(metrics["cpt_80"]),
        _percent(metrics["drop_10"]),
        _percent(metrics["drop_20"]),
        _percent(metrics["drop_40"]),
        _percent(metrics["saved_1"]),
        _number(metrics["auc"]),
    )


def money_table(evaluation: Evaluation) -> Table | None:
    """AutoMix' and RouterBench's figures; None without costs.

    Args:
        evaluation: What was found.
    """
    if any("aiq" not in score.metrics for score in evaluation.scores):
        return None
    return Table(
        title="What routing is worth in money",
        columns=("score", *(f"ΔIBC, CA{NBSP}{share}{NBSP}%" for share in (10, 20, 40)), "AIQ"),
        rows=tuple(
            (
                score.title,
                *(_percent_ranged(score.metrics[f"ibc_lift_{share}"]) for share in (10, 20, 40)),
                _ranged(score.metrics["aiq"]),
            )
            for score in evaluation.scores
        ),
        note=(
            "ΔIBC: quality gained per cost, above the line from the small to the large model and relative to it "
            "(AutoMix). AIQ: mean quality of the non-decreasing hull between both models' costs (RouterBench)."
        ),
        marked=[score.name for score in evaluation.scores].index(ROUTER),
        narrow=(0, 2, 4),
    )


def knob_table(evaluation: Evaluation) -> Table | None:
    """What thresholds that were fixed beforehand did; None where none were given.

    Args:
        evaluation: What was found.
    """
    if not evaluation.knobs:
        return None
    return Table(
        title="The knob: what was promised, and what came of it here",
        columns=(
            "wish",
            "threshold",
            "share promised",
            "large share",
            "PGR promised",
            f"PGR [{_level(evaluation)}]",
            f"loss [{_level(evaluation)}]",
            "quality over random",
        ),
        rows=tuple(
            (
                knob.wish.label,
                f"{knob.wish.threshold:.3f}",
                NONE if knob.wish.large_share is None else f"{100 * knob.wish.large_share:.1f} %",
                _percent(knob.large_share),
                NONE if knob.wish.quality is None else f"{knob.wish.quality:.3f}",
                _ranged(knob.quality),
                _percent_ranged(knob.drop),
                NONE if knob.over_random is None else signed(knob.over_random),
            )
            for knob in evaluation.knobs
        ),
        note=(
            "Promised is what the router's own curve says; it was measured elsewhere. Loss is relative to always "
            "large. The last column compares with a random router that sends the same share to the large model."
        ),
        narrow=(0, 3, 5, 6),
    )


def task_table(evaluation: Evaluation) -> Table | None:
    """The router within each task; None where no column was asked for.

    Args:
        evaluation: What was found.
    """
    if evaluation.by is None:
        return None
    within = evaluation.within_tasks
    return Table(
        title=f"By {evaluation.by}",
        columns=(
            evaluation.by,
            "prompts",
            "small",
            "large",
            f"APGR [{_level(evaluation)}]",
            "over random",
            "over random − length",
            f"loss, CA{NBSP}20{NBSP}%",
        ),
        rows=tuple(
            (
                task.name,
                str(task.rows),
                f"{task.small_quality:.3f}",
                f"{task.large_quality:.3f}",
                _ranged(task.metrics["apgr"]),
                NONE if task.metrics["over_random"] is None else signed(task.metrics["over_random"]),
                NONE if task.router_minus_length is None else signed(task.router_minus_length),
                _percent(task.metrics["drop_20"]),
            )
            for task in evaluation.tasks
        ),
        note=(
            f"Pooled tasks flatter a score that tells them apart. Within tasks the router's APGR is {_ranged(within)}, "
            f"pooled {_ranged(evaluation.score(ROUTER).metrics['apgr'])}. A single task's interval is not corrected "
            "for how many there are."
        ),
        narrow=(0, 1, 4, 5),
    )
