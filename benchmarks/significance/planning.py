"""How many values a test needs, and what it can find with those it gets.

Sizes count values in both arms together. Tests are one-sided at `alpha`, in the direction of an
improvement; `share` is the challenger's part of the traffic. Large-sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from benchmarks.significance.group_sequential import (
    boundaries,
    crossing,
    futility,
)

FUTILITY_SHARE = 0.25
"""Part of the allowed missed improvements that ending hopeless tests early may cause."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a plan is made for: error level, power, and the challenger's share of the traffic."""

    alpha: float = 0.05
    power: float = 0.8
    share: float = 0.5

    @property
    def drift(self) -> float:
        """Mean of the final statistic that a fixed test finds with `power`."""
        return float(ndtri(1 - self.alpha) + ndtri(self.power))


def fixed_size_means(aim: Aim, *, sd: float, difference: float) -> int:
    """Values for one look at a mean with standard deviation `sd` in both arms.

    Chow, Shao, Wang & Lokhnygina, "Sample Size Calculations in Clinical Research" (2017),
    section 3.2, for unequal allocation.

    Raises:
        ValueError: sd is not positive or the difference is zero.
    """
    if sd <= 0 or difference == 0:
        raise ValueError("planning needs a positive sd and a difference other than zero")
    per_value = sd * sd * (1 / aim.share + 1 / (1 - aim.share))
    return math.ceil((aim.drift / difference) ** 2 * per_value)


def fixed_size_proportions(aim: Aim, *, baseline: float, difference: float) -> int:
    """Values for one look at a proportion that moves from `baseline` by `difference`.

    Fleiss, Levin & Paik (2003), section 4.2, for unequal allocation: pooled variance under
    equality, own variances under the improvement.

    Raises:
        ValueError: a proportion leaves the range 0 to 1, or the difference is zero.
    """
    improved = baseline + difference
    if not (0 < baseline < 1 and 0 <= improved <= 1) or difference == 0:
        raise ValueError(f"cannot plan a proportion going from {baseline} to {improved}")
    equal, unequal = _proportion_errors(aim.share, baseline, improved)
    reach = -float(ndtri(aim.alpha)) * equal + float(ndtri(aim.power)) * unequal
    return math.ceil((reach / difference) ** 2)


def power_means(aim: Aim, *, sd: float, difference: float, size: int) -> float:
    """Chance that one look at `size` values finds `difference`; source as for its size."""
    error = sd * math.sqrt((1 / aim.share + 1 / (1 - aim.share)) / size)
    return float(ndtr(abs(difference) / error + ndtri(aim.alpha)))


def power_proportions(aim: Aim, *, baseline: float, difference: float, size: int) -> float:
    """Chance that one look at `size` values finds `difference`; source as for its size."""
    equal, unequal = _proportion_errors(aim.share, baseline, baseline + difference)
    gap = abs(difference) * math.sqrt(size) + float(ndtri(aim.alpha)) * equal
    return float(ndtr(gap / unequal))


@dataclass(frozen=True, slots=True)
class SequentialPlan:
    """Equally spaced looks: boundaries, power, and sizes relative to the fixed test's."""

    inflation: float
    upper: tuple[float, ...]
    lower: tuple[float, ...]
    power: float
    mean_size: float
    mean_size_if_equal: float


@lru_cache(maxsize=64)
def sequential_plan(alpha: float, power: float, looks: int) -> SequentialPlan:
    """The plan whose sequential test has `power` where the fixed test has it.

    Inflation of the maximal sample as in Jennison & Turnbull (2000), section 2.2, found
    numerically; non-binding futility spends FUTILITY_SHARE of 1 - power.
    """
    fractions = tuple((look + 1) / looks for look in range(looks))
    upper = boundaries(fractions, alpha)
    drift, missed = Aim(alpha, power).drift, (1 - power) * FUTILITY_SHARE

    def shortfall(inflation: float) -> float:
        moved = drift * math.sqrt(inflation)
        lower = futility(fractions, upper, missed, drift=moved)
        return sum(crossing(fractions, upper, lower, drift=moved).upper) - power

    inflation = float(brentq(shortfall, 1.0, 2.0, xtol=1e-6)) if shortfall(1.0) < 0 else 1.0
    moved = drift * math.sqrt(inflation)
    lower = futility(fractions, upper, missed, drift=moved)
    better = crossing(fractions, upper, lower, drift=moved)
    equal = crossing(fractions, upper, lower)
    return SequentialPlan(
        inflation=inflation,
        upper=upper,
        lower=lower,
        power=sum(better.upper),
        mean_size=inflation * better.mean_fraction(fractions),
        mean_size_if_equal=inflation * equal.mean_fraction(fractions),
    )


def sequential_size(fixed_size: int, aim: Aim, looks: int) -> int:
    """The maximal sample of a sequential test with the power of a fixed test of `fixed_size`."""
    return math.ceil(fixed_size * sequential_plan(aim.alpha, aim.power, looks).inflation)


def _proportion_errors(share: float, baseline: float, improved: float) -> tuple[float, float]:
    pooled = share * improved + (1 - share) * baseline
    equal = math.sqrt(pooled * (1 - pooled) * (1 / share + 1 / (1 - share)))
    own = improved * (1 - improved) / share + baseline * (1 - baseline) / (1 - share)
    return equal, math.sqrt(own)
