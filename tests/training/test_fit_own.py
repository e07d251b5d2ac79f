"""From labelled prompts to a router whose decisions are calibrated, and to an honest verdict."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from shared_router.errors import HybridError, OutcomeError
from shared_router.knob import Knob
from shared_router.router import Router
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training.fit_own import FitReport, fit_own, own_calibrator, own_curve, simplest

FILLERS = ("river", "table", "green", "seven", "window", "paper", "music", "stone")


def labeled(count: int = 240, seed: int = 0, *, noise: bool = False, large: float = 0.95) -> LabeledPrompts:
    generator = np.random.default_rng(seed)
    hard = generator.random(count) < 0.5
    words = generator.choice(FILLERS, size=(count, 5))
    rows = []
    for i in range(count):
        text = f"{' '.join(words[i])} {'integral' if hard[i] else 'greeting'} {i}"
        chance = 0.5 if noise else 0.15 if hard[i] else 0.85
        small, better = float(generator.random() < chance), float(generator.random() < large)
        rows.append(LabeledPrompt(text, (small,), (better,)))
    return labeled_from(rows)


@pytest.fixture(scope="module")
def report() -> FitReport:
    return fit_own(labeled(), name="toy")


def test_routing_pays_where_words_say_what_is_hard(report: FitReport) -> None:
    assert report.verdict == "routing_pays"
    assert "pays" in report.advice
    assert report.chosen not in {"embedded", "constant"}
    assert [head.name for head in report.heads][:2] == ["length", "embedded"]
    chosen = next(head for head in report.heads if head.name == report.chosen)
    assert chosen.apgr.low > 0.5
    assert chosen.over_length.low > 0.0
    assert report.oracle is not None
    assert report.oracle > chosen.apgr.estimate
    assert report.gap.low < report.large_quality - report.small_quality < report.gap.high


def test_the_router_that_is_written_is_calibrated(report: FitReport, tmp_path: Path) -> None:
    assert report.artifact is not None
    report.artifact.save(tmp_path / "r")
    router = Router.load(tmp_path / "r")
    texts = [f"river table green seven window {word} 500" for word in ("integral", "greeting")]
    hard, easy = router.route_many(texts, [Knob("quality", 0.8)] * 2)
    assert (hard.target, easy.target) == ("large", "small")
    assert hard.calibrated
    assert hard.router_id.startswith("toy@")
    assert hard.large_share is not None
    assert hard.large_share < 0.8
    again = pickle.loads(pickle.dumps(router))
    assert again.route("a river integral") == router.route("a river integral")


def test_difficulty_is_about_the_share_that_falls_short(report: FitReport) -> None:
    assert report.artifact is not None
    fresh = labeled(seed=9)
    difficulty = Router.from_artifact(report.artifact).difficulty(fresh.prompts)
    short = fresh.small < fresh.large
    assert difficulty.mean() == pytest.approx(short.mean(), abs=0.08)
    assert difficulty[short].mean() > difficulty[~short].mean() + 0.2


def test_the_metadata_say_what_was_measured(report: FitReport) -> None:
    assert report.artifact is not None
    metadata = report.artifact.metadata
    assert (metadata["rows"], metadata["method"], metadata["verdict"]) == (240, report.chosen, "routing_pays")
    assert set(metadata) >= {"date", "seed", "cross_validated", "oracle_apgr"}


def test_same_seed_same_artifact(tmp_path: Path) -> None:
    saved = [fit_own(labeled(120), method="words", seed=4).artifact for _ in range(2)]
    hashes = {artifact.save(tmp_path / str(i)).content_hash for i, artifact in enumerate(saved) if artifact}
    assert len(hashes) == 1


def test_on_noise_routing_does_not_pay(tmp_path: Path) -> None:
    report = fit_own(labeled(160, seed=1, noise=True))
    assert report.verdict == "does_not_pay"
    assert "does not pay" in report.advice
    assert report.artifact is not None
    report.artifact.save(tmp_path / "r")
    assert Router.load(tmp_path / "r").route("a river").calibrated


def test_a_head_that_ranks_backwards_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def backwards(lesson: object, method: object, seed: int) -> np.ndarray:
        return lesson.small - lesson.large  # type: ignore[attr-defined, no-any-return]

    monkeypatch.setattr("shared_router.training.fit_own.out_of_fold", backwards)
    report = fit_own(labeled(), method="words")
    assert (report.chosen, report.verdict) == ("constant", "does_not_pay")
    assert report.artifact is not None
    router = Router.from_artifact(report.artifact)
    short = (labeled().small < labeled().large).mean()
    assert router.difficulty(["a", "b c d"]) == pytest.approx([short, short], abs=0.01)
    assert router.route("a", Knob("quality", 0.9)).target == "large"
    assert router.route("a", Knob("large_share", 0.5)).target == "small"


def test_without_a_gap_the_small_model_is_recommended() -> None:
    report = fit_own(labeled(large=0.5))
    assert (report.verdict, report.artifact, report.chosen, report.heads) == ("use_small", None, None, ())
    assert "use the small model" in report.advice


def test_one_method_can_be_demanded_and_a_slip_is_met_with_a_hint() -> None:
    steps: list[str] = []
    report = fit_own(labeled(120), method="knn", advance=steps.append)
    assert report.chosen == "knn"
    assert "nearest labelled texts" in steps
    with pytest.raises(HybridError, match=r"unknown method 'word'; did you mean 'words'\?"):
        fit_own(labeled(120), method="word")


def test_the_simplest_is_kept_unless_it_is_worse() -> None:
    rows = labeled()
    gap = rows.large - rows.small
    noise = np.random.default_rng(0).normal(size=len(gap))
    assert simplest({"a": noise, "b": gap + 0.1 * noise}, rows.small, rows.large) == "b"
    assert simplest({"a": gap + 0.1 * noise, "b": gap + 0.1001 * noise}, rows.small, rows.large) == "a"


def test_scores_that_part_the_rows_cleanly_keep_their_order() -> None:
    small, large = np.repeat([0.0, 1.0], 30), np.ones(60)
    raw = np.linspace(1e-4, 0.0, 60)
    difficulty = own_calibrator(raw, small, large).probability(raw)
    assert len(np.unique(difficulty)) == 60
    assert ((difficulty > 0.0) & (difficulty < 1.0)).all()
    assert difficulty.mean() == pytest.approx(0.5)


@pytest.mark.parametrize("raw", [np.linspace(0, 1, 60), np.zeros(60)])
def test_scores_that_say_nothing_cannot_be_calibrated(raw: np.ndarray) -> None:
    with pytest.raises(OutcomeError):
        own_calibrator(raw, np.repeat([0.0, 1.0], 30), np.ones(60))


def test_the_curve_on_a_scale_below_zero_loses_a_positive_share() -> None:
    rows = labeled()
    raw = rows.large - rows.small + np.random.default_rng(0).normal(size=len(rows.small))
    calibration = own_calibrator(raw, rows.small, rows.large)
    below = own_curve(raw, rows.small - 3.0, rows.large - 3.0, calibration)
    assert below.drop[0] == pytest.approx((rows.large.mean() - rows.small.mean()) / (3.0 - rows.large.mean()))
    assert math.isclose(below.drop[-1], 0.0, abs_tol=1e-12)
    with pytest.raises(OutcomeError, match="shift the scale"):
        own_curve(raw, rows.small - rows.large.mean(), rows.large - rows.large.mean(), calibration)
