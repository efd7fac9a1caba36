"""How often each rule of a trial speaks when both versions are alike (A/A runs)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from benchmarks.significance import simulation as sim
from benchmarks.significance.e_process import ERRORS, SLOW_ANSWERS
from benchmarks.significance.planning import sequential_plan
from benchmarks.significance.study import (
    GUARDRAIL_ALPHA,
    METRIC_ALPHA,
    METRIC_LOOKS,
    METRIC_POWER,
    RATES,
    SAMPLE_RATIO_ALPHA,
    SPLITS,
    Figure,
    Scale,
    error_rate,
    split_name,
)

_BATCH = 400
_LOOKS = 98
_VALUES_PER_LOOK = 1430
_SKEWED_PER_LOOK = 200
_SLOW_SHARES = (0.01, 0.1)


def false_positives(scale: Scale, seed: int) -> Iterator[Figure]:
    """All rates of false alarms, rule by rule, then together."""
    yield from _metric_rates(scale, seed)
    yield from _skewed_metric(scale, seed)
    yield from _errors(scale, seed)
    yield from _slow_answers(scale, seed)
    yield from _sample_ratio(scale, seed)
    yield from _together(scale, seed)


def _upper() -> np.ndarray:
    return np.asarray(sequential_plan(METRIC_ALPHA, METRIC_POWER, METRIC_LOOKS).upper)


def _metric_rates(scale: Scale, seed: int) -> Iterator[Figure]:
    upper, once = _upper(), sim.one_sided(METRIC_ALPHA)
    for i, share in enumerate(SPLITS):
        for j, rate in enumerate((*RATES, 0.1)):
            rng = scale.rng(seed, 1, i, j)
            seen = sim.traffic(
                rng, share, batch=_VALUES_PER_LOOK, looks=METRIC_LOOKS, runs=scale.runs
            )
            a, b = (sim.events(rng, arm, rate) for arm in (seen.champion, seen.challenger))
            z = sim.proportion_z(seen, a, b)
            name = f"{split_name(share)}, rate {rate:.1%}"
            for sign, way in ((1, "more is better"), (-1, "less is better")):
                wrong = sim.first_stop(sign * z >= upper).rate
                yield error_rate(
                    "false promotion", f"{name}, {way}", wrong, METRIC_ALPHA, scale.runs
                )
            plain = -sim.unpooled_z(seen, a, b)
            fixed, peeking = sim.first_stop(plain[:, -1:] >= once), sim.first_stop(plain >= once)
            yield Figure("beside: textbook z, one look", f"{name}, less is better", fixed.rate)
            yield Figure("beside: textbook z, peeking", f"{name}, less is better", peeking.rate)


def _skewed_metric(scale: Scale, seed: int) -> Iterator[Figure]:
    upper = _upper()
    for i, share in enumerate(SPLITS):
        rng = scale.rng(seed, 2, i)
        seen = sim.traffic(rng, share, batch=_SKEWED_PER_LOOK, looks=METRIC_LOOKS, runs=scale.runs)
        z = sim.lognormal_z(rng, seen, sigma=1.0)
        for sign, way in ((1, "more is better"), (-1, "less is better")):
            name = f"{split_name(share)}, lognormal mean (sigma 1), {way}"
            wrong = sim.first_stop(sign * z >= upper).rate
            yield error_rate("false promotion", name, wrong, METRIC_ALPHA, scale.runs)


def _errors(scale: Scale, seed: int) -> Iterator[Figure]:
    for i, share in enumerate(SPLITS):
        for j, rate in enumerate(RATES):
            rng = scale.rng(seed, 3, i, j)
            seen = sim.traffic(rng, share, batch=_BATCH, looks=_LOOKS, runs=scale.runs)
            a, b = (sim.events(rng, arm, rate) for arm in (seen.champion, seen.challenger))
            hit = sim.guard(seen, a, b, ERRORS) >= math.log(1 / GUARDRAIL_ALPHA)
            name = f"{split_name(share)}, errors {rate:.1%}"
            wrong = sim.first_stop(hit).rate
            yield error_rate("false error alarm", name, wrong, GUARDRAIL_ALPHA, scale.runs)
            naive = sim.unpooled_z(seen, a, b) >= sim.one_sided(GUARDRAIL_ALPHA)
            yield Figure("beside: z on errors, peeking", name, sim.first_stop(naive).rate)


def _slow_answers(scale: Scale, seed: int) -> Iterator[Figure]:
    for i, share in enumerate(SPLITS):
        for j, slow in enumerate(_SLOW_SHARES):
            rng = scale.rng(seed, 4, i, j)
            seen = sim.traffic(rng, share, batch=_BATCH, looks=_LOOKS, runs=scale.runs)
            a, b = (sim.events(rng, arm, slow) for arm in (seen.champion, seen.challenger))
            hit = sim.guard(seen, a, b, SLOW_ANSWERS) >= math.log(1 / GUARDRAIL_ALPHA)
            name = f"{split_name(share)}, {slow:.0%} over the objective"
            wrong = sim.first_stop(hit).rate
            yield error_rate("false latency alarm", name, wrong, GUARDRAIL_ALPHA, scale.runs)


def _sample_ratio(scale: Scale, seed: int) -> Iterator[Figure]:
    for i, share in enumerate(SPLITS):
        rng = scale.rng(seed, 5, i)
        seen = sim.traffic(rng, share, batch=_BATCH, looks=_LOOKS, runs=scale.runs)
        hit = sim.split_guard(seen) >= math.log(1 / SAMPLE_RATIO_ALPHA)
        wrong = sim.first_stop(hit).rate
        name = split_name(share)
        yield error_rate("false split alarm", name, wrong, SAMPLE_RATIO_ALPHA, scale.runs)


def _together(scale: Scale, seed: int) -> Iterator[Figure]:
    """All rules on the same runs: 90 % right, 1 % errors, 10 % over the objective.

    Nothing ends a run early here, so the true rates are lower still.
    """
    bound = METRIC_ALPHA + 2 * GUARDRAIL_ALPHA + SAMPLE_RATIO_ALPHA
    spoke = math.log(1 / GUARDRAIL_ALPHA)
    for i, share in enumerate(SPLITS):
        rng = scale.rng(seed, 6, i)
        seen = sim.traffic(rng, share, batch=_BATCH, looks=_LOOKS, runs=scale.runs)
        arms = (seen.champion, seen.challenger)
        errors, slow, right = (
            [sim.events(rng, arm, rate) for arm in arms] for rate in (0.01, 0.1, 0.9)
        )
        at = slice(_LOOKS // METRIC_LOOKS - 1, None, _LOOKS // METRIC_LOOKS)
        z = sim.proportion_z(seen, right[0], right[1])[:, at]
        stopped = sim.guard(seen, errors[0], errors[1], ERRORS) >= spoke
        stopped |= sim.guard(seen, slow[0], slow[1], SLOW_ANSWERS) >= spoke
        stopped |= sim.split_guard(seen) >= math.log(2 / SAMPLE_RATIO_ALPHA)
        promoted = (z >= _upper()).any(axis=1)
        unstopped = (z >= _upper()) & ~sim.ever(stopped)[:, at]
        name = split_name(share)
        wrong = float((promoted | stopped.any(axis=1)).mean())
        yield error_rate("any false ending", name, wrong, bound, scale.runs)
        promotion = sim.first_stop(unstopped).rate
        yield error_rate(
            "false promotion", f"{name}, all rules", promotion, METRIC_ALPHA, scale.runs
        )
