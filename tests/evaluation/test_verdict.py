"""The rule, case by case."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from shared_router.evaluation.metrics import Interval
from shared_router.evaluation.verdict import Evidence, signed, verdict

UP, FLAT, DOWN = Interval(0.02, 0.01, 0.03), Interval(0.0, -0.01, 0.01), Interval(-0.02, -0.03, -0.01)
# above 0 by itself, but not as the best of several
WEAK, STRICTER = Interval(0.01, 0.001, 0.02), Interval(0.01, -0.001, 0.021)


def evidence(
    *,
    router: Interval = UP,
    length: Interval | None = FLAT,
    knn: Interval | None = FLAT,
    over_length: Interval = UP,
    over_knn: Interval = UP,
    gap: Interval = UP,
    rows: int = 100,
    strict: Mapping[str, Interval] | None = None,
) -> Evidence:
    others = {name: value for name, value in (("length", length), ("knn", knn)) if value is not None}
    minus = {"length": over_length, "knn": over_knn}
    return Evidence(
        rows=rows,
        level=0.95,
        gap=gap,
        router=router,
        router_apgr=Interval(0.6, 0.55, 0.65),
        others=others,
        others_strict={**others, **(strict or {})},
        router_minus=minus,
        router_minus_strict=minus,
        titles={"length": "prompt length", "knn": "neighbours"},
        prices={"router": "The router's price.", "length": "Length's price.", "knn": "Neighbours' price."},
    )


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (evidence(), "routing_pays"),
        (evidence(length=UP), "routing_pays"),
        # length that is no better than chance need not be beaten
        (evidence(over_length=FLAT), "routing_pays"),
        (evidence(over_knn=FLAT, knn=UP), "routing_pays"),
        (evidence(length=UP, over_length=FLAT), "use_length"),
        (evidence(length=UP, over_length=DOWN), "use_length"),
        (evidence(knn=UP, over_knn=DOWN), "use_other"),
        # better than the router, but not shown to be better than chance
        (evidence(knn=FLAT, over_knn=DOWN), "routing_pays"),
        (evidence(knn=WEAK, over_knn=DOWN, strict={"knn": STRICTER}), "routing_pays"),
        (evidence(router=FLAT), "does_not_pay"),
        (evidence(router=DOWN), "does_not_pay"),
        (evidence(router=FLAT, length=UP, over_length=FLAT), "use_length"),
        (evidence(router=FLAT, knn=UP, over_knn=FLAT), "use_other"),
        (evidence(router=FLAT, knn=WEAK, strict={"knn": STRICTER}), "does_not_pay"),
        (evidence(gap=FLAT), "use_small"),
        (evidence(gap=DOWN), "use_small"),
        (evidence(rows=39), "too_few"),
        (evidence(rows=40, length=None, knn=None), "routing_pays"),
        (evidence(router=FLAT, length=None, knn=None), "does_not_pay"),
    ],
)
def test_the_rule(given: Evidence, word: str) -> None:
    assert verdict(given).word == word


def test_the_best_of_two_rivals_is_named() -> None:
    better = Interval(0.05, 0.04, 0.06)
    both = evidence(length=UP, knn=better, over_length=DOWN, over_knn=DOWN)
    assert verdict(both).word == "use_other"
    assert verdict(evidence(length=better, knn=UP, over_length=DOWN, over_knn=DOWN)).word == "use_length"


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (evidence(), ["Routing pays on this data", "APGR 0.600", "better than prompt length", "The router's price."]),
        (evidence(over_length=FLAT), ["not shown to be better than prompt length", "does not rank better than chance"]),
        (evidence(length=UP, over_length=FLAT), ["use prompt length", "-0.0100, +0.0100", "Length's price."]),
        (evidence(knn=UP, over_knn=DOWN), ["not by this router: use neighbours", "Neighbours' price."]),
        (
            evidence(router=FLAT),
            [
                "Routing does not pay on this data",
                "nor does prompt length, nor does neighbours",
                "+0.020",
                "else the small",
            ],
        ),
        (evidence(gap=FLAT, router=FLAT), ["use the small model", "interchanged"]),
        (evidence(gap=FLAT), ["a mixture of both models may beat either"]),
        (evidence(rows=12), ["Too few prompts to tell: 12"]),
    ],
)
def test_it_is_said_in_plain_words_with_the_evidence(given: Evidence, parts: list[str]) -> None:
    text = verdict(given).text
    for part in parts:
        assert part in text
    assert "  " not in text
    assert text.endswith((".", ")"))


def test_a_difference_has_its_sign_and_no_negative_zero() -> None:
    assert signed(Interval(-1e-9, -0.0123, 0.5)) == "+0.000 [-0.012, +0.500]"
