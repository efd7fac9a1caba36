"""A ledger that is filled with a valid chain of events faster than one transaction each."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import JsonValue
from sqlalchemy import select

from config.clock import SystemClock
from registry.agent_actions import ActionStore
from registry.ledger.database import open_ledger, reading, writing
from registry.ledger.events import EventLog, _digest, canonical
from registry.ledger.schema import event_head
from registry.ledger.schema import events as event_table

_BATCH = 20_000
# An action's life is about this many events.
_PER_ACTION = 8
_APPENDS = 20


class BigLedger:
    """One ledger file that grows; everything asked of it goes through the real stores."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = 0
        self._engine = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
        clock = SystemClock()
        self._log = EventLog(self._engine, clock)
        self._store = ActionStore(self._engine, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    @property
    def megabytes(self) -> float:
        """Size of the database's files."""
        return sum(file.stat().st_size for file in self._folder.glob("ledger.db*")) / 1e6

    def grow(self, size: int) -> None:
        """Add events until there are `size` of them."""
        with reading(self._engine) as connection:
            head = connection.execute(select(event_head.c.last_id, event_head.c.hash)).one()
        last_id, last_hash = int(head.last_id), str(head.hash)
        while last_id < size:
            rows = []
            for _ in range(min(_BATCH, size - last_id)):
                row = _row(last_id + 1, last_hash)
                last_id, last_hash = last_id + 1, _digest(**row)  # type: ignore[arg-type]
                rows.append(row | {"hash": last_hash})
            with writing(self._engine) as connection:
                connection.execute(event_table.insert(), rows)
                connection.execute(event_head.update().values(last_id=last_id, hash=last_hash))
        self._size = size

    def append(self) -> None:
        """Append some events, each in a transaction of its own."""
        for number in range(_APPENDS):
            self._log.append(None, "action", "action-appended", {"number": number})

    def story(self) -> None:
        """The whole story of an action in the middle."""
        subject = f"action-{self._size // 2 // _PER_ACTION}"
        assert len(self._store.stories(subject)) == _PER_ACTION

    def page(self) -> None:
        """A page of events near the end."""
        assert len(self._log.list(after=max(self._size - 150, 0), limit=100)) == 100

    def newest_of_kind(self) -> None:
        """The last page of one kind."""
        assert self._log.list(kind="action", after=max(self._size - 500, 0), limit=100)

    def verify(self) -> None:
        """Compute the whole chain again."""
        assert self._log.verify().ok


def _row(number: int, previous_hash: str) -> dict[str, object]:
    body: dict[str, JsonValue] = {
        "from": "applied",
        "to": "verifying",
        "reason": "its effect is measured",
        "token": 3,
    }
    return {
        "id": number,
        "at": 1_767_614_400.0 + number,
        "kind": "action",
        "subject": f"action-{number // _PER_ACTION}",
        "body": canonical(body),
        "previous_hash": previous_hash,
    }
