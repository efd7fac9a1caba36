"""Tests with one look, at a sample size fixed beforehand. Not to be repeated while data arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtr, ndtri, stdtr, stdtrit

from benchmarks.significance.moments import Moments


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger minus champion: the difference, its 1 - alpha interval, and two-sided p."""

    difference: float
    interval: tuple[float, float]
    statistic: float
    p_value: float


def welch(champion: Moments, challenger: Moments, alpha: float = 0.05) -> Comparison:
    """Welch's test of two means with unequal variances (large-sample for skewed values).

    Welch, Biometrika 34 (1947) 28–35, with Satterthwaite's degrees of freedom (1946).

    Raises:
        ValueError: an arm has fewer than two values, or neither arm varies at all.
    """
    if min(champion.count, challenger.count) < 2:
        raise ValueError("Welch's test needs at least two values in each arm")
    part_a = champion.variance / champion.count
    part_b = challenger.variance / challenger.count
    if part_a + part_b == 0:
        raise ValueError("Welch's test needs values that vary in at least one arm")
    error = math.sqrt(part_a + part_b)
    below = part_a**2 / (champion.count - 1) + part_b**2 / (challenger.count - 1)
    freedom = (part_a + part_b) ** 2 / below
    difference = challenger.mean - champion.mean
    reach = float(stdtrit(freedom, 1 - alpha / 2)) * error
    p_value = 2 * float(stdtr(freedom, -abs(difference / error)))
    interval = (difference - reach, difference + reach)
    return Comparison(difference, interval, difference / error, p_value)


def proportions(champion: Moments, challenger: Moments, alpha: float = 0.05) -> Comparison:
    """Pooled two-proportion z test with Newcombe's interval (large-sample).

    Test: Fleiss, Levin & Paik, "Statistical Methods for Rates and Proportions" (2003), chapter 3,
    without continuity correction. Interval: method 10 of Newcombe, "Interval estimation for the
    difference between independent proportions", Statistics in Medicine 17 (1998) 873–890.

    Raises:
        ValueError: an arm is empty or holds values other than 0 and 1.
    """
    if not (champion.count and challenger.count and champion.binary and challenger.binary):
        raise ValueError("the proportion test needs 0/1 values in both arms")
    n_a, n_b = champion.count, challenger.count
    difference = challenger.mean - champion.mean
    pooled = (champion.total + challenger.total) / (n_a + n_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    z = difference / error if error else 0.0
    low_a, high_a = wilson(champion, alpha)
    low_b, high_b = wilson(challenger, alpha)
    down = math.hypot(challenger.mean - low_b, high_a - champion.mean)
    up = math.hypot(high_b - challenger.mean, champion.mean - low_a)
    interval = (difference - down, difference + up)
    return Comparison(difference, interval, z, 2 * float(ndtr(-abs(z))))


def wilson(arm: Moments, alpha: float = 0.05) -> tuple[float, float]:
    """Score interval of one proportion: Wilson, JASA 22 (1927) 209–212."""
    z, n, share = -float(ndtri(alpha / 2)), arm.count, arm.mean
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)
