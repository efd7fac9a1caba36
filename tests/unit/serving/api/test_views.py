"""What the API and the command line show, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from config.clock import ManualClock, epoch
from config.errors import InputError
from registry.agent_actions import ActionStore
from registry.agent_learning import LearningStore
from registry.agent_records import (
    Action,
    ActionState,
    Effect,
    Learned,
    Observation,
    StartLimits,
    TargetHealth,
    Verdict,
)
from serving.api import controls, measured, views, world_views
from serving.api.answers import ApproveQuestion, GoalQuestion
from serving.api.measured import Span
from serving.api.stores import AgentStores
from serving.api.views import NotFound
from tests.services.agent_api import proposed
from tests.services.agent_samples import finding

_ANY = StartLimits(100, 10_000, 10_000, 0.0)


def _ended(
    stores: AgentStores, clock: ManualClock, number: int, to: ActionState, gain: float | None
) -> Action:
    action = proposed(stores.engine, clock, number, ActionState.SCHEDULED)
    store = ActionStore(stores.engine, clock)
    action = store.begin(action, _ANY)
    verdict = Verdict.IMPROVED if to is ActionState.COMPLETED else Verdict.WORSE
    if to is ActionState.FAILED:
        return store.move(action, to, "the target refused")
    action = store.move(action, ActionState.APPLIED, "done")
    action = store.move(action, ActionState.VERIFYING, "measuring")
    effect = Effect(verdict, "measured", gain, gain, gain)
    if to is ActionState.COMPLETED:
        return store.move(action, to, "it helped", effect=effect)
    action = store.move(action, ActionState.ROLLING_BACK, "it got worse", effect=effect)
    return store.move(action, to, "put back")


def _beat(stores: AgentStores, clock: ManualClock, state: str = "monitoring") -> None:
    now = epoch(clock.now())
    value: JsonValue = {
        "agent": "agent-1",
        "state": state,
        "started_at": now - 3600.0,
        "loops": {"monitor": {"at": now, "seconds": 0.25}, "optimize": {"skipped": "paused"}},
        "pid": 42,
        "version": "1.0.0",
        "automatic": True,
        "simulation": True,
        "plugins_off": ["rain: it does not import"],
    }
    stores.control.set_fact("beat", value, "agent-1")


def test_without_an_agent_the_status_says_so(stores: AgentStores) -> None:
    status = views.status(stores)
    assert (status.state, status.uptime_seconds) == ("down", 0)
    assert "no agent has run" in views.agent(stores).reason


def test_a_living_agent_is_shown_with_its_loops(stores: AgentStores, clock: ManualClock) -> None:
    _beat(stores, clock)
    clock.advance(10.0)
    agent = views.agent(stores)
    assert (agent.up, agent.state, agent.uptime_seconds, agent.reason) == (
        True,
        "monitoring",
        3610,
        "",
    )
    assert (agent.agent_id, agent.pid, agent.version) == ("agent-1", 42, "1.0.0")
    assert agent.loops["monitor"].seconds == 0.25
    assert (agent.loops["optimize"].at, agent.loops["optimize"].skipped) == (None, "paused")


def test_the_settings_shown_are_the_agent_s_own(stores: AgentStores, clock: ManualClock) -> None:
    assert not views.agent(stores).simulation_mode
    _beat(stores, clock)
    agent = views.agent(stores)
    assert (agent.automatic_actions, agent.simulation_mode) == (True, True)
    assert agent.plugins_off == ["rain: it does not import"]


def test_an_agent_that_went_silent_is_down(stores: AgentStores, clock: ManualClock) -> None:
    _beat(stores, clock)
    clock.advance(31.0)
    agent = views.agent(stores)
    assert (agent.up, agent.state, agent.uptime_seconds) == (False, "down", 0)
    assert "no sign of life for 30 s" in agent.reason


def test_an_agent_that_was_stopped_is_down_at_once(stores: AgentStores, clock: ManualClock) -> None:
    _beat(stores, clock, "stopped")
    agent = views.agent(stores)
    assert (agent.up, agent.state) == (False, "down")
    assert "was stopped" in agent.reason


@pytest.mark.parametrize("value", [None, 3, [], "x", {"loops": 1, "pid": "x", "started_at": []}])
def test_a_beat_that_is_none_is_no_error(stores: AgentStores, value: object) -> None:
    stores.control.set_fact("beat", value, "somebody")  # type: ignore[arg-type]
    assert views.status(stores).uptime_seconds == 0


def test_a_paused_agent_says_who_paused_it(stores: AgentStores, clock: ManualClock) -> None:
    _beat(stores, clock)
    controls.pause(stores, by="anna", reason="release day")
    agent = views.agent(stores)
    assert (agent.state, agent.reason) == ("paused", "paused by anna: release day")
    assert not controls.resume(stores, by="anna").paused
    assert views.agent(stores).state == "monitoring"


def test_resuming_takes_the_pause_file_away(stores: AgentStores) -> None:
    stores.home.pause_file.write_text("by hand")
    assert views.paused(stores).reason == "by hand"
    assert not controls.resume(stores, by="anna").paused


def test_the_status_counts_actions_by_what_became_of_them(
    stores: AgentStores, clock: ManualClock
) -> None:
    proposed(stores.engine, clock, 1)
    proposed(stores.engine, clock, 2, ActionState.SCHEDULED)
    running = proposed(stores.engine, clock, 3, ActionState.SCHEDULED)
    stores.actions.begin(running, _ANY)
    _ended(stores, clock, 4, ActionState.COMPLETED, 0.12)
    _ended(stores, clock, 5, ActionState.COMPLETED, 0.08)
    _ended(stores, clock, 6, ActionState.ROLLED_BACK, -0.1)
    _ended(stores, clock, 7, ActionState.FAILED, None)
    status = views.status(stores)
    assert (status.pending_actions, status.active_actions, status.completed_actions) == (2, 1, 2)
    assert status.stats.model_dump() == {
        "total_actions": 4,
        "successful_actions": 2,
        "failed_actions": 2,
        "total_improvement": pytest.approx(0.2),
    }


def test_recent_actions_in_the_specifications_words(
    stores: AgentStores, clock: ManualClock
) -> None:
    _ended(stores, clock, 1, ActionState.COMPLETED, 0.12)
    clock.advance(1.0)
    _ended(stores, clock, 2, ActionState.FAILED, None)
    clock.advance(1.0)
    proposed(stores.engine, clock, 3)
    waiting, failed, done = (
        one.model_dump(mode="json") for one in views.recent_actions(stores, 10)
    )
    assert done == {
        "action_id": "action-1",
        "type": "cache_resize",
        "description": "Enlarge the prediction cache",
        "status": "completed",
        "executed_at": "2025-06-01T12:00:00Z",
        "result": {"success": True, "actual_improvement": 0.12},
    }
    assert failed["result"] == {
        "success": False,
        "actual_improvement": None,
        "error": "the target refused",
    }
    assert (waiting["executed_at"], waiting["result"]) == (None, None)


def test_actions_come_in_pages_that_miss_nothing(stores: AgentStores, clock: ManualClock) -> None:
    for number in range(7):
        proposed(stores.engine, clock, number)
        clock.advance(1.0)
    seen: list[str] = []
    after = None
    while True:
        page = views.actions(stores, after=after, limit=3)
        seen += [one.action_id for one in page.items]
        after = page.next
        if after is None:
            break
    assert seen == [f"action-{number}" for number in reversed(range(7))]


def test_actions_are_narrowed_by_state_type_and_target(
    stores: AgentStores, clock: ManualClock
) -> None:
    proposed(stores.engine, clock, 1)
    proposed(stores.engine, clock, 2, ActionState.SCHEDULED)
    only = views.actions(stores, [ActionState.SCHEDULED], type="cache_resize", target="target-2")
    assert [one.action_id for one in only.items] == ["action-2"]
    assert views.actions(stores, type="other").items == []


def test_the_story_of_an_action_holds_all_that_happened(
    stores: AgentStores, clock: ManualClock
) -> None:
    action = _ended(stores, clock, 1, ActionState.ROLLED_BACK, -0.1)
    story = views.action(stores, "action-1")
    assert story.proposal.digest == action.proposal.digest
    assert story.proposal.change is not None
    assert story.proposal.change.knob == "knob-1"
    assert story.effect is not None
    assert (story.effect.verdict, story.effect.gain) == ("worse", -0.1)
    assert len(story.events) == 6
    assert [entry.id for entry in story.events] == sorted(entry.id for entry in story.events)


def test_what_is_not_there_is_said_to_be_not_there(stores: AgentStores) -> None:
    with pytest.raises(NotFound, match="no action nope"):
        views.action(stores, "nope")
    with pytest.raises(NotFound):
        views.explain(stores, "nope")
    with pytest.raises(InputError, match="nope"):
        views.actions(stores, after="nope")


def test_findings_that_cleared_are_shown_when_asked_for(
    stores: AgentStores, clock: ManualClock
) -> None:
    stores.findings.put([finding()], epoch(clock.now()))
    clock.advance(600.0)
    stores.findings.put([], epoch(clock.now()), targets=["serving"])
    assert views.findings(stores).items == []
    (cleared,) = views.findings(stores, cleared=True).items
    assert cleared.cleared_at == clock.now()


def test_goals_are_compared_with_what_was_measured_lately(
    stores: AgentStores, clock: ManualClock
) -> None:
    now = epoch(clock.now())
    stores.observations.record(
        [
            Observation("serving", "inference_latency_ms", 90.0, now - 30.0),
            Observation("serving", "inference_latency_ms", 10.0, now, "ms", (("model", "a"),)),
            Observation("serving", "inference_latency_ms", 100.0, now, "ms"),
            Observation("serving", "cache_hit_rate", 0.95, now - 3600.0),
        ]
    )
    latency, hits = views.goals(stores)
    assert (latency.current_value, latency.achieved, latency.progress) == (100.0, False, 0.75)
    assert (hits.current_value, hits.achieved, hits.progress) == (None, False, None)
    assert views.agent(stores).score == 75.0


def test_goals_that_are_set_hold_over_the_settings(stores: AgentStores) -> None:
    wanted = GoalQuestion(
        goal_id="latency",
        metric_name="inference_latency_ms",
        target_value=50.0,
        direction="minimize",
    )
    answer = controls.set_goals(stores, [wanted], by="anna")
    assert [(one.goal_id, one.target_value) for one in answer] == [("latency", 50.0)]
    assert views.goals(stores) == answer
    with pytest.raises(InputError, match="same id"):
        controls.set_goals(stores, [wanted, wanted], by="anna")


def test_history_of_a_metric_by_series(stores: AgentStores, clock: ManualClock) -> None:
    now = epoch(clock.now())
    stores.observations.record(
        [
            Observation("host", "cpu_percent", float(number), now - number, "%", (("core", core),))
            for number in range(3)
            for core in ("0", "1")
        ]
    )
    (series, other) = measured.series(stores, "host").items
    assert [series.labels, other.labels] == [{"core": "0"}, {"core": "1"}]
    page = measured.history(stores, "host", "cpu_percent", Span(), limit=1)
    assert [[point.last for point in one.points] for one in page.items] == [[2.0, 1.0, 0.0]]
    rest = measured.history(stores, "host", "cpu_percent", Span(), after=page.next, limit=1)
    assert [one.labels for one in rest.items] == [{"core": "1"}]
    assert rest.next is None


def test_a_long_history_comes_in_longer_buckets(stores: AgentStores, clock: ManualClock) -> None:
    now = epoch(clock.now())
    stores.observations.record([Observation("host", "load_1m", 1.0, now)])
    page = measured.history(stores, "host", "load_1m", Span(now - 10_000_000.0, now))
    assert page.step >= 10_000_000 / measured.MAX_POINTS
    with pytest.raises(InputError, match="exchange"):
        measured.history(stores, "host", "load_1m", Span(now, now - 1.0))


def test_targets_with_their_health(stores: AgentStores, clock: ManualClock) -> None:
    now = epoch(clock.now())
    stores.health.put([TargetHealth("serving", False, now, 5.0, "no answer")], "agent-1")
    stores.observations.record([Observation("host", "load_1m", 1.0, now)])
    stores.findings.put([finding()], now)
    stores.control.hold_knob("serving", "max_batch_size", "set by hand")
    host, serving = world_views.targets(stores).items
    assert (host.name, host.ok, host.metrics) == ("host", None, 1)
    assert (serving.ok, serving.reason, serving.findings) == (False, "no answer", 1)
    assert serving.held_knobs == {"max_batch_size": "set by hand"}


def test_what_was_learned(stores: AgentStores, clock: ManualClock) -> None:
    action = proposed(stores.engine, clock, 1)
    LearningStore(stores.engine, clock).record(action, _one_success)
    overall, on_target = views.learned(stores).items
    assert (overall.target, on_target.target) == ("", "target-1")
    assert (on_target.success_rate, on_target.mean_improvement) == (1.0, 0.1)


def _one_success(known: Learned) -> Learned:
    return replace(known, successes=known.successes + 1, mean=0.1, weight=1.0)


def test_models_are_known_from_the_ledger_without_a_registry(
    stores: AgentStores, clock: ManualClock
) -> None:
    answer = world_views.models(stores)
    assert answer.items == []
    assert "mlflow.tracking_uri is not set" in answer.registry
    assert world_views.model(stores, "digits").registry
    with pytest.raises(NotFound):
        world_views.experiment(stores, "nope")


def test_the_audit_finds_the_chain_whole(stores: AgentStores, clock: ManualClock) -> None:
    proposed(stores.engine, clock, 1)
    answer = world_views.audit(stores)
    assert (answer.ok, answer.checked, answer.anchor) == (True, 1, "none")


def test_the_last_cycle_says_why_nothing_is_done(stores: AgentStores, clock: ManualClock) -> None:
    assert views.cycle(stores).at is None
    skipped: JsonValue = {
        "type": "cache_resize",
        "target": "serving",
        "description": "Enlarge the cache",
        "kind": "declined",
        "reason": "declined before",
    }
    value: JsonValue = {"findings": 1, "proposed": [], "skipped": [skipped], "troubles": []}
    stores.control.set_fact("cycle", value, "agent-1")
    answer = views.cycle(stores)
    assert (answer.at, answer.findings) == (datetime(2025, 6, 1, 12, tzinfo=UTC), 1)
    assert [one.reason for one in answer.skipped] == ["declined before"]


def test_an_approval_binds_what_was_seen(stores: AgentStores, clock: ManualClock) -> None:
    proposed(stores.engine, clock, 1)
    other = ApproveQuestion(action_id="action-1", approved=True, digest="0" * 64)
    with pytest.raises(Exception, match="digest"):
        controls.decide(stores, other, by="anna", way="api")
    answer = controls.decide(
        stores, ApproveQuestion(action_id="action-1", approved=True), by="anna", way="api"
    )
    assert (answer.status, answer.by) == ("scheduled", "anna")
