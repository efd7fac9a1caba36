"""What the agent has seen, kept in a bounded space: single values, five minutes, hours.

The values of one moment are one row of the ledger, so a tick of the agent is one small write. A
tidy-up (`registry.observation_tidying`) packs them by target and joins the old ones into ever
longer buckets. Every value is kept in one place only; asking puts the places together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from registry.agent_records import Observation
from registry.ledger.agent_schema import blocks, ticks
from registry.ledger.database import lock, reading, writing
from registry.observation_codec import (
    Bucket,
    Points,
    pack_tick,
    rolled_up,
    unpack_block,
    unpack_tick,
)
from registry.observation_series import Series, SeriesNumbers, read_series
from registry.observation_tidying import LOCK, SPANS, Limits, Tidied, read_ticks, tidy


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of observations: those without a usable number or name are refused."""

    kept: int
    refused: int


@dataclass(frozen=True, slots=True)
class SeriesPoints:
    """The recorded points of a series within a time, oldest first.

    Attributes:
        buckets: start, count, mean, lowest, highest and last of each.
    """

    series: Series
    buckets: Sequence[Bucket]


class ObservationStore:
    """The observations of one ledger; every method may raise LedgerUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = SeriesNumbers()

    def record(self, observations: Collection[Observation]) -> Recorded:
        """Keep observations, in one transaction; recording the same again changes nothing.

        Of two values of one series at the same moment the later one holds. Refused are values that
        are not finite, unusable names, and new series beyond `MAX_SERIES`.
        """
        usable = [one for one in observations if math.isfinite(one.value) and 0 < one.at < 1e11]
        kept = 0
        if usable:
            try:
                with writing(self._engine) as connection:
                    lock(connection, LOCK)
                    kept = self._record(connection, usable)
            except BaseException:
                self._numbers.forget()
                raise
        return Recorded(kept, len(observations) - kept)

    def series(self, target: str | None = None, metric: str | None = None) -> list[Series]:
        """The recorded series, by target, metric and labels."""
        with reading(self._engine) as connection:
            return read_series(connection, target, metric)

    def query(
        self, target: str, metric: str, since: float, until: float, step: int = 0
    ) -> list[SeriesPoints]:
        """The points of all series of a metric within a time; series without any are left out.

        Args:
            target: the target's name.
            metric: the metric's name.
            since: the first moment, seconds since the epoch.
            until: the last one.
            step: length of the buckets in seconds; 0 gives everything as finely as it is kept.
        """
        with reading(self._engine) as connection:
            known = {one.id: one for one in read_series(connection, target, metric)}
            found: dict[int, list[Bucket]] = defaultdict(list)
            for one, points in _points(connection, since, until, known, [target]):
                found[one] += _within(points, since, until)
        return [
            SeriesPoints(series, _ordered(found[one], step))
            for one, series in known.items()
            if found[one]
        ]

    def history(
        self, since: float, until: float, targets: Collection[str] | None = None
    ) -> dict[tuple[str, str], list[Observation]]:
        """Everything seen within a time, by target and metric, oldest first.

        Where only buckets are left, their means stand at their starts. Of observations of the same
        moment the one without labels, of the whole target, comes last.
        """
        with reading(self._engine) as connection:
            named = {
                one.id: one
                for one in read_series(connection)
                if targets is None or one.target in targets
            }
            found: dict[tuple[str, str], list[Observation]] = defaultdict(list)
            for one, points in _points(connection, since, until, named, targets):
                series = named[one]
                found[series.target, series.metric] += _observations(series, points, since, until)
        for observations in found.values():
            observations.sort(key=lambda seen: (seen.at, not seen.labels))
        return {key: observations for key, observations in found.items() if observations}

    def compact(self, now: float, limits: Limits) -> Tidied:
        """Join what is old and drop what does not fit; cheap when there is nothing to do.

        It goes in small transactions, each of which leaves everything in one place only: it may be
        interrupted at any moment and begun again.
        """
        return tidy(self._engine, now, limits)

    def _record(self, connection: Connection, observations: Sequence[Observation]) -> int:
        moments: dict[float, dict[int, float]] = defaultdict(dict)
        numbered = self._numbers.of(connection, observations)
        for one, number in numbered:
            moments[one.at][number] = one.value
        for at, values in moments.items():
            here = ticks.c.at == at
            body = connection.scalar(select(ticks.c.body).where(here))
            if body is None:
                connection.execute(ticks.insert().values(at=at, body=pack_tick(values)))
            else:
                together = pack_tick(unpack_tick(body) | values)
                connection.execute(ticks.update().where(here).values(body=together))
        return len(numbered)


def _points(
    connection: Connection,
    since: float,
    until: float,
    wanted: Mapping[int, Series],
    targets: Collection[str] | None,
) -> Iterator[tuple[int, Points]]:
    """The points of the wanted series, at least those within the time, oldest first in each."""
    for step in sorted(SPANS, reverse=True):
        query = (
            select(blocks.c.body)
            .where(blocks.c.step == step)
            .where(blocks.c.start > since - SPANS[step], blocks.c.start <= until)
            .order_by(blocks.c.start)
        )
        if targets is not None:
            query = query.where(blocks.c.target.in_(targets))
        for body in connection.scalars(query):
            yield from unpack_block(body, wanted).items()
    newest = (ticks.c.at >= since) & (ticks.c.at <= until)
    yield from read_ticks(connection, newest, wanted).items()


def _within(points: Points, since: float, until: float) -> list[Bucket]:
    return [bucket for bucket in points.buckets() if since <= bucket[0] <= until]


def _ordered(buckets: list[Bucket], step: int) -> list[Bucket]:
    buckets.sort(key=lambda bucket: bucket[0])
    return list(rolled_up(buckets, step).buckets()) if step else buckets


def _observations(
    series: Series, points: Points, since: float, until: float
) -> Iterator[Observation]:
    values = points.columns[0 if len(points.columns) == 1 else 1]
    for at, value in zip(points.at, values, strict=True):
        if since <= at <= until:
            yield Observation(series.target, series.metric, value, at, series.unit, series.labels)
