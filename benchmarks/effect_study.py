"""Measures the effect judge by simulation: false verdicts without an effect, and effects found.

Noise is multiplicative, heavy-tailed (Student's t with 3 degrees of freedom) and autocorrelated
(AR(1)), as strong as makes a plain rule of ±5 % wrong in about every sixth comparison of two
windows. Beside it: bursts of slow samples, jumps of the level, and calmer noise.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.effect import EffectData, Guardrail, Layout, judge
from benchmarks.effect_pairs import pair_orders
from benchmarks.significance.study import Figure, Scale, all_passed, at_least
from registry.agent_records import Direction, Verdict

FloatArray = NDArray[np.float64]

ALPHA = 0.005
SAMPLES = 20
FEW_SAMPLES = 12
_PLAIN_RULE = 0.05
_POWER = {-0.10: 0.92, -0.20: 0.97}
_SEED = 20_251_105
_FULL, _QUICK = 5_000, 300
_BURN_IN = 50


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of a metric on the logarithmic scale.

    Attributes:
        spread: standard deviation of one sample; 0.06 is 6 %.
        carry: correlation of a sample with the next.
        bursts: share of samples that are 1.5 to 3 times as high.
        jumps: chance per sample that the level moves, by some 10 %, and stays there.
    """

    name: str
    spread: float
    carry: float
    bursts: float = 0.0
    jumps: float = 0.0

    def draw(self, rng: np.random.Generator, runs: int, length: int) -> FloatArray:
        """Samples of `runs` series, all around 100."""
        total = length + _BURN_IN
        shocks = rng.standard_t(3, (runs, total)) / math.sqrt(3)
        shocks *= self.spread * math.sqrt(1 - self.carry**2)
        level = np.zeros((runs, total))
        for step in range(1, total):
            level[:, step] = self.carry * level[:, step - 1] + shocks[:, step]
        jumps = (rng.random((runs, total)) < self.jumps) * rng.normal(0, 0.1, (runs, total))
        bursts = (rng.random((runs, total)) < self.bursts) * rng.uniform(0.4, 1.1, (runs, total))
        samples: FloatArray = 100 * np.exp(level + jumps.cumsum(axis=1) + bursts)
        return samples[:, _BURN_IN:]


STRONG = Noise("strong noise, carry 0.6", 0.06, 0.6)
CALM = Noise("calm noise, carry 0.3", 0.02, 0.3)
NOISES = (
    STRONG,
    Noise("strong noise, carry 0.8", 0.06, 0.8),
    Noise("strong noise, no carry", 0.06, 0.0),
    Noise("strong noise, carry 0.6, 2 % bursts", 0.06, 0.6, bursts=0.02),
    Noise("strong noise, carry 0.6, level jumps", 0.06, 0.6, jumps=0.02),
)
_WINDOW_NOISES = (CALM, Noise("noise, carry 0.3", 0.06, 0.3), *NOISES[:2])


def figures(scale: Scale, seed: int) -> Iterator[Figure]:
    """Measure everything, one figure after the other."""
    for number, noise in enumerate(NOISES):
        for samples in (SAMPLES, FEW_SAMPLES):
            cell = _Cell(Layout.PAIRS, noise, samples)
            yield from _false(cell, scale, seed, number)
            yield from _power(cell, scale, seed, number, wanted=samples == SAMPLES)
    for number, noise in enumerate(_WINDOW_NOISES, start=len(NOISES)):
        cell = _Cell(Layout.WINDOWS, noise, SAMPLES)
        yield from _false(cell, scale, seed, number)
        yield from _power(cell, scale, seed, number, wanted=noise is CALM)
    yield from _false_with_guardrails(scale, seed)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One layout under one noise with so many samples a side."""

    layout: Layout
    noise: Noise
    samples: int

    @property
    def name(self) -> str:
        return f"{self.layout}, {self.noise.name}, {self.samples} samples a side"

    def rng(self, scale: Scale, seed: int, *cell: int) -> np.random.Generator:
        return scale.rng(seed, *cell, self.samples)

    def arms(
        self, rng: np.random.Generator, runs: int, effect: float = 0.0
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Samples without and with a change that multiplies the metric by 1 + effect."""
        coin = random.Random(int(rng.integers(2**32)))
        for series in self.noise.draw(rng, runs, 2 * self.samples):
            before, after = self._split(series, coin)
            yield before, after * (1 + effect)

    def _split(self, series: FloatArray, coin: random.Random) -> tuple[FloatArray, FloatArray]:
        if self.layout is Layout.WINDOWS:
            return series[: self.samples], series[self.samples :]
        first, second = series[0::2], series[1::2]
        swapped = np.array(pair_orders(self.samples, coin))
        return np.where(swapped, second, first), np.where(swapped, first, second)

    def data(self, arms: tuple[FloatArray, FloatArray]) -> EffectData:
        return EffectData(arms[0].tolist(), arms[1].tolist(), self.layout)


def _verdict(goal: EffectData, guardrails: Sequence[EffectData] = ()) -> Verdict:
    guards = {str(i): Guardrail(data, Direction.MINIMIZE) for i, data in enumerate(guardrails)}
    return judge(goal, direction=Direction.MINIMIZE, alpha=ALPHA, guardrails=guards).verdict


def _false(cell: _Cell, scale: Scale, seed: int, number: int) -> Iterator[Figure]:
    arms = list(cell.arms(cell.rng(scale, seed, number), scale.runs))
    decided = [_verdict(cell.data(pair)) in {Verdict.IMPROVED, Verdict.WORSE} for pair in arms]
    yield _false_rate(cell.name, decided, scale)
    plain = [abs(after.mean() / before.mean() - 1) > _PLAIN_RULE for before, after in arms]
    yield Figure("beside: plain ±5 % rule on the same samples", cell.name, float(np.mean(plain)))


def _false_rate(name: str, decided: Sequence[bool], scale: Scale) -> Figure:
    slack = 3 * math.sqrt(ALPHA * (1 - ALPHA) / scale.runs) if scale.quick else 0.0
    rate = float(np.mean(decided))
    return Figure("false verdict", name, rate, f"<= {ALPHA + slack:.4f}", rate <= ALPHA + slack)


def _power(cell: _Cell, scale: Scale, seed: int, number: int, *, wanted: bool) -> Iterator[Figure]:
    runs = max(scale.runs // 4, 100)
    for effect, least in _POWER.items():
        rng = cell.rng(scale, seed, number, round(-100 * effect))
        found = [
            _verdict(cell.data(pair)) is Verdict.IMPROVED for pair in cell.arms(rng, runs, effect)
        ]
        group, rate = f"{effect:+.0%} found", float(np.mean(found))
        if wanted:
            yield at_least(group, cell.name, rate, least, scale)
        else:
            yield Figure(group, cell.name, rate)


def _false_with_guardrails(scale: Scale, seed: int) -> Iterator[Figure]:
    cell = _Cell(Layout.PAIRS, STRONG, SAMPLES)
    metrics = [cell.arms(cell.rng(scale, seed, 100, i), scale.runs) for i in range(3)]
    decided = []
    for goal, *guards in zip(*metrics, strict=True):
        verdict = _verdict(cell.data(goal), [cell.data(guard) for guard in guards])
        decided.append(verdict in {Verdict.IMPROVED, Verdict.WORSE})
    yield _false_rate(f"{cell.name}, two guardrails", decided, scale)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print it; 1 when a wanted figure was missed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effect", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} runs a figure, in seconds")
    parser.add_argument("--runs", type=int, default=_FULL, help="comparisons a figure, ≥ 100")
    parser.add_argument("--seed", type=int, default=_SEED, help="seed of all random numbers")
    options = parser.parse_args(arguments)
    if options.runs < 100:
        parser.error("fewer than 100 runs say nothing")
    scale = Scale(_QUICK if options.quick else options.runs, options.quick)
    began = time.perf_counter()
    measured = list(figures(scale, options.seed))
    report = {
        "seed": options.seed,
        "runs": scale.runs,
        "quick": scale.quick,
        "alpha": ALPHA,
        "seconds": round(time.perf_counter() - began, 1),
        "passed": all_passed(measured),
        "figures": [asdict(figure) for figure in measured],
    }
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.json else _text(measured))
    return 0 if report["passed"] else 1


def _text(measured: Sequence[Figure]) -> str:
    lines: list[str] = []
    for group in dict.fromkeys(figure.group for figure in measured):
        lines.append(group)
        lines += [_line(figure) for figure in measured if figure.group == group]
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    mark = {None: "    ", True: "ok  ", False: "MISS"}[figure.passed]
    wanted = f"   wanted {figure.wanted}" if figure.wanted else ""
    return f"  {mark} {figure.value:8.4f}  {figure.name}{wanted}"
