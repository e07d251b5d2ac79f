"""Exact match as SQuAD has it."""

from __future__ import annotations

import pytest

from shared_router.labeling.quality.exact_match import exact_match, normalized


@pytest.mark.parametrize(
    ("response", "references", "quality"),
    [
        ("Lima", ("Lima",), 1),
        (" the  LIMA!\n", ("Lima",), 1),
        ("An apple, a day.", ("apple day",), 1),
        ("U.S.", ("US",), 1),
        ("Lima", ("Cusco", "lima"), 1),
        ("The capital is Lima", ("Lima",), 0),
        ("theatre", ("atre",), 0),
        ("", ("Lima",), 0),
        # normalising leaves nothing of these: they are compared as they stand
        ("", ("The",), 0),
        ("a", ("?",), 0),
        ("?", ("? ",), 1),
        ("Zürich", ("ZÜRICH",), 1),
    ],
)
def test_known_values(response: str, references: tuple[str, ...], quality: float) -> None:
    assert exact_match(response, references).value == quality


def test_articles_are_removed_after_punctuation_as_in_squads_script() -> None:
    # the official script gives "aan" here, not "": it takes punctuation off first
    assert normalized("a-an, the END") == "aan end"
