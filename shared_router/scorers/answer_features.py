"""Query and answer → how probably the answer falls short: what the query alone cannot tell (FrugalGPT, 2305.05176, §3).

FrugalGPT's scorer is a DistilBERT over query and answer. This one is linear, on the embedded static encoder, so that it
answers in a millisecond beside a model that takes seconds:

    raw = Σ weight_j · (column_j − mean_j) / std_j  +  Σ weight_b · x_b / |x|

over what the embedded default sees of the query, surface signs of the answer, the directions of both token sums, and
the answer's hashed word pieces (as ``shared_router.scorers.hashed_linear``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError
from shared_router.records import JSON
from shared_router.scorers.hashed_linear import LinearWeights, piece_values
from shared_router.scorers.static_difficulty import CHUNK, StaticDifficultyScorer
from shared_router.scorers.text_columns import (
    BUCKETS,
    LEADING_COLUMNS,
    PieceCounts,
    dense_columns,
    embedded_from_state,
    embedded_state,
    pieces_of,
    unit_vectors,
)
from shared_router.uncertainty import concludes, final_answer

__all__ = ["ANSWER_SIGNS", "AnswerScorer", "answer_columns", "answer_pieces", "answer_signs"]

ANSWER_SIGNS = (
    "chars",
    "lines",
    "chars_to_query",
    "empty",
    "numbers",
    "digits",
    "code",
    "json",
    "list_items",
    "questions",
    "hedges",
    "refusals",
    "corrections",
    "repetition",
    "ends_cleanly",
    "concludes",
    "conclusion_chars",
    "conclusion_repeated",
    "conclusion_in_query",
    "query_words",
)
"""Names of the surface signs of an answer; counts as log(1 + count), shares and yes or no from 0 to 1."""

SIGNS_CHARS = 20_000
"""Characters of an answer of which the signs are taken, from its end: there it concludes, or was cut off."""

JSON_CHARS = 4000
"""Characters up to which an answer is tried as JSON."""

WORD = re.compile(r"\w+")
NUMBER = re.compile(r"\d[\d,.]*")
HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|might|could be|not sure|unsure|uncertain|it seems|seems to|i think|"
    r"i believe|approximately|unclear|hard to say|it depends|assum\w+)\b"
)
REFUSAL = re.compile(
    r"\b(?:i (?:cannot|can't|can not|am unable|am not able|do not have|don't have|don't know|do not know)|"
    r"as an ai|as a language model|i'm sorry|i am sorry|i apologi[sz]e|unable to|none of the (?:above|options))\b"
)
CORRECTION = re.compile(r"\b(?:wait|actually|however|on second thought|let me re\w*|correction|mistake|instead|oops)\b")
LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]", re.MULTILINE)
CODE = re.compile(r"```|^\s*(?:def|class|import|function|#include)\b", re.MULTILINE)
CLEAN_ENDS = tuple(".!?)]}`\"'$*|")


def answer_signs(query: str, answer: str) -> list[float]:
    """What an answer looks like beside its query.

    Args:
        query: The text that was asked.
        answer: The text that was answered.

    Returns:
        Finite numbers, one for each of ``ANSWER_SIGNS``.
    """
    read = answer[-SIGNS_CHARS:].strip()
    low = read.casefold()
    words = WORD.findall(low)
    asked = set(WORD.findall(query[:SIGNS_CHARS].casefold()))
    said = final_answer(read)
    digits = sum(map(str.isdigit, read))
    return [
        math.log1p(len(read)),
        math.log1p(read.count("\n")),
        math.log1p(len(read)) - math.log1p(len(query)),
        float(not read),
        math.log1p(len(NUMBER.findall(read))),
        digits / max(len(read), 1),
        float(CODE.search(read) is not None),
        float(_is_json(read)),
        math.log1p(len(LIST_ITEM.findall(read))),
        math.log1p(read.count("?")),
        math.log1p(len(HEDGE.findall(low))),
        math.log1p(len(REFUSAL.findall(low))),
        math.log1p(len(CORRECTION.findall(low))),
        _repetition(words),
        float(read.endswith(CLEAN_ENDS)),
        float(concludes(read)),
        math.log1p(len(said)),
        math.log1p(low.count(said)) if said else 0.0,
        float(bool(said) and said in query.casefold()),
        len(asked & set(words)) / max(len(asked), 1),
    ]


def _repetition(words: Sequence[str]) -> float:
    """Share of the runs of three words that were there before."""
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return 1.0 - len(set(runs)) / len(runs) if runs else 0.0


def _is_json(text: str) -> bool:
    if len(text) > JSON_CHARS or not text.startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def answer_columns(
    embedded: StaticDifficultyScorer, queries: Sequence[str], answers: Sequence[str]
) -> npt.NDArray[np.float64]:
    """The dense block.

    Args:
        embedded: The embedded default's scorer.
        queries: n queries.
        answers: n answers.

    Returns:
        Shape (n, len(LEADING_COLUMNS) + len(ANSWER_SIGNS) + 2 d), finite: the query's leading columns, the answer's
        signs, the query's direction, the answer's direction.
    """
    of_query = dense_columns(embedded, embedded.counts(queries))
    lead = len(LEADING_COLUMNS)
    signs = np.array([answer_signs(query, answer) for query, answer in zip(queries, answers, strict=True)])
    directions = unit_vectors(embedded.counts(answers).vectors)
    return np.column_stack([of_query[:, :lead], signs.reshape(len(queries), -1), of_query[:, lead:], directions])


def answer_pieces(embedded: StaticDifficultyScorer, answers: Sequence[str]) -> PieceCounts:
    """Hashed word pieces and pairs of the answers.

    Args:
        embedded: Its tokenizer splits the texts.
        answers: n answers.
    """
    return pieces_of(embedded, answers)


class AnswerScorer:
    """Judges answers by a linear head.

    Args:
        embedded: The embedded default's scorer: tokenizer, token vectors, surface features.
        weights: What was learned.

    Raises:
        ArtifactFormatError: The arrays do not fit each other, or hold NaN.
    """

    kind: ClassVar[str] = "answer_linear"

    def __init__(self, embedded: StaticDifficultyScorer, weights: LinearWeights) -> None:
        columns = len(LEADING_COLUMNS) + len(ANSWER_SIGNS) + 2 * embedded.encoder.table.shape[1]
        dense = (weights.dense_mean, weights.dense_std, weights.dense_weight)
        if any(array.shape != (columns,) for array in dense):
            raise ArtifactFormatError(
                f"dense means, deviations and weights of an answer scorer have shape ({columns},)"
            )
        if weights.piece_idf.shape not in {(BUCKETS,), (0,)} or weights.piece_weight.shape != weights.piece_idf.shape:
            raise ArtifactFormatError(f"piece weights and frequencies have shape ({BUCKETS},) or (0,), both the same")
        if not all(np.isfinite(array).all() for array in (*dense, weights.piece_idf, weights.piece_weight)):
            raise ArtifactFormatError("means, deviations, frequencies and weights are finite")
        if not (weights.dense_std > 0).all() or not (weights.piece_idf >= 0).all():
            raise ArtifactFormatError("standard deviations are above 0, inverse document frequencies not below")
        self.embedded = embedded
        self.weights = weights

    def score(self, queries: Sequence[str], answers: Sequence[str]) -> npt.NDArray[np.float64]:
        """Raw scores: higher = the answer more probably falls short.

        Args:
            queries: n queries.
            answers: n answers.

        Returns:
            Shape (n,).
        """
        scores = np.zeros(len(queries), dtype=np.float64)
        for start in range(0, len(queries), CHUNK):
            part = slice(start, start + CHUNK)
            scores[part] = self._scores(queries[part], answers[part])
        return scores

    def _scores(self, queries: Sequence[str], answers: Sequence[str]) -> npt.NDArray[np.float64]:
        weights = self.weights
        total = np.zeros(len(queries), dtype=np.float64)
        columns = answer_columns(self.embedded, queries, answers).T
        # one by one: a matrix product may add up in another order for one answer than for many
        for j in np.flatnonzero(weights.dense_weight).tolist():
            total += (columns[j] - weights.dense_mean[j]) / weights.dense_std[j] * weights.dense_weight[j]
        if len(weights.piece_idf):
            pieces = answer_pieces(self.embedded, answers)
            weighted = piece_values(pieces, weights.piece_idf) * weights.piece_weight[pieces.buckets]
            total += np.bincount(pieces.rows, weights=weighted, minlength=len(answers))
        return total

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        config, tensors = embedded_state(self.embedded)
        names = ("dense_mean", "dense_std", "dense_weight", "piece_idf", "piece_weight")
        learned = {name: getattr(self.weights, name) for name in names}
        return {**config, "columns": [*LEADING_COLUMNS, *ANSWER_SIGNS]}, {**tensors, **learned}

    @classmethod
    def from_state(cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]) -> AnswerScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or do not fit each other.
        """
        embedded = embedded_from_state(config, tensors)
        if config.get("columns") != [*LEADING_COLUMNS, *ANSWER_SIGNS]:
            raise ArtifactFormatError("the artifact weighs other columns than this release; train it again")
        try:
            weights = LinearWeights(
                dense_mean=tensors["dense_mean"].astype(np.float64, casting="safe"),
                dense_std=tensors["dense_std"].astype(np.float64, casting="safe"),
                dense_weight=tensors["dense_weight"].astype(np.float64, casting="safe"),
                piece_idf=tensors["piece_idf"].astype(np.float32, casting="safe"),
                piece_weight=tensors["piece_weight"].astype(np.float32, casting="safe"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(embedded, weights)
