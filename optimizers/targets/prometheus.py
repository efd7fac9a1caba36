"""Any Prometheus server: each query of the settings becomes a metric of that name.

The API: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from config.clock import Clock
from config.errors import UnavailableError
from optimizers.targets.base import Observed, ObserveOnly
from optimizers.targets.http_source import HttpSource
from optimizers.targets.readings import Readings

MAX_SERIES = 200
_SKEW_S = 60.0


class _Sample(BaseModel):
    model_config = ConfigDict(frozen=True)

    metric: Mapping[str, str]
    value: tuple[float, str]


class _Vector(BaseModel):
    resultType: str  # noqa: N815 (Prometheus's own name)
    result: list[_Sample]


class _Scalar(BaseModel):
    resultType: str  # noqa: N815 (Prometheus's own name)
    result: tuple[float, str]


class _Answer(BaseModel):
    status: str
    data: _Vector | _Scalar


class PrometheusTarget(ObserveOnly):
    """One Prometheus server.

    Args:
        name: the target's name, as in the settings.
        url: its address; user and password may stand in it.
        queries: PromQL by the name of the metric it gives.
        clock: tells how long an answer takes.
    """

    def __init__(self, name: str, url: str, queries: Mapping[str, str], clock: Clock) -> None:
        self.name = name
        self._queries = dict(queries)
        self._source = HttpSource(f"the Prometheus server {name}", url, clock)

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Ask every query; see :class:`optimizers.targets.base.Target`.

        A query that fails is a trouble; a server of which all fail does not answer.
        """
        deadline = self._source.deadline(timeout_s)
        readings = Readings(self.name, at)
        failures: list[UnavailableError] = []
        for metric, query in self._queries.items():
            try:
                samples = self._ask(query, deadline)
            except UnavailableError as error:
                failures.append(error)
                readings.trouble(f"{metric}: {error}")
            else:
                _take(readings, metric, samples, at)
        if failures and len(failures) == len(self._queries):
            raise failures[-1]
        return readings.observed()

    def _ask(self, query: str, deadline: float) -> list[_Sample]:
        content = self._source.get("/api/v1/query", deadline, {"query": query})
        try:
            answer = _Answer.model_validate_json(content)
        except ValidationError as error:
            raise self._source.unusable("its answer is not one to an instant query") from error
        if answer.status != "success":
            raise self._source.unusable(f"it answers a query with {answer.status[:50]}")
        if isinstance(answer.data, _Scalar):
            return [_Sample(metric={}, value=answer.data.result)]
        return answer.data.result


def _take(readings: Readings, metric: str, samples: list[_Sample], at: float) -> None:
    if len(samples) > MAX_SERIES:
        readings.trouble(
            f"{metric} has {len(samples)} series; {MAX_SERIES} are taken, let the query sum them up"
        )
    for sample in samples[:MAX_SERIES]:
        moment, text = sample.value
        if not abs(moment - at) <= _SKEW_S:
            readings.trouble(f"its clock is {moment - at:+.0f} s off the agent's")
        labels = {name: held for name, held in sample.metric.items() if name != "__name__"}
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        readings.add(metric, value, "", labels, low=-math.inf)
