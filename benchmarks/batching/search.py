"""The best setting with few tries: a model ranks the grid, replays correct the model. Pure.

The model's error is alike for settings that are alike, so it is learned as a Gaussian process over
batch size, wait and session, from the settings tried so far; the next one tried is that with the
greatest expected improvement (Jones, Schonlau and Welch, J. Global Optimization 13, 1998). A try
first asks one question, whether it beats the best so far: most cost a replay or two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.arrivals import FloatArray
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.surrogate import Surrogate
from benchmarks.batching.trials import STEP, Trials

SHARE = 0.08
"""The share of the grid that is tried at most."""

# Spread of the model's error on the logarithmic scale: over scenes, between settings that wait and
# those that do not, over sessions, and over single settings; and how far the last are alike, in
# steps of the grid.
_ALL, _WAITING, _SESSION, _SINGLE = 0.3, 0.12, 0.12, 0.08
_REACH = 1.5
_NOISE = 0.01
_ENOUGH = 1e-6
_AT_LEAST = 4
# The last tries go to the neighbours of the best: where a queue tips over, the model may be wrong
# by half from one batch size to the next.
_LOCAL = 2
_BELOW = (3, 8, 20, 50)  # steps below the best that tell a near miss from a bad setting


@dataclass(frozen=True, slots=True)
class Best:
    """The best setting found.

    Attributes:
        setting: None where no setting meets the objective, not even at a rate that is all but 0.
        step: the highest step of the ladder it holds.
        order: all settings tried, with the step each is taken to hold (exact for those that were
            the best when they were tried, else a lower or middle value), the best first.
    """

    setting: BatchSetting | None
    step: int
    order: tuple[tuple[BatchSetting, int], ...]


def tries_of(settings: Sequence[BatchSetting]) -> int:
    """How many settings may be tried."""
    return max(1, math.floor(SHARE * len(settings)))


def search(
    trials: Trials,
    settings: Sequence[BatchSetting],
    tries: int,
    *,
    go_on: Callable[[], bool] = lambda: True,
) -> Best:
    """Return the setting that stands the highest rate, after trying at most `tries` of them.

    `go_on` is asked before each try but the first few: no more are made once it says no.
    """
    surrogate = Surrogate(trials.scene)
    guesses = {one: surrogate.rate(one) for one in settings}
    hopeful = {one: math.log(rate) for one, rate in guesses.items() if rate > 0}
    left = dict(hopeful)
    known: dict[BatchSetting, float] = {}
    steps: dict[BatchSetting, int] = {}
    best: BatchSetting | None = None
    while left and len(steps) < tries and (len(steps) < _AT_LEAST or go_on()):
        target = None if best is None else math.log(trials.rate(steps[best]))
        beside = _beside(best, left) if tries - len(steps) <= _LOCAL else []
        chosen, gain, expected = _next({one: left[one] for one in beside} or left, known, target)
        gain = math.inf if beside else gain
        if target is not None and gain < _ENOUGH:
            break
        del left[chosen]
        guess = trials.step(math.exp(expected))
        step = _try(trials, chosen, guess, None if best is None else steps[best])
        steps[chosen] = step
        known[chosen] = math.log(trials.rate(step)) - hopeful[chosen]
        if step > -_FAR and (best is None or step > steps[best]):
            best = chosen
    order = sorted(steps.items(), key=lambda item: -item[1])
    return Best(best, steps[best] if best else 0, tuple(order))


def exhaustive(trials: Trials, settings: Sequence[BatchSetting]) -> Best:
    """Try every setting; what the search is measured by."""
    surrogate = Surrogate(trials.scene)
    ranked = sorted(settings, key=lambda one: -surrogate.rate(one))
    best: BatchSetting | None = None
    steps: dict[BatchSetting, int] = {}
    for one in ranked:
        limit = None if best is None else steps[best]
        guess: int | None = trials.step(max(surrogate.rate(one), 1e-9))
        if limit is not None and guess is not None:
            ahead = _ahead(limit, guess)
            guess = next((step for step in ahead if trials.stands(one, step)), None)
        step = None if guess is None else trials.sustained(one, guess)
        if step is not None:
            steps[one], best = step, one
    return Best(best, steps[best] if best else 0, tuple(sorted(steps.items(), key=_falling)))


def _falling(item: tuple[BatchSetting, int]) -> int:
    return -item[1]


_FAR = 10_000
# A setting that fails on one step may hold on a higher one, where batches form.
_AHEAD = (1, 2, 4, 8)


def _ahead(best: int, guess: int) -> list[int]:
    """Steps above the best at which a setting may show that it is better."""
    return sorted({*(best + more for more in _AHEAD), max(guess, best + 1)})


def _beside(best: BatchSetting | None, left: Mapping[BatchSetting, float]) -> list[BatchSetting]:
    """What differs from the best by one doubling of the batch, and was not tried."""
    if best is None:
        return []
    sizes = {best.max_batch_size * 2, best.max_batch_size // 2}
    return [
        one
        for one in left
        if one.max_batch_size in sizes
        and (one.max_wait_ms, one.session) == (best.max_wait_ms, best.session)
    ]


def _try(trials: Trials, setting: BatchSetting, guess: int, best: int | None) -> int:
    """The step a setting holds: exactly if it beats the best, else about."""
    if best is None:
        found = trials.sustained(setting, guess)
        return -_FAR if found is None else found
    for ahead in _ahead(best, guess):
        if trials.stands(setting, ahead):
            found = trials.sustained(setting, ahead)
            return ahead if found is None else found
    for below in _BELOW:
        if trials.stands(setting, best - below):
            return best - below // 2
    return best - 2 * _BELOW[-1]


def _next(
    left: Mapping[BatchSetting, float],
    known: Mapping[BatchSetting, float],
    target: float | None,
) -> tuple[BatchSetting, float, float]:
    """The setting to try next, its expected improvement over the target, and its expected rate."""
    settings = list(left)
    means = np.array([left[one] for one in settings])
    if target is None or not known:
        place = int(np.argmax(means))
        return settings[place], math.inf, float(means[place])
    errors, spreads = _errors(settings, known)
    means = means + errors
    gains = _expected_improvement(means, spreads, target)
    place = int(np.argmax(gains))
    return settings[place], float(gains[place]), float(means[place])


def _errors(
    settings: Sequence[BatchSetting], known: Mapping[BatchSetting, float]
) -> tuple[FloatArray, FloatArray]:
    """The model's error at each setting, and how sure that is (Gaussian process regression)."""
    seen = list(known)
    values = np.array([known[one] for one in seen])
    inner = _alike(seen, seen) + _NOISE**2 * np.eye(len(seen))
    cross = _alike(settings, seen)
    solved = np.linalg.solve(inner, np.column_stack([values, cross.T]))
    means = cross @ solved[:, 0]
    variances = (
        _ALL**2
        + _WAITING**2
        + _SESSION**2
        + _SINGLE**2
        - np.einsum("ij,ji->i", cross, solved[:, 1:])
    )
    return means, np.sqrt(np.maximum(variances, 1e-12))


def _alike(some: Sequence[BatchSetting], others: Sequence[BatchSetting]) -> FloatArray:
    """Covariance of the model's errors."""
    a, b = _places(some), _places(others)
    apart = ((a[:, None, :2] - b[None, :, :2]) ** 2).sum(axis=2)
    waiting = a[:, None, 2] == b[None, :, 2]
    session = (a[:, None, 3:] == b[None, :, 3:]).all(axis=2)
    single = waiting * session * np.exp(-apart / (2 * _REACH**2))
    found: FloatArray = (
        _ALL**2 + _WAITING**2 * waiting + _SESSION**2 * session + _SINGLE**2 * single
    )
    return found


def _places(settings: Sequence[BatchSetting]) -> FloatArray:
    """Settings as points: doublings of batch and wait, whether there is a wait, and the session."""
    return np.array(
        [
            (
                math.log2(one.max_batch_size),
                math.log2(1.0 + one.max_wait_ms),
                one.max_wait_ms > 0,
                one.session.threads,
                one.session.spinning,
            )
            for one in settings
        ],
        dtype=np.float64,
    )


def _expected_improvement(means: FloatArray, spreads: FloatArray, target: float) -> FloatArray:
    ahead = means - target - math.log(STEP) / 2
    ratio = ahead / spreads
    density = np.exp(-0.5 * ratio**2) / math.sqrt(2.0 * math.pi)
    below = 0.5 * (1.0 + np.array([math.erf(one / math.sqrt(2.0)) for one in ratio]))
    found: FloatArray = ahead * below + spreads * density
    return found
