"""A reward model: random, with and without a chat template."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import torch
import transformers

from shared_router.labeling.quality.checkpoints import CheckpointError
from shared_router.labeling.quality.measure import qualities
from shared_router.labeling.quality.reward_model import RewardModel
from shared_router.tables.outcomes import Outcome

TEMPLATE = "<s> {% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}</s>"

SIZE = dict(vocab_size=52, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)


def encoder(outputs: int = 1) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        **SIZE, max_position_embeddings=32, initializer_range=1.0, num_labels=outputs, pad_token_id=1
    )
    return transformers.BertForSequenceClassification(config)


@pytest.fixture(scope="module")
def decoder(saved: Callable[[str, Any], Path]) -> Path:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **SIZE, max_position_embeddings=32, initializer_range=1.0, num_labels=1, pad_token_id=None, eos_token_id=2
    )
    folder = saved("decoder", transformers.LlamaForSequenceClassification(config))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder


def test_reads_the_chat_in_the_models_own_template(decoder: Path, answer: Callable[..., Outcome]) -> None:
    outcomes = [answer("lima"), answer("paris w1 w2 w3", target="large"), answer("lima", target="large", sample=1)]
    found = qualities(RewardModel(str(decoder), batch_size=4), outcomes)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(decoder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(decoder)
    for outcome, value in zip(outcomes, found, strict=True):
        chat = f"<s> user : {outcome.prompt} assistant : {outcome.response} </s>"
        ids = torch.tensor([tokenizer(chat, add_special_tokens=False)["input_ids"]])
        assert ids[0, -1] == 2
        with torch.inference_mode():
            assert value == pytest.approx(float(model(ids).logits[0, 0]), abs=1e-5)
    assert found[0] == found[2] != found[1]


def test_without_a_template_prompt_and_answer_are_a_pair(
    saved: Callable[[str, Any], Path], answer: Callable[..., Outcome]
) -> None:
    folder = saved("encoder", encoder())
    outcomes = [answer("lima"), answer("w1 " * 50, sample=1)]
    raw, bounded = RewardModel(str(folder)), RewardModel(str(folder), bounded=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = float(model(**tokenizer("the capital is", "lima", return_tensors="pt")).logits[0, 0])
    assert qualities(raw, outcomes)[0] == pytest.approx(expected, abs=1e-5)
    assert qualities(bounded, outcomes)[0] == pytest.approx(1 / (1 + math.exp(-expected)), abs=1e-5)
    assert (raw.quality_range, bounded.quality_range) == ((-math.inf, math.inf), (0.0, 1.0))
    (judged,) = raw.judged([tuple(outcomes)])
    assert [len(quality.notes) for quality in judged.qualities] == [0, 1]


def test_several_outputs_are_no_reward(saved: Callable[[str, Any], Path], answer: Callable[..., Outcome]) -> None:
    with pytest.raises(CheckpointError, match="has 3 outputs"):
        qualities(RewardModel(str(saved("three", encoder(3)))), [answer()])
