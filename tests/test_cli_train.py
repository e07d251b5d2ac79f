"""``hybrid-llm train``, from a file of labels to decisions, on a tiny encoder made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("onnxscript")

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.router import Router

runner = CliRunner()
WIDE = {"COLUMNS": "200"}
TINY = ("--max-tokens", "16", "--learning-rate", "5e-3", "--batch-size", "16", "--epochs", "4")
TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "integral", "greeting", "number", *map(str, range(10)))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(TOKENS), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    generator = np.random.default_rng(0)
    lines = ["not JSON"]
    for i in range(160):
        hard = generator.random() < 0.5
        small = (generator.random(3) < (0.1 if hard else 0.9)).astype(float).tolist()
        text = f"{'integral' if hard else 'greeting'} number {i} {'number ' * (20 if i == 0 else 0)}"
        lines.append(json.dumps({"prompt": text, "small_quality": small, "large_quality": [1, 1]}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def run(encoder: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, str]:
    out = tmp_path_factory.mktemp("out") / "mine"
    arguments = ["train", str(labels), "--encoder", str(encoder), "--out", str(out), "--labels", "trans", "--skip-bad"]
    done = runner.invoke(app, [*arguments, *TINY], env=WIDE)
    assert done.exit_code == 0, done.output
    return arguments, out, done.output


def test_train_writes_a_router_and_says_what_it_is_worth(run: tuple[list[str], Path, str]) -> None:
    _, out, output = run
    decision = Router.load(out).route("integral number 7")
    assert decision.calibrated
    assert decision.router_id.startswith("mine@")
    assert decision.difficulty > Router.load(out).route("greeting number 7").difficulty
    for said in (
        "left out: ",
        "128 prompts learned from, 32 to choose the checkpoint",
        "t* = ",
        "kept: step",
        "int8",
        "APGR",
        "over prompt length",
        "Nothing can be certified",
        "HybridChatModel",
    ):
        assert said in output


def test_prompts_that_are_not_read_to_their_end_are_counted(run: tuple[list[str], Path, str]) -> None:
    learned = "more than 16 tokens" in run[2]
    truncated = json.loads((run[1] / "router.json").read_text())["metadata"]["truncated"]
    assert learned == (truncated > 0)
    assert truncated <= 1


def test_an_earlier_run_is_resumed_only_if_asked(run: tuple[list[str], Path, str]) -> None:
    arguments, out, _ = run
    assert (out.parent / "mine-checkpoints" / "run.json").is_file()
    refused = runner.invoke(app, [*arguments, *TINY], env=WIDE)
    assert refused.exit_code == 1
    assert "--resume" in refused.output
    weights = [path.name for path in out.glob("weights-*")]
    again = runner.invoke(app, [*arguments, *TINY, "--resume"], env=WIDE)
    assert again.exit_code == 0, again.output
    assert [path.name for path in out.glob("weights-*")] == weights


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--labels", "hard"], "det, prob, trans"),
        (["--epochs", "0"], "epochs"),
        (["--quality-range", "1"], "LOW,HIGH"),
        (["--validation", "1.5"], "validation"),
        (["--held-out", "0.99"], "holding out"),
        (["--max-tokens", "17"], "17 tokens"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    options: list[str], said: str, encoder: Path, labels: Path, tmp_path: Path
) -> None:
    arguments = ["train", str(labels), "--skip-bad", "--encoder", str(encoder), "--out", str(tmp_path / "r")]
    done = runner.invoke(app, [*arguments, *options], env=WIDE)
    assert done.exit_code == 1
    assert done.output.strip().splitlines()[-1].startswith("Error: ")
    assert said in done.output
    assert not (tmp_path / "r").exists()


def test_a_bad_row_or_encoder_stops_with_its_place(labels: Path, tmp_path: Path) -> None:
    done = runner.invoke(
        app, ["train", str(labels), "--encoder", str(tmp_path), "--out", str(tmp_path / "r")], env=WIDE
    )
    assert done.exit_code == 1
    assert "labels.jsonl" in done.output
    arguments = ["train", str(labels), "--skip-bad", "--encoder", str(tmp_path), "--out", str(tmp_path / "r")]
    done = runner.invoke(app, arguments, env=WIDE)
    assert done.exit_code == 1
    assert "cannot be read" in done.output


def test_help_teaches() -> None:
    done = runner.invoke(app, ["train", "--help"], env=WIDE)
    for said in ("--encoder", "--labels", "--resume", "torchrun", "small_quality", "hybrid-llm fit"):
        assert said in done.output
