"""Battles: which of two models gave the answer that people (or a judge) preferred.

One row a battle, in JSON lines (``.jsonl``, ``.ndjson``), CSV or Parquet, with the columns of Chatbot Arena:

    prompt          string    what was asked; or ``conversation``, ``conversation_a``: its turns, {"role", "content"}
    model_a         string    name of one model
    model_b         string    name of the other
    winner          string    "model_a", "model_b", "tie" or "tie (bothbad)" (also "both_bad")
    source          string    optional: who judged ("arena", "judge", …), so that sources can be weighted
    weight          number    optional: how much the row counts, above 0, else 1

    {"prompt": "Prove that 2 is irrational.", "model_a": "gpt-4", "model_b": "vicuna-13b", "winner": "model_a"}

Instead of ``winner`` the three columns ``winner_model_a``, ``winner_model_b``, ``winner_tie`` of the lmsys data on
Kaggle are read, of which exactly one is 1; there the prompt is a JSON list of the turns' texts. Answers are not read:
only who won is kept, as in RouteLLM (Ong et al. 2024, arXiv 2406.18665, §4.1).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError
from shared_router.query import query_text
from shared_router.tables.chat_messages import messages_from, turns_of
from shared_router.tables.labeled import LabeledPrompts
from shared_router.tables.rows import BadRowError, checked_rows, finite, present, read_rows, text_of

__all__ = [
    "MIN_BATTLES",
    "MIN_CHARS",
    "MIN_PER_MODEL",
    "TURNS",
    "Battle",
    "Battles",
    "JudgedTurn",
    "battles_from",
    "comparable",
    "joined",
    "labels_as_battles",
    "model_place",
    "read_battles",
    "weighted",
    "without_prompts",
]

MIN_CHARS = 16
"""Shorter prompts ("hi") are left out: RouteLLM, §4.1."""

MIN_BATTLES = 100
"""Below, a split for early stopping would leave nothing to stop by."""

MIN_PER_MODEL = 10
"""Battles that either model of the pair must stand in."""

SHOWN_MODELS = 20

JudgedTurn: TypeAlias = Literal["last", "first"]
"""Which human turn of a conversation is judged: the last, as in serving, or the first, as in RouteLLM."""

TURNS: tuple[JudgedTurn, ...] = get_args(JudgedTurn)

_WON = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5}
_ONE_HOT = {"winner_model_a": 1.0, "winner_model_b": 0.0, "winner_tie": 0.5}
_CONVERSATIONS = ("conversation", "conversation_a", "conversation_b")


@dataclass(frozen=True, slots=True)
class Battle:
    """One row.

    Attributes:
        prompt: What was asked.
        first: Name of one model.
        second: Name of the other.
        won: The first model's share of the win: 1, 0, or 0.5 for a tie.
        weight: How much the row counts, above 0.
        source: Who judged; may be empty.
    """

    prompt: str
    first: str
    second: str
    won: float
    weight: float = 1.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Battles:
    """n battles between m models over p prompts.

    Attributes:
        prompts: Different from each other, length p.
        models: Names, sorted, length m.
        prompt: Prompt of each battle, in [0, p), shape (n,).
        first: One model of each, in [0, m), shape (n,).
        second: The other, different from the first, shape (n,).
        won: The first model's share of the win: 1, 0 or 0.5, shape (n,).
        weight: How much each counts, above 0, shape (n,).
        sources: Who judged each, length n.
        skipped: What was wrong with each row that was left out.
        short: Rows left out because their prompt is too short.
        same: Rows left out because both models are one.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    prompt: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    won: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    sources: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    short: int = 0
    same: int = 0

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def ties(self) -> int:
        """Battles that nobody won."""
        return int((self.won == 0.5).sum())

    def of_each_model(self) -> npt.NDArray[np.int64]:
        """Battles of each model, shape (m,)."""
        return np.bincount(np.concatenate([self.first, self.second]), minlength=len(self.models))

    def part(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Battles:
        """Some of the battles; the lists of prompts and models stay whole, so that places in them stay valid.

        Args:
            rows: Their places, shape (k,), or which, shape (n,).
        """
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return replace(
            self,
            prompt=self.prompt[places],
            first=self.first[places],
            second=self.second[places],
            won=self.won[places],
            weight=self.weight[places],
            sources=tuple(self.sources[place] for place in places.tolist()),
        )


def read_battles(
    path: str | Path, *, min_chars: int = MIN_CHARS, turn: JudgedTurn = "last", skip_bad: bool = False
) -> Battles:
    """Read a file of battles.

    Args:
        path: ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet``; the columns are described above.
        min_chars: Leave out battles whose prompt is shorter.
        turn: Which human turn of a conversation is taken for the prompt.
        skip_bad: Leave out rows that cannot be used, and report them, instead of stopping at the first.

    Raises:
        OutcomeError: The file cannot be read, a row cannot be used (the message names file and line), or nothing is
            left.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    rows, skipped = checked_rows(
        read_rows(path, needed=("model_a", "model_b")), lambda values: _checked(values, turn), skip_bad=skip_bad
    )
    return battles_from(rows, min_chars=min_chars, skipped=skipped, origin=str(path))


def battles_from(
    rows: Sequence[Battle], *, min_chars: int = 0, skipped: tuple[str, ...] = (), origin: str = "the rows"
) -> Battles:
    """Rows as arrays.

    Args:
        rows: Any order.
        min_chars: Leave out battles whose prompt is shorter.
        skipped: What was wrong with rows that were left out.
        origin: Where the rows come from, for messages.

    Raises:
        OutcomeError: A share of the win is not 0, 0.5 or 1, a weight not above 0, or no battle is left.
    """
    different = [row for row in rows if row.first != row.second]
    kept = [row for row in different if len(row.prompt) >= min_chars]
    if not kept:
        raise OutcomeError(
            f"{origin} has no usable battle ({len(skipped)} rows cannot be used, in {len(rows) - len(different)} a "
            f"model meets itself, {len(different)} have prompts below {min_chars} characters)"
        )
    if any(row.won not in {0.0, 0.5, 1.0} or not 0.0 < row.weight < float("inf") for row in kept):
        raise OutcomeError(f"{origin}: the share of a win is 0, 0.5 or 1, and a weight is finite and above 0")
    prompts = {prompt: place for place, prompt in enumerate(dict.fromkeys(row.prompt for row in kept))}
    models = {name: place for place, name in enumerate(sorted({name for row in kept for name in _pair(row)}))}
    return Battles(
        prompts=tuple(prompts),
        models=tuple(models),
        prompt=np.array([prompts[row.prompt] for row in kept], dtype=np.int64),
        first=np.array([models[row.first] for row in kept], dtype=np.int64),
        second=np.array([models[row.second] for row in kept], dtype=np.int64),
        won=np.array([row.won for row in kept], dtype=np.float64),
        weight=np.array([row.weight for row in kept], dtype=np.float64),
        sources=tuple(row.source for row in kept),
        skipped=skipped,
        short=len(different) - len(kept),
        same=len(rows) - len(different),
    )


def labels_as_battles(
    labeled: LabeledPrompts, small: str, large: str, *, weight: float = 1.0, source: str = "labels"
) -> Battles:
    """Golden labels as battles between the pair: strictly better wins, equal is a tie (RouteLLM, §4.1, D_gold).

    Args:
        labeled: Prompts with the quality of both models' answers.
        small: The small model's name among the battles.
        large: The large model's.
        weight: How much one label counts against a battle of weight 1.
        source: What the rows' ``source`` shall be.

    Raises:
        OutcomeError: The weight is not above 0, or both names are one.
    """
    won = 0.5 * (1.0 + np.sign(labeled.large - labeled.small))
    rows = [
        Battle(prompt, large, small, share, weight, source)
        for prompt, share in zip(labeled.prompts, won.tolist(), strict=True)
    ]
    return battles_from(rows, origin="the labels")


def joined(parts: Sequence[Battles]) -> Battles:
    """Battles of several files as one.

    Args:
        parts: At least one; prompts and models may stand in several.
    """
    prompts = {text: i for i, text in enumerate(dict.fromkeys(text for part in parts for text in part.prompts))}
    models = {name: i for i, name in enumerate(sorted({name for part in parts for name in part.models}))}
    of_prompt = [np.array([prompts[text] for text in part.prompts], dtype=np.int64) for part in parts]
    of_model = [np.array([models[name] for name in part.models], dtype=np.int64) for part in parts]
    return Battles(
        prompts=tuple(prompts),
        models=tuple(models),
        prompt=np.concatenate([places[part.prompt] for part, places in zip(parts, of_prompt, strict=True)]),
        first=np.concatenate([places[part.first] for part, places in zip(parts, of_model, strict=True)]),
        second=np.concatenate([places[part.second] for part, places in zip(parts, of_model, strict=True)]),
        won=np.concatenate([part.won for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        sources=tuple(source for part in parts for source in part.sources),
        skipped=tuple(place for part in parts for place in part.skipped),
        short=sum(part.short for part in parts),
        same=sum(part.same for part in parts),
    )


def weighted(battles: Battles, factors: Mapping[str, float]) -> Battles:
    """The same with the weights of some sources multiplied.

    Args:
        battles: Battles.
        factors: Source → factor, above 0.

    Raises:
        OutcomeError: No battle is of such a source, or a factor is not finite and above 0.
    """
    known = set(battles.sources)
    for source, factor in factors.items():
        if source not in known:
            named = ", ".join(sorted(known - {""})) or "no row has a column source"
            raise OutcomeError(f"no battle is of source {source!r} (there are: {named})")
        if not 0.0 < factor < float("inf"):
            raise OutcomeError(f"the weight of a source is a finite number above 0, got {factor} for {source!r}")
    factor_of_row = np.array([factors.get(source, 1.0) for source in battles.sources])
    return replace(battles, weight=battles.weight * factor_of_row)


def without_prompts(battles: Battles, texts: Sequence[str]) -> Battles:
    """The battles over other prompts than these.

    Args:
        battles: Battles.
        texts: Prompts to leave out, compared without regard to case and white space.

    Raises:
        OutcomeError: Nothing is left.
    """
    unwanted = {_normal(text) for text in texts}
    wanted = np.array([_normal(prompt) not in unwanted for prompt in battles.prompts], dtype=np.bool_)
    left = battles.part(wanted[battles.prompt])
    if not len(left):
        raise OutcomeError(
            "the prompts of all battles also stand among the labels, which are to measure what is learned "
            "from the battles; use other labels, or none"
        )
    return left


def model_place(models: Sequence[str], name: str) -> int:
    """Place of a model among names.

    Args:
        models: Names.
        name: Which.

    Raises:
        OutcomeError: There is no such model; the message names near ones.
    """
    if name in models:
        return list(models).index(name)
    near = difflib.get_close_matches(name, models, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(models[:SHOWN_MODELS])
    more = f" and {len(models) - SHOWN_MODELS} more" if len(models) > SHOWN_MODELS else ""
    raise OutcomeError(f"no battle is of a model {name!r}{hint} (there are: {shown}{more})")


def comparable(battles: Battles, small: str, large: str, *, origin: str = "the battles") -> Battles:
    """The same battles, if a router between two of the models can be learned from them.

    Args:
        battles: Battles.
        small: Name of the small model.
        large: Name of the large model.
        origin: Where they come from, for messages.

    Raises:
        OutcomeError: Too few battles in all or of either model, a model that is not among them, the same model twice,
            or two models that no chain of battles connects.
    """
    if small == large:
        raise OutcomeError(f"small and large are both {small!r}; a router chooses between two models")
    one, other = model_place(battles.models, small), model_place(battles.models, large)
    if len(battles) < MIN_BATTLES:
        raise OutcomeError(
            f"{origin}: {len(battles)} usable battles; a router needs {MIN_BATTLES} at the very least and some "
            "thousands to be of use: add battles, or label prompts of your own pair for hybrid-llm fit"
        )
    counts = battles.of_each_model()
    for name, place in ((small, one), (large, other)):
        if counts[place] < MIN_PER_MODEL:
            raise OutcomeError(
                f"{origin}: {name!r} stands in {counts[place]} battles, {MIN_PER_MODEL} are needed; "
                "add battles or labels of it"
            )
    if other not in _reached(battles, one):
        raise OutcomeError(
            f"{origin}: no chain of battles leads from {small!r} to {large!r}, so that they cannot be "
            "compared; add battles between either and a model that the other has met"
        )
    return battles


def _reached(battles: Battles, start: int) -> set[int]:
    met = np.zeros((len(battles.models), len(battles.models)), dtype=np.bool_)
    met[battles.first, battles.second] = met[battles.second, battles.first] = True
    reached, edge = {start}, [start]
    while edge:
        new = set(np.flatnonzero(met[edge.pop()]).tolist()) - reached
        reached |= new
        edge += new
    return reached


def _pair(row: Battle) -> tuple[str, str]:
    return row.first, row.second


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()


def _checked(values: Mapping[str, object], turn: JudgedTurn) -> Battle:
    present(values, ("model_a", "model_b"))
    return Battle(
        prompt=_prompt(values, turn),
        first=text_of("model_a", values["model_a"]).strip(),
        second=text_of("model_b", values["model_b"]).strip(),
        won=_won(values),
        weight=_weight(values.get("weight")),
        source=text_of("source", values.get("source") or "", may_be_empty=True),
    )


def _won(values: Mapping[str, object]) -> float:
    winner = values.get("winner")
    if winner is not None:
        if not isinstance(winner, str) or winner.strip().lower() not in _WON:
            raise BadRowError(f"winner is one of {', '.join(_WON)}, got {winner!r:.40}")
        return _WON[winner.strip().lower()]
    present(values, tuple(_ONE_HOT))
    marked = [name for name in _ONE_HOT if _number(name, values[name]) == 1.0]
    zero = sum(_number(name, values[name]) == 0.0 for name in _ONE_HOT)
    if len(marked) != 1 or zero != len(_ONE_HOT) - 1:
        raise BadRowError(f"of {', '.join(_ONE_HOT)} exactly one is 1 and the others are 0")
    return _ONE_HOT[marked[0]]


def _weight(value: object) -> float:
    weight = 1.0 if value is None else _number("weight", value)
    if weight <= 0.0:
        raise BadRowError(f"weight is above 0, got {weight}; leave out rows that shall not count")
    return weight


def _number(name: str, value: object) -> float:
    # cells of a CSV file are text
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise BadRowError(f"{name} is a number, got {value!r:.40}") from None
    return finite(name, value)


def _prompt(values: Mapping[str, object], turn: JudgedTurn) -> str:
    prompt = values.get("prompt")
    if prompt is None:
        name = next((name for name in _CONVERSATIONS if values.get(name) is not None), None)
        if name is None:
            raise BadRowError(
                f"no value for prompt or {_CONVERSATIONS[0]} (there are: {', '.join(map(str, values)) or 'none'})"
            )
        return _judged(name, _parsed(name, values[name]), turn)
    # Kaggle's prompts are JSON lists; elsewhere a prompt that looks like one is what somebody asked
    if isinstance(prompt, str) and values.get("winner") is None and prompt.lstrip().startswith("["):
        prompt = _parsed("prompt", prompt)
    if isinstance(prompt, list):
        return _judged("prompt", prompt, turn)
    return query_text(text_of("prompt", prompt))


def _parsed(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"{name} is a list of turns, or one written as JSON ({error})") from None


def _judged(name: str, turns: object, judged: JudgedTurn) -> str:
    if not isinstance(turns, list):
        raise BadRowError(f"{name} is a list of turns, got {type(turns).__name__}")
    # Kaggle has null where a turn is missing
    read = turns_of(messages_from([turn for turn in turns if turn is not None]))
    human = [turn for turn in read if turn.role == "human" and turn.text.strip()]
    if not human:
        raise BadRowError(f"{name} has no turn of a user with text")
    return text_of(f"a turn of {name}", query_text(read if judged == "last" else human[0].text))
