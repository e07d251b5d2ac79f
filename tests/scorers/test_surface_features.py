"""What is counted in a text."""

from __future__ import annotations

import numpy as np
import pytest

from shared_router.scorers.surface_features import (
    FEATURES,
    TRAITS,
    capitals,
    stem_and_options,
    surface_features,
    token_traits,
)

QUESTION = "Which gas do plants take up?\nA) oxygen\nB) carbon dioxide"


@pytest.mark.parametrize("style", ["A) {}\nB) {}", "(A) {}\n(B) {}", "A. {}\nB. {}", "  A: {}\n  B: {}"])
def test_options_are_told_apart_in_every_common_style(style: str) -> None:
    options = style.format("oxygen", "carbon dioxide")
    assert stem_and_options(f"Which gas?\n{options}") == ("Which gas?\n", options)


@pytest.mark.parametrize("text", ["", "no options", "A. Einstein was born where?", "Plan A) is\nfine"])
def test_one_mark_makes_no_options(text: str) -> None:
    assert stem_and_options(text) == (text, "")


def test_stem_and_options_lose_nothing() -> None:
    assert "".join(stem_and_options(QUESTION)) == QUESTION


def test_capitals() -> None:
    assert capitals("NASA and ESA, Ärger") == 7


def test_traits_of_a_few_tokens() -> None:
    table = token_traits({"7": 1021, ",": 1010, "the": 1996, "each": 2169, "##ing": 2075, "if": 2065})
    row = {
        token: dict(zip(TRAITS, table[place].tolist(), strict=True)) for token, place in [("7", 1021), ("the", 1996)]
    }
    assert row["7"]["number"] == 1 and row["7"]["word"] == 0 and row["7"]["rarity"] == 0
    assert row["the"]["word"] == 1 and row["the"]["rarity"] == 0
    assert table[2169][TRAITS.index("quantity")] == 1
    assert table[2075][TRAITS.index("continuation")] == 1
    assert table[2065][TRAITS.index("condition")] == 1
    assert table[2169][TRAITS.index("rarity")] == round(1000 * np.log(2169 - 1995))


def test_features_of_nothing_are_zero() -> None:
    none = np.zeros((1, len(TRAITS)), dtype=np.int64)
    features = surface_features(none, none, np.zeros(1, dtype=np.int64), [0], [0])
    assert features.shape == (1, len(FEATURES))
    assert (features == 0.0).all()


def test_more_of_everything_gives_higher_features() -> None:
    few, many = (np.full((1, len(TRAITS)), count, dtype=np.int64) for count in (1, 9))
    # rarity and the share of continuations are means, all others are counts
    low, high = (
        surface_features(traits, traits, np.array([20]), [10 * count], [count])
        for traits, count in ((few, 1), (many, 9))
    )
    means = [FEATURES.index("mean_rarity")]
    assert (np.delete(high - low, means) > 0).all()
    assert high[0, means] == pytest.approx(low[0, means])
