"""Rates from counters that only grow: over resets, restarts and steps of the wall clock.

The time between two looks is taken from the monotonic clock, so a step of the wall clock changes
no rate. A counter below its last value was reset: it counts from 0, as Prometheus's `rate` has it
(https://prometheus.io/docs/prometheus/latest/querying/functions/#rate).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from config.clock import Clock

K = TypeVar("K", bound=Hashable)

_FORGET_S = 600.0
_LEAST_S = 0.001
_STEP_S = 5.0


@dataclass(frozen=True, slots=True)
class Interval(Generic[K]):
    """What counters gained between two looks.

    Attributes:
        seconds: between the looks, on the monotonic clock.
        gains: by counter, never below 0.
        resets: counters that had begun anew.
        unusable: counters that were no numbers from 0 up.
    """

    seconds: float
    gains: Mapping[K, float]
    resets: tuple[K, ...] = ()
    unusable: tuple[K, ...] = ()

    def rate(self, key: K) -> float | None:
        """The gain a second; None when the counter is missing."""
        gain = self.gains.get(key)
        return None if gain is None else gain / self.seconds


class Counters(Generic[K]):
    """The last values of a target's counters."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[K, tuple[float, float]] = {}
        self._looked_at: float | None = None

    def advance(self, values: Mapping[K, float]) -> Interval[K] | None:
        """Take new values; None at the first look, when there is nothing to compare them with.

        A counter that is new at a later look was born since the last one and began at 0; one that
        was away for less than ten minutes goes on from where it was.
        """
        now = self._clock.monotonic()
        seconds = None if self._looked_at is None else now - self._looked_at
        if seconds is not None and seconds < _LEAST_S:
            return None
        usable = {key: value for key, value in values.items() if _counts(value)}
        interval = None if seconds is None else self._interval(seconds, usable, values)
        self._looked_at = now
        kept = {key: seen for key, seen in self._last.items() if now - seen[1] < _FORGET_S}
        self._last = kept | {key: (value, now) for key, value in usable.items()}
        return interval

    def _interval(
        self, seconds: float, usable: Mapping[K, float], values: Mapping[K, float]
    ) -> Interval[K]:
        before = {key: self._last.get(key, (0.0, 0.0))[0] for key in usable}
        resets = tuple(key for key, value in usable.items() if value < before[key])
        began_anew = frozenset(resets)
        gains = {
            key: value if key in began_anew else value - before[key]
            for key, value in usable.items()
        }
        return Interval(seconds, gains, resets, tuple(key for key in values if key not in usable))


class WallClockWatch:
    """Notices when the wall clock is stepped while the monotonic clock goes on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[float, float] | None = None

    def step(self, at: float) -> float:
        """By how many seconds the wall clock was stepped since the last call; 0 below 5 s."""
        now = self._clock.monotonic()
        last, self._last = self._last, (at, now)
        if last is None:
            return 0.0
        step = (at - last[0]) - (now - last[1])
        return step if abs(step) >= _STEP_S else 0.0


def _counts(value: float) -> bool:
    return math.isfinite(value) and value >= 0.0
