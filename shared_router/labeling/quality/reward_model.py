"""The score of a reward model: a classifier of one output that was trained on what people prefer.

The model reads the prompt and the answer as a chat, in its own template; a model without a template gets them as a pair
of texts, as the older reward models were trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from shared_router.labeling.quality.checkpoints import Checkpoint, CheckpointError, by_length, load_checkpoint
from shared_router.labeling.quality.measure import Answers, Judging, Quality, judged_in_batches, scored_once
from shared_router.records import JSON

__all__ = ["RewardModel"]

CUT = "longer than the model reads: only its beginning counted"


@dataclass(frozen=True)
class RewardModel:
    """What a reward model gives an answer.

    Attributes:
        model: A classifier with one output: a local folder, or a name on the hub.
        bounded: Give 1/(1 + e^−reward), in [0, 1], which certificates need, instead of the reward. The order of answers
            is the same, the gaps are not.
        batch_size: Answers in one pass.
        device: Where to run it; by default the first GPU, else the processor.
    """

    model: str
    bounded: bool = False
    batch_size: int = 8
    device: str | None = None
    name: ClassVar[str] = "reward_model"
    version: ClassVar[str] = "1"
    needs_reference: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    @property
    def quality_range(self) -> tuple[float, float]:
        """[0, 1] where bounded, else any number."""
        return (0.0, 1.0) if self.bounded else (-math.inf, math.inf)

    def settings(self) -> Mapping[str, JSON]:
        """The model, and whether its rewards are bounded."""
        return {"model": self.model, "bounded": self.bounded}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            CheckpointError: The model cannot be loaded, or has several outputs.
        """
        return judged_in_batches(
            prompts,
            lambda answers: scored_once([(answer.prompt, answer.response) for answer in answers], self.rewards),
            answers_at_once=8 * self.batch_size,
        )

    def rewards(self, pairs: Sequence[tuple[str, str]]) -> list[Quality]:
        """The reward of each answer.

        Args:
            pairs: (prompt, answer).

        Returns:
            In the order of the pairs.
        """
        import torch

        found: list[Quality] = [Quality(None)] * len(pairs)
        for places in by_length(pairs, self.batch_size if self._pads else 1):
            batch = self._encoded([pairs[place] for place in places])
            with torch.inference_mode():
                rewards = self._checkpoint.model(**batch).logits[:, 0].float()
            values = (rewards.sigmoid() if self.bounded else rewards).tolist()
            cut = (batch["attention_mask"].sum(1) >= self._checkpoint.max_tokens).tolist()
            for place, value, long in zip(places, values, cut, strict=True):
                found[place] = Quality(value, notes=(CUT,) if long else ())
        return found

    def _encoded(self, pairs: Sequence[tuple[str, str]]) -> Any:
        checkpoint = self._checkpoint
        if not checkpoint.tokenizer.chat_template:
            prompts, answers = zip(*pairs, strict=True)
            return checkpoint.encoded(prompts, answers, padding=self._pads)
        chats = [
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in pairs
        ]
        texts = checkpoint.tokenizer.apply_chat_template(chats, tokenize=False)
        # the template writes the special signs itself
        return checkpoint.encoded(texts, add_special_tokens=False, padding=self._pads)

    @property
    def _pads(self) -> bool:
        return self._checkpoint.model.config.pad_token_id is not None

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        checkpoint = load_checkpoint("classifier", self.model, device=self.device)
        outputs = checkpoint.model.config.num_labels
        if outputs != 1:
            raise CheckpointError(f"{self.model} has {outputs} outputs; a reward model has one")
        tokenizer, config = checkpoint.tokenizer, checkpoint.model.config
        # decoders read the reward at the last sign that is no padding: an end sign that pads too would be passed over,
        # and one text at a time needs no padding
        if config.pad_token_id is None and tokenizer.pad_token_id != tokenizer.eos_token_id:
            config.pad_token_id = tokenizer.pad_token_id
        return checkpoint
