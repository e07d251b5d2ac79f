"""The finite-sample promise: a threshold that keeps it with a given confidence, or none.

Hybrid LLM picks the threshold with the largest cost advantage whose drop is small enough *on a sample* (Ding et al.,
ICLR 2024, arXiv 2404.14618, §4.5), and then breaks the promise on other queries about as often as not. Here a threshold
is certified: if the calibration queries are an independent sample of the traffic, the probability that the certified
threshold breaks the promise on the traffic is at most 1 − confidence, whatever the distribution. Difficulty must not
have been learnt from these queries.

**Promises as means.** With the routed quality r (large iff difficulty ≥ threshold), the large one l, the small one s,
both promises say that a bounded value, paired within each query, has a mean of at least 0 (its slack):

    quality q    PGR ≥ q          (r − s) − q (l − s)
    max_drop x   drop ≤ x         r − (1 − x) l          qualities ≥ 0; r − (1 + x) l where all are ≤ 0

Pairing removes what queries have in common: a query on which both models agree has no spread.

**Which thresholds.** Learn-then-Test with fixed-sequence testing (Angelopoulos et al. 2021, arXiv 2110.01052): from the
safest threshold (all large) upwards, each tested at the full level, until the first that fails. The sequence is *all*
thresholds, not those of a grid. That costs nothing, as all thresholds between two neighbouring difficulties of the
sample share one split and one test, and it keeps the sequence from depending on the data: to certify any threshold that
breaks the promise, the test at the first such threshold must have passed wrongly (or, where there is no first, at one
of those approaching it from above, which are growing events, each of probability ≤ δ). Ties are never split.

**Which test.** Slacks are tested by betting (Waudby-Smith & Ramdas 2024, arXiv 2010.09686): a gambler starts with 1 and
stakes on each query, in shuffled order, a share of the capital on the slack being positive. Where the promise is broken
the game is unfair to the gambler, so that by Ville's inequality the capital ever reaches 1/δ with probability ≤ δ. The
stakes are their predictable plug-in ones. For qualities of 0 and 1 the slack of a query takes four or five values of
which most queries take the two or three near 0; the capital adapts to that rare spread, where the exact alternatives
do not: Clopper–Pearson on the discordant queries needs a further bound for how many there are, and the two share δ;
Hoeffding–Bentkus knows the range and not the spread. One exception is exact: if
nothing at all may be lost (``quality=1``, ``max_drop=0``) and qualities are 0 or 1, the promise says that among
discordant queries sent to the small model it wins at least half, which is a binomial (sign, McNemar) test.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from shared_router.errors import KnobError, OutcomeError
from shared_router.knob import NEVER_LARGE, Knob, knob_from

__all__ = ["CertifiedThreshold", "certified_threshold", "samples_needed"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TARGET_LOG_CAPITAL = math.log(20.0)
"""Stakes aim at the capital of 95 % confidence, whatever is asked: so that a higher confidence never certifies more.
At 99 % this costs 4 % of the expected log capital."""
LARGEST_STAKE = 0.8
"""Share of the capital at most lost on one query."""
FIRST_VARIANCE = 0.2
VARIANCE_WEIGHT = 10
"""The second moment of a scaled slack that the gambler expects, and the queries that this guess counts for. Any values
are valid; these were compared on the benchmark's tables, where half or thrice as much changed little."""
CUTS_AT_ONCE = 64
BOUND_POINTS = 32
BETS = np.geomspace(1e-3, LARGEST_STAKE, 24)
LOG_CAPITAL_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class CertifiedThreshold:
    """What can be promised, and what it costs.

    Attributes:
        threshold: The large model is chosen iff difficulty ≥ threshold; in [0, ``NEVER_LARGE``]. None where no
            threshold that leaves a calibration query to the small model can be certified: then send all to the large
            model, which keeps the promise by definition.
        bound: Confidence bound for the threshold taken alone, in the unit of the promise: a lower bound for the PGR
            (−inf where not even PGR ≥ 0 can be shown), or an upper bound for the drop (inf where it may exceed 1). What
            is covered by the certificate is the promise itself; the bound says how much room there is. Where nothing is
            certified: the bound at the threshold that failed.
        large_share: Share of the calibration queries sent to the large model, in [0, 1]; 1 where nothing is certified.
        n: Calibration queries.
        samples_needed: About how many would certify a cost advantage of 10 %; None where none would, judging from
            these. See ``samples_needed``.
        promise: What was asked for: a ``quality`` or ``max_drop`` knob.
        confidence: The probability with which the promise is kept, at least.
        reason: Why nothing was certified; empty where something was.
    """

    threshold: float | None
    bound: float
    large_share: float
    n: int
    samples_needed: int | None
    promise: Knob
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Sample:
    """Calibration queries, easiest first.

    Attributes:
        difficulty: Rising, shape (n,).
        small: The small model's qualities, shape (n,).
        large: The large model's, shape (n,).
        place: Where each row of the caller's stands here, shape (n,).
        low: Lowest quality that can occur.
        high: Highest.
    """

    difficulty: Floats
    small: Floats
    large: Floats
    place: Integers
    low: float
    high: float

    def __len__(self) -> int:
        return len(self.difficulty)

    def cuts(self, start: float | None) -> Integers:
        """How many queries each threshold leaves to the small model, rising: those of ``start``, then 1 a tie block."""
        first = 0 if start is None else int(np.searchsorted(self.difficulty, start, side="left"))
        ends = np.flatnonzero(np.diff(self.difficulty) > 0) + 1
        return np.concatenate([[first], ends[ends > first], [len(self)] if first < len(self) else []]).astype(np.int64)

    def order_of_play(self) -> Integers:
        """Rows in the order in which they are bet on, shape (n,): the caller's, shuffled.

        The shuffle depends on what the rows are and not on how they came. So rows that came in at random are played in
        a random order, exactly; and rows that came in sorted (by task, by outcome) are played in an order that is as
        good as random. One fixed shuffle of sorted rows is not: on a distribution of a few atoms its error was measured
        at 1 to 12 % instead of 10 %, depending on the seed.
        """
        ranks = np.unique(np.concatenate([self.small, self.large]), return_inverse=True)[1].reshape(-1)
        levels = np.unique(self.difficulty, return_inverse=True)[1].reshape(-1)
        content = np.concatenate([ranks, levels]).astype("<i8").tobytes()
        seed = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        return self.place[np.random.default_rng(seed).permutation(len(self))]

    def threshold(self, to_small: int, start: float | None) -> float:
        """A threshold that leaves so many to the small model: between the two difficulties that it parts."""
        if to_small == len(self):
            return NEVER_LARGE
        above = float(self.difficulty[to_small])
        below = float(self.difficulty[to_small - 1]) if to_small else 0.0
        if start is not None and start > below:
            below = start
        middle = (below + above) / 2
        # neighbouring floats have no middle
        return middle if below < middle <= above else above


@dataclass(frozen=True, slots=True)
class _Slack:
    """How much room each query leaves, per model that answers it, where a promise is kept iff the mean is ≥ 0.

    Attributes:
        if_large: The slack if the large model answers, over its worst case, ≥ −1, shape (n,).
        if_small: The same if the small model answers.
        certain: No query can have a slack below 0.
    """

    if_large: Floats
    if_small: Floats
    certain: bool


def _slack(sample: _Sample, name: str, value: float) -> _Slack:
    gap = sample.large - sample.small
    if name == "quality":
        worst = max(value, 1.0 - value) * (sample.high - sample.low)
        if_large, if_small = (1.0 - value) * gap, -value * gap
    else:
        kept = 1.0 - value if sample.low >= 0.0 else 1.0 + value
        worst = kept * sample.high - sample.low
        if_large, if_small = sample.large - kept * sample.large, sample.small - kept * sample.large
    if worst <= 0.0:
        return _Slack(if_large, if_small, certain=True)
    return _Slack(if_large / worst, if_small / worst, certain=False)


def _log_capital(rows: Floats) -> Floats:
    """Log of the largest capital on the way, shape (k,), from scaled slacks in the order of play, shape (k, n).

    The stake on query i depends on queries before i only: min(c, sqrt(2 log(1/δ) / (n v_i))), where v_i is the mean
    square of the slacks so far (arXiv 2010.09686, §3.2, with the second moment about the null in place of a variance).
    """
    n = rows.shape[1]
    squares = rows**2
    seen = np.cumsum(squares, axis=1) - squares
    moment = (FIRST_VARIANCE * VARIANCE_WEIGHT + seen) / (VARIANCE_WEIGHT + np.arange(n))
    stakes = np.minimum(np.sqrt(2.0 * TARGET_LOG_CAPITAL / (n * moment)), LARGEST_STAKE)
    capital: Floats = np.cumsum(np.log1p(stakes * rows), axis=1).max(axis=1)
    return capital


def _log_inverse_sign_test(won: int, lost: int) -> float:
    """−log P(Bin(won + lost, ½) ≥ won): the exact test that the small model loses more often than it wins."""
    m = won + lost
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, m + 1)))])
    terms = log_factorial[m] - log_factorial[won : m + 1] - log_factorial[m - np.arange(won, m + 1)] - m * math.log(2.0)
    return max(0.0, -float(np.logaddexp.reduce(terms)))


class _Evidence:
    """Log evidence that a promise is kept; ≥ log(1/δ) with probability ≤ δ where it is broken."""

    def __init__(self, sample: _Sample, promise: Knob, binary: bool) -> None:
        self.sample = sample
        self.name, self.value = promise.name, cast("float", promise.value)
        self.position = np.arange(len(sample))
        self.order = sample.order_of_play()
        self.slack = _slack(sample, self.name, self.value)
        lossless = self.value == (1.0 if self.name == "quality" else 0.0)
        self.exact = binary and lossless

    def of_cuts(self, cuts: Integers) -> Floats:
        """Evidence of several cuts for the promise as it was given, shape (k,)."""
        if self.exact:
            won = np.append(0, np.cumsum(self.sample.small > self.sample.large))
            lost = np.append(0, np.cumsum(self.sample.small < self.sample.large))
            return np.array([_log_inverse_sign_test(int(won[cut]), int(lost[cut])) for cut in cuts])
        to_small = self.position < cuts[:, None]
        return _log_capital(np.where(to_small, self.slack.if_small, self.slack.if_large)[:, self.order])

    def of_values(self, values: Floats, cut: int) -> Floats:
        """Evidence of several stronger or weaker promises at one cut, shape (k,)."""
        found = np.full(len(values), np.inf)
        slacks = [_slack(self.sample, self.name, float(value)) for value in values]
        open_ones = [i for i, slack in enumerate(slacks) if not slack.certain]
        if open_ones:
            to_small = self.position < cut
            rows = np.stack([np.where(to_small, slacks[i].if_small, slacks[i].if_large) for i in open_ones])
            found[open_ones] = _log_capital(rows[:, self.order])
        return found


def _passed(evidence: _Evidence, cuts: Integers, needed: float) -> int:
    """How many cuts pass before the first that fails."""
    done = 0
    for block in _blocks(cuts):
        failed = np.flatnonzero(evidence.of_cuts(block) < needed)
        if len(failed):
            return done + int(failed[0])
        done += len(block)
    return done


def _blocks(cuts: Integers) -> Iterator[Integers]:
    # few at first, as many sequences end early; never so many that their table does not fit in the cache
    start, size = 0, 4
    while start < len(cuts):
        yield cuts[start : start + size]
        start, size = start + size, min(2 * size, CUTS_AT_ONCE)


def _bound(evidence: _Evidence, cut: int, needed: float, certified: bool) -> float:
    """The strongest promise that this cut alone keeps, on a fixed ladder climbed from the weak end until one fails.

    Climbing is fixed-sequence testing once more, so that the bound is a valid one for this cut.
    """
    weakest, strongest = (0.0, 1.0) if evidence.name == "quality" else (1.0, 0.0)
    # rungs are dense near the promise
    steps = (np.arange(BOUND_POINTS + 1) / BOUND_POINTS) ** 2
    if certified:
        ladder = evidence.value + (strongest - evidence.value) * steps
        bound, climbed = evidence.value, ladder[1:]
    else:
        ladder = evidence.value + (weakest - evidence.value) * steps
        bound, climbed = (-math.inf if evidence.name == "quality" else math.inf), ladder[:0:-1]
    if climbed[0] == climbed[-1]:
        return bound
    failed = np.flatnonzero(evidence.of_values(climbed, cut) < needed)
    passed = int(failed[0]) if len(failed) else len(climbed)
    return float(climbed[passed - 1]) if passed else bound


def _array(name: str, values: npt.ArrayLike) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OutcomeError(f"{name} is no array of numbers ({error})") from error
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise OutcomeError(
            f"{name} has {bad} of {array.size} values that are NaN or infinite; drop those queries first"
        )
    return array


def _checked_range(quality_range: tuple[float, float], name: str) -> tuple[float, float]:
    low, high = (float(end) for end in quality_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OutcomeError(f"quality_range is (lowest, highest) quality that can occur, got {quality_range!r}")
    if name == "max_drop" and low < 0.0 < high:
        raise OutcomeError(
            f"a relative drop needs qualities of one sign, and quality_range {quality_range!r} has both; "
            "shift the qualities so that the worst answer has 0, or promise a quality"
        )
    return low, high


def _sample(
    difficulty: npt.ArrayLike,
    small_quality: npt.ArrayLike,
    large_quality: npt.ArrayLike,
    quality_range: tuple[float, float],
    name: str,
) -> _Sample:
    low, high = _checked_range(quality_range, name)
    scores = _array("difficulty", difficulty)
    small, large = _array("small_quality", small_quality), _array("large_quality", large_quality)
    shapes = {"difficulty": scores.shape, "small_quality": small.shape, "large_quality": large.shape}
    if len(set(shapes.values())) != 1 or scores.ndim != 1 or not scores.size:
        raise OutcomeError(f"difficulty and both qualities are arrays of one shape (n,), n ≥ 1, got {shapes}")
    if scores.min() < 0.0 or scores.max() > 1.0:
        raise OutcomeError(f"difficulty lies in [0, 1], got {scores.min():g} to {scores.max():g}")
    for model, values in (("small_quality", small), ("large_quality", large)):
        if values.min() < low or values.max() > high:
            raise OutcomeError(
                f"{model} lies in [{low:g}, {high:g}], got {values.min():g} to {values.max():g}; "
                "say quality_range=(lowest, highest) that can occur, not those that happened to"
            )
    rows = np.lexsort((large, small, scores))
    place = np.empty(len(rows), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    return _Sample(scores[rows], small[rows], large[rows], place, low, high)


def _promise(quality: float | None, max_drop: float | None) -> Knob:
    knob = knob_from({"quality": quality, "max_drop": max_drop})
    if knob is None:
        raise KnobError("say what is promised: quality (PGR at least) or max_drop (relative loss at most)")
    return knob


def _log_needed(confidence: float) -> float:
    if isinstance(confidence, bool) or not isinstance(confidence, int | float | np.floating):
        raise KnobError(f"confidence is a number between 0 and 1, got {confidence!r}")
    if not 0.0 < confidence < 1.0:
        raise KnobError(f"confidence lies between 0 and 1, without the ends, got {confidence!r}")
    return -math.log1p(-float(confidence))


def _is_binary(sample: _Sample, binary: bool | None) -> bool:
    ends = all(bool(np.isin(values, (sample.low, sample.high)).all()) for values in (sample.small, sample.large))
    if binary and not ends:
        raise OutcomeError(
            f"binary qualities are {sample.low:g} or {sample.high:g}; others were found, drop binary=True"
        )
    return ends if binary is None else binary


def _checked_start(start: float | None) -> float | None:
    return None if start is None else cast("float", Knob("threshold", start).value)


def _needed(sample: _Sample, slack: _Slack, cuts: Integers, log_needed: float, cost_advantage: float) -> int | None:
    """As ``samples_needed``; log capital grows by max_b mean(log(1 + b·slack)) a query, and must reach log(1/δ)."""
    enough = int(np.searchsorted(cuts, math.ceil(cost_advantage * len(sample))))
    path = cuts[: enough + 1]
    if slack.certain:
        return 1
    growth = np.full(len(path), -np.inf)
    for bet in BETS:
        of_large, of_small = np.log1p(bet * slack.if_large), np.log1p(bet * slack.if_small)
        total = of_large.sum() + np.concatenate([[0.0], np.cumsum(of_small - of_large)])
        growth = np.maximum(growth, total[path] / len(sample))
    slowest = float(growth.min())
    return math.ceil(log_needed / slowest) if slowest > LOG_CAPITAL_ROUNDING else None


def samples_needed(
    difficulty: npt.ArrayLike,
    small_quality: npt.ArrayLike,
    large_quality: npt.ArrayLike,
    *,
    quality: float | None = None,
    max_drop: float | None = None,
    confidence: float = 0.95,
    cost_advantage: float = 0.1,
    start: float | None = None,
    quality_range: tuple[float, float] = (0.0, 1.0),
) -> int | None:
    """About how many calibration queries a promise needs, if more of them look like these.

    That many give it an about even chance: the evidence of a test grows by a steady amount a query, and the figure is
    how many carry the weakest test on the way to the wanted cost advantage to its level. It is an estimate and no
    promise; from few queries it is rough.

    Args:
        difficulty: Scores of a pilot sample, in [0, 1], shape (n,).
        small_quality: The small model's qualities, shape (n,).
        large_quality: The large model's, shape (n,).
        quality: Promise PGR ≥ quality; this or ``max_drop``.
        max_drop: Promise a drop relative to always-large of at most this.
        confidence: Of the certificate, in (0, 1).
        cost_advantage: Share of calls that the small model should get, in (0, 1].
        start: As for ``certified_threshold``.
        quality_range: Lowest and highest quality that can occur.

    Returns:
        A number of queries, ≥ 1, or None where no number helps because the pilot sample itself breaks the promise (or
        just keeps it) on the way.

    Raises:
        KnobError: Not exactly one promise, or a setting out of range.
        OutcomeError: Arrays of wrong shapes, NaN, or values out of range.
    """
    promise = _promise(quality, max_drop)
    if not 0.0 < cost_advantage <= 1.0:
        raise KnobError(f"cost_advantage is a share above 0 and at most 1, got {cost_advantage!r}")
    log_needed = _log_needed(confidence)
    sample = _sample(difficulty, small_quality, large_quality, quality_range, promise.name)
    slack = _slack(sample, promise.name, cast("float", promise.value))
    return _needed(sample, slack, sample.cuts(_checked_start(start)), log_needed, cost_advantage)


def _reason(evidence: _Evidence, cut: int, bound: float, needed: int | None) -> str:
    n = len(evidence.sample)
    share = 1.0 - cut / n
    if evidence.name == "quality":
        shown = f"a PGR of at least {bound:.3g}" if math.isfinite(bound) else "not even a PGR of 0"
    else:
        shown = f"a drop of at most {bound:.3g}" if math.isfinite(bound) else "not even a drop of at most 1"
    if evidence.name == "quality" and evidence.sample.large.mean() <= evidence.sample.small.mean():
        hint = "on this sample the large model is no better than the small one: there is nothing to keep a share of"
    elif evidence.slack.if_large.any() or cut:
        about = f"about {needed:,}" if needed is not None else "no number of queries like these"
        hint = f"{about} would certify a cost advantage of 10 %"
    else:
        hint = (
            "a promise without any loss needs start=, a threshold from other data that leaves many to the small model"
        )
    return (
        f"{evidence.name}={evidence.value:g} cannot be certified from {n:,} queries: where the first test fails "
        f"({share:.1%} to the large model) they show {shown}; {hint}"
    )


def certified_threshold(
    difficulty: npt.ArrayLike,
    small_quality: npt.ArrayLike,
    large_quality: npt.ArrayLike,
    *,
    quality: float | None = None,
    max_drop: float | None = None,
    confidence: float = 0.95,
    binary: bool | None = None,
    start: float | None = None,
    quality_range: tuple[float, float] = (0.0, 1.0),
) -> CertifiedThreshold:
    """The threshold with the largest cost advantage that keeps a promise with a given confidence.

    The arrays are over the same calibration queries, which stand for the traffic to come and were not trained on. Their
    order has no meaning but decides the order of the bets, so that another one may give a slightly different answer; do
    not choose among them. ``quality=0`` and ``max_drop=1`` (of qualities from 0 on) hold for the small model alone.

    Args:
        difficulty: Scores in [0, 1], higher = rather the large model, shape (n,).
        small_quality: Quality of the small model's answers, within ``quality_range``, shape (n,).
        large_quality: Quality of the large model's answers, within ``quality_range``, shape (n,).
        quality: Promise that PGR ≥ quality, in [0, 1]; this or ``max_drop``. Where the large model is no better than
            the small one, that reads mean(routed − small) ≥ quality · mean(large − small).
        max_drop: Promise that mean quality falls by at most this share of the large model's, in [0, 1].
        confidence: Probability with which the promise is to hold on the traffic, in (0, 1).
        binary: Whether qualities are the two ends of ``quality_range`` and nothing between, which allows an exact test
            where nothing may be lost; None = look.
        start: The first threshold to test, in [0, 1], in place of the safest. Valid only if it was chosen without these
            queries' qualities and difficulties, say on training data. A promise without any loss needs one, since the
            safest thresholds leave too few queries to the small model for any test.
        quality_range: Lowest and highest quality that can occur (not: that was seen). For BARTScore both are ≤ 0.

    Returns:
        The threshold, or None with the reason.

    Raises:
        KnobError: Not exactly one of quality and max_drop, or a setting out of range.
        OutcomeError: Arrays of wrong shapes, NaN, or values out of range.
    """
    promise = _promise(quality, max_drop)
    log_needed = _log_needed(confidence)
    first = _checked_start(start)
    sample = _sample(difficulty, small_quality, large_quality, quality_range, promise.name)
    evidence = _Evidence(sample, promise, _is_binary(sample, binary))
    n, value = len(sample), evidence.value
    if evidence.slack.certain or (promise.name == "quality" and value == 0.0):
        return CertifiedThreshold(NEVER_LARGE, value, 0.0, n, 1, promise, float(confidence), "")
    cuts = sample.cuts(first)
    passed = _passed(evidence, cuts, log_needed)
    needed = _needed(sample, evidence.slack, cuts, log_needed, 0.1)
    # passing with all queries at the large model saves nothing
    if not passed or cuts[passed - 1] == 0:
        cut = int(cuts[passed])
        bound = _bound(evidence, cut, log_needed, certified=False)
        reason = _reason(evidence, cut, bound, needed)
        return CertifiedThreshold(None, bound, 1.0, n, needed, promise, float(confidence), reason)
    cut = int(cuts[passed - 1])
    bound = _bound(evidence, cut, log_needed, certified=True)
    threshold = sample.threshold(cut, first)
    return CertifiedThreshold(threshold, bound, 1.0 - cut / n, n, needed, promise, float(confidence), "")
