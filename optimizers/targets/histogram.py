"""Quantiles of what a Prometheus histogram gained between two looks."""

from __future__ import annotations

import math
from collections.abc import Mapping


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Return the value below which `share` (0 to 1) of the samples lie; None without samples.

    Args:
        buckets: how many samples lie at or below each bound, the bounds above 0; the last is
            infinite.
        share: which quantile, 0 to 1.

    Between two bounds the samples are taken to be spread evenly on a logarithmic scale, as fits
    bounds that grow by a factor; below the lowest, and above the highest, that bound is given.
    """
    bounds = sorted(bound for bound in buckets if bound > 0.0)
    if not bounds or not math.isinf(bounds[-1]) or buckets[bounds[-1]] <= 0.0:
        return None
    wanted = share * buckets[bounds[-1]]
    below = 0.0
    for index, bound in enumerate(bounds):
        reached = max(buckets[bound], below)  # workers read a moment apart may disagree a little
        if reached >= wanted and reached > below:
            return _between(bounds, index, (wanted - below) / (reached - below))
        below = reached
    return None


def _between(bounds: list[float], index: int, part: float) -> float | None:
    bound = bounds[index]
    if index == 0:
        return None if math.isinf(bound) else bound
    if math.isinf(bound):
        return bounds[index - 1]
    return float(bounds[index - 1] * (bound / bounds[index - 1]) ** part)
