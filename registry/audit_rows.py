"""Whether the tables of actions and approvals say what the chained entries say.

Entries cannot be changed unseen, rows can: here a state that was set by hand, a proposal exchanged
after its approval, an approval nobody gave, or a row that was dropped comes to light.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, func, select

from registry.ledger.agent_schema import actions, approvals
from registry.ledger.database import reading
from registry.ledger.schema import events

_ACTION, _APPROVAL = "action", "approval"
_SAID = ("action_id", "digest", "approved", "by", "way", "note", "at", "expires_at")
_PAGE = 1000


def first_contradiction(engine: Engine) -> str:
    """Return the first row that is not what its entries say, in a sentence; empty when all are.

    Raises:
        LedgerUnavailable: the database does not answer.
    """
    with reading(engine) as connection:
        return _actions(connection) or _approvals(connection)


def _actions(connection: Connection) -> str:
    query = _with_entries().execution_options(yield_per=_PAGE)
    with connection.execute(query) as found:
        for row in found.mappings():
            fault = _action_fault(row)
            if fault:
                return f"action {row['subject'] or row['id']}: {fault}"
    return ""


def _with_entries() -> Select[tuple[Any, ...]]:
    """Each action's row beside its first and its last entry; either side may be missing."""
    spans = (
        select(
            events.c.subject,
            func.min(events.c.id).label("first_id"),
            func.max(events.c.id).label("last_id"),
        )
        .where(events.c.kind == _ACTION)
        .group_by(events.c.subject)
        .subquery()
    )
    first, last = events.alias("first"), events.alias("last")
    columns = (
        spans.c.subject,
        first.c.body.label("first_body"),
        last.c.body.label("last_body"),
        actions.c.id,
        actions.c.state,
        actions.c.digest,
        actions.c.proposal,
    )
    told = (
        actions.join(spans, spans.c.subject == actions.c.id, full=True)
        .outerjoin(first, first.c.id == spans.c.first_id)
        .outerjoin(last, last.c.id == spans.c.last_id)
    )
    return select(*columns).select_from(told)


def _action_fault(row: RowMapping) -> str:
    if row["id"] is None:
        return "its row was dropped"
    if row["subject"] is None:
        return "no entry tells of it"
    proposed, last = json.loads(row["first_body"]), json.loads(row["last_body"])
    if row["state"] != last.get("to"):
        return f"its row says {row['state']}, its last entry {last.get('to')}"
    digest = hashlib.sha256(row["proposal"].encode()).hexdigest()
    if not row["digest"] == proposed.get("digest") == digest:
        return "its proposal is not the one that was recorded"
    return ""


def _approvals(connection: Connection) -> str:
    said: dict[str, dict[str, Any]] = {}
    query = select(events.c.body).where(events.c.kind == _APPROVAL)
    for text in connection.scalars(query):
        body = json.loads(text)
        said[body["id"]] = body
    for row in connection.execute(select(approvals)).mappings():
        body = said.pop(row["id"], None)
        if body is None:
            return f"approval {row['id']} of action {row['action_id']}: no entry tells of it"
        if any(row[name] != body[name] for name in _SAID):
            return f"approval {row['id']} of action {row['action_id']}: it is not as it was given"
    return f"approval {next(iter(said))}: its row was dropped" if said else ""
