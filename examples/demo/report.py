"""Answers → rows, shares, seconds.

Rows are printed one by one as the answers come, each a small table with fixed columns: on a terminal they scroll
above the progress bar, and in a file or a pipe they read the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demo.ask import Answer

__all__ = ["Summary", "header", "row", "summary", "summary_table"]

STYLES = {"small": "cyan", "large": "magenta"}
METER = 5


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two models did.

    Attributes:
        calls: How many questions it answered.
        seconds: Time spent on them.
        tokens: Tokens it generated.
    """

    calls: int
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What both models did.

    Attributes:
        small: The small model's side.
        large: The large model's side.
    """

    small: Side
    large: Side

    @property
    def large_share(self) -> float:
        """Share of the questions that went to the large model; 0 without any."""
        calls = self.small.calls + self.large.calls
        return self.large.calls / calls if calls else 0.0

    @property
    def seconds(self) -> float:
        """Time spent in all."""
        return self.small.seconds + self.large.seconds

    @property
    def seconds_if_all_large(self) -> float | None:
        """Estimated time if the large model had answered everything; None where only one of the two did.

        The large model's measured seconds per token it generated, times all tokens that both generated: as if its
        answers to the small model's questions were as long as the small model's.
        """
        if not (self.large.tokens and self.small.calls):
            return None
        return self.large.seconds / self.large.tokens * (self.large.tokens + self.small.tokens)


def summary(answers: Sequence[Answer]) -> Summary:
    """Add up what each model did.

    Args:
        answers: All answers.
    """
    return Summary(small=_side(answers, "small"), large=_side(answers, "large"))


def _side(answers: Sequence[Answer], target: str) -> Side:
    own = [answer for answer in answers if answer.target == target]
    return Side(len(own), sum(answer.seconds for answer in own), sum(answer.tokens for answer in own))


def header(width: int) -> Table:
    """The two lines above the rows.

    Args:
        width: Of the terminal.
    """
    table = _grid(width)
    table.add_row("difficulty", "model", "question", style="bold")
    table.add_row("through", "time", "first line of the answer", style="bold dim")
    return table


def row(answer: Answer, width: int) -> Table:
    """One answer, in two lines.

    Args:
        answer: The answer.
        width: Of the terminal.
    """
    table, style = _grid(width), STYLES[answer.target]
    # one line a question, also where it holds code
    question = " ".join(answer.question.split())
    table.add_row(_meter(answer.difficulty, style), Text(answer.target, style=style), Text(question))
    table.add_row(
        Text(answer.framework, style="dim"),
        Text(f"{answer.seconds:.1f} s", style="dim"),
        Text(answer.first_line, style),
    )
    return table


def _grid(width: int) -> Table:
    table = Table(box=None, show_header=False, width=width, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=10, no_wrap=True)
    table.add_column(width=6, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    return table


def _meter(difficulty: float | None, style: str) -> Text:
    if difficulty is None:
        return Text("not scored", style="dim")
    full = round(difficulty * METER)
    return Text.assemble(f"{difficulty:.2f} ", ("▪" * full, style), ("·" * (METER - full), "dim"))


def summary_table(summed: Summary, small: str, large: str) -> Table:
    """What each model did, and the time that routing saved.

    Args:
        summed: What both models did.
        small: The small model's name.
        large: The large model's name.
    """
    table = Table(title="Who answered", title_justify="left")
    table.add_column("model")
    for name in ("questions", "share", "seconds", "tokens", "tokens/s"):
        table.add_column(name, justify="right")
    for name, side, share, style in (
        (f"small  {small}", summed.small, 1.0 - summed.large_share, STYLES["small"]),
        (f"large  {large}", summed.large, summed.large_share, STYLES["large"]),
    ):
        speed = f"{side.tokens / side.seconds:.0f}" if side.seconds else "–"
        table.add_row(
            escape(name), f"{side.calls}", f"{share:.0%}", f"{side.seconds:.1f}", f"{side.tokens}", speed, style=style
        )
    estimate = summed.seconds_if_all_large
    if estimate is not None:
        table.add_section()
        table.add_row("all to large (estimate)", "", "100%", f"{estimate:.1f}", "", "")
    return table
