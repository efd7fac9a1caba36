"""A quick guess at the rate a setting stands, from a queueing model; replays decide. Pure.

The traffic is its envelope: how many requests came, at worst (to the hundredth), in the window of a
given length before a request (the arrival curve of network calculus; Le Boudec and Thiran, 2001).
That worst traffic, the densest part first, meets a server in the middle of its usual cycle; from
there on what came during a run is the next batch, until nothing waits any more. The longest wait in
that burst is the guess at the slowest hundredth.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from benchmarks.batching.replay import LOOP_BUDGET_S
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.traffic import Recording
from benchmarks.batching.trials import Scene

_WINDOWS = 28
_TURNS = 12
_LONGEST_BURST = 2000.0  # mean gaps


class Envelope:
    """How many came at worst within so many mean gaps, and the other way round."""

    def __init__(self, recording: Recording, share: float) -> None:
        at = recording.at * recording.rate
        gaps = np.concatenate(([0.0], np.geomspace(0.1, at.size / 4.0, _WINDOWS)))
        place = np.arange(1, at.size + 1)
        counts = [
            float(np.quantile(place - np.searchsorted(at, at - gap, side="left"), share))
            for gap in gaps
        ]
        self._gaps: list[float] = gaps.tolist()
        # Strictly rising, so that it can be read both ways.
        self._counts = [count + 1e-9 * place for place, count in enumerate(counts)]

    def came(self, gaps: float) -> float:
        """Requests within a window."""
        return _line(self._gaps, self._counts, gaps)

    def when(self, count: float) -> float:
        """The window that brings so many."""
        return max(_line(self._counts, self._gaps, count), 0.0)


def _line(xs: list[float], ys: list[float], x: float) -> float:
    """Between two points a straight line, and beyond the last as from the first to the last."""
    if x >= xs[-1]:
        return ys[-1] + (x - xs[-1]) * (ys[-1] - ys[0]) / (xs[-1] - xs[0])
    place = max(bisect_right(xs, x), 1)
    low, high = xs[place - 1], xs[place]
    return ys[place - 1] + (x - low) / (high - low) * (ys[place] - ys[place - 1])


class Surrogate:
    """Predicts the highest rate within the objective."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._envelope = Envelope(scene.recording, scene.objective.share)
        self._rows = scene.recording.rows_per_request
        self._read_s, self._answer_s = scene.server.read_s, scene.server.answer_s

    def rate(self, setting: BatchSetting) -> float:
        """Requests per second; 0 where not even a lone request is in time."""
        cycle = self._cycle(setting)
        limit_s = self._scene.objective.latency_ms / 1e3
        low, high = 0.0, max(size / seconds for size, seconds in enumerate(cycle.seconds, 1))
        if self._latency(cycle, high * 1e-3) > limit_s:
            return 0.0
        for _ in range(_TURNS):
            middle = (low + high) / 2.0
            if self._latency(cycle, middle) <= limit_s:
                low = middle
            else:
                high = middle
            if low > 0.995 * high:
                break
        return low

    def _cycle(self, setting: BatchSetting) -> _Cycle:
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
        # On the loop's thread a run holds up the reading of requests; in a thread it does not,
        # unless it needs all cores.
        in_thread = runs > LOOP_BUDGET_S
        beside = setting.session.threads < scene.server.cores
        threaded = np.maximum(runs, overhead) if beside else runs + overhead
        seconds = np.where(in_thread, threaded + scene.server.handoff_s, runs + overhead)
        return _Cycle(seconds.tolist(), setting.max_wait_ms / 1e3, int(most - in_thread.sum()))

    def _latency(self, server: _Cycle, rate: float) -> float:
        """The slowest hundredth at a rate, seconds."""
        if rate * server.seconds[-1] >= server.most:
            return math.inf
        size = 1.0
        for _ in range(_TURNS):
            size = min(max(1.0, rate * (server.of(size) + server.wait_s)), float(server.most))
        usual = server.of(size)
        busy = min(rate * usual / size, 1.0)
        return max(server.wait_s + usual, self._burst(server, rate, busy * usual))

    def _burst(self, server: _Cycle, rate: float, rest_s: float) -> float:
        """The longest wait in the worst burst, which begins `rest_s` before a run ends."""
        limit_s = self._scene.objective.latency_ms / 1e3
        now, served, longest = rest_s, 0.0, 0.0
        came = self._envelope.came
        while (waiting := came(now * rate) - served) >= 1.0:
            if longest > limit_s or now * rate > _LONGEST_BURST:
                break
            held_s = server.wait_s if server.waits(waiting) else 0.0
            size = min(math.floor(came((now + held_s) * rate) - served), server.most)
            # What comes while a batch is held back is read meanwhile.
            now += held_s + server.seconds[size - 1] - min(held_s, size * self._read_s)
            first = now - (size - 1) * self._answer_s
            longest = max(longest, first - self._envelope.when(served + 1.0) / rate)
            served += size
        return longest


@dataclass(frozen=True, slots=True)
class _Cycle:
    """Seconds from one batch of 1, 2, … requests to the next, and the wait before it.

    Attributes:
        on_loop: from how many requests on a batch runs in a thread, where nobody waits any more.
    """

    seconds: list[float]
    wait_s: float
    on_loop: int

    @property
    def most(self) -> int:
        """The largest batch, in requests."""
        return len(self.seconds)

    def waits(self, waiting: float) -> bool:
        """Whether a batch is held back for more."""
        return self.wait_s > 0 and waiting < self.most and waiting <= self.on_loop

    def of(self, size: float) -> float:
        """Seconds of a cycle, for any size."""
        low = int(size)
        upper = self.seconds[min(low, self.most - 1)]
        return self.seconds[low - 1] + (size - low) * (upper - self.seconds[low - 1])
