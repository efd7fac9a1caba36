"""How many workers a load needs, by a queueing model. Pure, and light enough for the agent.

A connection is a worker's for as long as it lives, so workers do not share one queue: each is a
queue of its own that gets a random share of the requests. What a worker must fulfil:

- **Utilisation.** Requests per second times processor seconds per request, shared by the workers,
  is at most the target. Both are measured, so this holds whatever the distributions are.
- **Waiting.** At most one request in a hundred waits longer than the latency objective leaves it.
  The wait is that of a queue whose work comes with the measured burstiness: the probability that
  more than w seconds of work stand waiting is about

      ρ · exp(−min over t of (w + (1 − ρ) t)² / (2 σ²(t)))

  with ρ the utilisation and σ²(t) = s (I(t) + c²) t the variance of the work that comes within t
  seconds to a busy worker: s is the mean service time, c² its squared coefficient of variation,
  I(t) the index of dispersion of the arrivals (1 for independent users, more for bursts). It is the
  maximum-variance approximation (Choe and Shroff, IEEE/ACM Trans. Networking 6(5), 1998), scaled so
  that it is exact for exponential service and independent users, and Kingman's bound with constant
  I. A random share 1/n of the arrivals has 1 + (I − 1)/n.

What it cannot see: requests that are run together cost less each, so that the cost of one rises
when more workers share them. The next look measures it anew.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

SLOW_SHARE = 0.01
"""The share of requests that may be slower than the objective."""

ALIKE, MIXED = 0.25, 1.25
"""What is assumed of the variability of service times where nobody has measured it: of requests of
one model, which differ by what else the processor does, and of several that cost unlike much."""

_NORMAL = NormalDist()
# Finer where the slowest hundredth is.
_QUANTILES = (*(i / 10 for i in range(10)), 0.95, 0.975, 0.985, 0.99, 0.994, 0.997, 0.999, 1.0)
_STEPS_PER_DECADE = 8


@dataclass(frozen=True, slots=True)
class Bursts:
    """How arrivals cluster: the index of dispersion of their counts, by the length of a window.

    Attributes:
        seconds: window lengths, ascending.
        dispersion: the variance of the counts over their mean; 1 for independent users.
    """

    seconds: tuple[float, ...] = ()
    dispersion: tuple[float, ...] = ()

    def at(self, seconds: float) -> float:
        """The index for one length, between those that were measured; 1 when none was."""
        if not self.seconds:
            return 1.0
        if seconds <= self.seconds[0]:
            # It goes to 1 for windows too short to hold two arrivals.
            share = seconds / self.seconds[0]
            return 1.0 + (self.dispersion[0] - 1.0) * share
        for i in range(1, len(self.seconds)):
            if seconds <= self.seconds[i]:
                low, high = self.seconds[i - 1], self.seconds[i]
                share = (seconds - low) / (high - low)
                return self.dispersion[i - 1] + share * (
                    self.dispersion[i] - self.dispersion[i - 1]
                )
        return self.dispersion[-1]


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in.

    Attributes:
        rate: requests per second, in all.
        service_s: processor seconds of one request, the mean.
        variability: squared coefficient of variation of the service time: 0 when all are alike, 1
            for an exponential one.
        bursts: how the requests cluster.
    """

    rate: float
    service_s: float
    variability: float = 1.0
    bursts: Bursts = Bursts()

    @property
    def cores(self) -> float:
        """Cores that it keeps busy."""
        return self.rate * self.service_s


@dataclass(frozen=True, slots=True)
class Objective:
    """What is wanted.

    Attributes:
        utilisation: busiest that a worker may be, a share.
        latency_s: at most one request in a hundred may take longer.
    """

    utilisation: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """How many workers there should be.

    Attributes:
        workers: the number.
        utilisation: how busy each would be, a share; above 1 it cannot keep up.
        slow_share: requests slower than the objective, about; None where the model does not say:
            workers that cannot keep up, or a service longer than the objective.
        enough: whether the objective is met; if not, it is the most that the bounds allow.
        by: what asks for this many: `utilisation` or `latency`.
    """

    workers: int
    utilisation: float
    slow_share: float | None
    enough: bool
    by: str


def utilisation(load: Load, workers: int) -> float:
    """How busy each of so many workers is, a share of a core."""
    return load.cores / workers


def slow_share(load: Load, workers: int, latency_s: float) -> float | None:
    """The share of requests that take longer than this, about; None when they never catch up."""
    busy = utilisation(load, workers)
    if busy >= 1.0:
        return None
    found = 0.0
    for service_s, share in _services(load):
        wait_s = latency_s - service_s
        if wait_s <= 0.0:
            found += share
        elif busy > 0.0:
            found += share * busy * math.exp(-_decay(load, workers, busy, wait_s))
    return found


def choose(load: Load, wanted: Objective, low: int, high: int) -> Choice:
    """The smallest number of workers, from `low` to `high`, that meets the objective.

    Where a single request takes longer than the latency objective, no number of workers helps, and
    utilisation alone decides.
    """
    by_busy = max(low, math.ceil(load.cores / wanted.utilisation - 1e-9))
    hopeless = _long_services(load, wanted.latency_s) > SLOW_SHARE
    for workers in range(by_busy, high + 1):
        share = slow_share(load, workers, wanted.latency_s)
        if hopeless or (share is not None and share <= SLOW_SHARE):
            by = "utilisation" if workers == by_busy else "latency"
            return Choice(workers, utilisation(load, workers), share, not hopeless, by)
    share = slow_share(load, high, wanted.latency_s)
    by = "utilisation" if by_busy > high else "latency"
    return Choice(high, utilisation(load, high), share, False, by)


def _long_services(load: Load, latency_s: float) -> float:
    """The share of requests that alone take longer than this."""
    return sum(share for service_s, share in _services(load) if service_s >= latency_s)


def _services(load: Load) -> Sequence[tuple[float, float]]:
    """Service times and the share of requests that have them: a gamma distribution in steps.

    Its quantiles are Wilson and Hilferty's (PNAS 17, 1931).
    """
    if load.variability <= 0.0:
        return ((load.service_s, 1.0),)
    found = []
    for low, high in itertools.pairwise(_QUANTILES):
        z = _NORMAL.inv_cdf((low + high) / 2.0)
        root = 1.0 - load.variability / 9.0 + z * math.sqrt(load.variability) / 3.0
        found.append((load.service_s * max(root, 0.0) ** 3, high - low))
    return found


def _decay(load: Load, workers: int, busy: float, wait_s: float) -> float:
    """The exponent: how unlikely it is that so much work comes together, over all time spans."""
    spare = 1.0 - busy
    # Without bursts the most likely time to gather that much work is this one.
    likely = wait_s / spare
    return min(
        (wait_s + spare * t) ** 2 / (2.0 * load.service_s * _variance(load, workers, t) * t)
        for t in (likely, *_spans(load, likely))
    )


def _variance(load: Load, workers: int, seconds: float) -> float:
    bursts = 1.0 + (load.bursts.at(seconds) - 1.0) / workers
    return max(bursts, 0.0) + load.variability or 1e-9


def _spans(load: Load, likely: float) -> Sequence[float]:
    if not load.bursts.seconds:
        return ()
    low, high = min(load.service_s, likely), max(load.bursts.seconds[-1], likely)
    steps = max(1, math.ceil(_STEPS_PER_DECADE * math.log10(high / low)))
    return [low * (high / low) ** (i / steps) for i in range(steps + 1)]
