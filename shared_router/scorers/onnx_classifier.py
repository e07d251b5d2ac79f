"""A fine-tuned transformers encoder, served by onnxruntime: Hybrid LLM's own router (Ding et al. 2024, §3), no torch.

    raw = logit(the small model falls short) − logit(it is good enough)

from a two-way head on the encoder's vector at the token ``<|source|>``, which stands before the prompt. The network is
an ONNX file held as bytes; it takes the token ids of one text, shape (1, length), and gives one number, shape (1,).

One text a run, unpadded. Dynamic int8 quantisation takes the scale of an activation from the whole batch, so that in a
batch the same text would have another score beside other texts; and on one thread batches are no faster.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import MAX_CHARS, clipped
from shared_router.errors import ArtifactFormatError, MissingExtraError
from shared_router.records import JSON

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["INPUT", "ORIENTATION", "OUTPUT", "POOLING", "SOURCE_TOKEN", "OnnxClassifierScorer", "PromptTokenizer"]

SOURCE_TOKEN = "<|source|>"
"""Stands before the prompt; the head reads the encoder's vector at it (the authors' code)."""

POOLING = "source_token"

ORIENTATION = "small_falls_short"
"""What a high score means. The authors' own score is the probability that the small model is good enough."""

INPUT = "input_ids"
OUTPUT = "raw"
"""Names of the network's input and output."""

ONNX_TENSOR = "onnx"
TOKENIZER_TENSOR = "tokenizer_json"
"""Names of the artifact's arrays: bytes, as uint8."""

FEWEST_TOKENS = 8
"""Room for the tokens that every text gets, and for some of its own."""

NO_RUNTIME = 'a router with a transformers encoder is served by onnxruntime: pip install "hybrid-llm[onnx]"'


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """What the network reads of a prompt.

    Attributes:
        ids: Token ids, those that every text gets included.
        truncated: Whether the end of the prompt is left out.
    """

    ids: list[int]
    truncated: bool


class PromptTokenizer:
    """Prompt → token ids; one class for training and serving, so that both read the same.

    Special tokens are data when they stand in a prompt: they are read as a blank, as the authors' code does with the
    separator, so that a prompt cannot end before its end.

    Args:
        tokenizer_json: Content of a ``tokenizer.json`` (Hugging Face tokenizers) that knows ``SOURCE_TOKEN``.
        max_tokens: Tokens that are read, those that every text gets included; what follows is ignored.

    Raises:
        ArtifactFormatError: The tokenizer cannot be read or does not know ``SOURCE_TOKEN``, or ``max_tokens`` is no
            number of tokens.
    """

    def __init__(self, tokenizer_json: bytes, max_tokens: int) -> None:
        tokenizer = _tokenizer(tokenizer_json)
        source = tokenizer.token_to_id(SOURCE_TOKEN)
        if source is None:
            raise ArtifactFormatError(f"the tokenizer does not know {SOURCE_TOKEN!r}; train the router again")
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < FEWEST_TOKENS:
            raise ArtifactFormatError(f"max_tokens is a whole number, at least {FEWEST_TOKENS}, got {max_tokens!r}")
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self.tokenizer_json = tokenizer_json
        self.max_tokens = max_tokens
        self.source_id = int(source)
        self._tokenizer = tokenizer
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
        # longest first: one special token may begin with another
        self._special = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)))

    @property
    def size(self) -> int:
        """One more than the largest token id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def tokens(self, text: str) -> PromptTokens:
        """The tokens of one prompt.

        Args:
            text: Any string; at most ``MAX_CHARS`` characters of it are read.
        """
        prompt = self._special.sub(" ", clipped(text))
        encoding: Encoding = self._tokenizer.encode(SOURCE_TOKEN + prompt)
        return PromptTokens(encoding.ids, bool(encoding.overflowing) or len(text.strip()) > MAX_CHARS)


def _tokenizer(tokenizer_json: bytes) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(tokenizer_json.decode("utf-8"))
    except Exception as error:  # tokenizers raises bare Exception
        raise ArtifactFormatError(f"the tokenizer in the artifact cannot be read ({error}); train it again") from error


class OnnxClassifierScorer:
    """Difficulty from a fine-tuned encoder.

    The network is opened with the first score, once, and then stays in memory beside its bytes, which pickling needs:
    about twice the size of the file. Threads may share a scorer.

    Args:
        onnx: The network, an ONNX file's bytes, uint8, shape (size,).
        tokenizer: The tokenizer it was trained with.
        precision: "int8" or "float32", for people.
        threads: Threads for one text. More than one is faster for one caller and slower for many.

    Raises:
        ArtifactFormatError: ``onnx`` is not an array of bytes.
        MissingExtraError: onnxruntime is not installed.
    """

    kind: ClassVar[str] = "onnx_classifier"

    def __init__(
        self, onnx: npt.NDArray[np.uint8], tokenizer: PromptTokenizer, *, precision: str = "float32", threads: int = 1
    ) -> None:
        if onnx.dtype != np.uint8 or onnx.ndim != 1 or not onnx.size:
            raise ArtifactFormatError(
                f"the network is an array of bytes, uint8 of shape (size,), got {onnx.dtype} of shape {onnx.shape}"
            )
        # looked for here, so that a server finds out when it loads the router and not with the first question
        if importlib.util.find_spec("onnxruntime") is None:
            raise MissingExtraError(NO_RUNTIME)
        self.onnx = onnx
        self.tokenizer = tokenizer
        self.precision = precision
        self.threads = threads
        self._session: Any = None
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled without the open network, which each process opens for itself."""
        return _scorer, (
            self.onnx,
            self.tokenizer.tokenizer_json,
            self.tokenizer.max_tokens,
            self.precision,
            self.threads,
        )

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Raw difficulties: higher = the small model will more probably fall short.

        Args:
            texts: n texts.

        Returns:
            Shape (n,); the same number for the same text in every batch on one machine.

        Raises:
            ArtifactFormatError: The bytes are not a network of this kind.
        """
        scores = np.zeros(len(texts), dtype=np.float64)
        session = self._opened()
        for place, text in enumerate(texts):
            ids = np.array([self.tokenizer.tokens(text).ids], dtype=np.int64)
            try:
                scores[place] = session.run([OUTPUT], {INPUT: ids})[0].reshape(-1)[0]
            except Exception as error:  # onnxruntime's errors have no root of their own
                raise ArtifactFormatError(
                    f"the network in the artifact does not run ({error}); train it again"
                ) from error
        return scores

    def _opened(self) -> Any:
        if self._session is None:
            with self._opening:
                if self._session is None:
                    self._session = _session(self.onnx.tobytes(), self.threads)
        return self._session

    def to_state(self) -> tuple[dict[str, JSON], dict[str, npt.NDArray[np.generic]]]:
        """Settings and arrays for an artifact."""
        config: dict[str, JSON] = {
            "max_tokens": self.tokenizer.max_tokens,
            "source_token": SOURCE_TOKEN,
            "pooling": POOLING,
            "orientation": ORIENTATION,
            "precision": self.precision,
        }
        tokenizer = np.frombuffer(self.tokenizer.tokenizer_json, dtype=np.uint8)
        return config, {ONNX_TENSOR: self.onnx, TOKENIZER_TENSOR: tokenizer}

    @classmethod
    def from_state(
        cls, config: Mapping[str, JSON], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> OnnxClassifierScorer:
        """The scorer that ``to_state`` described.

        Raises:
            ArtifactFormatError: Settings or arrays are missing or foreign.
            MissingExtraError: onnxruntime is not installed.
        """
        expected = {"source_token": SOURCE_TOKEN, "pooling": POOLING, "orientation": ORIENTATION}
        for name, value in expected.items():
            if config.get(name) != value:
                raise ArtifactFormatError(f"the artifact has {name} {config.get(name)!r}, this release reads {value!r}")
        try:
            onnx = tensors[ONNX_TENSOR].astype(np.uint8, casting="safe", copy=False)
            tokenizer_json = tensors[TOKENIZER_TENSOR].astype(np.uint8, casting="safe").tobytes()
            max_tokens = config["max_tokens"]
            precision = str(config["precision"])
        except (KeyError, TypeError) as error:
            raise ArtifactFormatError(f"not the state of a {cls.kind} scorer: {error!r}") from error
        return cls(onnx, PromptTokenizer(tokenizer_json, max_tokens), precision=precision)  # type: ignore[arg-type]


def _scorer(
    onnx: npt.NDArray[np.uint8], tokenizer_json: bytes, max_tokens: int, precision: str, threads: int
) -> OnnxClassifierScorer:
    return OnnxClassifierScorer(onnx, PromptTokenizer(tokenizer_json, max_tokens), precision=precision, threads=threads)


def _session(model: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(NO_RUNTIME) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # what goes wrong is raised, and need not be printed as well
    options.log_severity_level = 4
    try:
        # from bytes, and with no library of custom operators registered: only onnxruntime's own code runs
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no root of their own
        raise ArtifactFormatError(
            f"the network in the artifact cannot be opened ({error}); train the router again, or upgrade onnxruntime"
        ) from error
    inputs = [(node.name, node.type) for node in session.get_inputs()]
    outputs = [(node.name, node.type) for node in session.get_outputs()]
    if inputs != [(INPUT, "tensor(int64)")] or outputs != [(OUTPUT, "tensor(float)")]:
        raise ArtifactFormatError(
            f"the network in the artifact takes {inputs} and gives {outputs}; a router's takes token ids named "
            f"{INPUT!r} and gives one number named {OUTPUT!r}"
        )
    return session
