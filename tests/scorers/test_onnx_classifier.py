"""The served encoder: tokens, networks that are not one, threads, pickling, and what is not imported."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from shared_router.artifact import Artifact
from shared_router.calibration import LogisticCalibrator
from shared_router.errors import ArtifactFormatError, MissingExtraError
from shared_router.knob import NEVER_LARGE, OperatingCurve
from shared_router.router import Router
from shared_router.scorers import onnx_classifier, scorer_class
from shared_router.scorers.onnx_classifier import SOURCE_TOKEN, OnnxClassifierScorer, PromptTokenizer

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "easy", "hard", "word")
MAX_TOKENS = 12


def tokenizer_json(*, source: bool = True) -> bytes:
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    if source:
        tokenizer.add_special_tokens([AddedToken(SOURCE_TOKEN, special=True, normalized=False)])
    return bytes(tokenizer.to_str(), "utf-8")


def network(*, input_name: str = "input_ids", output_name: str = "raw", rows: int = 8) -> np.ndarray:
    """Sum of one number a token: −1 for "easy", +1 for "hard", 0.25 for "word"."""
    values = np.array([0, 0, 0, 0, -1, 1, 0.25, 0], dtype=np.float32)[:rows, None]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["values", input_name], ["each"]),
            helper.make_node("ReduceSum", ["each", "axes"], [output_name], keepdims=0),
        ],
        "router",
        [helper.make_tensor_value_info(input_name, TensorProto.INT64, [1, "length"])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(values, "values"), numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return np.frombuffer(model.SerializeToString(), dtype=np.uint8)


def scorer(**options: Any) -> OnnxClassifierScorer:
    return OnnxClassifierScorer(network(), PromptTokenizer(tokenizer_json(), MAX_TOKENS), **options)


def test_a_hard_text_scores_high_and_an_easy_one_low() -> None:
    assert scorer().score(["hard word", "easy", "", "hard easy"]).tolist() == [1.25, -1.0, 0.0, 0.0]
    assert scorer().score([]).shape == (0,)


def test_the_same_text_has_the_same_score_in_every_batch() -> None:
    texts = ["hard", "easy word word", "word " * 40, "", "hard hard"] * 3
    whole = scorer().score(texts)
    alone = np.array([scorer().score([text])[0] for text in texts])
    assert np.array_equal(whole, alone)
    assert np.array_equal(whole[::-1], scorer().score(texts[::-1]))


def test_source_token_stands_first_and_truncation_keeps_the_frame() -> None:
    tokenizer = PromptTokenizer(tokenizer_json(), MAX_TOKENS)
    source = tokenizer.source_id
    assert source == len(VOCABULARY)
    assert tokenizer.size == source + 1
    short = tokenizer.tokens("hard word")
    assert (short.ids, short.truncated) == ([2, source, 5, 6, 3], False)
    full = tokenizer.tokens("word " * (MAX_TOKENS - 3))
    assert (len(full.ids), full.truncated) == (MAX_TOKENS, False)
    long = tokenizer.tokens("word " * (MAX_TOKENS - 2))
    assert (long.ids, long.truncated) == ([2, source, *[6] * (MAX_TOKENS - 3), 3], True)


def test_characters_beyond_what_is_read_are_reported() -> None:
    assert PromptTokenizer(tokenizer_json(), MAX_TOKENS).tokens("word" + " " * 8192 + "hard").truncated


@pytest.mark.parametrize("smuggled", ["[SEP]", "[CLS]", SOURCE_TOKEN, f"[PAD]{SOURCE_TOKEN}"])
def test_special_tokens_in_a_prompt_are_a_blank(smuggled: str) -> None:
    tokenizer = PromptTokenizer(tokenizer_json(), MAX_TOKENS)
    assert tokenizer.tokens(f"hard{smuggled}word").ids == tokenizer.tokens("hard word").ids


def test_lone_surrogates_and_control_characters_are_read() -> None:
    assert np.isfinite(scorer().score(["\ud800", "\x00", "hard\ud800"])).all()


def test_a_pickled_scorer_scores_the_same_and_opens_its_own_network() -> None:
    one = scorer(precision="int8", threads=2)
    before = one.score(["hard word"])
    again = pickle.loads(pickle.dumps(one))
    assert again._session is None
    assert (again.precision, again.threads) == ("int8", 2)
    assert np.array_equal(again.score(["hard word"]), before)


def test_threads_open_the_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = onnx_classifier._session

    def counted(model: bytes, threads: int) -> Any:
        opened.append(threads)
        return real(model, threads)

    monkeypatch.setattr(onnx_classifier, "_session", counted)
    one = scorer()
    with ThreadPoolExecutor(8) as pool:
        scores = list(pool.map(lambda _: one.score(["hard word"])[0], range(64)))
    assert set(scores) == {1.25}
    assert opened == [1]


def test_state_makes_the_same_scorer_and_an_artifact_carries_it(tmp_path: Path) -> None:
    config, tensors = scorer(precision="int8").to_state()
    json.dumps(config)
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.uint8)}
    again = scorer_class("onnx_classifier").from_state(config, tensors)
    assert again.to_state()[0] == config
    curve = OperatingCurve((NEVER_LARGE, 0.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.0))
    Artifact("own", "onnx_classifier", config, tensors, LogisticCalibrator(1.0, 0.0), curve, True).save(tmp_path / "r")
    router = Router.load(tmp_path / "r")
    assert router.difficulty(["hard word"])[0] == pytest.approx(1 / (1 + np.exp(-1.25)), abs=1e-6)


def test_serving_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    config, tensors = scorer().to_state()
    curve = OperatingCurve((NEVER_LARGE, 0.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.0))
    Artifact("own", "onnx_classifier", config, tensors, LogisticCalibrator(1.0, 0.0), curve, True).save(tmp_path / "r")
    code = f"""
import sys
from shared_router.router import Router
router = Router.load({str(tmp_path / "r")!r})
print("onnxruntime" in sys.modules)
router.route("hard word")
heavy = ("torch", "transformers", "onnx", "pandas", "scipy", "sklearn")
print([name for name in heavy if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    # the network is opened with the first question
    assert run.stdout.split("\n")[:2] == ["False", "[]"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(np.frombuffer(b"not a network", dtype=np.uint8), id="foreign"),
        pytest.param(network()[:60], id="truncated"),
        pytest.param(network(input_name="tokens"), id="other input"),
        pytest.param(network(output_name="logits"), id="other output"),
        pytest.param(network()[:0], id="empty"),
        pytest.param(network().astype(np.float32), id="no bytes"),
        pytest.param(network().reshape(1, -1), id="two axes"),
    ],
)
def test_bytes_that_are_no_router_network_are_refused(data: np.ndarray) -> None:
    with pytest.raises(ArtifactFormatError):
        OnnxClassifierScorer(data, PromptTokenizer(tokenizer_json(), MAX_TOKENS)).score(["hard"])


def test_a_network_that_does_not_know_a_token_is_refused_in_our_words() -> None:
    small = OnnxClassifierScorer(network(rows=7), PromptTokenizer(tokenizer_json(), MAX_TOKENS))
    with pytest.raises(ArtifactFormatError, match="does not run"):
        small.score(["hard"])


def test_custom_operators_are_not_loaded() -> None:
    graph = helper.make_graph(
        [helper.make_node("Steal", ["input_ids"], ["raw"], domain="elsewhere")],
        "router",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "length"])],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)], ir_version=8
    )
    data = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
    with pytest.raises(ArtifactFormatError, match="cannot be opened"):
        OnnxClassifierScorer(data, PromptTokenizer(tokenizer_json(), MAX_TOKENS)).score(["hard"])


def test_data_outside_the_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "values.bin").write_bytes(np.zeros(8, dtype=np.float32).tobytes())
    model = onnx.load_from_string(network().tobytes())
    values = model.graph.initializer[0]
    values.ClearField("raw_data")
    values.data_location = TensorProto.EXTERNAL
    entry = values.external_data.add()
    entry.key, entry.value = "location", str(tmp_path / "values.bin")
    data = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
    with pytest.raises(ArtifactFormatError, match="cannot be opened"):
        OnnxClassifierScorer(data, PromptTokenizer(tokenizer_json(), MAX_TOKENS)).score(["hard"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("source_token", "[CLS]"), ("pooling", "mean"), ("orientation", "small_is_enough"), ("max_tokens", "128")],
)
def test_foreign_settings_are_refused(name: str, value: object) -> None:
    config, tensors = scorer().to_state()
    with pytest.raises(ArtifactFormatError, match=name):
        OnnxClassifierScorer.from_state({**config, name: value}, tensors)


def test_missing_parts_are_refused() -> None:
    config, tensors = scorer().to_state()
    for name in tensors:
        with pytest.raises(ArtifactFormatError, match=name):
            OnnxClassifierScorer.from_state(config, {key: tensors[key] for key in tensors if key != name})
    with pytest.raises(ArtifactFormatError, match="precision"):
        OnnxClassifierScorer.from_state({key: config[key] for key in config if key != "precision"}, tensors)


@pytest.mark.parametrize(
    ("content", "max_tokens", "said"),
    [
        (b"{}", MAX_TOKENS, "cannot be read"),
        (b"\xff", MAX_TOKENS, "cannot be read"),
        (tokenizer_json(source=False), MAX_TOKENS, "source"),
        (tokenizer_json(), 2, "max_tokens"),
        (tokenizer_json(), True, "max_tokens"),
    ],
)
def test_tokenizers_that_cannot_serve_are_refused(content: bytes, max_tokens: int, said: str) -> None:
    with pytest.raises(ArtifactFormatError, match=said):
        PromptTokenizer(content, max_tokens)


def test_without_onnxruntime_loading_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config, tensors = scorer().to_state()
    pickled = pickle.dumps(scorer())
    real = importlib.util.find_spec
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else real(name))
        with pytest.raises(MissingExtraError, match=r'pip install "hybrid-llm\[onnx\]"'):
            OnnxClassifierScorer.from_state(config, tensors)
    restored = pickle.loads(pickled)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"hybrid-llm\[onnx\]"):
        restored.score(["hard"])
