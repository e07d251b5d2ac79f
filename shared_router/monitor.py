"""Does the traffic still look like the calibration set? A running test that may be looked at as often as one likes.

A certificate speaks of traffic like the calibration queries. The monitor keeps a histogram of the difficulties that
come in, never a text, and raises an alarm where they are no longer exchangeable with those of the calibration set. On a
stream without end the probability that it *ever* does so wrongly is at most ``false_alarm``. A two-sample test of each
hour's queries (Kolmogorov–Smirnov, say) has no such bound: sooner or later it rejects for certain.

**Fair odds from a finite calibration set.** Give every difficulty a random number of its own that breaks ties. Of n
calibration queries and t later ones, all in one order by size, the next falls into each of the n + t + 1 places with
equal probability, whatever the distribution, as all orders of n + t + 1 exchangeable values are equally likely. Bins
end at calibration difficulties; one with m places at first (its calibration queries; in the last bin one more) to which
s later queries came has m + s of them. So the next query falls into it with probability

    (m + s) / (n + 1 + t)

given all bins before: exactly, no estimate, as in Pólya's urn. (Bins are equivalent blocks in the sense of Tukey 1947;
the odds are those of the conformal p-values of Vovk et al. 2021, arXiv 2102.10439, which are independent and uniform,
spread evenly over each bin.) That the calibration set is small costs power and not validity.

**Betting.** Players bet at these odds on the bin of the next query: where a player gives probability q to a bin of
probability p and it comes, the stake is multiplied by q / p, which is 1 on average. So the whole capital, 1 at first,
is a martingale, and by Ville's inequality the probability that it ever reaches 1 / ``false_alarm`` is at most
``false_alarm``. Any bets are valid that use the past only; these are the players, and adding them up keeps the level:

    tilts   four that always expect higher or lower ranks, 1 + ε (2 rank − 1), ε = ±0.3, ±0.9: a shift
    copier  expects the bins of late, about the last 200 queries: any change of shape, such as of the spread

**Drift that begins late.** A player who bet on drift through a million calm queries is ruined when it comes. So the
players start with half the capital only, and the rest is paid out little by little and never runs out: a mixture over
all starting times, whose price grows with the logarithm of the time.

What this cannot see is a change of how well the models answer queries of the same difficulty. That takes labels, and
``PromiseMonitor`` bets in the same way against the promise itself, on queries for which the qualities of both are
known.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, cast

from shared_router.errors import ArtifactFormatError, KnobError, OutcomeError, ScoreError
from shared_router.knob import Knob
from shared_router.records import JSON, TARGETS, Target

__all__ = [
    "DriftMonitor",
    "LargeShare",
    "MonitorSnapshot",
    "PromiseMonitor",
    "PromiseSnapshot",
    "ReferenceHistogram",
    "reference_histogram",
]

BINS = 20
RECENT = 1000
"""Calls that the snapshot calls recent."""

TILTS = (0.3, -0.3, 0.9, -0.9)
COPIER_MEMORY = 200
"""Queries after which the copier has forgotten all but 1/e of a query."""
COPIER_DOUBT = 50.0
"""Queries that the fair odds count for in the copier's expectation."""
STAKES = (0.05, 0.15, 0.4, 0.8)
"""Shares of the capital that are staked on a broken promise."""
PAID_AT_FIRST = 0.5
INSTALMENT_SCALE = 1000.0
"""Queries until about a third of what was kept back is paid out; after a million it is nine tenths. Any values are
valid. These, the tilts and the copier's were compared on simulated shifts, where other sensible ones changed little."""
LARGEST_WEIGHT = 1e150
SHARE_VARIANCE = 0.25
SHARE_TUNED_FOR = 1000
"""Calls at which the interval of the large share is tightest for its level."""


@dataclass(frozen=True, slots=True)
class ReferenceHistogram:
    """The calibration difficulties, reduced to what drift is tested against. Made by ``reference_histogram``.

    Attributes:
        edges: Upper end of each bin but the last, each the difficulty of a calibration query, not falling, in [0, 1],
            shape (bins − 1,). Equal ones part queries of one difficulty at random.
        ties: The random number in [0, 1) of each of those queries, rising within equal edges, shape (bins − 1,).
        counts: Calibration queries in each bin, ≥ 1, in the last ≥ 0, shape (bins,).
    """

    edges: tuple[float, ...]
    ties: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        """Reject histograms of which the odds would be none."""
        if not (self.edges and len(self.edges) == len(self.ties) == len(self.counts) - 1):
            raise ArtifactFormatError("a reference histogram has at least one edge, as many ties, and one more count")
        if not all(0.0 <= edge <= 1.0 for edge in self.edges) or not all(0.0 <= tie < 1.0 for tie in self.ties):
            raise ArtifactFormatError("the edges of a reference histogram lie in [0, 1], its ties in [0, 1)")
        ends = list(zip(self.edges, self.ties, strict=True))
        if not all(a < b for a, b in itertools.pairwise(ends)):
            raise ArtifactFormatError("the edges of a reference histogram do not fall, and equal ones have rising ties")
        whole = all(isinstance(count, int) and not isinstance(count, bool) for count in self.counts)
        if not whole or min(self.counts[:-1]) < 1 or self.counts[-1] < 0:
            raise ArtifactFormatError("the counts of a reference histogram are whole, ≥ 1, and in the last bin ≥ 0")

    @property
    def n(self) -> int:
        """Calibration queries."""
        return sum(self.counts)

    @property
    def places(self) -> tuple[int, ...]:
        """Places for the next query in each bin, n + 1 in all, shape (bins,)."""
        return (*self.counts[:-1], self.counts[-1] + 1)

    def bin(self, difficulty: float, chance: random.Random) -> int:
        """The bin of a difficulty; on an edge, ``chance`` decides."""
        edges, found = self.edges, bisect_left(self.edges, difficulty)
        if found < len(edges) and edges[found] == difficulty:
            tie = chance.random()
            while found < len(edges) and edges[found] == difficulty and self.ties[found] < tie:
                found += 1
        return found

    def as_json(self) -> dict[str, JSON]:
        """What ``from_json`` reads."""
        return {"edges": list(self.edges), "ties": list(self.ties), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ReferenceHistogram:
        """The histogram that was written.

        Raises:
            ArtifactFormatError: It is none.
        """
        try:
            return cls(
                edges=tuple(float(edge) for edge in document["edges"]),
                ties=tuple(float(tie) for tie in document["ties"]),
                counts=tuple(document["counts"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactFormatError(f"no reference histogram ({type(error).__name__}: {error})") from error


def reference_histogram(difficulty: Iterable[float], *, bins: int = BINS, seed: int = 0) -> ReferenceHistogram:
    """Bins with about the same number of calibration queries each.

    Where many queries share a difficulty, bins part them at random, so that few distinct difficulties need no care.

    Args:
        difficulty: Difficulties of the calibration queries, in [0, 1], in any order, shape (n,), n ≥ 1. The router must
            not have learnt from these queries: it scores those it knows differently from new ones.
        bins: How many, ≥ 2; fewer than that are made of less than bins − 1 queries.
        seed: Of the random numbers that break ties.

    Raises:
        OutcomeError: There are no difficulties, or some are no numbers in [0, 1].
        KnobError: ``bins`` is no whole number ≥ 2.
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2:
        raise KnobError(f"bins is a whole number of at least 2, got {bins!r}")
    try:
        values = [float(value) for value in difficulty]
    except (TypeError, ValueError) as error:
        raise OutcomeError(f"difficulty is no list of numbers ({error})") from error
    bad = sum(not 0.0 <= value <= 1.0 for value in values)  # NaN fails it too
    if bad or not values:
        raise OutcomeError(
            f"difficulty has {bad} of {len(values)} values that are not in [0, 1]; drop those queries first"
            if bad
            else "difficulty is empty; drift is tested against at least one calibration query, and sees little with few"
        )
    # not the numbers that a monitor of the same seed draws: theirs must be independent of these
    chance = random.Random(f"reference {seed}")
    ordered = sorted((value, chance.random()) for value in sorted(values))
    places = len(ordered) + 1
    made = min(bins, places)
    ends = [places * i // made for i in range(1, made)]
    return ReferenceHistogram(
        edges=tuple(ordered[end - 1][0] for end in ends),
        ties=tuple(ordered[end - 1][1] for end in ends),
        counts=tuple(b - a for a, b in zip([0, *ends], [*ends, places - 1], strict=True)),
    )


class _Purse:
    """The capital: what the players have, and what is kept for later.

    Attributes:
        capital: All of it; 1 at first.
        peak: The most that it ever was.
        alarm: The round in which it reached the goal, from 1 on; None if it has not. Nothing is staked after that.
        onset: The round from which on the player who is ahead at the alarm won.
        rounds: How many were played.
    """

    def __init__(self, weights: Sequence[float], false_alarm: float) -> None:
        self._weights = tuple(weight / sum(weights) for weight in weights)
        self._goal = 1.0 / false_alarm
        self._kept = 1.0 - PAID_AT_FIRST
        self._shares = [PAID_AT_FIRST * weight for weight in self._weights]
        self._runs = [1.0] * len(self._weights)
        self._starts = [1] * len(self._weights)
        self.capital = self.peak = 1.0
        self.rounds = 0
        self.alarm: int | None = None
        self.onset: int | None = None

    def settle(self, returns: Sequence[float]) -> bool:
        """Pay out an instalment, then multiply each player's capital by what the bets of a round returned.

        Args:
            returns: Of each player, ≥ 0, on average at most 1 if there is nothing to find.

        Returns:
            Whether the goal is reached.
        """
        self.rounds += 1
        kept = (1.0 - PAID_AT_FIRST) / math.log2(2.0 + self.rounds / INSTALMENT_SCALE)
        paid, self._kept = self._kept - kept, kept
        capital = kept
        for i, gained in enumerate(returns):
            share = self._shares[i] = (self._shares[i] + paid * self._weights[i]) * gained
            capital += share
            run = self._runs[i]
            # Page's CUSUM: a losing run is forgotten, and what remains began where the winning did
            if run <= 1.0:
                run, self._starts[i] = 1.0, self.rounds
            self._runs[i] = run * gained
        self.capital = capital
        self.peak = max(self.peak, capital)
        if capital < self._goal:
            return False
        self.alarm = self.rounds
        self.onset = self._starts[self._shares.index(max(self._shares))]
        return True

    @property
    def log_evidence(self) -> float:
        return math.log(self.peak)

    @property
    def log_needed(self) -> float:
        return math.log(self._goal)


class _Game:
    """Bets on the bin of the next query. Without a lock."""

    def __init__(self, reference: ReferenceHistogram, false_alarm: float) -> None:
        self._places = list(reference.places)
        self._total = sum(self._places)
        self._late = [0.0] * len(self._places)
        self._late_sum = 0.0
        self._weight = 1.0
        tilts = len(TILTS)
        self.purse = _Purse((*(1.0 / tilts for _ in range(tilts)), 1.0), false_alarm)

    def play(self, found: int) -> bool:
        """Settle the bets on a query that fell into a bin; True if that raised the alarm."""
        places, late, total = self._places, self._late, self._total
        here = places[found]
        # twice the mean rank of the bin, less 1
        height = (2 * sum(places[:found]) + here) / total - 1.0
        odds = here / total
        copied = (COPIER_DOUBT * odds + late[found] / self._weight) / (COPIER_DOUBT + self._late_sum)
        returns = [1.0 + tilt * height for tilt in TILTS]
        returns.append(copied / odds)
        raised = self.purse.settle(returns)
        places[found] = here + 1
        self._total = total + 1
        # in place of shrinking all bins, the newest weighs more
        self._weight *= 1.0 + 1.0 / COPIER_MEMORY
        late[found] += self._weight
        self._late_sum = self._late_sum / (1.0 + 1.0 / COPIER_MEMORY) + 1.0
        if self._weight > LARGEST_WEIGHT:
            self._late = [weight / self._weight for weight in late]
            self._weight = 1.0
        return raised


@dataclass(frozen=True, slots=True)
class LargeShare:
    """The share of calls at the large model, beside what was promised for the same calls.

    Attributes:
        calls: Those that came with a promised share.
        seen: Share of them that went to the large model, in [0, 1].
        low: Lower end of a confidence interval for the average probability of the large model over these calls. It
            holds at all times at once with probability 1 − ``false_alarm``.
        high: Upper end.
        promised: Mean of the promised shares, in [0, 1]. It was measured on a sample, and has an error of its own that
            the interval does not know of.
    """

    calls: int
    seen: float
    low: float
    high: float
    promised: float

    @property
    def as_promised(self) -> bool:
        """Whether the promised share lies in the interval."""
        return self.low <= self.promised <= self.high


@dataclass(frozen=True, slots=True)
class MonitorSnapshot:
    """What a monitor has seen so far: counts only, no text.

    Attributes:
        observed: Queries.
        calibration: Calibration queries that they are compared with.
        edges: Upper end of each bin but the last, shape (bins − 1,).
        expected: Share of the next queries in each bin if nothing has changed since calibration, shape (bins,).
        histogram: Queries in each bin, shape (bins,).
        recent: The same of the last ``RECENT`` queries.
        distance: Share of the recent queries that would have to lie in other bins for ``recent`` to be ``expected``
            (total variation), in [0, 1]: how large a drift is, where ``drifted`` says whether there is one. Never 0: of
            200 recent queries about 0.12 is chance, of 1,000 about 0.05, and a small calibration set adds to it. None
            before the first query.
        large_share: Share of the large model over all calls of which it is known, in [0, 1]; None without any.
        recent_large_share: The same among the recent ones.
        share: The share beside the promised one; None where nothing was promised.
        drifted: Whether there was an alarm.
        log_evidence: Logarithm of the largest capital so far, ≥ 0; exp(−log_evidence) is a p-value at any time.
        log_needed: The log_evidence of an alarm.
        alarm_position: The query at which the alarm came, from 1 on; None without.
        onset: The query at which the drift began, estimated at the alarm; None without.
        alarm_time: When the alarm came, in seconds since 1970-01-01 UTC; None without.
    """

    observed: int
    calibration: int
    edges: tuple[float, ...]
    expected: tuple[float, ...]
    histogram: tuple[int, ...]
    recent: tuple[int, ...]
    distance: float | None
    large_share: float | None
    recent_large_share: float | None
    share: LargeShare | None
    drifted: bool
    log_evidence: float
    log_needed: float
    alarm_position: int | None
    onset: int | None
    alarm_time: float | None

    def as_json(self) -> dict[str, JSON]:
        """The same for ``json.dumps``."""
        return asdict(self)


def _level(false_alarm: object) -> float:
    level = math.nan if isinstance(false_alarm, bool) or not isinstance(false_alarm, Real) else float(false_alarm)
    if not 0.0 < level < 1.0:
        raise KnobError(f"false_alarm is a probability between 0 and 1, got {false_alarm!r}")
    return level


def _share_radius(calls: int, error: float) -> float:
    """Half the width of the large share's interval.

    Robbins' normal mixture (1970; Howard et al. 2021, arXiv 1810.08240, eq. 14) for variables in [0, 1], whose variance
    counts as at most 1/4; they may depend on each other and have other means from call to call.
    """
    tuned = 2.0 * math.log(1.0 / error)
    rho = SHARE_TUNED_FOR * SHARE_VARIANCE / (tuned + math.log1p(tuned))
    spread = calls * SHARE_VARIANCE + rho
    return math.sqrt(spread * math.log(spread / (rho * error**2))) / calls


@dataclass(slots=True)
class _Counts:
    """What else the snapshot tells.

    Attributes:
        histogram: Queries by bin.
        recent: Bin and model of the last queries; the model is None where it was not told.
        told: Calls of which the model is known.
        large: Those of them at the large model.
        promised_calls: Those that came with a promised share.
        promised_large: Those of them at the large model.
        promised_sum: Sum of the promised shares.
    """

    histogram: list[int]
    recent: deque[tuple[int, bool | None]]
    told: int = 0
    large: int = 0
    promised_calls: int = 0
    promised_large: int = 0
    promised_sum: float = 0.0

    def add(self, found: int, large: bool | None, promised: float | None) -> None:
        self.histogram[found] += 1
        self.recent.append((found, large))
        if large is not None:
            self.told += 1
            self.large += large
            if promised is not None:
                self.promised_calls += 1
                self.promised_large += large
                self.promised_sum += promised

    def share(self, error: float) -> LargeShare | None:
        if not self.promised_calls:
            return None
        seen = self.promised_large / self.promised_calls
        radius = _share_radius(self.promised_calls, error)
        return LargeShare(
            calls=self.promised_calls,
            seen=seen,
            low=max(0.0, seen - radius),
            high=min(1.0, seen + radius),
            promised=self.promised_sum / self.promised_calls,
        )


def _distance(recent: Sequence[int], expected: Sequence[float]) -> float | None:
    n = sum(recent)
    if not n:
        return None
    return sum(abs(count / n - share) for count, share in zip(recent, expected, strict=True)) / 2.0


def _checked(
    difficulties: Iterable[float], large: Iterable[bool] | None, promised: Iterable[float | None] | None
) -> tuple[list[float], list[bool | None], list[float | None]]:
    scores = _numbers(difficulties)
    models: list[bool | None] = [None] * len(scores) if large is None else [bool(model) for model in large]
    shares: list[float | None] = [None] * len(scores) if promised is None else [_share(share) for share in promised]
    if not len(models) == len(shares) == len(scores):
        name, column = ("large", models) if len(models) != len(scores) else ("promised", shares)
        raise OutcomeError(f"{name} has {len(column)} entries for {len(scores)} difficulties")
    return scores, models, shares


def _share(share: object) -> float | None:
    if share is None:
        return None
    if isinstance(share, Real) and 0.0 <= float(share) <= 1.0:
        return float(share)
    raise OutcomeError(f"a promised share is a number in [0, 1] or None, got {share!r}")


def _numbers(difficulties: Iterable[float]) -> list[float]:
    try:
        scores = [float(score) for score in difficulties]
    except (TypeError, ValueError) as error:
        raise ScoreError(f"observe takes a list of difficulties ({type(error).__name__}: {error})") from error
    for score in scores:
        if not 0.0 <= score <= 1.0:  # NaN fails it too
            raise ScoreError(f"a difficulty is a number in [0, 1], got {score!r}")
    return scores


class DriftMonitor:
    """Tests whether queries are still exchangeable with the calibration set; see the module for why it may.

    Safe to share between threads, of constant size, a few microseconds a query. The order in which threads come does
    not matter to its validity; given the order, all is determined by ``seed``. A copy, or one that is sent to another
    process, takes what was seen along and then sees its own queries only: each has its own probability of a false
    alarm.

    Two things must hold of the queries that are handed in. They are those that calibration stands for: in an agent's
    tool loop, where one query is judged again with every step, it counts once. And they are not chosen by their
    difficulty.

    Args:
        reference: The calibration set.
        false_alarm: Probability of ever raising an alarm wrongly, at most; in (0, 1).
        seed: Of the random numbers that break ties.

    Raises:
        KnobError: ``false_alarm`` is out of range.
    """

    def __init__(self, reference: ReferenceHistogram, *, false_alarm: float = 0.01, seed: int = 0) -> None:
        self.false_alarm = _level(false_alarm)
        self.seed = seed
        self._lock = threading.Lock()
        self._begin(reference)

    def _begin(self, reference: ReferenceHistogram) -> None:
        self.reference = reference
        self._chance = random.Random(f"monitor {self.seed}")
        self._game = _Game(reference, self.false_alarm)
        self._counts = _Counts([0] * len(reference.counts), deque(maxlen=RECENT))
        self._observed = 0
        self._alarm_time: float | None = None

    def __repr__(self) -> str:
        """How it stands."""
        state = "drifted" if self.drifted else "no drift"
        return f"DriftMonitor({state}, {self._observed:,} queries against {self.reference.n:,})"

    @property
    def drifted(self) -> bool:
        """Whether there was an alarm; once raised, it stays until ``reset``."""
        return self._game.purse.alarm is not None

    def observe(
        self,
        difficulties: Iterable[float],
        large: Iterable[bool] | None = None,
        promised: Iterable[float | None] | None = None,
    ) -> None:
        """Take queries in, in the order in which they came. If it raises, nothing was taken in.

        Args:
            difficulties: In [0, 1], shape (n,).
            large: Whether the large model was chosen, shape (n,); for the shares only.
            promised: Share of the large model that each call's operating point promises, in [0, 1], or None where it
                promises none, shape (n,).

        Raises:
            ScoreError: A difficulty is no number in [0, 1].
            OutcomeError: ``large`` or ``promised`` is of another length, or a promised share is not in [0, 1].
        """
        scores, models, shares = _checked(difficulties, large, promised)
        with self._lock:
            game, counts, reference, chance = self._game, self._counts, self.reference, self._chance
            for score, model, share in zip(scores, models, shares, strict=True):
                found = reference.bin(score, chance)
                counts.add(found, model, share)
                self._observed += 1
                if game.purse.alarm is None and game.play(found):
                    self._alarm_time = time.time()

    def snapshot(self) -> MonitorSnapshot:
        """What was seen so far."""
        with self._lock:
            counts, purse, places = self._counts, self._game.purse, self.reference.places
            recent = [0] * len(places)
            for found, _ in counts.recent:
                recent[found] += 1
            models = [model for _, model in counts.recent if model is not None]
            expected = tuple(here / sum(places) for here in places)
            return MonitorSnapshot(
                observed=self._observed,
                calibration=self.reference.n,
                edges=self.reference.edges,
                expected=expected,
                histogram=tuple(counts.histogram),
                recent=tuple(recent),
                distance=_distance(recent, expected),
                large_share=counts.large / counts.told if counts.told else None,
                recent_large_share=sum(models) / len(models) if models else None,
                share=counts.share(self.false_alarm),
                drifted=purse.alarm is not None,
                log_evidence=purse.log_evidence,
                log_needed=purse.log_needed,
                alarm_position=purse.alarm,
                onset=purse.onset,
                alarm_time=self._alarm_time,
            )

    def reset(self, reference: ReferenceHistogram | None = None) -> None:
        """Start anew, as after another calibration.

        Args:
            reference: The new calibration set; None for the one that was. The bound for false alarms then begins anew,
                too: whoever resets ten times accepts ten times the probability.
        """
        with self._lock:
            self._begin(self.reference if reference is None else reference)

    def __getstate__(self) -> dict[str, Any]:
        # an alarm travels along: a model that is sent to a worker process keeps what was found out about its traffic
        with self._lock:
            # a copy, as it is read after the lock is free again
            return copy.deepcopy({name: value for name, value in self.__dict__.items() if name != "_lock"})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class PromiseSnapshot:
    """What the labels say so far.

    Attributes:
        observed: Queries of which both qualities were told.
        mean_slack: By how much the promise was kept on average, in units of quality; below 0 it was not, on these
            queries. None before the first.
        broken: Whether there was an alarm.
        log_evidence: Logarithm of the largest capital so far, ≥ 0; exp(−log_evidence) is a p-value at any time.
        log_needed: The log_evidence of an alarm.
        alarm_position: The query at which the alarm came, from 1 on; None without.
        onset: The query from which on the promise was broken, estimated at the alarm; None without.
    """

    observed: int
    mean_slack: float | None
    broken: bool
    log_evidence: float
    log_needed: float
    alarm_position: int | None
    onset: int | None

    def as_json(self) -> dict[str, JSON]:
        """The same for ``json.dumps``."""
        return asdict(self)


class PromiseMonitor:
    """Tests on labels whether the promise is still kept: the only way to see that a model's answers became worse.

    The slack of a query is that of ``shared_router.certificate``, for the quality r of the routed answer, l and s of
    both models: (r − s) − q (l − s), or r − (1 − x) l. The promise says that its mean is ≥ 0. Where the expected slack
    of every query, given those before, is at least 0, the stakes on a negative one lose on average, and the probability
    of ever raising an alarm is at most ``false_alarm``. The certificate asks whether the promise is proven, this
    whether it is refuted: between the two lies the traffic on which nobody knows.

    The queries must be chosen at random from the traffic and not by how they went: complaints alone break any promise.
    Safe to share between threads; copies behave as those of ``DriftMonitor``.

    Args:
        promise: A ``quality`` or ``max_drop`` knob.
        false_alarm: Probability of ever raising an alarm wrongly, at most; in (0, 1).
        quality_range: Lowest and highest quality that can occur.

    Raises:
        KnobError: The knob promises no quality, or ``false_alarm`` is out of range.
        OutcomeError: ``quality_range`` is none.
    """

    def __init__(
        self, promise: Knob, *, false_alarm: float = 0.01, quality_range: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        if promise.name not in ("quality", "max_drop"):
            raise KnobError(f"{promise.name} promises no quality; monitor a promise made by quality or max_drop")
        low, high = (float(end) for end in quality_range)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise OutcomeError(f"quality_range is (lowest, highest) quality that can occur, got {quality_range!r}")
        if promise.name == "max_drop" and low < 0.0 < high:
            raise OutcomeError(
                f"a relative drop needs qualities of one sign, and quality_range {quality_range!r} has both; "
                "shift the qualities so that the worst answer has 0, or promise a quality"
            )
        self.promise = promise
        self.false_alarm = _level(false_alarm)
        self.quality_range = (low, high)
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._purse = _Purse([1.0] * len(STAKES), self.false_alarm)
        self._observed = 0
        self._slack_sum = 0.0

    @property
    def broken(self) -> bool:
        """Whether there was an alarm; once raised, it stays until ``reset``."""
        return self._purse.alarm is not None

    def observe(self, target: Target, small_quality: float, large_quality: float) -> None:
        """Take a labelled query in.

        Args:
            target: The model that answered.
            small_quality: Quality of the small model's answer, within ``quality_range``, whoever answered.
            large_quality: The same of the large model's.

        Raises:
            OutcomeError: A quality is out of range, or ``target`` is no model.
        """
        if target not in TARGETS:
            raise OutcomeError(f'target is "small" or "large", got {target!r}')
        small, large = self._quality("small_quality", small_quality), self._quality("large_quality", large_quality)
        slack, largest = self._slack(large if target == "large" else small, small, large)
        with self._lock:
            self._observed += 1
            self._slack_sum += slack
            if self._purse.alarm is None:
                self._purse.settle([1.0 - stake * slack / largest for stake in STAKES])

    def _quality(self, name: str, quality: object) -> float:
        low, high = self.quality_range
        number = float(quality) if isinstance(quality, Real) else math.nan
        if not low <= number <= high:  # NaN fails it too
            raise OutcomeError(f"{name} is a number in {self.quality_range!r}, got {quality!r}")
        return number

    def _slack(self, routed: float, small: float, large: float) -> tuple[float, float]:
        """The slack of a query, and the largest that any can have."""
        value, (low, high) = cast("float", self.promise.value), self.quality_range
        if self.promise.name == "quality":
            return routed - small - value * (large - small), max(value, 1.0 - value) * (high - low)
        kept = 1.0 - value if low >= 0.0 else 1.0 + value
        return routed - kept * large, high - kept * low

    def snapshot(self) -> PromiseSnapshot:
        """What was seen so far."""
        with self._lock:
            return PromiseSnapshot(
                observed=self._observed,
                mean_slack=self._slack_sum / self._observed if self._observed else None,
                broken=self.broken,
                log_evidence=self._purse.log_evidence,
                log_needed=self._purse.log_needed,
                alarm_position=self._purse.alarm,
                onset=self._purse.onset,
            )

    def reset(self) -> None:
        """Start anew; the bound for false alarms then begins anew, too."""
        with self._lock:
            self._begin()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return copy.deepcopy({name: value for name, value in self.__dict__.items() if name != "_lock"})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
