"""From bare prompts to a router of your own pair, over two real language models on this machine.

Arithmetic from easy to hard, with known answers, is put to both models; the answers are judged by their numbers; a
router is fitted on 60 % of the prompts, measured and certified on the rest, and then put to work. It is the command

    hybrid-llm fit prompts.jsonl --small … --large … --by numeric --samples 1 --out my-router

with the two endpoints of the demo (SmolLM2-135M and Qwen2.5-Coder-0.5B, 0.6 GB, downloaded once). With your own
traffic, the file of prompts is the only thing that changes. What neither model can do, such as the product of large
numbers, goes to the small one: the large one would cost more and not help.

    python examples/06_own_router.py --out my-router               some 5 minutes; stopped, it goes on where it was
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from local_models.fetch import FetchError
from local_models.pairs import EndpointPair, chat_models, local_pair
from local_models.serve import ServerError
from rich.console import Console
from typer import Exit

from langchain_hybrid import HybridChatModel
from shared_router import HybridError
from shared_router.cli.fit import fit

ASKED_AFTERWARDS = ("What is 4 + 3? Answer with the number only.", "What is 457 + 382? Answer with the number only.")


def prompts(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Arithmetic with answers: sums and products of one to three digits.

    Args:
        count: How many, all different.
        seed: Same seed, same prompts.
    """
    chance = random.Random(seed)
    rows: dict[str, dict[str, object]] = {}
    while len(rows) < count:
        top = 10 ** chance.choice((1, 1, 2, 3))
        first, second, sign = chance.randrange(2, top + 2), chance.randrange(2, top + 2), chance.choice("++*")
        asked = f"What is {first} {sign} {second}? Answer with the number only."
        rows[asked] = {"prompt": asked, "reference": first * second if sign == "*" else first + second}
    return list(rows.values())


def fitted(pair: EndpointPair, file: Path, out: Path) -> None:
    """Ask both models, judge, fit, measure and certify; what ``hybrid-llm fit`` does.

    Args:
        pair: Where the models answer.
        file: The prompts.
        out: Folder of the router.
    """
    fit(
        file,
        out=out,
        small=pair.small.model,
        large=pair.large.model,
        small_url=pair.small.base_url,
        large_url=pair.large.base_url,
        by="numeric",
        samples=1,
        temperature=0.0,
        max_tokens=24,
    )


def routed(pair: EndpointPair, router: Path, questions: Sequence[str], console: Console) -> None:
    """Ask through the router that was fitted.

    Args:
        pair: Where the models answer.
        router: Its folder.
        questions: What to ask.
        console: Where answers are printed.
    """
    small, large = chat_models(pair, max_tokens=24)
    model = HybridChatModel(small=small, large=large, router=router, quality=0.8)
    for question in questions:
        answer = model.invoke(question)
        decision = answer.response_metadata["hybrid"]
        console.print(
            f"{decision['difficulty']:.2f} {decision['target']:<5} {question} → {answer.text.strip()[:40]}",
            markup=False,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit a router and ask through it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("my-router"), help="folder of the router (my-router)")
    parser.add_argument("--prompts", type=int, default=240, help="how many prompts (240)")
    chosen = parser.parse_args(arguments)
    work = chosen.out.with_name(f"{chosen.out.name}-work")
    work.mkdir(parents=True, exist_ok=True)
    file = work / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in prompts(chosen.prompts)), encoding="utf-8")
    console = Console()
    try:
        with local_pair("light") as pair:
            fitted(pair, file, chosen.out)
            console.print("\nAnd in a program, with quality=0.8:")
            routed(pair, chosen.out, ASKED_AFTERWARDS, console)
    except (FetchError, ServerError, HybridError) as error:
        console.print(f"Error: {error}", markup=False)
        sys.exit(1)
    except Exit as error:  # told already
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
