"""Group-sequential boundaries: test the same metric several times at one overall error level.

The standardised statistics of successive looks are jointly normal with independent increments,
Cov(Z_i, Z_j) = sqrt(I_i / I_j) for information I_i <= I_j (large-sample; Jennison & Turnbull,
"Group Sequential Methods with Applications to Clinical Trials", 2000, chapter 3). Looks need not
be planned: the boundary of a look depends only on the looks before it. What is assumed: the time
of a look and the end of the test are not chosen by looking at the difference between the arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

MAX_BOUNDARY = 9.0
"""A boundary no look reaches by chance (one in 10^18): there is nothing left to spend."""

_GRID = 16
_FAR = 3 + 4 * math.log(_GRID)


@dataclass(frozen=True, slots=True)
class Crossing:
    """Chance of first leaving the corridor at each look, upwards and downwards."""

    upper: tuple[float, ...]
    lower: tuple[float, ...]

    def mean_fraction(self, information: Sequence[float]) -> float:
        """Mean information at the end of the test, which ends at the last look at the latest."""
        leaves = [up + down for up, down in zip(self.upper, self.lower, strict=True)]
        leaves[-1] += 1 - sum(leaves)
        return sum(part * level for part, level in zip(leaves, information, strict=True))


@dataclass(frozen=True, slots=True)
class _Front:
    """The density of Z at one look among the tests still running: nodes times Simpson weights."""

    information: float
    nodes: Floats
    mass: Floats


def spent_alpha(fraction: float, alpha: float) -> float:
    """Error that may have been used up when `fraction` of the information is in.

    The O'Brien–Fleming type function 2 - 2 Phi(z_{alpha/2} / sqrt(t)) of Lan & DeMets,
    "Discrete sequential boundaries for clinical trials", Biometrika 70 (1983) 659–663. Little is
    spent early; all of `alpha` is spent at fraction 1 and beyond.
    """
    if fraction <= 0:
        return 0.0
    if fraction >= 1:
        return alpha
    return float(2 * ndtr(ndtri(alpha / 2) / math.sqrt(fraction)))


def crossing(
    information: Sequence[float],
    upper: Sequence[float],
    lower: Sequence[float],
    *,
    drift: float = 0.0,
) -> Crossing:
    """Probabilities of first crossing each boundary, when Z_k has mean drift * sqrt(I_k).

    Recursive numerical integration of Armitage, McPherson & Rowe, "Repeated significance tests on
    accumulating data", JRSS A 132 (1969) 235–244, on the grid of Jennison & Turnbull (2000),
    section 19.2. Levels of information must grow; `-inf` as lower boundary means none.

    Raises:
        ValueError: lengths differ, or information does not grow.
    """
    _check(information, upper)
    _check(information, lower)
    front: _Front | None = None
    up, down = [], []
    for level, top, bottom in zip(information, upper, lower, strict=True):
        up.append(_above(front, level, top, drift))
        down.append(_below(front, level, bottom, drift))
        front = _advance(front, level, (bottom, top), drift)
    return Crossing(tuple(up), tuple(down))


def next_boundary(
    information: Sequence[float], earlier: Sequence[float], cumulative_alpha: float
) -> float:
    """The upper boundary of the newest look, so that all looks together spend `cumulative_alpha`.

    `information` holds all looks, `earlier` the boundaries used at all but the newest. What the
    earlier looks really spent is computed from their boundaries, so unplanned, uneven, missed or
    late looks keep the overall level (Lan & DeMets 1983). Where nothing is left, MAX_BOUNDARY.
    A lower boundary is taken as non-binding and left out, which can only lower the true error.
    """
    _check(information, [*earlier, 0.0])
    front, spent = _run(information[:-1], earlier)
    left = cumulative_alpha - spent
    level = information[-1]
    if left <= _above(front, level, MAX_BOUNDARY, 0.0):
        return MAX_BOUNDARY
    return float(brentq(lambda z: _above(front, level, z, 0.0) - left, -MAX_BOUNDARY, MAX_BOUNDARY))


def remaining_alpha(
    information: Sequence[float], boundaries: Sequence[float], alpha: float
) -> float:
    """What of `alpha` the looks so far have not spent, for looks later than planned."""
    if not boundaries:
        return alpha
    _check(information, boundaries)
    return max(0.0, alpha - _run(information, boundaries)[1])


def boundaries(fractions: Sequence[float], alpha: float) -> tuple[float, ...]:
    """One-sided upper boundaries of a planned schedule with O'Brien–Fleming type spending."""
    found: list[float] = []
    for count, fraction in enumerate(fractions, start=1):
        target = spent_alpha(fraction, alpha)
        found.append(next_boundary(fractions[:count], found, target))
    return tuple(found)


def next_futility(
    information: Sequence[float],
    upper: Sequence[float],
    earlier: Sequence[float],
    *,
    cumulative_beta: float,
    drift: float,
) -> float:
    """The lower boundary of the newest look: below it, giving up misses few good challengers.

    Beta spending of Pampallona, Tsiatis & Kim, "Interim monitoring of group sequential trials",
    Drug Information Journal 35 (2001) 1113–1121: under `drift` all looks together end in vain
    with probability `cumulative_beta` at most. `upper` holds the newest look's boundary too;
    the result is never above it.
    """
    _check(information, upper)
    front: _Front | None = None
    spent = 0.0
    for level, top, bottom in zip(information[:-1], upper[:-1], earlier, strict=True):
        spent += _below(front, level, bottom, drift)
        front = _advance(front, level, (bottom, top), drift)
    return _futility_bound(front, information[-1], upper[-1], cumulative_beta - spent, drift)


def futility(
    fractions: Sequence[float], upper: Sequence[float], beta: float, *, drift: float
) -> tuple[float, ...]:
    """Lower boundaries of a planned schedule: :func:`next_futility` for every look in turn."""
    _check(fractions, upper)
    front: _Front | None = None
    spent = 0.0
    found: list[float] = []
    for level, top in zip(fractions, upper, strict=True):
        left = spent_alpha(level, beta) - spent
        bottom = _futility_bound(front, level, top, left, drift)
        spent += _below(front, level, bottom, drift)
        front = _advance(front, level, (bottom, top), drift)
        found.append(bottom)
    return tuple(found)


def _futility_bound(
    front: _Front | None, level: float, top: float, left: float, drift: float
) -> float:
    if left <= _below(front, level, -MAX_BOUNDARY, drift):
        return -MAX_BOUNDARY
    if left >= _below(front, level, top, drift):
        return top
    return float(brentq(lambda z: _below(front, level, z, drift) - left, -MAX_BOUNDARY, top))


def _check(information: Sequence[float], values: Sequence[float]) -> None:
    if len(information) != len(values) or not information:
        raise ValueError(f"{len(information)} levels of information for {len(values)} boundaries")
    previous = (0.0, *information[:-1])
    if any(level <= before for level, before in zip(information, previous, strict=True)):
        raise ValueError("information must grow from look to look")


def _run(information: Sequence[float], upper: Sequence[float]) -> tuple[_Front | None, float]:
    front: _Front | None = None
    spent = 0.0
    for level, top in zip(information, upper, strict=True):
        spent += _above(front, level, top, 0.0)
        front = _advance(front, level, (-math.inf, top), 0.0)
    return front, spent


def _above(front: _Front | None, level: float, top: float, drift: float) -> float:
    """Chance to stand above `top` at `level`, among the tests of `front`."""
    if front is None:
        return float(ndtr(drift * math.sqrt(level) - top))
    return float(front.mass @ ndtr(_step(front, level, top, drift)))


def _below(front: _Front | None, level: float, bottom: float, drift: float) -> float:
    """Chance to stand below `bottom` at `level`, among the tests of `front`."""
    if front is None:
        return float(ndtr(bottom - drift * math.sqrt(level)))
    return float(front.mass @ ndtr(-_step(front, level, bottom, drift)))


def _step(front: _Front, level: float, z: float, drift: float) -> Floats:
    gain = level - front.information
    start = front.nodes * math.sqrt(front.information)
    return np.asarray((start + drift * gain - z * math.sqrt(level)) / math.sqrt(gain))


def _advance(
    front: _Front | None, level: float, corridor: tuple[float, float], drift: float
) -> _Front:
    nodes, weights = _grid(corridor, drift * math.sqrt(level))
    if front is None:
        return _Front(level, nodes, weights * _density(nodes - drift * math.sqrt(level)))
    gain = level - front.information
    ends = nodes[:, None] * math.sqrt(level)
    starts = front.nodes[None, :] * math.sqrt(front.information)
    kernel = _density((ends - starts - drift * gain) / math.sqrt(gain))
    return _Front(level, nodes, weights * math.sqrt(level / gain) * (kernel @ front.mass))


def _density(x: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _grid(corridor: tuple[float, float], centre: float) -> tuple[Floats, Floats]:
    """Simpson nodes and weights between the boundaries (Jennison & Turnbull 2000, 19.2)."""
    index = np.arange(1, 6 * _GRID, dtype=np.float64)
    tail = 3 + 4 * np.log(_GRID / np.minimum(index, 6 * _GRID - index).clip(max=_GRID))
    middle = -3 + 3 * (index - _GRID) / (2 * _GRID)
    standard = np.where(index < _GRID, -tail, np.where(index <= 5 * _GRID, middle, tail))
    low = min(max(corridor[0], centre - _FAR), centre + _FAR)
    high = max(min(corridor[1], centre + _FAR), low + 1e-9)
    inner = standard + centre
    knots = np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]])
    width = np.diff(knots) / 6
    nodes = np.empty(2 * len(knots) - 1)
    nodes[::2], nodes[1::2] = knots, (knots[1:] + knots[:-1]) / 2
    weights = np.zeros_like(nodes)
    weights[1::2] = 4 * width
    weights[:-1:2] += width
    weights[2::2] += width
    return nodes, weights
