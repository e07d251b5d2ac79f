"""Labelled answers make a cascade that both plug-ins load: what is learned, held out, promised and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_hybrid import HybridChatModel, decision_of
from langchain_hybrid.testing import ScriptedChatModel
from shared_router import Artifact, Knob, KnobError, Router
from shared_router.cascade import Cascade, CascadeDecider
from shared_router.deciding import Decider, RoutingRequest
from shared_router.errors import ArtifactFormatError, OutcomeError
from shared_router.evaluation.metrics import apgr
from shared_router.testing import table_router
from shared_router.training.answers import (
    answer_lesson,
    answers_out_of_fold,
    fit_answers,
    fitted_answers,
    fitted_measure,
)
from shared_router.uncertainty import Evidence

GOOD = "The total is computed step by step. The answer is {}."
BAD = "I am not sure, maybe it is {}? It is hard to say, perhaps"


def answered(n: int, seed: int = 0) -> tuple[list[str], list[str], Any, Any]:
    """Queries that tell nothing, and answers that hedge where they are wrong, mostly."""
    draw = np.random.default_rng(seed)
    short = draw.random(n) < 0.4
    shows = np.where(draw.random(n) < 0.9, short, ~short)
    answers = [(BAD if bad else GOOD).format(i) for i, bad in enumerate(shows)]
    return [f"question {i} of many" for i in range(n)], answers, (~short).astype(float), np.ones(n)


@pytest.fixture(scope="module")
def fitted() -> Artifact:
    return fit_answers(*answered(400), name="hedging")


def test_what_answers_show_is_learned_and_queries_do_not_show_it() -> None:
    queries, answers, small, large = answered(300)
    raw = answers_out_of_fold(answer_lesson(queries, answers, small, large))
    # nine of ten answers show it: no score can recover much more
    assert apgr(raw, small, large) > 0.72
    shuffled = answer_lesson(queries, answers[1:] + answers[:1], small, large)
    assert apgr(answers_out_of_fold(shuffled), small, large) < 0.65


def test_a_lesson_scores_as_its_scorer_does() -> None:
    queries, answers, small, large = answered(120)
    lesson = answer_lesson(queries, answers, small, large)
    scorer = fitted_answers(lesson)
    assert scorer.score(queries, answers).tolist() == pytest.approx(lesson.raw(scorer.weights).tolist(), abs=1e-6)
    part = lesson.part(np.arange(10, 50))
    assert part.raw(scorer.weights).tolist() == pytest.approx(lesson.raw(scorer.weights)[10:50].tolist(), abs=1e-9)


def test_a_fitted_cascade_is_loaded_and_tells_bad_answers(fitted: Artifact, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    cascade = Cascade.load(tmp_path)
    good, bad = (cascade.uncertainty(Evidence("question 7 of many", text.format(7))) for text in (GOOD, BAD))
    assert good < 0.3 < 0.6 < bad
    assert cascade.cascade_id.startswith("hedging@")
    assert cascade.draws == 1
    assert not cascade.reads_tokens


def test_its_promises_are_certified_on_what_was_held_out(fitted: Artifact) -> None:
    cascade = Cascade.from_artifact(fitted)
    assert cascade.calibration_set is not None
    assert len(cascade.calibration_set) == 160
    point = cascade.operating_point(Knob("quality", 0.5, 0.9))
    assert point.certificate == "certified"
    assert point.large_share is not None
    assert 0.2 < point.large_share < 0.9


def test_it_serves_a_model_without_log_probabilities(fitted: Artifact, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    for text, target in ((GOOD, "small"), (BAD, "large")):
        model = HybridChatModel(
            small=ScriptedChatModel(answers=[text.format(7)]),
            large=ScriptedChatModel(),
            policy="cascade",
            uncertainty=str(tmp_path),
            quality=0.9,
        )
        decision = decision_of(model.invoke("question 7 of many"))
        assert decision is not None
        assert (decision["target"], decision["calibrated"]) == (target, True)


def test_same_data_and_seed_same_cascade(fitted: Artifact, tmp_path: Path) -> None:
    again = fit_answers(*answered(400), name="hedging")
    assert fitted.save(tmp_path / "one").content_hash == again.save(tmp_path / "other").content_hash


def test_queries_of_one_group_stay_together() -> None:
    queries, answers, small, large = answered(200)
    groups = np.repeat(np.arange(100), 2)
    # the held-out set has whole groups: an even number of rows
    artifact = fit_answers(queries, answers, small, large, groups=groups, held_out=0.5)
    assert artifact.metadata["measured_on"] == 100


# ── measures ──


def measured(n: int = 400, seed: int = 0) -> tuple[Any, Any, Any]:
    draw = np.random.default_rng(seed)
    uncertainty = draw.random(n)
    return uncertainty, (draw.random(n) > uncertainty**2).astype(float), np.ones(n)


def test_a_measure_is_calibrated_on_labels(tmp_path: Path) -> None:
    fitted_measure("self_consistency", *measured(), samples=7).save(tmp_path)
    cascade = Cascade.load(tmp_path)
    assert (cascade.measure, cascade.samples, cascade.draws) == ("self_consistency", 7, 7)
    agreed = cascade.uncertainty(Evidence("q", "a", samples=("a",) * 7))
    split = cascade.uncertainty(Evidence("q", "a", samples=tuple("abcdefg")))
    # P(short) is the square of what was measured
    assert agreed < 0.15
    assert split == pytest.approx((6 / 7) ** 2, abs=0.2)
    assert cascade.operating_point(Knob("quality", 0.5, 0.9)).certificate == "certified"


def test_a_router_before_it_takes_part_in_its_promises(tmp_path: Path) -> None:
    uncertainty, small, large = measured()
    difficulty = np.where(np.arange(400) < 100, 0.95, 0.2)
    settings = {"difficulty": difficulty, "route_threshold": 0.9}
    fitted_measure("mean_logprob", uncertainty, small, large, **settings).save(tmp_path)
    cascade = Cascade.load(tmp_path)
    assert cascade.route_threshold == 0.9
    assert cascade.calibration_set is not None
    assert (cascade.calibration_set.difficulty[:100] == 1.0).all()
    decider = CascadeDecider(Decider(table_router()), cascade, 0.9)
    assert decider.decide([RoutingRequest("x", Knob("quality", 0.5))])[0].reason == "cascade"
    with pytest.raises(KnobError, match=r"route_threshold=0\.9"):
        CascadeDecider(Decider(table_router()), cascade, 0.5).decide([RoutingRequest("x", Knob("quality", 0.5))])
    model = HybridChatModel(
        small=ScriptedChatModel(), large=ScriptedChatModel(), router=table_router(),
        policy="route_then_cascade", uncertainty=cascade, quality=0.5,
    )  # fmt: skip
    assert model._decider.route_threshold == 0.9  # type: ignore[union-attr]


# ── what is refused ──


def test_what_cannot_teach_is_refused() -> None:
    queries, answers, small, large = answered(120)
    with pytest.raises(OutcomeError, match="one length"):
        answer_lesson(queries, answers[1:], small, large)
    with pytest.raises(OutcomeError, match="NaN"):
        answer_lesson(queries, answers, np.full(120, np.nan), large)
    with pytest.raises(OutcomeError, match="use the small model"):
        fitted_answers(answer_lesson(queries, answers, large, small))
    with pytest.raises(OutcomeError, match="fewer than 50"):
        fit_answers(queries, answers, small, large)
    with pytest.raises(OutcomeError, match="no measure"):
        fitted_measure("vibes", *measured())  # type: ignore[arg-type]
    with pytest.raises(OutcomeError, match=r"lies in \[0, 1\]"):
        fitted_measure("entropy", 2.0 * measured()[0], *measured()[1:])
    with pytest.raises(OutcomeError, match="one shape"):
        fitted_measure("entropy", *measured(20))
    with pytest.raises(OutcomeError, match="go together"):
        fitted_measure("entropy", *measured(), route_threshold=0.9)


def test_a_router_is_no_cascade_and_a_cascade_no_router(fitted: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ArtifactFormatError, match="router="):
        Cascade.from_artifact(Artifact.load(Path("shared_router/default_router")))
    fitted.save(tmp_path)
    with pytest.raises(ArtifactFormatError, match="no scorer 'answer_linear'"):
        Router.load(tmp_path)
