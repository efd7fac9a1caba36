"""Measured values: a number with its unit and interval, or the reason why there is none.

A missing value is never 0 and never NaN: it is an :class:`Unavailable`, which cannot be compared
or averaged by accident.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from benchmarks.arrivals import FloatArray

LATENCY_PERCENTS = (50, 90, 95, 99)
CONFIDENCE = 0.95

JsonDict = dict[str, str | float | bool | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured value; ``low`` and ``high`` bound it (95 % unless said otherwise).

    Raises:
        ValueError: the value is not finite.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name} is {self.value}, which is not a measurement")

    def to_dict(self) -> JsonDict:
        """JSON form; ``available`` tells it from a missing value."""
        return {
            "name": self.name,
            "available": True,
            "value": self.value,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
        }

    def __str__(self) -> str:
        return f"{self.value:.4g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A value that could not be measured, and why."""

    name: str
    unit: str
    reason: str

    def to_dict(self) -> JsonDict:
        """JSON form; it has no value."""
        return {
            "name": self.name,
            "available": False,
            "unit": self.unit,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        return f"not available: {self.reason}"


Reading = Measure | Unavailable


def latency_measures(latencies_ms: FloatArray) -> tuple[Reading, ...]:
    """The 50th, 90th, 95th and 99th percentile of latencies in ms, with 95 % intervals.

    The intervals are free of any assumption on the distribution: a pair of order statistics whose
    ranks come from the binomial distribution (Hahn and Meeker, Statistical Intervals, 1991,
    section 5.2). A bound that the sample is too small for is ``None``.
    """
    ordered = np.sort(latencies_ms)
    return tuple(_percentile(ordered, percent) for percent in LATENCY_PERCENTS)


def _percentile(ordered: FloatArray, percent: int) -> Reading:
    name = f"latency_p{percent}"
    if ordered.size == 0 or not np.isfinite(ordered).all():
        return Unavailable(name, "ms", "no request was answered")
    low, high = _rank_bounds(ordered.size, percent / 100)
    return Measure(
        name,
        float(np.quantile(ordered, percent / 100)),
        "ms",
        None if low is None else float(ordered[low]),
        None if high is None else float(ordered[high]),
    )


def _rank_bounds(count: int, share: float) -> tuple[int | None, int | None]:
    """Zero-based ranks whose values enclose the quantile with 95 % confidence."""
    tail = (1 - CONFIDENCE) / 2
    low = int(stats.binom.ppf(tail, count, share)) - 1
    high = int(stats.binom.ppf(1 - tail, count, share))
    return (low if low >= 0 else None), (high if high < count else None)


def share_measure(name: str, hits: int, count: int) -> Reading:
    """A proportion with its 95 % interval (Wilson, JASA 22, 1927)."""
    if count == 0:
        return Unavailable(name, "share", "there is no row to measure it on")
    interval = stats.binomtest(hits, count).proportion_ci(CONFIDENCE, method="wilson")
    return Measure(name, hits / count, "share", float(interval.low), float(interval.high))
