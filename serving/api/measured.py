"""What was measured: where the goals stand, the series of metrics and their history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from config.clock import epoch, from_epoch
from config.errors import InputError
from registry.agent_records import Goal, GoalProgress
from registry.goals import FRESH_S, measure_goals
from registry.observation_series import Series
from registry.observations import SeriesPoints
from serving.api.answers import Page
from serving.api.pages import page_of
from serving.api.stores import AgentStores
from serving.api.world_answers import HistoryAnswer, HistoryPage, PointAnswer, SeriesAnswer

MAX_POINTS = 2000

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Span:
    """What time of a metric is asked for.

    Attributes:
        since, until: seconds since the epoch; None for the last hour until now.
        step: length of the buckets in seconds; 0 for as finely as it is kept.
    """

    since: float | None = None
    until: float | None = None
    step: int = 0


def goals(stores: AgentStores, wanted: Sequence[Goal]) -> list[GoalProgress]:
    """Compare goals with what was observed of their metrics lately."""
    names = {goal.metric_name for goal in wanted}
    targets = {one.target for one in stores.observations.series() if one.metric in names}
    now = epoch(stores.clock.now())
    history = stores.observations.history(now - FRESH_S, now, targets) if targets else {}
    return measure_goals(wanted, history, now)


def series(
    stores: AgentStores,
    target: str | None = None,
    metric: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[SeriesAnswer]:
    """Return one page of the recorded series, by target, metric and labels.

    Raises:
        InputError: there is no series `after`.
    """
    found = stores.observations.series(target, metric)
    page, following = page_of(found, _number, after, limit)
    return Page(items=[SeriesAnswer(**_named(one)) for one in page], next=following)


def history(
    stores: AgentStores,
    target: str,
    metric: str,
    span: Span,
    *,
    after: str | None = None,
    limit: int = 100,
) -> HistoryPage:
    """Return one page of a metric's series with their points.

    Where these would be more than `MAX_POINTS` of each, the buckets are longer than asked for.

    Raises:
        InputError: the time ends before it begins, or there is no series `after`.
    """
    until = epoch(stores.clock.now()) if span.until is None else span.until
    since = until - _HOUR_S if span.since is None else span.since
    if since > until:
        raise InputError("`since` is later than `until`; exchange them")
    step = _step(span.step, since, until, stores.settings.monitoring.interval_seconds)
    found = stores.observations.query(target, metric, since, until, step)
    page, following = page_of(found, lambda one: _number(one.series), after, limit)
    return HistoryPage(
        since=from_epoch(since),
        until=from_epoch(until),
        step=step,
        items=[_history(one) for one in page],
        next=following,
    )


def _step(asked: int, since: float, until: float, interval_s: float) -> int:
    least = math.ceil((until - since) / MAX_POINTS)
    if asked == 0 and (until - since) / interval_s <= MAX_POINTS:
        return 0
    return max(asked, least, 1)


def _history(found: SeriesPoints) -> HistoryAnswer:
    points = [
        PointAnswer(at=from_epoch(at), count=int(count), mean=mean, low=low, high=high, last=last)
        for at, count, mean, low, high, last in found.buckets[-MAX_POINTS - 1 :]
    ]
    return HistoryAnswer(**_named(found.series), points=points)


def _number(one: Series) -> str:
    return str(one.id)


def _named(one: Series) -> dict[str, object]:
    return {
        "target": one.target,
        "metric": one.metric,
        "labels": dict(one.labels),
        "unit": one.unit,
    }
