"""Advice that was declined, with the gain it promised then."""

from __future__ import annotations

from sqlalchemy import Connection

from registry.agent_records import Action
from registry.ledger.agent_schema import advice
from registry.ledger.database import insert_into


def write_declined(connection: Connection, action: Action, *, by: str, at: float) -> None:
    """Remember that the advice of this action was declined."""
    write_declined_gain(
        connection, action.proposal.advice_id, action.proposal.expected.mean, by=by, at=at
    )


def write_declined_gain(
    connection: Connection, advice_id: str, gain: float, *, by: str, at: float
) -> None:
    """Remember that advice was declined when it promised `gain` (relative improvement)."""
    row = {"declined_gain": gain, "declined_by": by, "declined_at": at}
    insert = insert_into(connection, advice).values(advice_id=advice_id, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=["advice_id"], set_=row))
