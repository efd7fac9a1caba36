"""Findings: dead, slow and lying targets, passed limits, missed goals, unusual metrics."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from optimizers.anomaly import unusual
from optimizers.detection import find_past_limits, find_troubles, find_unusual
from optimizers.view import View
from registry.agent_records import (
    Direction,
    Goal,
    GoalProgress,
    Observation,
    Severity,
    TargetHealth,
)

NOW = 100_000.0
TIMEOUT_S = 5.0


def series(target: str, metric: str, values: Sequence[float], **labels: str) -> list[Observation]:
    """One value every 30 s, the last one now."""
    named = tuple(sorted(labels.items()))
    first = NOW - 30.0 * (len(values) - 1)
    return [
        Observation(target, metric, value, first + 30.0 * place, "", named)
        for place, value in enumerate(values)
    ]


def view(*observations: Observation, health: TargetHealth | None = None) -> View:
    history: dict[tuple[str, str], list[Observation]] = {}
    for one in sorted(observations, key=lambda seen: (seen.at, not seen.labels)):
        history.setdefault((one.target, one.metric), []).append(one)
    return View(NOW, history, {} if health is None else {health.target: health})


def test_a_healthy_quiet_world_gives_no_finding() -> None:
    well = TargetHealth("host", ok=True, at=NOW, seconds=0.01)
    calm = series("host", "cpu_percent", [20.0] * 120)
    assert find_troubles(view(*calm, health=well), {}, TIMEOUT_S) == []
    assert find_troubles(View(NOW), {}, TIMEOUT_S) == []


def test_a_dead_target_is_a_finding_and_gets_critical_when_it_stays_dead() -> None:
    dead = TargetHealth("serving", ok=False, at=NOW, seconds=5.0, reason="it does not answer")
    just_now = series("serving", "throughput_rps", [3.0])
    [found] = find_troubles(view(*just_now, health=dead), {}, TIMEOUT_S)
    assert (found.rule, found.severity) == ("target_dead", Severity.WARNING)
    assert "does not answer" in found.text
    [later] = find_troubles(replace(view(*just_now, health=dead), at=NOW + 600), {}, TIMEOUT_S)
    assert (later.id, later.severity) == (found.id, Severity.CRITICAL)
    [never] = find_troubles(view(health=dead), {}, TIMEOUT_S)
    assert never.severity is Severity.CRITICAL


def test_slow_and_lying_targets_are_findings() -> None:
    slow = TargetHealth("mlflow", ok=True, at=NOW, seconds=2.6)
    told = {"mlflow": [f"metric {number} is nan" for number in range(5)]}
    found = find_troubles(view(health=slow), told, TIMEOUT_S)
    assert [one.rule for one in found] == ["target_slow", "target_lying"]
    assert "and 2 more" in found[1].text


@pytest.mark.parametrize(
    ("metric", "values", "severity"),
    [
        ("cpu_percent", [84.0] * 10, None),
        ("cpu_percent", [99.0] * 2, None),
        ("cpu_percent", [90.0] * 10, Severity.WARNING),
        ("cpu_percent", [20.0] * 8 + [99.0] * 3, None),
        ("disk_percent", [96.0] * 10, Severity.CRITICAL),
    ],
)
def test_a_limit_is_passed_by_the_median_of_five_minutes(
    metric: str, values: list[float], severity: Severity | None
) -> None:
    found = find_past_limits(view(*series("host", metric, values)))
    assert [one.severity for one in found] == ([] if severity is None else [severity])


def test_a_share_below_its_limit_and_parts_without_a_whole_are_found() -> None:
    rare = series("serving", "cache_hit_rate", [0.4] * 10, model="a", version="1")
    fine = series("serving", "cache_hit_rate", [0.9] * 10, model="b", version="1")
    [found] = find_past_limits(view(*rare, *fine))
    assert found.subject == "cache_hit_rate{model=a,version=1}"
    assert found.metrics == {"cache_hit_rate": 0.4, "limit": 0.7}
    whole = series("serving", "cache_hit_rate", [0.8] * 10)
    assert find_past_limits(view(*rare, *fine, *whole)) == []


def test_a_missed_goal_is_a_finding_and_one_without_a_value_is_not() -> None:
    goal = Goal("latency", "inference_latency_ms", 75.0, Direction.MINIMIZE)
    for current, count in ((82.0, 1), (70.0, 0), (None, 0)):
        goals = [GoalProgress.of(goal, current)]
        found = find_troubles(View(NOW, goals=goals), {}, TIMEOUT_S)
        assert len(found) == count
    [missed] = find_troubles(View(NOW, goals=[GoalProgress.of(goal, 82.0)]), {}, TIMEOUT_S)
    assert missed.metrics == {"current": 82.0, "target": 75.0}


def test_a_metric_that_left_its_last_hour_is_unusual() -> None:
    noise = random.Random(1)
    usual = [noise.gauss(50, 3) for _ in range(110)]
    assert find_unusual(view(*series("host", "m", usual))) == []
    [found] = find_unusual(view(*series("host", "m", usual + [120.0] * 11)))
    assert (found.rule, found.subject, found.severity) == ("unusual", "m", Severity.INFO)
    assert found.metrics["m"] == 120.0
    parts = series("host", "m", usual + [120.0] * 11, core="1")
    assert find_unusual(view(*parts)) == []


def test_steady_values_bursts_and_few_samples_are_not_unusual() -> None:
    def judge(values: Sequence[float]) -> object:
        return unusual([(one.at, one.value) for one in series("t", "m", values)], NOW)

    assert judge([5.0] * 110 + [5.5] * 11) is None
    assert judge(([0.0] * 9 + [900.0]) * 11 + [900.0] * 11) is None
    assert judge([1.0] * 20 + [9.0] * 11) is None
    assert judge([1.0] * 110 + [9.0] * 11) is not None


def test_heavy_tailed_noise_is_seldom_unusual() -> None:
    """Ten days of independent log-normal noise: a false alarm a day at most."""
    noise = random.Random(9)
    values = [noise.lognormvariate(3, 1) for _ in range(10 * 2880)]
    points = [(30.0 * place, value) for place, value in enumerate(values)]
    alarms = sum(
        unusual(points[max(0, end - 140) : end], points[end - 1][0]) is not None
        for end in range(140, len(points), 10)
    )
    assert alarms <= 10


def test_the_same_cause_gives_the_same_id() -> None:
    high = view(*series("host", "cpu_percent", [90.0] * 10))
    later = replace(high, at=NOW + 30)
    assert [one.id for one in find_past_limits(high)] == [one.id for one in find_past_limits(later)]
