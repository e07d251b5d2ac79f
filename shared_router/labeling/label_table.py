"""Qualities of both models' answers → the file that routers are fitted from, with the paper's three labels.

The rows are those of ``shared_router.tables.labeled``, with three more columns in the paper's orientation (1 = the
small model is good enough; Ding et al., ICLR 2024, arXiv 2404.14618, §3):

    label_det      0 or 1       the first answer of the small model is at least as good as that of the large one
    label_prob     in [0, 1]    share of all pairs of answers in which that is so
    label_trans    in [0, 1]    the same, where falling short by no more than t* is good enough

Prompts may have different numbers of answers: 10 are the paper's, and one is what r_det needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared_router.errors import MissingExtraError, OutcomeError
from shared_router.labeling.judgements import write_json_lines, written_atomically
from shared_router.labeling.labels import (
    ROUNDING,
    deterministic_labels,
    gini_mean_difference,
    probabilistic_labels,
    transformed_labels,
)
from shared_router.records import JSON
from shared_router.tables.labeled import LabeledPrompt

__all__ = ["ENDINGS", "PromptLabels", "prompt_labels", "write_labeled"]

Floats = npt.NDArray[np.float64]

ENDINGS = (".jsonl", ".ndjson", ".parquet")

GRID_POINTS = 50


@dataclass(frozen=True, slots=True, eq=False)
class PromptLabels:
    """The labels of n prompts.

    Attributes:
        det: r_det, 0 or 1, shape (n,).
        prob: r_prob, in [0, 1], shape (n,).
        trans: r_trans at t*, in [0, 1], shape (n,).
        t: t* ≥ 0, in units of quality.
        grid: The relaxations among which t* is the best, rising from 0.
        spread: Gini mean difference of ``trans``, in [0, 0.5].
        prob_spread: That of ``prob``.
        collapsed: Why t* changes nothing, so that r_trans is r_prob; empty where it does.
    """

    det: Floats
    prob: Floats
    trans: Floats
    t: float
    grid: tuple[float, ...]
    spread: float
    prob_spread: float
    collapsed: str


def prompt_labels(prompts: Sequence[LabeledPrompt], *, grid_points: int = GRID_POINTS) -> PromptLabels:
    """The three labels of each prompt, whatever numbers of answers they have.

    Args:
        prompts: At least one, with finite qualities.
        grid_points: How many relaxations to try, evenly from 0 to the largest gap (at which every label is 1), ≥ 2. The
            paper searches a grid and does not say which.

    Returns:
        The labels; of several t that spread them equally the smallest, as in ``labels.best_transformation``.

    Raises:
        OutcomeError: No prompts, or fewer than 2 points.
    """
    if not prompts:
        raise OutcomeError("there is no prompt to label")
    if grid_points < 2:
        raise OutcomeError(f"a grid has at least 2 points, got {grid_points}")
    groups = _by_shape(prompts)
    largest = max(max(prompt.large) - min(prompt.small) for prompt in prompts)
    grid = np.linspace(0.0, largest, grid_points) if largest > 0.0 else np.zeros(1)
    spreads = np.array([gini_mean_difference(_transformed(groups, len(prompts), float(t))) for t in grid])
    best = int(np.flatnonzero(spreads >= spreads.max() - ROUNDING)[0])
    prob = _each(groups, len(prompts), probabilistic_labels)
    trans = _transformed(groups, len(prompts), float(grid[best]))
    return PromptLabels(
        det=_each(groups, len(prompts), deterministic_labels),
        prob=prob,
        trans=trans,
        t=float(grid[best]),
        grid=tuple(grid.tolist()),
        spread=float(spreads[best]),
        prob_spread=float(spreads[0]),
        collapsed=_why_collapsed(prompts, largest) if np.array_equal(prob, trans) else "",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    rows: npt.NDArray[np.int64]
    small: Floats
    large: Floats


def _by_shape(prompts: Sequence[LabeledPrompt]) -> list[_Group]:
    places: dict[tuple[int, int], list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault((len(prompt.small), len(prompt.large)), []).append(place)
    return [
        _Group(
            np.array(rows),
            np.array([prompts[row].small for row in rows], dtype=np.float64),
            np.array([prompts[row].large for row in rows], dtype=np.float64),
        )
        for rows in places.values()
    ]


def _each(groups: Sequence[_Group], count: int, label: Callable[[Floats, Floats], Floats]) -> Floats:
    labels = np.empty(count)
    for group in groups:
        labels[group.rows] = label(group.small, group.large)
    return labels


def _transformed(groups: Sequence[_Group], count: int, t: float) -> Floats:
    return _each(groups, count, lambda small, large: transformed_labels(small, large, t))


def _why_collapsed(prompts: Sequence[LabeledPrompt], largest: float) -> str:
    if largest <= 0.0:
        return "no answer of the large model is better than one of the small model's"
    values = {value for prompt in prompts for value in (*prompt.small, *prompt.large)}
    if len(values) == 2:
        low, high = sorted(values)
        return (
            f"all qualities are {low:g} or {high:g}: a t below {high - low:g} changes no comparison, and from there on "
            "every label is 1"
        )
    return "the labels are spread most where nothing is conceded"


def write_labeled(path: Path, prompts: Sequence[LabeledPrompt], labels: PromptLabels) -> tuple[str, ...]:
    """Write the file that routers are fitted from, as a whole.

    Args:
        path: ``.jsonl``, ``.ndjson`` or ``.parquet``.
        prompts: In the order of the labels.
        labels: Theirs.

    Returns:
        Columns of the prompts' file that are left out because a column of this file has their name.

    Raises:
        OutcomeError: The folder cannot be written to, or a column has values that Parquet cannot hold together.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    rows: list[dict[str, JSON]] = []
    left_out: set[str] = set()
    for place, prompt in enumerate(prompts):
        own: dict[str, JSON] = {
            "prompt": prompt.prompt,
            "small_quality": list(prompt.small),
            "large_quality": list(prompt.large),
            "label_det": float(labels.det[place]),
            "label_prob": float(labels.prob[place]),
            "label_trans": float(labels.trans[place]),
        }
        left_out |= own.keys() & prompt.others.keys()
        rows.append({**own, **{name: _json(value) for name, value in prompt.others.items() if name not in own}})
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, rows)
    else:
        write_json_lines(path, rows)
    return tuple(sorted(left_out))


def _json(value: object) -> JSON:
    return value  # type: ignore[return-value]  # columns of an outcome are JSON already


def _write_parquet(path: Path, rows: Sequence[Mapping[str, JSON]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError('writing Parquet needs pyarrow: pip install "hybrid-llm[train]"') from error
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise OutcomeError(
                f"{path}: Parquet cannot hold the values of column {name} together ({error}); write .jsonl instead"
            ) from error
    table = pa.table(columns)
    written_atomically(path, lambda temporary: pq.write_table(table, temporary))
