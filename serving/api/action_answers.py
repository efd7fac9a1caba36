"""Turns the records of actions, findings and ledger entries into answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from config.clock import from_epoch
from registry.agent_findings import KeptFinding
from registry.agent_records import Action, ActionState, Decision, Effect, Proposal
from registry.ledger.events import LedgerEntry
from serving.api.answers import (
    ActionResult,
    ActionStory,
    ActionSummary,
    ChangeAnswer,
    DecisionAnswer,
    EffectAnswer,
    EstimateAnswer,
    EventAnswer,
    FindingAnswer,
    ProposalAnswer,
    RecentAction,
)

PENDING = frozenset(
    {ActionState.PROPOSED, ActionState.WAITING_APPROVAL, ActionState.SCHEDULED},
)
ACTIVE = frozenset(state for state in ActionState if state.in_flight)
# What ended otherwise than it was meant to, after it had begun.
UNSUCCESSFUL = frozenset({ActionState.FAILED, ActionState.ROLLED_BACK, ActionState.HANDED_OVER})


def moment(seconds: float | None) -> datetime | None:
    """Return epoch seconds as a time, None as None."""
    return from_epoch(seconds) if seconds is not None else None


def result_of(action: Action) -> ActionResult | None:
    """Return how an action ended; None for one that has not ended, or never began."""
    success = action.state is ActionState.COMPLETED
    if not success and action.state not in UNSUCCESSFUL:
        return None
    gain = action.effect.gain if action.effect is not None else None
    error = None if success else action.reason or "no reason was recorded"
    return ActionResult(success=success, actual_improvement=gain, error=error)


def recent(action: Action) -> RecentAction:
    """Return an action in the specification's words."""
    return RecentAction(
        action_id=action.id,
        type=action.proposal.type,
        description=action.proposal.description,
        status=action.state.value,
        executed_at=moment(action.executed_at),
        result=result_of(action),
    )


def summary(action: Action) -> ActionSummary:
    """Return an action as lists show it."""
    proposal, decision = action.proposal, action.decision
    return ActionSummary(
        **dict(recent(action)),
        target=proposal.target,
        priority=proposal.priority.value,
        risk=proposal.risk,
        expected_improvement=EstimateAnswer(**asdict(proposal.expected)),
        success_probability=decision.success_probability,
        success_low=decision.success_low,
        success_high=decision.success_high,
        reversible=proposal.reversible,
        approval=decision.approval,
        reason=action.reason,
        created_at=from_epoch(action.created_at),
        updated_at=from_epoch(action.updated_at),
        finished_at=moment(action.finished_at),
    )


def story(action: Action, entries: Sequence[LedgerEntry]) -> ActionStory:
    """Return everything known of an action."""
    return ActionStory(
        **dict(summary(action)),
        proposal=proposal_answer(action.proposal),
        decision=decision_answer(action.decision),
        effect=effect_answer(action.effect),
        intent=dict(action.intent),
        progress=dict(action.progress),
        undo_failures=action.undo_failures,
        due_at=moment(action.due_at),
        deadline_at=moment(action.deadline_at),
        holder=action.holder,
        approved_by=action.approved_by,
        approval_id=action.approval_id,
        flow_run_id=action.flow_run_id,
        run_id=action.run_id,
        events=[event(entry) for entry in entries],
    )


def proposal_answer(proposal: Proposal) -> ProposalAnswer:
    """Return what is to be done, with the digest that an approval binds."""
    change = proposal.change
    return ProposalAnswer(
        digest=proposal.digest,
        advice_id=proposal.advice_id,
        key=proposal.key,
        parameters=dict(proposal.parameters),
        change=ChangeAnswer(**asdict(change)) if change is not None else None,
        goal_metric=proposal.goal_metric,
        goal_direction=proposal.goal_direction.value,
        guardrails=list(proposal.guardrails),
        domains=sorted(proposal.domains),
        finding_ids=list(proposal.finding_ids),
    )


def decision_answer(decision: Decision) -> DecisionAnswer:
    """Return the numbers of a decision."""
    return DecisionAnswer(
        **asdict(decision)
        | {"reasons": list(decision.reasons), "would_change": list(decision.would_change)}
    )


def effect_answer(effect: Effect | None) -> EffectAnswer | None:
    """Return what an action did; None while nothing is known."""
    if effect is None:
        return None
    return EffectAnswer(
        **asdict(effect) | {"verdict": effect.verdict.value, "worsened": list(effect.worsened)}
    )


def event(entry: LedgerEntry) -> EventAnswer:
    """Return an entry of the ledger."""
    return EventAnswer(**asdict(entry))


def finding_answer(kept: KeptFinding) -> FindingAnswer:
    """Return a finding, since when it holds, and until when it did."""
    finding = kept.finding
    return FindingAnswer(
        id=finding.id,
        rule=finding.rule,
        target=finding.target,
        subject=finding.subject,
        severity=finding.severity.value,
        text=finding.text,
        metrics=dict(finding.metrics),
        parameters=dict(finding.parameters),
        first_at=from_epoch(kept.first_at),
        last_at=from_epoch(kept.last_at),
        cleared_at=moment(kept.cleared_at),
    )
