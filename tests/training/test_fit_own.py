"""From labelled prompts to a router whose decisions are calibrated, and to an honest verdict."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared_router.calibration import IsotonicCalibrator
from shared_router.errors import HybridError, OutcomeError
from shared_router.knob import Knob
from shared_router.router import Router
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training.fit_own import FitReport, fit_own, groups_of, held_out_rows, simplest

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
    for measured in (chosen, report.measured):
        assert measured is not None
        assert measured.apgr.low > 0.5
        assert measured.over_length.low > 0.0
        assert report.oracle is not None
        assert report.oracle > measured.apgr.estimate
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


def test_what_is_held_out_is_what_is_promised_on(report: FitReport) -> None:
    rows = labeled()
    assert report.artifact is not None
    known = report.artifact.calibration_set
    assert known is not None
    assert len(known) == len(report.held_out) == round(0.4 * len(rows))
    held_out = rows.part(report.held_out)
    router = Router.from_artifact(report.artifact)
    np.testing.assert_array_equal(known.difficulty, router.difficulty(held_out.prompts))
    np.testing.assert_array_equal(known.small, held_out.small)
    certificate = router.certificate(Knob("quality", 0.5, 0.9))
    assert certificate is not None
    assert certificate.n == len(known)


def test_what_is_held_out_teaches_nothing() -> None:
    rows = labeled()
    held_out = held_out_rows(rows, 0.4, seed=0)
    # other qualities of the held-out prompts change what is measured, never what is learned
    turned = replace(rows, small=rows.small.copy())
    turned.small[held_out] = 1.0 - turned.small[held_out]
    learned = [fit_own(each, method="words").artifact for each in (rows, turned)]
    assert learned[0] is not None
    assert learned[1] is not None
    for name, array in learned[0].tensors.items():
        np.testing.assert_array_equal(array, learned[1].tensors[name])
    assert learned[0].calibration == learned[1].calibration
    assert learned[0].curve != learned[1].curve


def test_with_few_prompts_nothing_is_held_out_and_nothing_certified() -> None:
    report = fit_own(labeled(120), method="words")
    assert (report.held_out, report.measured) == ((), None)
    assert report.artifact is not None
    assert report.artifact.calibration_set is None


def test_prompts_of_one_group_stay_together() -> None:
    rows = labeled(200)
    grouped = replace(rows, columns={"group": tuple(f"g{i % 50}" for i in range(200))})
    groups = groups_of(grouped)
    assert len(set(groups.tolist())) == 50
    held_out = set(held_out_rows(grouped, 0.4, seed=0).tolist())
    for group in range(50):
        members = set(np.flatnonzero(groups == group).tolist())
        assert members <= held_out or not members & held_out


def test_prompts_that_differ_in_signs_and_case_only_are_one_group() -> None:
    texts = ["What is 2?", "what  is 2", "What is 3?", "???", "!!!"]
    rows = labeled_from([LabeledPrompt(text, (0.0,), (1.0,)) for text in texts])
    groups = groups_of(rows).tolist()
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4


@pytest.mark.parametrize("share", [-0.1, 1.0, 0.01, 0.9])
def test_a_share_that_leaves_too_little_is_refused(share: float) -> None:
    with pytest.raises(OutcomeError, match=r"held out|holding out"):
        held_out_rows(labeled(200), share, seed=0)


def test_an_isotonic_map_can_be_had() -> None:
    report = fit_own(labeled(), method="words", calibration="isotonic")
    assert report.artifact is not None
    assert isinstance(report.artifact.calibration, IsotonicCalibrator)
