"""Sentence vectors of many texts, kept in a file so that a second run does not wait for the encoder again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from shared_router.encoders.static import clipped
from shared_router.training.sentence_encoder import SentenceEncoder


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:24]


class SentenceVectors:
    """Vectors by text.

    Args:
        encoder: The sentence encoder.
        cache: A .npz file to read and write, or None to keep nothing.
    """

    def __init__(self, encoder: SentenceEncoder, cache: Path | None) -> None:
        self._encoder = encoder
        self._cache = cache
        self._known: dict[str, npt.NDArray[np.float32]] = {}
        if cache is not None and cache.is_file():
            with np.load(cache) as stored:
                self._known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))

    def of(self, texts: Sequence[str], progress: Progress) -> npt.NDArray[np.float64]:
        """Vectors of n texts, shape (n, 384); those that are not known yet are computed, about 40 texts a second."""
        read = [clipped(text) for text in texts]
        keys = [_key(text) for text in read]
        missing = {key: text for key, text in zip(keys, read, strict=True) if key not in self._known}
        if missing:
            task = progress.add_task("sentence vectors", total=len(missing))
            vectors = self._encoder.encode(list(missing.values()), lambda n: progress.update(task, advance=n))
            self._known.update(zip(missing, vectors.astype(np.float32), strict=True))
            if self._cache is not None:
                np.savez(self._cache, keys=np.array(list(self._known)), vectors=np.stack(list(self._known.values())))
        return np.stack([self._known[key] for key in keys]).astype(np.float64)
