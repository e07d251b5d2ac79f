"""Models and tokenizers of transformers, from a local folder or by their name on the hub.

No code that comes with a model is run (``trust_remote_code`` stays off), and pickled weights are read as plain tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared_router.errors import HybridError, MissingExtraError

__all__ = ["Checkpoint", "CheckpointError", "by_length", "load_checkpoint"]

Head = Literal["encoder", "seq2seq", "classifier"]

LONGEST = 1 << 20
"""Tokenizers without a limit name a number beyond all bounds."""


class CheckpointError(HybridError):
    """A model that cannot be loaded, or that is of another kind than the measure needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model ready to score.

    Attributes:
        tokenizer: Of transformers.
        model: Of transformers, in evaluation mode, on ``device``.
        device: "cpu", "cuda", …
        max_tokens: The longest text that both can read, in tokens.
    """

    tokenizer: Any
    model: Any
    device: str
    max_tokens: int

    def encoded(self, *texts: Sequence[str], **options: object) -> Any:
        """Texts (or pairs of texts) as padded tensors on the device, cut to what the model reads."""
        settings = {"padding": True, "truncation": True, "max_length": self.max_tokens, "return_tensors": "pt"}
        batch = self.tokenizer(*map(list, texts), **(settings | options))
        return batch.to(self.device)


def load_checkpoint(head: Head, path: str, *, device: str | None = None) -> Checkpoint:
    """Load a model with its tokenizer.

    Args:
        head: "encoder" for hidden states, "seq2seq" for the likelihood of a text given another, "classifier" for a
            number of one or two texts.
        path: A local folder, or a name on the hub.
        device: Where to run it; by default the first GPU, else the processor.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        CheckpointError: Nothing there, or another kind of model.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError('this measure needs torch and transformers: pip install "hybrid-llm[train]"') from error
    classes = {
        "encoder": transformers.AutoModel,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
        "classifier": transformers.AutoModelForSequenceClassification,
    }
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        model = classes[head].from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be loaded as a model of kind {head} ({reason:.300}); give a folder with config.json, the "
            "weights and the tokenizer's files, or a name on the hub that can be reached from here"
        ) from error
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Checkpoint(tokenizer, model.eval().to(where), where, _longest(tokenizer, model.config))


def _longest(tokenizer: Any, config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or LONGEST
    if "roberta" in config.model_type:
        # its positions begin after that of the padding
        positions -= config.pad_token_id + 1
    return int(min(tokenizer.model_max_length, positions, LONGEST))


def by_length(texts: Sequence[tuple[str, str]], batch_size: int) -> Iterator[list[int]]:
    """Places in batches of texts of like length, the longest first, so that little is padded.

    Args:
        texts: Pairs of texts.
        batch_size: How many make a batch, ≥ 1.
    """
    order = sorted(range(len(texts)), key=lambda place: -max(map(len, texts[place])))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
