"""How much traffic a setting stands within the objective, found by replays. Pure.

Rates lie on a ladder of 1 % steps from the recorded one, so that settings and rivals are compared
on exactly the same traffic. At each rate the recording is repeated until it lasts forty times the
objective: a queue that grows without end has then missed the objective, however slowly it grows
(to within 2.5 % of the rate).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.batching.replay import replay
from benchmarks.batching.replayed import Objective, Replayed, Server
from benchmarks.batching.run_costs import CostCurve, RunCosts
from benchmarks.batching.settings import BatchSetting, Session
from benchmarks.batching.traffic import Recording, Traffic

STEP = 1.01
_LASTS = 40.0
BELOW = (0, 5, 10)
"""Steps below a rate at which it has to hold, too, to count as sustained."""

# A thousandth to a hundred thousand times the recorded rate.
_FEWEST_STEPS, _MOST_STEPS = -round(math.log(1e3, STEP)), round(math.log(1e5, STEP))

Holds = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Scene:
    """What settings are tried on.

    Attributes:
        most_requests: the longest replay, in requests; a recording is replayed once at least.
        seed: of the draws of run times.
    """

    recording: Recording
    objective: Objective
    server: Server
    curves: Mapping[Session, CostCurve]
    most_requests: int = 20_000
    seed: int = 1


@dataclass(slots=True)
class Trials:
    """Replays on one scene; counts what was tried.

    Attributes:
        tried: the settings that were replayed.
        replays: how many replays there were.
    """

    scene: Scene
    tried: set[BatchSetting] = field(default_factory=set)
    replays: int = 0
    _traffic: dict[int, Traffic] = field(default_factory=dict)
    _costs: dict[Session, RunCosts] = field(default_factory=dict)
    _known: dict[tuple[BatchSetting, int], bool] = field(default_factory=dict)

    def rate(self, step: int) -> float:
        """Requests per second on a step of the ladder; step 0 is the recorded rate."""
        return self.scene.recording.rate * STEP**step

    def step(self, rate: float) -> int:
        """The step nearest to a rate."""
        ratio = rate / self.scene.recording.rate
        return round(math.log(ratio, STEP)) if ratio > 0 else _FEWEST_STEPS

    def traffic(self, step: int) -> Traffic:
        """The traffic of a step."""
        if step not in self._traffic:
            seconds = _LASTS * self.scene.objective.latency_ms / 1e3
            self._traffic[step] = self.scene.recording.at_rate(
                self.rate(step), seconds, self.scene.most_requests
            )
        return self._traffic[step]

    def costs(self, session: Session) -> RunCosts:
        """Draws of a session's run times; every replay has the same luck."""
        if session not in self._costs:
            self._costs[session] = RunCosts(self.scene.curves[session], self.scene.seed)
        return self._costs[session]

    def holds(self, setting: BatchSetting, step: int) -> bool:
        """Whether a setting meets the objective on a step."""
        place = (setting, step)
        if place not in self._known:
            self.tried.add(setting)
            self.replays += 1
            found = self.replayed(setting, step, within=self.scene.objective)
            self._known[place] = not found.gave_up
        return self._known[place]

    def stands(self, setting: BatchSetting, step: int) -> bool:
        """Whether a setting meets the objective on a step and somewhat below it.

        A few lucky batches let a setting hold a rate of which it does not stand less.
        """
        return all(self.holds(setting, step - below) for below in BELOW)

    def replayed(
        self, setting: BatchSetting, step: int = 0, *, within: Objective | None = None
    ) -> Replayed:
        """The replay itself, at the recorded rate unless told otherwise."""
        costs = self.costs(setting.session)
        return replay(self.traffic(step), setting, costs, self.scene.server, within=within)

    def sustained(self, setting: BatchSetting, guess: int = 0) -> int | None:
        """The highest step a setting stands; None where it stands none."""
        return highest(lambda step: self.stands(setting, step), guess)


def highest(holds: Holds, guess: int) -> int | None:
    """The highest step that holds, looking from a guess; each step is asked for at most once.

    It is the end of a stretch of steps that hold: a step further up that held by chance is not
    looked for. None when not even a thousandth of the rate holds.
    """
    guess = max(min(guess, _MOST_STEPS), _FEWEST_STEPS)
    low, high = _enclosed(holds, guess)
    if low is None:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _enclosed(holds: Holds, guess: int) -> tuple[int | None, int]:
    """A step that holds (or None) and a higher one that does not."""
    stride = 4
    if holds(guess):
        low = guess
        while low < _MOST_STEPS and holds(low + stride):
            low, stride = low + stride, stride * 2
        return low, low + stride
    high = guess
    while high > _FEWEST_STEPS:
        if holds(high - stride):
            return high - stride, high
        high, stride = high - stride, stride * 2
    return None, high
