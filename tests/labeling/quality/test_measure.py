"""What all measures share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.labeling.quality.catalogue import MEASURES, measure_named
from shared_router.labeling.quality.exact_match import EXACT_MATCH
from shared_router.labeling.quality.measure import (
    Given,
    Quality,
    answers_by_prompt,
    best_over_references,
    identity,
    judged_in_batches,
    qualities,
    references_of,
)
from shared_router.records import JSON
from shared_router.tables.outcomes import Outcome

Make = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("reference", "texts"),
    [
        ("a", ("a",)),
        (["a", "", " ", "b"], ("a", "b")),
        (3, ("3",)),
        (0.5, ("0.5",)),
        (True, ("true",)),
        ([1, "a"], ("1", "a")),
        (None, ()),
        ("  ", ()),
        ({"text": "a"}, ()),
        ([None, {}], ()),
    ],
)
def test_references(reference: JSON, texts: tuple[str, ...]) -> None:
    assert references_of(reference) == texts


def test_qualities_come_in_the_order_of_the_outcomes(answer: Make) -> None:
    outcomes = [
        answer("x", id="2", reference="x"),
        answer("y", id="1", reference="x"),
        answer("x", id="1", reference="x", target="large"),
        answer("z", id="2", reference="x", target="large"),
    ]
    assert qualities(EXACT_MATCH, outcomes).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert qualities(EXACT_MATCH, outcomes[::-1]).tolist() == [0.0, 1.0, 0.0, 1.0]


def test_an_answer_that_cannot_be_judged_is_an_error_and_no_opinion_is_nan(answer: Make) -> None:
    with pytest.raises(OutcomeError, match=r"exact_match, id '1': no reference"):
        qualities(EXACT_MATCH, [answer()])
    assert np.isnan(qualities(Given(), [answer(quality=None), answer(quality=0.25, sample=1)])).tolist() == [
        True,
        False,
    ]


def test_batches_hold_whole_prompts(answer: Make) -> None:
    outcomes = [answer(id=str(i // 3), sample=i % 3) for i in range(12)]
    seen: list[int] = []

    def judge(answers: Sequence[Outcome]) -> list[Quality]:
        seen.append(len(answers))
        return [Quality(float(outcome.sample)) for outcome in answers]

    judged = list(judged_in_batches(answers_by_prompt(outcomes), judge, answers_at_once=5))
    assert seen == [6, 6]
    assert [[quality.value for quality in prompt.qualities] for prompt in judged] == [[0.0, 1.0, 2.0]] * 4


def test_equal_pairs_are_scored_once_and_the_best_reference_counts(answer: Make) -> None:
    seen: list[tuple[str, str]] = []

    def score(pairs: Sequence[tuple[str, str]]) -> list[Quality]:
        seen.extend(pairs)
        return [Quality(float(len(reference)), (reference,)) for _, reference in pairs]

    answers = [answer("a", reference=["x", "xx"]), answer("a", reference="x", sample=1), answer("a", sample=2)]
    found = best_over_references(answers, score)
    assert seen == [("a", "x"), ("a", "xx")]
    assert [quality.value for quality in found] == [2.0, 1.0, None]
    assert found[0].notes == ("xx",)
    assert "no reference" in found[2].fault


def test_every_measure_has_a_name_a_version_and_a_range() -> None:
    settings = {"judge": {"model": "m"}, "judge_score": {"model": "m"}, "reward_model": {"model": "m"}}
    for name in MEASURES:
        made = measure_named(name, **settings.get(name, {"function": len} if name == "function" else {}))
        assert made.name == name
        assert made.version
        assert made.quality_range[0] < made.quality_range[1]
        assert identity(made)["name"] == name
        assert isinstance(made.needs_reference, bool)
        assert made.compares is (name == "judge")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("numbers", {}, "there is no measure 'numbers'; there are exact_match, numeric"),
        ("numeric", {"model": "x"}, "numeric has no --model; it has no options"),
        (
            "judge",
            {"bounded": True, "weights": "x"},
            "judge has no --bounded, --weights; it has --model, --url, --key-env",
        ),
        ("judge", {}, "judge needs --model"),
        ("function", {}, "function needs --function"),
        ("judge", {"model": "m", "pairs": "some"}, "pairs are"),
        ("judge_score", {"model": "m", "at_once": 0}, "at least 1 prompt"),
    ],
)
def test_what_a_measure_cannot_be_made_with_is_said(name: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(OutcomeError, match=said):
        measure_named(name, **settings)


def test_a_hyphen_is_as_good_as_an_underscore() -> None:
    assert measure_named("rouge-l").name == "rouge_l"
