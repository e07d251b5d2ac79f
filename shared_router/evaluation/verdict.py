"""Whether to route, from intervals.

The rule was fixed before anything was measured with it, and is applied from the top:

    too_few        fewer than ``MIN_ROWS`` prompts
    use_small      the interval of the gap (large − small) reaches 0 or below: the large model is not shown to be better
    use_length     prompt length, or
    use_other      another score, ranks better than chance, and better than the router
    does_not_pay   the router does not rank better than chance, nor does anything else
    use_length,    the router does not rank better than chance, but one of these does
    use_other
    use_length     both rank better than chance, but the router is not shown to beat prompt length, which is free
    routing_pays   the router ranks better than chance, and better than prompt length wherever that does

"Ranks better" compares the mean quality above a random router's (``over_random``): its interval, for two scores the
paired interval of the difference, must lie above 0. Claims about the router must all hold and need no correction; that
one of k other scores is good is a claim about the best of k, so that its intervals have the level 1 − (1 − level) / k.
The rule is meant for prompts that the router did not learn from, and for a router that was not chosen on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared_router.evaluation.figures import LENGTH, ROUTER
from shared_router.evaluation.metrics import Interval
from shared_router.evaluation.results import Verdict, VerdictWord
from shared_router.tables.labeled import MIN_ROWS

__all__ = ["Evidence", "signed", "verdict"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict is drawn from.

    Attributes:
        rows: Prompts.
        level: Coverage of the plain intervals, for the text.
        gap: Mean quality of the large model less that of the small one.
        router: ``over_random`` of the router.
        router_apgr: Its APGR, for the text; None where there is none.
        others: ``over_random`` of each other score that could serve instead, by name.
        others_strict: The same with intervals for the best of them.
        router_minus: The router's ``over_random`` less each other's, paired.
        router_minus_strict: The same with intervals for the best of them.
        titles: What to call each other score.
        prices: What each score, the router's among them, costs and saves here, in a sentence each.
    """

    rows: int
    level: float
    gap: Interval
    router: Interval
    router_apgr: Interval | None
    others: Mapping[str, Interval]
    others_strict: Mapping[str, Interval]
    router_minus: Mapping[str, Interval]
    router_minus_strict: Mapping[str, Interval]
    titles: Mapping[str, str]
    prices: Mapping[str, str] = field(default_factory=dict)


def signed(value: Interval, digits: int = 3) -> str:
    """A difference with its interval, such as "+0.102 [+0.061, +0.140]".

    Args:
        value: The difference.
        digits: After the point.
    """
    # the sum makes a negative zero a plain one
    middle, low, high = (round(number, digits) + 0.0 for number in (value.estimate, value.low, value.high))
    return f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def verdict(evidence: Evidence) -> Verdict:
    """The verdict by the rule above.

    Args:
        evidence: Intervals.
    """
    word, rival = _decided(evidence)
    return Verdict(word, " ".join(part for part in _TEXTS[word](evidence, rival) if part))


def _decided(evidence: Evidence) -> tuple[VerdictWord, str]:
    if evidence.rows < MIN_ROWS:
        return "too_few", ""
    if evidence.gap.low <= 0.0:
        return "use_small", ""
    able = [name for name, over in evidence.others_strict.items() if over.low > 0.0]
    better = [name for name in able if evidence.router_minus_strict[name].high < 0.0]
    if better:
        return _instead(evidence, better)
    if evidence.router.low <= 0.0:
        return _instead(evidence, able) if able else ("does_not_pay", "")
    length = evidence.others.get(LENGTH)
    if length is not None and length.low > 0.0 and evidence.router_minus[LENGTH].low <= 0.0:
        return "use_length", LENGTH
    return "routing_pays", ""


def _instead(evidence: Evidence, names: Sequence[str]) -> tuple[VerdictWord, str]:
    best = max(names, key=lambda name: evidence.others[name].estimate)
    return ("use_length" if best == LENGTH else "use_other"), best


def _too_few(evidence: Evidence, rival: str) -> tuple[str, ...]:
    return (
        f"Too few prompts to tell: {evidence.rows}, where {MIN_ROWS} are the least and some 500 are of use.",
        "Label more before you decide.",
    )


def _use_small(evidence: Evidence, rival: str) -> tuple[str, ...]:
    ranks = (
        "The router does rank these prompts better than chance, so that a mixture of both models may beat either; but "
        "what the large model adds on the whole is too little to say so from these data."
        if evidence.router.low > 0.0
        else ""
    )
    return (
        "Routing does not pay on this data: use the small model.",
        f"The large one is not shown to be better ({signed(evidence.gap)} in mean quality, {_level(evidence)}).",
        "If you expected otherwise, label more prompts, or check that the columns are not interchanged.",
        ranks,
    )


def _does_not_pay(evidence: Evidence, rival: str) -> tuple[str, ...]:
    rivals = "".join(f", nor does {evidence.titles[name]}" for name in evidence.others)
    return (
        "Routing does not pay on this data.",
        f"The router does not rank the prompts better than chance ({_rank(evidence)}){rivals}.",
        f"Use the large model if {evidence.gap.estimate:+.3f} in mean quality is worth its price, else the small one.",
    )


def _use_length(evidence: Evidence, rival: str) -> tuple[str, ...]:
    return (
        "Routing by this router does not pay on this data: use prompt length, which costs nothing.",
        _against(evidence, LENGTH, "prompt length"),
        evidence.prices.get(LENGTH, ""),
    )


def _use_other(evidence: Evidence, rival: str) -> tuple[str, ...]:
    return (
        f"Routing pays on this data, but not by this router: use {evidence.titles[rival]}.",
        _against(evidence, rival, evidence.titles[rival]),
        evidence.prices.get(rival, ""),
    )


def _against(evidence: Evidence, rival: str, name: str) -> str:
    minus = evidence.router_minus[rival]
    return (
        f"The router ranks the prompts {_chance(evidence)} ({_rank(evidence)}); compared with {name} it stands at "
        f"{signed(minus, 4)} in mean quality, averaged over all shares."
    )


def _routing_pays(evidence: Evidence, rival: str) -> tuple[str, ...]:
    length = evidence.router_minus.get(LENGTH)
    lead = ""
    if length is not None and length.low > 0.0:
        lead = f"It ranks better than prompt length ({signed(length, 4)} in mean quality, averaged over all shares)."
    elif length is not None:
        lead = (
            f"It is not shown to be better than prompt length ({signed(length, 4)} in mean quality, averaged over all "
            "shares), but that does not rank better than chance."
        )
    return (
        f"Routing pays on this data: the router ranks the prompts better than chance ({_rank(evidence)}).",
        lead,
        evidence.prices.get(ROUTER, ""),
    )


def _chance(evidence: Evidence) -> str:
    return "better than chance" if evidence.router.low > 0.0 else "no better than chance"


def _rank(evidence: Evidence) -> str:
    apgr = evidence.router_apgr
    if apgr is None:
        return f"{signed(evidence.router, 4)} in mean quality, averaged over all shares; {_level(evidence)}"
    return f"APGR {apgr.estimate:.3f}, {_level(evidence)} {apgr.low:.3f} to {apgr.high:.3f}; guessing has 0.500"


def _level(evidence: Evidence) -> str:
    return f"{100 * evidence.level:g} % interval"


_TEXTS = {
    "too_few": _too_few,
    "use_small": _use_small,
    "use_length": _use_length,
    "use_other": _use_other,
    "does_not_pay": _does_not_pay,
    "routing_pays": _routing_pays,
}
