"""Approval, budgets, cooldowns and declined advice."""

from __future__ import annotations

import pytest

from config.settings import AgentSettings, SafetySettings, Settings, ThresholdSettings
from optimizers.safety import approval_reason, budget, busy, cooldown_until, returns, slots
from registry.agent_records import Action, ActionState, Priority
from tests.services.agent_samples import NOON, action, proposal

S = ActionState


def begun(seconds_ago: float, state: ActionState = S.COMPLETED, advice: str = "a") -> Action:
    return action(
        proposal(advice_id=advice), state=state, executed_at=NOON - seconds_ago, finished_at=NOON
    )


@pytest.mark.parametrize(
    ("priority", "risk", "asked"),
    [
        (Priority.CRITICAL, 0.1, True),
        (Priority.HIGH, 0.7, False),
        (Priority.LOW, 0.71, True),
    ],
)
def test_critical_priority_or_risk_needs_a_person(
    priority: Priority, risk: float, asked: bool
) -> None:
    what = proposal(priority=priority, risk=risk)
    assert bool(approval_reason(what, Settings())) is asked
    off = Settings(safety=SafetySettings(require_approval_for_critical=False))
    assert approval_reason(what, off) == ""


def test_a_lower_risk_limit_is_where_a_person_is_asked() -> None:
    careful = Settings(thresholds=ThresholdSettings(max_risk_threshold=0.5))
    assert approval_reason(proposal(risk=0.6), careful) == "its risk 0.60 is above 0.50"


def test_a_higher_risk_limit_does_not_move_where_a_person_is_asked() -> None:
    bold = Settings(thresholds=ThresholdSettings(max_risk_threshold=0.9))
    assert approval_reason(proposal(risk=0.8), bold) == "its risk 0.80 is above 0.70"


def test_with_automatic_actions_off_everything_needs_a_person() -> None:
    off = Settings(
        safety=SafetySettings(enable_automatic_actions=False, require_approval_for_critical=False)
    )
    assert "enable_automatic_actions" in approval_reason(proposal(risk=0.0), off)


def test_declined_advice_returns_when_its_gain_has_doubled() -> None:
    assert not returns(0.1, 0.199)
    assert returns(0.1, 0.2)
    assert not returns(0.0, 0.5), "twice nothing is nothing"


def test_the_smaller_of_both_budgets_holds() -> None:
    settings = AgentSettings(changes_per_hour=3, changes_per_day=5)
    past = [begun(60.0), begun(7200.0), begun(9000.0), begun(90_000.0)]
    assert budget(past, settings, NOON).left == 2
    assert budget([*past, begun(10.0), begun(20.0)], settings, NOON).left == 0


def test_a_used_up_budget_says_when_it_is_free_again() -> None:
    settings = AgentSettings(changes_per_hour=2)
    found = budget([begun(1800.0), begun(60.0), begun(600.0)], settings, NOON)
    assert found.left == 0
    assert found.reason == (
        "the budget of 2 actions an hour is used up; again from 2026-01-05 12:50 UTC"
    )
    exactly = budget([begun(1800.0), begun(60.0)], settings, NOON)
    assert exactly.reason.endswith("again from 2026-01-05 12:30 UTC")
    assert budget([begun(3600.0), begun(60.0)], settings, NOON).left == 1
    assert "again" not in budget([], AgentSettings(changes_per_day=0), NOON).reason


def test_actions_never_begun_use_no_budget() -> None:
    waiting = [action(state=S.REJECTED), action(state=S.SCHEDULED)]
    assert budget(waiting, AgentSettings(changes_per_hour=1), NOON).left == 1


def test_scheduled_and_running_actions_take_slots_and_waiting_ones_none() -> None:
    states = [S.SCHEDULED, S.VERIFYING, S.WAITING_APPROVAL, S.COMPLETED]
    past = [action(state=state) for state in states]
    assert [busy(one) for one in past] == [True, True, False, False]
    assert slots(past, 3).left == 1
    full = slots(past, 2)
    assert (full.left, full.reason) == (0, "2 actions run or are scheduled; 2 may")


def test_the_cooldown_runs_from_the_last_beginning() -> None:
    assert cooldown_until([], "a", 300.0) == 0.0
    assert cooldown_until([action(state=S.REJECTED)], "a", 300.0) == 0.0
    assert cooldown_until([begun(1000.0), begun(100.0)], "a", 300.0) == NOON + 200.0


def test_each_failure_in_a_row_doubles_the_cooldown_of_that_advice() -> None:
    failed = [begun(1000.0, S.ROLLED_BACK), begun(100.0, S.FAILED)]
    assert cooldown_until(failed, "a", 300.0) == NOON - 100.0 + 1200.0
    assert cooldown_until(failed, "another", 300.0) == NOON + 200.0
    assert cooldown_until([*failed, begun(50.0)], "a", 300.0) == NOON + 250.0


def test_a_later_action_of_other_advice_cools_down_too() -> None:
    actions = [begun(1000.0, S.ROLLED_BACK), begun(100.0, advice="b")]
    assert cooldown_until(actions, "a", 300.0) == NOON + 200.0


def test_the_doubling_ends_somewhere() -> None:
    failed = [begun(100.0 + number, S.ROLLED_BACK) for number in range(50)]
    assert cooldown_until(failed, "a", 300.0) == NOON - 100.0 + 300.0 * 256
