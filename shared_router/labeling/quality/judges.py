"""A language model as the judge: of two answers side by side, or of one by itself.

Judges prefer the answer that they see first, or last (Zheng et al., 2023, arXiv 2306.05685, §3.3). The pairwise judge
therefore sees each pair in both orders, and a preference that changes with the order is a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Literal

from shared_router.errors import OutcomeError
from shared_router.labeling.quality.judge_endpoint import Endpoint, asked, judged_at_once
from shared_router.labeling.quality.judge_prompts import PAIRWISE, SCORE, JudgePrompt, fenced
from shared_router.labeling.quality.measure import Answers, JudgedPrompt, Judging, Quality, references_of
from shared_router.records import JSON, Target
from shared_router.tables.outcomes import Outcome

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["PairwiseJudge", "ScoreJudge", "matched_pairs"]

AT_ONCE = 8

IDENTICAL = "both models gave the same answer: a tie, without asking"
FIRST = "the first of the two was preferred in both orders: a tie"
SECOND = "the second of the two was preferred in both orders: a tie"
HALF_TIE = "a preference in one order and a tie in the other: a tie"
ALONE = "no answer of the other model to compare with"

Pair = tuple[int, int]


def matched_pairs(small: int, large: int) -> list[Pair]:
    """Every answer in a pair, with as few pairs as that takes: sample 0 with 0, 1 with 1, the shorter list repeated.

    Args:
        small: Answers of the small model, ≥ 1.
        large: Answers of the large model, ≥ 1.
    """
    return [(pair % small, pair % large) for pair in range(max(small, large))]


@dataclass(frozen=True, slots=True)
class PairwiseJudge:
    """Which of two answers is better: 1 for a win, 0.5 for a tie, 0 for a loss.

    An answer's quality is its mean over the pairs that it stands in. With one answer a model this is the outcome of
    their comparison, and what the other model's answer gets is 1 minus it.

    Attributes:
        endpoint: Where and how the judge is asked.
        pairs: "matched": as few as let every answer stand in one, 2 calls a pair, 2n a prompt with n samples a model;
            "all": every answer of one model with every of the other, 2n² calls.
        at_once: Prompts judged at a time.
        prompt: What the judge is told.
    """

    endpoint: Endpoint
    pairs: Literal["matched", "all"] = "matched"
    at_once: int = AT_ONCE
    prompt: JudgePrompt = PAIRWISE
    name: ClassVar[str] = "judge"
    version: ClassVar[str] = "1"
    quality_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_reference: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_at_once(self.at_once)
        if self.pairs not in ("matched", "all"):
            raise OutcomeError(f'pairs are "matched" or "all", got {self.pairs!r}')

    def settings(self) -> Mapping[str, JSON]:
        """The judge, its prompt with its hash, and which pairs are compared."""
        return {**_settings(self.endpoint, self.prompt), "pairs": self.pairs}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``.

        Raises:
            MissingExtraError: openai is not installed.
            JudgeError: The judge cannot be asked at all.
        """
        return judged_at_once(prompts, self._judged, self.endpoint, at_once=self.at_once)

    async def _judged(self, client: AsyncOpenAI, answers: Answers) -> JudgedPrompt:
        small, large = _of(answers, "small"), _of(answers, "large")
        if not small or not large:
            return JudgedPrompt(answers, tuple(Quality(None, notes=(ALONE,)) for _ in answers))
        usage: Counter[str] = Counter()
        # samples drawn twice alike are asked for once
        known: dict[tuple[str, str], Quality] = {}
        wins: dict[tuple[str, Target, int], list[float]] = {answer.key: [] for answer in answers}
        notes: dict[tuple[str, Target, int], list[str]] = {answer.key: [] for answer in answers}
        chosen = matched_pairs(len(small), len(large)) if self.pairs == "matched" else _all_pairs(small, large)
        for ours, theirs in ((small[i], large[j]) for i, j in chosen):
            texts = ours.response, theirs.response
            if texts not in known:
                known[texts] = await self._compared(client, ours, theirs, usage)
            result = known[texts]
            notes[ours.key] += result.notes
            if result.value is not None:
                wins[ours.key].append(result.value)
                wins[theirs.key].append(1.0 - result.value)
        return JudgedPrompt(
            answers,
            tuple(
                Quality(fmean(wins[answer.key]) if wins[answer.key] else None, tuple(notes[answer.key]))
                for answer in answers
            ),
            usage,
        )

    async def _compared(self, client: AsyncOpenAI, small: Outcome, large: Outcome, usage: Counter[str]) -> Quality:
        if small.response == large.response:
            return Quality(0.5, (IDENTICAL,))
        notes: list[str] = []
        verdicts: list[str] = []
        for first, second in ((small, large), (large, small)):
            data = fenced(_question(small) | {"answer A": first.response, "answer B": second.response})
            reply = await asked(client, self.endpoint, self.prompt, data, usage)
            notes += reply.notes
            if reply.verdict is None:
                # the other order alone would bring the bias back
                return Quality(None, tuple(notes))
            verdicts.append(reply.verdict)
        value, note = _of_both_orders(verdicts[0], verdicts[1])
        return Quality(value, (*notes, *note))


def _of_both_orders(small_first: str, large_first: str) -> tuple[float, tuple[str, ...]]:
    decided = {("a", "b"): 1.0, ("b", "a"): 0.0, ("tie", "tie"): 0.5}
    if (small_first, large_first) in decided:
        return decided[small_first, large_first], ()
    return 0.5, (FIRST if small_first == large_first == "a" else SECOND if small_first == large_first else HALF_TIE,)


@dataclass(frozen=True, slots=True)
class ScoreJudge:
    """A grade from 1 to 10, brought to [0, 1] as (grade − 1)/9.

    Attributes:
        endpoint: Where and how the judge is asked.
        at_once: Prompts judged at a time.
        prompt: What the judge is told.
    """

    endpoint: Endpoint
    at_once: int = AT_ONCE
    prompt: JudgePrompt = SCORE
    name: ClassVar[str] = "judge_score"
    version: ClassVar[str] = "1"
    quality_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_reference: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_at_once(self.at_once)

    def settings(self) -> Mapping[str, JSON]:
        """The judge, and its prompt with its hash."""
        return _settings(self.endpoint, self.prompt)

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``.

        Raises:
            MissingExtraError: openai is not installed.
            JudgeError: The judge cannot be asked at all.
        """
        return judged_at_once(prompts, self._judged, self.endpoint, at_once=self.at_once)

    async def _judged(self, client: AsyncOpenAI, answers: Answers) -> JudgedPrompt:
        usage: Counter[str] = Counter()
        known: dict[str, Quality] = {}
        for answer in answers:
            if answer.response not in known:
                data = fenced(_question(answer) | {"answer": answer.response})
                reply = await asked(client, self.endpoint, self.prompt, data, usage)
                value = None if reply.verdict is None else (int(reply.verdict) - 1) / 9
                known[answer.response] = Quality(value, reply.notes)
        return JudgedPrompt(answers, tuple(known[answer.response] for answer in answers), usage)


def _check_at_once(at_once: int) -> None:
    if at_once < 1:
        raise OutcomeError(f"at least 1 prompt is judged at a time, got {at_once}")


def _settings(endpoint: Endpoint, prompt: JudgePrompt) -> dict[str, JSON]:
    # the address is left out: it may hold credentials
    return {
        "model": endpoint.model,
        "temperature": endpoint.temperature,
        "prompt": f"{prompt.name}/{prompt.version}",
        "prompt_sha": prompt.sha,
    }


def _of(answers: Sequence[Outcome], target: Target) -> list[Outcome]:
    return sorted((answer for answer in answers if answer.target == target), key=lambda answer: answer.sample)


def _all_pairs(small: Sequence[Outcome], large: Sequence[Outcome]) -> Iterator[Pair]:
    return product(range(len(small)), range(len(large)))


def _question(answer: Outcome) -> dict[str, str]:
    references = references_of(answer.reference)
    return {"question": answer.prompt} | ({"reference answer": "\n".join(references)} if references else {})
