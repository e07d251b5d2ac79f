"""BERTScore: how near the words of an answer are in meaning to those of the reference (Zhang et al., ICLR 2020).

Every token of one text is matched with its nearest of the other by the cosine of their hidden states; precision and
recall are the means over the answer's and the reference's tokens, the quality is their F1 (arXiv 1904.09675, §3,
without weights by rarity). F1 lies in a narrow band near 1; rescaling it, as the authors do for reading, is linear and
changes no label.

torchmetrics' function is not used: in its release 1.9.0 the pairs of a batch get mixed up unless answers and references
are in the same order of length (its issue 2728). One pair at a time both agree.
"""

from __future__ import annotations

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

__all__ = ["BertScore"]

BEST_LAYERS = {"roberta-large": 17, "roberta-base": 10, "microsoft/deberta-xlarge-mnli": 40}
"""The layer that agrees best with people, as the authors' package has it."""


@dataclass(frozen=True)
class BertScore:
    """F1 of greedily matched hidden states.

    Attributes:
        model: An encoder: a local folder, or a name on the hub.
        layer: Which hidden states, 0 = the embeddings; by default the one that agrees best with people where that is
            known, else the last.
        batch_size: Pairs of texts in one pass.
        device: Where to run it; by default the first GPU, else the processor.
    """

    model: str = "roberta-large"
    layer: int | None = None
    batch_size: int = 16
    device: str | None = None
    name: ClassVar[str] = "bertscore"
    version: ClassVar[str] = "1"
    quality_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs_reference: ClassVar[bool] = True
    compares: ClassVar[bool] = False

    def settings(self) -> Mapping[str, JSON]:
        """The model and the layer."""
        return {"model": self.model, "layer": self._layer}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            CheckpointError: The model cannot be loaded, or has no such layer.
        """
        return judged_in_batches(
            prompts, lambda answers: best_over_references(answers, self.f1), answers_at_once=8 * self.batch_size
        )

    def f1(self, pairs: Sequence[tuple[str, str]]) -> list[Quality]:
        """F1 of each pair.

        Args:
            pairs: (answer, reference).

        Returns:
            In [0, 1], in the order of the pairs; 0 where either has no token.
        """
        import torch

        found: list[Quality] = [Quality(None)] * len(pairs)
        for places in by_length(pairs, self.batch_size):
            with torch.inference_mode():
                answers, theirs = self._hidden([pairs[place][0] for place in places])
                references, ours = self._hidden([pairs[place][1] for place in places])
                cosines = answers @ references.transpose(1, 2)
                cosines = cosines.masked_fill(~(theirs[:, :, None] & ours[:, None, :]), -1.0)
                precision = (cosines.amax(2) * theirs).sum(1) / theirs.sum(1)
                recall = (cosines.amax(1) * ours).sum(1) / ours.sum(1)
                f1 = (2 * precision * recall / (precision + recall)).nan_to_num(0.0, 0.0, 0.0).clamp(0.0, 1.0)
            for place, value in zip(places, f1.tolist(), strict=True):
                found[place] = Quality(value)
        return found

    def _hidden(self, texts: Sequence[str]) -> tuple[Any, Any]:
        batch = self._checkpoint.encoded(texts, return_special_tokens_mask=True)
        own_words = ~batch.pop("special_tokens_mask").bool() & batch.attention_mask.bool()
        states = self._checkpoint.model(**batch, output_hidden_states=True).hidden_states[self._layer]
        return states.float() / states.float().norm(dim=-1, keepdim=True), own_words

    @property
    def _layer(self) -> int:
        return BEST_LAYERS.get(self.model, -1) if self.layer is None else self.layer

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        checkpoint = load_checkpoint("encoder", self.model, device=self.device)
        layers = int(checkpoint.model.config.num_hidden_layers)
        if self.layer is not None and not -layers - 1 <= self.layer <= layers:
            raise CheckpointError(f"{self.model} has the layers 0 to {layers}, got {self.layer}")
        return checkpoint
