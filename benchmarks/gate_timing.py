"""Latency, throughput and power of both arms, measured in turns so that noise meets both alike.

The arms alternate in short blocks, ABBA or BAAB as the seed decides, under the same arrivals: a
drift of the machine, or a neighbour that wakes up, falls on both. Each pair of neighbouring blocks
gives one difference of their p95; the verdict rests on the ranks of those differences
(:func:`benchmarks.comparisons.signed_rank_bounds`), so that a few spoilt blocks do not decide.
Where noise leaves the question open, the sample is doubled once; both looks spend half of alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from benchmarks import throughput
from benchmarks.arrivals import FloatArray, constant, poisson_count
from benchmarks.comparisons import Bounds, Outcome, judge_excess, signed_rank_bounds
from benchmarks.inprocess import OnnxRunner, PacedRun, paced
from benchmarks.power import PowerMeter
from benchmarks.throughput import Sustained
from config.clock import Clock
from config.settings import GateSettings

PAIRS = 10
LEAST_PAIRS = 6
LOOKS = 2
WARM_UP = 5
BUSY_SHARE = 0.5
JUDGED_QUANTILE = 0.95
PROBE_SHARE = 1 / 40
PROBE_REQUESTS = (10, 2000)
SEARCH_PROBES = 8
LEAST_SHARE = 1 / 8
MOST_RATE = 1e6
TRIALS = 6


@dataclass(slots=True)
class Arm:
    """One version under measurement and what was measured of it so far."""

    runner: OnnxRunner
    power: PowerMeter
    service_s: float = 0.0
    blocks: list[PacedRun] = field(default_factory=list)
    requests: int = 0

    def run(self, arrivals: FloatArray, clock: Clock) -> PacedRun:
        """Answer requests at the given times, going on with the rows where it left off."""
        first = self.requests
        self.requests += arrivals.size
        with self.power.during():
            return paced(lambda index: self.runner.answer(first + index), arrivals, clock)

    def warm_up(self, clock: Clock) -> None:
        """Answer a few requests at once, to learn the service time; the first does not count."""
        run = self.run(np.zeros(WARM_UP), clock)
        self.service_s = float(np.median(run.service_ms[1:])) / 1e3

    @property
    def latencies_ms(self) -> FloatArray:
        """Latencies of all blocks, in order."""
        parts = [block.latency_ms for block in self.blocks]
        return np.concatenate(parts) if parts else np.empty(0)

    def quantiles(self) -> FloatArray:
        """The judged quantile of each block, in ms."""
        return np.asarray([np.quantile(b.latency_ms, JUDGED_QUANTILE) for b in self.blocks])


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """p95 in ms as the median over blocks, and how much the candidate's is above the champion's."""

    candidate_ms: float
    champion_ms: float | None
    excess: Bounds | None
    margin_ms: float | None
    outcome: Outcome
    rate: float
    order: str


@dataclass(frozen=True, slots=True)
class Trials:
    """How many of ``count`` trials at one rate (per s) each arm sustained, and what that shows."""

    rate: float
    candidate: int
    champion: int
    count: int
    outcome: Outcome


def judge_trials(candidate: int, champion: int, count: int, alpha: float) -> Outcome:
    """Does the candidate keep up with the rate? It fails only where the champion does keep up.

    One-sided sign tests (Conover, Practical Nonparametric Statistics, section 3.4): where even the
    champion does not keep up, the machine is too noisy to blame the candidate.
    """

    def surely(hits: int) -> bool:
        return float(stats.binom.sf(hits - 1, count, 0.5)) <= alpha

    if surely(candidate):
        return Outcome.PASS
    if surely(count - candidate) and surely(champion):
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE


class Bench:
    """The measuring of one gate: its settings, randomness and clock."""

    def __init__(self, settings: GateSettings, rng: np.random.Generator, clock: Clock) -> None:
        self._settings = settings
        self._rng = rng
        self._clock = clock
        self._probe_s = settings.seconds * PROBE_SHARE

    def latency(self, candidate: Arm, champion: Arm | None) -> LatencyResult:
        """Measure both arms' latency in turns and judge it.

        The offered rate is the settings', or half of what the champion can do if that is less.
        """
        arms = [candidate] if champion is None else [candidate, champion]
        for arm in arms:
            arm.warm_up(self._clock)
        reference = max(arms[-1].service_s, 1e-9)
        rate = min(self._settings.rate_per_second, BUSY_SHARE / reference)
        order = ""
        for look in range(1, LOOKS + 1):
            order += self._blocks(arms, rate)
            result = self._judge(candidate, champion, rate, order)
            slow = len(candidate.blocks) < look * PAIRS
            if champion is None or slow or result.outcome is not Outcome.INCONCLUSIVE:
                break
        return result

    def _blocks(self, arms: list[Arm], rate: float) -> str:
        """One look's worth of pairs; returns the order in which the arms were measured."""
        size = self._block_size(arms, rate)
        deadline = self._clock.monotonic() + self._settings.seconds
        order = ""
        for number, pair in enumerate(interleaved(len(arms), PAIRS, self._rng)):
            arrivals = poisson_count(rate, size, self._rng)
            for index in pair:
                arms[index].blocks.append(arms[index].run(arrivals, self._clock))
                order += "AB"[index]
            if number + 1 >= LEAST_PAIRS and self._clock.monotonic() > deadline:
                break
        return order

    def _block_size(self, arms: list[Arm], rate: float) -> int:
        """Requests a block: the wanted samples, fewer where a slow model would take too long."""
        wanted = max(1, self._settings.samples // PAIRS)
        share = self._settings.seconds / (len(arms) * PAIRS)
        slowest = max(1 / rate, *(arm.service_s for arm in arms))
        return max(1, min(wanted, int(share / slowest)))

    def _judge(
        self, candidate: Arm, champion: Arm | None, rate: float, order: str
    ) -> LatencyResult:
        mine = candidate.quantiles()
        if champion is None:
            return LatencyResult(
                float(np.median(mine)), None, None, None, Outcome.PASS, rate, order
            )
        theirs = champion.quantiles()
        settings = self._settings
        margin = max(
            settings.latency_margin_relative * float(np.median(theirs)), settings.latency_margin_ms
        )
        excess = signed_rank_bounds(mine - theirs, settings.alpha / LOOKS)
        return LatencyResult(
            candidate_ms=float(np.median(mine)),
            champion_ms=float(np.median(theirs)),
            excess=excess,
            margin_ms=margin,
            outcome=judge_excess(excess, margin),
            rate=rate,
            order=order,
        )

    def throughput(self, arm: Arm) -> Sustained | None:
        """Search the highest rate that ``arm`` sustains at the latency objective.

        Starts at 80 % of what its service time allows; an arm that does not sustain an eighth of
        that has no throughput at the objective.
        """
        guess = 0.8 / max(arm.service_s, 1e-6)
        searching = throughput.search(guess, least=guess * LEAST_SHARE, most=MOST_RATE)
        return throughput.drive(searching, self._probe(arm))

    @property
    def quick_rate(self) -> float:
        """The least rate, per second, at which a trial is as short as it may be."""
        return PROBE_REQUESTS[0] / self._probe_s

    def search_seconds(self, arm: Arm) -> float:
        """About how long :meth:`throughput` will take."""
        return SEARCH_PROBES * max(self._probe_s, PROBE_REQUESTS[0] * arm.service_s)

    def trials(self, candidate: Arm, champion: Arm, rate: float) -> Trials:
        """Offer both arms ``rate`` in turns and count how often each keeps up.

        A sign test against "keeps up half of the time" decides; an open answer is given as many
        trials again, each look spending half of alpha.
        """
        passed = [0, 0]
        probes = [self._probe(candidate), self._probe(champion)]
        for look in range(1, LOOKS + 1):
            for pair in interleaved(2, TRIALS, self._rng):
                for index in pair:
                    passed[index] += probes[index](rate)
            count = look * TRIALS
            outcome = judge_trials(passed[0], passed[1], count, self._settings.alpha / LOOKS)
            if outcome is not Outcome.INCONCLUSIVE:
                break
        return Trials(rate, passed[0], passed[1], count, outcome)

    def _probe(self, arm: Arm) -> Callable[[float], bool]:
        """A short run of evenly spaced requests at a rate: was it sustained?"""
        objective = self._settings.latency_objective_ms

        def probe(rate: float) -> bool:
            # A rate that one request alone cannot meet needs no load to be refused.
            if arm.service_s * 1e3 > objective:
                return False
            least, most = PROBE_REQUESTS
            window = min(max(rate * self._probe_s, least), most) / rate
            run = arm.run(constant(rate, window), self._clock)
            return throughput.sustains(run, objective, window)

        return probe


def interleaved(arms: int, pairs: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Pairs in ABBA or BAAB order, drawn for every four blocks; with one arm, just that arm."""
    for number in range(pairs):
        if arms == 1:
            yield (0,)
            continue
        if number % 2 == 0:
            first = int(rng.integers(2))
        yield (first, 1 - first) if number % 2 == 0 else (1 - first, first)
