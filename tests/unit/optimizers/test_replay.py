"""Replays: the live engine over what was seen, with other settings, and no effect anywhere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from config.errors import InputError
from config.settings import (
    AgentSettings,
    MonitoringSettings,
    SafetySettings,
    Settings,
    ThresholdSettings,
)
from optimizers.recorded import Recording
from optimizers.replay import ReplayResult, replay
from optimizers.view import View
from registry.agent_records import Finding, Observation, Priority, Proposal
from tests.services.agent_samples import NOON, SampleCapability, proposal

CPU = ("host", "cpu_percent")
HOUR = 3600.0
PLAIN = proposal(finding_ids=("finding-1",))


def seen(*hot: tuple[float, float], hours: float = 6.0) -> dict[tuple[str, str], list[Observation]]:
    """A reading a minute: 95 % within the given spans of hours, else 20 %."""
    readings = []
    for minute in range(int(hours * 60)):
        at = NOON + 60.0 * minute
        high = any(first <= minute / 60 < last for first, last in hot)
        readings.append(Observation("host", "cpu_percent", 95.0 if high else 20.0, at))
    return {CPU: readings}


def watching(*proposals: Proposal) -> SampleCapability:
    return SampleCapability(proposals or (PLAIN,), target="host", metric="cpu_percent", limit=85.0)


def replayed(
    history: dict[tuple[str, str], list[Observation]],
    capability: SampleCapability | None = None,
    settings: Settings | None = None,
    start: View | None = None,
) -> ReplayResult:
    return replay(
        history,
        [capability or watching()],
        settings or Settings(),
        since=NOON,
        until=NOON + 6 * HOUR,
        start=start,
    )


def test_nothing_seen_nothing_done() -> None:
    result = replayed({})
    assert (result.cycles, result.would, result.findings) == (73, (), {})


def test_each_cause_gives_one_action_however_long_it_lasts() -> None:
    result = replayed(seen((1.0, 2.0), (4.0, 4.2)))
    assert [(one.at - NOON) / HOUR for one in result.would] == [1.0, 4.0]
    assert result.would[0].again > 3
    assert result.findings == {"sample": 12 + 3}


def test_other_settings_give_another_answer() -> None:
    history = seen((1.0, 2.0))
    strict = Settings(thresholds=ThresholdSettings(min_improvement_threshold=0.2))
    assert len(replayed(history).would) == 1
    result = replayed(history, settings=strict)
    assert result.would == ()
    assert result.left_out == {"refused": 12}
    (one,) = result.not_done
    assert (one.again, one.explanation.outcome) == (11, "refused")
    assert "does not reach the least of 20 %" in one.to_text()


def test_what_is_being_done_already_is_not_told_as_left_out() -> None:
    settings = Settings(agent=AgentSettings(settle_seconds=900.0, cooldown_seconds=0.0))
    result = replayed(seen((1.0, 1.2)), settings=settings)
    assert result.left_out == {"known": 2}
    assert result.not_done == ()


def test_nothing_is_seen_before_it_happened() -> None:
    looks: list[float] = []

    class Looking(SampleCapability):
        def detect(self, view: View) -> list[Finding]:
            looks.extend(view.at - one.at for one in view.history.get(CPU, ()))
            return []

    replayed(seen((1.0, 2.0)), Looking([]))
    assert min(looks) == 0.0
    assert max(looks) == HOUR


def test_goals_and_findings_are_those_of_the_time() -> None:
    views: list[View] = []

    class Looking(SampleCapability):
        def detect(self, view: View) -> list[Finding]:
            views.append(view)
            return []

    latency = ("serving", "inference_latency_ms")
    slow = [Observation(*latency, 150.0, NOON + 60.0 * minute) for minute in range(60)]
    replayed({**seen((1.0, 2.0)), latency: slow}, Looking([]))
    by_hour = {(view.at - NOON) / HOUR: view for view in views}
    assert by_hour[0.5].score == pytest.approx(50.0)
    assert {one.target for one in by_hour[0.5].findings} >= {"goals"}
    assert by_hour[3.0].score is None
    assert any(one.target == "host" for one in by_hour[1.5].findings)
    assert by_hour[3.0].findings == []


def test_limits_are_lived_through() -> None:
    one_an_hour = Settings(agent=AgentSettings(changes_per_hour=1, cooldown_seconds=0.0))
    history = seen((0.0, 0.1), (0.25, 0.35), (2.0, 2.1))
    result = replayed(history, settings=one_an_hour)
    assert [(one.at - NOON) / HOUR for one in result.would] == [0.0, 2.0]
    assert result.left_out["budget"] >= 1


def test_what_waits_for_a_person_waits_until_it_expires() -> None:
    critical = watching(replace(PLAIN, priority=Priority.CRITICAL))
    settings = Settings(agent=AgentSettings(approval_expires_seconds=HOUR))
    result = replayed(seen((0.0, 0.2), (0.5, 0.6), (3.0, 3.1)), critical, settings)
    assert [(one.at - NOON) / HOUR for one in result.would] == [0.0, 3.0]
    assert {one.explanation.outcome for one in result.would} == {"waiting_approval"}


def test_simulation_mode_shows_what_would_have_been_done() -> None:
    settings = Settings(safety=SafetySettings(simulation_mode=True))
    result = replayed(seen((1.0, 2.0)), settings=settings)
    assert [one.explanation.outcome for one in result.would] == ["scheduled"]


def test_declined_advice_stays_declined() -> None:
    start = View(at=NOON, declined={PLAIN.advice_id: 0.2})
    assert replayed(seen((1.0, 2.0)), start=start).would == ()


def test_a_replay_gives_the_same_every_time_and_as_json() -> None:
    first, second = (replayed(seen((1.0, 2.0))) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first.to_dict(), allow_nan=False))["would"][0]["again"] > 3
    assert "cycles 73, actions 1" in first.to_text()
    assert "times more while it lasted" in first.to_text()


def test_a_span_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="before it begins"):
        replay({}, [], Settings(), since=NOON, until=NOON - 1)
    fast = Settings(monitoring=MonitoringSettings(optimization_interval_seconds=1.0))
    with pytest.raises(InputError, match="shorter span"):
        replay({}, [], fast, since=NOON, until=NOON + 10_000_000.0)


def test_a_recording_knows_its_span_and_puts_readings_in_order() -> None:
    assert Recording({}).span is None
    mixed = {CPU: [Observation(*CPU, 2.0, NOON + 5), Observation(*CPU, 1.0, NOON)]}
    recording = Recording(mixed)
    assert recording.span == (NOON, NOON + 5)
    window = recording.window(NOON + 4, 10.0)
    assert [one.value for one in window[CPU]] == [1.0]
    assert (len(window), list(window)) == (1, [CPU])
