"""What was learned of action types, in the ledger: each verified action counts once.

How an outcome changes what is known is not decided here; see `optimizers.learning`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, select

from config.clock import Clock
from registry.agent_records import Action, Learned
from registry.ledger.agent_schema import learned
from registry.ledger.database import insert_into, lock, reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import events

_EVENT = "learned"


class LearningStore:
    """The learned rows of one ledger, by action type and target; an empty target means all."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def all(self) -> dict[tuple[str, str], Learned]:
        """Everything learned, by (type, target)."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(learned)).mappings()
            return {(row["type"], row["target"]): Learned(**row) for row in rows}

    def record(self, action: Action, learn: Callable[[Learned], Learned]) -> bool:
        """Add what an action teaches, to its target's row and to the row of all targets, once.

        Args:
            action: a second record of the same action id changes nothing.
            learn: makes the new row of the present one, which begins with zeros.

        Returns:
            Whether it was recorded now.
        """
        kind, target = action.proposal.type, action.proposal.target
        with writing(self._engine) as connection:
            lock(connection, "agent learning")
            if _is_known(connection, action.id):
                return False
            rows = [learn(_row(connection, kind, name)) for name in dict.fromkeys((target, ""))]
            for row in rows:
                _store(connection, row)
            body: dict[str, JsonValue] = {
                "type": kind,
                "target": target,
                "rows": [asdict(row) for row in rows],
            }
            self._events.append(connection, _EVENT, action.id, body)
        return True


def _is_known(connection: Connection, action_id: str) -> bool:
    query = select(events.c.id).where(events.c.subject == action_id, events.c.kind == _EVENT)
    return connection.scalar(query.limit(1)) is not None


def _row(connection: Connection, kind: str, target: str) -> Learned:
    query = select(learned).where(learned.c.type == kind, learned.c.target == target)
    found = connection.execute(query).mappings().one_or_none()
    if found is not None:
        return Learned(**found)
    return Learned(kind, target, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _store(connection: Connection, row: Learned) -> None:
    values = asdict(row)
    insert = insert_into(connection, learned).values(**values)
    keys = ["type", "target"]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values))
