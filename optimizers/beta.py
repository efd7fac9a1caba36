"""Quantiles of the Beta and of Student's t distribution, without SciPy. Pure.

The regularised incomplete beta function is the continued fraction of DLMF 8.17.22, evaluated by
the modified Lentz method (Press et al., Numerical Recipes, 3rd ed., section 6.4). Quantiles are
found by bisection on it, which cannot run away; both agree with SciPy to 1e-9.
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_PRECISION = 1e-15
_MAX_TERMS = 10_000
_WIDTH = 1e-13


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the chance that a Beta(a, b) variable is at most `x`; `a` and `b` above 0.

    Raises:
        ValueError: `a` or `b` is not a finite number above 0.
    """
    _check(a, b)
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # The fraction converges fast below the mean only; above it the mirrored one is used.
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(log_front) * _fraction(x, a, b) / a
    return 1.0 - math.exp(log_front) * _fraction(1.0 - x, b, a) / b


@lru_cache(maxsize=65_536)
def beta_quantile(share: float, a: float, b: float) -> float:
    """Return the value that a Beta(a, b) variable stays under with the chance `share` (0 to 1).

    Raises:
        ValueError: `share` is outside 0 to 1, or `a` or `b` not above 0.
    """
    _check(a, b)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"a share is 0 to 1, not {share}")
    if share in {0.0, 1.0}:
        return share
    low, high = 0.0, 1.0
    while high - low > _WIDTH * high:
        middle = (low + high) / 2.0
        if middle in {low, high}:
            break
        if beta_cdf(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def t_quantile(share: float, freedom: float) -> float:
    """Return the quantile of Student's t with `freedom` degrees of freedom (above 0).

    By DLMF 8.17(ii): freedom / (freedom + t²) is Beta(freedom / 2, 1 / 2) distributed.

    Raises:
        ValueError: `share` is not strictly between 0 and 1, or `freedom` not above 0.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"a share is strictly between 0 and 1 here, not {share}")
    tail = min(share, 1.0 - share)
    x = beta_quantile(2.0 * tail, freedom / 2.0, 0.5)
    size = math.sqrt(freedom * (1.0 - x) / x) if x > 0.0 else math.inf
    return math.copysign(size, share - 0.5)


def _check(a: float, b: float) -> None:
    if not (0.0 < a < math.inf and 0.0 < b < math.inf):
        raise ValueError(f"a Beta distribution needs two numbers above 0, not {a} and {b}")


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by the modified Lentz method."""
    c = 1.0
    d = 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / _not_zero(1.0 + even * d)
        c = _not_zero(1.0 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1.0 / _not_zero(1.0 + odd * d)
        c = _not_zero(1.0 + odd / c)
        value *= d * c
        if abs(d * c - 1.0) < _PRECISION:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
