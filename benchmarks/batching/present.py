"""The setting for the traffic there is: quick, and cheap where that costs little. Pure.

What stands the most traffic is seldom what serves the present traffic best. Among the settings
that were searched, and the neighbours of the best of them, this takes the one that uses the least
of the processor, as long as it is nearly as quick as the quickest and stands much more than comes.
All is replayed in virtual time, from measured costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.batching.replay import replay
from benchmarks.batching.replayed import Objective, Replayed
from benchmarks.batching.run_costs import RunCosts
from benchmarks.batching.search import Best
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.trials import STEP, Trials

_SEEDS = 5
# Settings that stand nearly as much as the best, in steps of the ladder, or so many times what
# comes now: more headroom is worth nothing.
_NEAR = 10
_HEADROOM = 2.0
# A cheaper setting may be slower than the quickest: so many times, as long as this share of the
# quickest's gain remains, and p99 keeps so far from the objective.
_PATIENCE = 2.0
_GAIN_KEPT = 0.75
_MARGIN = 0.8
_NOTABLE = 0.02
# Of a predicted gain, what is promised at least: the replay does not know all that happens.
_SURE = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a setting promises.

    Attributes:
        rate: the highest rate within the objective, requests per second; None: none.
        p99_ms, mean_ms, cpu_ms: at the rate of the recording; of the processor: a request's share.
    """

    setting: BatchSetting
    rate: float | None
    p99_ms: float
    mean_ms: float
    cpu_ms: float
    rows_per_run: float


@dataclass(frozen=True, slots=True)
class Gain:
    """A predicted share by which the mean latency falls, and within what."""

    mean: float
    low: float
    high: float


def outcome_of(trials: Trials, setting: BatchSetting, guess: int) -> Outcome:
    """Replay a setting at the recorded rate, and find the highest it stands, from a guess."""
    return _outcome(trials, setting, trials.replayed(setting), guess)


def choose(
    trials: Trials,
    found: Best,
    settings: Sequence[BatchSetting],
    current: Outcome,
    *,
    wanted_ms: float = math.inf,
    go_on: Callable[[], bool] = lambda: True,
) -> tuple[Outcome | None, Gain | None]:
    """The setting that is better than the current one at the recorded rate, and what is gained.

    Args:
        trials: where settings are replayed.
        found: what the search found.
        settings: those that are allowed.
        current: what the present setting does.
        wanted_ms: a mean that the cheap ones have to keep, too.
        go_on: asked before each look; no more are made once it says no.

    Returns:
        None twice where none is better.
    """
    if found.setting is None:
        return None, None
    replays = _replays(trials, found, settings, current, go_on)
    tried = False
    for setting in _ranked(replays, current, wanted_ms, trials.scene.objective):
        if tried and not go_on():
            break
        tried = True
        outcome = _outcome(trials, setting, replays[setting], found.step)
        enough = _stands_enough(trials, found, outcome, current)
        if not enough or not _better(outcome, current, trials.scene.objective.latency_ms):
            continue
        gain = _gain(trials, current.setting, setting)
        if gain.mean > _NOTABLE:
            return outcome, gain
    return None, None


def _replays(
    trials: Trials,
    found: Best,
    settings: Sequence[BatchSetting],
    current: Outcome,
    go_on: Callable[[], bool],
) -> dict[BatchSetting, Replayed]:
    """What the settings in question do at the recorded rate."""
    known = {one: trials.replayed(one) for one, _ in found.order if one != current.setting}
    for one in _neighbours(found, settings, current):
        if one not in known and go_on():
            known[one] = trials.replayed(one)
    return known


def _ranked(
    replays: Mapping[BatchSetting, Replayed],
    current: Outcome,
    wanted_ms: float,
    objective: Objective,
) -> list[BatchSetting]:
    """The cheapest of the nearly quickest first, then the others, the quickest first."""
    quickest = min((one.mean_ms for one in replays.values()), default=0.0)
    slowest = min(
        _PATIENCE * quickest,
        current.mean_ms - _GAIN_KEPT * max(current.mean_ms - quickest, 0.0),
        wanted_ms,
    )
    p99_ms = _MARGIN * objective.latency_ms

    def rank(setting: BatchSetting) -> tuple[bool, float]:
        now = replays[setting]
        quick = now.mean_ms <= slowest and now.percentile_ms(objective.share) <= p99_ms
        return not quick, now.cpu_per_request_s if quick else now.mean_ms

    return sorted(replays, key=rank)


def _neighbours(
    found: Best, settings: Sequence[BatchSetting], current: Outcome
) -> Iterator[BatchSetting]:
    """All waits and sessions at the largest batch of the best setting."""
    assert found.setting is not None
    size = found.setting.max_batch_size
    for one in settings:
        if one.max_batch_size == size and one != current.setting:
            yield one


def _outcome(trials: Trials, setting: BatchSetting, now: Replayed, guess: int) -> Outcome:
    step = trials.sustained(setting, guess)
    return Outcome(
        setting,
        None if step is None else trials.rate(step),
        now.percentile_ms(),
        now.mean_ms,
        now.cpu_per_request_s * 1e3,
        now.rows_per_run,
    )


def _stands_enough(trials: Trials, found: Best, outcome: Outcome, current: Outcome) -> bool:
    nearly = trials.rate(found.step - _NEAR) / STEP**0.5
    enough = min(nearly, _HEADROOM * trials.scene.recording.rate)
    return outcome.rate is not None and outcome.rate >= max(enough, current.rate or 0.0)


def _better(outcome: Outcome, current: Outcome, objective_ms: float) -> bool:
    """Quicker than the current one, or within the objective for less."""
    if current.p99_ms > objective_ms:
        return outcome.p99_ms < current.p99_ms * (1.0 - _NOTABLE)
    cheaper = outcome.cpu_ms < current.cpu_ms * (1.0 - _NOTABLE)
    return outcome.p99_ms <= objective_ms and (cheaper or outcome.p99_ms < current.p99_ms)


def _gain(trials: Trials, before: BatchSetting, after: BatchSetting) -> Gain:
    """How much the mean latency falls, by several draws of the run times."""
    scene = trials.scene
    gains: list[float] = []
    for seed in range(_SEEDS):
        now, then = (
            replay(
                trials.traffic(0),
                one,
                RunCosts(scene.curves[one.session], scene.seed + seed),
                scene.server,
            )
            for one in (before, after)
        )
        gains.append(1.0 - then.mean_ms / now.mean_ms)
    gains.sort()
    middle = gains[len(gains) // 2]
    return Gain(middle, min(gains[0], _SURE * middle), gains[-1])
