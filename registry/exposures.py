"""What was served, per worker, version and minute: written by workers, summed by experiments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, delete, select, update

from registry.ledger.database import insert_into, reading, writing
from registry.ledger.schema import EXPOSURES_COMPACTED, exposures, meta
from registry.records import ExposureTotals, ExposureWindow, Variant

_HOUR_S = 3600.0
_MERGED = "*"
_PLAIN = (
    "worker",
    "model",
    "version",
    "started_at",
    "count",
    "errors",
    "over_objective",
    "latency_sum_ms",
    "latency_sumsq",
)
_KEY = ("worker", "model", "version", "variant", "experiment_id", "started_at")


class ExposureStore:
    """Writes, sums and compacts exposure windows in one ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def upsert(self, windows: Sequence[ExposureWindow]) -> None:
        """Set windows to their absolute values; the same windows again change nothing.

        Windows older than the last compaction are left out: their hour is summed up already, and
        whether they are in it is no longer known.

        Raises:
            LedgerUnavailable: nothing was written; the next flush carries the same numbers.
        """
        if not windows:
            return
        with writing(self._engine) as connection:
            watermark = _watermark(connection, share=True)
            rows = [_row(window) for window in windows if window.started_at >= watermark]
            if rows:
                # Always in the order of the key, or two workers could wait for each other.
                _upsert(connection, sorted(rows, key=_order))

    def totals(self, experiment_id: str) -> dict[Variant, ExposureTotals]:
        """Sums of an experiment by variant; a variant nobody saw is absent."""
        windows = self.series(experiment_id)
        seen = sorted({window.variant for window in windows})
        return {v: ExposureTotals.of(w for w in windows if w.variant is v) for v in seen}

    def version_totals(self, model: str, version: int, since: float) -> ExposureTotals:
        """Sums of a version over windows that started at `since` (epoch seconds) or later."""
        here = and_(
            exposures.c.model == model,
            exposures.c.version == version,
            exposures.c.started_at >= since,
        )
        return ExposureTotals.of(self._select(here))

    def series(self, experiment_id: str) -> list[ExposureWindow]:
        """Every window of an experiment, oldest first."""
        return self._select(exposures.c.experiment_id == experiment_id)

    def compact(self, before: float) -> int:
        """Join the minutes that started before `before` into hours, over all workers.

        Windows that belong to the hour of `before` itself stay, so an hour is joined once.

        Returns:
            The number of rows saved.
        """
        limit = before - before % _HOUR_S
        with writing(self._engine) as connection:
            start = _watermark(connection, share=False)
            span = and_(exposures.c.started_at >= start, exposures.c.started_at < limit)
            windows = [
                _window(row) for row in connection.execute(select(exposures).where(span)).mappings()
            ]
            merged = _by_hour(windows)
            connection.execute(delete(exposures).where(span))
            if merged:
                _upsert(connection, [_row(window) for window in merged])
            connection.execute(
                update(meta)
                .where(meta.c.name == EXPOSURES_COMPACTED)
                .values(value=repr(max(start, limit)))
            )
        return len(windows) - len(merged)

    def _select(self, where: ColumnElement[bool]) -> list[ExposureWindow]:
        query = select(exposures).where(where).order_by(exposures.c.started_at)
        with reading(self._engine) as connection:
            return [_window(row) for row in connection.execute(query).mappings()]


def _order(row: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _KEY)


def _by_hour(windows: Iterable[ExposureWindow]) -> list[ExposureWindow]:
    members: dict[tuple[object, ...], list[ExposureWindow]] = {}
    for window in windows:
        hour = window.started_at - window.started_at % _HOUR_S
        key = (window.model, window.version, window.variant, window.experiment_id, hour)
        members.setdefault(key, []).append(replace(window, worker=_MERGED, started_at=hour))
    return [_merge(group) for group in members.values()]


def _merge(group: list[ExposureWindow]) -> ExposureWindow:
    totals = ExposureTotals.of(group)
    return replace(
        group[0],
        count=totals.count,
        errors=totals.errors,
        over_objective=totals.over_objective,
        latency_sum_ms=totals.latency_sum_ms,
        latency_sumsq=totals.latency_sumsq,
        sketch=totals.sketch,
    )


def _watermark(connection: Connection, *, share: bool) -> float:
    # Writers share this row's lock, compaction has it alone: a window is either in time or late.
    query = select(meta.c.value).where(meta.c.name == EXPOSURES_COMPACTED)
    return float(connection.scalar(query.with_for_update(read=share)) or 0.0)


def _upsert(connection: Connection, rows: list[dict[str, object]]) -> None:
    statement = insert_into(connection, exposures)
    values = {name: statement.excluded[name] for name in rows[0] if name not in _KEY}
    connection.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=values), rows)


def _row(window: ExposureWindow) -> dict[str, object]:
    return asdict(window) | {
        "variant": window.variant.value,
        "experiment_id": window.experiment_id or "",
        "sketch": json.dumps(window.sketch, separators=(",", ":")),
    }


def _window(row: RowMapping) -> ExposureWindow:
    # By name in brackets: a row's `.count` is a method of tuples.
    return ExposureWindow(
        **{name: row[name] for name in _PLAIN},
        variant=Variant(row["variant"]),
        experiment_id=row["experiment_id"] or None,
        sketch={int(bucket): count for bucket, count in json.loads(row["sketch"]).items()},
    )
