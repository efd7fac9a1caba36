"""Comparisons that use what else is known of each request: pairs and covariates.

In shadow mode both versions answer the same request, so the difference within each pair is far
less noisy than two separate arms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import betainc, stdtr, stdtrit

from benchmarks.significance.fixed import Comparison
from benchmarks.significance.moments import Moments


@dataclass(frozen=True, slots=True)
class CovariateSums:
    """Sums over one arm of a covariate x, known before the test began, beside the metric y."""

    x: float
    x_sq: float
    xy: float


def paired_mean(differences: Moments, alpha: float = 0.05) -> Comparison:
    """Student's paired test on differences challenger minus champion (large-sample if skewed).

    "Student", "The probable error of a mean", Biometrika 6 (1908) 1–25. Pairs are independent.

    Raises:
        ValueError: fewer than two pairs.
    """
    if differences.count < 2:
        raise ValueError("a paired comparison needs at least two pairs")
    error = math.sqrt(differences.variance / differences.count)
    freedom = differences.count - 1
    reach = float(stdtrit(freedom, 1 - alpha / 2)) * error
    t = differences.mean / error if error else math.copysign(math.inf, differences.mean)
    t = 0.0 if differences.mean == 0 else t
    p_value = 2 * float(stdtr(freedom, -abs(t)))
    interval = (differences.mean - reach, differences.mean + reach)
    return Comparison(differences.mean, interval, t, p_value)


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p for 0/1 scores, from the pairs where only one version was right.

    McNemar, Psychometrika 12 (1947) 153–157, in the exact binomial form. From sums of 0/1
    differences: better = (squares + sum) / 2 and worse = (squares - sum) / 2.

    Raises:
        ValueError: a count is negative.
    """
    if min(better, worse) < 0:
        raise ValueError("the number of pairs must not be negative")
    fewer, pairs = min(better, worse), better + worse
    if fewer == better == worse:
        return 1.0
    # P(X <= k) of a fair coin thrown n times is the incomplete beta function at one half.
    return min(1.0, 2 * float(betainc(pairs - fewer, fewer + 1, 0.5)))


def cuped(
    champion: tuple[Moments, CovariateSums], challenger: tuple[Moments, CovariateSums]
) -> tuple[Moments, Moments]:
    """Both arms with what a pre-test covariate explains taken out; the mean effect stays.

    Deng, Xu, Kohavi & Walker, "Improving the sensitivity of online controlled experiments by
    utilizing pre-experiment data" (CUPED), WSDM 2013. One slope from both arms; the covariate is
    centred on its mean in both arms together. The result goes into any test of means. The
    covariate must not be touched by the treatment.

    Raises:
        ValueError: an arm has fewer than two values.
    """
    arms = (champion, challenger)
    if min(moments.count for moments, _ in arms) < 2:
        raise ValueError("CUPED needs at least two values in each arm")
    centre = sum(c.x for _, c in arms) / sum(m.count for m, _ in arms)
    spread = sum(c.x_sq - c.x * c.x / m.count for m, c in arms)
    together = sum(c.xy - c.x * m.total / m.count for m, c in arms)
    slope = together / spread if spread > 0 else 0.0
    return _adjusted(champion, slope, centre), _adjusted(challenger, slope, centre)


def _adjusted(arm: tuple[Moments, CovariateSums], slope: float, centre: float) -> Moments:
    """Sums of y - slope * (x - centre)."""
    moments, sums = arm
    n = moments.count
    shifted = sums.x - n * centre
    shifted_sq = sums.x_sq - 2 * centre * sums.x + n * centre * centre
    cross = sums.xy - centre * moments.total
    total_sq = moments.total_sq - 2 * slope * cross + slope * slope * shifted_sq
    return Moments(n, moments.total - slope * shifted, max(0.0, total_sq))
