"""What every measure of an answer's quality has in common.

A measure is given prompts, each with all answers to it, and yields them judged, in any order: a judge that compares the
two models needs both answers at once, a network runs best on many answers together, and an endpoint answers when it
answers. ``qualities`` turns any measure into a function from outcomes to an array.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.records import JSON
from shared_router.tables.outcomes import Outcome

__all__ = [
    "Answers",
    "Given",
    "JudgedPrompt",
    "Judging",
    "Measure",
    "Quality",
    "ReferenceMeasure",
    "answers_by_prompt",
    "best_over_references",
    "identity",
    "judged_in_batches",
    "qualities",
    "references_of",
    "scored_once",
]

Answers = tuple[Outcome, ...]
"""All answers to one prompt."""

NO_REFERENCE = "no reference (a text, a number, or a list of these) to compare with"


@dataclass(frozen=True, slots=True)
class Quality:
    """What a measure says of one answer.

    Attributes:
        value: Higher = better; None where there is none.
        notes: What is worth counting, each in words that are the same for all answers it happens to.
        fault: Why the answer could not be judged, where that is nobody's verdict but a defect of the data or of the
            user's own function; empty where there is none.
    """

    value: float | None
    notes: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class JudgedPrompt:
    """The answers to one prompt with their qualities.

    Attributes:
        outcomes: As they were given to the measure.
        qualities: One an outcome, in their order.
        usage: What judging them took, by name: calls, tokens.
    """

    outcomes: Answers
    qualities: tuple[Quality, ...]
    usage: Mapping[str, int] = field(default_factory=dict)


Judging = Generator[JudgedPrompt, None, None]
"""Judged prompts as they come; closing it stops what goes on in the background."""


class Measure(Protocol):
    """One way to say how good an answer is."""

    @property
    def name(self) -> str:
        """As ``hybrid-llm label --by`` has it."""

    @property
    def version(self) -> str:
        """Changes whenever the same answer may get another quality."""

    @property
    def quality_range(self) -> tuple[float, float]:
        """Lowest and highest quality possible; may be infinite."""

    @property
    def needs_reference(self) -> bool:
        """Whether an answer without a reference cannot be judged."""

    @property
    def compares(self) -> bool:
        """Whether a quality depends on the other answers to the prompt, so that these are judged together or not."""

    def settings(self) -> Mapping[str, JSON]:
        """What else the qualities depend on: a model's name, a prompt's hash. No secrets."""

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts.

        Args:
            prompts: Each with its answers: all of them where the measure compares, else those that are asked for.

        Yields:
            Every prompt once, in any order.
        """


def identity(measure: Measure) -> dict[str, JSON]:
    """What makes two qualities comparable: name, version and settings of their measure."""
    return {"name": measure.name, "version": measure.version, **measure.settings()}


def answers_by_prompt(outcomes: Iterable[Outcome]) -> list[Answers]:
    """Outcomes gathered by the id of their prompt, in order of first appearance."""
    by_id: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_id.setdefault(outcome.id, []).append(outcome)
    return [tuple(answers) for answers in by_id.values()]


def qualities(measure: Measure, outcomes: Sequence[Outcome]) -> npt.NDArray[np.float64]:
    """The qualities of outcomes.

    Args:
        measure: Any.
        outcomes: No two of the same id, target and sample; all answers to a prompt where the measure compares.

    Returns:
        In the order of the outcomes, shape (n,); NaN where the measure gives none.

    Raises:
        OutcomeError: An outcome that cannot be judged, or a quality that is not finite.
    """
    found: dict[tuple[str, str, int], float] = {}
    for prompt in measure.judged(answers_by_prompt(outcomes)):
        for outcome, quality in zip(prompt.outcomes, prompt.qualities, strict=True):
            fault = quality.fault
            if quality.value is not None and not math.isfinite(quality.value):
                fault = f"the quality is {quality.value}"
            if fault:
                raise OutcomeError(f"{measure.name}, id {outcome.id!r}: {fault}")
            found[outcome.key] = math.nan if quality.value is None else quality.value
    return np.array([found[outcome.key] for outcome in outcomes], dtype=np.float64)


def references_of(reference: JSON) -> tuple[str, ...]:
    """The right answers that a row names.

    Args:
        reference: A text, a number or a truth value, or a list of these.

    Returns:
        Those that are not blank, numbers as JSON writes them; none for anything else.
    """
    several = reference if isinstance(reference, list | tuple) else [reference]
    texts = [
        part if isinstance(part, str) else json.dumps(part)
        for part in several
        if isinstance(part, str | int | float)  # a bool is an int
    ]
    return tuple(text for text in texts if text.strip())


def judged_in_batches(
    prompts: Iterable[Answers], judge: Callable[[Sequence[Outcome]], Sequence[Quality]], *, answers_at_once: int
) -> Judging:
    """Judge many answers together, and whole prompts always.

    Args:
        prompts: Each with its answers.
        judge: Answers → their qualities, in order.
        answers_at_once: How many answers make a batch; one prompt may have more.
    """
    batch: list[Answers] = []
    for prompt in prompts:
        batch.append(prompt)
        if sum(map(len, batch)) >= answers_at_once:
            yield from _judged_batch(batch, judge)
            batch = []
    if batch:
        yield from _judged_batch(batch, judge)


def _judged_batch(batch: Sequence[Answers], judge: Callable[[Sequence[Outcome]], Sequence[Quality]]) -> Judging:
    found = iter(judge([outcome for prompt in batch for outcome in prompt]))
    for prompt in batch:
        yield JudgedPrompt(prompt, tuple(next(found) for _ in prompt))


Texts = tuple[str, str]


def scored_once(texts: Sequence[Texts], score: Callable[[Sequence[Texts]], Sequence[Quality]]) -> list[Quality]:
    """Score pairs of texts, equal ones once.

    Networks round by how a batch is padded: an answer that both models gave alike could else win against itself.

    Args:
        texts: Pairs, some of them maybe equal.
        score: Different pairs → their qualities, in order.
    """
    different = list(dict.fromkeys(texts))
    found = dict(zip(different, score(different), strict=True)) if different else {}
    return [found[pair] for pair in texts]


def best_over_references(
    answers: Sequence[Outcome], score: Callable[[Sequence[Texts]], Sequence[Quality]]
) -> list[Quality]:
    """Each answer's quality against the reference that suits it best.

    Args:
        answers: Outcomes.
        score: (answer, reference) pairs → their qualities, in order; called once.
    """
    references = [references_of(answer.reference) for answer in answers]
    pairs = [(answer.response, text) for answer, texts in zip(answers, references, strict=True) for text in texts]
    scored = iter(scored_once(pairs, score))
    found = []
    for texts in references:
        of_answer = [next(scored) for _ in texts]
        best = max(of_answer, key=lambda quality: -math.inf if quality.value is None else quality.value, default=None)
        found.append(best or Quality(None, fault=NO_REFERENCE))
    return found


@dataclass(frozen=True, slots=True)
class ReferenceMeasure:
    """A measure that is a function of an answer and its references.

    Attributes:
        name: As ``hybrid-llm label --by`` has it.
        version: Changes whenever the same answer may get another quality.
        compare: The answer and at least one reference → its quality, in [0, 1].
    """

    name: str
    version: str
    compare: Callable[[str, tuple[str, ...]], Quality]
    quality_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_reference: ClassVar[bool] = True
    compares: ClassVar[bool] = False

    def settings(self) -> Mapping[str, JSON]:
        """None."""
        return {}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``."""
        return judged_in_batches(
            prompts, lambda answers: [self._quality(answer) for answer in answers], answers_at_once=1
        )

    def _quality(self, answer: Outcome) -> Quality:
        references = references_of(answer.reference)
        return self.compare(answer.response, references) if references else Quality(None, fault=NO_REFERENCE)


@dataclass(frozen=True, slots=True)
class Given:
    """The qualities that the outcomes have already, from people or from a program of one's own."""

    name: ClassVar[str] = "given"
    version: ClassVar[str] = "1"
    quality_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    needs_reference: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    def settings(self) -> Mapping[str, JSON]:
        """None."""
        return {}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``."""
        for prompt in prompts:
            yield JudgedPrompt(
                prompt,
                tuple(
                    Quality(answer.quality, notes=() if answer.quality is not None else ("no quality given",))
                    for answer in prompt
                ),
            )
