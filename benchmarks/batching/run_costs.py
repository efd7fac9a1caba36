"""What runs of a model cost, as a function of their rows: measured quantiles, and draws from them.

Between two measured sizes each quantile is a straight line, and beyond the largest it goes on as
it came: so a draw for 24 rows is as scattered as runs of 16 and 32 rows were, and no scatter of a
short run is blown up to the length of a long one. Pure.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.batching.settings import Session

QUANTILES = 32
"""Equally likely values kept of the measured seconds of one size."""

_DRAWS = 4096


@dataclass(frozen=True, slots=True)
class CostLevel:
    """Runs of so many rows: equally likely seconds, ascending, and mean processor seconds."""

    rows: int
    seconds: tuple[float, ...]
    cpu_s: float
    repeats: int = 0

    @property
    def median_s(self) -> float:
        """The middle of the seconds."""
        return self.seconds[len(self.seconds) // 2]


@dataclass(frozen=True, slots=True)
class CostCurve:
    """The measured sizes of one session, ascending.

    Attributes:
        undisturbed: share of the timed runs during which no other process took the core.
    """

    session: Session
    levels: tuple[CostLevel, ...]
    undisturbed: float = 1.0

    def seconds_of(self, rows: int) -> list[float]:
        """Equally likely seconds of a run of `rows` rows."""
        low, high = self._around(rows)
        if high is low:
            share = rows / low.rows if len(self.levels) == 1 else 1.0
            return [value * share for value in low.seconds]
        share = (rows - low.rows) / (high.rows - low.rows)
        pairs = zip(low.seconds, high.seconds, strict=True)
        return [max(small + share * (large - small), 1e-7) for small, large in pairs]

    def median_s(self, rows: int) -> float:
        """The middle of the seconds of a run of `rows` rows."""
        return self.seconds_of(rows)[QUANTILES // 2]

    def cpu_of(self, rows: int) -> float:
        """Mean processor seconds of a run of `rows` rows, all threads together."""
        low, high = self._around(rows)
        if high is low:
            return low.cpu_s
        share = (rows - low.rows) / (high.rows - low.rows)
        return max(low.cpu_s + share * (high.cpu_s - low.cpu_s), 1e-7)

    def _around(self, rows: int) -> tuple[CostLevel, CostLevel]:
        """The levels a number of rows lies between, or the two it lies beyond."""
        levels = self.levels
        if len(levels) == 1:
            return levels[0], levels[0]
        place = bisect_left([level.rows for level in levels], rows)
        if place < len(levels) and levels[place].rows == rows:
            return levels[place], levels[place]
        place = min(max(place, 1), len(levels) - 1)
        return levels[place - 1], levels[place]


def quantiles_of(seconds: Sequence[float]) -> tuple[float, ...]:
    """`QUANTILES` equally likely values that stand for a sample."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    found = []
    for step in range(QUANTILES):
        at = (step + 0.5) / QUANTILES * len(ordered) - 0.5
        low = min(max(int(at), 0), last)
        share = min(max(at - low, 0.0), 1.0)
        found.append(ordered[low] + share * (ordered[min(low + 1, last)] - ordered[low]))
    return tuple(found)


@dataclass(slots=True)
class RunCosts:
    """Draws the seconds of one run after the other; the same seed gives the same runs.

    Two settings with the same seed have the same luck, run by run: what differs between their
    replays is then their own doing.
    """

    curve: CostCurve
    seed: int = 1
    _places: list[int] = field(init=False)
    _known: dict[int, list[float]] = field(init=False, default_factory=dict)
    _cpu: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)
        self._places = [draw.randrange(QUANTILES) for _ in range(_DRAWS)]

    def of(self, run: int, rows: int) -> float:
        """Seconds of the run with this number, over `rows` rows."""
        known = self._known.get(rows)
        if known is None:
            known = self._known[rows] = self.curve.seconds_of(rows)
        return known[self._places[run % _DRAWS]]

    def cpu_of(self, rows: int) -> float:
        """Mean processor seconds of a run."""
        known = self._cpu.get(rows)
        if known is None:
            known = self._cpu[rows] = self.curve.cpu_of(rows)
        return known
