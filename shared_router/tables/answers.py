"""Answers of many models to the same queries, gathered into arrays of queries × models.

One row an answer, or a place for one, in JSON lines, CSV or Parquet:

    query           string    (or prompt) what is asked
    model           string    who answers, or could
    quality         number    in [0, 1], higher = better; null where it is not known
    cost            number    (or cost_usd) ≥ 0, in one currency; null where it is not known
    id              string    (or query_id) of the query, where two queries have the same text
    group           string    queries of one group stay on one side of every split
    output_tokens   number    tokens of the answer; null where it is not known

    {"query": "What is the capital of Peru?", "model": "tiny", "quality": 1, "cost": 0.00002}
    {"query": "What is the capital of Peru?", "model": "grand", "quality": 1, "cost": 0.0011}
    {"query": "Prove that the root of 2 is irrational.", "model": "tiny"}

Several rows of one query and model are samples, of which the mean counts. Other columns are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.tables.rows import BadRowError, checked_rows, finite, present, read_rows, text_of

__all__ = ["Answers", "answers_from", "read_answers"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Answer:
    key: tuple[str, str]
    model: str
    group: str | None
    quality: float | None
    cost: float | None
    output_tokens: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What n queries and m models are known to make of each other; NaN where it is not known.

    Attributes:
        queries: Texts, length n.
        ids: What the file calls them, "" where it does not, length n.
        groups: Queries of one number stay on one side of every split, shape (n,).
        models: Names, sorted, length m.
        quality: Shape (n, m).
        cost: Shape (n, m).
        output_tokens: Shape (n, m).
        skipped: What was wrong with each row that was left out.
        merged: Rows that were a further sample.
    """

    queries: tuple[str, ...]
    ids: tuple[str, ...]
    groups: Rows
    models: tuple[str, ...]
    quality: Floats
    cost: Floats
    output_tokens: Floats
    skipped: tuple[str, ...] = ()
    merged: int = 0

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Which queries have a quality of every model, shape (n,)."""
        return np.asarray(~np.isnan(self.quality).any(axis=1))

    def part(self, rows: Rows) -> Answers:
        """Some of the queries.

        Args:
            rows: Their places, shape (k,).
        """
        return Answers(
            queries=tuple(self.queries[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            groups=self.groups[rows],
            models=self.models,
            quality=self.quality[rows],
            cost=self.cost[rows],
            output_tokens=self.output_tokens[rows],
        )


def read_answers(path: str | Path, *, models: Collection[str] = (), skip_bad: bool = False) -> Answers:
    """Read a file of answers.

    Args:
        path: ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet``.
        models: Only these; empty for all.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.

    Raises:
        OutcomeError: The file cannot be read, a row cannot be used (the message names file and line), it has fewer than
            two models, or one of those that were named is not in it.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    rows, skipped = checked_rows(read_rows(path, needed=("model",)), _checked, skip_bad=skip_bad)
    found = sorted({row.model for row in rows})
    if missing := [name for name in models if name not in found]:
        raise OutcomeError(f"{path} has no answers of {', '.join(missing)} (there are: {', '.join(found) or 'none'})")
    kept = [row for row in rows if not models or row.model in models]
    names = sorted(models) if models else found
    if len(names) < 2:
        raise OutcomeError(f"{path} has answers of {len(names)} models; there is nothing to allocate below two")
    return _gathered(kept, names, skipped)


def answers_from(
    queries: Sequence[str],
    models: Sequence[str],
    quality: npt.ArrayLike,
    cost: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    output_tokens: npt.ArrayLike | None = None,
) -> Answers:
    """Answers from arrays.

    Args:
        queries: Texts, length n.
        models: Names, length m ≥ 1.
        quality: In [0, 1], NaN where it is not known, shape (n, m).
        cost: ≥ 0, NaN where it is not known, shape (n, m); None for none known.
        groups: Queries of one number stay on one side of every split, shape (n,); None for each query its own.
        output_tokens: ≥ 0, NaN where it is not known, shape (n, m); None for none known.

    Raises:
        OutcomeError: Shapes that do not fit, or values out of range.
    """
    shape = (len(queries), len(models))
    unknown = np.full(shape, np.nan)
    arrays = {
        "quality": np.array(quality, dtype=np.float64),
        "cost": unknown if cost is None else np.array(cost, dtype=np.float64),
        "output_tokens": unknown if output_tokens is None else np.array(output_tokens, dtype=np.float64),
    }
    for name, values in arrays.items():
        if values.shape != shape:
            raise OutcomeError(f"{name} has shape {values.shape}; {shape[0]} queries × {shape[1]} models are expected")
        known = values[~np.isnan(values)]
        if (known < 0.0).any() or not np.isfinite(known).all() or (name == "quality" and (known > 1.0).any()):
            raise OutcomeError(f"{name} is {'in [0, 1]' if name == 'quality' else 'finite and ≥ 0'}, or NaN")
    numbers = np.arange(len(queries)) if groups is None else np.asarray(groups, dtype=np.int64)
    if numbers.shape != shape[:1]:
        raise OutcomeError(f"groups has shape {numbers.shape}, expected ({shape[0]},)")
    return Answers(
        queries=tuple(queries),
        ids=("",) * len(queries),
        groups=numbers,
        models=tuple(models),
        quality=arrays["quality"],
        cost=arrays["cost"],
        output_tokens=arrays["output_tokens"],
    )


def _checked(values: Mapping[str, object]) -> _Answer:
    named = dict(values)
    for name, other in (("query", "prompt"), ("id", "query_id"), ("cost", "cost_usd")):
        if named.get(name) is None:
            named[name] = named.get(other)
    present(named, ("query", "model"))
    quality = _number("quality", named.get("quality"))
    if quality is not None and quality > 1.0:
        raise BadRowError(f"quality is a number in [0, 1], got {quality:g}; bring it to that scale first")
    return _Answer(
        key=("" if named["id"] is None else str(named["id"]), text_of("query", named["query"])),
        model=text_of("model", named["model"]),
        group=None if named.get("group") is None else str(named["group"]),
        quality=quality,
        cost=_number("cost", named["cost"]),
        output_tokens=_number("output_tokens", named.get("output_tokens")),
    )


def _number(name: str, value: object) -> float | None:
    # an outcome table made with pandas has NaN where there is nothing
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise BadRowError(f"{name} is a number, got {value!r:.40}") from None
    number = finite(name, value)
    if number < 0.0:
        raise BadRowError(f"{name} is a number ≥ 0, got {number:g}")
    return number


def _gathered(rows: Sequence[_Answer], models: Sequence[str], skipped: tuple[str, ...]) -> Answers:
    place_of: dict[tuple[str, str], int] = {}
    for row in rows:
        place_of.setdefault(row.key, len(place_of))
    column_of = {name: column for column, name in enumerate(models)}
    cells = np.array([(place_of[row.key], column_of[row.model]) for row in rows], dtype=np.int64).reshape(-1, 2)
    shape = (len(place_of), len(models))
    group_of: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.group is not None:
            group_of.setdefault(row.key, row.group)
    # a query without a group is one of its own, by a name that no group of the file has
    names = [("group", group_of[key]) if key in group_of else ("own", "\n".join(key)) for key in place_of]
    number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
    counted = np.zeros(shape, dtype=np.int64)
    np.add.at(counted, (cells[:, 0], cells[:, 1]), 1)
    return Answers(
        queries=tuple(text for _, text in place_of),
        ids=tuple(known for known, _ in place_of),
        groups=np.array([number_of[name] for name in names], dtype=np.int64),
        models=tuple(models),
        quality=_means(cells, [row.quality for row in rows], shape),
        cost=_means(cells, [row.cost for row in rows], shape),
        output_tokens=_means(cells, [row.output_tokens for row in rows], shape),
        skipped=skipped,
        merged=int(np.maximum(counted - 1, 0).sum()),
    )


def _means(cells: Rows, values: Sequence[float | None], shape: tuple[int, int]) -> Floats:
    numbers = np.array(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (cells[known, 0], cells[known, 1]), numbers[known])
    np.add.at(count, (cells[known, 0], cells[known, 1]), 1.0)
    means: Floats = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0.0)
    return means
