r"""Whether the right option was chosen: letters A to J, as in MMLU (4 options) and MMLU-Pro (10).

The letter is looked for in this order: in the last ``\boxed{}``; after the last "answer", "choice" or "option" with
"is" or a colon; at the beginning of the text ("B", "(B)", "B. Paris"); the last in parentheses; the last capital that
stands alone. "A" and "I" are words of English too: alone within a sentence they are not taken for an option.
"""

from __future__ import annotations

import re

from shared_router.labeling.quality.measure import Quality, ReferenceMeasure

__all__ = ["MULTIPLE_CHOICE", "chosen_letter", "multiple_choice", "reference_letter"]

NO_LETTER = "no option's letter found in the answer: quality 0"

BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\w*\s*\{)?\s*\(?([A-Ja-j])\s*[)}.]")
# the case matters for the letter only: with it ignored, every article would be an option
ANSWER = re.compile(
    r"(?i:answer|choice|option)\s*(?i:is|:|=)\W*?(?:(?i:option|choice|letter)\b\W*?)?"
    r"(?:([A-HJ]|I(?=\W*(?:[.)*]|$)))(?![\w'’])|[(\[]([a-j])[)\]]|([a-j])(?=\s*(?:[.),*]|$)))"
)
FIRST = re.compile(r"[\s*_(\[]*([A-J])(?:[*_)\].:,]|\s*$|\s*\n|\s+[-–])")
IN_PARENTHESES = re.compile(r"\(([A-J])\)")
ALONE = re.compile(r"(?<![\w'’])([B-HJ]|[AI](?=[*\s]*(?:[).:]|$)))(?![\w'’])")
REFERENCE = re.compile(r"\s*\(?([A-Ja-j])(?:[).:](?:\s|$)|\s*$)")


def chosen_letter(response: str) -> str | None:
    """The option that an answer names.

    Args:
        response: Any text.

    Returns:
        "A" to "J"; None where no option is named.
    """
    first = FIRST.match(response)
    for found in (
        BOXED.findall(response)[-1:],
        [next(filter(None, groups)) for groups in ANSWER.findall(response)][-1:],
        [first[1]] if first else [],
        IN_PARENTHESES.findall(response)[-1:],
        ALONE.findall(response)[-1:],
    ):
        if found:
            return str(found[0]).upper()
    return None


def reference_letter(reference: str) -> str | None:
    """The option that a reference is: "B", "(b)", "B." or "B) Paris"; None for anything else."""
    found = REFERENCE.match(reference)
    return found[1].upper() if found else None


def multiple_choice(response: str, references: tuple[str, ...]) -> Quality:
    """Whether an answer names one of the right options.

    Args:
        response: The answer, with or without reasons.
        references: At least one option's letter.

    Returns:
        1 or 0; a fault where a reference is no option's letter.
    """
    right = [reference_letter(reference) for reference in references]
    if None in right:
        return Quality(None, fault=f"the reference {references[right.index(None)]!r:.60} is no option's letter, A to J")
    chosen = chosen_letter(response)
    return Quality(0.0, notes=(NO_LETTER,)) if chosen is None else Quality(float(chosen in right))


MULTIPLE_CHOICE = ReferenceMeasure("multiple_choice", "1", multiple_choice)
