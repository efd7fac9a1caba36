"""What may start now: checked within the transaction that starts it, so that no two can slip in."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from config.errors import ConflictError
from registry.agent_moves import needs_approval
from registry.agent_records import Action, ActionState, StartLimits
from registry.agent_rows import proposal_from_json
from registry.ledger.agent_schema import actions, approvals

_HOUR_S = 3600.0
_DAY_S = 86_400.0
IN_FLIGHT = tuple(state.value for state in ActionState if state.in_flight)


def refuse_start(connection: Connection, action: Action, limits: StartLimits, now: float) -> None:
    """Do nothing if the action may start at `now`.

    The caller holds the lock of all starts.

    Raises:
        ConflictError: a limit, a conflict, a budget, the cooldown or a missing approval; the text
            names it.
    """
    _refuse_unapproved(connection, action, now)
    _refuse_conflicts(connection, action, limits)
    _refuse_budgets(connection, limits, now)
    last = last_start(connection, action.proposal.type, action.proposal.target)
    if last is not None and now - last < limits.cooldown_s:
        raise ConflictError(
            f"{action.proposal.type} on {action.proposal.target} was started {now - last:.0f} s "
            f"ago; its cooldown is {limits.cooldown_s:.0f} s"
        )


def started_since(connection: Connection, at: float) -> int:
    """How many actions were started since `at`."""
    query = select(func.count()).select_from(actions).where(actions.c.executed_at > at)
    return int(connection.scalar(query) or 0)


def last_start(connection: Connection, type: str, target: str) -> float | None:  # noqa: A002
    """When an action of this type on this target was started last; None when never."""
    query = select(func.max(actions.c.executed_at)).where(
        actions.c.type == type, actions.c.target == target
    )
    found: float | None = connection.scalar(query)
    return found


def _refuse_unapproved(connection: Connection, action: Action, now: float) -> None:
    if action.approval_id is None:
        if needs_approval(action):
            raise ConflictError(f"action {action.id} needs an approval: {action.decision.approval}")
        return
    query = select(approvals).where(approvals.c.id == action.approval_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None or not row["approved"] or row["digest"] != action.proposal.digest:
        raise ConflictError(f"the approval of action {action.id} is of another proposal")
    if row["expires_at"] <= now:
        raise ConflictError(
            f"the approval of action {action.id} by {row['by']} has expired; approve it again"
        )


def _refuse_conflicts(connection: Connection, action: Action, limits: StartLimits) -> None:
    query = select(actions.c.id, actions.c.proposal).where(actions.c.state.in_(IN_FLIGHT))
    running = [row for row in connection.execute(query) if row.id != action.id]
    if len(running) >= limits.max_concurrent:
        raise ConflictError(
            f"{len(running)} actions are in flight; max_concurrent_actions is "
            f"{limits.max_concurrent}"
        )
    for row in running:
        shared = proposal_from_json(row.proposal).domains & action.proposal.domains
        if shared:
            raise ConflictError(
                f"action {row.id} is in flight and shares {', '.join(sorted(shared))}; their "
                "effects could not be told apart"
            )


def _refuse_budgets(connection: Connection, limits: StartLimits, now: float) -> None:
    for name, span_s, allowed in (
        ("changes_per_hour", _HOUR_S, limits.changes_per_hour),
        ("changes_per_day", _DAY_S, limits.changes_per_day),
    ):
        started = started_since(connection, now - span_s)
        if started >= allowed:
            raise ConflictError(f"{started} actions were started already; {name} is {allowed}")
