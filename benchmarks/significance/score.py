"""The standardised difference between two arms, fit for small, very unequal arms.

The textbook statistic (difference over its unpooled standard error) is wrong with a 5 % arm and
few events: at 1 % of events and 2,000 values it finds a difference in 63 % of equal pairs. Two
better ones err in opposite directions, so the one closer to zero is taken. All functions work
element by element on arrays and return large-sample standard normal values under equality,
positive when the challenger's mean is higher; 0 where nothing can be said.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, xlogy

from benchmarks.significance.moments import Moments

Floats = NDArray[np.float64]


def standard_score(champion: Moments, challenger: Moments) -> float:
    """The statistic of two arms from their sums: of proportions when all values are 0 or 1."""
    if champion.binary and challenger.binary:
        z = proportion_score(champion.total, champion.count, challenger.total, challenger.count)
        return float(z)
    counts = (champion.count, challenger.count)
    if min(counts) < 2:
        return 0.0
    means = (champion.mean, challenger.mean)
    return float(mean_score(counts, means, (champion.variance, challenger.variance)))


def proportion_score(
    champion_hits: ArrayLike, champion_n: ArrayLike, hits: ArrayLike, n: ArrayLike
) -> Floats:
    """Nearer to zero of the score statistic and the signed root of the likelihood ratio.

    Score: pooled two-sample test (Pearson, 1900; as in Fleiss, "Statistical Methods for Rates and
    Proportions", chapter 2). Root: Wilks (1938), signed as in Barndorff-Nielsen & Cox (1994).
    """
    x_a, n_a, x_b, n_b = (np.asarray(v, float) for v in (champion_hits, champion_n, hits, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (x_a + x_b) / (n_a + n_b)
        gap = x_b / n_b - x_a / n_a
        score = gap / np.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
        deviance = 2 * (_deviance(x_a, n_a, pooled) + _deviance(x_b, n_b, pooled))
        root = np.sign(gap) * np.sqrt(np.maximum(deviance, 0))
    return _nearer_zero(score, root)


def mean_score(counts: tuple[ArrayLike, ArrayLike], means: tuple[ArrayLike, ArrayLike],
               variances: tuple[ArrayLike, ArrayLike]) -> Floats:  # fmt: skip
    """Nearer to zero of Welch's and Student's t, each turned into a normal value.

    Pairs are (champion, challenger); at least two values each. Welch, "The generalization of
    'Student's' problem", Biometrika 34 (1947) 28–35; the pooled t holds where Welch's own
    variance of a small skewed arm is too low by chance. Equal tail probability gives the normal.
    """
    n_a, n_b = (np.asarray(v, float) for v in counts)
    gap = np.asarray(means[1], float) - np.asarray(means[0], float)
    var_a, var_b = (np.asarray(v, float) for v in variances)
    with np.errstate(divide="ignore", invalid="ignore"):
        part_a, part_b = var_a / n_a, var_b / n_b
        free = (part_a + part_b) ** 2 / (part_a**2 / (n_a - 1) + part_b**2 / (n_b - 1))
        welch = _normal_value(gap / np.sqrt(part_a + part_b), free)
        together = ((n_a - 1) * var_a + (n_b - 1) * var_b) / (n_a + n_b - 2)
        pooled = _normal_value(gap / np.sqrt(together * (1 / n_a + 1 / n_b)), n_a + n_b - 2)
    return _nearer_zero(welch, pooled)


def _deviance(hits: Floats, n: Floats, share: Floats) -> Floats:
    misses = n - hits
    return np.asarray(xlogy(hits, hits / (n * share)) + xlogy(misses, misses / (n * (1 - share))))


def _normal_value(t: Floats, freedom: Floats) -> Floats:
    tail = np.maximum(stdtr(freedom, -np.abs(t)), 1e-300)
    return np.asarray(-np.sign(t) * ndtri(tail))


def _nearer_zero(one: Floats, other: Floats) -> Floats:
    nearer = np.where(np.abs(one) < np.abs(other), one, other)
    return np.where(np.isfinite(one) & np.isfinite(other), nearer, 0.0)
