"""Contributions that add up to the score, words left out in turn, and neighbours."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("sklearn")

from shared_router.artifact import Artifact
from shared_router.calibration import LogisticCalibrator
from shared_router.errors import ArtifactNotFoundError, HybridError, QueryError
from shared_router.explanation import Explanation, explain, words_of
from shared_router.knob import NEVER_LARGE, OperatingCurve
from shared_router.records import Turn
from shared_router.router import Router
from shared_router.scorers import Scorer, scorer_class
from shared_router.scorers.static_difficulty import StaticDifficultyScorer
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training.fast_heads import METHODS, embedded_scorer, lesson_from

LINEAR = [name for name in METHODS if name != "knn"]
CALIBRATION = LogisticCalibrator(1.7, -0.4)
TEXTS = [
    "Prove that the integral of a greeting is irrational.",
    "integral",
    "",
    "   ",
    "How many, if each, per total? def f(x): return 3.5",
    "Which is it?\nA. river 1\nB. table 2\nC. integral",
    "integral greeting " * 700,
    "antidisestablishmentarianism's pneumonoultramicroscopic integral",
    "你好 integral é 🙂 \x00 [UNK]",
    "the the the integral integral the",
]


class Shifted:
    """A calibration that is rising and not logistic."""

    def probability(self, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.clip(np.round(0.5 + raw / 20, 6), 0, 1)

    def to_state(self) -> dict[str, float]:
        return {}


def artifact_of(scorer: Scorer, calibration: object = CALIBRATION) -> Artifact:
    config, tensors = scorer.to_state()
    curve = OperatingCurve((NEVER_LARGE, 0.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.0))
    return Artifact("toy", scorer.kind, config, tensors, calibration, curve, own_pair=True)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scorers() -> dict[str, Scorer]:
    generator = np.random.default_rng(0)
    hard = generator.random(160) < 0.5
    words = generator.choice(["river", "table", "green", "seven", "window", "the"], size=(160, 4))
    last = np.where(hard, "integral", "greeting")
    texts = [f"{' '.join(row)} {word}" for row, word in zip(words, last, strict=True)]
    small = np.where(hard, 0.0, 1.0)
    lesson = lesson_from(embedded_scorer(), texts, small, np.ones(160))
    return {name: METHODS[name].fit(lesson, METHODS[name].settings[-1:])[0].scorer(lesson.embedded) for name in METHODS}


def total(explanation: Explanation) -> float:
    return explanation.intercept + sum(one.value for one in explanation.contributions)


def value(explanation: Explanation, name: str, kind: str = "word") -> float:
    return next(one.value for one in explanation.contributions if (one.name, one.kind) == (name, kind))


# each explanation builds the scorer anew, which takes most of the time: all texts for the heads that have all parts
@pytest.mark.parametrize(
    ("method", "text"),
    [
        *itertools.product(["static", "mixed"], TEXTS),
        *itertools.product(sorted({*LINEAR} - {"static", "mixed"}), TEXTS[4:6]),
    ],
)
def test_contributions_and_intercept_are_the_score(scorers: dict[str, Scorer], method: str, text: str) -> None:
    artifact = artifact_of(scorers[method])
    explanation = explain(artifact, text)
    raw = float(scorers[method].score([text.strip()])[0])
    assert explanation.method == "exact"
    assert explanation.unit == "log odds"
    assert total(explanation) == pytest.approx(1.7 * raw - 0.4, abs=1e-6)
    assert explanation.score == pytest.approx(total(explanation), abs=1e-9)
    assert explanation.difficulty == pytest.approx(1 / (1 + np.exp(-total(explanation))), abs=2e-6)


@pytest.mark.parametrize("text", TEXTS[4:8])
def test_the_embedded_default_is_explained_exactly(text: str) -> None:
    explanation = explain(None, text)
    default = Router.default()
    folder = Artifact.load(Path(__file__).parents[1] / "shared_router" / "default_router")
    scorer = scorer_class(folder.scorer_kind).from_state(folder.scorer_config, folder.tensors)
    assert isinstance(folder.calibration, LogisticCalibrator)
    log_odds = folder.calibration.slope * float(scorer.score([text.strip()])[0]) + folder.calibration.intercept
    assert total(explanation) == pytest.approx(log_odds, abs=1e-6)
    assert explanation.router_id == default.router_id
    assert explanation.difficulty == default.difficulty([text.strip()])[0]
    assert explain("default", text) == explanation


def test_each_part_counts_by_its_weight() -> None:
    embedded = embedded_scorer()
    scale = replace(embedded.scale, length_weight=0.3, token_weight=2.5, surface_std=1.9, token_std=0.7)
    scorer = StaticDifficultyScorer(embedded.encoder, embedded.traits, embedded.direction, scale)
    raw = float(scorer.score([TEXTS[4]])[0])
    assert total(explain(artifact_of(scorer), TEXTS[4])) == pytest.approx(1.7 * raw - 0.4, abs=1e-6)


def test_with_another_calibration_the_raw_score_is_explained(scorers: dict[str, Scorer]) -> None:
    explanation = explain(artifact_of(scorers["mixed"], Shifted()), TEXTS[0])
    assert explanation.unit == "raw score"
    assert total(explanation) == pytest.approx(float(scorers["mixed"].score([TEXTS[0]])[0]), abs=1e-6)
    assert "rising curve" in explanation.statement


@pytest.mark.parametrize("method", ["words", "mixed", "static", "logistic"])
def test_words_that_were_learned_point_the_right_way(scorers: dict[str, Scorer], method: str) -> None:
    artifact = artifact_of(scorers[method])
    hard, easy = explain(artifact, "the integral river"), explain(artifact, "the greeting river")
    assert value(hard, "integral") > 0 > value(easy, "greeting")
    moved = [abs(one.value) for one in hard.contributions]
    assert moved == sorted(moved, reverse=True)


def test_pieces_of_a_word_are_one_word_and_neighbours_a_pair(scorers: dict[str, Scorer]) -> None:
    explanation = explain(artifact_of(scorers["words"]), "river table river table antidisestablishmentarianism")
    names = {(one.kind, one.name) for one in explanation.contributions}
    assert ("pair", "river table") in names
    assert not any("##" in name for _, name in names)


def test_words_that_share_a_bucket_share_its_value(scorers: dict[str, Scorer], monkeypatch: pytest.MonkeyPatch) -> None:
    from shared_router.scorers import text_columns

    # all in one bucket
    monkeypatch.setattr(text_columns, "_bucket", lambda keys: np.full(len(keys), 7, dtype=np.int64))
    scorer = scorers["words"]
    text = "river table river"
    explanation = explain(artifact_of(scorer), text)
    raw = float(scorer.score([text])[0])
    assert total(explanation) == pytest.approx(1.7 * raw - 0.4, abs=1e-6)


class Counting:
    """A router that finds "hard" and "proof" hard, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        self.calls.append(list(texts))
        return np.array([0.1 + 0.5 * ("hard" in text) + 0.2 * ("proof" in text) for text in texts])


def test_occlusion_says_what_each_word_changes_in_one_call() -> None:
    difficulty = Counting()
    router = Router(difficulty, curve=None, router_id="counting")
    explanation = explain(router, "A hard, very Hard proof.")
    assert explanation.method == explanation.statement.split(":")[0].lower() == "occlusion"
    assert explanation.unit == "difficulty"
    assert explanation.difficulty == explanation.score == pytest.approx(0.8)
    assert len(difficulty.calls) == 1
    assert difficulty.calls[0] == [
        "A hard, very Hard proof.",
        "hard, very Hard proof.",
        "A, very proof.",
        "A hard, Hard proof.",
        "A hard, very Hard.",
    ]
    assert [(one.name, round(one.value, 6)) for one in explanation.contributions] == [("hard", 0.5), ("proof", 0.2)]


def test_occlusion_is_capped_and_says_so() -> None:
    difficulty = Counting()
    router = Router(difficulty, curve=None, router_id="counting")
    explanation = explain(router, "one two three hard five " * 3, max_words=3)
    assert len(difficulty.calls[0]) == 4
    assert explanation.left_out == 2
    assert explanation.contributions == ()
    assert "first 3 of 5 different words" in explanation.statement


@pytest.mark.parametrize("text", ["", "hard", "?!"])
def test_occlusion_of_next_to_nothing_has_no_contributions(text: str) -> None:
    explanation = explain(Router(Counting(), curve=None, router_id="counting"), text)
    assert explanation.contributions == ()


def test_functions_and_neighbour_heads_are_explained_by_occlusion(scorers: dict[str, Scorer]) -> None:
    assert explain(lambda text: len(text) / 100, "ab cde").contributions[0].name == "cde"
    explanation = explain(artifact_of(scorers["knn"]), "the integral river")
    assert explanation.method == "occlusion"
    assert explanation.router_id.startswith("toy@")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 3 o'clock.", ["It", "s", "3", "o", "clock"]),
        ("राजधानी क्या", ["राजधानी", "क्या"]),
        ("首都どこ abc", ["首", "都", "ど", "こ", "abc"]),
        ("a首b", ["a", "首", "b"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in words_of(text)] == words


@pytest.fixture(scope="module")
def labeled() -> LabeledPrompts:
    prompts = ["How tall is Everest?", "Prove that pi is irrational.", "Prove that e is irrational.", "Say hello."]
    return labeled_from([LabeledPrompt(prompt, (0.25 * i,), (1.0,)) for i, prompt in enumerate(prompts)])


def test_the_most_similar_labelled_prompts_come_with_their_qualities(labeled: LabeledPrompts) -> None:
    first, second = explain(None, "Prove that pi is irrational.", training=labeled, neighbours=2).neighbours
    assert (first.prompt, first.similarity, first.small, first.large) == (labeled.prompts[1], 1.0, 0.25, 1.0)
    assert second.prompt == labeled.prompts[2]
    assert 0.5 < second.similarity < 1.0


@pytest.mark.parametrize("kind", ["artifact", "neighbours", "function"])
def test_every_kind_of_router_has_neighbours(labeled: LabeledPrompts, scorers: dict[str, Scorer], kind: str) -> None:
    router = {
        "artifact": artifact_of(scorers["mixed"]),
        "neighbours": artifact_of(scorers["knn"]),
        "function": lambda text: 0.5,
    }[kind]
    found = explain(router, "Prove that e is irrational.", training=labeled, neighbours=9).neighbours  # type: ignore[arg-type]
    assert len(found) == 4
    assert found[0].prompt == labeled.prompts[2]


def test_without_a_file_or_words_there_are_no_neighbours(labeled: LabeledPrompts) -> None:
    assert explain(None, "Prove it.").neighbours == ()
    assert explain(None, "", training=labeled).neighbours == ()
    assert explain(None, "Prove it.", training=labeled, neighbours=0).neighbours == ()


def test_a_conversation_is_explained_by_what_is_judged() -> None:
    turns = [Turn("human", "Hello."), Turn("ai", "Hi."), Turn("human", "Prove it.")]
    assert explain(None, turns) == explain(None, "Prove it.")


def test_json_is_plain(labeled: LabeledPrompts) -> None:
    explanation = explain(None, "Prove it.", training=labeled)
    document = json.loads(json.dumps(explanation.as_json(), allow_nan=False))
    assert document["method"] == "exact"
    assert len(document["neighbours"]) == 4
    assert {"name", "kind", "value"} == set(document["contributions"][0])


def test_what_cannot_be_explained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFoundError):
        explain(tmp_path, "a")
    with pytest.raises(QueryError):
        explain(None, 3)  # type: ignore[arg-type]
    with pytest.raises(HybridError, match="max_words ≥ 1"):
        explain(None, "a", max_words=0)
    with pytest.raises(HybridError, match="neighbours ≥ 0"):
        explain(None, "a", neighbours=-1)
