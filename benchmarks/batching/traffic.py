"""Traffic to replay: recorded or drawn arrivals, sped up or slowed down as a whole.

Speeding a recording up keeps its pattern: bursts stay bursts, only all gaps shrink alike. What it
cannot tell is how people would behave at another rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import arrivals
from benchmarks.arrivals import FloatArray
from config.errors import InputError
from registry.traffic import read_traffic

_MOST_REQUESTS = 10_000

IntArray = NDArray[np.int64]

FEWEST = 50
"""Arrivals below which a recording says nothing about the slowest hundredth."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests in the order they come: seconds from the start, and rows.

    Attributes:
        warm_up: how many of the first are sent, but not counted.
    """

    at: list[float]
    rows: list[int]
    warm_up: int = 0


@dataclass(frozen=True, slots=True)
class Recording:
    """Arrivals as they were, from 0, and the seconds they stand for (more than the last one)."""

    at: FloatArray
    rows: IntArray
    span: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.at.size / self.span

    @property
    def rows_per_request(self) -> float:
        """Mean rows."""
        return float(self.rows.mean())

    def at_rate(self, rate: float, seconds: float, most: int) -> Traffic:
        """The recording at another rate, repeated until it lasts `seconds` or has `most` requests.

        It is always repeated as a whole, so that its rate is as asked; a tenth comes first and is
        not counted.
        """
        shrink = self.rate / rate
        times = max(1, min(math.ceil(seconds / (self.span * shrink)), most // self.at.size))
        span = self.span * shrink
        base = self.at * shrink
        warm_up = self.at.size // 10
        lead = base[self.at.size - warm_up :] - span
        parts = [lead, *(base + turn * span for turn in range(times))]
        at = np.concatenate(parts)
        rows = np.concatenate([self.rows[self.at.size - warm_up :], *[self.rows] * times])
        return Traffic((at - at[0]).tolist(), rows.tolist(), warm_up)


def recorded(at: FloatArray, rows: IntArray | int = 1) -> Recording:
    """A recording from arrival times in any order.

    Raises:
        InputError: there are too few to learn from, they all came at once, or times and rows do
            not belong together.
    """
    if at.size < FEWEST:
        raise InputError(
            f"there are {at.size} arrivals, fewer than {FEWEST}: too few to see how slow the "
            "slowest hundredth is; record longer"
        )
    counts = np.full(at.size, rows) if isinstance(rows, int) else rows
    if counts.size != at.size or not np.isfinite(at).all() or counts.min() < 1:
        raise InputError("every arrival needs a finite time and one row or more")
    order = np.argsort(at, kind="stable")
    offsets = at[order] - at[order][0]
    span = float(offsets[-1]) * at.size / (at.size - 1)
    if span <= 0:
        raise InputError("all arrivals have the same time; record them as they come")
    return Recording(offsets, counts[order].astype(np.int64), span)


def poisson(count: int, rng: np.random.Generator, rows: int = 1, rate: float = 1.0) -> Recording:
    """Independent users."""
    return recorded(arrivals.poisson_count(rate, count, rng), rows)


def bursty(count: int, rng: np.random.Generator, rows: int = 1, rate: float = 1.0) -> Recording:
    """Calm and crowded times in turns: a Poisson process whose rate jumps.

    In a fifth of the time six times as many come as in the rest. Times of both kinds are
    exponential, a crowded one brings 48 requests on average (a Markov-modulated Poisson process;
    Fischer and Meier-Hellstern, Performance Evaluation 18, 1993).
    """
    found: list[FloatArray] = []
    total, now, crowded = 0, 0.0, False
    while total < count:
        length = float(rng.exponential(16.0 if crowded else 64.0))
        size = int(rng.poisson(length * (3.0 if crowded else 0.5)))
        found.append(now + np.sort(rng.uniform(0.0, length, size)))
        total, now, crowded = total + size, now + length, not crowded
    at = np.concatenate(found)[:count]
    return recorded(at / rate, rows)


def busiest(recordings: Sequence[Recording]) -> Recording:
    """The busiest of several workers' recordings: each worker has a queue of its own.

    Raises:
        InputError: there is none.
    """
    if not recordings:
        raise InputError("no traffic was recorded yet")
    return max(recordings, key=lambda one: one.rate)


def recent(folder: Path, model: str, version: int) -> list[Recording]:
    """The newest recorded traffic of a version, of each worker that had enough of it.

    Raises:
        InputError: nothing, or too little, was recorded.
    """
    found = []
    for records in read_traffic(folder, model).values():
        newest = records[records["version"] == version][-_MOST_REQUESTS:]
        if len(newest) >= FEWEST:
            found.append(newest)
    if not found:
        raise InputError(
            f"no worker has recorded {FEWEST} requests for {model} version {version} yet; wait for "
            "traffic"
        )
    return [recorded(one["at"], one["rows"].astype(np.int64)) for one in found]
