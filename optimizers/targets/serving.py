"""The predictor: latency, throughput, errors, queues, batches and cache, per version and in all.

Numbers come from its Prometheus page as what happened since the last look; what it serves comes
from its page `/models` and is the target's facts. A quantile is found between two bounds of the
predictor's histogram, which lie a factor of two apart: enough to see a trend, not to judge 5 %.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from config.clock import Clock
from optimizers.targets.base import Observed, ObserveOnly
from optimizers.targets.counters import Counters, Interval
from optimizers.targets.histogram import quantile
from optimizers.targets.http_source import HttpSource
from optimizers.targets.prometheus_text import Labels, Page, read_page
from optimizers.targets.readings import Readings

_PREFIX = "prime_spark_"
_LATENCY = f"{_PREFIX}request_latency_seconds"
_TOTALS = (
    "requests",
    "request_errors",
    "requests_over_objective",
    "model_runs",
    "model_rows",
    "queue_refused",
    "queue_expired",
    "cache_hits",
    "cache_misses",
    "http_refused",
)
_HISTOGRAM = tuple(f"{_LATENCY}_{part}" for part in ("bucket", "sum", "count"))
_COUNTED = frozenset((*(f"{_PREFIX}{name}_total" for name in _TOTALS), *_HISTOGRAM))
_GAUGES = frozenset(f"{_PREFIX}{name}" for name in ("queue_length", "cache_entries", "cache_bytes"))
_WANTED = _COUNTED | _GAUGES
_SHARES = {"error_rate": "request_errors_total", "slow_rate": "requests_over_objective_total"}
_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

Key = tuple[str, Labels]
# A version of a model, or the whole predictor where it is None.
Scope = tuple[str, str] | None


class ServedArm(BaseModel):
    """A version that is served, and its knobs as they are."""

    model_config = ConfigDict(frozen=True)

    variant: str
    version: int
    knobs: Mapping[str, float]


class ServedModel(BaseModel):
    """A model that is served: how its traffic is split and between which versions."""

    model_config = ConfigDict(frozen=True)

    mode: str
    weight: float
    experiment_id: str | None
    arms: tuple[ServedArm, ...]


class ServingFacts(BaseModel):
    """What the predictor says of itself on `/models`."""

    model_config = ConfigDict(frozen=True)

    ready: bool
    models: Mapping[str, ServedModel]
    problems: Mapping[str, str]
    stale: Mapping[str, str]


class ServingTarget(ObserveOnly):
    """One predictor.

    Args:
        url: where it answers.
        clock: tells the time between two looks.
        name: the target's name.
    """

    def __init__(self, url: str, clock: Clock, name: str = "serving") -> None:
        self.name = name
        self._source = HttpSource("the predictor", url, clock)
        self._counters: Counters[Key] = Counters(clock)

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Read both pages; see :class:`optimizers.targets.base.Target`."""
        deadline = self._source.deadline(timeout_s)
        page = read_page(self._source.get("/metrics", deadline), _WANTED)
        facts = self._facts(deadline)
        readings = Readings(self.name, at)
        if page.unreadable:
            readings.trouble(f"{page.unreadable} lines of its page /metrics make no sense")
        _add_gauges(readings, page)
        interval = self._counters.advance(
            {(name, labels): value for name, labels, value in page.samples if name in _COUNTED}
        )
        if interval is not None:
            _add_rates(readings, interval)
        readings.add("models_served", float(len(facts.models)))
        readings.add("models_with_problems", float(len(facts.problems)))
        readings.add("stale_sources", float(len(facts.stale)))
        return readings.observed(facts)

    def _facts(self, deadline: float) -> ServingFacts:
        content = self._source.get("/models", deadline)
        try:
            return ServingFacts.model_validate_json(content)
        except ValidationError as error:
            raise self._source.unusable("its answer to /models is not a predictor's") from error


def _add_gauges(readings: Readings, page: Page) -> None:
    sums: dict[tuple[str, Scope], float] = defaultdict(float)
    for name, labels, value in page.samples:
        if name in _GAUGES:
            for scope in _scopes(labels):
                sums[name, scope] += value
    for (name, scope), value in sums.items():
        metric = name.removeprefix(_PREFIX)
        readings.add(metric, value, "bytes" if metric == "cache_bytes" else "", _named(scope))


def _add_rates(readings: Readings, interval: Interval[Key]) -> None:
    if interval.unusable:
        metrics = sorted({name.removeprefix(_PREFIX) for name, _ in interval.unusable})
        readings.trouble(f"its counters {', '.join(metrics)} are no numbers; they are left out")
    scopes: dict[Scope, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    buckets: dict[Scope, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for (name, labels), gain in interval.gains.items():
        for scope in _scopes(labels):
            if name.endswith("_bucket"):
                buckets[scope][_bound(labels)] += gain
            else:
                scopes[scope][name.removeprefix(_PREFIX)] += gain
    for scope, gains in scopes.items():
        _add_scope(readings, gains, interval.seconds, scope)
        for metric, share in _QUANTILES.items():
            seconds = quantile(buckets.get(scope, {}), share)
            value = None if seconds is None else seconds * 1000.0
            readings.add(f"inference_latency_{metric}_ms", value, "ms", _named(scope))


def _add_scope(
    readings: Readings, gains: Mapping[str, float], seconds: float, scope: Scope
) -> None:
    labels = _named(scope)
    count = gains.get("request_latency_seconds_count")
    mean_s = _ratio(gains.get("request_latency_seconds_sum"), count)
    mean_ms = None if mean_s is None else mean_s * 1000.0
    readings.add("inference_latency_ms", mean_ms, "ms", labels)
    requests = gains.get("requests_total")
    if requests is not None:
        readings.add("throughput_rps", requests / seconds, "1/s", labels)
    for metric, name in (
        ("error_rate", "request_errors"),
        ("slow_rate", "requests_over_objective"),
    ):
        readings.add(metric, _ratio(gains.get(f"{name}_total"), requests), "", labels, high=1.0)
    rows = _ratio(gains.get("model_rows_total"), gains.get("model_runs_total"))
    readings.add("batch_rows", rows, "rows", labels)
    hits, misses = gains.get("cache_hits_total"), gains.get("cache_misses_total")
    if hits is not None and misses is not None:
        readings.add("cache_hit_rate", _ratio(hits, hits + misses), "", labels, high=1.0)
    refused = gains.get("queue_refused_total")
    if refused is not None:
        refused += gains.get("queue_expired_total", 0.0)
        readings.add("queue_refused_rps", refused / seconds, "1/s", labels)
    if scope is None and "http_refused_total" in gains:
        readings.add("http_errors_rps", gains["http_refused_total"] / seconds, "1/s")


def _scopes(labels: Labels) -> tuple[Scope, ...]:
    known = dict(labels)
    if "model" in known and "version" in known:
        return (None, (known["model"], known["version"]))
    return (None,)


def _named(scope: Scope) -> dict[str, str]:
    return {} if scope is None else {"model": scope[0], "version": scope[1]}


def _bound(labels: Labels) -> float:
    try:
        return float(dict(labels).get("le", "nan"))
    except ValueError:
        return float("nan")


def _ratio(part: float | None, whole: float | None) -> float | None:
    """A share of what happened; None when nothing did."""
    return None if part is None or not whole else part / whole
