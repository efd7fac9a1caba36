"""Which size a cache should have, by its curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from benchmarks.cache_curves.curves import HitCurve, Rate

_POINTS = 512
# A cache is far larger than it need be if a smaller one loses no more than this.
_UNSEEN_LOSS = 0.005


class Basis(StrEnum):
    """What a size was chosen by."""

    TARGET = "target"
    KNEE = "knee"


@dataclass(frozen=True, slots=True)
class Choice:
    """A size, why it, and the hit rate that is predicted for it."""

    size: int
    basis: Basis
    predicted: Rate


def choose_size(curve: HitCurve, *, target: float, most: int, present: int = 0) -> Choice | None:
    """Return the smallest size that reaches the target, or the knee of the curve.

    The target counts as reached by as much more as the prediction may be wrong, where a size up to
    `most` reaches that.

    Args:
        curve: of the cache.
        target: the hit rate that is wanted.
        most: the largest size that is allowed.
        present: its size; the knee is that of the curve beyond it.

    Returns:
        None where the window is too short to say anything.
    """
    limit = min(most, curve.reach)
    if limit < 1:
        return None
    size = smallest(curve, target, limit)
    if size is None:
        size = knee(curve, limit, start=min(present, limit - 1))
        return Choice(size, Basis.KNEE, curve.rate(size))
    rate = curve.rate(size)
    surer = smallest(curve, target + (rate.mean - rate.low), limit)
    if surer is not None and surer != size:
        size, rate = surer, curve.rate(surer)
    return Choice(size, Basis.TARGET, rate)


def smallest(curve: HitCurve, rate: float, most: int) -> int | None:
    """The smallest size up to `most` that has this hit rate; None when none has."""
    return _first(lambda size: curve.at(size) >= rate, most)


def knee(curve: HitCurve, most: int, *, start: int = 0) -> int:
    """The size at which the curve from `start` to `most` lies highest above its chord.

    That is where one more entry begins to bring less than entries do on the average (Satopää,
    Albrecht, Irwin, Raghavan, "Finding a kneedle in a haystack", ICDCSW 2011, without smoothing:
    the curve only rises).
    """
    length = most - start
    spaced = (np.linspace(1, length, _POINTS), np.geomspace(1, length, _POINTS))
    steps = np.unique(np.rint(np.concatenate(spaced)).astype(np.int64))
    heights = np.array([curve.at(start + int(step)) for step in steps]) - curve.at(start)
    return start + int(steps[np.argmax(heights - steps / length * heights[-1])])


def justified_size(curve: HitCurve, *, present: int, target: float) -> int | None:
    """The size a cache could be shrunk to, losing half a point of its hit rate at most.

    What it has above the target may go as well.

    Args:
        curve: of the cache.
        present: its size.
        target: the hit rate that is enough.

    Returns:
        A size below `present`; None where the window is too short, or the cache is no larger than
        its curve justifies.
    """
    if curve.reach < 1:
        return None
    enough = min(target, curve.at(present) - _UNSEEN_LOSS)
    size = smallest(curve, enough, min(present, curve.reach))
    return size if size is not None and size < present else None


def _first(holds: Callable[[int], bool], most: int) -> int | None:
    """The smallest number from 0 to `most` for which something holds that keeps holding."""
    if not holds(most):
        return None
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
