"""The highest rate a server sustains at a latency objective, found by search.

The search itself knows nothing of servers: it is a generator that asks for a rate to be tried and
is told whether the rate was sustained, so one search drives an HTTP server, a model in this
process, or a formula in a test.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from benchmarks.inprocess import PacedRun

RESOLUTION = 1.1
GROWTH = 2.0
WAIT_SHARE = 0.05
PREEMPTION_MS = 3.0


@dataclass(frozen=True, slots=True)
class Sustained:
    """The result of a search, in requests per second.

    Attributes:
        rate: the highest rate tried that was sustained, twice.
        limit: the lowest rate tried that was not; ``None`` when no limit was met.
    """

    rate: float
    limit: float | None


Search = Generator[float, bool, Sustained | None]


def search(guess: float, *, least: float, most: float) -> Search:
    """Find the highest sustained rate between ``least`` and ``most``.

    Doubles or halves from ``guess`` until the answer is enclosed, bisects (geometrically) to
    10 %, and confirms the lower end by trying it once more, stepping down in growing steps while
    that fails: a single lucky trial does not decide. Returns ``None`` when not even ``least`` is
    sustained.
    """
    low, high = yield from _enclose(min(max(guess, least), most), least, most)
    while low is not None and high is not None and high / low > RESOLUTION:
        middle = (low * high) ** 0.5
        if (yield middle):
            low = middle
        else:
            high = middle
    step = RESOLUTION
    while low is not None and not (yield low):
        high, low = low, (max(low / step, least) if low > least else None)
        step *= step
    return None if low is None else Sustained(low, high)


def _enclose(
    rate: float, least: float, most: float
) -> Generator[float, bool, tuple[float | None, float | None]]:
    """A sustained rate (or ``None``) and one that is not (or ``None``)."""
    low: float | None = None
    high: float | None = None
    while low is None or high is None:
        if (yield rate):
            low = rate
            if rate >= most:
                break
            rate = min(rate * GROWTH, most)
        else:
            high = rate
            if rate <= least:
                break
            rate = max(rate / GROWTH, least)
        if low is not None and high is not None:
            break
    return low, high


def drive(searching: Search, probe: Callable[[float], bool]) -> Sustained | None:
    """Run a search with a probe that tries a rate and tells whether it was sustained."""
    try:
        rate = next(searching)
        while True:
            rate = searching.send(probe(rate))
    except StopIteration as done:
        found: Sustained | None = done.value
        return found


def sustains(run: PacedRun, objective_ms: float, window_s: float) -> bool:
    """Whether a paced run met the objective and kept up with its arrivals.

    p99 within the objective is not enough for a short run, in which a queue that grows without
    end has not grown far yet: by the last quarter, requests must still be answered with little
    wait (a twentieth of the window, three service times, or the 3 ms that a scheduler may give to
    others). The median over that quarter tells a queue from one pause at the end.
    """
    if float(np.quantile(run.latency_ms, 0.99)) > objective_ms:
        return False
    last_quarter = run.latency_ms[-max(1, run.latency_ms.size // 4) :]
    service_ms = float(np.median(run.service_ms))
    patience = max(window_s * 1e3 * WAIT_SHARE, 3 * service_ms, PREEMPTION_MS)
    return float(np.median(last_quarter)) <= patience
