"""From battles to a router: what it is worth, what it promises, and what cannot be learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_router.artifact import Artifact
from shared_router.errors import ArtifactFormatError, HybridError, OutcomeError
from shared_router.evaluation.metrics import apgr
from shared_router.knob import NEVER_LARGE, Knob
from shared_router.router import DEFAULT_ROUTER, Router
from shared_router.scorers.query_vectors import FunctionDirections
from shared_router.tables.battles import Battle, battles_from, joined, labels_as_battles
from shared_router.tables.labeled import LabeledPrompt, labeled_from
from shared_router.training.battles import methods
from shared_router.training.battles.factorization import FactorizationSettings
from shared_router.training.battles.few_labels import promised_by_default, promised_by_labels
from shared_router.training.battles.learning import LearnReport, learn_router, paired_again
from shared_router.training.battles.methods import METHODS, LearnSettings, memory_of, split_by_prompt

QUICK = FactorizationSettings(dimensions=16, epochs=4, rate=3e-3)
PAIR = {"small": "little", "large": "maths"}


def quick(method: Any) -> LearnSettings:
    return LearnSettings(method, tiers=8, gamma=1000.0, neighbours=30, factorization=QUICK)


@pytest.fixture(scope="module", params=METHODS)
def report(request: pytest.FixtureRequest, world: Any) -> LearnReport:
    return learn_router(world.battles, **PAIR, settings=quick(request.param))


def difficulty(artifact: Artifact, texts: list[str]) -> np.ndarray:
    return Router.from_artifact(artifact).difficulty(texts)


def test_routing_recovers_the_true_gap(report: LearnReport, world: Any) -> None:
    gap = world.gap(**PAIR)
    assert apgr(difficulty(report.artifact, world.prompts), np.zeros(len(gap)), gap) > 0.7
    assert report.held_out is not None
    told = report.held_out.gain.low > 0.0
    assert ("not significantly" in report.advice) is not told
    # of knn only battles between the two tiers are held out: too few to tell
    assert told is (report.settings is not None and report.settings.method != "knn")
    assert told is (report.held_out.loss < report.held_out.constant_loss)
    assert (report.battles, report.models, report.ties) == (4000, 8, world.battles.ties)
    assert report.win_rate == pytest.approx(0.5 + gap.mean(), abs=0.08)


def test_what_is_saved_serves(report: LearnReport, world: Any, tmp_path: Path) -> None:
    saved = report.artifact.save(tmp_path / "r")
    router = Router.load(tmp_path / "r")
    texts = world.prompts[:50]
    assert router.difficulty(texts).tolist() == difficulty(report.artifact, texts).tolist()
    hard, easy = router.route_many(
        ["integral prime matrix theorem", "holiday recipe music garden"], [Knob("large_share", 0.5)] * 2
    )
    assert (hard.target, easy.target) == ("large", "small")
    assert not hard.calibrated
    assert saved.metadata["method"] == report.settings.method  # type: ignore[union-attr]


def test_without_labels_the_share_is_kept_on_prompts_like_those_of_the_battles(report: LearnReport, world: Any) -> None:
    scores = difficulty(report.artifact, world.prompts)
    curve = report.artifact.curve
    for threshold, share in list(zip(curve.thresholds, curve.large_share, strict=True))[::20]:
        assert (scores >= threshold).mean() == pytest.approx(share, abs=0.15)
    assert (curve.thresholds[0], curve.thresholds[-1]) == (NEVER_LARGE, 0.0)
    assert not report.artifact.own_pair
    assert "Not calibrated" in report.advice


def test_another_pair_needs_no_training(report: LearnReport, world: Any) -> None:
    again = paired_again(report.artifact, small="chatty", large="coder", name="other")
    gap = world.gap("chatty", "coder")
    assert apgr(difficulty(again.artifact, world.prompts), np.zeros(len(gap)), gap) > 0.7
    assert again.artifact.name == "other"
    assert again.settings is None
    assert again.held_out is None
    for pair, what in {("giant", "tiny"): "preferred to 'giant' only", ("giant", "giant"): "both 'giant'"}.items():
        with pytest.raises(OutcomeError, match=what):
            paired_again(report.artifact, small=pair[0], large=pair[1])
    with pytest.raises(OutcomeError, match="knows no model 'gaint'"):
        paired_again(report.artifact, small="tiny", large="gaint")


def test_same_seed_same_router(world: Any) -> None:
    some = world.battles.part(np.arange(600))
    settings = replace(quick("mf"), factorization=replace(QUICK, epochs=1))
    first, second = (learn_router(some, **PAIR, settings=settings, seed=3) for _ in range(2))
    texts = world.prompts[:20]
    assert difficulty(first.artifact, texts).tolist() == difficulty(second.artifact, texts).tolist()
    other = learn_router(some, **PAIR, settings=settings, seed=4)
    assert difficulty(other.artifact, texts).tolist() != difficulty(first.artifact, texts).tolist()


def test_labels_calibrate_and_are_not_learned_from(world: Any, make: Any) -> None:
    labeled = make.labels(100, **PAIR)
    leaked = joined([world.battles, labels_as_battles(labeled, *PAIR.values(), weight=50.0)])
    report = learn_router(leaked, **PAIR, settings=quick("mf"), labels=labeled)
    assert report.left_out == 100
    assert report.labels is not None
    assert report.labels.labels == 100
    assert report.labels.follows
    assert report.labels.apgr.low > 0.5
    assert report.labels.over_length.estimate > 0.0
    assert report.artifact.own_pair
    assert report.artifact.calibration_set is not None
    assert Router.from_artifact(report.artifact).route("integral prime matrix").calibrated
    short = labeled.small < labeled.large
    assert difficulty(report.artifact, list(labeled.prompts)).mean() == pytest.approx(short.mean(), abs=0.03)
    assert "significantly better than guessing" in report.advice


def test_labels_against_the_battles_set_the_level_only(world: Any, make: Any) -> None:
    labeled = make.labels(60, **PAIR)
    turned = replace(labeled, small=1.0 - labeled.large, large=1.0 - labeled.small)
    hard = np.array(["integral" in text or "matrix" in text or "prime" in text for text in labeled.prompts])
    against = replace(turned, small=np.where(hard, 1.0, 0.0), large=np.ones(60))
    report = learn_router(world.battles, **PAIR, settings=quick("mf"), labels=against)
    assert report.labels is not None
    assert not report.labels.follows
    assert "use another router" in report.advice
    scores = difficulty(report.artifact, list(against.prompts))
    assert scores.mean() == pytest.approx((against.small < against.large).mean(), abs=0.03)
    # the order is still the battles'
    texts = ["integral prime matrix theorem", "holiday recipe music garden"]
    assert np.diff(difficulty(report.artifact, texts))[0] < 0.0


def test_too_few_labels_and_labels_without_a_gap_are_refused(world: Any, make: Any) -> None:
    labeled = make.labels(60, **PAIR)
    scorer = Router.from_artifact(Artifact.load(DEFAULT_ROUTER))._difficulty.scorer  # type: ignore[attr-defined]
    with pytest.raises(OutcomeError, match="19 different labelled prompts; 20 are the least"):
        promised_by_labels(scorer, labeled.part(range(19)))
    with pytest.raises(OutcomeError, match="no better than the small one"):
        promised_by_labels(scorer, replace(labeled, small=np.ones(60)))


def test_twenty_labels_of_which_all_fall_short_are_enough(world: Any) -> None:
    prompts = world.prompts[:20]
    labeled = labeled_from([LabeledPrompt(prompt, (0.0,), (1.0,)) for prompt in prompts])
    report = learn_router(world.battles, **PAIR, settings=quick("sw"), labels=labeled)
    assert report.labels is not None
    assert difficulty(report.artifact, prompts).mean() == pytest.approx(21 / 22, abs=0.02)


def test_a_constant_score_still_makes_a_curve() -> None:
    promised = promised_by_default(np.zeros(30))
    assert promised.curve.large_share == (0.0, 1.0)
    assert promised.curve.quality == (0.0, 1.0)


def test_noise_is_called_noise(make: Any) -> None:
    generator = np.random.default_rng(1)
    rows = [
        replace(row, won=float(generator.random() < (0.8 if row.first == "giant" else 0.2)))
        for row in make.rows(1500, models=("giant", "tiny"))
    ]
    report = learn_router(battles_from(rows), small="tiny", large="giant", settings=quick("mf"))
    assert report.held_out is not None
    assert report.held_out.gain.low < 0.0
    assert "not significantly better than the models' names" in report.advice


def test_two_models_are_enough(make: Any) -> None:
    battles = make.battles(1500, models=("little", "maths"))
    for method in METHODS:
        report = learn_router(battles, **PAIR, settings=quick(method))
        texts = ["integral prime matrix theorem", "holiday recipe music garden"]
        assert np.diff(difficulty(report.artifact, texts))[0] < 0.0


def test_an_interchanged_pair_is_refused(world: Any) -> None:
    with pytest.raises(OutcomeError, match="'tiny' is preferred to 'giant' only"):
        learn_router(world.battles, small="giant", large="tiny", settings=quick("mf"))


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(HybridError, match=r"unknown method 'knm'; did you mean 'knn'\? \(there are: mf, sw, knn\)"):
        LearnSettings("knm")  # type: ignore[arg-type]
    with pytest.raises(OutcomeError, match="tiers ≥ 2"):
        LearnSettings(tiers=1)


def test_a_function_as_encoder_can_be_measured_but_not_saved(world: Any) -> None:
    words = FunctionDirections(lambda texts: np.array([["integral" in text, 1.0] for text in texts], dtype=float))
    with pytest.raises(ArtifactFormatError, match="a function cannot be written"):
        learn_router(world.battles, **PAIR, settings=quick("sw"), encoder=words)


def test_a_router_of_one_pair_has_no_other_pair() -> None:
    with pytest.raises(OutcomeError, match="was not learned from battles"):
        paired_again(Artifact.load(DEFAULT_ROUTER), small="a", large="b")


def test_a_new_model_joins_a_router_by_its_battles(world: Any, make: Any) -> None:
    known = learn_router(
        make.battles(3000, models=tuple(name for name in make.models if name != "coder")),
        small="little",
        large="giant",
        settings=quick("mf"),
    ).artifact
    few = make.battles(150, 3, must="coder")
    again = paired_again(known, small="chatty", large="coder", battles=few)
    gap = world.gap("chatty", "coder")
    assert again.models == 8
    assert apgr(difficulty(again.artifact, world.prompts), np.zeros(len(gap)), gap) > 0.7
    with pytest.raises(OutcomeError, match="knows no model 'coder'"):
        paired_again(known, small="chatty", large="coder")
    ranked = learn_router(world.battles, **PAIR, settings=quick("sw")).artifact
    with pytest.raises(OutcomeError, match="only one of the method mf can be taught"):
        paired_again(ranked, small="chatty", large="newcomer", battles=few)


def test_parts_share_no_prompt(world: Any) -> None:
    twice = joined([world.battles, world.battles])
    learned, held_out = split_by_prompt(twice, 0)
    assert not set(learned.prompt.tolist()) & set(held_out.prompt.tolist())
    assert len(learned) + len(held_out) == len(twice)
    assert len(np.unique(held_out.prompt)) == 200
    few = split_by_prompt(world.battles.part(np.arange(120)), 0)[1]
    assert len(few) == 24


def test_a_memory_is_bounded(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "MAX_BATTLES", 50)
    directions = np.zeros((len(world.battles.prompts), 2), dtype=np.int8)
    kept = memory_of(world.battles, directions)
    assert (len(kept.prompt), len(kept.directions)) == (50, 50)
    assert kept.prompt.max() == 49


def test_judges_weigh_what_they_are_told_to(make: Any) -> None:
    honest = make.battles(1200, models=("little", "maths"))
    rows = [
        replace(row, prompt=f"{row.prompt} again", won=1.0 - row.won)
        for row in make.rows(1200, models=("little", "maths"))
    ]
    texts = ["integral prime matrix theorem", "holiday recipe music garden"]
    steps = []
    for weight in (0.01, 0.9):
        liars = battles_from([replace(row, weight=weight, source="judge") for row in rows])
        report = learn_router(joined([honest, liars]), **PAIR, settings=quick("knn"))
        steps.append(-np.diff(difficulty(report.artifact, texts))[0])
    assert steps[0] > 0.5
    assert steps[1] < steps[0] - 0.2


def test_rows_made_of_one_battle_are_too_few() -> None:
    with pytest.raises(OutcomeError, match="1 usable battles"):
        learn_router(battles_from([Battle("a prompt", "little", "maths", 0.0)]), **PAIR)
