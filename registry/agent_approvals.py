"""What people said to waiting actions: bound to the exact proposal, effective once.

A decision and its effect are one transaction: an approved action is scheduled by it, a rejected one
ends and its advice is remembered as declined. Of many callers at once, one decides.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from sqlalchemy import Connection, Engine, func, insert, select

from config.clock import Clock, epoch
from config.errors import ConflictError, InputError
from registry.agent_advice import write_declined
from registry.agent_moves import locked_action, move_row
from registry.agent_people import Approval
from registry.agent_records import Action, ActionState
from registry.agent_rows import action_from_row, approval_from_row, checked_text
from registry.ledger.agent_schema import actions, approvals
from registry.ledger.database import reading, writing
from registry.ledger.events import EventLog

_DAY_S = 86_400.0
_WAYS = frozenset({"cli", "api", "prefect"})


class ApprovalStore:
    """Takes and lists the decisions of people in one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def decide(  # noqa: PLR0913 - these are the parts of a decision
        self,
        action_id: str,
        digest: str,
        approved: bool,
        by: str,
        way: str,
        note: str = "",
        *,
        expires_s: float = _DAY_S,
        two_person: bool = False,
    ) -> Approval:
        """Approve or reject a waiting action; the action is moved by it, once.

        Args:
            action_id: the action.
            digest: `Proposal.digest` of what the person saw.
            approved: yes or no.
            by: who decided.
            way: `cli`, `api` or `prefect`.
            note: the person's own words.
            expires_s: how long a proposal waits, and how long an approval holds, seconds.
            two_person: who proposed may not approve.

        Raises:
            ConflictError: the action does not wait, was decided already, has waited too long, is
                another proposal, or was proposed by this person; nothing was changed.
            InputError: no such action or way, or a text no database can hold.
        """
        by, note = checked_text(by, "the name", limit=200), checked_text(note, "the note")
        now = epoch(self._clock.now())
        with writing(self._engine) as connection:
            found = locked_action(connection, checked_text(action_id, "the action id", limit=200))
            _refuse(connection, found, digest, now - expires_s)
            if approved and two_person:
                self._refuse_proposer(found, by)
            approval = Approval(
                id=_approval_id(connection, found),
                action_id=found.id,
                digest=digest,
                approved=approved,
                by=by,
                way=_known(way),
                note=note,
                at=now,
                expires_at=now + expires_s,
            )
            self._take_effect(connection, found, approval)
        return self.get(approval.id) or approval

    def get(self, approval_id: str) -> Approval | None:
        """The decision of that id, or None."""
        query = select(approvals).where(approvals.c.id == approval_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return approval_from_row(row) if row is not None else None

    def of_action(self, action_id: str) -> list[Approval]:
        """The decisions on an action, oldest first."""
        query = select(approvals).where(approvals.c.action_id == action_id).order_by(approvals.c.at)
        with reading(self._engine) as connection:
            return [approval_from_row(row) for row in connection.execute(query).mappings()]

    def pending(self) -> list[Action]:
        """The actions that wait for a person, the most urgent first, then the oldest."""
        query = (
            select(actions)
            .where(actions.c.state == ActionState.WAITING_APPROVAL.value)
            .order_by(actions.c.priority, actions.c.created_at, actions.c.id)
        )
        with reading(self._engine) as connection:
            return [action_from_row(row) for row in connection.execute(query).mappings()]

    def _take_effect(self, connection: Connection, found: Action, approval: Approval) -> None:
        row = asdict(approval) | {"approved": int(approval.approved)}
        connection.execute(insert(approvals), row)
        word = "approved" if approval.approved else "rejected"
        reason = f"{word} by {approval.by} ({approval.way})"
        if not approval.approved:
            write_declined(connection, found, by=approval.by, at=approval.at)
        self._events.append(connection, "approval", found.id, asdict(approval))
        to = ActionState.SCHEDULED if approval.approved else ActionState.REJECTED
        move_row(connection, self._events, found, to, reason, now=approval.at, fields={})

    def _refuse_proposer(self, found: Action, by: str) -> None:
        first = self._events.list(subject=found.id, kind="action", limit=1)
        if first and first[0].body.get("by") == by:
            raise ConflictError(
                f"{by} proposed action {found.id}; under the two-person rule somebody else approves"
            )


def _known(way: str) -> str:
    if way not in _WAYS:
        raise InputError(f"{way!r} is no way to decide; use {', '.join(sorted(_WAYS))}")
    return way


def _refuse(connection: Connection, found: Action, digest: str, since: float) -> None:
    if found.state is not ActionState.WAITING_APPROVAL:
        query = (
            select(approvals)
            .where(approvals.c.action_id == found.id)
            .order_by(approvals.c.at.desc())
            .limit(1)
        )
        last = connection.execute(query).mappings().one_or_none()
        if last is not None:
            word = "approved" if last["approved"] else "rejected"
            raise ConflictError(f"action {found.id} was {word} already, by {last['by']}")
        raise ConflictError(f"action {found.id} does not wait for approval; it is {found.state}")
    if found.proposal.digest != digest:
        raise ConflictError(
            f"action {found.id} is not the proposal that was seen (its digest differs); look again"
        )
    if found.created_at <= since:
        raise ConflictError(f"action {found.id} has waited too long; its proposal has expired")


def _approval_id(connection: Connection, found: Action) -> str:
    query = select(func.count()).select_from(approvals).where(approvals.c.action_id == found.id)
    number = int(connection.scalar(query) or 0) + 1
    name = f"{found.id} {found.proposal.digest} {number}"
    return f"approval-{hashlib.sha256(name.encode()).hexdigest()[:20]}"
