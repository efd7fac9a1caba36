"""Where each goal stands, and the weighted performance score. Pure.

The score is 100 times the mean of the progress (see `GoalProgress.of`) of all goals with a known
value, weighted by the goals' weights:

    score = 100 x sum(weight x progress) / sum(weight)

A goal without a value counts neither way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from config.settings import GoalSettings
from registry.agent_records import Direction, Goal, GoalProgress, Observation

# An older value says nothing of now.
FRESH_S = 300.0

History = Mapping[tuple[str, str], Sequence[Observation]]


def default_goals(settings: Iterable[GoalSettings]) -> list[Goal]:
    """Return the goals of the settings; a goal is named by its metric."""
    return [
        Goal(
            one.metric_name, one.metric_name, one.target_value, Direction(one.direction), one.weight
        )
        for one in settings
    ]


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
    return [
        GoalProgress.of(goal, current_value(seen[goal.metric_name], at, fresh_s)) for goal in wanted
    ]


def performance_score(progress: Iterable[GoalProgress]) -> float | None:
    """Return the score, 0 (worst) to 100 (all goals reached); None when no goal has a value."""
    known = [(one.progress, one.goal.weight) for one in progress if one.progress is not None]
    weight = sum(each for _, each in known)
    if weight <= 0.0:
        return None
    mean = sum(share * each for share, each in known) / weight
    return 100.0 * min(mean, 1.0)  # rounding may carry it a trace above


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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
