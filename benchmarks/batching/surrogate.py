"""A quick guess at the rate a setting stands, from a queueing model; replays decide. Pure.

The traffic is its envelope: how many requests came, at worst (to the hundredth), in the window of a
given length before a request (the arrival curve of network calculus; Le Boudec and Thiran, 2001).
The server is a cycle: requests that came during a run are the next batch. A request waits for the
rest of the run under way and for what came in before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.arrivals import FloatArray
from benchmarks.batching.replay import LOOP_BUDGET_S
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.traffic import Recording
from benchmarks.batching.trials import Scene

_WINDOWS = 28
_TURNS = 30


@dataclass(frozen=True, slots=True)
class Envelope:
    """Windows in mean gaps, and the requests in them that are exceeded in a hundredth."""

    gaps: FloatArray
    counts: FloatArray

    @classmethod
    def of(cls, recording: Recording, share: float) -> Envelope:
        """Count what came in windows of many lengths before each request."""
        at = recording.at * recording.rate
        gaps = np.concatenate(([0.0], np.geomspace(0.5, at.size / 4.0, _WINDOWS)))
        place = np.arange(1, at.size + 1)
        counts = [
            np.quantile(place - np.searchsorted(at, at - gap, side="left"), share) for gap in gaps
        ]
        return cls(gaps, np.asarray(counts, dtype=np.float64))


class Surrogate:
    """Predicts the highest rate within the objective."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._envelope = Envelope.of(scene.recording, scene.objective.share)
        self._rows = scene.recording.rows_per_request

    def rate(self, setting: BatchSetting) -> float:
        """Requests per second; 0 where not even a lone request is in time."""
        cycle = self._cycles(setting)
        limit_s = self._scene.objective.latency_ms / 1e3
        wait_s = setting.max_wait_ms / 1e3
        low, high = 0.0, float(np.max(np.arange(1, cycle.size + 1) / cycle))
        if self._latency(cycle, wait_s, high * 1e-3) > limit_s:
            return 0.0
        for _ in range(_TURNS):
            middle = (low + high) / 2.0
            if self._latency(cycle, wait_s, middle) <= limit_s:
                low = middle
            else:
                high = middle
            if low > 0.995 * high:
                break
        return low

    def _cycles(self, setting: BatchSetting) -> FloatArray:
        """Seconds from one batch of 1, 2, … requests to the next."""
        scene = self._scene
        most = max(1, int(setting.max_batch_size / self._rows)) if scene.server.batchable else 1
        levels = scene.curves[setting.session].levels
        sizes = np.arange(1, most + 1)
        runs = np.interp(
            sizes * self._rows,
            [level.rows for level in levels],
            [float(np.mean(level.seconds)) for level in levels],
        )
        beyond = np.maximum(sizes * self._rows / levels[-1].rows, 1.0)
        runs = runs * beyond
        overhead = sizes * (scene.server.read_s + scene.server.answer_s)
        # On the loop's thread a run holds up the reading of requests; in a thread it does not.
        found: FloatArray = np.where(
            runs > LOOP_BUDGET_S, np.maximum(runs, overhead), runs + overhead
        )
        return found

    def _latency(self, cycle: FloatArray, wait_s: float, rate: float) -> float:
        """The slowest hundredth at a rate, seconds."""
        most = cycle.size
        if rate * cycle[-1] >= most:
            return math.inf
        size = 1.0
        for _ in range(_TURNS):
            size = min(max(1.0, rate * (_at(cycle, size) + wait_s)), float(most))
        busy = min(rate * _at(cycle, size) / size, 1.0)
        waiting = self._envelope.counts
        batches = np.floor(waiting / most)
        rest = np.floor(waiting - batches * most).astype(np.int64)
        last = np.where(rest > 0, cycle[np.maximum(rest - 1, 0)], 0.0)
        served = batches * cycle[-1] + last
        backlog = float(np.max(served - self._envelope.gaps / rate))
        return max(busy * _at(cycle, size) + backlog, wait_s + _at(cycle, size))


def _at(cycle: FloatArray, size: float) -> float:
    low = int(size)
    share = size - low
    upper = cycle[min(low, cycle.size - 1)]
    return float(cycle[low - 1] + share * (upper - cycle[low - 1]))
