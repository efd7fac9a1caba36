"""Keeps the observations within their space: packs ticks, joins old points, drops the oldest.

Each step is one small transaction that takes points out of one place and puts them into the next:
ticks into blocks of single values, those into buckets of five minutes, those into hours. So it may
stop anywhere, run twice at once or be repeated, and nothing is lost or counted twice.

When the space is used up, the kind of points that is furthest above its share of it gives way: its
oldest are joined into longer buckets before their time; hours are dropped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Delete, Engine, Select, delete, func, select, text

from registry.ledger.agent_schema import blocks, series, ticks
from registry.ledger.database import lock, reading, writing
from registry.observation_codec import (
    Points,
    joined,
    pack_block,
    rolled_up,
    series_in,
    unpack_block,
    unpack_tick,
)
from registry.observation_series import MAX_SERIES, drop_series, read_series

LOCK = "observations"
# Lengths of the buckets, and the span of time that one block of each holds, in seconds.
SPANS = {0: 3600, 300: 21_600, 3600: 604_800}

_COARSER = {0: 300, 300: 3600}
_GRACE_S = 60.0
_SHARES = {0: 0.5, 300: 0.3, 3600: 0.2}
# Observed on both databases: rows end in half-filled pages, and indexes name every row.
_PER_BYTE = {"sqlite": 1.05, "postgresql": 1.10}
_PER_ROW = {"sqlite": 1_500, "postgresql": 700}
_PER_SERIES = {"sqlite": 300, "postgresql": 400}
# PostgreSQL keeps the space of replaced rows until it is vacuumed: a part is left free for them.
_FILLED = {"sqlite": 0.95, "postgresql": 0.70}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much is kept.

    Attributes:
        raw_s: how long single values are kept, seconds.
        five_minute_s: how long averages of five minutes are kept after them.
        max_bytes: most space, with indexes.
    """

    raw_s: float
    five_minute_s: float
    max_bytes: float


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was done, in blocks, and the space taken now (an upper estimate), bytes."""

    packed: int
    joined: int
    dropped: int
    size_bytes: float


def tidy(engine: Engine, now: float, limits: Limits) -> Tidied:
    """Bring the observations within their limits."""
    work = _Tidying(engine)
    packed = 0
    while work.pack(now):
        packed += 1
    done = 0
    for step, age in ((0, limits.raw_s), (300, limits.raw_s + limits.five_minute_s)):
        while work.join_oldest(step, now - age):
            done += 1
    early, dropped = work.shrink(limits.max_bytes)
    if dropped or work.series_count() >= MAX_SERIES:
        work.drop_empty_series()
    if packed or done or early or dropped:
        work.vacuum()
    return Tidied(packed, done + early, dropped, sum(work.sizes().values()))


class _Tidying:
    """The steps, on one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kind = engine.dialect.name

    def pack(self, now: float) -> bool:
        """Pack the ticks of one span that is over, or far in the future; false without any."""
        current = _start(now - _GRACE_S, SPANS[0])
        over = (ticks.c.at < current) | (ticks.c.at >= current + 2 * SPANS[0])
        with reading(self._engine) as connection:
            oldest = connection.scalar(select(func.min(ticks.c.at)).where(over))
        return oldest is not None and self._pack_span(oldest)

    def join_oldest(self, step: int, before: float) -> bool:
        """Join the oldest block of buckets of this length that ended before a moment, if any."""
        coarser = _COARSER[step]
        query = _oldest(step).where(blocks.c.start <= before - SPANS[step])
        with reading(self._engine) as connection:
            if connection.execute(query).first() is None:
                return False
        with self._writing() as connection:
            block = connection.execute(query).first()
            if block is None:
                return False
            parts: dict[float, dict[int, Points]] = defaultdict(dict)
            for one, points in unpack_block(block.body).items():
                longer = rolled_up(points.buckets(), coarser)
                for start, part in _split(longer, SPANS[coarser]):
                    parts[start][one] = part
            for start, found in parts.items():
                _merge(connection, coarser, start, block.target, found)
            connection.execute(_delete(step, block.start, block.target))
        return True

    def shrink(self, max_bytes: float) -> tuple[int, int]:
        """Make room until everything fits; return how many blocks were joined and dropped."""
        joined_early = dropped = 0
        while True:
            sizes = self.sizes()
            if sum(sizes.values()) <= max_bytes * _FILLED[self._kind]:
                return joined_early, dropped
            for step in sorted(_SHARES, key=lambda one: sizes[one] / _SHARES[one], reverse=True):
                if self._give_way(step):
                    break
            else:
                return joined_early, dropped
            joined_early, dropped = joined_early + (step != 3600), dropped + (step == 3600)

    def sizes(self) -> dict[int, float]:
        """An upper estimate of the space taken, bytes, by length of the buckets; names are raw."""
        with reading(self._engine) as connection:
            length = func.coalesce(func.sum(func.length(blocks.c.body)), 0)
            query = select(blocks.c.step, length, func.count()).group_by(blocks.c.step)
            found = {row[0]: self._space(row[1], row[2]) for row in connection.execute(query)}
            length = func.coalesce(func.sum(func.length(ticks.c.body)), 0)
            size, rows = connection.execute(select(length, func.count()).select_from(ticks)).one()
            names = connection.scalar(select(func.count()).select_from(series)) or 0
        raw = found.get(0, 0.0) + self._space(size, rows) + names * _PER_SERIES[self._kind]
        return {**dict.fromkeys(SPANS, 0.0), **found, 0: raw}

    def series_count(self) -> int:
        """How many series have a name."""
        with reading(self._engine) as connection:
            return connection.scalar(select(func.count()).select_from(series)) or 0

    def drop_empty_series(self) -> None:
        """Forget the names of series of which nothing is left."""
        with self._writing() as connection:
            used: set[int] = set()
            for body in connection.scalars(select(blocks.c.body)):
                used |= series_in(body)
            for body in connection.scalars(select(ticks.c.body)):
                used |= unpack_tick(body).keys()
            drop_series(connection, used)

    def vacuum(self) -> None:
        """Let PostgreSQL use the space of replaced rows again; SQLite does so by itself."""
        if self._kind != "postgresql":
            return
        with reading(self._engine) as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in (ticks, blocks, series):
                alone.execute(text(f"VACUUM (SKIP_LOCKED) {table.name}"))

    def _give_way(self, step: int) -> bool:
        if step == 3600:
            return self._drop_oldest(step)
        if self.join_oldest(step, math.inf):
            return True
        if step:
            return False
        with reading(self._engine) as connection:
            oldest = connection.scalar(select(func.min(ticks.c.at)))
        return oldest is not None and self._pack_span(oldest)

    def _pack_span(self, moment: float) -> bool:
        start = _start(moment, SPANS[0])
        here = (ticks.c.at >= start) & (ticks.c.at < start + SPANS[0])
        with self._writing() as connection:
            targets = {one.id: one.target for one in read_series(connection)}
            found: dict[str, dict[int, Points]] = defaultdict(dict)
            for one, points in read_ticks(connection, here, targets).items():
                found[targets[one]][one] = points
            for target, seen in found.items():
                _merge(connection, 0, start, target, seen)
            done = connection.execute(delete(ticks).where(here))
        return done.rowcount > 0

    def _drop_oldest(self, step: int) -> bool:
        with self._writing() as connection:
            block = connection.execute(_oldest(step)).first()
            if block is not None:
                connection.execute(_delete(step, block.start, block.target))
        return block is not None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            lock(connection, LOCK)
            yield connection

    def _space(self, size: float, rows: int) -> float:
        return float(size) * _PER_BYTE[self._kind] + rows * _PER_ROW[self._kind]


def read_ticks(
    connection: Connection, where: ColumnElement[bool], wanted: Container[int]
) -> dict[int, Points]:
    """The values of the wanted series in some of the ticks."""
    found: dict[int, tuple[list[float], list[float]]] = {}
    for row in connection.execute(select(ticks).where(where).order_by(ticks.c.at)):
        for one, value in unpack_tick(row.body).items():
            if one in wanted:
                moments, values = found.setdefault(one, ([], []))
                moments.append(row.at)
                values.append(value)
    return {one: Points(moments, (values,)) for one, (moments, values) in found.items()}


def _merge(
    connection: Connection, step: int, start: float, target: str, more: Mapping[int, Points]
) -> None:
    """Add points to a block, making it where there is none."""
    here = (blocks.c.step == step) & (blocks.c.start == start) & (blocks.c.target == target)
    body = connection.scalar(select(blocks.c.body).where(here))
    held = {} if body is None else unpack_block(body)
    together = held | {one: joined(held.get(one), points, step) for one, points in more.items()}
    packed = pack_block(together)
    if body is None:
        row = {"step": step, "start": start, "target": target, "body": packed}
        connection.execute(blocks.insert().values(**row))
    else:
        connection.execute(blocks.update().where(here).values(body=packed))


def _split(points: Points, span: int) -> Iterator[tuple[float, Points]]:
    """The points by the block they belong to."""
    places: dict[float, list[int]] = defaultdict(list)
    for place, at in enumerate(points.at):
        places[_start(at, span)].append(place)
    for start, held in places.items():
        moments = [points.at[place] for place in held]
        columns = tuple([column[place] for place in held] for column in points.columns)
        yield start, Points(moments, columns)


def _oldest(step: int) -> Select[tuple[float, str, bytes]]:
    return (
        select(blocks.c.start, blocks.c.target, blocks.c.body)
        .where(blocks.c.step == step)
        .order_by(blocks.c.start, blocks.c.target)
        .limit(1)
    )


def _delete(step: int, start: float, target: str) -> Delete:
    return delete(blocks).where(
        blocks.c.step == step, blocks.c.start == start, blocks.c.target == target
    )


def _start(at: float, span: int) -> float:
    return math.floor(at / span) * float(span)
