"""Steering the agent: the kill switch, goals, held knobs and declined advice."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock, epoch
from config.errors import ConflictError, InputError, StaleToken
from config.paths import Home
from registry.agent_actions import ActionStore
from registry.agent_control import ControlStore
from registry.agent_records import ActionState, Direction, Goal
from registry.ledger.events import EventLog
from tests.unit.registry.agent_samples import NO_LIMITS, action


@pytest.fixture
def control(ledger: Engine, clock: ManualClock) -> ControlStore:
    return ControlStore(ledger, clock)


def test_a_paused_agent_starts_nothing(
    control: ControlStore, ledger: Engine, clock: ManualClock
) -> None:
    actions = ActionStore(ledger, clock)
    one = actions.propose(action("a"))
    assert not control.paused().paused
    state = control.pause("maria", "release day")
    assert control.paused() == state
    assert (state.by, state.reason, state.at) == ("maria", "release day", epoch(clock.now()))
    with pytest.raises(ConflictError, match="paused"):
        actions.begin(one, NO_LIMITS)
    control.resume("maria")
    assert not control.paused().paused
    assert actions.begin(one, NO_LIMITS).state is ActionState.INTENT


def test_pausing_twice_is_pausing_once(
    control: ControlStore, ledger: Engine, clock: ManualClock
) -> None:
    first = control.pause("maria", "release day")
    clock.advance(5)
    assert control.pause("otto", "me too") == first
    control.resume("otto")
    control.resume("otto")
    assert [entry.kind for entry in EventLog(ledger, clock).list()] == ["paused", "resumed"]


def test_the_pause_file_pauses_until_somebody_resumes(
    control: ControlStore, tmp_path: Path
) -> None:
    file = Home(tmp_path).create().pause_file
    assert not control.paused(file).paused
    file.write_text("power cut at noon\n")
    state = control.paused(file)
    assert (state.paused, state.by, state.reason) == (True, "file", "power cut at noon")
    assert state.at is not None
    control.resume("maria", file)
    assert not file.exists()
    assert not control.paused(file).paused


def test_a_pause_file_that_cannot_be_read_pauses(control: ControlStore, tmp_path: Path) -> None:
    (tmp_path / "PAUSE").mkdir()
    assert control.paused(tmp_path / "PAUSE").paused
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert control.paused(tmp_path / "loop").paused


def test_goals_come_from_the_settings_until_they_are_changed(control: ControlStore) -> None:
    default = (Goal("latency", "inference_latency_ms", 75.0, Direction.MINIMIZE),)
    assert control.goals(default) == default
    changed = (Goal("hits", "cache_hit_rate", 0.9, Direction.MAXIMIZE, 0.8),)
    control.set_goals(changed, "maria")
    assert control.goals(default) == changed
    control.set_goals((), "maria")
    assert control.goals(default) == ()
    with pytest.raises(InputError, match="same id"):
        control.set_goals(default * 2, "maria")


def test_facts_are_kept_with_who_and_when(
    control: ControlStore, ledger: Engine, clock: ManualClock
) -> None:
    assert control.fact("beat") is None
    control.set_fact("beat", {"state": "monitoring", "loops": [1, None]}, "agent-1")
    control.set_fact("beat", {"state": "idle"}, "agent-2")
    fact = control.fact("beat")
    assert fact is not None
    assert (fact.value, fact.by, fact.at) == ({"state": "idle"}, "agent-2", epoch(clock.now()))
    assert EventLog(ledger, clock).list() == []


def test_a_held_knob_is_held_once_until_it_is_released(
    control: ControlStore, ledger: Engine, clock: ManualClock
) -> None:
    control.hold_knob("host", "sysctl:a", "maria turned it")
    control.hold_knob("host", "sysctl:a", "again")
    assert control.held() == {("host", "sysctl:a"): "maria turned it"}
    assert control.release_knob("host", "sysctl:a", "maria")
    assert not control.release_knob("host", "sysctl:a", "maria")
    assert control.held() == {}
    assert [entry.body["held"] for entry in EventLog(ledger, clock).list(kind="knob_held")] == [
        True,
        False,
    ]


def test_declined_advice_is_remembered_with_its_gain(control: ControlStore) -> None:
    assert control.declined("advice-1") is None
    control.decline("advice-1", 0.1, "maria")
    control.decline("advice-1", 0.2, "maria")
    control.decline("advice-2", 0.3, "otto")
    assert control.declined("advice-1") == 0.2
    assert control.all_declined() == {"advice-1": 0.2, "advice-2": 0.3}


def test_who_has_lost_an_action_holds_no_knob_for_it(
    control: ControlStore, ledger: Engine, clock: ManualClock
) -> None:
    actions = ActionStore(ledger, clock)
    slow = actions.claim(actions.propose(action("a")).id, "slow", 30.0)
    clock.advance(60.0)
    owner = actions.claim(slow.id, "its next holder", 30.0)
    with pytest.raises(StaleToken, match="its next holder"):
        control.hold_knob("host", "sysctl:a", "another hand turned it", found_by=slow)
    assert control.held() == {}
    control.hold_knob("host", "sysctl:a", "another hand turned it", found_by=owner)
    assert control.held() == {("host", "sysctl:a"): "another hand turned it"}
