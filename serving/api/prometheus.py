"""The agent's own numbers in Prometheus' text format, read from the ledger at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.api import views, world_views
from serving.api.answers import AgentAnswer, GoalAnswer
from serving.api.stores import AgentStores

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX = "prime_spark_agent_"
_MAX_TARGETS = 1000


def page(stores: AgentStores, answers: Mapping[tuple[str, str, int], int], listeners: int) -> bytes:
    """Return the page: the agent, its actions, goals and targets, and the API itself."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(stores, answers, listeners))
    return generate_latest(registry)


class _Page(Collector):
    """The families of one scrape."""

    def __init__(
        self, stores: AgentStores, answers: Mapping[tuple[str, str, int], int], listeners: int
    ) -> None:
        self._stores = stores
        self._answers = answers
        self._listeners = listeners

    def collect(self) -> Iterable[Metric]:
        """Yield every family."""
        yield from _agent(views.agent(self._stores))
        yield from _actions(self._stores)
        yield from _goals(views.goals(self._stores))
        yield from _targets(self._stores)
        yield from _api(self._answers, self._listeners)


def _agent(agent: AgentAnswer) -> Iterable[Metric]:
    yield _gauge("up", "1 while an agent shows signs of life.", float(agent.up))
    yield _gauge("paused", "1 while the agent is held.", float(agent.paused.paused))
    yield _gauge("uptime_seconds", "How long the agent runs.", agent.uptime_seconds)
    if agent.last_beat_at is not None:
        text = "The agent's last sign of life, epoch seconds."
        yield _gauge("last_beat_timestamp_seconds", text, agent.last_beat_at.timestamp())
    loops = GaugeMetricFamily(
        f"{_PREFIX}loop_seconds", "How long a loop's last tick took.", labels=["loop"]
    )
    for name, loop in sorted(agent.loops.items()):
        if loop.seconds is not None:
            loops.add_metric([name], loop.seconds)
    yield loops


def _actions(stores: AgentStores) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        f"{_PREFIX}actions", "Actions in each state, all that were ever recorded.", labels=["state"]
    )
    for state, count in sorted(stores.actions.counts().items()):
        family.add_metric([state.value], count)
    yield family
    text = "Sum of the measured relative improvements of completed actions."
    yield _gauge("improvement_total", text, stores.actions.total_improvement())


def _goals(goals: Iterable[GoalAnswer]) -> Iterable[Metric]:
    labels = ["goal", "metric"]
    current = GaugeMetricFamily(f"{_PREFIX}goal_current", "A goal's metric now.", labels=labels)
    target = GaugeMetricFamily(f"{_PREFIX}goal_target", "A goal's target.", labels=labels)
    achieved = GaugeMetricFamily(f"{_PREFIX}goal_achieved", "1 once it is reached.", labels=labels)
    for goal in goals:
        names = [goal.goal_id, goal.metric_name]
        target.add_metric(names, goal.target_value)
        achieved.add_metric(names, float(goal.achieved))
        if goal.current_value is not None:  # what is missing is left out, never 0
            current.add_metric(names, goal.current_value)
    yield from (current, target, achieved)


def _targets(stores: AgentStores) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        f"{_PREFIX}target_up", "1 for a target that answered last time.", labels=["target"]
    )
    for target in world_views.targets(stores, limit=_MAX_TARGETS).items:
        if target.ok is not None:
            family.add_metric([target.name], float(target.ok))
    yield family


def _api(answers: Mapping[tuple[str, str, int], int], listeners: int) -> Iterable[Metric]:
    family = CounterMetricFamily(
        "prime_spark_api_answers", "Answers of this API.", labels=["method", "route", "status"]
    )
    for (method, route, status), count in sorted(answers.items()):
        family.add_metric([method, route, str(status)], count)
    yield family
    text = "Clients that listen to events now."
    yield GaugeMetricFamily("prime_spark_api_listeners", text, value=listeners)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value)
