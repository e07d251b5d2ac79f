"""Deciding before and after the small model's answer, every call counted: ``python -m benchmarks.cascades --data DIR``.

Heads are learned on rows marked train and measured on rows marked validation; no row marked test and none of RouteLLM's
is read. mot_cascade's questions with samples are few, so there both parts are measured, scores out of fold; only the
share d of "both" is then chosen on the rows it is measured on, which flatters it. Qualities are the tables'; costs are
not recorded there, so the small model's price is stated as a share of the large one's.

A policy is an assignment for each mean budget a query from "small alone" (c₁) to "large alone" (c₂):

    pre-call      a router's score: share (b − c₁)/(c₂ − c₁) goes to the large model, the rest to the small one
    post-call     the learned answer scorer: all go to the small model, share (b − c₁)/c₂ to the large one as well
    both          share d by the router at once, of the rest the most uncertain answers; d is chosen on training rows
    consistency   k samples of the small model are asked, the majority's answer stands or goes on: share (b − k c₁)/c₂
    best of n     the majority of as many samples as the budget pays for; the large model is never asked

Figures are the area under quality over budget as a share of the models' gap (for pre-call that is APGR), and its
difference from pre-call with 95 % bootstrap intervals over queries. "post-call, answers free" leaves the small model's
price out: what the answer tells, as APGR.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from shared_router.evaluation.metrics import apgr
from shared_router.training.answers import answer_lesson, answers_out_of_fold, fitted_answers
from shared_router.training.fast_heads import METHODS, embedded_scorer, fitted, lesson_from, out_of_fold
from shared_router.training.sources import Pair
from shared_router.uncertainty import agreement, self_consistency

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

CASES: tuple[tuple[str, Pair], ...] = (
    ("mmlu_pro", Pair("Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct")),
    ("zeroeval", Pair("gemma-2-9b-it", "gpt-4o-2024-08-06")),
    ("alpaca_eval1", Pair("llama-2-7b-chat-hf", "llama-2-70b-chat-hf")),
    ("bfcl", Pair("NousResearch_Hermes-2-Pro-Llama-3-8B", "claude-3-5-sonnet-20240620")),
    ("mot_cascade", Pair("llama-2-13b/cot1", "gpt-4/cot1")),
    ("mot_cascade", Pair("gpt-3.5-turbo/cot1", "gpt-4/cot1")),
)

RATIOS = (0.02, 0.1, 0.3)
"""The small model's price as a share of the large one's."""

BUDGETS = 41
SHOWN = (0.25, 0.5, 0.75)
DIRECT = np.linspace(0.0, 1.0, 21)
RESAMPLES = 1000
PRE_CALL = ("surface", "static", "mixed")
SAMPLES = (3, 5, 10)


@dataclass(frozen=True, slots=True)
class Measured:
    """n queries on which policies are measured.

    Attributes:
        name: For the table.
        small: Quality of the small model's answer, shape (n,).
        large: Quality of the large model's answer, shape (n,).
        before: The router's score, out of sample, shape (n,).
        after: The answer scorer's, out of sample, shape (n,).
        majority: For each k of ``SAMPLES`` that was drawn: quality of the majority's answer, and its uncertainty.
        direct: For each price ratio and budget, the share that goes to the large model at once.
    """

    name: str
    small: Floats
    large: Floats
    before: Floats
    after: Floats
    majority: dict[int, tuple[Floats, Floats]]
    direct: dict[float, Floats]


# ── policies: for each budget, each query's quality, shape (budgets, n) ──


def sent(score: Floats, shares: Floats) -> Floats:
    """Which of n queries are sent on, highest scores first; the one at the edge in part. Shape (budgets, n)."""
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(score))
    rank[order] = np.arange(len(score))
    wanted = np.clip(shares, 0.0, 1.0)[:, None] * len(score)
    found: Floats = np.clip(wanted - rank[None, :], 0.0, 1.0)
    return found


def budgets(ratio: float) -> Floats:
    """Mean amounts a query from c₁ to c₂ = 1, shape (budgets,)."""
    return np.linspace(ratio, 1.0, BUDGETS)


def routed(small: Floats, large: Floats, up: Floats) -> Floats:
    """Qualities where ``up`` of the queries are answered by the large model."""
    mixed: Floats = small + up * (large - small)
    return mixed


def before_call(case: Measured, ratio: float) -> Floats:
    """A router."""
    return routed(case.small, case.large, sent(case.before, (budgets(ratio) - ratio) / (1.0 - ratio)))


def after_call(case: Measured, ratio: float) -> Floats:
    """A cascade."""
    return routed(case.small, case.large, sent(case.after, budgets(ratio) - ratio))


def answers_free(case: Measured, ratio: float) -> Floats:
    """A cascade whose first answers cost nothing."""
    return routed(case.small, case.large, sent(case.after, (budgets(ratio) - ratio) / (1.0 - ratio)))


def both_sent(before: Floats, after: Floats, ratio: float, direct: Floats) -> Floats:
    """A share at once, and of the rest the most uncertain as the budget allows, shape (budgets, n)."""
    at_once = sent(before, direct)
    # what is left of each budget after the direct calls and the small model's
    rest = budgets(ratio) - direct - ratio * (1.0 - direct)
    # answers of direct calls do not exist: they are ranked behind all others
    up = np.stack(
        [
            sent(np.where(row >= 1.0, -np.inf, after), np.array([share]))[0]
            for row, share in zip(at_once, rest, strict=True)
        ]
    )
    found: Floats = np.clip(at_once + up, 0.0, 1.0)
    return found


def both(case: Measured, ratio: float) -> Floats:
    """A router, and a cascade behind it."""
    return routed(case.small, case.large, both_sent(case.before, case.after, ratio, case.direct[ratio]))


def consistency(k: int) -> Callable[[Measured, float], Floats]:
    """Of k samples the majority decides."""

    def policy(case: Measured, ratio: float) -> Floats:
        quality, uncertainty = case.majority[k]
        amount = budgets(ratio)
        found = routed(quality, case.large, sent(uncertainty, amount - k * ratio))
        # below the price of k samples only one is asked
        return np.where((amount >= k * ratio)[:, None], found, case.small[None, :])

    return policy


def best_of_n(case: Measured, ratio: float) -> Floats:
    """The majority of as many samples as the budget pays for."""
    rows = []
    for amount in budgets(ratio):
        paid = [k for k in case.majority if k * ratio <= amount + 1e-12]
        rows.append(case.majority[max(paid)][0] if paid else case.small)
    return np.stack(rows)


def oracle_before(case: Measured, ratio: float) -> Floats:
    """A router that knows the gap."""
    score = case.large - case.small
    return routed(case.small, case.large, sent(score, (budgets(ratio) - ratio) / (1.0 - ratio)) * (score > 0))


def oracle_after(case: Measured, ratio: float) -> Floats:
    """A cascade that knows the gap."""
    score = case.large - case.small
    return routed(case.small, case.large, sent(score, budgets(ratio) - ratio) * (score > 0))


def policies_of(case: Measured) -> dict[str, Callable[[Measured, float], Floats]]:
    """The policies that a case has data for."""
    found: dict[str, Callable[[Measured, float], Floats]]
    found = {"pre-call": before_call, "post-call": after_call, "both": both}
    for k in case.majority:
        found[f"consistency, k = {k}"] = consistency(k)
    if case.majority:
        found["best of n"] = best_of_n
    return {**found, "oracle, pre-call": oracle_before, "oracle, post-call": oracle_after}


# ── figures ──


def areas(case: Measured, qualities: Floats, weights: Floats) -> Floats:
    """Area under recovered gap over budget for each of r weightings of the queries, shape (r,)."""
    total = weights.sum(axis=1)
    small, large = weights @ case.small / total, weights @ case.large / total
    mean = weights @ qualities.T / total[:, None]
    recovered = (mean - small[:, None]) / (large - small)[:, None]
    area: Floats = (recovered[:, 1:] + recovered[:, :-1]).mean(axis=1) / 2.0
    return area


def weightings(n: int) -> Floats:
    """The queries as they are, and bootstrap resamples of them."""
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1.0 / n), size=RESAMPLES)
    return np.concatenate([np.ones((1, n)), draws]).astype(np.float64)


def interval(values: Floats) -> str:
    """The first value with the others' 95 % range."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return f"{values[0]:+.3f} [{low:+.3f}, {high:+.3f}]"


def rows_of(case: Measured) -> list[list[str]]:
    """Lines of the table: a policy each."""
    weights = weightings(len(case.small))
    reference = {ratio: areas(case, before_call(case, ratio), weights) for ratio in RATIOS}
    lines = []
    for name, policy in policies_of(case).items():
        cells = [case.name, str(len(case.small)), name]
        for ratio in RATIOS:
            found = areas(case, policy(case, ratio), weights)
            over = "" if name == "pre-call" else f"  {interval(found - reference[ratio])}"
            cells.append(f"{found[0]:.3f}{over}")
        at = np.rint(np.array(SHOWN) * (BUDGETS - 1)).astype(int)
        quality = policy(case, 0.1).mean(axis=1)[at]
        cells.append(" / ".join(f"{value:.3f}" for value in quality))
        lines.append(cells)
    free = areas(case, answers_free(case, 0.0), weights)
    gained = free - areas(case, before_call(case, 0.0), weights)
    ends = f"{case.small.mean():.3f} … {case.large.mean():.3f}"
    lines.insert(2, [case.name, "", "post-call, answers free", f"{free[0]:.3f}  {interval(gained)}", "", "", ends])
    return lines


# ── data ──


@dataclass(frozen=True, slots=True)
class Answered:
    """A pair's queries with the small model's answers.

    Attributes:
        texts: n queries.
        answers: The small model's answers, length n.
        small: Their quality, shape (n,).
        large: Quality of the large model's answers, shape (n,).
        groups: Queries of one number belong together, shape (n,).
        train: Whether a row teaches, shape (n,).
        drawn: All samples of the small model where there are several: texts and qualities.
    """

    texts: list[str]
    answers: list[str]
    small: Floats
    large: Floats
    groups: Rows
    train: npt.NDArray[np.bool_]
    drawn: list[tuple[list[str], Floats]]


def read(folder: Path, source: str, pair: Pair) -> Answered:
    """A pair's rows marked train and validation."""
    frame = pd.read_parquet(folder / f"{source}.parquet")
    frame = frame[frame["split"].isin(["train", "validation"]) & frame["model"].isin([pair.small, pair.large])]
    key = ["task", "query_id"]
    is_drawn = source == "mot_cascade"
    if is_drawn:
        frame = frame[frame["sample"] >= 0].sort_values("sample")
    small, large = (frame[frame["model"] == model] for model in (pair.small, pair.large))
    first = small.drop_duplicates(key).set_index(key)
    other = large.groupby(key)["quality"].mean()
    first = first[first.index.isin(other.index)]
    drawn = []
    if is_drawn:
        by_query = {name: part for name, part in small.groupby(key)}
        # the model runs on to further questions of its prompt's kind; so did the authors cut it
        drawn = [
            ([str(text).split("\n\n\n")[0] for text in by_query[name]["response"]],
             by_query[name]["quality"].to_numpy(dtype=np.float64))
            for name in first.index
        ]  # fmt: skip
    return Answered(
        texts=[str(text) for text in first["query"]],
        answers=[one[0][0] for one in drawn] if drawn else [str(text) for text in first["response"].fillna("")],
        small=first["quality"].to_numpy(dtype=np.float64),
        large=other.loc[first.index].to_numpy(dtype=np.float64),
        groups=np.unique(first["group"].astype(str), return_inverse=True)[1].reshape(-1).astype(np.int64),
        train=(first["split"] == "train").to_numpy(),
        drawn=drawn,
    )


def measured(source: str, pair: Pair, data: Answered, seed: int = 0) -> Measured:
    """Learn both scores on training rows, and choose the share of direct calls there."""
    embedded = embedded_scorer()
    queries = lesson_from(embedded, data.texts, data.small, data.large, data.groups)
    answers = answer_lesson(data.texts, data.answers, data.small, data.large, data.groups, embedded)
    learned, tested = np.flatnonzero(data.train), np.flatnonzero(~data.train)
    if data.drawn:
        learned = tested = np.arange(len(data.texts))
    taught, taught_answers = queries.part(learned), answers.part(learned)
    small, large = data.small[learned], data.large[learned]
    folded = {name: out_of_fold(taught, METHODS[name], seed) for name in PRE_CALL}
    chosen = max(folded, key=lambda name: apgr(folded[name], small, large))
    before_folds, after_folds = folded[chosen], answers_out_of_fold(taught_answers, seed)
    if data.drawn:
        before, after = before_folds, after_folds
    else:
        before = fitted(taught, METHODS[chosen], seed).raw(queries.part(tested))
        after = answers.part(tested).raw(fitted_answers(taught_answers, seed).weights)
    return Measured(
        name=f"{source}: {pair.small} → {pair.large}",
        small=data.small[tested],
        large=data.large[tested],
        before=before,
        after=after,
        majority=_majorities([data.drawn[i] for i in tested]) if data.drawn else {},
        direct={ratio: _direct(before_folds, after_folds, large - small, ratio) for ratio in RATIOS},
    )


def _direct(before: Floats, after: Floats, gap: Floats, ratio: float) -> Floats:
    """For each budget the share of direct calls that recovers most on training rows, shape (budgets,)."""
    amounts = budgets(ratio)
    gained = np.full((len(DIRECT), BUDGETS), -np.inf)
    for i, share in enumerate(DIRECT):
        allowed = share + ratio * (1.0 - share) <= amounts + 1e-9
        up = both_sent(before, after, ratio, np.where(allowed, share, 0.0))
        gained[i] = np.where(allowed, up @ gap, -np.inf)
    best: Floats = DIRECT[np.argmax(gained, axis=0)]
    return best


def _majorities(drawn: Sequence[tuple[list[str], Floats]]) -> dict[int, tuple[Floats, Floats]]:
    found = {}
    for k in SAMPLES:
        quality = np.array([qualities[agreement(texts[:k])[0]] for texts, qualities in drawn])
        uncertainty = np.array([self_consistency(texts[:k]) for texts, _ in drawn])
        found[k] = quality, uncertainty
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    folder = parser.parse_args().data
    columns = [f"c₁ = {ratio:g} c₂: area  over pre-call" for ratio in RATIOS]
    table = Table("pair", "queries", "policy", *columns, "quality at 25 / 50 / 75 % of the budget, c₁ = 0.1 c₂")
    console = Console(width=250)
    with Progress(console=Console(stderr=True, width=120)) as progress:
        for source, pair in progress.track(CASES, description="pairs"):
            begin = time.perf_counter()
            for row in rows_of(measured(source, pair, read(folder, source, pair))):
                table.add_row(*row)
            table.add_section()
            progress.console.print(f"{source}: {time.perf_counter() - begin:.0f} s")
    console.print(table)


if __name__ == "__main__":
    main()
