"""Texts → columns for heads over many models: what the embedded encoder sees, and the topics of the words.

Topics are latent semantic analysis of hashed words and pairs (Deerwester et al. 1990, doi
10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9): a hundred thousand buckets become some dozen columns, so
that a hundred bootstrap heads are fitted in a second.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shared_router.errors import MissingExtraError
from shared_router.scorers.hashed_linear import piece_values
from shared_router.scorers.static_difficulty import CHUNK, StaticDifficultyScorer
from shared_router.scorers.text_columns import BUCKETS, dense_columns, pieces_of, unit_vectors
from shared_router.training.fast_heads import embedded_scorer

__all__ = ["TopicColumns"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

TOPICS = 64
"""Columns that the words of a text are reduced to, at most a quarter of the texts that were learned from."""

MIN_DOCUMENTS = 2
"""A bucket that only one training text has cannot be told from that text's noise."""


@dataclass(frozen=True, slots=True, eq=False)
class TopicColumns:
    """Texts → columns of about unit length a row, as they were scaled on the texts that were learned from.

    Attributes:
        embedded: The embedded default's scorer.
        centre: Mean of the dense columns, shape (d,).
        scale: What they are divided by, shape (d,).
        idf: Inverse document frequency of each bucket, shape (BUCKETS,); empty where words are not looked at.
        used: Buckets that topics are made of, shape (b,).
        topics: Directions of the topics, shape (b, t).
    """

    embedded: StaticDifficultyScorer
    centre: Floats
    scale: Floats
    idf: npt.NDArray[np.float32]
    used: Rows
    topics: Floats

    @classmethod
    def fitted(cls, texts: Sequence[str], *, topics: bool, seed: int) -> TopicColumns:
        """Learn means and topics.

        Args:
            texts: n texts.
            topics: Without, the direction of the token sum is all that is taken.
            seed: Same texts and seed, same columns.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        embedded = embedded_scorer()
        nothing = np.zeros((0, 0)), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
        if not topics:
            return cls(embedded, np.zeros(1), np.ones(1), nothing[1], nothing[2], nothing[0])
        dense = _dense(embedded, texts)
        std = dense.std(axis=0)
        scale = np.where(std > 1e-9, std, 1.0) * math.sqrt(dense.shape[1])
        pieces = pieces_of(embedded, texts)
        documents = np.bincount(pieces.buckets, minlength=BUCKETS)
        used = np.flatnonzero(documents >= MIN_DOCUMENTS)
        count = min(TOPICS, len(used) - 1, len(texts) // 4)
        if count < 1:
            return cls(embedded, dense.mean(axis=0), scale, nothing[1], nothing[2], nothing[0])
        idf = np.where(documents >= MIN_DOCUMENTS, np.log((1.0 + len(texts)) / (1.0 + documents)) + 1.0, 0.0)
        words = _words(embedded, texts, idf.astype(np.float32), used)
        decomposition = _library("sklearn.decomposition").TruncatedSVD(count, n_iter=3, random_state=seed)
        directions: Floats = np.asarray(decomposition.fit(words).components_.T, dtype=np.float64)
        return cls(embedded, dense.mean(axis=0), scale, idf.astype(np.float32), used, directions)

    def of(self, texts: Sequence[str]) -> Floats:
        """The columns of n texts, shape (n, d + t)."""
        parts = []
        for start in range(0, len(texts), CHUNK):
            some = texts[start : start + CHUNK]
            if len(self.centre) == 1:
                parts.append(unit_vectors(self.embedded.counts(some).vectors))
                continue
            dense = (_dense(self.embedded, some) - self.centre) / self.scale
            if len(self.used):
                words = _words(self.embedded, some, self.idf, self.used)
                dense = np.hstack([dense, np.asarray(words @ self.topics)])
            parts.append(dense)
        return np.concatenate(parts)


def _dense(embedded: StaticDifficultyScorer, texts: Sequence[str]) -> Floats:
    parts = [embedded.counts(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    return np.concatenate([dense_columns(embedded, part) for part in parts])


def _words(embedded: StaticDifficultyScorer, texts: Sequence[str], idf: npt.NDArray[np.float32], used: Rows) -> Any:
    """TF-IDF of the buckets that are used, a sparse matrix of shape (n, len(used))."""
    pieces = pieces_of(embedded, texts)
    known = idf[pieces.buckets] > 0.0
    entries = (piece_values(pieces, idf)[known], (pieces.rows[known], np.searchsorted(used, pieces.buckets[known])))
    return _library("scipy.sparse").csr_matrix(entries, shape=(len(texts), len(used)))


def _library(name: str) -> Any:
    # by name, and when first needed: importing this module costs nothing
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError('predicting success needs scikit-learn: pip install "hybrid-llm[train]"') from error
