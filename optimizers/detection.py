"""Findings from what was seen at any target: dead, slow or lying; past a limit; unusual. Pure.

A finding's id is the same for the same rule, target and subject, so a trouble that lasts is one
finding. Nothing is found in missing data but its absence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from optimizers.anomaly import Unusual, unusual
from optimizers.view import View
from registry.agent_records import Finding, GoalProgress, Observation, Severity, TargetHealth
from registry.metric_names import Labels

_LIMIT_WINDOW_S = 300.0
_LIMIT_SAMPLES = 3
_SILENT_S = 180.0
_MAX_ANOMALIES = 20
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric that should stay below (or above) a value.

    Attributes:
        over: found when the median of the last five minutes is above this.
        under: found when it is below this.
        critical: from here on the finding is critical.
    """

    target: str
    metric: str
    text: str
    over: float | None = None
    under: float | None = None
    critical: float | None = None


# Processor, memory, disk, latency and cache as the specification's tables have them.
LIMITS = (
    Limit("host", "cpu_percent", "the processor is busy", over=85.0),
    Limit("host", "memory_percent", "memory is short", over=85.0, critical=97.0),
    Limit("host", "swap_percent", "swap space is filling up", over=80.0),
    Limit("host", "disk_percent", "the disk is filling up", over=85.0, critical=95.0),
    Limit("host", "temperature_celsius", "the machine is hot", over=90.0),
    Limit("host", "psi_memory_full_percent", "work stands still for want of memory", over=10.0),
    Limit("host", "psi_io_full_percent", "work stands still for want of the disks", over=40.0),
    Limit("serving", "inference_latency_ms", "answers are slow", over=100.0),
    Limit("serving", "error_rate", "requests fail", over=0.01, critical=0.1),
    Limit("serving", "cache_hit_rate", "the cache seldom helps", under=0.7),
    Limit("serving", "queue_refused_rps", "requests are refused, the queue is full", over=0.0),
    Limit("serving", "models_with_problems", "a wanted version cannot be served", over=0.0),
    Limit("serving", "stale_sources", "the predictor cannot read all of its sources", over=0.0),
    Limit("prefect", "flow_runs_late", "flow runs start late", over=0.0),
    Limit("prefect", "workers_online", "no worker carries out flow runs", under=1.0),
)


def find_troubles(
    view: View,
    troubles: Mapping[str, Sequence[str]],
    timeout_s: float,
    limits: Sequence[Limit] = LIMITS,
) -> list[Finding]:
    """Return everything that is found in one look.

    Args:
        view: what is known.
        troubles: what did not work although a target answered, by target.
        timeout_s: longest time of one look at a target, seconds; half of it is slow.
        limits: metrics and the values they should keep to.
    """
    return [
        *find_unwell(view, troubles, timeout_s),
        *find_past_limits(view, limits),
        *find_missed_goals(view.goals, view.at),
        *find_unusual(view),
    ]


def find_unwell(
    view: View, troubles: Mapping[str, Sequence[str]], timeout_s: float
) -> list[Finding]:
    """Return the targets that do not answer, answer slowly, or tell what cannot be."""
    found = []
    for target, health in sorted(view.health.items()):
        if not health.ok:
            found.append(_dead(view, health))
        elif health.seconds > timeout_s / 2:
            text = f"{target} took {health.seconds:.1f} s to answer, of {timeout_s:g} s it has"
            metrics = {"seconds": health.seconds}
            found.append(_finding(("target_slow", target, ""), text, health.at, metrics=metrics))
        told = troubles.get(target, ())
        if told:
            more = f" (and {len(told) - _SHOWN} more)" if len(told) > _SHOWN else ""
            text = f"{target} is not to be trusted: {'; '.join(told[:_SHOWN])}{more}"
            found.append(_finding(("target_lying", target, ""), text, view.at))
    return found


def find_past_limits(view: View, limits: Sequence[Limit] = LIMITS) -> list[Finding]:
    """Return the metrics whose median of the last five minutes is past their limit."""
    found = []
    for limit in limits:
        recent = view.recent(limit.target, limit.metric, _LIMIT_WINDOW_S)
        for labels, values in _by_labels(recent, view.at).items():
            if len(values) < _LIMIT_SAMPLES:
                continue
            finding = _past(limit, labels, median(values), view.at)
            if finding is not None:
                found.append(finding)
    return found


def find_missed_goals(goals: Sequence[GoalProgress], at: float) -> list[Finding]:
    """Return the goals that have a value and do not reach their target."""
    return [
        _finding(
            ("goal_missed", "goals", one.goal.goal_id),
            f"{one.goal.metric_name} is {one.current:g}, the goal is {one.goal.target_value:g}",
            at,
            severity=Severity.INFO,
            metrics={"current": one.current, "target": one.goal.target_value},
        )
        for one in goals
        if one.current is not None and not one.achieved
    ]


def find_unusual(view: View) -> list[Finding]:
    """Return the metrics that are now unlike their last hour, the most unusual first."""
    found: list[tuple[Unusual, str, str]] = []
    for (target, metric), observations in view.history.items():
        whole = [one for one in observations if not one.labels and one.at <= view.at]
        seen = unusual([(one.at, one.value) for one in whole], view.at)
        if seen is not None:
            found.append((seen, target, metric))
    found.sort(key=lambda one: (-one[0].distance, one[1], one[2]))
    return [_odd(*one, view.at) for one in found[:_MAX_ANOMALIES]]


def _dead(view: View, health: TargetHealth) -> Finding:
    last = max(
        (one[-1].at for (name, _), one in view.history.items() if name == health.target and one),
        default=None,
    )
    silent = last is None or view.at - last > _SILENT_S
    return _finding(
        ("target_dead", health.target, ""),
        f"{health.target} does not answer: {health.reason}",
        health.at,
        severity=Severity.CRITICAL if silent else Severity.WARNING,
        metrics={} if last is None else {"silent_seconds": max(0.0, view.at - last)},
    )


def _past(limit: Limit, labels: Labels, value: float, at: float) -> Finding | None:
    if limit.over is not None and value > limit.over:
        words, bound = "above", limit.over
    elif limit.under is not None and value < limit.under:
        words, bound = "below", limit.under
    else:
        return None
    subject = _subject(limit.metric, labels)
    critical = limit.critical is not None and value >= limit.critical
    return _finding(
        ("limit", limit.target, subject),
        f"{limit.text}: {subject} is {value:.4g}, {words} {bound:g}",
        at,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        metrics={limit.metric: value, "limit": bound},
    )


def _odd(seen: Unusual, target: str, metric: str, at: float) -> Finding:
    return _finding(
        ("unusual", target, metric),
        f"{metric} of {target} is {seen.recent:.4g}; in the last hour it was {seen.usual:.4g}, "
        f"between {seen.lowest:.4g} and {seen.highest:.4g}",
        at,
        severity=Severity.INFO,
        metrics={metric: seen.recent, "usual": seen.usual, "distance": seen.distance},
    )


def _by_labels(observations: Sequence[Observation], until: float) -> dict[Labels, list[float]]:
    """The values of each series; those of the whole target alone where it gives them."""
    found: dict[Labels, list[float]] = defaultdict(list)
    for one in observations:
        if one.at <= until:
            found[one.labels].append(one.value)
    return {(): found[()]} if () in found else dict(found)


def _subject(metric: str, labels: Labels) -> str:
    inside = ",".join(f"{name}={held}" for name, held in labels)
    return f"{metric}{{{inside}}}" if inside else metric


def _finding(
    what: tuple[str, str, str],
    text: str,
    at: float,
    *,
    severity: Severity = Severity.WARNING,
    metrics: Mapping[str, float] | None = None,
) -> Finding:
    """A finding of a rule at a target about a subject, which may be empty."""
    rule, target, subject = what
    name = ":".join(part for part in what if part)
    return Finding(name, rule, target, subject, severity, text, at, dict(metrics or {}))
