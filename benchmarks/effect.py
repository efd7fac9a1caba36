"""Did a change help? The judge of a goal metric and its guardrails, before and after. Pure.

`python -m benchmarks.effect` measures its error rate and power by simulation.

Stated error rate: without any effect, the chance of a verdict of improved or worse is at most
`alpha`, guardrails included; 70 % of it are used up, and 40 % without guardrails. It holds under
heavy tails and autocorrelation for samples in pairs of random order, and for windows around one
switch up to an autocorrelation of 0.8 from sample to sample. It holds for one look: judge once, at
a number of samples fixed beforehand.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from benchmarks.effect_pairs import least_pairs, paired_shift
from benchmarks.effect_windows import MIN_WINDOW, FloatArray, Shift, window_shift
from benchmarks.significance.holm import holm
from registry.agent_records import Direction, Effect, Verdict

# What of alpha may be used up: the rest is room, so that what is measured stays below it too.
_GOAL_SHARE = 0.4
_GUARDRAILS_SHARE = 0.3
_LARGEST = 1e150
# Gains beyond this are told as such: relative to next to nothing, a number says nothing.
_TELLING = 10.0


class Layout(StrEnum):
    """How samples with and without the change lie in time."""

    PAIRS = "pairs"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class EffectData:
    """Samples of one metric without (`before`) and with the change (`after`), in order of time.

    In pairs, `before[i]` and `after[i]` are neighbours, whichever came first. A sample that is
    missing is left out of a window, and None or NaN in a pair.
    """

    before: Sequence[float | None]
    after: Sequence[float | None]
    layout: Layout = Layout.WINDOWS


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric that must not get worse."""

    data: EffectData
    direction: Direction


@dataclass(frozen=True, slots=True)
class EffectResult:
    """The verdict with its numbers.

    Attributes:
        gain: relative improvement, positive is better (0.12 is 12 %); None where it is not defined,
            as without data or from a value of 0.
        low, high: its 1 - 0.4 alpha interval, infinite where the samples bound nothing.
        p_value: two-sided, of the goal metric; None when it was not tested.
        worsened: guardrail metrics that got worse.
    """

    verdict: Verdict
    reason: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    worsened: tuple[str, ...] = ()

    def to_effect(self) -> Effect:
        """The part that goes into the action's record; infinite bounds become unknown."""
        return Effect(
            verdict=self.verdict,
            reason=self.reason,
            gain=self.gain,
            low=_finite(self.low),
            high=_finite(self.high),
            worsened=self.worsened,
        )

    def to_dict(self) -> dict[str, object]:
        """The whole result, fit for JSON."""
        bounds = {"low": _finite(self.low), "high": _finite(self.high)}
        return asdict(self) | bounds


def judge(
    goal: EffectData,
    *,
    direction: Direction,
    alpha: float = 0.005,
    guardrails: Mapping[str, Guardrail] | None = None,
) -> EffectResult:
    """Say whether the goal metric improved and no guardrail metric got worse.

    Of `alpha` 40 % go to the goal and 30 % to the guardrails together (Holm). An improvement with
    a guardrail that cannot be judged is inconclusive.

    Args:
        goal: the goal metric's samples.
        direction: which way the goal metric is better.
        alpha: the chance of a false verdict that is accepted, between 0 and 0.5.
        guardrails: by metric name.

    Raises:
        ValueError: `alpha` is out of range.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}; it must lie between 0 and 0.5")
    guards = guardrails or {}
    share = _GOAL_SHARE * alpha
    measured = _measure(goal, direction, share)
    if isinstance(measured, _Unmeasured):
        return EffectResult(measured.verdict, f"goal metric: {measured.reason}")
    worsened, unknown = _worsened(guards, _GUARDRAILS_SHARE * alpha)
    verdict, reason = _verdict(measured, share)
    if worsened:
        verdict, reason = Verdict.WORSE, f"worse: {', '.join(worsened)}; goal metric: {reason}"
    elif unknown and verdict is Verdict.IMPROVED:
        verdict, reason = Verdict.INCONCLUSIVE, f"{unknown}; goal metric: {reason}"
    gain, low, high = measured.gain
    return EffectResult(verdict, reason, gain, low, high, measured.p_value, worsened)


@dataclass(frozen=True, slots=True)
class _Measured:
    """A shift turned so that positive is better, and how to express it relative to before."""

    shift: Shift
    direction: Direction
    base: float | None

    @property
    def p_value(self) -> float:
        return self.shift.p_value

    @property
    def p_better(self) -> float:
        up = self.direction is Direction.MAXIMIZE
        return self.shift.p_up if up else self.shift.p_down

    @property
    def p_worse(self) -> float:
        up = self.direction is Direction.MAXIMIZE
        return self.shift.p_down if up else self.shift.p_up

    @property
    def gain(self) -> tuple[float | None, float | None, float | None]:
        """Relative improvement with its interval."""
        if self.base == 0:
            return None, None, None
        ends = [self._relative(x) for x in (self.shift.estimate, self.shift.low, self.shift.high)]
        if not math.isfinite(ends[0]):
            return None, None, None
        if self.direction is Direction.MINIMIZE:
            return -ends[0], -ends[2], -ends[1]
        return ends[0], ends[1], ends[2]

    def _relative(self, shift: float) -> float:
        if self.base is not None:
            return shift / self.base
        return math.expm1(shift) if shift < 700 else math.inf


@dataclass(frozen=True, slots=True)
class _Unmeasured:
    verdict: Verdict
    reason: str


def _measure(data: EffectData, direction: Direction, alpha: float) -> _Measured | _Unmeasured:
    before, after = _clean(data)
    if before.size == 0 or after.size == 0:
        return _Unmeasured(Verdict.NO_DATA, "no samples before, or none after")
    least = least_pairs(alpha) if data.layout is Layout.PAIRS else MIN_WINDOW
    fewest = min(before.size, after.size)
    if fewest < least:
        reason = f"{fewest} samples a side; at least {least} are needed to decide"
        return _Unmeasured(Verdict.INCONCLUSIVE, reason)
    compare = paired_shift if data.layout is Layout.PAIRS else window_shift
    if min(before.min(), after.min()) > 0:  # ratios: the relative change itself
        return _Measured(compare(np.log(before), np.log(after), alpha), direction, None)
    return _Measured(compare(before, after, alpha), direction, abs(float(np.median(before))))


def _clean(data: EffectData) -> tuple[FloatArray, FloatArray]:
    """The samples that are measurements; of pairs those where both sides are."""
    before, after = (np.array(side, dtype=np.float64) for side in (data.before, data.after))
    if data.layout is Layout.WINDOWS:
        return before[_is_measured(before)], after[_is_measured(after)]
    if before.size != after.size:
        raise ValueError(f"{before.size} and {after.size} samples do not make pairs")
    whole = _is_measured(before) & _is_measured(after)
    return before[whole], after[whole]


def _is_measured(samples: FloatArray) -> NDArray[np.bool_]:
    """Neither missing nor infinite, nor so large that differences overflow."""
    return np.isfinite(samples) & (np.abs(samples) < _LARGEST)


def _verdict(measured: _Measured, alpha: float) -> tuple[Verdict, str]:
    text = _text(measured, alpha)
    if min(measured.p_better, measured.p_worse) > alpha / 2:
        return Verdict.INCONCLUSIVE, f"no clear change: {text}"
    if measured.p_better < measured.p_worse:
        return Verdict.IMPROVED, text
    return Verdict.WORSE, text


def _text(measured: _Measured, alpha: float) -> str:
    gain, low, high = measured.gain
    if gain is None or low is None or high is None:
        return f"shift {measured.shift.estimate:+.4g}, p = {measured.p_value:.2g}"
    interval = f"{100 * (1 - alpha):.4g} % interval {_percent(low)} to {_percent(high)}"
    return f"gain {_percent(gain)}, {interval}, p = {measured.p_value:.2g}"


def _percent(share: float) -> str:
    if abs(share) <= _TELLING:
        return f"{share:+.1%}"
    return f"{'over' if share > 0 else 'under'} {math.copysign(_TELLING, share):+.0%}"


def _worsened(guards: Mapping[str, Guardrail], alpha: float) -> tuple[tuple[str, ...], str]:
    """The metrics that got worse, and in a sentence the first that cannot be judged."""
    p_values: dict[str, float] = {}
    unknown = ""
    for name, guard in guards.items():
        # One side of each counts, and with Holm the clearest has to stand against them all.
        measured = _measure(guard.data, guard.direction, 2 * alpha / len(guards))
        if isinstance(measured, _Unmeasured):
            unknown = unknown or f"guardrail {name} cannot be judged: {measured.reason}"
        else:
            p_values[name] = measured.p_worse
    adjusted = holm(p_values)
    return tuple(name for name, p in adjusted.items() if p <= alpha), unknown


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


if __name__ == "__main__":
    from benchmarks.effect_study import main

    sys.exit(main())
