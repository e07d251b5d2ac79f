"""BERTScore on a random BERT, against its definition worked out one pair at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import torch
import transformers

from shared_router.labeling.quality.bert_score import BertScore
from shared_router.labeling.quality.checkpoints import CheckpointError
from shared_router.labeling.quality.measure import qualities
from shared_router.tables.outcomes import Outcome

PAIRS = [
    ("w1 w2 w3 w4 w5 w6 w7 w8 w9", "w11 w2 w13 w4"),
    ("lima is", "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11"),
    ("w1 w2 w3 w4 w5 w6", "lima paris"),
    ("the capital is lima", "lima is the capital"),
]


@pytest.fixture(scope="module")
def bert(saved: Callable[[str, Any], Path]) -> Path:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=52,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=1.0,
        pad_token_id=1,
    )
    return saved("bert", transformers.BertModel(config))


def by_hand(folder: Path, answer: str, reference: str, layer: int) -> float:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def states(text: str) -> Any:
        with torch.inference_mode():
            out = model(torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True)
        return out.hidden_states[layer][0, 1:-1]

    cosines = [
        [float(torch.nn.functional.cosine_similarity(mine, other, 0)) for other in states(reference)]
        for mine in states(answer)
    ]
    precision = sum(max(row) for row in cosines) / len(cosines)
    recall = sum(max(column) for column in zip(*cosines, strict=True)) / len(cosines[0])
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [None, 1])
def test_is_the_f1_of_greedily_matched_hidden_states(bert: Path, layer: int | None) -> None:
    found = BertScore(str(bert), layer=layer, batch_size=3).f1(PAIRS)
    expected = [by_hand(bert, *pair, -1 if layer is None else layer) for pair in PAIRS]
    assert [quality.value for quality in found] == pytest.approx(expected, abs=1e-5)


def test_the_same_text_is_1_and_an_empty_one_0(bert: Path, answer: Callable[..., Outcome]) -> None:
    same = "the capital is lima"
    outcomes = [
        answer(same, reference=same),
        answer("", reference=same, sample=1),
        answer("w1", reference=[same, "w1"], sample=2),
    ]
    assert qualities(BertScore(str(bert)), outcomes) == pytest.approx([1.0, 0.0, 1.0], abs=1e-6)


def test_which_layer_is_said_in_the_settings_and_checked(bert: Path) -> None:
    assert BertScore().settings() == {"model": "roberta-large", "layer": 17}
    assert BertScore(str(bert)).settings()["layer"] == -1
    with pytest.raises(CheckpointError, match="layers 0 to 2, got 3"):
        BertScore(str(bert), layer=3).f1(PAIRS)
