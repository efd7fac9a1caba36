"""How often, and how early, the rules of a trial find a true difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from benchmarks.significance import simulation as sim
from benchmarks.significance.e_process import ERRORS, SLOW_ANSWERS
from benchmarks.significance.planning import (
    Aim,
    fixed_size_proportions,
    power_proportions,
    sequential_plan,
)
from benchmarks.significance.study import (
    GUARDRAIL_ALPHA,
    METRIC_ALPHA,
    METRIC_LOOKS,
    METRIC_POWER,
    Figure,
    Scale,
    at_least,
    at_most,
    split_name,
)

_BASELINE = 0.8
_GAIN = 0.01
_LARGER_GAINS = (0.02, 0.04)
_ARM = 8000
_BATCH = 400
_SLOWER = 1.1
_STRICTER_ALPHA = 0.01
_PLANNED_OBJECTIVE = 0.1
_OBJECTIVES = (0.5, _PLANNED_OBJECTIVE, 0.05, 0.025, 0.01)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A shape of latencies: the slower challenger's share over an objective, by the champion's.

    All quantiles are 10 % up, unless the name says otherwise.
    """

    name: str
    slower: Callable[[float], float]
    wanted: float | None = None


@dataclass(frozen=True, slots=True)
class _MetricRuns:
    """Runs of the decision metric; `gain` is relative."""

    z: np.ndarray
    gain: np.ndarray
    size: np.ndarray


def power(scale: Scale, seed: int) -> Iterator[Figure]:
    """Power and mean time to stop of every rule, beside the test with one look."""
    for i, share in enumerate((0.5, 0.1)):
        for gain in (_GAIN, *_LARGER_GAINS):
            yield from _metric(scale, seed + i, share, gain)
    yield from _minimum(scale, seed)
    yield from _errors(scale, seed)
    yield from _latency(scale, seed)


def _metric(scale: Scale, seed: int, share: float, gain: float) -> Iterator[Figure]:
    """The gain a fixed test finds with 80 % power, found in 14 looks.

    The smallest gain is judged. Larger ones need so few values (down to a few hundred in the
    smaller arm) that the normal approximation shows in the mean size, and stand beside it.
    """
    aim = Aim(METRIC_ALPHA, METRIC_POWER, share)
    size = fixed_size_proportions(aim, baseline=_BASELINE, difference=gain)
    name = f"{split_name(share)}, {_BASELINE:.0%} + {gain:.0%}, fixed test needs {size}"
    found, sizes = _ends(_metric_runs(scale.rng(seed, 11, 1), aim, gain, (gain, scale.runs)))
    wanted = gain == _GAIN
    power_of, size_of = "decision metric, power", "decision metric, mean size / fixed size"
    if wanted:
        yield at_least(power_of, name, found, 0.78, scale)
        yield at_most(size_of, name, sizes / size, 0.77, scale)
    else:
        yield Figure(power_of, name, found)
        yield Figure(size_of, name, float((sizes / size).mean()))
    yield Figure("beside: fixed test, power", name, _fixed_power(scale, seed, aim, gain))
    _, in_vain = _ends(_metric_runs(scale.rng(seed, 11, 0), aim, gain, (0.0, scale.runs)))
    equal = float((in_vain / size).mean())
    yield Figure("decision metric, mean size if equal / fixed size", name, equal)


def _ends(runs: _MetricRuns) -> tuple[float, np.ndarray]:
    """Share of runs that found the gain, and the size at which each run ended."""
    plan = sequential_plan(METRIC_ALPHA, METRIC_POWER, METRIC_LOOKS)
    up, down = runs.z >= np.asarray(plan.upper), runs.z <= np.asarray(plan.lower)
    ends = up | down
    ends[:, -1] = True
    last = ends.argmax(axis=1)
    return float(up[np.arange(len(last)), last].mean()), runs.size[last]


def _metric_runs(
    rng: np.random.Generator, aim: Aim, planned: float, truth: tuple[float, int]
) -> _MetricRuns:
    """Runs planned for one gain while `truth` gives the true gain, and how many runs."""
    gain, runs = truth
    size = fixed_size_proportions(aim, baseline=_BASELINE, difference=planned)
    largest = size * sequential_plan(aim.alpha, aim.power, METRIC_LOOKS).inflation
    batch = math.ceil(largest / METRIC_LOOKS)
    seen = sim.traffic(rng, aim.share, batch=batch, looks=METRIC_LOOKS, runs=runs)
    a = sim.events(rng, seen.champion, _BASELINE)
    b = sim.events(rng, seen.challenger, _BASELINE + gain)
    relative = (b / seen.challenger) / (a / seen.champion) - 1
    sizes = batch * np.arange(1, METRIC_LOOKS + 1)
    return _MetricRuns(sim.proportion_z(seen, a, b), relative, sizes)


def _fixed_power(scale: Scale, seed: int, aim: Aim, gain: float) -> float:
    rng = scale.rng(seed, 12)
    size = fixed_size_proportions(aim, baseline=_BASELINE, difference=gain)
    seen = sim.traffic(rng, aim.share, batch=size, looks=1, runs=scale.runs)
    a = sim.events(rng, seen.champion, _BASELINE)
    b = sim.events(rng, seen.challenger, _BASELINE + gain)
    return sim.first_stop(sim.proportion_z(seen, a, b) >= sim.one_sided(aim.alpha)).rate


def _minimum(scale: Scale, seed: int) -> Iterator[Figure]:
    """Promotions when the estimate must reach the planned gain too, by the true gain."""
    aim = Aim(METRIC_ALPHA, METRIC_POWER, 0.1)
    upper = np.asarray(sequential_plan(aim.alpha, aim.power, METRIC_LOOKS).upper)
    for times in (0.0, 0.5, 1.0, 1.5, 2.0):
        rng = scale.rng(seed, 13, int(2 * times))
        runs = _metric_runs(rng, aim, _GAIN, (times * _GAIN, scale.runs))
        promoted = sim.first_stop((runs.z >= upper) & (runs.gain >= _GAIN / _BASELINE))
        name = f"90/10, true gain {times:g} x the minimum asked for"
        yield Figure("promotions with a minimum improvement", name, promoted.rate)


def _errors(scale: Scale, seed: int) -> Iterator[Figure]:
    """Errors doubled from 0.5 % to 1 % at 90/10, within 40,000 requests."""
    rng = scale.rng(seed, 14)
    looks = 40_000 // _BATCH
    seen = sim.traffic(rng, 0.1, batch=_BATCH, looks=looks, runs=scale.runs)
    a, b = sim.events(rng, seen.champion, 0.005), sim.events(rng, seen.challenger, 0.01)
    evidence = sim.guard(seen, a, b, ERRORS)
    stops = sim.first_stop(evidence >= math.log(1 / GUARDRAIL_ALPHA))
    name = "90/10, errors 0.5 % to 1 %, by 40,000 requests"
    yield at_least("error guardrail, power", name, stops.rate, 0.77, scale)
    stricter = sim.first_stop(evidence >= math.log(1 / _STRICTER_ALPHA)).rate
    yield Figure(f"error guardrail, power at level {_STRICTER_ALPHA:g}", name, stricter)
    requests = (stops.mean_look + 1) * _BATCH
    yield Figure("error guardrail, mean requests until the alarm", name, requests)
    once = sim.proportion_z(seen, a, b)[:, -1:] >= sim.one_sided(GUARDRAIL_ALPHA)
    yield Figure("beside: fixed test, power", name, sim.first_stop(once).rate)


def _latency(scale: Scale, seed: int) -> Iterator[Figure]:
    """The p99 up by 10 %, at 8,000 requests an arm, by shape and by where the objective stands."""
    for i, shape in enumerate(_SHAPES):
        for j, over in enumerate(_OBJECTIVES):
            rate, requests = _alarms(scale.rng(seed, 15, i, j), over, shape.slower(over), scale)
            name = f"50/50, {shape.name}, objective at the champion's p{100 * (1 - over):g}"
            if shape.wanted is not None and over == _PLANNED_OBJECTIVE:
                yield at_least("latency guardrail, power", name, rate, shape.wanted, scale)
                yield Figure("latency guardrail, mean requests until the alarm", name, requests)
                yield Figure("beside: fixed test, power", name, _fixed_share(over, shape))
            else:
                yield Figure("latency guardrail, power elsewhere", name, rate)


def _alarms(
    rng: np.random.Generator, champion: float, challenger: float, scale: Scale
) -> tuple[float, float]:
    """Power within 8,000 an arm, and mean requests until the alarm."""
    looks = 2 * _ARM // _BATCH
    seen = sim.traffic(rng, 0.5, batch=_BATCH, looks=looks, runs=scale.runs)
    a = sim.events(rng, seen.champion, champion)
    b = sim.events(rng, seen.challenger, challenger)
    hit = sim.guard(seen, a, b, SLOW_ANSWERS) >= math.log(1 / GUARDRAIL_ALPHA)
    stops = sim.first_stop(hit)
    return stops.rate, (stops.mean_look + 1) * _BATCH


def _fixed_share(over: float, shape: _Shape) -> float:
    aim = Aim(GUARDRAIL_ALPHA, METRIC_POWER, 0.5)
    gain = shape.slower(over) - over
    return power_proportions(aim, baseline=over, difference=gain, size=2 * _ARM)


def _lognormal(sigma: float) -> Callable[[float], float]:
    return lambda over: float(ndtr(ndtri(over) + math.log(_SLOWER) / sigma))


def _tail_only(over: float) -> float:
    """Lognormal (sigma 0.5) up to its p95; from there stretched so that p99 is 10 % up."""
    sigma, kink = 0.5, 0.05
    if over >= kink:
        return over
    start, top, at = (math.exp(-sigma * float(ndtri(share))) for share in (kink, 0.01, over))
    stretch = (_SLOWER * top - start) / (top - start)
    before = start + (at - start) / stretch
    return float(ndtr(-math.log(before) / sigma))


_SHAPES = (
    _Shape("lognormal, sigma 0.5 (p99 at 3.2 medians)", _lognormal(0.5), wanted=0.78),
    _Shape("lognormal, sigma 1 (p99 at 10 medians)", _lognormal(1.0)),
    _Shape("Pareto, exponent 2 (p99 at 7 medians)", lambda over: over * _SLOWER**2),
    _Shape("only the tail beyond p95 slower", _tail_only),
)
