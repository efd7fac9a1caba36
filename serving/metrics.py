"""The Prometheus page, written from plain counters so that counting costs the data path nothing.

Each worker has its own series, labelled `worker`; every scrape gives the series of all workers of
this service, whichever worker answers it. A worker's own numbers are current; those of the others
are the ones they wrote at their last flush, at most a second or so old. A worker that ended is left
out.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from time import perf_counter, process_time

from registry.sketch import RELATIVE_ERROR
from registry.workers import samples_path
from serving.plans import Arm
from serving.state import ServingState
from serving.tally import Tally

_PREFIX = "prime_spark_"
_SUFFIX = ".prom"
# Bucket i of the sketch ends at gamma**i ms: these bounds are exact, about 0.5 ms to 16 s.
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_EDGES = tuple(range(-35, 491, 35))
_HELP = {
    "requests_total": ("counter", "Requests by the arm that was chosen for them."),
    "request_errors_total": ("counter", "Requests their arm failed to answer."),
    "requests_over_objective_total": ("counter", "Requests slower than the latency objective."),
    "request_latency_seconds": ("histogram", "Time from the request's head to its outputs."),
    "model_runs_total": ("counter", "Runs of the model; one run may answer several requests."),
    "model_rows_total": ("counter", "Rows the model has run over."),
    "batched_requests_total": ("counter", "Requests that shared a run with others."),
    "queue_refused_total": ("counter", "Requests refused because the queue was full."),
    "queue_expired_total": ("counter", "Requests that waited longer than the time limit."),
    "queue_length": ("gauge", "Requests waiting for a run."),
    "cache_hits_total": ("counter", "Requests answered from the prediction cache."),
    "cache_misses_total": ("counter", "Requests the prediction cache could not answer."),
    "cache_entries": ("gauge", "Answers in the prediction cache."),
    "cache_bytes": ("gauge", "Bytes in the prediction cache."),
    "served_version": ("gauge", "The version that serves, by variant."),
    "split_weight": ("gauge", "The challenger's share of the traffic."),
    "problem": ("gauge", "1 where a wanted version cannot be served; see /models."),
    "source_stale": ("gauge", "1 while a source does not answer and its last values are kept."),
    "model_loaded": ("gauge", "1 where a served version is in memory."),
    "model_idle_seconds": ("gauge", "Time since a version's last request."),
    "models_idle": ("gauge", "Served versions that leave memory until somebody asks for them."),
    "model_loads_total": ("counter", "Sessions made."),
    "model_unloads_total": ("counter", "Times an idle version left memory."),
    "worker_memory_bytes": ("gauge", "Memory that is the worker's alone (unique set)."),
    "worker_cpu_seconds_total": ("counter", "Processor time of the worker."),
    "plan_changes_total": ("counter", "Times a model's plan was replaced."),
    "http_refused_total": ("counter", "Requests answered with an error, by status."),
    "feedback_items_total": ("counter", "Feedback items, by what became of them."),
    "shadow_scored_total": ("counter", "Copies scored by a shadow version."),
    "shadow_dropped_total": ("counter", "Copies dropped because the shadow was busy."),
    "flush_failures_total": ("counter", "Times the ledger did not take the counts."),
    "windows_lost_total": ("counter", "Exposure windows given up in a long outage."),
    "worker_accepting": ("gauge", "1 for a worker that takes requests, 0 while it drains."),
}


class Samples:
    """Lines of the text format, by metric."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._lines: dict[str, list[str]] = {}

    def add(
        self,
        metric: str,
        value: float,
        labels: Mapping[str, str] | None = None,
        *,
        suffix: str = "",
    ) -> None:
        """Add one sample; `suffix` is for the parts of a histogram."""
        everything = {"worker": self._worker, **(labels or {})}
        text = ",".join(f'{name}="{_escaped(held)}"' for name, held in everything.items())
        number = repr(float(value)) if isinstance(value, float) else str(value)
        line = f"{_PREFIX}{metric}{suffix}{{{text}}} {number}"
        self._lines.setdefault(metric, []).append(line)

    @property
    def text(self) -> str:
        """All samples, in the order of `_HELP`."""
        return "\n".join(line for name in _HELP for line in self._lines.get(name, ()))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def sample(state: ServingState, worker: str) -> str:
    """Return one worker's samples."""
    samples = Samples(worker)
    for tally in state.tallies:
        _of_tally(samples, tally)
    seen: set[int] = set()
    for model, plan in state.plans.items():
        samples.add("split_weight", plan.weight, {"model": model})
        for arm in plan.arms:
            samples.add("served_version", arm.tally.version, _arm_labels(arm))
            if id(arm.loaded) not in seen:
                seen.add(id(arm.loaded))
                _of_model(samples, model, arm)
    _of_totals(samples, state)
    _of_process(samples, state)
    return samples.text


def _arm_labels(arm: Arm) -> dict[str, str]:
    return {"model": arm.tally.model, "variant": arm.variant.value}


def _of_tally(samples: Samples, tally: Tally) -> None:
    labels = {
        "model": tally.model,
        "version": str(tally.version),
        "variant": tally.variant.value,
        "experiment": tally.experiment_id or "",
    }
    samples.add("requests_total", tally.total_count, labels)
    samples.add("request_errors_total", tally.total_errors, labels)
    samples.add("requests_over_objective_total", tally.total_over, labels)
    metric = "request_latency_seconds"
    for edge, count in _cumulative(tally.total_sketch):
        bound = f"{_GAMMA**edge / 1000.0:.6g}"
        samples.add(metric, count, {**labels, "le": bound}, suffix="_bucket")
    samples.add(metric, tally.total_count, {**labels, "le": "+Inf"}, suffix="_bucket")
    samples.add(metric, tally.total_sum_ms / 1000.0, labels, suffix="_sum")
    samples.add(metric, tally.total_count, labels, suffix="_count")


def _cumulative(sketch: Mapping[int, int]) -> list[tuple[int, int]]:
    indexes = sorted(sketch)
    sums = [0, *accumulate(sketch[index] for index in indexes)]
    return [(edge, sums[bisect_right(indexes, edge)]) for edge in _EDGES]


def _of_model(samples: Samples, model: str, arm: Arm) -> None:
    labels = {"model": model, "version": arm.version_text}
    loaded = arm.loaded
    counts = loaded.batcher.counts
    samples.add("model_runs_total", counts.runs, labels)
    samples.add("model_rows_total", counts.rows, labels)
    samples.add("batched_requests_total", counts.joined, labels)
    samples.add("queue_refused_total", counts.refused, labels)
    samples.add("queue_expired_total", counts.expired, labels)
    samples.add("queue_length", loaded.batcher.queued, labels)
    samples.add("cache_hits_total", loaded.cache.counts.hits, labels)
    samples.add("cache_misses_total", loaded.cache.counts.misses, labels)
    samples.add("cache_entries", loaded.cache.entries, labels)
    samples.add("cache_bytes", loaded.cache.size_bytes, labels)
    samples.add("model_loaded", int(not loaded.asleep), labels)
    samples.add("model_idle_seconds", round(perf_counter() - loaded.used_at, 3), labels)


def _of_totals(samples: Samples, state: ServingState) -> None:
    totals = state.totals
    for model in state.problems:
        samples.add("problem", 1, {"model": model})
    for source in ("registry", "ledger", "alias history"):
        samples.add("source_stale", int(source in state.stale), {"source": source})
    samples.add("plan_changes_total", totals.swaps)
    for status, count in sorted(totals.refused.items()):
        samples.add("http_refused_total", count, {"status": str(status)})
    outcomes = {
        "accepted": totals.feedback_accepted,
        "duplicate": totals.feedback_duplicate,
        "refused": totals.feedback_refused,
    }
    for outcome, count in outcomes.items():
        samples.add("feedback_items_total", count, {"outcome": outcome})
    samples.add("shadow_scored_total", totals.shadow_scored)
    samples.add("shadow_dropped_total", totals.shadow_dropped)
    samples.add("flush_failures_total", totals.flush_failures)
    samples.add("windows_lost_total", totals.windows_lost)
    samples.add("worker_accepting", int(not state.draining))


def _of_process(samples: Samples, state: ServingState) -> None:
    arms = [arm for plan in state.plans.values() for arm in plan.arms]
    samples.add("models_idle", sum(arm.loaded.asleep for arm in arms))
    samples.add("model_loads_total", state.keeping.loads)
    samples.add("model_unloads_total", state.keeping.unloads)
    if state.memory_bytes is not None:
        samples.add("worker_memory_bytes", state.memory_bytes)
    samples.add("worker_cpu_seconds_total", process_time())


def page(texts: Iterable[str]) -> bytes:
    """Return the whole page from the samples of all workers, grouped by metric as the format asks.

    The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, 0.0.4).
    """
    groups: dict[str, list[str]] = {name: [] for name in _HELP}
    for text in texts:
        for line in text.splitlines():
            group = groups.get(_metric_of(line))
            if group is not None:
                group.append(line)
    parts: list[str] = []
    for name, lines in groups.items():
        if lines:
            kind, help_text = _HELP[name]
            parts += [f"# HELP {_PREFIX}{name} {help_text}", f"# TYPE {_PREFIX}{name} {kind}"]
            parts += lines
    return ("\n".join(parts) + "\n").encode()


def _metric_of(line: str) -> str:
    name = line.partition("{")[0].removeprefix(_PREFIX)
    if name in _HELP:
        return name
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return ""


class MetricsBoard:
    """Where the workers of one service leave their samples for each other."""

    def __init__(self, folder: Path, state: ServingState, worker: str) -> None:
        self._folder = folder
        self._state = state
        self._worker = worker
        self._mine = samples_path(folder, os.getpid())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def post(self) -> None:
        """Leave this worker's samples for the others."""
        draft = self._mine.with_suffix(".draft")
        with contextlib.suppress(OSError):
            draft.write_text(sample(self._state, self._worker), encoding="utf-8")
            draft.replace(self._mine)

    def withdraw(self) -> None:
        """Take this worker's samples away at its end."""
        with contextlib.suppress(OSError):
            self._mine.unlink()

    def read(self) -> bytes:
        """Return the page: this worker's samples as they are now, the others' as posted."""
        return page([sample(self._state, self._worker), *self._others()])

    def _others(self) -> list[str]:
        texts: list[str] = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path == self._mine:
                continue
            if not _alive(path.stem):
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            with contextlib.suppress(OSError, UnicodeDecodeError):
                texts.append(path.read_text(encoding="utf-8"))
        return texts


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
