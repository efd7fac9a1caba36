"""One move of an action within a transaction: what may follow what, who may do it, the event.

Every change of an action's state in the ledger is made here, by compare-and-set: the row is locked,
the expected state and the holder's token are compared, the row is written, and the event appended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import TypedDict

from pydantic import JsonValue
from sqlalchemy import Connection, select, update

from config.errors import ConflictError, InputError, StaleToken
from registry.agent_people import Approval
from registry.agent_records import Action, ActionState, Effect, Finding
from registry.agent_rows import (
    action_from_row,
    action_to_row,
    approval_from_row,
    finding_to_json,
)
from registry.ledger.agent_schema import actions, approvals
from registry.ledger.events import EventLog

_S = ActionState
_NEXT: Mapping[ActionState, frozenset[ActionState]] = {
    _S.PROPOSED: frozenset(
        {_S.WAITING_APPROVAL, _S.SCHEDULED, _S.REJECTED, _S.EXPIRED, _S.FAILED, _S.SIMULATED}
    ),
    _S.WAITING_APPROVAL: frozenset({_S.SCHEDULED, _S.REJECTED, _S.EXPIRED, _S.FAILED}),
    _S.SCHEDULED: frozenset(
        {
            _S.WAITING_APPROVAL,
            _S.INTENT,
            _S.REJECTED,
            _S.EXPIRED,
            _S.FAILED,
            _S.HANDED_OVER,
            _S.SIMULATED,
        }
    ),
    _S.INTENT: frozenset(
        {_S.APPLIED, _S.ROLLING_BACK, _S.ROLLED_BACK, _S.EXPIRED, _S.FAILED, _S.HANDED_OVER}
    ),
    _S.APPLIED: frozenset({_S.VERIFYING, _S.COMPLETED, _S.ROLLING_BACK, _S.FAILED, _S.HANDED_OVER}),
    _S.VERIFYING: frozenset({_S.COMPLETED, _S.ROLLING_BACK, _S.FAILED, _S.HANDED_OVER}),
    _S.ROLLING_BACK: frozenset({_S.ROLLED_BACK, _S.FAILED, _S.HANDED_OVER}),
}


_UNSET = object()


class ActionFields(TypedDict, total=False):
    """What a move may set besides state and reason."""

    due_at: float | None
    deadline_at: float | None
    flow_run_id: str | None
    run_id: str | None
    intent: Mapping[str, JsonValue]
    progress: Mapping[str, JsonValue]
    effect: Effect | None
    undo_failures: int
    executed_at: float | None
    approved_by: str | None
    approval_id: str | None


def find_action(connection: Connection, action_id: str) -> Action | None:
    """The action of that id, or None."""
    query = select(actions).where(actions.c.id == action_id)
    row = connection.execute(query).mappings().one_or_none()
    return action_from_row(row) if row is not None else None


def locked_action(connection: Connection, action_id: str) -> Action:
    """The action of that id, with its row locked until the transaction ends.

    Raises:
        InputError: there is none.
    """
    query = select(actions).where(actions.c.id == action_id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise InputError(f"there is no action {action_id}; list them to see which there are")
    return action_from_row(row)


def owned_action(connection: Connection, action: Action) -> Action:
    """The row of an action, locked, if the token it was read with still holds.

    Raises:
        StaleToken: somebody claimed it since.
    """
    found = locked_action(connection, action.id)
    if found.token != action.token:
        raise StaleToken(
            f"action {action.id} was claimed by {found.holder or 'another holder'} meanwhile "
            f"(token {found.token}, not {action.token}); leave it to that holder"
        )
    return found


def expected_action(connection: Connection, action: Action) -> Action:
    """The row of an action, locked, if state and token are those it was read with.

    Raises:
        StaleToken: somebody claimed it since.
        ConflictError: it has moved on since.
    """
    found = owned_action(connection, action)
    if found.state is not action.state:
        raise ConflictError(
            f"action {action.id} is {found.state}, not {action.state}; read it again"
        )
    return found


def move_row(  # noqa: PLR0913 - these are the parts of a move
    connection: Connection,
    events: EventLog,
    found: Action,
    to: ActionState,
    reason: str,
    *,
    now: float,
    fields: ActionFields,
) -> Action:
    """Write the next state of a locked action and append its event.

    Raises:
        ConflictError: that state cannot follow, or an approval is missing.
    """
    _refuse_impossible(found, to)
    if to is ActionState.SCHEDULED and to is not found.state and needs_approval(found):
        approval = use_approval(connection, found, now)
        fields = fields | {"approved_by": approval.by, "approval_id": approval.id}
    after = replace(found, state=to, reason=reason, updated_at=now, **fields)
    if to.final:
        after = replace(after, finished_at=now, holder=None, lease_expires_at=None)
    write_action(connection, after)
    events.append(connection, "action", found.id, _event(found, after, fields))
    return after


def write_action(connection: Connection, action: Action) -> None:
    """Write all columns of an action that is there."""
    row = action_to_row(action)
    connection.execute(update(actions).where(actions.c.id == action.id).values(**row))


def proposed_event(
    action: Action, by: str, findings: Iterable[Finding] = ()
) -> dict[str, JsonValue]:
    """The body of an action's first event: what was proposed, by whom, why, and what it promised.

    Of the findings, those that the proposal names are written down as they are at this moment.
    """
    proposal, decision = action.proposal, action.decision
    grounds = [one for one in findings if one.id in proposal.finding_ids]
    return {
        "from": None,
        "to": action.state.value,
        "reason": action.reason,
        "by": by,
        "type": proposal.type,
        "target": proposal.target,
        "description": proposal.description,
        "advice_id": proposal.advice_id,
        "digest": proposal.digest,
        "change": asdict(proposal.change) if proposal.change is not None else None,
        "expected": asdict(proposal.expected),
        "risk": proposal.risk,
        "score": decision.score,
        "approval": decision.approval,
        "findings": [finding_to_json(one) for one in grounds],
    }


def needs_approval(action: Action) -> bool:
    """True when only an approval may schedule or start it."""
    return action.state is ActionState.WAITING_APPROVAL or bool(action.decision.approval)


def use_approval(connection: Connection, action: Action, now: float) -> Approval:
    """Let the approval of a locked action take effect, once.

    Raises:
        ConflictError: there is none that is unused, unexpired and of this exact proposal.
    """
    query = (
        select(approvals)
        .where(
            approvals.c.action_id == action.id,
            approvals.c.digest == action.proposal.digest,
            approvals.c.approved == 1,
            approvals.c.used_at.is_(None),
            approvals.c.expires_at > now,
        )
        .order_by(approvals.c.at.desc())
        .limit(1)
        .with_for_update()
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise ConflictError(
            f"action {action.id} has no approval that holds for this proposal; approve it first"
        )
    approval = replace(approval_from_row(row), used_at=now)
    connection.execute(update(approvals).where(approvals.c.id == approval.id).values(used_at=now))
    return approval


def _refuse_impossible(found: Action, to: ActionState) -> None:
    if found.state.final:
        raise ConflictError(
            f"action {found.id} has ended ({found.state}: {found.reason}); it is not moved any more"
        )
    if to is not found.state and to not in _NEXT[found.state]:
        raise ConflictError(f"action {found.id} is {found.state}; {to} cannot follow that")


def _event(before: Action, after: Action, fields: ActionFields) -> dict[str, JsonValue]:
    body: dict[str, JsonValue] = {
        "from": before.state.value,
        "to": after.state.value,
        "reason": after.reason,
        "token": after.token,
        "holder": before.holder,
    }
    if after.state is ActionState.INTENT and before.state is not after.state:
        body |= {
            "intent": dict(after.intent),
            "digest": after.proposal.digest,
            "approval_id": after.approval_id,
            "deadline_at": after.deadline_at,
        }
    if "progress" in fields:
        # Only what is new: samples are noted switch by switch, and the row holds them all.
        known = before.progress
        body["progress"] = {k: v for k, v in after.progress.items() if known.get(k, _UNSET) != v}
    if "approval_id" in fields:
        body |= {"approval_id": after.approval_id, "approved_by": after.approved_by}
    if after.effect is not None and "effect" in fields:
        body["effect"] = asdict(after.effect)
        body["expected"] = asdict(after.proposal.expected)
    return body
