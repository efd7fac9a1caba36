"""Actions for tests, told apart by what a test cares about."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from registry.agent_moves import ActionFields
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Decision,
    Direction,
    Estimate,
    Priority,
    Proposal,
    StartLimits,
)

NO_LIMITS = StartLimits(
    max_concurrent=100, changes_per_hour=1000, changes_per_day=1000, cooldown_s=0.0
)


def proposal(name: str, *, target: str = "serving", goal: str = "latency_ms") -> Proposal:
    """A change of knob `name` of a target."""
    return Proposal(
        type="batch_inference",
        target=target,
        advice_id=f"advice-{name}",
        key=f"key-{name}",
        priority=Priority.HIGH,
        description=f"Change {name}",
        parameters={"to": 8, "ü": [1, None, 0.1]},
        expected=Estimate(0.2, 0.1, 0.3),
        risk=0.4,
        goal_metric=goal,
        goal_direction=Direction.MINIMIZE,
        reversible=True,
        change=Change(f"{target}.{name}", 4, 8),
        guardrails=("error_rate",),
        finding_ids=("finding-1",),
    )


def decision(approval: str = "") -> Decision:
    """A yes; with `approval`, a yes that a person has to give."""
    return Decision(
        run=True,
        expected_improvement=0.2,
        success_probability=0.8,
        success_low=0.4,
        success_high=0.97,
        exposure=0.1,
        risk=0.4,
        expected_value=0.16,
        score=0.14,
        reasons=("it pays",),
        approval=approval,
    )


def action(
    name: str,
    state: ActionState = ActionState.SCHEDULED,
    *,
    at: float = 1_748_779_200.0,
    target: str = "serving",
    goal: str = "latency_ms",
    **fields: Unpack[ActionFields],
) -> Action:
    """An action `action-<name>` that changes the knob of that name."""
    waits = "risk is above 0.7" if state is ActionState.WAITING_APPROVAL else ""
    made = Action(
        id=f"action-{name}",
        proposal=proposal(name, target=target, goal=goal),
        decision=decision(waits),
        state=state,
        reason="proposed",
        created_at=at,
        updated_at=at,
    )
    return replace(made, **fields)
