"""The paper's router on tiny encoders made here: loss, learning, resuming, export, and the artifact."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("onnxscript")

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DebertaV2Tokenizer,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
)

from shared_router.errors import ArtifactFormatError, HybridError, MissingExtraError, OutcomeError
from shared_router.knob import Knob
from shared_router.router import Router
from shared_router.scorers.onnx_classifier import SOURCE_TOKEN, OnnxClassifierScorer
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training import transformer_export, transformer_fit
from shared_router.training.soft_labels import RouterExamples
from shared_router.training.transformer_export import ExportedTransformer, Parity, exported, parity
from shared_router.training.transformer_fit import TransformerReport, fit_transformer, transformer_parts
from shared_router.training.transformer_model import Collator, PromptClassifier, raw_scores, soft_cross_entropy
from shared_router.training.transformer_router import TrainedTransformer, TransformerSettings, train_transformer

WORDS = ("river", "table", "green", "seven", "window", "paper", "integral", "greeting", *map(str, range(10)))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_TOKENS = 32
SETTINGS = TransformerSettings(
    epochs=3, learning_rate=5e-3, batch_size=16, device_batch_size=8, max_tokens=MAX_TOKENS, checkpoint_steps=4
)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def wordpiece(folder: Path) -> None:
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def bert(folder: Path) -> Path:
    wordpiece(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def deberta(folder: Path) -> Path:
    """DeBERTa-v3's shape and kind of tokenizer, in half precision as its weights lie on the hub."""
    pieces = [(token, 0.0) for token in SPECIAL] + [(f"▁{word}", -2.0) for word in WORDS] + [("▁", -4.0)]
    DebertaV2Tokenizer(vocab=pieces).save_pretrained(folder)
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=80,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    DebertaV2Model(config).half().save_pretrained(folder)
    return folder


ENCODERS: dict[str, Callable[[Path], Path]] = {"bert": bert, "deberta": deberta}


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ENCODERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("bert"))


def examples(count: int = 96, seed: int = 0) -> RouterExamples:
    """The more often "integral" stands in place of "greeting", the harder: labels 0.9, 0.7, … 0.1."""
    generator = np.random.default_rng(seed)
    level = generator.integers(0, 5, count)
    texts = []
    for i in range(count):
        words = ["integral"] * level[i] + ["greeting"] * (4 - level[i]) + [str(generator.choice(WORDS[:6]))]
        texts.append(" ".join([*generator.permutation(words), str(i % 10)]))
    labels = 0.9 - 0.2 * level
    return RouterExamples(tuple(texts), labels, labels - 1.0)


def trained_in(folder: Path, base: Path, **options: Any) -> TrainedTransformer:
    options = {"settings": SETTINGS, **options}
    return train_transformer(examples(), examples(32, 1), output_dir=folder, base=base, **options)


@pytest.fixture(scope="module")
def trained(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedTransformer:
    return trained_in(
        tmp_path_factory.mktemp("run"), encoder, settings=replace(SETTINGS, epochs=10, checkpoint_steps=30)
    )


@pytest.fixture(scope="module")
def served(trained: TrainedTransformer) -> ExportedTransformer:
    return exported(trained, examples(32, 2).texts)


def scores(model: TrainedTransformer, texts: tuple[str, ...]) -> np.ndarray:
    return raw_scores(model.classifier, [model.tokenizer.tokens(text).ids for text in texts])


# the network


def test_the_loss_is_the_papers_binary_cross_entropy() -> None:
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.5], [-0.7, 0.1]], dtype=torch.float64)
    labels = torch.tensor([0.7, 0.0, 1.0], dtype=torch.float64)
    p = 1.0 / (1.0 + np.exp(-(logits[:, 0] - logits[:, 1]).numpy()))
    y = labels.numpy()
    by_hand = -(y * np.log(p) + (1.0 - y) * np.log(1.0 - p)).mean()
    assert float(soft_cross_entropy(logits, labels)) == pytest.approx(by_hand, rel=1e-12)


def test_the_head_reads_the_source_token_and_padding_changes_nothing(trained: TrainedTransformer) -> None:
    tokens = [trained.tokenizer.tokens(text).ids for text in ("river", "integral table green seven window")]
    rows = [{"input_ids": ids, "labels": 0.5, "gap": 0.0} for ids in tokens]
    batch = Collator(0)(rows)
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(ids) for ids in tokens]
    with torch.inference_mode():
        out = trained.classifier(**batch)
    together = (out["logits"][:, 1] - out["logits"][:, 0]).numpy()
    assert together == pytest.approx(raw_scores(trained.classifier, tokens), abs=1e-5)
    assert float(out["loss"]) == pytest.approx(float(soft_cross_entropy(out["logits"], batch["labels"])))


def test_the_vector_at_the_source_token_is_what_counts() -> None:
    class Echo(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            # a hidden state that says at which place it is
            place = torch.arange(input_ids.shape[1], dtype=torch.float32)
            return type("Out", (), {"last_hidden_state": place[None, :, None].expand(*input_ids.shape, 1)})

    classifier = PromptClassifier(Echo(), width=1, source_id=7, dropout=0.0)
    torch.nn.init.constant_(classifier.head[1].weight, 1.0)
    torch.nn.init.zeros_(classifier.head[1].bias)
    ids = torch.tensor([[2, 7, 5, 3], [2, 4, 7, 7]])
    assert classifier(ids, torch.ones_like(ids))["logits"][:, 0].tolist() == [1.0, 2.0]


# training


def test_it_learns_what_words_say(trained: TrainedTransformer) -> None:
    test = examples(64, 5)
    probability = 1.0 / (1.0 + np.exp(scores(trained, test.texts)))
    easy, hard = probability[test.labels > 0.8], probability[test.labels < 0.2]
    assert easy.min() > hard.max()
    assert np.corrcoef(probability, test.labels)[0, 1] > 0.9
    # soft labels make soft probabilities
    assert easy.mean() == pytest.approx(0.9, abs=0.2)
    assert hard.mean() == pytest.approx(0.1, abs=0.2)


def test_the_checkpoint_is_the_best_on_validation(trained: TrainedTransformer) -> None:
    assert list(trained.spearman) == [30, 60]
    assert trained.spearman[trained.best_step] == max(trained.spearman.values()) > 0.8
    # the first of equally good ones
    assert trained.best_step == next(k for k, v in trained.spearman.items() if v == max(trained.spearman.values()))
    assert trained.main_process
    assert trained.truncated == 0


def test_the_served_weights_are_those_of_the_best_checkpoint(bert_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    found = trained_in(tmp_path, bert_folder)
    stored = load_file(tmp_path / f"checkpoint-{found.best_step}" / "model.safetensors")
    for name, weights in found.classifier.state_dict().items():
        assert torch.equal(weights, stored[name])


def test_the_same_seed_makes_the_same_network_and_another_makes_another(bert_folder: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    texts = examples(16, 3).texts
    first, again, other = (
        scores(trained_in(tmp_path / str(i), bert_folder, settings=replace(settings, seed=seed)), texts)
        for i, seed in enumerate((1, 1, 2))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_defaults_are_the_papers() -> None:
    paper = TransformerSettings()
    assert (paper.epochs, paper.learning_rate, paper.weight_decay, paper.warmup) == (5, 1e-5, 0.1, 0.05)
    assert (paper.batch_size, paper.device_batch_size, paper.dropout) == (128, 8, 0.05)
    assert (paper.max_tokens, paper.seed, paper.checkpoint_steps) == (128, 42, None)


def test_settings_reach_the_trainer(tmp_path: Path) -> None:
    from shared_router.training.transformer_router import _arguments

    arguments = _arguments(tmp_path, TransformerSettings(), 1000)
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == (8, 16)
    # 8 steps an epoch, 5 epochs, 5 %
    assert arguments.warmup_steps == 2
    assert arguments.optim == "adafactor"
    assert arguments.lr_scheduler_type == "linear"
    assert (arguments.learning_rate, arguments.weight_decay, arguments.seed) == (1e-5, 0.1, 42)
    assert arguments.metric_for_best_model == "spearman"
    assert arguments.fp16 is torch.cuda.is_available()
    assert list(arguments.report_to or []) in ([], ["none"])
    assert not arguments.push_to_hub
    small = _arguments(tmp_path, TransformerSettings(batch_size=4), 1000)
    assert (small.per_device_train_batch_size, small.gradient_accumulation_steps) == (4, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("device_batch_size", True),
        ("max_tokens", 2),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("warmup", 1.0),
        ("dropout", 1.0),
        ("checkpoint_steps", 0),
    ],
)
def test_settings_with_which_nothing_can_be_trained_are_refused(name: str, value: Any) -> None:
    with pytest.raises(HybridError, match=name):
        replace(TransformerSettings(), **{name: value})


def test_long_prompts_are_counted(bert_folder: Path, tmp_path: Path) -> None:
    texts = ("river " * 100, *examples().texts)
    labels = np.append(0.5, examples().labels)
    found = train_transformer(
        RouterExamples(texts, labels, labels),
        examples(32, 1),
        output_dir=tmp_path,
        base=bert_folder,
        settings=replace(SETTINGS, epochs=1),
    )
    assert found.truncated == 1


# resuming


def test_a_killed_run_resumes_and_ends_where_an_undisturbed_one_does(bert_folder: Path, tmp_path: Path) -> None:
    code = f"""
    import runpy, sys, time
    sys.path.insert(0, {str(Path(__file__).parents[2])!r})
    tests = runpy.run_path({__file__!r})
    from pathlib import Path
    tests["trained_in"](Path({str(tmp_path / "killed")!r}), Path({str(bert_folder)!r}),
                        advance=lambda title: time.sleep(0.1))
    """
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], start_new_session=True)
    stored = tmp_path / "killed" / "checkpoint-8" / "trainer_state.json"
    until = time.monotonic() + 180
    while not stored.is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "checkpoint-16").exists()
    told: list[str] = []
    resumed = trained_in(tmp_path / "killed", bert_folder, resume=True, advance=told.append)
    assert not any("step 1 of" in title or "step 4 of" in title for title in told)
    undisturbed = trained_in(tmp_path / "whole", bert_folder, resume=True)
    assert resumed.spearman == undisturbed.spearman
    texts = examples(16, 3).texts
    assert scores(resumed, texts) == pytest.approx(scores(undisturbed, texts), abs=1e-5)


class Stopped(Exception):
    """Stands for the power that went out."""


def stop_at(step: int) -> Callable[[str], None]:
    def advance(title: str) -> None:
        if title.startswith(f"training: step {step} "):
            raise Stopped

    return advance


def test_a_checkpoint_that_was_half_written_is_passed_over(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        trained_in(tmp_path / "cut", bert_folder, advance=stop_at(10))
    last = tmp_path / "cut" / "checkpoint-8"
    whole = (last / "trainer_state.json").read_text()
    (last / "trainer_state.json").write_text(whole[: len(whole) // 2])
    (last / "model.safetensors").write_bytes(b"half")
    told: list[str] = []
    resumed = trained_in(tmp_path / "cut", bert_folder, resume=True, advance=told.append)
    assert any(title.startswith("training: step 5 of") for title in told)
    undisturbed = trained_in(tmp_path / "whole", bert_folder)
    texts = examples(16, 3).texts
    assert scores(resumed, texts) == pytest.approx(scores(undisturbed, texts), abs=1e-5)


def test_a_finished_run_resumes_without_training_again(bert_folder: Path, tmp_path: Path) -> None:
    first = trained_in(tmp_path, bert_folder)
    told: list[str] = []
    again = trained_in(tmp_path, bert_folder, resume=True, advance=told.append)
    assert not any(title.startswith("training: step") for title in told)
    texts = examples(16, 3).texts
    assert np.array_equal(scores(first, texts), scores(again, texts))
    assert (first.best_step, first.spearman) == (again.best_step, again.spearman)


def test_a_folder_that_was_moved_keeps_its_best_checkpoint(bert_folder: Path, tmp_path: Path) -> None:
    first = trained_in(tmp_path / "here", bert_folder)
    (tmp_path / "here").rename(tmp_path / "there")
    again = trained_in(tmp_path / "there", bert_folder, resume=True)
    assert first.best_step < max(first.spearman), "the last checkpoint is the best, which tests nothing"
    assert again.best_step == first.best_step
    texts = examples(16, 3).texts
    assert np.array_equal(scores(first, texts), scores(again, texts))


def test_checkpoints_of_another_run_are_neither_continued_nor_overwritten(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        trained_in(tmp_path, bert_folder, advance=stop_at(6))
    with pytest.raises(HybridError, match="resume"):
        trained_in(tmp_path, bert_folder)
    with pytest.raises(HybridError, match="learning_rate"):
        trained_in(tmp_path, bert_folder, resume=True, settings=replace(SETTINGS, learning_rate=1e-3))
    with pytest.raises(HybridError, match="examples"):
        train_transformer(
            examples(), examples(32, 9), output_dir=tmp_path, base=bert_folder, settings=SETTINGS, resume=True
        )
    (tmp_path / "run.json").unlink()
    with pytest.raises(HybridError, match="begun with other"):
        trained_in(tmp_path, bert_folder, resume=True)


# encoders that cannot be used


def test_what_is_no_encoder_is_refused_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(HybridError, match="cannot be read"):
        trained_in(tmp_path / "run", tmp_path)
    wordpiece(tmp_path)
    T5Model(
        T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    ).save_pretrained(tmp_path)
    with pytest.raises(HybridError, match="no encoder"):
        trained_in(tmp_path / "run", tmp_path)


def test_a_model_that_reads_from_left_to_right_is_refused(tmp_path: Path) -> None:
    wordpiece(tmp_path)
    sizes = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2Model(GPT2Config(vocab_size=40, bos_token_id=2, eos_token_id=3, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(HybridError, match="from left to right"):
        trained_in(tmp_path / "run", tmp_path)


def test_more_tokens_than_the_encoder_has_places_for_are_refused(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HybridError, match="65 tokens"):
        trained_in(tmp_path, bert_folder, settings=replace(SETTINGS, max_tokens=65))
    trained_in(tmp_path, bert_folder, settings=replace(SETTINGS, max_tokens=64, epochs=1))


@pytest.mark.parametrize("library", ["torch", "transformers", "accelerate"])
def test_missing_libraries_are_named(
    library: str, bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r'pip install "hybrid-llm\[train\]"'):
        trained_in(tmp_path, bert_folder)


def test_special_tokens_get_vectors_and_weights_full_precision(trained: TrainedTransformer) -> None:
    table = trained.classifier.encoder.get_input_embeddings()
    assert trained.tokenizer.source_id < table.num_embeddings
    assert {weights.dtype for weights in trained.classifier.parameters()} == {torch.float32}
    assert SOURCE_TOKEN in trained.tokenizer.tokenizer_json.decode()


# export


def test_the_exported_network_agrees_with_torch(trained: TrainedTransformer, served: ExportedTransformer) -> None:
    assert served.float32.max_change < 1e-5
    assert served.float32.rank > 0.999
    assert served.int8 is not None
    assert served.int8.max_change < transformer_export.INT8_MAX_CHANGE
    assert served.scorer.precision == "int8"
    # at lengths with which it was not traced, the longest included
    texts = ("", "river", "integral " * 17, "greeting " * 100)
    assert served.scorer.score(texts) == pytest.approx(scores(trained, texts), abs=0.3)


def test_int8_scores_do_not_depend_on_the_batch(served: ExportedTransformer) -> None:
    texts = ("river", "integral " * 20, "greeting table", "green " * 100)
    together = served.scorer.score(texts)
    alone = [served.scorer.score([text])[0] for text in texts]
    assert together.tolist() == alone


def test_nothing_of_the_machine_is_in_the_network(served: ExportedTransformer) -> None:
    data = served.scorer.onnx.tobytes()
    for said in (b"site-packages", str(Path(__file__).parents[2]).encode(), b"modeling_", b"forward"):
        assert said not in data


def untrained(base: Path) -> TrainedTransformer:
    from shared_router.training.transformer_router import _classifier

    classifier, tokenizer, _ = _classifier(str(base), SETTINGS)
    return TrainedTransformer(classifier.eval(), tokenizer, SETTINGS, {1: 0.0}, 1, 0, 0.0, True)


@pytest.fixture
def traced_once(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing takes seconds, and these tests ask for the same network each time."""
    stored = tmp_path_factory.getbasetemp() / "traced_once"
    if not stored.exists():
        stored.mkdir()
        with transformer_export._quiet():
            transformer_export._traced(untrained(bert_folder), stored)
    monkeypatch.setattr(
        transformer_export,
        "_traced",
        lambda _, folder: shutil.copytree(stored, folder, dirs_exist_ok=True) / "traced.onnx",
    )


@pytest.mark.usefixtures("traced_once")
def test_a_network_that_does_not_agree_is_never_served(bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained(bert_folder)
    with monkeypatch.context() as patched:
        patched.setattr(OnnxClassifierScorer, "score", lambda self, texts: np.full(len(texts), np.nan))
        with pytest.raises(HybridError, match="differs from the one in torch"):
            exported(model, ["river", "table"])
    monkeypatch.setattr(transformer_export, "LARGEST_FILE", 1000)
    with pytest.raises(HybridError, match="one file holds 2"):
        exported(model, ["river"])


@pytest.mark.usefixtures("traced_once")
def test_int8_is_refused_where_it_changes_too_much(bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained(bert_folder)
    monkeypatch.setattr(transformer_export, "INT8_MAX_CHANGE", 0.0)
    found = exported(model, examples(16, 2).texts)
    assert found.scorer.precision == "float32"
    assert found.scorer.score(["", "green " * 9]) == pytest.approx(scores(model, ("", "green " * 9)), abs=1e-4)
    assert found.int8 is not None
    assert "float32, because int8 changes a probability" in found.advice
    assert found.scorer.score(["river"]) == pytest.approx(scores(model, ("river",)), abs=1e-4)
    with pytest.raises(OutcomeError):
        exported(model, [])


@pytest.mark.usefixtures("traced_once")
def test_where_int8_does_not_run_float32_is_served(bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = OnnxClassifierScorer.score

    def only_float32(self: OnnxClassifierScorer, texts: Any) -> Any:
        if self.precision == "int8":
            raise ArtifactFormatError("no such operator")
        return real(self, texts)

    monkeypatch.setattr(OnnxClassifierScorer, "score", only_float32)
    found = exported(untrained(bert_folder), ["river", "table"])
    assert (found.scorer.precision, found.int8) == ("float32", None)
    assert "no such operator" in found.advice


def test_parity_is_known_on_known_scores() -> None:
    reference = np.array([-1.0, 0.0, 2.0])
    assert parity(reference, reference) == Parity(3, 0.0, pytest.approx(1.0))
    changed = parity(reference, -reference)
    assert changed.rank == pytest.approx(-1.0)
    assert changed.max_change == pytest.approx(1 / (1 + np.exp(-2.0)) - 1 / (1 + np.exp(2.0)))
    assert parity(np.zeros(3), np.zeros(3)).rank == 1.0
    assert parity(np.zeros(3), reference).rank == 0.0


@pytest.mark.parametrize(
    ("near", "taken"),
    [
        (Parity(9, 0.05, 0.99), True),
        (Parity(9, 0.05, 0.90), False),
        # only texts that score alike changed places
        (Parity(9, 0.005, 0.60), True),
        (Parity(9, 0.30, 0.999), False),
        (Parity(9, float("nan"), float("nan")), False),
    ],
)
def test_when_int8_is_near_enough(near: Parity, taken: bool) -> None:
    assert transformer_export._near_enough(near) is taken


# the artifact


def labeled(count: int = 160, *, shortfall: float = 0.85, groups: bool = False) -> LabeledPrompts:
    generator = np.random.default_rng(0)
    rows = []
    for i, (text, label) in enumerate(zip(examples(count).texts, examples(count).labels, strict=True)):
        chance = 1.0 - shortfall if label < 0.4 else shortfall
        small = tuple((generator.random(1 + i % 3) < chance).astype(float).tolist())
        others = {"group": f"g{i // 4}"} if groups else {}
        rows.append(LabeledPrompt(f"{text} {i // 10} {i}", small, (1.0, 1.0)[: 1 + i % 2], others))
    return labeled_from(rows)


@pytest.fixture(scope="module")
def report(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TransformerReport:
    found = fit_transformer(
        labeled(),
        output_dir=tmp_path_factory.mktemp("fit"),
        base=bert_folder,
        kind="prob",
        settings=SETTINGS,
        held_out=0.25,
        name="paper",
    )
    assert found is not None
    return found


def test_the_artifact_routes(report: TransformerReport, tmp_path: Path) -> None:
    report.artifact.save(tmp_path / "r")
    router = Router.load(tmp_path / "r")
    hard, easy = router.route_many(["integral " * 4, "greeting " * 4], [Knob("quality", 0.6)] * 2)
    assert (hard.target, easy.target) == ("large", "small")
    assert hard.calibrated
    assert hard.router_id.startswith("paper@")
    texts = report.parts.measured.prompts
    assert np.array_equal(router.difficulty(texts), Router.from_artifact(report.artifact).difficulty(texts))
    short = report.parts.measured.small < report.parts.measured.large
    assert router.difficulty(texts).mean() == pytest.approx(short.mean(), abs=0.05)


def test_the_report_says_what_it_is_worth(report: TransformerReport) -> None:
    assert report.apgr.low > 0.5
    assert report.over_length.estimate > 0.0
    metadata = report.artifact.metadata
    json.dumps(metadata, allow_nan=False)
    assert (metadata["labels"], metadata["method"], metadata["precision"]) == ("prob", "transformer", "int8")
    assert "licence" in metadata
    # where it was trained is nobody's business
    assert "/" not in str(metadata["encoder"])
    assert str(Path.cwd()) not in json.dumps(metadata)


def test_certificates_need_prompts_that_chose_nothing(report: TransformerReport) -> None:
    assert report.parts.held_out
    assert report.artifact.calibration_set is not None
    assert len(report.artifact.calibration_set) == len(report.parts.measured)
    parts = [report.parts.learned, report.parts.validation, report.parts.measured]
    assert sum(map(len, parts)) == 160
    assert len({prompt for part in parts for prompt in part.prompts}) == 160
    alone = transformer_parts(labeled())
    assert not alone.held_out
    assert alone.measured is alone.validation


def test_groups_stay_on_one_side() -> None:
    parts = transformer_parts(labeled(groups=True), validation=0.25, held_out=0.25)
    sides = [set(part.columns["group"]) for part in (parts.learned, parts.validation, parts.measured)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_an_encoder_that_learned_nothing_writes_no_router(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards(OnnxClassifierScorer):
        def score(self, texts: Any) -> Any:
            return np.array([-float(text.count("integral")) for text in texts])

    def backwards(model: TrainedTransformer, texts: Any, **_: Any) -> ExportedTransformer:
        scorer = Backwards(np.zeros(1, dtype=np.uint8), model.tokenizer)
        return ExportedTransformer(scorer, Parity(1, 0.0, 1.0), None, "")

    monkeypatch.setattr(transformer_fit, "exported", backwards)
    with pytest.raises(OutcomeError, match="learned nothing"):
        fit_transformer(labeled(), output_dir=tmp_path, base=bert_folder, settings=replace(SETTINGS, epochs=1))


def test_labels_that_are_all_the_same_are_refused_before_training(bert_folder: Path, tmp_path: Path) -> None:
    rows = [
        LabeledPrompt(f"river {i}", *(((0.0, 1.0, 1.0), (0.5,)) if i % 2 else ((0.0, 0.0, 0.0), (1.0,))))
        for i in range(120)
    ]
    with pytest.raises(OutcomeError, match="every 'det' label is 0"):
        fit_transformer(labeled_from(rows), output_dir=tmp_path, base=bert_folder, kind="det", settings=SETTINGS)
    assert not list(tmp_path.iterdir())


def test_a_large_model_that_is_no_better_is_refused_before_training(bert_folder: Path, tmp_path: Path) -> None:
    rows = [LabeledPrompt(f"river {i}", (1.0,), (float(i % 2),)) for i in range(120)]
    with pytest.raises(OutcomeError, match="no better"):
        fit_transformer(
            labeled_from([*rows, LabeledPrompt("river", (0.0,), (1.0,))]), output_dir=tmp_path, base=bert_folder
        )


def test_a_range_of_qualities_that_is_wrong_is_refused_before_training(bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="lies in"):
        fit_transformer(labeled(), output_dir=tmp_path, base=bert_folder, held_out=0.2, quality_range=(2.0, 3.0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_validation_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(OutcomeError):
        transformer_parts(labeled(), validation=share)


def test_helping_processes_write_nothing(bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def helped(*arguments: Any, **options: Any) -> TrainedTransformer:
        return replace(train_transformer(*arguments, **options), main_process=False)

    monkeypatch.setattr(transformer_fit, "train_transformer", helped)
    settings = replace(SETTINGS, epochs=1)
    assert fit_transformer(labeled(), output_dir=tmp_path, base=bert_folder, settings=settings) is None
    shutil.rmtree(tmp_path)
