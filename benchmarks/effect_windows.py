"""How far samples of a metric moved between two windows: before one switch, and after it.

The spread is widened for the autocorrelation that the samples show, by its upper bound, so that the
noise of a running system does not break the error rate; heavy tails do not either. Load that drifts
or jumps at the moment of the switch cannot be told from an effect: `benchmarks.effect_pairs` can.

Pure functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import rankdata

from benchmarks.significance.ranks import compare_ranks

FloatArray = NDArray[np.float64]

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
