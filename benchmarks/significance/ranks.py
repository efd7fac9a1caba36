"""Comparison by ranks: for values with heavy tails and outliers, such as latencies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import mannwhitneyu

_MAX_PAIRS = 25_000_000


@dataclass(frozen=True, slots=True)
class RankComparison:
    """The shift from `before` to `after`, its interval, two-sided p, and P(after > before)."""

    shift: float
    interval: tuple[float, float]
    p_value: float
    superiority: float


def compare_ranks(before: ArrayLike, after: ArrayLike, alpha: float = 0.05) -> RankComparison:
    """Mann–Whitney test with the Hodges–Lehmann shift and its 1 - alpha interval.

    Mann & Whitney, Annals of Math. Statistics 18 (1947) 50–60; Hodges & Lehmann, same journal 34
    (1963) 598–611; interval from ordered pairwise differences: Hollander, Wolfe & Chicken,
    "Nonparametric Statistical Methods" (2013), section 4.3. The p-value is exact for small
    samples without ties, else large-sample with tie correction; the interval is large-sample.
    Values must be independent and finite; the interval means a pure shift.

    Raises:
        ValueError: a sample is empty or not finite, or the pairs exceed 25 million.
    """
    x, y = _sample(before, "before"), _sample(after, "after")
    if x.size * y.size > _MAX_PAIRS:
        raise ValueError(f"{x.size} x {y.size} pairs are too many; compare a random part")
    differences = np.sort((y[:, None] - x[None, :]).ravel())
    test = mannwhitneyu(y, x, alternative="two-sided", method="auto")
    return RankComparison(
        shift=float(np.median(differences)),
        interval=_interval(differences, (x.size, y.size), alpha),
        p_value=float(test.pvalue),
        superiority=float(test.statistic) / differences.size,
    )


def _sample(values: ArrayLike, name: str) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"sample '{name}' is empty or holds values that are not numbers")
    return sample


def _interval(
    ordered: NDArray[np.float64], sizes: tuple[int, int], alpha: float
) -> tuple[float, float]:
    m, n = sizes
    spread = math.sqrt(m * n * (m + n + 1) / 12)
    rank = math.floor(m * n / 2 + float(ndtri(alpha / 2)) * spread)
    if rank < 1:
        return -math.inf, math.inf
    return float(ordered[rank - 1]), float(ordered[m * n - rank])
