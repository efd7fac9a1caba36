"""The names of the recorded series and their numbers in the ledger.

A number is never given twice: what was packed under it would turn up under another name.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from registry.agent_records import Observation
from registry.ledger.agent_schema import series
from registry.ledger.database import insert_into

MAX_SERIES = 4000

_MAX_NAME = 200
_MAX_UNIT = 50
_MAX_LABELS = 2000

# Target, metric, labels as JSON: what tells one series from another.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of a target with its labels; `id` is its number in the ledger."""

    id: int
    target: str
    metric: str
    labels: tuple[tuple[str, str], ...]
    unit: str


class SeriesNumbers:
    """Finds the number of each series and gives new ones; remembers them between calls."""

    def __init__(self) -> None:
        self._known: dict[Key, int] = {}
        self._state: tuple[int, int] | None = None

    def of(self, connection: Connection, observations: Collection[Observation]) -> dict[Key, int]:
        """The numbers of the series of all observations; those beyond the limit are missing.

        Call it in a write transaction that holds the lock of the observations.
        """
        self._refresh(connection)
        wanted = {key_of(one): one.unit for one in observations}
        fresh = [key for key in wanted if key not in self._known and _is_name(key)]
        fresh = fresh[: max(MAX_SERIES - len(self._known), 0)]
        if fresh:
            rows = [_row(key, wanted[key]) for key in fresh]
            connection.execute(insert_into(connection, series).on_conflict_do_nothing(), rows)
            self._refresh(connection)
        return {key: self._known[key] for key in wanted if key in self._known}

    def forget(self) -> None:
        """Read everything again at the next call: the transaction of the last one was undone."""
        self._state = None

    def _refresh(self, connection: Connection) -> None:
        """Other processes name series and drop them, though never the one of the last number."""
        row = connection.execute(select(func.count(), func.max(series.c.id)).select_from(series))
        count, last = row.one()
        state = (int(count), int(last or 0))
        if state != self._state:
            rows = connection.execute(select(series))
            self._known = {(row.target, row.metric, row.labels): row.id for row in rows}
            self._state = state


def key_of(observation: Observation) -> Key:
    """The key of the series an observation belongs to."""
    labels = json.dumps(observation.labels, separators=(",", ":")) if observation.labels else "[]"
    return observation.target, observation.metric, labels


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


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(held)) for name, held in json.loads(text))


def _row(key: Key, unit: str) -> dict[str, str]:
    held = unit[:_MAX_UNIT] if unit.isprintable() else ""
    return {"target": key[0], "metric": key[1], "labels": key[2], "unit": held}


def _is_name(key: Key) -> bool:
    """No database holds a NUL, nor half of a surrogate pair; labels are ASCII by then."""
    target, metric, labels = key
    names = (target, metric)
    return all(0 < len(name) <= _MAX_NAME and name.isprintable() for name in names) and (
        len(labels) <= _MAX_LABELS
    )
