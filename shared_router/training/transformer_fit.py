"""Labelled prompts of one's own pair → the paper's router as an artifact, and what it is worth.

    labelled prompts ┬ learned from → soft labels → fine-tuned encoder ┐
                     ├ validation → best checkpoint ───────────────────┴→ ONNX → calibration → artifact
                     └ held out, if wished → calibration, curve, certificates instead

Without a part that is held out, calibration and curve are measured on the validation prompts, as the paper's threshold
is (§4.5). Those taught nothing but chose one of a handful of checkpoints, so that nothing is certified on them.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared_router.artifact import Artifact
from shared_router.calibration import LogisticCalibrator
from shared_router.errors import OutcomeError
from shared_router.evaluation.metrics import Interval, paired_bootstrap
from shared_router.records import JSON
from shared_router.tables.labeled import LabeledPrompts, teachable
from shared_router.training.calibrating import own_set
from shared_router.training.fit_own import held_out_rows, own_calibrator, own_curve
from shared_router.training.soft_labels import LabelKind, examples_from, relaxation
from shared_router.training.transformer_export import ExportedTransformer, Parity, exported
from shared_router.training.transformer_router import (
    PAPER_ENCODER,
    TrainedTransformer,
    TransformerSettings,
    train_transformer,
)

__all__ = ["TransformerParts", "TransformerReport", "fit_transformer", "transformer_parts"]

Floats = npt.NDArray[np.float64]

VALIDATION = 0.2
"""Share of the prompts that chooses the checkpoint where the user does not say."""

RESAMPLES = 1000

PARITY_TEXTS = 256
"""Prompts on which the exported network is compared; more take longer and find nothing new."""

LICENCE_NOTE = "the weights derive from the encoder: its licence holds for them, look it up before passing them on"


@dataclass(frozen=True, slots=True)
class TransformerParts:
    """What each prompt is for.

    Attributes:
        learned: What the encoder learns from.
        validation: What chooses the checkpoint.
        measured: What calibration and curve are measured on: the prompts held out, or else the validation prompts.
        held_out: Whether ``measured`` is held out.
    """

    learned: LabeledPrompts
    validation: LabeledPrompts
    measured: LabeledPrompts
    held_out: bool


@dataclass(frozen=True, slots=True, eq=False)
class TransformerReport:
    """What came of training.

    Attributes:
        parts: What each prompt was for.
        kind: Kind of the labels.
        t: The relaxation t* of "trans" labels, else 0, in units of quality.
        collapsed: Whether t* left the labels as "prob" has them.
        trained: The network.
        served: The network as it is served.
        apgr: Average performance gap recovered on the prompts that were measured, with its 95 % interval; 0.5 is
            guessing. On validation prompts somewhat too good: they chose the checkpoint.
        over_length: APGR less that of prompt length, with the paired 95 % interval.
        artifact: What to save.
    """

    parts: TransformerParts
    kind: LabelKind
    t: float
    collapsed: bool
    trained: TrainedTransformer
    served: ExportedTransformer
    apgr: Interval
    over_length: Interval
    artifact: Artifact


def transformer_parts(
    labeled: LabeledPrompts, *, validation: float = VALIDATION, held_out: float = 0.0, seed: int = 42
) -> TransformerParts:
    """Split labelled prompts, whole groups at a time (a column ``group``, or else the same words).

    Args:
        labeled: n prompts.
        validation: Share that chooses the checkpoint, of what is not held out, in (0, 1).
        held_out: Share that is held out, in [0, 1).
        seed: Same seed, same parts.

    Raises:
        OutcomeError: A share out of range, or a part too small.
    """
    if not 0.0 < validation < 1.0:
        raise OutcomeError(f"the share of validation prompts lies in (0, 1), got {validation!r}")
    apart = held_out_rows(labeled, held_out, seed)
    rest = labeled.part(np.setdiff1d(np.arange(len(labeled)), apart))
    # another seed: with the same one the second draw would follow the first
    checks = held_out_rows(rest, validation, seed + 1)
    learned, checked = rest.part(np.setdiff1d(np.arange(len(rest)), checks)), rest.part(checks)
    measured = labeled.part(apart) if len(apart) else checked
    return TransformerParts(learned, checked, measured, bool(len(apart)))


def fit_transformer(
    labeled: LabeledPrompts,
    *,
    output_dir: str | os.PathLike[str],
    base: str | os.PathLike[str] = PAPER_ENCODER,
    kind: LabelKind = "prob",
    settings: TransformerSettings | None = None,
    validation: float = VALIDATION,
    held_out: float = 0.0,
    quality_range: tuple[float, float] | None = None,
    quantise: bool = True,
    resume: bool = False,
    name: str = "own",
    advance: Callable[[str], None] | None = None,
) -> TransformerReport | None:
    """Train the paper's router for one's own pair of models.

    Args:
        labeled: Prompts with the quality of both models' answers; several samples a prompt make soft labels.
        output_dir: Folder of the checkpoints.
        base: A model of the Hugging Face hub, or a folder.
        kind: "det", "prob" or "trans".
        settings: None for the paper's.
        validation: Share of the prompts that chooses the checkpoint, of what is not held out.
        held_out: Share of the prompts on which calibration and curve are measured and promises can be certified; with 0
            the validation prompts serve for the first two and nothing is certified.
        quality_range: Lowest and highest quality that can occur, for certificates; None for 0 to 1 if all lie in it.
        quantise: Whether to serve int8 where it agrees with the trained network.
        resume: Continue a run that was stopped.
        name: The router's name, which stands in every decision.
        advance: Told the title of each step before it begins.

    Returns:
        The report; None in a process that only helped to train.

    Raises:
        HybridError: The encoder cannot be used, or ``output_dir`` holds another run's checkpoints.
        MissingExtraError: A library is not installed.
        OutcomeError: The prompts cannot teach a router, or the encoder has learned nothing.
    """
    settings = settings or TransformerSettings()
    tell = advance or (lambda title: None)
    parts = transformer_parts(teachable(labeled), validation=validation, held_out=held_out, seed=settings.seed)
    _measurable(parts, quality_range)
    tell("labels")
    t = relaxation(parts.learned, kind)
    train = examples_from(parts.learned, kind, t)
    if np.ptp(train.labels) == 0.0:
        raise OutcomeError(
            f"every {kind!r} label is {train.labels[0]:g}, which leaves nothing to learn; "
            'take labels "trans", which are made for this case'
        )
    trained = train_transformer(
        train,
        examples_from(parts.validation, kind, t),
        output_dir=output_dir,
        base=base,
        settings=settings,
        resume=resume,
        advance=advance,
    )
    if not trained.main_process:
        return None
    tell("exporting")
    served = exported(trained, parts.measured.prompts[:PARITY_TEXTS], quantise=quantise)
    tell("measuring")
    raw = served.scorer.score(parts.measured.prompts)
    report = TransformerReport(
        parts=parts,
        kind=kind,
        t=t,
        collapsed=kind == "trans"
        and bool(np.array_equal(train.labels, examples_from(parts.learned, "prob", 0.0).labels)),
        trained=trained,
        served=served,
        apgr=_shifted(_lead(raw, np.zeros(len(raw)), parts.measured, settings.seed), 0.5),
        over_length=_lead(raw, _lengths(parts.measured), parts.measured, settings.seed),
        artifact=_artifact(raw, parts, served, quality_range, name),
    )
    metadata = _metadata(report, base)
    return dataclasses.replace(report, artifact=dataclasses.replace(report.artifact, metadata=metadata))


def _measurable(parts: TransformerParts, quality_range: tuple[float, float] | None) -> None:
    """Fails before the training where what is measured after it could not be used."""
    measured = parts.measured
    places = np.linspace(0.0, 1.0, len(measured))
    own_curve(places, measured.small, measured.large, LogisticCalibrator(1.0, 0.0))
    if parts.held_out:
        own_set(places, measured.small, measured.large, quality_range)


def _lead(raw: Floats, other: Floats, measured: LabeledPrompts, seed: int) -> Interval:
    return paired_bootstrap(raw, other, [measured.small], [measured.large], resamples=RESAMPLES, seed=seed)


def _shifted(interval: Interval, by: float) -> Interval:
    # a constant has an APGR of exactly 0.5
    return Interval(interval.estimate + by, interval.low + by, interval.high + by)


def _lengths(labeled: LabeledPrompts) -> Floats:
    return np.array([float(len(prompt)) for prompt in labeled.prompts])


def _artifact(
    raw: Floats,
    parts: TransformerParts,
    served: ExportedTransformer,
    quality_range: tuple[float, float] | None,
    name: str,
) -> Artifact:
    small, large = parts.measured.small, parts.measured.large
    try:
        calibration = own_calibrator(raw, small, large)
    except OutcomeError as error:
        raise OutcomeError(
            f"the encoder has learned nothing that holds for the {len(raw)} prompts kept for measuring ({error}); "
            "train longer or at a higher rate, label more prompts, or use `hybrid-llm fit`, whose heads need fewer"
        ) from error
    config, tensors = served.scorer.to_state()
    difficulty = calibration.probability(raw)
    return Artifact(
        name=name,
        scorer_kind=served.scorer.kind,
        scorer_config=config,
        tensors=tensors,
        calibration=calibration,
        curve=own_curve(raw, small, large, calibration),
        own_pair=True,
        calibration_set=own_set(difficulty, small, large, quality_range) if parts.held_out else None,
    )


def _metadata(report: TransformerReport, base: str | os.PathLike[str]) -> dict[str, JSON]:
    trained, served = report.trained, report.served
    # of a folder its name only: a router does not tell where it was trained
    encoder = Path(base).resolve().name if Path(base).is_dir() else os.fspath(base)
    settings: dict[str, JSON] = dataclasses.asdict(trained.settings)
    spearman: dict[str, JSON] = {str(step): value for step, value in trained.spearman.items()}
    return {
        "method": "transformer",
        "encoder": encoder,
        "licence": LICENCE_NOTE,
        "labels": report.kind,
        "t": report.t,
        "settings": settings,
        "rows": len(report.parts.learned),
        "validation": len(report.parts.validation),
        "measured_on": len(report.parts.measured),
        "held_out": report.parts.held_out,
        "truncated": trained.truncated,
        "spearman": spearman,
        "best_step": trained.best_step,
        "precision": served.scorer.precision,
        "float32_parity": _figures(served.float32),
        "int8_parity": None if served.int8 is None else _figures(served.int8),
        "apgr": {"apgr": report.apgr.estimate, "low": report.apgr.low, "high": report.apgr.high},
        "small_quality": float(report.parts.measured.small.mean()),
        "large_quality": float(report.parts.measured.large.mean()),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _figures(parity: Parity) -> dict[str, JSON]:
    return {"texts": parity.texts, "max_change": parity.max_change, "rank": parity.rank}
