"""Tells whether a metric has left what it was in the last hour. Pure.

The last five minutes are unusual when their median lies beyond everything seen in the hour before
them, by more than six robust standard deviations (1.4826 times the median absolute deviation, see
Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993) and by more than a fifth of the
usual value. The first rule keeps bursts out that come again and again, the last one keeps tiny
changes of very steady metrics out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_RECENT_S = 300.0
_BEFORE_S = 3600.0
_LEAST_RECENT = 5
_LEAST_BEFORE = 30
_DEVIATIONS = 6.0
_NORMAL = 1.4826
_RELATIVE = 0.2


@dataclass(frozen=True, slots=True)
class Unusual:
    """How a metric is unlike its last hour.

    Attributes:
        recent: its median of the last five minutes.
        usual: its median of the hour before.
        lowest, highest: of the hour before.
        distance: between the medians, in robust standard deviations; at most 1000.
    """

    recent: float
    usual: float
    lowest: float
    highest: float
    distance: float


def unusual(points: Sequence[tuple[float, float]], at: float) -> Unusual | None:
    """Judge a series of moments and values; None when it is as usual, or too little is known."""
    recent = [value for moment, value in points if at - _RECENT_S <= moment <= at]
    before = [
        value for moment, value in points if at - _RECENT_S - _BEFORE_S <= moment < at - _RECENT_S
    ]
    if len(recent) < _LEAST_RECENT or len(before) < _LEAST_BEFORE:
        return None
    now, lowest, highest = median(recent), min(before), max(before)
    if lowest <= now <= highest:
        return None
    usual = median(before)
    gap = abs(now - usual)
    deviation = _NORMAL * median([abs(value - usual) for value in before])
    if gap <= _RELATIVE * abs(usual) or gap <= _DEVIATIONS * deviation:
        return None
    distance = gap / deviation if deviation > 0.0 else math.inf
    return Unusual(now, usual, lowest, highest, min(distance, 1000.0))
