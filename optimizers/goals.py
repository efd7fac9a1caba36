"""How far each goal is reached, and the weighted performance score. Pure.

Progress of a goal whose value is on the wanted side of its target is 1. Else it is

    1 - |current - target| / max(|current|, |target|)

cut off at 0: for values above 0 that is target / current when less is better and current / target
when more is. The score is 100 times the mean of the progress of all goals with a known value,
weighted by the goals' weights; a goal without a value counts neither way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from registry.agent_records import Direction, Goal, GoalProgress, Observation

# An older value says nothing of now.
FRESH_S = 300.0

History = Mapping[tuple[str, str], Sequence[Observation]]


def measure_goals(
    goals: Iterable[Goal], history: History, at: float, fresh_s: float = FRESH_S
) -> list[GoalProgress]:
    """Return where each goal stands at a moment, from what was seen until then."""
    wanted = list(goals)
    names = {goal.metric_name for goal in wanted}
    seen: dict[str, list[Observation]] = defaultdict(list)
    for (_, metric), observations in history.items():
        if metric in names:
            seen[metric] += observations
    return [_measured(goal, seen[goal.metric_name], at, fresh_s) for goal in wanted]


def performance_score(progress: Iterable[GoalProgress]) -> float | None:
    """Return the score, 0 (worst) to 100 (all goals reached); None when no goal has a value."""
    known = [(one.progress, one.goal.weight) for one in progress if one.progress is not None]
    weight = sum(each for _, each in known)
    if weight <= 0.0:
        return None
    return 100.0 * sum(share * each for share, each in known) / weight


def current_value(
    observations: Iterable[Observation], at: float, fresh_s: float = FRESH_S
) -> float | None:
    """Return the present value of a metric; None when nothing was seen of it lately.

    That is the newest value of the target as a whole, where it gives one; else the mean of the
    newest value of each series. Of several targets, the mean of theirs.
    """
    newest: dict[str, dict[tuple[tuple[str, str], ...], Observation]] = defaultdict(dict)
    for one in observations:
        if at - fresh_s <= one.at <= at:
            known = newest[one.target].get(one.labels)
            if known is None or known.at <= one.at:
                newest[one.target][one.labels] = one
    values = [
        _mean(
            [by_labels[()].value] if () in by_labels else [one.value for one in by_labels.values()]
        )
        for by_labels in newest.values()
    ]
    return _mean(values) if values else None


def _measured(
    goal: Goal, observations: Sequence[Observation], at: float, fresh_s: float
) -> GoalProgress:
    current = current_value(observations, at, fresh_s)
    if current is None:
        return GoalProgress(goal, None, achieved=False, progress=None)
    wanted = goal.target_value
    achieved = current <= wanted if goal.direction is Direction.MINIMIZE else current >= wanted
    progress = 1.0 if achieved else _progress(current, wanted)
    return GoalProgress(goal, current, achieved=achieved, progress=progress)


def _progress(current: float, wanted: float) -> float:
    return max(0.0, 1.0 - abs(current - wanted) / max(abs(current), abs(wanted)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
