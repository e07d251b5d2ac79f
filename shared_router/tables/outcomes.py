"""Outcomes: one model's answer to one prompt, with what it cost and, once it is judged, how good it is.

One row an answer, in JSON lines or Parquet. ``collect`` writes the rows, ``label`` adds the quality:

    id              string    of the prompt; the same for all answers to it
    prompt          string    what the router will judge
    target          string    "small" or "large"
    sample          integer   0, 1, …: which of several answers of this model to this prompt
    model           string    the model's name, for people
    response        string    the answer; may be empty
    reference       any       the right answer as the prompts' file had it; null where there is none
    quality         number    higher = better; null until judged
    input_tokens    integer   null where unknown
    output_tokens   integer   null where unknown
    cost_usd        number    null where unknown
    seconds         number    from asking to the whole answer; null where unknown

Other columns of the prompts' file are carried along in every row under ``columns``, an object.
A response is data: nothing in it is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from shared_router.errors import OutcomeError
from shared_router.records import JSON, TARGETS, Target
from shared_router.tables.labeled import LabeledPrompt
from shared_router.tables.rows import BadRowError, checked_rows, finite, present, read_rows, text_of

__all__ = ["Outcome", "Outcomes", "labeled_prompts", "outcome_row", "read_outcomes"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer; the fields are those of the file, described above."""

    id: str
    prompt: str
    target: Target
    sample: int
    model: str
    response: str
    reference: JSON = None
    quality: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    columns: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, Target, int]:
        """What no two outcomes of one file share."""
        return self.id, self.target, self.sample


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of a file, in its order.

    Attributes:
        rows: All outcomes.
        skipped: What was wrong with each row that was left out.
    """

    rows: tuple[Outcome, ...]
    skipped: tuple[str, ...] = ()


def outcome_row(outcome: Outcome) -> dict[str, JSON]:
    """An outcome as a JSON object, the columns in the order in which they are described above."""
    return {
        "id": outcome.id,
        "prompt": outcome.prompt,
        "target": outcome.target,
        "sample": outcome.sample,
        "model": outcome.model,
        "response": outcome.response,
        "reference": outcome.reference,
        "quality": outcome.quality,
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
        "cost_usd": outcome.cost_usd,
        "seconds": outcome.seconds,
        "columns": dict(outcome.columns),
    }


def read_outcomes(path: str | Path, *, skip_bad: bool = False) -> Outcomes:
    """Read a file of outcomes.

    Args:
        path: ``.jsonl``, ``.ndjson`` or ``.parquet``.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.

    Raises:
        OutcomeError: The file cannot be read, a row cannot be used, or an answer stands in it twice; the message names
            file and line.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    seen: set[tuple[str, Target, int]] = set()

    def check(values: Mapping[str, object]) -> Outcome:
        outcome = _checked(values)
        if outcome.key in seen:
            raise BadRowError(
                f"sample {outcome.sample} of the {outcome.target} model for prompt {outcome.id!r} is here a second time"
            )
        seen.add(outcome.key)
        return outcome

    rows, skipped = checked_rows(
        read_rows(path, needed=("id", "prompt", "target", "response")), check, skip_bad=skip_bad
    )
    return Outcomes(tuple(rows), skipped)


def labeled_prompts(outcomes: Sequence[Outcome]) -> tuple[list[LabeledPrompt], list[str]]:
    """Outcomes gathered by prompt: what routers learn from.

    Costs become ``small_cost`` and ``large_cost``, the mean of one answer, where every answer's is known.

    Args:
        outcomes: Any order.

    Returns:
        One labelled prompt for each id that has a judged answer of both models, in order of first appearance; and the
        ids of the others.

    Raises:
        OutcomeError: Two rows of one id differ in their prompt.
    """
    by_id: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_id.setdefault(outcome.id, []).append(outcome)
    complete: list[LabeledPrompt] = []
    incomplete: list[str] = []
    for known, answers in by_id.items():
        if len({answer.prompt for answer in answers}) > 1:
            raise OutcomeError(f"the rows of id {known!r} have different prompts; an id names one prompt")
        judged = {target: _judged(answers, target) for target in TARGETS}
        if not all(judged.values()):
            incomplete.append(known)
            continue
        costs = {f"{target}_cost": _mean_cost(judged[target]) for target in TARGETS}
        complete.append(
            LabeledPrompt(
                prompt=answers[0].prompt,
                small=tuple(cast("float", answer.quality) for answer in judged["small"]),
                large=tuple(cast("float", answer.quality) for answer in judged["large"]),
                others={
                    "id": known,
                    **answers[0].columns,
                    **{name: cost for name, cost in costs.items() if cost is not None},
                },
            )
        )
    return complete, incomplete


def _judged(answers: Sequence[Outcome], target: Target) -> list[Outcome]:
    of_target = [answer for answer in answers if answer.target == target and answer.quality is not None]
    return sorted(of_target, key=lambda answer: answer.sample)


def _mean_cost(answers: Sequence[Outcome]) -> float | None:
    known = [answer.cost_usd for answer in answers if answer.cost_usd is not None]
    return sum(known) / len(known) if len(known) == len(answers) else None


def _checked(values: Mapping[str, object]) -> Outcome:
    present(values, ("id", "prompt", "target", "response"))
    target = values["target"]
    if target not in TARGETS:
        raise BadRowError(f'target is "small" or "large", got {target!r:.40}')
    columns = values.get("columns") or {}
    if not isinstance(columns, Mapping):
        raise BadRowError(f"columns is an object, got {type(columns).__name__}")
    return Outcome(
        id=text_of("id", str(values["id"])),
        prompt=text_of("prompt", values["prompt"]),
        target=target,
        sample=_count("sample", values.get("sample")) or 0,
        model=text_of("model", values.get("model") or "", may_be_empty=True),
        response=text_of("response", values["response"], may_be_empty=True),
        reference=cast("JSON", values.get("reference")),
        quality=_optional("quality", values.get("quality")),
        input_tokens=_count("input_tokens", values.get("input_tokens")),
        output_tokens=_count("output_tokens", values.get("output_tokens")),
        cost_usd=_optional("cost_usd", values.get("cost_usd")),
        seconds=_optional("seconds", values.get("seconds")),
        columns=cast("Mapping[str, JSON]", columns),
    )


def _optional(name: str, value: object) -> float | None:
    return None if value is None else finite(name, value)


def _count(name: str, value: object) -> int | None:
    number = _optional(name, value)
    if number is None:
        return None
    if number < 0 or number != int(number):
        raise BadRowError(f"{name} is a whole number ≥ 0, got {value!r:.40}")
    return int(number)
