"""Guardrails that may be looked at after every request: e-processes on the arm of each event.

An event is an error, or an answer slower than the latency objective. If the challenger's events
are no more frequent than the champion's and each request goes to the challenger with probability
`share`, then each event is the challenger's with probability `share` at most, whatever the event
rate is and however it drifts. Against "r times as frequent" the likelihood ratio of one event is

    q / share (challenger's)  or  (1 - q) / (1 - share) (champion's),  q = r share / (r share + 1 - share)

and for every r > 1 its mean is at most 1 when nothing is wrong. A mixture over r of the running
products is a non-negative supermartingale: by Ville's inequality (1939) it ever reaches 1 / alpha
with probability at most alpha. Exact at any sample size, split and number of looks.

Assumed: requests are assigned independently of each other and of whether they will fail. A sticky
key puts all requests of one user into one arm, so when few users cause most events, they count as
one event each and the bound does not hold for requests. A request without an answer must count as
an error of the version it was sent to.

Sources: Ramdas, Grünwald, Vovk & Shafer, "Game-theoretic statistics and safe anytime-valid
inference", Statistical Science 38 (2023) 576–601; Lindon & Malek, "Anytime-valid inference for
multinomial count data", NeurIPS 2022; mixtures: Robbins, Annals of Math. Statistics 41 (1970).
"""  # noqa: E501 (the formula is one line)

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_SMALLEST_LOG_RATIO = 0.03
_LARGEST_RATIO = 1000.0
_POINTS = 64


@dataclass(frozen=True, slots=True)
class Stage:
    """Events counted while the challenger's share of the traffic was `share`.

    An event of size below 1 (an answer that is partly wrong) may be counted by its size: its
    factor f ** size is at most 1 + size * (f - 1), so the error bound holds (Bernoulli).
    """

    share: float
    champion: float
    challenger: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; it must lie between 0 and 1")
        if min(self.champion, self.challenger) < 0:
            raise ValueError("a stage has a negative number of events")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which ratios of event frequency the test looks for: heavy-tailed around `ratio`.

    Weights follow a Cauchy density in the log ratio with width `spread`, cut at ratio 1. Any
    choice keeps the error bound; this one only shapes the power.
    """

    ratio: float
    spread: float


ERRORS = Mixture(ratio=2.0, spread=0.3)
"""Tuned to a doubled error rate, and far-reaching enough for a version that fails outright."""

SLOW_ANSWERS = Mixture(ratio=1.3, spread=0.2)
"""Tuned to a third more answers over the objective."""


def log_evidence(stages: Sequence[Stage], mixture: Mixture) -> float:
    """Natural logarithm of the e-value after all stages; 0 without events.

    Stages of different weight share one mixture: the product over stages is taken for each ratio
    before mixing, so a ramp costs no evidence.
    """
    ratios, log_weights = _points(mixture)
    products = np.zeros_like(ratios)
    for stage in stages:
        mine, other = _event_factors(stage.share, ratios)
        products += stage.challenger * mine + stage.champion * other
    return float(np.logaddexp.reduce(log_weights + products))


def log_evidence_of(
    champion: ArrayLike, challenger: ArrayLike, share: float, mixture: Mixture
) -> Floats:
    """:func:`log_evidence` of one stage, element by element on arrays of counts."""
    ratios, log_weights = _points(mixture)
    mine, other = _event_factors(share, ratios)
    x, y = np.asarray(challenger, float)[..., None], np.asarray(champion, float)[..., None]
    return np.asarray(np.logaddexp.reduce(log_weights + x * mine + y * other, axis=-1))


def e_value(log_value: float) -> float:
    """The e-value itself, cut at 1e300 so that it stays a finite number."""
    return math.exp(min(log_value, math.log(1e300)))


@lru_cache(maxsize=16)
def _points(mixture: Mixture) -> tuple[Floats, Floats]:
    logs = np.geomspace(_SMALLEST_LOG_RATIO, math.log(_LARGEST_RATIO), _POINTS)
    width = np.gradient(logs)
    weights = width / (1 + ((logs - math.log(mixture.ratio)) / mixture.spread) ** 2)
    return np.exp(logs), np.log(weights / weights.sum())


def _event_factors(share: float, ratios: Floats) -> tuple[Floats, Floats]:
    """Log factors of one event of the challenger and of one of the champion."""
    total = np.log(ratios * share + 1 - share)
    return np.log(ratios) - total, -total
