"""The paper's network and what the Trainer needs around it; the one module that loads torch when it is imported.

Classes that derive from torch's and transformers' cannot be made without them, so ``transformer_router`` and
``transformer_export`` import this module in their functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import TrainerCallback

from shared_router.scorers.onnx_classifier import PromptTokens
from shared_router.training.soft_labels import RouterExamples

__all__ = [
    "Collator",
    "DifficultyNetwork",
    "PromptClassifier",
    "StepTeller",
    "example_rows",
    "raw_scores",
    "soft_cross_entropy",
]

Row = Mapping[str, Any]


def soft_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of a two-way softmax with the target [p, 1 − p], mean over the prompts.

    With z = logit₀ − logit₁ it is the binary cross-entropy of §3: −[p log σ(z) + (1 − p) log(1 − σ(z))].

    Args:
        logits: Of "the small model is good enough" and of "it falls short", shape (n, 2).
        labels: Probabilities p that the small model is good enough, shape (n,).
    """
    return nn.functional.cross_entropy(logits, torch.stack([labels, 1.0 - labels], dim=1))


class PromptClassifier(nn.Module):
    """An encoder and the authors' head: dropout and a linear map of the last hidden state at the source token.

    Args:
        encoder: A transformers encoder (``AutoModel``).
        width: Size of its hidden states.
        source_id: Id of the source token.
        dropout: Of the head, in training only.
    """

    def __init__(self, encoder: nn.Module, *, width: int, source_id: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.source_id = source_id
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 2))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor | None = None,
        gap: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Logits, and the loss where there are labels.

        Args:
            input_ids: Token ids, shape (n, length).
            attention_mask: 1 for a token and 0 for padding, shape (n, length).
            labels: Probabilities that the small model is good enough, shape (n,).
            gap: Not read here; the Trainer hands it on to the metric.
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        # the first one: prompts cannot contain it, see PromptTokenizer
        place = (input_ids == self.source_id).int().argmax(dim=1)
        logits = self.head(hidden[torch.arange(hidden.shape[0], device=hidden.device), place])
        if labels is None:
            return {"logits": logits}
        return {"loss": soft_cross_entropy(logits, labels), "logits": logits}


class DifficultyNetwork(nn.Module):
    """What is served: token ids of one text, shape (1, length) → raw difficulty, shape (1,).

    Args:
        classifier: The trained network.
    """

    def __init__(self, classifier: PromptClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logit that the small model falls short, less the logit that it is good enough."""
        logits: torch.Tensor = self.classifier(input_ids, torch.ones_like(input_ids))["logits"]
        return logits[:, 1] - logits[:, 0]


def example_rows(tokens: Sequence[PromptTokens], examples: RouterExamples) -> list[Row]:
    """What the Trainer takes as a data set.

    Args:
        tokens: Of the examples' texts, length n.
        examples: n examples.
    """
    return [
        {"input_ids": read.ids, "labels": label, "gap": gap}
        for read, label, gap in zip(tokens, examples.labels.tolist(), examples.gap.tolist(), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Collator:
    """Rows → a batch, padded to its longest row.

    Attributes:
        pad_id: Token id of padding.
    """

    pad_id: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """The batch."""
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for place, row in enumerate(rows):
            count = len(row["input_ids"])
            ids[place, :count] = torch.tensor(row["input_ids"])
            mask[place, :count] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        return {**batch, **{name: torch.tensor([row[name] for row in rows]).float() for name in ("labels", "gap")}}


class StepTeller(TrainerCallback):
    """Tells how far the training is, and keeps what was measured after each pass.

    Args:
        tell: Told a title after each step.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._loss = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        """Remember the loss."""
        if logs and "loss" in logs:
            self._loss = f", loss {float(logs['loss']):.3f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the step."""
        self._tell(f"training: step {state.global_step} of {state.max_steps}{self._loss}")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell that validation is done."""
        self._tell(f"training: step {state.global_step} of {state.max_steps}, validated{self._loss}")


def raw_scores(classifier: PromptClassifier, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Raw difficulties by torch, one text at a time, for comparison with what is served.

    Args:
        classifier: The trained network, on the CPU.
        rows: Token ids of n texts.

    Returns:
        Shape (n,).
    """
    network = DifficultyNetwork(classifier).eval()
    with torch.inference_mode():
        return np.array([float(network(torch.tensor([list(ids)]))[0]) for ids in rows], dtype=np.float64)
