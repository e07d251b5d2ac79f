"""How sure a model was of an answer that it has given: numbers in [0, 1], high where it was unsure.

What is asked is the answer, never the query alone (Ramírez, Birch & Titov, COLM 2024, arXiv 2405.02134). p₁ and p₂ are
the probabilities of the likeliest and the second likeliest token at a place:

    first_token_margin      1 − (p₁ − p₂) at the first token
    first_token_log_margin  2 / (1 + p₁/p₂) there: falls with log p₁ − log p₂, which is the difference of the raw logits
                            that the paper's code takes, since the softmax' denominator cancels
    first_token_entropy     entropy of the returned alternatives there, the rest lumped, as a share of its maximum
    entropy                 the same, mean over all tokens
    mean_logprob            1 − exp(mean log p) over the tokens that were chosen
    self_consistency        share of k samples whose answer is not the most frequent one

The two margins order answers differently: (.50, .01) is surer than (.90, .08) by the logarithms and less sure by the
probabilities. Without alternatives p₂ is taken for all that p₁ leaves: the least sure reading.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

__all__ = [
    "FIRST_TOKEN_MEASURES",
    "MEASURES",
    "Evidence",
    "MeasureName",
    "Token",
    "agreement",
    "alternatives_entropy",
    "concludes",
    "entropy",
    "final_answer",
    "first_token_log_margin",
    "first_token_margin",
    "mean_logprob",
    "measured",
    "self_consistency",
    "tokens_from",
]

MeasureName: TypeAlias = Literal[
    "first_token_margin",
    "first_token_log_margin",
    "first_token_entropy",
    "entropy",
    "mean_logprob",
    "self_consistency",
]
MEASURES: tuple[MeasureName, ...] = get_args(MeasureName)

FIRST_TOKEN_MEASURES = frozenset({"first_token_margin", "first_token_log_margin", "first_token_entropy"})
"""Measures that are known once the first token is there."""

READ_CHARS = 20_000
"""Characters of an answer in which its conclusion is looked for, from the end."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer.

    Attributes:
        text: As the server spells it.
        logprob: Natural logarithm of its probability, ≤ 0.
        alternatives: The likeliest tokens at this place with theirs, the chosen one among them if it is one of these;
            empty where the server returned none.
    """

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the small model's answer.

    Attributes:
        query: The text that was asked.
        answer: The text that was answered; a tool call as JSON.
        tokens: Its tokens, perhaps only the first ones; None where the server returned no log-probabilities.
        samples: Where several answers were drawn, all of them, the handed-out one included; None for one that failed.
        message: The answer as the host has it, for a user's own function.
        usable: False for an answer that failed to parse, or calls a tool that cannot be called so.
    """

    query: str
    answer: str = ""
    tokens: tuple[Token, ...] | None = None
    samples: tuple[str | None, ...] = ()
    message: Any = None
    usable: bool = True


def tokens_from(reported: object) -> tuple[Token, ...] | None:
    """Tokens from what servers report.

    Args:
        reported: OpenAI's chat format (``{"content": [{"token", "logprob", "top_logprobs"}]}``), that list alone (as
            Ollama and Gemini have it), or OpenAI's older format of completions (``{"tokens", "token_logprobs",
            "top_logprobs"}``). Anything else is no report.

    Returns:
        The tokens, or None where there are none or one of them has no finite log-probability ≤ 0.
    """
    if isinstance(reported, Mapping):
        if isinstance(reported.get("token_logprobs"), Sequence):
            reported = _from_columns(reported)
        else:
            reported = reported.get("content")
    if not isinstance(reported, Sequence) or isinstance(reported, str) or not reported:
        return None
    tokens = [_token(one) for one in reported]
    found = tuple(token for token in tokens if token is not None)
    return found if len(found) == len(tokens) else None


def _from_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    texts, logprobs = columns.get("tokens") or [], columns["token_logprobs"]
    top = columns.get("top_logprobs") or [None] * len(logprobs)
    return [
        {
            "token": text,
            "logprob": logprob,
            "top_logprobs": [{"token": token, "logprob": value} for token, value in dict(others or {}).items()],
        }
        for text, logprob, others in zip(texts, logprobs, top, strict=False)
    ]


def _token(reported: object) -> Token | None:
    logprob = _logprob(reported)
    if logprob is None or not isinstance(reported, Mapping):
        return None
    others = [(str(one.get("token", "")), _logprob(one)) for one in reported.get("top_logprobs") or ()]
    known = tuple((text, value) for text, value in others if value is not None)
    return Token(str(reported.get("token", "")), logprob, known)


def _logprob(reported: object) -> float | None:
    value = reported.get("logprob") if isinstance(reported, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    # some servers round a probability of 1 to just above, and write −9999 for 0
    return min(float(value), 0.0) if value < 1e-3 else None


def _plain(text: str) -> str:
    return text.strip().casefold()


def _two_likeliest(token: Token) -> tuple[float, float]:
    """p₁ and p₂, near-duplicates of the likeliest left out, as the paper's code does for questions and answers."""
    ranked = sorted({**dict(token.alternatives), token.text: token.logprob}.items(), key=lambda one: -one[1])
    best_text, best = ranked[0]
    first = math.exp(best)
    for text, logprob in ranked[1:]:
        one, other = _plain(text), _plain(best_text)
        # "Yes" and " yes" are one answer; an empty text is contained in all and says nothing
        if not (one and other and (one in other or other in one)):
            return first, math.exp(logprob)
    known = sum(math.exp(logprob) for _, logprob in ranked)
    least = math.exp(ranked[-1][1]) if len(ranked) > 1 else 1.0
    # no other token was returned: what is left may be one token, though none likelier than the last that was returned
    return first, min(max(1.0 - known, 0.0), least, first)


def first_token_margin(tokens: Sequence[Token]) -> float:
    """1 − (p₁ − p₂) at the first token.

    Args:
        tokens: At least the first one.

    Returns:
        In [0, 1]; 1 where the two likeliest tokens are equally so.
    """
    first, second = _two_likeliest(tokens[0])
    return _unit(1.0 - (first - second))


def first_token_log_margin(tokens: Sequence[Token]) -> float:
    """2 / (1 + p₁/p₂) at the first token: the paper's code's margin of raw logits, on a scale from 0 to 1.

    Args:
        tokens: At least the first one.

    Returns:
        In [0, 1]; 1 where the two likeliest tokens are equally so, 0 where the second cannot be.
    """
    first, second = _two_likeliest(tokens[0])
    return _unit(2.0 * second / (first + second)) if first + second > 0.0 else 1.0


def alternatives_entropy(token: Token) -> float:
    """Entropy of the alternatives at one place, all that were not returned lumped into one.

    Args:
        token: One token.

    Returns:
        In [0, 1], as a share of the largest that so many outcomes can have.
    """
    found = {**dict(token.alternatives), token.text: token.logprob}
    chances = [math.exp(logprob) for logprob in found.values()]
    chances.append(max(1.0 - sum(chances), 0.0))
    total = sum(chances)
    bits = -sum(p / total * math.log(p / total) for p in chances if p > 0.0)
    return _unit(bits / math.log(len(chances)))


def entropy(tokens: Sequence[Token]) -> float:
    """Mean entropy of the alternatives.

    Args:
        tokens: At least one.

    Returns:
        In [0, 1].
    """
    return math.fsum(map(alternatives_entropy, tokens)) / len(tokens)


def mean_logprob(tokens: Sequence[Token]) -> float:
    """1 − exp(mean log p) of the tokens that were chosen: 1 less the geometric mean of their probabilities.

    Args:
        tokens: At least one.

    Returns:
        In [0, 1].
    """
    return _unit(-math.expm1(math.fsum(token.logprob for token in tokens) / len(tokens)))


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


_OF_TOKENS: Mapping[str, Callable[[Sequence[Token]], float]] = {
    "first_token_margin": first_token_margin,
    "first_token_log_margin": first_token_log_margin,
    "first_token_entropy": lambda tokens: alternatives_entropy(tokens[0]),
    "entropy": entropy,
    "mean_logprob": mean_logprob,
}

_CONCLUSIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\\boxed\{([^{}]{1,200})\}",
        r"####[ \t]*([^\n]{1,200})",
        r"\b(?:final )?answer(?: is|:)[ \t]*:?[ \t]*([^\n]{1,200})",
    )
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[/:-]\d+)*")
"""A number, or a date or time or fraction, which is one value."""
_EDGES = " \t\r\n.,;:!?\"'`*_$()[]{}<>"


def final_answer(text: str) -> str:
    r"""What an answer comes to, so that two ways of saying it are the same.

    The last conclusion that is marked (``\boxed{}``, ``####``, "the answer is") where there is one, else the last line
    if it holds a number, else the whole; a number in it stands for the line, case and punctuation at its ends are gone.

    Args:
        text: An answer; of a long one the end is read.
    """
    read = text[-READ_CHARS:]
    for pattern in _CONCLUSIONS:
        marked = pattern.findall(read)
        if marked:
            return _value(marked[-1])
    lines = [line for line in read.splitlines() if line.strip()]
    return _number(lines[-1]) if len(lines) > 1 and _NUMBER.search(lines[-1]) else _tidy(read)


def concludes(text: str) -> bool:
    """Whether an answer marks its conclusion.

    Args:
        text: An answer; of a long one the end is read.
    """
    return any(pattern.search(text[-READ_CHARS:]) for pattern in _CONCLUSIONS)


def _value(said: str) -> str:
    letter = re.match(r"[\s(*\[]*([A-Ja-j])[\s).:*\]]*(?:$|[\s).:*\]])", said)
    if letter and len(said.split()) < 12 and not re.match(r"[\s*]*a\s+\w", said):
        return letter.group(1).casefold()
    return _number(said)


def _number(said: str) -> str:
    numbers: list[str] = _NUMBER.findall(said)
    # of a formula the last number is not its value
    if not numbers or "\\" in said:
        return _tidy(said)
    number = numbers[-1].replace(",", "").rstrip(".")
    if re.search(r"\d[/:-]", number):
        return re.sub(r"\b0+(?=\d)", "", number)
    return number.rstrip("0").rstrip(".") if "." in number else number


def _tidy(text: str) -> str:
    return " ".join(text.casefold().split()).strip(_EDGES)


def agreement(samples: Sequence[str | None]) -> tuple[int, int]:
    """The answer that most samples come to.

    Args:
        samples: Texts; None for a sample that failed, which agrees with none.

    Returns:
        Place of the first sample with that answer, and how many have it. Of equally frequent ones the first wins.

    Raises:
        ValueError: All samples failed.
    """
    said = [None if sample is None else final_answer(sample) for sample in samples]
    counted = Counter(one for one in said if one is not None)
    if not counted:
        raise ValueError("no sample to agree with")
    # a Counter keeps the order of arrival among equals
    answer, count = counted.most_common(1)[0]
    return said.index(answer), count


def self_consistency(samples: Sequence[str | None]) -> float:
    """Share of samples that do not come to the most frequent answer.

    Args:
        samples: k texts, k ≥ 2; None for one that failed.

    Returns:
        In [0, 1].
    """
    if all(sample is None for sample in samples):
        return 1.0
    return 1.0 - agreement(samples)[1] / len(samples)


def measured(name: MeasureName, evidence: Evidence) -> float | None:
    """A measure by its name.

    Args:
        name: One of ``MEASURES``.
        evidence: What is known of the answer.

    Returns:
        In [0, 1]; None where the evidence does not say it: no log-probabilities, or a single sample.
    """
    if name == "self_consistency":
        return self_consistency(evidence.samples) if len(evidence.samples) > 1 else None
    return _OF_TOKENS[name](evidence.tokens) if evidence.tokens else None
