"""Latencies in a high-dynamic-range histogram: small, mergeable, exact to three digits.

The counting is done by the hdrhistogram library (after Gil Tene's HdrHistogram); values go in and
come out in milliseconds and are kept in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

LOWEST_US = 1
HIGHEST_US = 600_000_000
DIGITS = 3


class LatencyHistogram:
    """Counts of latencies from 1 µs to 10 minutes; longer ones are counted as 10 minutes."""

    def __init__(self, latencies_ms: Iterable[float] = ()) -> None:
        self._counts = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
        for latency in latencies_ms:
            self.record(latency)

    def record(self, latency_ms: float) -> None:
        """Count one latency, in milliseconds."""
        self._counts.record_value(min(max(round(latency_ms * 1e3), LOWEST_US), HIGHEST_US))

    def merge(self, other: LatencyHistogram) -> None:
        """Add the counts of another histogram to this one."""
        self._counts.add(other._counts)

    def percentile(self, percent: float) -> float | None:
        """The latency, in ms, that ``percent`` (0–100) of the requests did not exceed.

        ``None`` when nothing was counted: no data is not a latency of 0.
        """
        if not self.count:
            return None
        return float(self._counts.get_value_at_percentile(percent)) / 1e3

    @property
    def count(self) -> int:
        """How many latencies were counted."""
        return int(self._counts.get_total_count())

    def buckets(self) -> list[tuple[float, int]]:
        """(upper edge in ms, count) of every bucket in use, ascending: for plots and records."""
        return [
            (float(item.value_iterated_to) / 1e3, int(item.count_added_in_this_iter_step))
            for item in self._counts.get_recorded_iterator()
        ]
