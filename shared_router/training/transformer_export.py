"""A trained encoder → ONNX, int8 where that changes little → the scorer that is served.

    torch → ONNX float32 (must agree) → graph optimised → int8 (taken if it agrees well enough) → OnnxClassifierScorer

int8 is onnxruntime's dynamic quantisation: weights per channel, activations by their range in each run. Weights keep to
7 bits, since on processors without VNNI the sums of 8-bit products overflow 16 bits, and scores would depend on the
machine.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared_router.errors import ArtifactFormatError, HybridError, MissingExtraError, OutcomeError
from shared_router.scorers.onnx_classifier import INPUT, OUTPUT, OnnxClassifierScorer
from shared_router.training.transformer_router import TrainedTransformer

__all__ = ["ExportedTransformer", "Parity", "exported", "parity"]

Floats = npt.NDArray[np.float64]

FLOAT32_MAX_CHANGE = 1e-3
"""Most by which the probability of a text may differ between torch and ONNX in float32; 1e-6 was measured."""

INT8_MAX_CHANGE = 0.1
"""Most by which int8 may change the probability of any text."""

INT8_LEAST_RANK = 0.98
"""Least Spearman correlation of the scores before and after int8: the ranking is what routes."""

NEGLIGIBLE_CHANGE = 0.01
"""Change of all probabilities below which the ranking does not count: only texts that score alike change places."""

LARGEST_FILE = 2**31 - 1
"""Bytes that protobuf, and so an ONNX file in one piece, can hold."""

TRACED_TOKENS = 16
"""Length of the text with which the network is traced; any length is served."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How much two networks agree.

    Attributes:
        texts: Texts on which they were compared.
        max_change: Largest difference of a probability, in [0, 1].
        rank: Spearman correlation of their scores; 1 where both are constant.
    """

    texts: int
    max_change: float
    rank: float


@dataclass(frozen=True, slots=True, eq=False)
class ExportedTransformer:
    """The network that is served.

    Attributes:
        scorer: It.
        float32: Agreement of torch and ONNX.
        int8: Agreement of torch and int8; None where int8 was not tried.
        advice: Why it is what it is, in a sentence.
    """

    scorer: OnnxClassifierScorer
    float32: Parity
    int8: Parity | None
    advice: str


def parity(reference: Floats, found: Floats) -> Parity:
    """How much two networks agree on the same texts.

    Args:
        reference: Raw scores (logits) of the one, shape (n,), n ≥ 1.
        found: Raw scores of the other, shape (n,).
    """
    change = np.abs(np.tanh(0.5 * reference) - np.tanh(0.5 * found)).max() / 2
    return Parity(len(reference), float(change), _rank(reference, found))


def _rank(reference: Floats, found: Floats) -> float:
    from scipy import stats

    constant = [float(np.ptp(scores)) == 0.0 for scores in (reference, found)]
    if any(constant):
        return float(all(constant))
    return float(stats.spearmanr(reference, found)[0])


def exported(trained: TrainedTransformer, texts: Sequence[str], *, quantise: bool = True) -> ExportedTransformer:
    """The network as it is served.

    While it works it needs about eight times the memory of the float32 weights (14 GB for DeBERTa-v3-large), and three
    times their size for temporary files.

    Args:
        trained: The trained network.
        texts: Prompts on which the networks are compared, best 100 or more that it did not learn from, n ≥ 1.
        quantise: False for float32 in any case.

    Returns:
        int8 where it agrees with torch within ``INT8_MAX_CHANGE`` and either ``INT8_LEAST_RANK`` or
        ``NEGLIGIBLE_CHANGE``, else float32.

    Raises:
        HybridError: The ONNX network does not agree with torch, or is too large for one file.
        MissingExtraError: onnx, onnxruntime or onnxscript is not installed.
        OutcomeError: No texts.
    """
    if not texts:
        raise OutcomeError("the exported network is compared on texts, got none")
    _needed()
    from shared_router.training.transformer_model import raw_scores

    reference = raw_scores(trained.classifier, [trained.tokenizer.tokens(text).ids for text in texts])
    with tempfile.TemporaryDirectory() as name, _quiet():
        folder = Path(name)
        plain = _optimised(_traced(trained, folder), folder)
        float32 = _scorer(plain, trained, "float32")
        same = parity(reference, float32.score(texts))
        # written so that NaN fails it
        if not same.max_change <= FLOAT32_MAX_CHANGE:
            raise HybridError(
                f"the ONNX network differs from the one in torch by up to {same.max_change:.2g} in probability; "
                "this encoder cannot be exported, take another"
            )
        if not quantise:
            return ExportedTransformer(float32, same, None, "float32, as wished")
        int8 = _scorer(_quantised(plain, folder), trained, "int8")
        try:
            near = parity(reference, int8.score(texts))
        except ArtifactFormatError as error:
            return ExportedTransformer(float32, same, None, f"float32, because int8 does not run: {error}")
    if _near_enough(near):
        return ExportedTransformer(int8, same, near, "int8 agrees with the trained network")
    return ExportedTransformer(
        float32,
        same,
        near,
        f"float32, because int8 changes a probability by up to {near.max_change:.3f} (at most {INT8_MAX_CHANGE:g} is "
        f"allowed) at a rank correlation of {near.rank:.4f} (at least {INT8_LEAST_RANK:g})",
    )


def _near_enough(near: Parity) -> bool:
    ranked = near.rank >= INT8_LEAST_RANK or near.max_change <= NEGLIGIBLE_CHANGE
    return ranked and near.max_change <= INT8_MAX_CHANGE


def _needed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as error:
        raise MissingExtraError(
            f'exporting needs onnx, onnxscript and onnxruntime ({error}): pip install "hybrid-llm[train]"'
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn of their own deprecations and of torchvision, which has nothing to do with this."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _traced(trained: TrainedTransformer, folder: Path) -> Path:
    import torch

    from shared_router.training.transformer_model import DifficultyNetwork

    path = folder / "traced.onnx"
    ids = torch.full((1, min(TRACED_TOKENS, trained.tokenizer.max_tokens)), trained.tokenizer.source_id)
    torch.onnx.export(
        DifficultyNetwork(trained.classifier).eval(),
        (ids,),
        path,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={INPUT: {1: torch.export.Dim.DYNAMIC}},
        dynamo=True,
        external_data=True,
        verbose=False,
    )
    return path


def _optimised(traced: Path, folder: Path) -> Path:
    """With constant parts worked out, DeBERTa's relative positions above all: a fifth faster in int8."""
    import onnxruntime

    # in the same folder: it goes on using the traced network's weights
    path = folder / "float32.onnx"
    options = onnxruntime.SessionOptions()
    # the level that keeps to operators of the ONNX standard
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])
    return path


def _quantised(plain: Path, folder: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / "int8.onnx"
    quantize_dynamic(
        str(plain),
        str(path),
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
        nodes_to_exclude=_batched(plain),
    )
    return path


def _batched(plain: Path) -> list[str]:
    """Products with a constant that is no matrix (DeBERTa's relative positions), which int8 per channel cannot do."""
    import onnx

    graph = onnx.load(str(plain), load_external_data=False).graph
    axes = {constant.name: len(constant.dims) for constant in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and any(axes.get(name, 2) != 2 for name in node.input)
    ]


def _scorer(path: Path, trained: TrainedTransformer, precision: str) -> OnnxClassifierScorer:
    import onnx

    # with its weights, which are beside it until here
    network = onnx.load(str(path))
    size = sum(len(constant.raw_data) for constant in network.graph.initializer)
    if size > LARGEST_FILE:
        raise HybridError(f"the network has {size / 2**30:.1f} GB in {precision}; one file holds 2: take a smaller one")
    _bare(network)
    data = np.frombuffer(network.SerializeToString(), dtype=np.uint8)
    return OnnxClassifierScorer(data, trained.tokenizer, precision=precision)


def _bare(network: Any) -> None:
    """Take off what exporters note down: lines of code, paths of the machine, and operator sets that are not used."""
    for part in (network, network.graph, *network.graph.node, *network.graph.value_info, *network.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    used = {"", *_domains(network.graph)}
    kept = [entry for entry in network.opset_import if entry.domain in used]
    del network.opset_import[:]
    network.opset_import.extend(kept)


def _domains(graph: Any) -> set[str]:
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return {node.domain for node in graph.node}.union(*map(_domains, inner))
