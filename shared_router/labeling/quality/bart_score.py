"""BARTScore, the paper's quality: how probable a BART model finds the reference, given the answer.

Yuan et al., 2021 (arXiv 2106.11520), in the direction that Hybrid LLM's data have it: hypothesis → reference, the mean
log-likelihood of a reference's tokens (LLM-Blender, on which Hybrid LLM builds; that the paper used just this is an
inference). Values are negative, in nats a token; the paper's examples lie between −0.9 and −2.9. As in the authors'
code the mean runs over the begin and end signs too.
"""

from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from shared_router.labeling.quality.checkpoints import Checkpoint, CheckpointError, by_length, load_checkpoint
from shared_router.labeling.quality.measure import (
    Answers,
    Judging,
    Quality,
    best_over_references,
    judged_in_batches,
)
from shared_router.records import JSON

__all__ = ["BartScore"]

CUT = "longer than the model reads: only its beginning counted"


@dataclass(frozen=True)
class BartScore:
    """Mean log-likelihood of the reference given the answer.

    Attributes:
        model: A BART (or other encoder-decoder) model: a local folder, or a name on the hub.
        weights: A file of weights to put into it, such as the authors' ``bart_score.pth`` (fine-tuned on ParaBank 2);
            read as plain tensors, whatever else is in it is refused.
        batch_size: Pairs of texts in one pass.
        device: Where to run it; by default the first GPU, else the processor.
    """

    model: str = "facebook/bart-large-cnn"
    weights: str | None = None
    batch_size: int = 8
    device: str | None = None
    name: ClassVar[str] = "bartscore"
    version: ClassVar[str] = "1"
    quality_range: ClassVar[tuple[float, float]] = (-math.inf, 0.0)
    needs_reference: ClassVar[bool] = True
    compares: ClassVar[bool] = False

    def settings(self) -> Mapping[str, JSON]:
        """The model and the weights."""
        return {"model": self.model, "weights": self.weights}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            CheckpointError: The model or the weights cannot be loaded.
        """
        return judged_in_batches(
            prompts,
            lambda answers: best_over_references(answers, self.log_likelihoods),
            answers_at_once=8 * self.batch_size,
        )

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[Quality]:
        """Mean log-likelihood of each reference's tokens, given the answer.

        Args:
            pairs: (answer, reference).

        Returns:
            ≤ 0, in nats a token, in the order of the pairs.
        """
        import torch

        found: list[Quality] = [Quality(None)] * len(pairs)
        limit = self._checkpoint.max_tokens
        for places in by_length(pairs, self.batch_size):
            source = self._checkpoint.encoded([pairs[place][0] for place in places])
            target = self._checkpoint.encoded([pairs[place][1] for place in places])
            with torch.inference_mode():
                logits = self._checkpoint.model(
                    input_ids=source.input_ids, attention_mask=source.attention_mask, labels=target.input_ids
                ).logits
                tokens = logits.float().log_softmax(-1).gather(-1, target.input_ids[..., None])[..., 0]
                lengths = target.attention_mask.sum(1)
                means = (tokens * target.attention_mask).sum(1) / lengths
            cut = (torch.maximum(lengths, source.attention_mask.sum(1)) >= limit).tolist()
            for place, mean, long in zip(places, means.tolist(), cut, strict=True):
                found[place] = Quality(mean, notes=(CUT,) if long else ())
        return found

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        checkpoint = load_checkpoint("seq2seq", self.model, device=self.device)
        if self.weights is not None:
            _put(checkpoint.model, self.weights, checkpoint.device)
        return checkpoint


def _put(model: Any, weights: str, device: str) -> None:
    import torch

    tensors = _tensors(weights, device)
    own: dict[str, torch.Tensor] = model.state_dict()
    # tied weights may be stored once or several times, the bias is 0, and older releases stored a version number
    at = Counter(tensor.data_ptr() for tensor in own.values())
    tied = {name for name, tensor in own.items() if at[tensor.data_ptr()] > 1}
    missing = set(own) - set(tensors) - tied - {"final_logits_bias"}
    unknown = {name for name in set(tensors) - set(own) if not name.endswith(".version")}
    if missing or unknown:
        raise CheckpointError(
            f"{weights} is of another model: {len(missing)} of its weights are missing and {len(unknown)} unknown "
            f"(such as {min(missing | unknown)})"
        )
    try:
        model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} is of a model of another size ({str(error)[:200]})") from error


def _tensors(weights: str, device: str) -> dict[str, Any]:
    import torch

    try:
        tensors = torch.load(weights, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{weights} cannot be read as weights ({type(error).__name__}: {reason:.200}); it must be a file of plain "
            "tensors, as torch.save(model.state_dict(), …) writes it"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{weights} has no weights: a dictionary of tensors is expected")
    return tensors
