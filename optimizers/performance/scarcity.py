"""Who lacks the processor, what for, and who has it instead. Pure.

A process that is ready to run and has no core waits; the kernel counts it. The share of its time on
its way that a process waits is the most that more of the processor could win it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from config.performance_settings import TriggerSettings
from optimizers.performance.trigger import Sustained, sustained
from optimizers.targets.processes_facts import (
    HOUSE,
    PREDICTOR,
    TARGET,
    NamedProcess,
    ProcessesFacts,
)
from optimizers.view import View
from registry.agent_records import GoalProgress, Observation
from registry.goals import measure_goals, performance_score

SERVING = "serving"

# What a processor can help: times, and how much is done in a time.
_OF_TIME = ("_ms", "_seconds", "_rps")
_LEAST_WAIT_PERCENT = 2.0
_LEAST_WAIT_SHARE = 0.1
_LEAST_BUSY_PERCENT = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a named process used of the processor, and lacked; percent of one core, medians."""

    process: NamedProcess
    used: float
    waited: float

    @property
    def wait_share(self) -> float:
        """The share of its time on its way that it waited, 0 to 1."""
        whole = self.used + self.waited
        return self.waited / whole if whole > 0 else 0.0

    @property
    def starved(self) -> bool:
        """It waits for the processor, more than now and then."""
        return self.waited >= _LEAST_WAIT_PERCENT and self.wait_share >= _LEAST_WAIT_SHARE


@dataclass(frozen=True, slots=True)
class Shortage:
    """A process that the goal depends on and that waits, and those that keep it waiting.

    Attributes:
        rivals: busy named processes that do not serve the goal, the busiest first.
    """

    limiter: Load
    rivals: tuple[Load, ...]


@dataclass(frozen=True, slots=True)
class Missed:
    """A goal that is missed, and the target whose metric it is."""

    progress: GoalProgress
    target: str


def low_score(view: View, settings: TriggerSettings, least: float) -> Sustained | None:
    """Whether the performance score was below `least` in k of the last n looks."""
    goals = [one.goal for one in view.goals]
    names = {goal.metric_name for goal in goals}
    times = sorted(
        {one.at for (_, name), found in view.history.items() if name in names for one in found}
    )
    scores = [
        (at, performance_score(measure_goals(goals, view.history, at)))
        for at in _looks(times)[-settings.of :]
    ]
    series = ("agent", "performance_score")
    seen = [Observation(*series, value, at) for at, value in scores if value is not None]
    told = replace(view, history={series: seen})
    return sustained(told, series, settings, lambda score: score < least)


def missed_goal(view: View) -> Missed | None:
    """The goal that costs the score most, of those that the processor can help."""
    targets: dict[str, tuple[float, str]] = {}
    for (target, metric), found in view.history.items():
        if found:
            targets[metric] = max(targets.get(metric, (0.0, "")), (found[-1].at, target))
    missed = [
        Missed(one, targets[one.goal.metric_name][1])
        for one in view.goals
        if one.progress is not None
        and not one.achieved
        and one.goal.metric_name in targets
        and one.goal.metric_name.endswith(_OF_TIME)
    ]
    cost = {
        id(one): one.progress.goal.weight * (1.0 - (one.progress.progress or 0.0)) for one in missed
    }
    return max(missed, key=lambda one: cost[id(one)], default=None)


def shortage(view: View, missed: Missed, looks: int) -> Shortage | None:
    """Who limits the goal for want of the processor; None when no named process waits.

    The predictor, when the goal is serving's; else the one that waits most.
    """
    loads = list(_loads(view, looks))
    serves = [one for one in loads if one.process.role == PREDICTOR]
    able = serves if missed.target == SERVING else loads
    limiter = max((one for one in able if one.starved), key=lambda one: one.waited, default=None)
    if limiter is None:
        return None
    spared = {PREDICTOR, HOUSE}
    rivals = [
        one
        for one in loads
        if one is not limiter and one.process.role not in spared and one.used >= _LEAST_BUSY_PERCENT
    ]
    return Shortage(limiter, tuple(sorted(rivals, key=lambda one: -one.used)))


def _looks(times: Sequence[float]) -> list[float]:
    """The last moment of each look: targets of one look may answer within a second."""
    return [at for at, after in pairwise((*times, float("inf"))) if after - at > 1.0]


def _loads(view: View, looks: int) -> list[Load]:
    facts = view.facts.get(TARGET)
    if not isinstance(facts, ProcessesFacts):
        return []
    used = _medians(view, "process_cpu_percent", looks)
    waited = _medians(view, "process_wait_percent", looks)
    return [
        Load(process, used[name], waited[name])
        for name, process in facts.named.items()
        if name in used and name in waited
    ]


def _medians(view: View, metric: str, looks: int) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for one in view.history.get((TARGET, metric), ()):
        values[dict(one.labels).get("process", "")].append(one.value)
    return {name: median(found[-looks:]) for name, found in values.items()}
