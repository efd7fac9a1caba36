"""The improvement of a mean, relative to the champion's."""

from __future__ import annotations

import math

from benchmarks.significance.moments import Moments


def relative_change(champion: Moments, challenger: Moments) -> float | None:
    """(challenger - champion) / |champion| of the means; None where that is not defined."""
    if not champion.count or not challenger.count or champion.mean == 0:
        return None
    return (challenger.mean - champion.mean) / abs(champion.mean)


def relative_interval(
    champion: Moments, challenger: Moments, critical: float
) -> tuple[float, float] | None:
    """Interval of the relative change; None where the champion's mean may as well be zero.

    Fieller, "Some problems in interval estimation", JRSS B 16 (1954) 175–185 (large-sample), with
    `critical` standard errors to each side. With the boundary of a look as `critical` it is the
    repeated confidence interval of Jennison & Turnbull, JRSS B 51 (1989) 305–361: all looks
    together hold the true change with the test's confidence, also after stopping early.
    """
    if min(champion.count, challenger.count) < 2 or champion.mean == 0:
        return None
    base, other = champion.mean, challenger.mean
    base_error, other_error = (critical**2 * _squared_error(arm) for arm in (champion, challenger))
    square = base * base - base_error
    if square <= 0:
        return None
    root = math.sqrt(max(0.0, (base * other) ** 2 - square * (other * other - other_error)))
    sign = math.copysign(1.0, base)
    ends = [sign * ((base * other + side * root) / square - 1) for side in (-1, 1)]
    return min(ends), max(ends)


def _squared_error(arm: Moments) -> float:
    """Squared standard error of a mean.

    For 0/1 values one success and one failure are added (Agresti & Caffo, The American
    Statistician 54 (2000) 280–288), so that an arm without failures is not taken as certain.
    """
    if not arm.binary:
        return arm.variance / arm.count
    share = (arm.total + 1) / (arm.count + 2)
    return share * (1 - share) / (arm.count + 2)
