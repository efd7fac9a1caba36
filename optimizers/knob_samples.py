"""Samples of what a change should improve and must not worsen: in two windows, or in pairs.

A sample is one look at every target whose metrics are wanted; rates are those since the look before
it. So whatever is measured begins with a look that is thrown away: else the first rate would reach
back to before the change, or into the time it took to settle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from config.errors import UnavailableError
from optimizers.capability import Sight, Switch, Tools
from optimizers.switching import standing_of
from registry.agent_records import Action
from registry.metric_names import MetricName

Samples = Mapping[str, Sequence[float | None]]
"""By metric, the samples in order of time."""

# A metric that is missing every other time still fills its window.
_MOST_TRIES = 2


@dataclass(frozen=True, slots=True)
class SampledSides:
    """Samples without and with the change, by metric; None in a pair is a missing one."""

    before: Samples
    after: Samples


def take_sample(action: Action, tools: Tools) -> dict[str, float]:
    """The goal metric and the guardrails now: one look at each target; missing is left out.

    Without `@target` a metric is of the action's own target.
    """
    wanted: dict[str, dict[str, str]] = {}
    for name in (action.proposal.goal_metric, *action.proposal.guardrails):
        parsed = MetricName.parse(name)
        wanted.setdefault(parsed.target or action.proposal.target, {})[name] = parsed.series
    values: dict[str, float] = {}
    for target, names in wanted.items():
        try:
            found = tools.sample(target, list(names.values()))
        except UnavailableError:
            continue  # what does not answer has no value now
        values |= {name: found[series] for name, series in names.items() if series in found}
    return values


@dataclass(slots=True)
class _Window:
    due: float
    tries: int = -1
    values: dict[str, list[float]] = field(default_factory=dict)


class Windows:
    """Windows of samples, one after the other, kept in memory until they are full."""

    def __init__(self, samples: int, every_s: float) -> None:
        self._samples = samples
        self._every_s = every_s
        self._windows: dict[tuple[str, str], _Window] = {}

    def fill(self, action: Action, name: str, tools: Tools) -> dict[str, list[float]] | None:
        """Take a sample if it is time; return the window once it is full of the goal metric.

        One that lacks too many samples is given up, and returned as it is.
        """
        now = tools.clock.monotonic()
        window = self._windows.setdefault((action.id, name), _Window(now))
        if now >= window.due:
            window.due = now + self._every_s
            self._add(window, action, take_sample(action, tools))
        full = len(window.values.get(action.proposal.goal_metric, ())) >= self._samples
        if not full and window.tries < _MOST_TRIES * self._samples:
            return None
        del self._windows[action.id, name]
        return window.values

    def _add(self, window: _Window, action: Action, sample: Mapping[str, float]) -> None:
        window.tries += 1
        if window.tries == 0:
            return  # the look that begins the first interval
        for metric in (action.proposal.goal_metric, *action.proposal.guardrails):
            window.values.setdefault(metric, [])
            if metric in sample:
                window.values[metric].append(sample[metric])


@dataclass(frozen=True, slots=True)
class _Half:
    """One half of a pair: the side at which it is sampled, and its key in the progress."""

    pair: int
    side: Sight

    @property
    def key(self) -> str:
        return f"{self.side} {self.pair}"


@dataclass(slots=True)
class _Interval:
    """The half that is being sampled: when to look next, and whether its interval has begun."""

    half: _Half
    due: float
    begun: bool = False


class Pairs:
    """Pairs of samples without and with the change, side by side in random order.

    The order is drawn from the action's id, so every process that works on the action has the same.
    Samples are kept in memory until a switch takes them along into the action's progress.

    Args:
        pairs: how many; fixed beforehand, for the judge looks once.
        half_s: seconds of half a pair, settling included.
        settle_s: seconds at its begin that are not measured.
    """

    def __init__(self, pairs: int, half_s: float, settle_s: float) -> None:
        if not 0 <= settle_s < half_s:
            raise ValueError(f"{settle_s} s of settling leave nothing of {half_s} s to sample")
        self._pairs = pairs
        self._rest_s = half_s - settle_s
        self._settle_s = settle_s
        self._fresh: dict[str, dict[_Half, dict[str, float]]] = {}
        self._intervals: dict[str, _Interval] = {}

    def advance(self, action: Action, tools: Tools) -> SampledSides | Switch | None:
        """Take a sample if it is time; return what has to be switched, or all pairs at the end."""
        fresh = self._fresh.setdefault(action.id, {})
        for noted in [one for one in fresh if one.key in action.progress]:
            del fresh[noted]
        stands = standing_of(action).stands
        half = self._next(action, fresh)
        if half is None and not fresh:
            return self._sides(action)
        if half is None or half.side is not stands:
            to = stands if half is None else half.side
            return Switch(to, {one.key: dict(sample) for one, sample in fresh.items()})
        sample = self._sampled(action, half, tools)
        if sample is not None:
            fresh[half] = sample
        return None

    def _next(self, action: Action, fresh: Mapping[_Half, object]) -> _Half | None:
        for half in self._order(action):
            if half not in fresh and half.key not in action.progress:
                return half
        return None

    def _order(self, action: Action) -> Iterator[_Half]:
        rng = random.Random(action.id)
        for pair in range(self._pairs):
            sides = (Sight.AFTER, Sight.BEFORE)
            for side in sides if rng.random() < 0.5 else reversed(sides):
                yield _Half(pair, side)

    def _sampled(self, action: Action, half: _Half, tools: Tools) -> dict[str, float] | None:
        now = tools.clock.monotonic()
        interval = self._intervals.get(action.id)
        if interval is None or interval.half != half:
            interval = self._intervals[action.id] = _Interval(half, now + self._settle_s)
        if now < interval.due:
            return None
        sample = take_sample(action, tools)
        if interval.begun:
            del self._intervals[action.id]
            return sample
        interval.begun = True
        interval.due = tools.clock.monotonic() + self._rest_s
        return None

    def _sides(self, action: Action) -> SampledSides:
        def side(of: Sight) -> Samples:
            halves = [_Half(pair, of).key for pair in range(self._pairs)]
            return {
                metric: [_value(action.progress.get(half), metric) for half in halves]
                for metric in (action.proposal.goal_metric, *action.proposal.guardrails)
            }

        return SampledSides(side(Sight.BEFORE), side(Sight.AFTER))


def _value(sample: JsonValue, metric: str) -> float | None:
    value = sample.get(metric) if isinstance(sample, dict) else None
    return float(value) if isinstance(value, int | float) else None
