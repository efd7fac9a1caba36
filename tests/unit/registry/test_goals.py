"""Goals: present values, progress and the weighted score."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_records import Direction, Goal, GoalProgress, Observation
from registry.goals import current_value, measure_goals, performance_score

NOW = 1000.0
LATENCY = Goal("latency", "inference_latency_ms", 75.0, Direction.MINIMIZE, 1.0)
HITS = Goal("hits", "cache_hit_rate", 0.9, Direction.MAXIMIZE, 0.8)


def seen(
    metric: str, value: float, at: float = NOW, target: str = "s", **labels: str
) -> Observation:
    return Observation(target, metric, value, at, "", tuple(sorted(labels.items())))


def history(*observations: Observation) -> dict[tuple[str, str], list[Observation]]:
    found: dict[tuple[str, str], list[Observation]] = {}
    for one in observations:
        found.setdefault((one.target, one.metric), []).append(one)
    return found


def test_progress_and_score_of_known_goals() -> None:
    known = history(seen("inference_latency_ms", 100.0), seen("cache_hit_rate", 0.95))
    latency, hits = measure_goals([LATENCY, HITS], known, NOW)
    assert (latency.current, latency.achieved, latency.progress) == (100.0, False, 0.75)
    assert (hits.current, hits.achieved, hits.progress) == (0.95, True, 1.0)
    assert performance_score([latency, hits]) == pytest.approx(100 * (0.75 + 0.8) / 1.8)


def test_a_goal_without_a_value_counts_neither_way() -> None:
    known = history(seen("inference_latency_ms", 150.0))
    latency, hits = measure_goals([LATENCY, HITS], known, NOW)
    assert (hits.current, hits.achieved, hits.progress) == (None, False, None)
    assert performance_score([latency, hits]) == pytest.approx(50.0)
    assert performance_score([hits]) is None
    assert performance_score([]) is None


def test_old_and_future_values_say_nothing_of_now() -> None:
    metric = "inference_latency_ms"
    assert current_value([seen(metric, 5.0, NOW - 301), seen(metric, 6.0, NOW + 1)], NOW) is None
    assert current_value([seen(metric, 5.0, NOW - 200), seen(metric, 6.0, NOW - 100)], NOW) == 6.0


def test_the_value_of_the_whole_target_comes_before_those_of_its_parts() -> None:
    parts = [seen("m", 1.0, model="a"), seen("m", 3.0, model="b"), seen("m", 9.0, NOW - 30)]
    assert current_value(parts, NOW) == 9.0
    assert current_value(parts[:2], NOW) == 2.0
    assert current_value([*parts[:2], seen("m", 6.0, target="other")], NOW) == 4.0


@given(
    current=st.floats(allow_nan=False, allow_infinity=False),
    wanted=st.floats(allow_nan=False, allow_infinity=False),
    weight=st.floats(min_value=0.001, max_value=1000.0),
    direction=st.sampled_from(Direction),
)
def test_the_score_is_a_number_from_0_to_100(
    current: float, wanted: float, weight: float, direction: Direction
) -> None:
    goal = Goal("g", "m", wanted, direction, weight)
    score = performance_score([GoalProgress.of(goal, current)])
    assert score is not None
    assert 0.0 <= score <= 100.0
