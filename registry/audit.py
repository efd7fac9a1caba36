"""Proving the ledger: the whole chain checked against itself and against its anchor; exporting it.

The chain shows what was changed, dropped, inserted or put elsewhere. The anchor shows what was cut
off or computed anew, up to the entry that was anchored last. The tables of actions and approvals
are held against the entries that tell of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from pydantic import JsonValue
from sqlalchemy import Engine, select

from config.clock import Clock, epoch
from config.errors import ConflictError, RegistryUnavailable
from registry.agent_facts import Fact, read_fact, write_fact
from registry.agent_records import canonical_json
from registry.audit_anchor import Anchor, AnchorTag
from registry.audit_rows import first_contradiction
from registry.ledger.database import reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import event_head, events

ANCHOR_FACT = "audit_anchor"
_EVENT = "audit_anchor"
_PAGE = 1000


class AnchorState(StrEnum):
    """How the ledger stands to its anchor."""

    HOLDS = "holds"
    BROKEN = "broken"
    NONE = "none"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of the ledger found.

    Attributes:
        ok: the chain holds, no anchor contradicts it, and actions and approvals are as it tells.
        checked: entries whose hashes were computed again.
        broken_id: the first entry that is not what it was; None where a row is at fault.
        reason: what is wrong; empty when nothing is.
        anchor: whether the anchor holds; `anchor_detail` says it in a sentence.
        anchored_id: the last entry the anchor covers.
    """

    ok: bool
    checked: int
    broken_id: int | None
    reason: str
    anchor: AnchorState
    anchor_detail: str
    anchored_id: int | None = None


class Audit:
    """Checks, anchors and exports one ledger.

    Args:
        tag: where the anchor is kept; None without an MLflow server.
    """

    def __init__(self, engine: Engine, clock: Clock, tag: AnchorTag | None) -> None:
        self._engine = engine
        self._clock = clock
        self._tag = tag
        self._events = EventLog(engine, clock)

    def verify(self) -> AuditReport:
        """Compute the whole chain again; compare it with its anchor, and the tables with it.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        chain = self._events.verify()
        anchor, state, detail = self._check_anchor()
        reason, broken = chain.reason, chain.broken_id
        if chain.ok and state is AnchorState.BROKEN:
            reason, broken = detail, anchor.id if anchor is not None else None
        elif chain.ok:
            reason = first_contradiction(self._engine)
        return AuditReport(
            ok=not reason,
            checked=chain.checked,
            broken_id=broken,
            reason=reason,
            anchor=state,
            anchor_detail=detail,
            anchored_id=anchor.id if anchor is not None else None,
        )

    def anchor(self, *, anew: bool = False) -> Anchor | None:
        """Put the present head into the tag; None when there is nothing new, or no server.

        Args:
            anew: do so whatever the anchor says, after a person has looked into it.

        Raises:
            ConflictError: the ledger contradicts the anchor there is, or the anchor is gone; it is
                left as it is.
            RegistryUnavailable: try again later.
        """
        if self._tag is None:
            return None
        before = None
        if not anew:
            before, state, detail = self._compared(self._tag.read())
            if state is AnchorState.BROKEN:
                raise ConflictError(detail)
        head = self._head()
        if head is None or not self._is_news(head, before):
            return None
        self._tag.write(head)
        with writing(self._engine) as connection:
            value = asdict(head)
            write_fact(connection, ANCHOR_FACT, Fact(value, "agent", head.at))
            self._events.append(connection, _EVENT, "ledger", {"id": head.id, "hash": head.hash})
        return head

    def last_anchor(self) -> Anchor | None:
        """The anchor as the ledger itself remembers it; None when it was never anchored."""
        with reading(self._engine) as connection:
            fact = read_fact(connection, ANCHOR_FACT)
        if fact is None or not isinstance(fact.value, dict):
            return None
        value = fact.value
        return Anchor(int(str(value["id"])), str(value["hash"]), float(str(value["at"])))

    def export(self, after: int = 0) -> Iterator[str]:
        """All entries with an id greater than `after` as JSON lines, oldest first.

        `hash` is the SHA-256 of the JSON list of id, at, kind, subject, the canonical text of body
        and previous_hash, so that anybody can check the lines without this program.
        """
        while True:
            query = select(events).where(events.c.id > after).order_by(events.c.id).limit(_PAGE)
            with reading(self._engine) as connection:
                rows = connection.execute(query).mappings().all()
            for row in rows:
                line: dict[str, JsonValue] = {**row, "body": json.loads(row["body"])}
                yield canonical_json(line)
            if not rows:
                return
            after = rows[-1]["id"]

    def _check_anchor(self) -> tuple[Anchor | None, AnchorState, str]:
        if self._tag is None:
            return None, AnchorState.NONE, "no MLflow server is set, so nothing is anchored"
        try:
            anchor = self._tag.read()
        except RegistryUnavailable as error:
            return None, AnchorState.UNREACHABLE, f"the anchor could not be read: {error}"
        except ConflictError as error:
            return None, AnchorState.BROKEN, str(error)
        return self._compared(anchor)

    def _compared(self, anchor: Anchor | None) -> tuple[Anchor | None, AnchorState, str]:
        if anchor is None:
            known = self.last_anchor()
            if known is None:
                return None, AnchorState.NONE, "the ledger was not anchored yet"
            return known, AnchorState.BROKEN, "the anchor is gone from MLflow; somebody removed it"
        contradiction = self._contradiction(anchor)
        if contradiction:
            return anchor, AnchorState.BROKEN, contradiction
        return anchor, AnchorState.HOLDS, f"entry {anchor.id} is as it was anchored"

    def _contradiction(self, anchor: Anchor) -> str:
        query = select(events.c.hash).where(events.c.id == anchor.id)
        with reading(self._engine) as connection:
            found = connection.scalar(query)
        if found is None:
            return f"entry {anchor.id} was anchored and is gone; the log was cut off before it"
        if found != anchor.hash:
            return f"entry {anchor.id} is not the one that was anchored; the log was written anew"
        return ""

    def _head(self) -> Anchor | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(event_head.c.last_id, event_head.c.hash)).one()
        return Anchor(row.last_id, row.hash, epoch(self._clock.now())) if row.last_id else None

    def _is_news(self, head: Anchor, before: Anchor | None) -> bool:
        """Whether there is more than the event that tells of the anchor before."""
        if before is None or head.id > before.id + 1:
            return True
        newer = self._events.list(after=before.id, limit=1)
        return bool(newer) and newer[0].kind != _EVENT
