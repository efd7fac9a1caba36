"""The predictor: latency, throughput, errors, queues, batches, cache, memory, and its knobs.

Numbers come from its Prometheus page, per version and in all, as what happened since the last look;
what it serves comes from its page `/models` and is the target's facts. A quantile is found between
two bounds of the predictor's histogram, which lie a factor of two apart: enough to see a trend, not
to judge 5 %. Its knobs are wanted values in the ledger (`optimizers.targets.serving_knobs`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from config.clock import Clock
from optimizers.targets.base import Guard, Observed, ObserveOnly
from optimizers.targets.counters import Counters, Interval
from optimizers.targets.histogram import quantile
from optimizers.targets.http_source import HttpSource
from optimizers.targets.prometheus_text import Page, read_page
from optimizers.targets.readings import Readings
from optimizers.targets.serving_knobs import ServingKnobs
from registry.agent_records import Change
from registry.metric_names import Labels

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
    "worker_cpu_seconds",
)
_HISTOGRAM = tuple(f"{_LATENCY}_{part}" for part in ("bucket", "sum", "count"))
_COUNTED = frozenset((*(f"{_PREFIX}{name}_total" for name in _TOTALS), *_HISTOGRAM))
_GAUGES = frozenset(
    f"{_PREFIX}{name}"
    for name in ("queue_length", "cache_entries", "cache_bytes", "worker_memory_bytes")
)
_IDLE, _LOADED = f"{_PREFIX}model_idle_seconds", f"{_PREFIX}model_loaded"
_REQUESTS = f"{_PREFIX}requests_total"
_PER_ARM = frozenset({_IDLE, _LOADED, _REQUESTS})
_KNOBS_TIMEOUT_S = 5.0
_MEGABYTE = 1024 * 1024
_WANTED = _COUNTED | _GAUGES | {_IDLE, _LOADED}
_SHARES = {"error_rate": "request_errors_total", "slow_rate": "requests_over_objective_total"}
_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

Key = tuple[str, Labels]
# A version of a model, or the whole predictor where it is None.
Scope = tuple[str, str] | None


class ServedArm(BaseModel):
    """A version that is served, and its knobs as they are.

    Attributes:
        idle_seconds: since its last request, or since it was first loaded; of the worker that had
            one last. None: not known.
        loaded: whether it is in memory, in any worker.
        file_mb: size of its file; None: not known.
        requests: since the workers started, all together.
    """

    model_config = ConfigDict(frozen=True)

    variant: str
    version: int
    knobs: Mapping[str, float]
    idle_seconds: float | None = None
    loaded: bool = True
    file_mb: float | None = None
    requests: int = 0


class ServedModel(BaseModel):
    """A model that is served: how its traffic is split and between which versions."""

    model_config = ConfigDict(frozen=True)

    mode: str
    weight: float
    experiment_id: str | None
    arms: tuple[ServedArm, ...]


class ServingFacts(BaseModel):
    """What the predictor says of itself on `/models`.

    Attributes:
        traffic_folder: its recorded traffic (`registry.traffic`); None: there is none on this
            machine.
    """

    model_config = ConfigDict(frozen=True)

    ready: bool
    models: Mapping[str, ServedModel]
    problems: Mapping[str, str]
    stale: Mapping[str, str]
    traffic_folder: Path | None = None


class ServingTarget(ObserveOnly):
    """One predictor.

    Args:
        url: where it answers.
        clock: tells the time between two looks.
        name: the target's name.
        knobs: its knobs; None: it is only observed.
        traffic: the folder of its recorded traffic, if it runs on this machine.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        name: str = "serving",
        *,
        knobs: ServingKnobs | None = None,
        traffic: Path | None = None,
    ) -> None:
        self.name = name
        self._knobs = knobs
        self._traffic = traffic
        self._models: Sequence[str] | None = None
        self._source = HttpSource("the predictor", url, clock)
        self._counters: Counters[Key] = Counters(clock)

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Read both pages; see :class:`optimizers.targets.base.Target`."""
        deadline = self._source.deadline(timeout_s)
        page = read_page(self._source.get("/metrics", deadline), _WANTED)
        facts = self._with_workers(self._facts(deadline), page)
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
        arms = [arm for model in facts.models.values() for arm in model.arms]
        readings.add("models_idle", float(sum(not arm.loaded for arm in arms)))
        return readings.observed(facts)

    def knobs(self) -> Sequence[str]:
        """The knobs of the whole predictor and of each served model; none without a ledger.

        Raises:
            UnavailableError: the predictor does not answer, and never did.
        """
        if self._knobs is None:
            return super().knobs()
        if self._models is None:
            self._facts(self._source.deadline(_KNOBS_TIMEOUT_S))
        return self._knobs.names(self._models or ())

    def read(self, knob: str) -> JsonValue:
        """Return a knob as it was written; see :class:`ServingKnobs`."""
        return super().read(knob) if self._knobs is None else self._knobs.read(knob)

    def write(self, change: Change, guard: Guard) -> None:
        """Turn a knob; see :class:`ServingKnobs`."""
        if self._knobs is None:
            super().write(change, guard)
        else:
            self._knobs.write(change, guard)

    def _facts(self, deadline: float) -> ServingFacts:
        content = self._source.get("/models", deadline)
        try:
            facts = ServingFacts.model_validate_json(content)
        except ValidationError as error:
            raise self._source.unusable("its answer to /models is not a predictor's") from error
        self._models = sorted(facts.models)
        return facts

    def _with_workers(self, facts: ServingFacts, page: Page) -> ServingFacts:
        """Add what only all workers together tell: any of them answers for itself alone."""
        seen = _per_arm(page)
        models = {
            name: model.model_copy(
                update={
                    "arms": tuple(
                        arm.model_copy(update=_together(seen.get((name, str(arm.version)), {})))
                        for arm in model.arms
                    )
                }
            )
            for name, model in facts.models.items()
        }
        folder = self._traffic
        here = folder if folder is not None and folder.is_dir() else None
        return facts.model_copy(update={"models": models, "traffic_folder": here})


def _per_arm(page: Page) -> dict[Scope, dict[str, list[float]]]:
    """The values of all workers, by version and metric."""
    seen: dict[Scope, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, labels, value in page.samples:
        if name in _PER_ARM and math.isfinite(value):
            seen[_scopes(labels)[-1]][name].append(value)
    return seen


def _together(seen: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """What the values of all workers say of a version."""
    found: dict[str, object] = {}
    if _IDLE in seen:
        found["idle_seconds"] = min(seen[_IDLE])
    if _LOADED in seen:
        found["loaded"] = any(seen[_LOADED])
    if _REQUESTS in seen:
        found["requests"] = int(sum(seen[_REQUESTS]))
    return found


def _add_gauges(readings: Readings, page: Page) -> None:
    sums: dict[tuple[str, Scope], float] = defaultdict(float)
    for name, labels, value in page.samples:
        if name in _GAUGES:
            for scope in _scopes(labels):
                sums[name, scope] += value
    for (name, scope), value in sums.items():
        metric = name.removeprefix(_PREFIX)
        if metric == "worker_memory_bytes":
            readings.add("memory_mb", value / _MEGABYTE, "MB")
        else:
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
    if scope is None and "worker_cpu_seconds_total" in gains:
        percent = gains["worker_cpu_seconds_total"] / seconds * 100.0
        readings.add("worker_cpu_percent", percent, "%")


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
