"""The hit rate that a cache of each size has once it is warm, from a window of requests.

The window began when the cache was full of keys nobody recorded, so a key's first use in it is no
miss: its distance is only known to be at least the number of different keys seen so far. Such
censored distances are what the estimator of Kaplan and Meier (JASA 53 (1958) 457-481) is for: at
each distance it asks which share of the requests that could still have been answered at that
distance were. The product of the shares that were not is the miss rate of a cache of that size.

Its error is taken from leaving out a tenth of the window at a time (the grouped jackknife; Kott,
Journal of Official Statistics 17 (2001) 521-526), which holds for requests that depend on each
other over less than a tenth of the window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_curves.distances import FIRST_USE, Keys
from benchmarks.cache_curves.sampling import MOST_EXACT, Sampled, sampled

FloatArray = NDArray[np.float64]

BLOCKS = 10
# Student's t of 9 degrees of freedom, 97.5 %.
_T_95 = 2.262
# Fewer requests than this say nothing about the next larger size.
_LEAST_AT_RISK = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """By distance, the requests answered at it, and those that could have been."""

    events: FloatArray
    at_risk: FloatArray

    def hits(self) -> FloatArray:
        """The hit rate by size, from 0 up: a cache of size s answers distances below s."""
        hazard = np.divide(
            self.events, self.at_risk, out=np.zeros_like(self.events), where=self.at_risk > 0
        )
        missed = np.cumprod(1.0 - np.clip(hazard, 0.0, 1.0))
        return np.concatenate(([0.0], 1.0 - missed))


class StreamCurve:
    """The curve of one stream: the requests that one cache was asked for.

    Attributes:
        requests: in the window.
        reach: the largest size that the window says anything about.
        known: the hit rate of the largest cache that was empty at the window's first request.
    """

    def __init__(self, found: Sampled) -> None:
        self._found = found
        self.requests = found.requests
        self._counts = _counts(found, slice(None))
        self._hits = self._counts.hits()
        sure = int(np.count_nonzero(self._counts.at_risk >= _LEAST_AT_RISK))
        self.reach = round(sure / found.share)
        distinct = found.stream.keys / found.share
        self.known = max(0.0, 1.0 - distinct / found.requests) if found.requests else 0.0

    def at(self, size: float) -> float:
        """The hit rate of a warm cache of this size; beyond its reach, that at its reach."""
        return _interpolated(self._hits, self._place(size))

    def warm_requests(self, size: float) -> int:
        """How many requests the window needed to fill a cache of this size; all, if it did not."""
        seen = self._found.stream.seen
        place = int(np.searchsorted(seen, size * self._found.share))
        return int(self._found.place[place]) if place < seen.size else self.requests

    def variance(self, size: float) -> float:
        """The variance of the hit rate at this size."""
        place = self._place(size)
        blocks = self._found.place * BLOCKS // max(1, self.requests)
        rates = [
            _interpolated(_counts(self._found, blocks != block).hits(), place)
            for block in range(BLOCKS)
        ]
        return (BLOCKS - 1) * float(np.var(rates))

    def _place(self, size: float) -> float:
        return max(0.0, min(size, self.reach)) * self._found.share


@dataclass(frozen=True, slots=True)
class Rate:
    """A hit rate, with its 95 % interval."""

    mean: float
    low: float
    high: float


class HitCurve:
    """The curve of caches of one size each: one stream for each, weighted by its requests."""

    def __init__(self, streams: Sequence[StreamCurve]) -> None:
        self._streams = [one for one in streams if one.requests]
        self.requests = sum(one.requests for one in self._streams)
        self.reach = max((one.reach for one in self._streams), default=0)

    def at(self, size: float) -> float:
        """The hit rate of all caches together, each warm and of this size."""
        return self._mean(lambda one: one.at(size), 1)

    def rate(self, size: float) -> Rate:
        """The hit rate with its interval."""
        mean = self.at(size)
        reach = _T_95 * math.sqrt(self._mean(lambda one: one.variance(size), 2))
        return Rate(mean, max(0.0, mean - reach), min(1.0, mean + reach))

    @property
    def known(self) -> float:
        """The hit rate within the window of caches of any size that were empty at its beginning."""
        return self._mean(lambda one: one.known, 1)

    def warm_share(self, size: float) -> float:
        """The share of the window after which every cache of this size was full; at most 1."""
        return max((one.warm_requests(size) / one.requests for one in self._streams), default=1.0)

    def _mean(self, of: Callable[[StreamCurve], float], power: int) -> float:
        if not self.requests:
            return 0.0
        return sum((one.requests / self.requests) ** power * of(one) for one in self._streams)


def hit_curve(streams: Sequence[Keys], *, most: int = MOST_EXACT, seed: int = 0) -> HitCurve:
    """Return the curve of caches that were asked for these streams of keys.

    Args:
        streams: for each cache the keys it was asked for, oldest first.
        most: longer streams are sampled.
        seed: of the sampling.
    """
    return HitCurve([StreamCurve(sampled(keys, most=most, seed=seed)) for keys in streams])


def _counts(found: Sampled, kept: NDArray[np.bool_] | slice) -> _Counts:
    """Count some of the requests of a sample."""
    distance, weight = found.stream.distance[kept], found.weight[kept]
    again = distance != FIRST_USE
    # A first use could have been an answer at any distance below the keys seen by then.
    last = found.stream.seen[kept] - 1
    unsure = ~again & (last >= 0)
    size = max(1, found.stream.keys)
    answered = np.bincount(distance[again], weights=weight[again], minlength=size)
    # Without any, NumPy counts in whole numbers.
    events = answered.astype(np.float64)
    leaving = events + np.bincount(last[unsure], weights=weight[unsure], minlength=size)
    return _Counts(events, np.cumsum(leaving[::-1])[::-1])


def _interpolated(hits: FloatArray, place: float) -> float:
    """The hit rate between two sizes of a sample."""
    if place >= hits.size - 1:
        return float(hits[-1])
    low = int(place)
    return float(hits[low] + (place - low) * (hits[low + 1] - hits[low]))
