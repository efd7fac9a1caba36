"""What the analysis found: open while it is found again, cleared when it is gone for good.

What comes and goes, as with a target that flaps, is one finding that stays open, not a new one at
each look: the event log is never thinned out, and people are told of each new one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, RowMapping, and_, insert, or_, select, update

from config.clock import Clock
from config.errors import InputError
from registry.agent_records import Finding
from registry.agent_rows import finding_from_json, finding_to_json
from registry.ledger.agent_schema import findings as table
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog

_EVENT = "finding"

CALM_S = 300.0
"""What was not found again for this long is gone."""


@dataclass(frozen=True, slots=True)
class KeptFinding:
    """A finding as last seen, since when it is open, and when it cleared."""

    finding: Finding
    first_at: float
    last_at: float
    cleared_at: float | None = None


class FindingStore:
    """The findings of one ledger; opening and clearing one is an event."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._events = EventLog(engine, clock)

    def put(self, findings: Sequence[Finding], at: float, *, targets: Collection[str] = ()) -> None:
        """Record what was found at `at`, and clear what is gone.

        Args:
            findings: all findings of the targets they are about.
            at: seconds since the epoch.
            targets: more targets that were looked at; of these, and of those with findings, every
                open finding that was not found for `CALM_S` is cleared.
        """
        looked_at = {finding.target for finding in findings} | set(targets)
        ids = {finding.id for finding in findings}
        with writing(self._engine) as connection:
            lock(connection, "agent findings")
            known = _known(connection, ids, looked_at)
            for finding in findings:
                self._put(connection, finding, known.get(finding.id), at)
            for row in known.values():
                if row["cleared_at"] is None and row["id"] not in ids and _is_gone(row, at):
                    here = table.c.id == row["id"]
                    connection.execute(update(table).where(here).values(cleared_at=at))
                    self._events.append(connection, _EVENT, row["id"], {"state": "cleared"})

    def open(self) -> list[Finding]:
        """The findings that hold now, the newest first."""
        return [kept.finding for kept in self.list(open_only=True, limit=None)]

    def list(
        self, *, open_only: bool = False, after: str | None = None, limit: int | None = 100
    ) -> list[KeptFinding]:
        """Findings by when they were last seen, the newest first, page by page.

        Args:
            open_only: leave out those that are cleared.
            after: the id of the last finding of the page before.
            limit: the most to return; None for all.

        Raises:
            InputError: there is no finding `after`.
        """
        query = select(table).order_by(table.c.last_at.desc(), table.c.id.desc()).limit(limit)
        if open_only:
            query = query.where(table.c.cleared_at.is_(None))
        with reading(self._engine) as connection:
            if after is not None:
                here = select(table.c.last_at).where(table.c.id == after)
                last: float | None = connection.scalar(here)
                if last is None:
                    raise InputError(f"there is no finding {after} to go on after")
                same = and_(table.c.last_at == last, table.c.id < after)
                query = query.where(or_(table.c.last_at < last, same))
            return [_kept(row) for row in connection.execute(query).mappings()]

    def named(self, ids: Collection[str]) -> Sequence[KeptFinding]:
        """Those of the findings that were ever found, the newest first."""
        query = select(table).where(table.c.id.in_(ids))
        query = query.order_by(table.c.last_at.desc(), table.c.id.desc())
        with reading(self._engine) as connection:
            return [_kept(row) for row in connection.execute(query).mappings()]

    def _put(
        self,
        connection: Connection,
        finding: Finding,
        known: RowMapping | None,
        at: float,
    ) -> None:
        body = finding_to_json(finding)
        values: dict[str, object] = {"target": finding.target, "body": body, "last_at": at}
        is_new = known is None or known["cleared_at"] is not None
        if is_new:
            values |= {"first_at": at, "cleared_at": None}
        if known is None:
            connection.execute(insert(table), values | {"id": finding.id})
        else:
            connection.execute(update(table).where(table.c.id == finding.id).values(**values))
        if is_new:
            event: Mapping[str, JsonValue] = {
                "state": "opened",
                "rule": finding.rule,
                "target": finding.target,
                "subject": finding.subject,
                "severity": finding.severity.value,
                "text": finding.text,
                "metrics": dict(finding.metrics),
            }
            self._events.append(connection, _EVENT, finding.id, event)


def _known(
    connection: Connection, ids: Collection[str], targets: Collection[str]
) -> dict[str, RowMapping]:
    still_open = and_(table.c.target.in_(targets), table.c.cleared_at.is_(None))
    query = select(table.c.id, table.c.target, table.c.last_at, table.c.cleared_at)
    rows = connection.execute(query.where(or_(table.c.id.in_(ids), still_open)))
    return {row["id"]: row for row in rows.mappings()}


def _is_gone(row: RowMapping, at: float) -> bool:
    # Last found in the future: the clock was set back since.
    return not 0 <= at - row["last_at"] < CALM_S


def _kept(row: RowMapping) -> KeptFinding:
    return KeptFinding(
        finding_from_json(row["body"]), row["first_at"], row["last_at"], row["cleared_at"]
    )
