"""BARTScore on a random BART, against token probabilities worked out one at a time."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
import transformers

from shared_router.labeling.quality.bart_score import BartScore
from shared_router.labeling.quality.checkpoints import CheckpointError
from shared_router.labeling.quality.measure import qualities
from shared_router.tables.outcomes import Outcome

PAIRS = [
    ("lima is the capital", "the capital is lima"),
    ("w1 w2 w3 w4 w5 w6 w7", "lima"),
    ("", "w9 w8"),
    ("paris", "the capital is lima w1 w2 w3 w4"),
    ("w3", "w3"),
]


@pytest.fixture(scope="module")
def bart(saved: Callable[[str, Any], Path]) -> Path:
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=52,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
        init_std=0.5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    return saved("bart", transformers.BartForConditionalGeneration(config))


def by_hand(folder: Path, answer: str, reference: str) -> float:
    """log p of every token of the reference, one step of the decoder after the other, without batch or padding."""
    model = transformers.BartForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    source = torch.tensor([tokenizer(answer)["input_ids"]])
    target = tokenizer(reference)["input_ids"]
    assert (target[0], target[-1]) == (0, 2)
    written = [2]
    total = 0.0
    with torch.inference_mode():
        for token in target:
            logits = model(input_ids=source, decoder_input_ids=torch.tensor([written])).logits[0, -1]
            total += float(logits[token]) - float(torch.logsumexp(logits, 0))
            written.append(token)
    return total / len(target)


def test_is_the_mean_log_probability_of_the_references_tokens(bart: Path) -> None:
    found = [quality.value for quality in BartScore(str(bart), batch_size=2).log_likelihoods(PAIRS)]
    assert found == pytest.approx([by_hand(bart, *pair) for pair in PAIRS], abs=1e-5)
    assert max(value for value in found if value is not None) < 0
    assert len(set(found)) == len(PAIRS)


def test_the_answer_is_the_source_and_the_reference_the_target(bart: Path) -> None:
    measure = BartScore(str(bart))
    there, back = measure.log_likelihoods([PAIRS[3], PAIRS[3][::-1]])
    assert there.value == pytest.approx(by_hand(bart, *PAIRS[3]), abs=1e-5)
    assert there.value != pytest.approx(back.value, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_padding_and_batches_change_nothing(bart: Path, batch_size: int) -> None:
    alone = [BartScore(str(bart)).log_likelihoods([pair])[0].value for pair in PAIRS[:2]]
    together = BartScore(str(bart), batch_size=batch_size).log_likelihoods(PAIRS)
    assert [quality.value for quality in together[:2]] == pytest.approx(alone, abs=1e-5)


def test_the_nearest_of_several_references_counts_and_equal_answers_are_equal(
    bart: Path, answer: Callable[..., Outcome]
) -> None:
    measure = BartScore(str(bart), batch_size=2)
    outcomes = [
        answer("paris", reference=["lima", "paris is the capital"]),
        answer("w1 w2 w3", reference="lima", target="large"),
        answer("paris", reference=["lima", "paris is the capital"], target="large", sample=1),
    ]
    found = qualities(measure, outcomes)
    best = max(by_hand(bart, "paris", "lima"), by_hand(bart, "paris", "paris is the capital"))
    assert found[0] == pytest.approx(best, abs=1e-5)
    assert found[0] == found[2]


def test_an_answer_longer_than_the_model_reads_is_noted(bart: Path, answer: Callable[..., Outcome]) -> None:
    measure = BartScore(str(bart))
    (judged,) = measure.judged([(answer("w1 " * 100, reference="lima"), answer(reference="lima", sample=1))])
    assert [len(quality.notes) for quality in judged.qualities] == [1, 0]
    assert "longer than the model reads" in judged.qualities[0].notes[0]
    assert judged.qualities[0].value is not None


def test_weights_are_put_in(bart: Path, tmp_path: Path) -> None:
    model = transformers.BartForConditionalGeneration.from_pretrained(bart)
    with torch.no_grad():
        model.model.decoder.layers[0].fc1.weight.mul_(-1.0)
    weights = model.state_dict()
    # as older releases wrote it: a version number, and tied weights once
    weights["model.encoder.version"] = torch.tensor([3.0])
    del weights["model.encoder.embed_tokens.weight"]
    torch.save(weights, tmp_path / "other.pth")
    model.save_pretrained(tmp_path / "other")
    transformers.AutoTokenizer.from_pretrained(bart).save_pretrained(tmp_path / "other")
    with_weights = BartScore(str(bart), weights=str(tmp_path / "other.pth"))
    value = with_weights.log_likelihoods(PAIRS[:1])[0].value
    assert value == pytest.approx(by_hand(tmp_path / "other", *PAIRS[0]), abs=1e-5)
    assert value != pytest.approx(by_hand(bart, *PAIRS[0]), abs=1e-3)
    assert with_weights.settings() == {"model": str(bart), "weights": str(tmp_path / "other.pth")}


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("open('exploded', 'w').close()",)


def test_what_is_no_plain_weights_is_refused_and_never_run(
    bart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Bomb()}, "bomb.pth")
    Path("pickle.pth").write_bytes(pickle.dumps(Bomb(), 2))
    torch.save({"model.shared.weight": torch.zeros(3)}, "other.pth")
    torch.save([1, 2], "list.pth")
    for name, said in [
        ("bomb.pth", "cannot be read as weights"),
        ("pickle.pth", "cannot be read as weights"),
        ("none.pth", "cannot be read as weights"),
        ("other.pth", "of another model: .* missing"),
        ("list.pth", "a dictionary of tensors"),
    ]:
        with pytest.raises(CheckpointError, match=said):
            BartScore(str(bart), weights=name).log_likelihoods(PAIRS)
    assert not Path("exploded").exists()


def test_a_folder_without_a_model_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be loaded as a model of kind seq2seq .*config\.json"):
        BartScore(str(tmp_path)).log_likelihoods(PAIRS)


def test_its_range() -> None:
    assert BartScore().quality_range == (-math.inf, 0.0)
    assert BartScore().model == "facebook/bart-large-cnn"
    assert np.isinf(BartScore.quality_range[0])
