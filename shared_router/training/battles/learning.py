"""Battles → an artifact that serves a pair of their models, and a report that says what the prompts' text told.

battles → split by prompt → fit → held-out battles: with the text, without it → fit on all → calibration → artifact
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shared_router.artifact import Artifact
from shared_router.errors import OutcomeError
from shared_router.records import JSON
from shared_router.scorers import scorer_class
from shared_router.scorers.bradley_terry import sigmoid
from shared_router.scorers.matrix_factorization import MatrixFactorizationScorer
from shared_router.scorers.query_vectors import QueryEncoder, StaticDirections
from shared_router.tables.battles import Battles, comparable, model_place, without_prompts
from shared_router.tables.labeled import LabeledPrompts
from shared_router.training.battles.few_labels import LabelResult, Promised, promised_by_default, promised_by_labels
from shared_router.training.battles.methods import (
    LEARNERS,
    SAMPLE,
    BattleScorer,
    HeldOut,
    LearnSettings,
    lesson_of,
    overall_ratings,
)
from shared_router.training.battles.new_models import with_new_model
from shared_router.training.fast_heads import embedded_scorer

__all__ = ["LearnReport", "learn_router", "paired_again"]


@dataclass(frozen=True, slots=True)
class LearnReport:
    """What came of learning.

    Attributes:
        settings: How it was learned; None where a router that was learned before serves another pair.
        battles: Battles that were learned from, held-out ones included; 0 where nothing was learned.
        prompts: Different prompts among them.
        models: Models that the router knows.
        ties: Battles that nobody won.
        left_out: Battles left out because their prompts stand among the labels.
        win_rate: How often the large model is preferred to the small one, whatever is asked; a tie is half.
        held_out: What the prompts' text told; None where there was nothing to measure it on.
        labels: How the router did on labels of the pair; None without labels.
        advice: In sentences.
        artifact: What to save.
    """

    settings: LearnSettings | None
    battles: int
    prompts: int
    models: int
    ties: int
    left_out: int
    win_rate: float
    held_out: HeldOut | None
    labels: LabelResult | None
    advice: str
    artifact: Artifact


def learn_router(
    battles: Battles,
    *,
    small: str,
    large: str,
    settings: LearnSettings | None = None,
    labels: LabeledPrompts | None = None,
    encoder: QueryEncoder | None = None,
    seed: int = 0,
    name: str = "learned",
    advance: Callable[[str], None] | None = None,
) -> LearnReport:
    """Learn a router from battles.

    Args:
        battles: Of any models, the pair among them.
        small: Name of the small model.
        large: Name of the large model.
        settings: Method and its settings.
        labels: Labelled prompts of the pair, to calibrate on; battles over the same prompts are left out.
        encoder: Texts → directions; the embedded default's if not given.
        seed: Same battles and seed, same router.
        name: The router's name, which stands in every decision.
        advance: Told the title of each step before it begins.

    Raises:
        OutcomeError: The battles or labels cannot teach a router of this pair; the message says why.
        ArtifactFormatError: The encoder cannot be written into an artifact.
    """
    settings = settings or LearnSettings()
    tell = advance or (lambda title: None)
    encoder = encoder or StaticDirections(embedded_scorer().encoder)
    kept = battles if labels is None else without_prompts(battles, labels.prompts)
    rated = overall_ratings(comparable(kept, small, large))
    places = model_place(kept.models, small), model_place(kept.models, large)
    win_rate = float(sigmoid(rated[places[1]] - rated[places[0]]))
    if win_rate <= 0.5:
        raise OutcomeError(
            f"over all battles {large!r} is preferred to {small!r} only {win_rate:.0%} of the time (a tie is half): "
            "use the small model alone, or check that the two are not interchanged"
        )
    tell("reading prompts")
    directions = encoder.directions(kept.prompts)
    lesson = lesson_of(kept, directions, encoder, (small, large), seed)
    scorer, held_out = LEARNERS[settings.method](lesson, settings, tell)
    tell("calibrating")
    promised = _promised(scorer, labels, seed)
    report = LearnReport(
        settings=settings,
        battles=len(kept),
        prompts=len(np.unique(kept.prompt)),
        models=len(kept.models),
        ties=kept.ties,
        left_out=len(battles) - len(kept),
        win_rate=win_rate,
        held_out=held_out,
        labels=promised.result,
        advice=_advice(held_out, promised.result),
        artifact=_artifact(scorer, promised, name),
    )
    return _described(report, seed)


def paired_again(
    artifact: Artifact,
    *,
    small: str,
    large: str,
    battles: Battles | None = None,
    labels: LabeledPrompts | None = None,
    seed: int = 0,
    name: str | None = None,
) -> LearnReport:
    """A router that was learned before, for another pair of the models it knows. Nothing is trained again.

    A model that it does not know is added first, if it was learned by matrix factorisation and there are battles of
    the model (see ``with_new_model``).

    Args:
        artifact: From ``learn_router``.
        small: Name of the small model.
        large: Name of the large model.
        battles: Battles of models that the router does not know; not looked at otherwise.
        labels: Labelled prompts of the pair, to calibrate on.
        seed: Of the bootstrap.
        name: A name for the new router; None for the old one's.

    Raises:
        OutcomeError: The router was not learned from battles, knows no such model, or holds the large one for weaker.
    """
    scorer = scorer_class(artifact.scorer_kind).from_state(artifact.scorer_config, artifact.tensors)
    if not isinstance(scorer, BattleScorer):
        raise OutcomeError(
            f"the router {artifact.name!r} ({artifact.scorer_kind}) was not learned from battles: it serves one pair"
        )
    if small == large:
        raise OutcomeError(f"small and large are both {small!r}; a router chooses between two models")
    left_out = 0
    if battles is not None:
        kept = battles if labels is None else without_prompts(battles, labels.prompts)
        left_out = len(battles) - len(kept)
        scorer = _with_unknown(scorer, (small, large), kept)
    scorer = scorer.for_pair(small, large)
    win_rate = float(sigmoid(scorer.score_directions(_sampled(scorer, seed))).mean())
    if win_rate <= 0.5:
        raise OutcomeError(
            f"{large!r} is preferred to {small!r} only {win_rate:.0%} of the time (a tie is half): use the small "
            "model alone, or check that the two are not interchanged"
        )
    promised = _promised(scorer, labels, seed)
    report = LearnReport(
        settings=None,
        battles=0,
        prompts=0,
        models=len(scorer.models),
        ties=0,
        left_out=left_out,
        win_rate=win_rate,
        held_out=None,
        labels=promised.result,
        advice=_advice(None, promised.result),
        artifact=_artifact(scorer, promised, name or artifact.name),
    )
    return _described(report, seed, {"learned_as": dict(artifact.metadata)})


def _with_unknown(scorer: BattleScorer, pair: tuple[str, str], battles: Battles) -> BattleScorer:
    for model in pair:
        if model in scorer.models:
            continue
        if not isinstance(scorer, MatrixFactorizationScorer):
            raise OutcomeError(
                f"the router does not know {model!r}, and only one of the method mf can be taught a model afterwards; "
                "learn it again from all battles"
            )
        scorer = with_new_model(scorer, model, battles)
    return scorer


def _sampled(scorer: BattleScorer, seed: int) -> npt.NDArray[np.int8]:
    directions = scorer.sample_directions()
    return directions[np.random.default_rng(seed).permutation(len(directions))[:SAMPLE]]


def _promised(scorer: BattleScorer, labels: LabeledPrompts | None, seed: int) -> Promised:
    if labels is not None:
        return promised_by_labels(scorer, labels, seed=seed)
    return promised_by_default(scorer.score_directions(_sampled(scorer, seed)))


def _advice(held_out: HeldOut | None, labels: LabelResult | None) -> str:
    said = []
    if held_out is not None and held_out.gain.low <= 0.0:
        said.append(
            "On held-out battles the text of a prompt foretells the winner not significantly better than the models' "
            "names do: do not expect much of this router."
        )
    if labels is None:
        said.append(
            "Not calibrated: what a share of calls keeps is the embedded default's figure, not your pair's. Label 20 "
            "to 100 prompts of your own and give them as --labels."
        )
    elif not labels.follows:
        said.append(
            "On your labels a higher score does not mean that the small model falls short more often: use another "
            "router, or label more prompts."
        )
    elif labels.apgr.low <= 0.5:
        said.append("On your labels the router is not significantly better than guessing; more labels would tell.")
    else:
        said.append("On your labels the router is significantly better than guessing.")
    return " ".join(said)


def _artifact(scorer: BattleScorer, promised: Promised, name: str) -> Artifact:
    config, tensors = scorer.to_state()
    return Artifact(
        name=name,
        scorer_kind=scorer.kind,
        scorer_config=config,
        tensors=tensors,
        calibration=promised.calibration,
        curve=promised.curve,
        own_pair=promised.own_pair,
        calibration_set=promised.calibration_set,
    )


def _described(report: LearnReport, seed: int, more: dict[str, JSON] | None = None) -> LearnReport:
    config = report.artifact.scorer_config
    facts: dict[str, JSON] = {
        "small": config["small"],
        "large": config["large"],
        "win_rate": report.win_rate,
        "seed": seed,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        **(more or {}),
    }
    if report.settings is not None:
        counts = {"battles": report.battles, "prompts": report.prompts, "models": report.models, "ties": report.ties}
        facts |= {"method": report.settings.method, **counts}
    if report.held_out is not None:
        held = report.held_out
        facts["held_out"] = {
            "battles": held.battles,
            "log_loss": held.loss,
            "constant_log_loss": held.constant_loss,
            "gain_low": held.gain.low,
            "gain_high": held.gain.high,
        }
    if report.labels is not None:
        apgr = report.labels.apgr
        facts["labels"] = {
            "count": report.labels.labels,
            "apgr": apgr.estimate,
            "low": apgr.low,
            "high": apgr.high,
        }
    return replace(report, artifact=replace(report.artifact, metadata=facts))
