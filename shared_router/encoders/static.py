"""Texts → sums of token vectors, in whole numbers.

A static encoder has one vector per token of its vocabulary (model2vec's idea); a text is the sum of its tokens'
vectors. The vectors are small integers, and so is every sum: the result is the same on every machine, in every batch
and in every order of addition.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["MAX_CHARS", "MAX_TOKENS", "StaticEncoder", "TokenBatch", "clipped", "token_sums"]

MAX_CHARS = 8192
"""Characters of a text that are read; what follows is ignored, so that a pasted book costs no more than a page."""

MAX_TOKENS = 1024
"""Tokens of a text that count."""

PARALLEL_FROM = 16
"""From this many texts on the tokenizer works in a batch; below, its thread pool costs more than it saves."""


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """The tokens of n texts, one after the other.

    Attributes:
        ids: Token ids of all texts, shape (sum of counts,), int64.
        counts: Tokens per text, shape (n,), int64; 0 for a text without tokens.
    """

    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def clipped(text: str) -> str:
    """The part of a text that is read, with lone surrogates replaced (the tokenizer takes valid UTF-8 only).

    Args:
        text: Any string.

    Returns:
        At most ``MAX_CHARS`` characters, without surrounding white space.
    """
    part = text[: 4 * MAX_CHARS].strip()[:MAX_CHARS]
    return part if part.isascii() else part.encode("utf-8", "replace").decode("utf-8")


def token_sums(table: npt.NDArray[np.integer], batch: TokenBatch) -> npt.NDArray[np.int64]:
    """Sum of the table's rows over the tokens of each text.

    Args:
        table: One row per token id, whole numbers, shape (vocabulary, d).
        batch: The tokens of n texts.

    Returns:
        Sums, shape (n, d); zeros for a text without tokens. Exact: ``MAX_TOKENS`` rows of int16 stay below 2**26.
    """
    sums = np.zeros((len(batch.counts), table.shape[1]), dtype=np.int64)
    filled = batch.counts > 0
    if filled.any():
        starts = (np.cumsum(batch.counts) - batch.counts)[filled]
        # reduceat takes an empty segment for the single row at its start, hence the mask
        sums[filled] = np.add.reduceat(table[batch.ids], starts, axis=0, dtype=np.int32)
    return sums


class StaticEncoder:
    """A tokenizer and a table. Texts are put into BERT's uncased form before they are split.

    Args:
        tokenizer_json: The content of a ``tokenizer.json`` (Hugging Face tokenizers), best without a normaliser of its
            own, which would do that work again, and without special tokens, which a user's text must not contain.
        table: Token vectors, int8, shape (vocabulary, d).

    Raises:
        ArtifactFormatError: The tokenizer cannot be read, or knows tokens for which the table has no row.
    """

    def __init__(self, tokenizer_json: bytes, table: npt.NDArray[np.int8]) -> None:
        from tokenizers import Tokenizer
        from tokenizers.normalizers import BertNormalizer

        try:
            tokenizer = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ArtifactFormatError(
                f"the tokenizer in the artifact cannot be read ({error}); train it again"
            ) from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        if table.ndim != 2 or table.dtype != np.int8 or len(table) < tokenizer.get_vocab_size():
            raise ArtifactFormatError(
                f"token vectors are int8 with one row for each of {tokenizer.get_vocab_size()} tokens, "
                f"got {table.dtype} of shape {table.shape}"
            )
        self.tokenizer_json = tokenizer_json
        self.table = table
        self._tokenizer = tokenizer
        self._normaliser = BertNormalizer(lowercase=True)

    def vocabulary(self) -> dict[str, int]:
        """Token → id."""
        return dict(self._tokenizer.get_vocab())

    def tokens(self, texts: Sequence[str]) -> TokenBatch:
        """The tokens of texts that have been ``clipped``, without special tokens.

        Args:
            texts: n texts.

        Returns:
            At most ``MAX_TOKENS`` tokens of each.
        """
        ids = [encoding.ids for encoding in self._encodings(texts)]
        counts = np.fromiter((len(row) for row in ids), dtype=np.int64, count=len(ids))
        flat = np.fromiter((token for row in ids for token in row), dtype=np.int64, count=int(counts.sum()))
        return TokenBatch(flat, counts)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Sums of token vectors.

        Args:
            texts: n texts, of any length and content.

        Returns:
            Shape (n, d).
        """
        return token_sums(self.table, self.tokens([clipped(text) for text in texts]))

    def _encodings(self, texts: Sequence[str]) -> Sequence[Encoding]:
        uncased = [self._uncased(text) for text in texts]
        if len(texts) < PARALLEL_FROM:
            return [self._tokenizer.encode(text, add_special_tokens=False) for text in uncased]
        return self._tokenizer.encode_batch_fast(uncased, add_special_tokens=False)

    def _uncased(self, text: str) -> str:
        # of plain ASCII BERT's normaliser changes nothing but case, and takes a third of the time of a query
        if text.isascii() and not _CONTROL.search(text):
            return text.lower()
        return str(self._normaliser.normalize_str(text))
