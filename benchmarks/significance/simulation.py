"""Many simulated trials at once: what the rules of a trial do when the truth is known.

Runs are rows and looks are columns of arrays, all counts cumulative. Randomness comes in as a
NumPy generator. The rules are those of :mod:`benchmarks.trial`, on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks.significance import e_process, sample_ratio
from benchmarks.significance.e_process import Mixture
from benchmarks.significance.score import mean_score, proportion_score

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of both arms at every look; shape (runs, looks)."""

    share: float
    champion: Counts
    challenger: Counts


@dataclass(frozen=True, slots=True)
class Stops:
    """What share of runs a rule stopped, and the mean look (from 0) among those stopped."""

    rate: float
    mean_look: float


def traffic(
    rng: np.random.Generator, share: float, *, batch: int, looks: int, runs: int
) -> Traffic:
    """`batch` requests before each look, each sent to the challenger with probability `share`."""
    mine = rng.binomial(batch, share, size=(runs, looks))
    return Traffic(share, np.cumsum(batch - mine, axis=1), np.cumsum(mine, axis=1))


def events(rng: np.random.Generator, requests: Counts, rate: float) -> Counts:
    """How many of the requests up to each look had an event of probability `rate`."""
    fresh = np.diff(requests, axis=1, prepend=0)
    return np.asarray(np.cumsum(rng.binomial(fresh, rate), axis=1))


def lognormal_sums(
    rng: np.random.Generator, requests: Counts, sigma: float
) -> tuple[Floats, Floats]:
    """Sums and sums of squares of lognormal values with median 1, up to each look."""
    fresh = np.diff(requests, axis=1, prepend=0)
    totals, squares = np.zeros(fresh.shape), np.zeros(fresh.shape)
    for row, counts in enumerate(fresh):
        values = rng.lognormal(0.0, sigma, int(counts.sum()))
        ends = np.cumsum(counts)
        totals[row] = np.concatenate([[0.0], np.cumsum(values)])[ends]
        squares[row] = np.concatenate([[0.0], np.cumsum(values * values)])[ends]
    return totals, squares


def first_stop(hit: NDArray[np.bool_]) -> Stops:
    """Rate and time of the first True in each run."""
    stopped = hit.any(axis=1)
    first = hit.argmax(axis=1)[stopped]
    return Stops(float(stopped.mean()), float(first.mean()) if first.size else float("nan"))


def ever(hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True from the first hit of each run on."""
    return np.asarray(np.maximum.accumulate(hit, axis=1))


def proportion_z(seen: Traffic, champion_hits: Counts, hits: Counts) -> Floats:
    """The trial's statistic for a metric of 0 and 1 at every look."""
    return proportion_score(champion_hits, seen.champion, hits, seen.challenger)


def lognormal_z(rng: np.random.Generator, seen: Traffic, sigma: float) -> Floats:
    """The trial's statistic for a skewed metric that is alike in both arms, at every look."""
    arms = (seen.champion, seen.challenger)
    sums = [lognormal_sums(rng, arm, sigma) for arm in arms]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [total / n for n, (total, _) in zip(arms, sums, strict=True)]
        variances = [
            np.maximum(square - total * total / n, 0) / (n - 1)
            for n, (total, square) in zip(arms, sums, strict=True)
        ]
    return mean_score(arms, (means[0], means[1]), (variances[0], variances[1]))


def guard(seen: Traffic, champion: Counts, challenger: Counts, mixture: Mixture) -> Floats:
    """Log evidence of an event guardrail at every look, in slices that fit the cache."""
    parts = [
        e_process.log_evidence_of(
            champion[at : at + _CHUNK], challenger[at : at + _CHUNK], seen.share, mixture
        )
        for at in range(0, len(champion), _CHUNK)
    ]
    return np.concatenate(parts)


def split_guard(seen: Traffic) -> Floats:
    """Log evidence against the ordered split at every look."""
    return sample_ratio.log_evidence_of(seen.champion, seen.challenger, seen.share)


def unpooled_z(seen: Traffic, champion: Counts, challenger: Counts) -> Floats:
    """The textbook statistic of two proportions, for comparison; 0 where it is not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = champion / seen.champion, challenger / seen.challenger
        error = np.sqrt(a * (1 - a) / seen.champion + b * (1 - b) / seen.challenger)
        z = (b - a) / error
    return np.asarray(np.where(np.isfinite(z), z, 0.0))


def one_sided(alpha: float) -> float:
    """Critical value of one test, one-sided."""
    return float(-ndtri(alpha))
