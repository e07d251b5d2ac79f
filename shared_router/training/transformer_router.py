"""The paper's router: an encoder that is fine-tuned on soft labels (Hybrid LLM, Ding et al. 2024, §3 and §4.1).

    examples → tokens → Trainer (checkpoints, best one kept) → TrainedTransformer ‖ transformer_export → artifact

The same call runs on the CPU, on one GPU, or on many: started by ``torchrun`` or ``accelerate launch``, each process
makes it, and the effective batch stays what the settings say. Nothing is reported to anybody, nothing is uploaded, no
code from a model's repository is run, and weights are written as safetensors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shared_router.errors import HybridError, MissingExtraError
from shared_router.scorers.onnx_classifier import FEWEST_TOKENS, SOURCE_TOKEN, PromptTokenizer, PromptTokens
from shared_router.training.soft_labels import RouterExamples

if TYPE_CHECKING:
    from shared_router.training.transformer_model import PromptClassifier

__all__ = ["PAPER_ENCODER", "TrainedTransformer", "TransformerSettings", "train_transformer"]

PAPER_ENCODER = "microsoft/deberta-v3-large"
"""Of the paper (§4.1), 0.4 billion parameters; its follow-up BEST-Route takes deberta-v3-small."""

RUN_FILE = "run.json"
"""What a folder of checkpoints was trained with, so that nothing else is continued in it."""

STATE_FILE = "trainer_state.json"
"""The Trainer writes it last into a checkpoint."""

LOG_STEPS = 5


@dataclass(frozen=True, slots=True)
class TransformerSettings:
    """How the encoder is trained. "Paper" is §4.1, "code" the defaults of train_router.py in microsoft/best-route-llm.

    Attributes:
        epochs: Passes over the examples. Paper: 5, the best checkpoint on validation is kept.
        learning_rate: Highest rate. Code: 1e-5.
        weight_decay: Code: 0.1.
        warmup: Share of the steps in which the rate rises; after them it falls linearly to 0. Code: 0.05, linear.
        batch_size: Prompts a step, over all devices. Code: 8 × 16 accumulated on one GPU = 128.
        device_batch_size: Prompts that a device takes at once. Code: 8.
        dropout: Of the head. Code: 0.05.
        max_tokens: Tokens of a prompt that are read, those that every prompt gets included. Code: 128.
        max_grad_norm: Where gradients are clipped. Code: 1e11, that is never.
        seed: Of the head's first weights, the order of the examples and the dropout. Code: 42.
        checkpoint_steps: Steps from one checkpoint and validation to the next; None for one after each pass (code).
    """

    epochs: int = 5
    learning_rate: float = 1e-5
    weight_decay: float = 0.1
    warmup: float = 0.05
    batch_size: int = 128
    device_batch_size: int = 8
    dropout: float = 0.05
    max_tokens: int = 128
    max_grad_norm: float = 1e11
    seed: int = 42
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        """Reject settings with which nothing can be trained.

        Raises:
            HybridError: A number out of its range.
        """
        least = {"epochs": 1, "batch_size": 1, "device_batch_size": 1, "max_tokens": FEWEST_TOKENS, "seed": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise HybridError(f"{name} is a whole number, at least {lowest}, got {value!r}")
        if self.checkpoint_steps is not None and self.checkpoint_steps < 1:
            raise HybridError(f"checkpoint_steps is at least 1 or None, got {self.checkpoint_steps!r}")
        ranges = {"learning_rate": math.inf, "max_grad_norm": math.inf, "weight_decay": math.inf, "warmup": 1.0}
        for name, below in {**ranges, "dropout": 1.0}.items():
            value = getattr(self, name)
            if not 0.0 <= value < below:
                raise HybridError(f"{name} lies in [0, {below:g}), got {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class TrainedTransformer:
    """The network after training, with the weights of the best checkpoint.

    Attributes:
        classifier: The network, on the CPU and not in training.
        tokenizer: What reads its prompts.
        settings: How it was trained.
        spearman: Rank correlation of the predicted and the true quality gap on the validation prompts, after each
            checkpoint by step.
        best_step: The step whose weights these are.
        truncated: Training prompts of which the end was not read.
        seconds: Time that this call took to train; after a resumption without what came before.
        main_process: Whether this process is the one that writes what comes of it; of several only one is.
    """

    classifier: PromptClassifier
    tokenizer: PromptTokenizer
    settings: TransformerSettings
    spearman: Mapping[int, float]
    best_step: int
    truncated: int
    seconds: float
    main_process: bool


def train_transformer(
    train: RouterExamples,
    validation: RouterExamples,
    *,
    output_dir: str | os.PathLike[str],
    base: str | os.PathLike[str] = PAPER_ENCODER,
    settings: TransformerSettings | None = None,
    resume: bool = False,
    advance: Callable[[str], None] | None = None,
) -> TrainedTransformer:
    """Fine-tune an encoder to tell how probably the small model is good enough.

    As in the authors' code: ``<|source|>`` before the prompt, its last hidden state through dropout and a linear map to
    two logits, cross-entropy with [p, 1 − p], Adafactor, and of the checkpoints the one whose logit difference ranks
    the validation prompts most like the mean quality gap does (Spearman). Half precision on CUDA only.

    Args:
        train: What is learned from.
        validation: What chooses the checkpoint.
        output_dir: Folder of the checkpoints; the last and the best one are kept.
        base: A model of the Hugging Face hub, or a folder with ``config.json``, weights and tokenizer, any encoder that
            ``AutoModel`` and ``AutoTokenizer`` can read.
        settings: None for the paper's.
        resume: Continue from the last whole checkpoint in ``output_dir``, or begin where there is none.
        advance: Told the title of each step before it begins.

    Returns:
        The network; on the CPU the same for the same seed, data and number of threads.

    Raises:
        HybridError: The encoder cannot be read or used, or ``output_dir`` holds another run's checkpoints.
        MissingExtraError: torch, transformers or accelerate is not installed.
    """
    settings = settings or TransformerSettings()
    tell = advance or (lambda title: None)
    _needed()
    folder = Path(output_dir).resolve()
    base = str(Path(base).resolve()) if Path(base).is_dir() else os.fspath(base)
    run = _run(base, settings, train, validation)
    checkpoint = _checkpoint(folder, run, resume=resume)
    tell("reading the encoder")
    classifier, tokenizer, pad_id = _classifier(base, settings)
    tell("reading the prompts")
    tokens = [tokenizer.tokens(text) for text in train.texts]
    checked = [tokenizer.tokens(text) for text in validation.texts]
    trainer = _trainer(classifier, pad_id, (tokens, train), (checked, validation), folder, settings, tell)
    main_process = bool(trainer.is_world_process_zero())
    if main_process:
        _begin(folder, run)
        if checkpoint:
            _relocate(checkpoint, folder)
    started = time.monotonic()
    tell("training")
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    seconds = time.monotonic() - started
    history = _history(trainer.state.log_history)
    return TrainedTransformer(
        classifier=classifier.cpu().float().eval(),
        tokenizer=tokenizer,
        settings=settings,
        spearman=history,
        best_step=max(history, key=history.__getitem__, default=int(trainer.state.global_step)),
        truncated=sum(read.truncated for read in tokens),
        seconds=seconds,
        main_process=main_process,
    )


def _history(logs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    return {int(log["step"]): float(log["eval_spearman"]) for log in logs if "eval_spearman" in log}


def _needed() -> None:
    try:
        import accelerate  # noqa: F401  # the Trainer needs it, and says so late
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f'training an encoder needs torch, transformers and accelerate ({error}): pip install "hybrid-llm[train]"'
        ) from error


def _classifier(base: str, settings: TransformerSettings) -> tuple[PromptClassifier, PromptTokenizer, int]:
    from transformers import AutoModel, set_seed

    from shared_router.training.transformer_model import PromptClassifier

    tokenizer, pad_id = _prompt_tokenizer(base, settings.max_tokens)
    set_seed(settings.seed)
    encoder = _loaded(AutoModel, base, attn_implementation="eager")
    config = encoder.config
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise HybridError(f"{base} is no encoder ({config.model_type}); take one such as {PAPER_ENCODER}")
    # half-precision weights of a hub do not train on their own
    encoder = encoder.float()
    if tokenizer.size > encoder.get_input_embeddings().num_embeddings:
        encoder.resize_token_embeddings(tokenizer.size, mean_resizing=False)
    try:
        looks_ahead = _looks_ahead(encoder, tokenizer.source_id, settings.max_tokens)
    except Exception as error:
        raise HybridError(
            f"{base} cannot read {settings.max_tokens} tokens ({type(error).__name__}: {error}); set max_tokens lower"
        ) from error
    if not looks_ahead:
        raise HybridError(
            f"{base} reads from left to right ({config.model_type}): at {SOURCE_TOKEN}, which stands first, it knows "
            f"nothing of the prompt; take an encoder such as {PAPER_ENCODER}"
        )
    classifier = PromptClassifier(
        encoder, width=int(config.hidden_size), source_id=tokenizer.source_id, dropout=settings.dropout
    )
    return classifier, tokenizer, pad_id


def _looks_ahead(encoder: Any, source_id: int, length: int) -> bool:
    """Whether the vector at the first token knows the others; fails where the encoder has fewer places than ``length``.

    Tried, because not every configuration says either, nor in the same words.
    """
    import torch

    ids = torch.full((1, length), source_id)
    others = ids.clone()
    others[:, 1:] = source_id - 1
    with torch.inference_mode():
        first, second = (
            encoder.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state[0, 0]
            for tokens in (ids, others)
        )
    return not torch.allclose(first, second, rtol=0.0, atol=1e-6)


def _prompt_tokenizer(base: str, max_tokens: int) -> tuple[PromptTokenizer, int]:
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer = _loaded(AutoTokenizer, base)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise HybridError(f"{base} has no tokenizer that can be written as tokenizer.json; take another encoder")
    backend.add_special_tokens([AddedToken(SOURCE_TOKEN, normalized=False, special=True)])
    return PromptTokenizer(backend.to_str().encode("utf-8"), max_tokens), int(tokenizer.pad_token_id or 0)


def _loaded(kind: Any, base: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(base, trust_remote_code=False, local_files_only=Path(base).is_dir(), **options)
    except Exception as error:  # from a missing file over a foreign format to no network, each of another type
        raise HybridError(
            f"the encoder {base!r} cannot be read ({type(error).__name__}: {error}); give a model of the "
            "Hugging Face hub, or a folder with config.json, weights and tokenizer. A tokenizer without tokenizer.json "
            "(DeBERTa-v3's) needs sentencepiece: pip install sentencepiece"
        ) from error


Part = tuple[Sequence[PromptTokens], RouterExamples]


def _trainer(
    classifier: PromptClassifier,
    pad_id: int,
    train: Part,
    validation: Part,
    folder: Path,
    settings: TransformerSettings,
    tell: Callable[[str], None],
) -> Any:
    from transformers import PrinterCallback, Trainer

    from shared_router.training.transformer_model import Collator, StepTeller, example_rows

    trainer = Trainer(
        model=classifier,
        args=_arguments(folder, settings, len(train[0])),
        data_collator=Collator(pad_id),
        train_dataset=example_rows(*train),
        eval_dataset=example_rows(*validation),
        compute_metrics=_spearman,
        callbacks=[StepTeller(tell)],
    )
    # it writes every log to standard output
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(folder: Path, settings: TransformerSettings, rows: int) -> Any:
    import torch
    from transformers import TrainingArguments

    cuda = torch.cuda.is_available()
    device_batch = min(settings.device_batch_size, settings.batch_size)
    strategy = "epoch" if settings.checkpoint_steps is None else "steps"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        optim="adafactor",
        max_grad_norm=settings.max_grad_norm,
        per_device_train_batch_size=device_batch,
        per_device_eval_batch_size=device_batch,
        fp16=cuda,
        # without a GPU, processes that were started together find each other only if they are told to stay on the CPU
        use_cpu=not cuda and int(os.environ.get("WORLD_SIZE", "1")) > 1,
        seed=settings.seed,
        eval_strategy=strategy,
        save_strategy=strategy,
        eval_steps=settings.checkpoint_steps,
        save_steps=settings.checkpoint_steps or 500,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="spearman",
        greater_is_better=True,
        logging_steps=LOG_STEPS,
        logging_first_step=True,
        label_names=["labels", "gap"],
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        disable_tqdm=True,
        report_to="none",
        push_to_hub=False,
    )
    devices = int(arguments.world_size) * max(1, int(arguments.n_gpu))
    arguments.gradient_accumulation_steps = max(1, round(settings.batch_size / (device_batch * devices)))
    steps = settings.epochs * math.ceil(rows / (device_batch * devices * arguments.gradient_accumulation_steps))
    # as a number of steps, which all releases understand in the same way
    arguments.warmup_steps = math.ceil(settings.warmup * steps)
    return arguments


def _spearman(evaluated: Any) -> dict[str, float]:
    """The authors' measure of a checkpoint: rank correlation of logit difference and mean quality gap."""
    from scipy import stats

    gap = np.asarray(evaluated.label_ids[1], dtype=np.float64)
    predicted = np.asarray(evaluated.predictions, dtype=np.float64)
    difference = predicted[:, 0] - predicted[:, 1]
    if difference.std() == 0.0 or gap.std() == 0.0:
        # undefined, and worth as much as a guess
        return {"spearman": 0.0}
    return {"spearman": float(stats.spearmanr(difference, gap)[0])}


def _run(base: str, settings: TransformerSettings, train: RouterExamples, validation: RouterExamples) -> dict[str, Any]:
    digest = hashlib.sha256()
    for examples in (train, validation):
        digest.update(json.dumps(examples.texts).encode("ascii"))
        digest.update(examples.labels.astype("<f8").tobytes() + examples.gap.astype("<f8").tobytes())
    return {"base": base, "examples": digest.hexdigest(), **dataclasses.asdict(settings)}


def _checkpoint(folder: Path, run: Mapping[str, Any], *, resume: bool) -> Path | None:
    """The checkpoint to continue from.

    Raises:
        HybridError: The folder holds checkpoints that this call must not continue, or must not overwrite.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    if not resume:
        raise HybridError(
            f"{folder} holds checkpoints of an earlier run; continue it with resume=True (--resume), or give another "
            "folder"
        )
    earlier = _earlier(folder / RUN_FILE)
    changed = sorted(name for name in {*earlier, *run} if earlier.get(name) != run.get(name))
    if changed:
        raise HybridError(
            f"the run in {folder} was begun with other {', '.join(changed)}; resume it with the same, or give another "
            "folder"
        )
    return next((path for path in reversed(found) if _whole(path)), None)


def _checkpoints(folder: Path) -> list[Path]:
    numbered = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in folder.glob("checkpoint-*")]
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered if match)]


def _earlier(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _whole(checkpoint: Path) -> bool:
    """Whether the Trainer had finished writing when it was stopped."""
    return bool(_earlier(checkpoint / STATE_FILE)) and (checkpoint / "model.safetensors").is_file()


def _relocate(checkpoint: Path, folder: Path) -> None:
    """The Trainer remembers the best checkpoint by its whole path, which is another where the folder was moved."""
    state = _earlier(checkpoint / STATE_FILE)
    best = state.get("best_model_checkpoint")
    if isinstance(best, str) and (folder / Path(best).name).is_dir():
        _replace(checkpoint / STATE_FILE, {**state, "best_model_checkpoint": str(folder / Path(best).name)})


def _replace(path: Path, document: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _begin(folder: Path, run: Mapping[str, Any]) -> None:
    """Say in the folder what is trained in it, and take away what a stopped run left half-written."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in _checkpoints(folder):
        if not _whole(path):
            shutil.rmtree(path)
    _replace(folder / RUN_FILE, run)
