"""What recorded arrivals tell of their bursts, and what they would do to a number of workers.

The simulation plays arrivals against workers as the predictor has them: each request belongs to the
worker that its connection belongs to, and each worker takes its requests one after the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrivals import FloatArray
from benchmarks.workers import Bursts

_FEWEST_ARRIVALS = 200
_FEWEST_WINDOWS = 20
_GROWTH = 2.0


def bursts_of(arrivals: FloatArray, shortest_s: float = 0.005) -> Bursts:
    """How arrivals (ascending, seconds) cluster, by windows of ever twice the length.

    The longest is a twentieth of the recording: with fewer windows their variance says nothing.
    Fewer than 200 arrivals are taken for independent users.
    """
    if arrivals.size < _FEWEST_ARRIVALS:
        return Bursts()
    since, span = float(arrivals[0]), float(arrivals[-1] - arrivals[0])
    seconds, dispersion = [], []
    length = shortest_s
    while length * _FEWEST_WINDOWS <= span:
        windows = int(span / length)
        edges = since + np.arange(windows + 1) * length
        counts = np.diff(np.searchsorted(arrivals, edges))
        mean = float(counts.mean())
        if mean > 0:
            seconds.append(length)
            dispersion.append(float(counts.var(ddof=1)) / mean)
        length *= _GROWTH
    return Bursts(tuple(seconds), tuple(dispersion))


def simulated(
    arrivals: FloatArray, service: FloatArray, workers: int, rng: np.random.Generator
) -> FloatArray:
    """The time each request takes from its arrival to its answer, seconds, in order of arrival.

    Args:
        arrivals: ascending, seconds.
        service: how long each keeps its worker, seconds.
        workers: how many there are; each request is any one's.
        rng: which one's.
    """
    mine: NDArray[np.int64] = rng.integers(workers, size=arrivals.size)
    times = np.empty(arrivals.size)
    for worker in range(workers):
        chosen = np.flatnonzero(mine == worker)
        times[chosen] = _one_queue(arrivals[chosen], service[chosen])
    return times


def _one_queue(arrivals: FloatArray, service: FloatArray) -> FloatArray:
    """Lindley's recursion without a loop: the wait is the work so far less its lowest point."""
    if arrivals.size == 0:
        return service
    gained = np.concatenate(([0.0], np.cumsum(service[:-1] - np.diff(arrivals))))
    waits = gained - np.minimum.accumulate(gained)
    answered: FloatArray = waits + service
    return answered
