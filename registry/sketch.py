"""A mergeable quantile sketch of latencies: counts in logarithmic buckets.

The mapping is that of DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees", PVLDB 12(12), 2019): bucket *i* holds values in
(γ^(i-1), γ^i] with γ = (1+α)/(1-α), and any value of it is reported with a relative error of at
most α. Two sketches are merged by adding their counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1.0 / math.log(_GAMMA)
# One microsecond to about three hours: what lies outside is counted in the outermost buckets,
# so a sketch holds at most about 1150 of them.
SMALLEST_MS = 0.001
LARGEST_MS = 10_000_000.0


def bucket_of(latency_ms: float) -> int:
    """Return the bucket of a latency in milliseconds; NaN counts as the largest."""
    if not latency_ms < LARGEST_MS:
        latency_ms = LARGEST_MS
    elif latency_ms < SMALLEST_MS:
        latency_ms = SMALLEST_MS
    return math.ceil(math.log(latency_ms) * _PER_LOG)


def value_of(bucket: int) -> float:
    """Return the latency (ms) that stands for a bucket: within 1 % of each of its values."""
    return 2.0 * math.exp(bucket / _PER_LOG) / (_GAMMA + 1.0)


def merge(sketches: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Return the sum of sketches, ordered by bucket."""
    total: dict[int, int] = {}
    for sketch in sketches:
        for index, count in sketch.items():
            total[index] = total.get(index, 0) + count
    return dict(sorted(total.items()))


def quantile(sketch: Mapping[int, int], share: float) -> float | None:
    """Return the latency (ms) below which `share` (0 to 1) of the requests lie; None if empty.

    The value returned is within 1 % of the sample of rank ⌊share x (n - 1)⌋.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}; a quantile needs a share from 0 to 1")
    count = sum(sketch.values())
    if count == 0:
        return None
    rank = math.floor(share * (count - 1))
    seen = 0
    for index in sorted(sketch):
        seen += sketch[index]
        if seen > rank:
            return value_of(index)
    return None  # pragma: no cover - the counts add up to `count`
