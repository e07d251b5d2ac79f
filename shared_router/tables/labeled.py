"""Labelled prompts of one's own pair of models, from a file.

One row a prompt, in JSON lines (``.jsonl``, ``.ndjson``), CSV (``.csv``, with a header) or Parquet (``.parquet``):

    prompt          string    what the user asked; what the router will judge
    small_quality   number    quality of the small model's answer, higher = better, on any one scale, best 0 to 1
    large_quality   number    quality of the large model's answer, on the same scale

    {"prompt": "What is the capital of Peru?", "small_quality": 1, "large_quality": 1}
    {"prompt": "Prove that 2 is irrational.", "small_quality": [0, 0.5, 0], "large_quality": [1, 1, 0.5]}

A quality may be a list (in CSV written as JSON), one number for each sampled answer: its mean counts. true and false
count as 1 and 0. Of a prompt that stands in several rows the mean counts. Other columns are kept, for those who ask for
them: ``group`` (rows of one group stay on one side of every split), ``small_cost`` and ``large_cost`` (of one answer,
in any one currency), and whatever an audit shall compare (language, topic, segment).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import MAX_CHARS
from shared_router.errors import OutcomeError
from shared_router.files import write_atomically
from shared_router.tables.rows import BadRowError, Row, checked_rows, finite, present, read_rows, text_of

__all__ = [
    "COLUMNS",
    "MIN_ROWS",
    "LabeledPrompt",
    "LabeledPrompts",
    "labeled_from",
    "read_labeled",
    "teachable",
    "write_labeled_prompts",
]

COLUMNS = ("prompt", "small_quality", "large_quality")

MIN_ROWS = 40
"""Below, five parts of eight rows would have to tell one head from another."""

Samples = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LabeledPrompt:
    """One row.

    Attributes:
        prompt: What was asked.
        small: Quality of each sampled answer of the small model, at least one.
        large: The large model's.
        others: All other columns, as they were found.
    """

    prompt: str
    small: Samples
    large: Samples
    others: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabeledPrompts:
    """n prompts with the quality of both models' answers.

    Attributes:
        prompts: Different from each other, length n.
        small: Mean quality of the small model's answers, finite, shape (n,).
        large: Mean quality of the large model's answers, finite, shape (n,).
        small_samples: Quality of each sampled answer of the small model; n tuples of at least one.
        large_samples: The large model's.
        columns: All other columns, each of length n, None where a row lacks it; of merged rows, the first one's.
        skipped: What was wrong with each row that was left out.
        merged: Rows that were merged into an earlier one with the same prompt.
        clipped: Prompts of which the embedded encoder reads only the first ``MAX_CHARS`` characters.
    """

    prompts: tuple[str, ...]
    small: npt.NDArray[np.float64]
    large: npt.NDArray[np.float64]
    small_samples: tuple[Samples, ...]
    large_samples: tuple[Samples, ...]
    columns: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    merged: int = 0
    clipped: int = 0

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> LabeledPrompts:
        """The same for some of the prompts.

        Args:
            rows: Their places, shape (k,).
        """
        places = [int(row) for row in rows]
        return replace(
            self,
            prompts=tuple(self.prompts[row] for row in places),
            small=self.small[places],
            large=self.large[places],
            small_samples=tuple(self.small_samples[row] for row in places),
            large_samples=tuple(self.large_samples[row] for row in places),
            columns={name: tuple(values[row] for row in places) for name, values in self.columns.items()},
        )


def read_labeled(path: str | Path, *, skip_bad: bool = False) -> LabeledPrompts:
    """Read a file of labelled prompts.

    Args:
        path: ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet``; the columns are described above.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.

    Raises:
        OutcomeError: The file cannot be read, a row cannot be used (the message names file and line), or nothing is
            left.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    prompt_of: dict[str, str] = {}

    def check(values: Mapping[str, object]) -> LabeledPrompt:
        row = _checked(values)
        known = row.others.get("id")
        if known is not None and prompt_of.setdefault(str(known), row.prompt) != row.prompt:
            raise BadRowError(f"id {str(known)!r:.40} stands here for another prompt; an id names one prompt")
        return row

    rows = read_rows(path, needed=COLUMNS)
    if Path(path).suffix.lower() == ".csv":
        rows = _with_numbers(rows)
    good, skipped = checked_rows(rows, check, skip_bad=skip_bad)
    return labeled_from(good, skipped=skipped, origin=str(path))


def write_labeled_prompts(path: str | Path, labeled: LabeledPrompts) -> None:
    """Write labelled prompts as JSON lines, as a whole, so that ``read_labeled`` reads the same.

    Args:
        path: The file; its folder exists.
        labeled: The prompts.

    Raises:
        OutcomeError: It cannot be written.
    """
    rows = (
        {
            "prompt": prompt,
            "small_quality": list(labeled.small_samples[place]),
            "large_quality": list(labeled.large_samples[place]),
            **{name: values[place] for name, values in labeled.columns.items() if values[place] is not None},
        }
        for place, prompt in enumerate(labeled.prompts)
    )
    lines = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    try:
        write_atomically(Path(path), lines.encode("utf-8"))
    except OSError as error:
        raise OutcomeError(f"{path} cannot be written ({error})") from error


def labeled_from(
    rows: Sequence[LabeledPrompt], *, skipped: tuple[str, ...] = (), origin: str = "the rows"
) -> LabeledPrompts:
    """Merge rows of one prompt.

    Args:
        rows: One a prompt; finite qualities.
        skipped: What was wrong with rows that were left out.
        origin: Where the rows come from, for messages.

    Raises:
        OutcomeError: There is no row.
    """
    if not rows:
        raise OutcomeError(f"{origin} has no usable row{_left_out(skipped)}")
    by_prompt: dict[str, list[LabeledPrompt]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt, []).append(row)
    merged = list(by_prompt.values())
    names = sorted({name for row in rows for name in row.others})
    return LabeledPrompts(
        prompts=tuple(by_prompt),
        small=np.array([np.mean([_mean(row.small) for row in same]) for same in merged], dtype=np.float64),
        large=np.array([np.mean([_mean(row.large) for row in same]) for same in merged], dtype=np.float64),
        small_samples=tuple(tuple(value for row in same for value in row.small) for same in merged),
        large_samples=tuple(tuple(value for row in same for value in row.large) for same in merged),
        columns={name: tuple(same[0].others.get(name) for same in merged) for name in names},
        skipped=skipped,
        merged=len(rows) - len(by_prompt),
        clipped=sum(len(prompt.strip()) > MAX_CHARS for prompt in by_prompt),
    )


def teachable(labeled: LabeledPrompts, *, origin: str = "the rows") -> LabeledPrompts:
    """The same prompts, if a router can learn from them.

    Args:
        labeled: Labelled prompts.
        origin: Where they come from, for messages.

    Raises:
        OutcomeError: Fewer than ``MIN_ROWS`` prompts, or a small model that falls short always or never.
    """
    count = len(labeled)
    if count < MIN_ROWS:
        raise OutcomeError(
            f"{origin} has {count} different usable prompts{_left_out(labeled.skipped)}; a router needs {MIN_ROWS} at "
            "the very least and some 500 to be of use: label more, or start with the embedded router, which needs none"
        )
    short = labeled.small < labeled.large
    if not short.any():
        raise OutcomeError(
            f"{origin}: the small model falls short on none of {count} prompts, which leaves nothing "
            "to tell apart: use the small model alone, or check that the columns are not interchanged and that the "
            "measure does not give all answers the same quality"
        )
    if short.all():
        raise OutcomeError(
            f"{origin}: the small model falls short on each of {count} prompts, which leaves nothing "
            "to tell apart: use the large model alone, or add prompts on which the small one does as well"
        )
    return labeled


def _left_out(skipped: tuple[str, ...]) -> str:
    return f" ({len(skipped)} rows were left out; the first: {skipped[0]})" if skipped else ""


def _mean(samples: Samples) -> float:
    return math.fsum(samples) / len(samples)


def _checked(values: Mapping[str, object]) -> LabeledPrompt:
    present(values, COLUMNS)
    return LabeledPrompt(
        prompt=text_of("prompt", values["prompt"]),
        small=_samples("small_quality", values["small_quality"]),
        large=_samples("large_quality", values["large_quality"]),
        others={name: value for name, value in values.items() if name not in COLUMNS},
    )


def _samples(name: str, value: object) -> Samples:
    samples = value if isinstance(value, list) else [value]
    if not samples:
        raise BadRowError(f"{name} is an empty list; give one number for each sampled answer")
    return tuple(finite(name, sample, "a number or a list of numbers") for sample in samples)


def _with_numbers(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if isinstance(row.values, BadRowError):
            yield row
        else:
            quality = {name: _number(row.values.get(name)) for name in COLUMNS[1:]}
            yield Row(row.place, {**row.values, **quality})


def _number(cell: object) -> object:
    if not isinstance(cell, str) or not cell.strip():
        return None
    try:
        return json.loads(cell.strip().lower())
    except (ValueError, RecursionError):
        return cell
