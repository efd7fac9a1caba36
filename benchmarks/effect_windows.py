"""How far samples of a metric moved, with an error rate that autocorrelated noise cannot break.

Two layouts, both robust against heavy tails:

- **pairs**: a sample with and a sample without the change stand side by side, in an order drawn at
  random for each pair. Then, if the change does nothing, each difference is as likely to be
  positive as negative whatever the noise around it does, and the signed-rank test is exact (Fisher,
  "The Design of Experiments", 1935, section 21). Strict alternation errs on the safe side under
  positive autocorrelation, but not under load that rises and falls in step with it.
- **windows**: samples before one switch and samples after it. The spread is widened for the
  autocorrelation that the samples show, by its upper bound. Load that drifts or jumps at the moment
  of the switch cannot be told from an effect: use pairs where the target allows them.

Pure functions.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import rankdata

from benchmarks.comparisons import signed_rank_bounds
from benchmarks.significance.ranks import compare_ranks

FloatArray = NDArray[np.float64]

_EXACT_PAIRS = 100
_WIDTH_ALPHA = 0.02
_AUTOCORRELATION_ALPHA = 0.10
_MAX_AUTOCORRELATION = 0.95
MIN_WINDOW = 8
"""Fewer samples than this on a side of a switch show nothing of their own autocorrelation."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The shift from before to after, its 1 - alpha interval, and p against either direction.

    `p_up` is small when after is higher, `p_down` when it is lower.
    """

    estimate: float
    low: float
    high: float
    p_up: float
    p_down: float

    @property
    def p_value(self) -> float:
        """Two-sided."""
        return min(1.0, 2 * min(self.p_up, self.p_down))


def pair_orders(pairs: int, rng: random.Random) -> tuple[bool, ...]:
    """Draw, for each pair, whether the sample with the change comes first: a fair coin each."""
    return tuple(rng.random() < 0.5 for _ in range(pairs))


def after_settling(
    samples: Sequence[tuple[float, float]], switched_at: float, settle_s: float
) -> list[float]:
    """The values of (time, value) samples taken at least `settle_s` seconds after a switch."""
    return [value for at, value in samples if at >= switched_at + settle_s]


def least_pairs(alpha: float) -> int:
    """The fewest pairs that can decide at a two-sided error rate: 2 / 2^n must not exceed it."""
    return math.ceil(math.log2(2 / alpha))


def paired_shift(before: FloatArray, after: FloatArray, alpha: float) -> Shift:
    """Signed-rank test and Hodges–Lehmann interval of the differences within pairs.

    Wilcoxon, Biometrics Bulletin 1 (1945) 80–83, with the exact null distribution given the ranks,
    ties and zeros included (Pratt, JASA 54 (1959) 655–667); normal above 100 pairs.

    Raises:
        ValueError: the sides differ in length or are empty.
    """
    if before.size != after.size or before.size == 0:
        raise ValueError(f"{before.size} and {after.size} samples do not make pairs")
    differences = after - before
    bounds = signed_rank_bounds(differences, alpha / 2)
    p_up, p_down = _signed_rank_p(differences)
    return Shift(bounds.estimate, bounds.low, bounds.high, p_up, p_down)


def _signed_rank_p(differences: FloatArray) -> tuple[float, float]:
    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(np.int64)
    doubled, signs = doubled[differences != 0], np.sign(differences[differences != 0])
    up, down = int(doubled[signs > 0].sum()), int(doubled[signs < 0].sum())
    if doubled.size > _EXACT_PAIRS:
        z = (up - down) / math.sqrt(float((doubled**2).sum()))
        return _upper_normal(z), _upper_normal(-z)
    chances = _sum_chances(tuple(sorted(doubled.tolist())))
    return float(chances[up:].sum()), float(chances[down:].sum())


def _upper_normal(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


@lru_cache(maxsize=64)
def _sum_chances(weights: tuple[int, ...]) -> FloatArray:
    """Chance of each sum when every weight is taken or left by a fair coin."""
    chances = np.zeros(sum(weights) + 1)
    chances[0] = 1.0
    for weight in weights:
        taken = np.zeros_like(chances)
        taken[weight:] = chances[: chances.size - weight]
        chances = (chances + taken) / 2
    return chances


def window_shift(before: FloatArray, after: FloatArray, alpha: float) -> Shift:
    """Hodges–Lehmann shift between two windows, judged by a spread widened for autocorrelation.

    The standard error comes from the width of the 98 % rank interval (Lehmann, "Nonparametrics",
    1975, section 2.6) times the variance inflation of an AR(1) series (Bartlett, JRSS Suppl. 8
    (1946) 27–41); Student's t with as many degrees of freedom as the windows hold independent
    values. The decision needs the rank test as well, so no single outlier makes it.

    Raises:
        ValueError: a window has fewer than MIN_WINDOW samples.
    """
    if min(before.size, after.size) < MIN_WINDOW:
        raise ValueError(f"a window needs at least {MIN_WINDOW} samples")
    ranks = compare_ranks(before, after, _WIDTH_ALPHA)
    width = (ranks.interval[1] - ranks.interval[0]) / 2
    inflation = variance_inflation(before, after)
    error = width / -float(ndtri(_WIDTH_ALPHA / 2)) * math.sqrt(inflation)
    freedom = max(1.0, (before.size + after.size) / inflation - 2)
    reach = -float(stdtrit(freedom, alpha / 2)) * error
    t = ranks.shift / error if error else math.copysign(math.inf, ranks.shift)
    t = 0.0 if ranks.shift == 0 else t
    rank_up, rank_down = _one_sided(ranks.p_value, ranks.superiority)
    return Shift(
        ranks.shift,
        ranks.shift - reach,
        ranks.shift + reach,
        max(float(stdtr(freedom, -t)), rank_up),
        max(float(stdtr(freedom, t)), rank_down),
    )


def _one_sided(p_value: float, superiority: float) -> tuple[float, float]:
    half, rest = p_value / 2, 1 - p_value / 2
    return (half, rest) if superiority > 0.5 else (rest, half)


def variance_inflation(before: FloatArray, after: FloatArray) -> float:
    """By how much autocorrelation widens the variance of a window's centre: its upper bound.

    Lag-1 correlation of ranks within each window (ranks, so that outliers do not hide it), freed of
    its bias (Kendall, Biometrika 41 (1954) 403–404), plus 1.28 standard errors.
    """
    size = min(before.size, after.size)
    products = squares = 0.0
    for window in (before, after):
        centred = rankdata(window) - (window.size + 1) / 2
        products += float(centred[1:] @ centred[:-1])
        squares += float(centred @ centred)
    seen = products / squares if squares else 0.0
    lag = (size * seen + 1) / (size - 4)
    doubt = -float(ndtri(_AUTOCORRELATION_ALPHA)) * math.sqrt(max(0.0, 1 - lag * lag) / (2 * size))
    lag = min(max(lag + doubt, 0.0), _MAX_AUTOCORRELATION)
    steps = np.arange(1, size)
    return 1 + 2 * float(np.sum((1 - steps / size) * lag**steps))
