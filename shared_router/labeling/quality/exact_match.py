"""Exact match, normalised as SQuAD's evaluation does (Rajpurkar et al., 2016, arXiv 1606.05250, §6.1)."""

from __future__ import annotations

import re
import string

from shared_router.labeling.quality.measure import Quality, ReferenceMeasure

__all__ = ["EXACT_MATCH", "exact_match", "normalized"]

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and extra whitespace, removed in this order."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(response: str, references: tuple[str, ...]) -> Quality:
    """Whether an answer is one of the references.

    Args:
        response: The answer.
        references: At least one right answer.

    Returns:
        1 or 0. A reference of which normalising leaves nothing ("The", "?") is compared as it stands.
    """
    answer = normalized(response)
    same = any(
        answer == normalized(reference) if normalized(reference) else response.strip() == reference.strip()
        for reference in references
    )
    return Quality(float(same))


EXACT_MATCH = ReferenceMeasure("exact_match", "1", exact_match)
