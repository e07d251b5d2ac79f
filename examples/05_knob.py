"""What the quality knob does, without any language model.

A router gives each text a difficulty from 0 to 1. A knob becomes a threshold by looking it up on an operating curve
that was measured on outcomes; the large model is asked where difficulty ≥ threshold. All ways to say it:

    quality       keep at least this share of what the large model adds over the small one
    max_drop      lose at most this share of the large model's quality
    large_share   a budget: at most this share of the calls goes to the large model
    threshold     the raw cut
    route         "small" or "large", whatever the difficulty
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from shared_router import Knob, Router

TEXTS = (
    "Hi there!",
    "What is the capital of Peru?",
    "Translate 'thank you' into French.",
    "A tank holds 240 litres. Two taps fill it at 8 and 12 litres a minute. How long does it take to fill it?",
    "Prove that there are infinitely many prime numbers.",
)

KNOBS = (
    Knob("quality", 0.0),
    Knob("quality", 0.5),
    Knob("quality", 0.9),
    Knob("quality", 1.0),
    Knob("max_drop", 0.01),
    Knob("large_share", 0.3),
    Knob("threshold", 0.5),
    Knob("route", "large"),
)


def difficulty_table(router: Router) -> Table:
    """Each text with its difficulty; one vectorised call scores them all.

    Args:
        router: Any router.
    """
    table = Table("difficulty", "text", title="How hard is it?", title_justify="left")
    for text, difficulty in zip(TEXTS, router.difficulty(TEXTS), strict=True):
        table.add_row(f"{difficulty:.3f}", text)
    return table


def knob_table(router: Router) -> Table:
    """For each knob the threshold, the share of calls that it means, and who would answer each text.

    Args:
        router: A router with an operating curve.
    """
    table = Table("knob", "threshold", "large share", "who answers the texts above", title="Turning the knob")
    table.title_justify = "left"
    for knob in KNOBS:
        decisions = [router.route(text, knob) for text in TEXTS]
        threshold, share = decisions[0].threshold, decisions[0].large_share
        table.add_row(
            f"{knob.name}={knob.value}",
            "–" if threshold is None else f"{threshold:.3f}",
            "–" if share is None else f"{share:.0%}",
            " ".join(decision.target for decision in decisions),
        )
    return table


def main(router: Router) -> None:
    """Print both tables.

    Args:
        router: A router with an operating curve.
    """
    console = Console(highlight=False)
    console.print(difficulty_table(router))
    console.print(knob_table(router))
    console.print("The large share is what was measured when the router was trained; your own traffic will differ.")


if __name__ == "__main__":
    main(Router.default())
