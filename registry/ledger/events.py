"""The event log: append-only, each entry hashed together with the one before.

Finds an entry that was changed, dropped, inserted or put elsewhere, by whatever way it was done.
It does not protect against somebody who may write the database and computes the whole chain anew;
keep the last hash elsewhere if that matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, Row, select

from config.clock import Clock, epoch, from_epoch
from registry.ledger.database import reading, writing
from registry.ledger.schema import event_head, events

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One event; `hash` covers everything else in it and, through `previous_hash`, the past."""

    id: int
    at: datetime
    kind: str
    subject: str
    body: dict[str, JsonValue]
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Whether the chain holds: entries checked, and the first broken one with the reason."""

    ok: bool
    checked: int
    broken_id: int | None = None
    reason: str = ""


class EventLog:
    """Appends to, reads and verifies the event log of one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def append(
        self, conn: Connection | None, kind: str, subject: str, body: Mapping[str, JsonValue]
    ) -> LedgerEntry:
        """Add an event, inside the caller's write transaction if one is given.

        From here to the end of the transaction no other process can append; do it last.

        Raises:
            LedgerUnavailable: the database does not answer.
            ValueError: the body holds NaN or infinity, which JSON cannot carry.
        """
        context = nullcontext(conn) if conn is not None else writing(self._engine)
        with context as connection:
            head = connection.execute(
                select(event_head.c.last_id, event_head.c.hash).with_for_update()
            ).one()
            row = {
                "id": head.last_id + 1,
                "at": epoch(self._clock.now()),
                "kind": kind,
                "subject": subject,
                "body": canonical(body),
                "previous_hash": head.hash,
            }
            row["hash"] = _digest(**row)
            connection.execute(events.insert(), row)
            connection.execute(event_head.update().values(last_id=row["id"], hash=row["hash"]))
        return LedgerEntry(**(row | {"at": from_epoch(row["at"]), "body": dict(body)}))

    def list(
        self, subject: str | None = None, kind: str | None = None, after: int = 0, limit: int = 100
    ) -> list[LedgerEntry]:
        """Entries with an id greater than `after`, oldest first."""
        query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        with reading(self._engine) as connection:
            return [_entry(row) for row in connection.execute(query)]

    def last_id(self) -> int:
        """The number of the newest entry; 0 for an empty log."""
        with reading(self._engine) as connection:
            return int(connection.scalar(select(event_head.c.last_id)) or 0)

    def verify(self) -> VerifyResult:
        """Compute the whole chain again and compare it with what stands in the database."""
        last_id, last_hash = 0, ""
        with reading(self._engine) as connection:
            head = connection.execute(select(event_head.c.last_id, event_head.c.hash)).one()
            while last_id < head.last_id:
                rows = connection.execute(
                    select(events).where(events.c.id > last_id).order_by(events.c.id).limit(_PAGE)
                ).all()
                for row in rows:
                    reason = _fault(row, last_id, last_hash)
                    if reason:
                        return VerifyResult(False, last_id, row.id, reason)
                    last_id, last_hash = row.id, row.hash
                if not rows:
                    break
        if (last_id, last_hash) != (head.last_id, head.hash):
            reason = f"the log ends at {last_id} where {head.last_id} was written last"
            return VerifyResult(False, last_id, last_id + 1, reason)
        return VerifyResult(True, last_id)


def canonical(body: Mapping[str, JsonValue]) -> str:
    """The one JSON text of a body: keys sorted, no spaces, no NaN."""
    return json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _digest(*, id: int, at: float, kind: str, subject: str, body: str, previous_hash: str) -> str:  # noqa: A002
    text = json.dumps([id, at, kind, subject, body, previous_hash], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _fault(row: Row[tuple[object, ...]], last_id: int, last_hash: str) -> str:
    if row.id != last_id + 1:
        return f"the entries between {last_id} and {row.id} are missing"
    if row.previous_hash != last_hash:
        return "it does not follow the entry before it"
    digest = _digest(
        id=row.id,
        at=row.at,
        kind=row.kind,
        subject=row.subject,
        body=row.body,
        previous_hash=row.previous_hash,
    )
    return "" if digest == row.hash else "its content was changed"


def _entry(row: Row[tuple[object, ...]]) -> LedgerEntry:
    return LedgerEntry(
        id=row.id,
        at=from_epoch(row.at),
        kind=row.kind,
        subject=row.subject,
        body=json.loads(row.body),
        previous_hash=row.previous_hash,
        hash=row.hash,
    )
