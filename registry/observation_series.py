"""The names of the recorded series and their numbers in the ledger.

A number is never given twice: what was packed under it would turn up under another name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from registry.agent_records import Observation
from registry.ledger.agent_schema import series
from registry.ledger.database import insert_into

MAX_SERIES = 4000

_MAX_NAME = 200
_MAX_UNIT = 50
_MAX_LABELS = 2000

Labels = tuple[tuple[str, str], ...]
# Target, metric and labels: what tells one series from another.
Key = tuple[str, str, Labels]


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of a target with its labels; `id` is its number in the ledger."""

    id: int
    target: str
    metric: str
    labels: Labels
    unit: str


class SeriesNumbers:
    """Finds the number of each series and gives new ones; remembers them between calls."""

    def __init__(self) -> None:
        self._known: dict[Key, int] = {}
        self._state: tuple[int, int] | None = None

    def of(
        self, connection: Connection, observations: Sequence[Observation]
    ) -> list[tuple[Observation, int]]:
        """The observations with the numbers of their series, without those that can have none.

        Call it in a write transaction that holds the lock of the observations.
        """
        self._refresh(connection)
        keys = [(one.target, one.metric, one.labels) for one in observations]
        fresh = {
            key: one.unit
            for key, one in zip(keys, observations, strict=True)
            if key not in self._known
        }
        if fresh:
            self._add(connection, fresh)
        known = self._known
        return [
            (one, known[key]) for key, one in zip(keys, observations, strict=True) if key in known
        ]

    def forget(self) -> None:
        """Read everything again at the next call: the transaction of the last one was undone."""
        self._state = None

    def _add(self, connection: Connection, fresh: Mapping[Key, str]) -> None:
        room = MAX_SERIES - len(self._known)
        rows = [_row(key, unit) for key, unit in fresh.items() if _is_name(key)]
        rows = [row for row in rows if len(row["labels"]) <= _MAX_LABELS][: max(room, 0)]
        if rows:
            connection.execute(insert_into(connection, series).on_conflict_do_nothing(), rows)
            self._refresh(connection)

    def _refresh(self, connection: Connection) -> None:
        """Other processes name series and drop them, though never the one of the last number."""
        row = connection.execute(select(func.count(), func.max(series.c.id)).select_from(series))
        count, last = row.one()
        state = (int(count), int(last or 0))
        if state != self._state:
            found = read_series(connection)
            self._known = {(one.target, one.metric, one.labels): one.id for one in found}
            self._state = state


def read_series(
    connection: Connection, target: str | None = None, metric: str | None = None
) -> list[Series]:
    """The recorded series, by name."""
    query = select(series).order_by(series.c.target, series.c.metric, series.c.labels)
    if target is not None:
        query = query.where(series.c.target == target)
    if metric is not None:
        query = query.where(series.c.metric == metric)
    return [
        Series(row.id, row.target, row.metric, _labels(row.labels), row.unit)
        for row in connection.execute(query)
    ]


def drop_series(connection: Connection, kept: Collection[int]) -> int:
    """Drop the names of all series but those kept and the newest; return how many."""
    newest = connection.scalar(select(func.max(series.c.id)))
    known = set(connection.scalars(select(series.c.id)))
    gone = known - set(kept) - {newest}
    for one in sorted(gone):
        connection.execute(delete(series).where(series.c.id == one))
    return len(gone)


def _labels(text: str) -> Labels:
    return tuple((str(name), str(held)) for name, held in json.loads(text))


def _row(key: Key, unit: str) -> dict[str, str]:
    target, metric, labels = key
    held = unit[:_MAX_UNIT] if unit.isprintable() else ""
    text = json.dumps(labels, separators=(",", ":"))
    return {"target": target, "metric": metric, "labels": text, "unit": held}


def _is_name(key: Key) -> bool:
    """No database holds a NUL, nor half of a surrogate pair; labels are written in ASCII."""
    return all(0 < len(name) <= _MAX_NAME and name.isprintable() for name in key[:2])
