"""Where each version stands in the model life-cycle; moved only by compare-and-set."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from config.clock import Clock, epoch, from_epoch
from config.errors import ConflictError
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import lifecycle
from registry.records import Stage, VersionStage


class LifecycleStore:
    """The stages of one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def get(self, model: str, version: int) -> VersionStage | None:
        """The stage of a version; None when it was never seen."""
        with reading(self._engine) as connection:
            return _stage(connection, model, version)

    def all(self, model: str) -> list[VersionStage]:
        """The stages of a model's versions, by version."""
        query = select(lifecycle).where(lifecycle.c.model == model).order_by(lifecycle.c.version)
        with reading(self._engine) as connection:
            return [_from_row(row) for row in connection.execute(query).mappings()]

    def put(  # noqa: PLR0913 - these are the fields of a stage
        self,
        model: str,
        version: int,
        expected: Stage | None,
        to: Stage,
        reason: str,
        *,
        flow_run_id: str | None = None,
        run_id: str | None = None,
    ) -> VersionStage:
        """Move a version from the expected stage to another; None means not seen before.

        Raises:
            ConflictError: it stands elsewhere; nothing was changed.
        """
        after = VersionStage(model, version, to, reason, flow_run_id, run_id, self._clock.now())
        with writing(self._engine) as connection:
            lock(connection, f"lifecycle {model}")
            known = _stage(connection, model, version)
            found = known.stage if known else None
            if found != expected:
                raise ConflictError(
                    f"{model} version {version} is {found or 'not seen yet'}, not "
                    f"{expected or 'new'}; read its stage again"
                )
            self._store(connection, after, found)
        return after

    def _store(self, connection: Connection, after: VersionStage, found: Stage | None) -> None:
        here = (lifecycle.c.model == after.model) & (lifecycle.c.version == after.version)
        values = {
            "stage": after.stage.value,
            "reason": after.reason,
            "flow_run_id": after.flow_run_id,
            "run_id": after.run_id,
            "at": epoch(after.at),
        }
        if found is None:
            key = {"model": after.model, "version": after.version}
            connection.execute(insert(lifecycle), values | key)
        else:
            connection.execute(update(lifecycle).where(here).values(**values))
        body: Mapping[str, JsonValue] = {
            "version": after.version,
            "from": found.value if found else None,
            "to": after.stage.value,
            "reason": after.reason,
        }
        self._events.append(connection, "stage", after.model, body)


def _stage(connection: Connection, model: str, version: int) -> VersionStage | None:
    query = select(lifecycle).where(lifecycle.c.model == model, lifecycle.c.version == version)
    row = connection.execute(query).mappings().one_or_none()
    return _from_row(row) if row is not None else None


def _from_row(row: RowMapping) -> VersionStage:
    return VersionStage(
        model=row["model"],
        version=row["version"],
        stage=Stage(row["stage"]),
        reason=row["reason"],
        flow_run_id=row["flow_run_id"],
        run_id=row["run_id"],
        at=from_epoch(row["at"]),
    )
