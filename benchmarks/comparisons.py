"""Is the candidate not worse than the champion by more than its margin? Pure functions.

Each returns bounds that hold one-sidedly at ``alpha``: "worse by at most the margin" is shown when
the bound on the bad side stays inside the margin, and refuted when the bound on the good side
lies outside it; anything else is undecided. Requiring every measure to pass is an
intersection-union test, which needs no correction for their number (Berger, Technometrics 24,
1982): the chance to accept a version that is worse than its margin in any measure is at most
``alpha``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from benchmarks.arrivals import FloatArray

IntArray = NDArray[np.int64]

BOOTSTRAP_ROUNDS = 1000


class Outcome(StrEnum):
    """What a comparison shows."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate with a lower and an upper bound, each one-sided at alpha."""

    estimate: float
    low: float
    high: float


def judge_excess(excess: Bounds, margin: float) -> Outcome:
    """Judge how much worse the candidate is (positive = worse) against what is allowed.

    Anything that is not a number leaves the question open.
    """
    if any(math.isnan(x) for x in (excess.estimate, excess.low, excess.high, margin)):
        return Outcome.INCONCLUSIVE
    if excess.high <= margin:
        return Outcome.PASS
    return Outcome.FAIL if excess.low > margin else Outcome.INCONCLUSIVE


def signed_rank_bounds(differences: FloatArray, alpha: float) -> Bounds:
    """Hodges–Lehmann estimate of the centre of paired differences, with exact rank bounds.

    Valid for differences that are symmetric about their centre, which pairs measured in random
    order are. A block spoilt by other load moves it little: up to 29 % may be arbitrary. Too few
    pairs for ``alpha`` give infinite bounds. Source: Hollander, Wolfe and Chicken, Nonparametric
    Statistical Methods, 3rd ed., sections 3.2 and 3.3.
    """
    if differences.size == 0 or not np.isfinite(differences).all():
        return Bounds(math.nan, math.nan, math.nan)
    rows, columns = np.triu_indices(differences.size)
    walsh = np.sort((differences[rows] + differences[columns]) / 2)
    skip = _signed_rank_skip(differences.size, alpha)
    if skip is None:
        return Bounds(float(np.median(walsh)), -math.inf, math.inf)
    return Bounds(float(np.median(walsh)), float(walsh[skip]), float(walsh[-1 - skip]))


@lru_cache(maxsize=64)
def _signed_rank_skip(count: int, alpha: float) -> int | None:
    """How many Walsh averages may be left out at one end so that the bound holds at alpha."""
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, count + 1):
        shifted = np.zeros_like(ways)
        shifted[rank:] = ways[:-rank]
        ways = (ways + shifted) / 2
    allowed = int(np.searchsorted(np.cumsum(ways), alpha, side="right"))
    return allowed - 1 if allowed > 0 else None


def paired_proportion_bounds(
    candidate: NDArray[np.bool_], champion: NDArray[np.bool_], alpha: float
) -> Bounds:
    """Difference of two success rates on the same rows (candidate − champion).

    Score bounds of Tango (Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design, Statistics in Medicine 17, 1998), which keep their
    level with few or no disagreeing rows.
    """
    only_candidate = int(np.sum(candidate & ~champion))
    only_champion = int(np.sum(champion & ~candidate))
    rows = candidate.size
    if rows == 0:
        return Bounds(math.nan, math.nan, math.nan)
    estimate = (only_candidate - only_champion) / rows
    limit = float(stats.norm.ppf(1 - alpha))

    def score(difference: float) -> float:
        return _tango_score(only_candidate, only_champion, rows, difference)

    low = _crossing(lambda d: score(d) - limit, -1.0, estimate)
    high = _crossing(lambda d: score(d) + limit, estimate, 1.0)
    return Bounds(estimate, low, high)


def _tango_score(more: int, fewer: int, rows: int, difference: float) -> float:
    """Tango's statistic for the hypothesis that the true difference is ``difference``."""
    a = 2.0 * rows
    b = -more - fewer + (2.0 * rows - more + fewer) * difference
    c = -fewer * difference * (1.0 - difference)
    nuisance = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = rows * (2 * nuisance + difference * (1.0 - difference))
    distance = more - fewer - rows * difference
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is 0; the outer end of the range if it does not get there."""
    edge = 1e-12
    start, end = low + edge, high - edge
    at_start, at_end = function(start), function(end)
    if at_start <= 0:
        return low
    if at_end >= 0:
        return high
    return float(optimize.brentq(function, start, end, xtol=1e-9))


def bootstrap_bounds(
    difference: Callable[[IntArray], float], rows: int, alpha: float, rng: np.random.Generator
) -> Bounds:
    """Bounds on a difference of two scores by drawing evaluation rows with replacement.

    ``difference`` takes row numbers and returns candidate − champion on just those rows, so that
    the pairing is kept. Percentile bootstrap: Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13.
    """
    if rows == 0:
        return Bounds(math.nan, math.nan, math.nan)
    draws = [difference(rng.integers(0, rows, rows)) for _ in range(BOOTSTRAP_ROUNDS)]
    low, high = np.quantile(draws, [alpha, 1 - alpha])
    return Bounds(difference(np.arange(rows)), float(low), float(high))
