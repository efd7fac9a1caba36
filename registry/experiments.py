"""Experiments, their looks, and who may conclude them.

An experiment belongs to whoever holds its lease. Every claim raises the token, and each write
names the token it was claimed with, in the same transaction: a holder that was paused and came
back too late is refused, whatever its clock says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from config.clock import Clock, epoch
from config.errors import ConflictError, InputError, StaleToken
from registry.experiment_rows import (
    experiment_from_row,
    experiment_to_row,
    look_from_json,
    look_to_json,
)
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import experiments, looks
from registry.lifecycle import LifecycleStore
from registry.records import (
    Experiment,
    ExperimentState,
    Look,
    TrialLease,
    TrialVerdict,
)

__all__ = ["ExperimentStore", "LifecycleStore"]

_SAME = ("model", "champion", "challenger", "mode", "salt", "weight", "config")


class ExperimentStore:
    """Experiments of one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def create(self, experiment: Experiment) -> Experiment:
        """Store a new experiment; the same one again gives back what is stored.

        Raises:
            ConflictError: the id is taken by another configuration, or the model has another
                experiment running; nothing was changed.
        """
        with writing(self._engine) as connection:
            lock(connection, f"experiments of {experiment.model}")
            known = _find(connection, experiment.id)
            if known is not None:
                return _same(known, experiment)
            self._refuse_second(connection, experiment)
            connection.execute(insert(experiments), experiment_to_row(experiment))
            self._events.append(
                connection,
                "experiment_started",
                experiment.id,
                {
                    "model": experiment.model,
                    "champion": experiment.champion,
                    "challenger": experiment.challenger,
                    "mode": experiment.mode.value,
                    "weight": experiment.weight,
                    "config": experiment.config.model_dump(mode="json"),
                },
            )
        return experiment

    def get(self, id: str) -> Experiment | None:  # noqa: A002 - the word the callers use
        """The experiment of that id, or None."""
        with reading(self._engine) as connection:
            return _find(connection, id)

    def running(self, model: str | None = None) -> list[Experiment]:
        """Experiments that take traffic now, of one model or of all, oldest first."""
        return self._select(model, ExperimentState.RUNNING)

    def all(self, model: str | None = None) -> list[Experiment]:
        """Every experiment, of one model or of all, oldest first."""
        return self._select(model, None)

    def claim(self, id: str, holder: str, ttl_s: float) -> TrialLease:  # noqa: A002
        """Take the lease of a running experiment for `ttl_s` seconds.

        A holder that claims again gets a new token too, so of two processes under one name only
        the later one may write.

        Raises:
            ConflictError: another holder's lease is alive, or the experiment is finished.
            InputError: no such experiment.
        """
        now = self._clock.now()
        with writing(self._engine) as connection:
            row = _locked(connection, id)
            _refuse_finished(row)
            expires = row["lease_expires_at"]
            alive = row["lease_holder"] is not None and expires > epoch(now)
            if alive and row["lease_holder"] != holder:
                raise ConflictError(
                    f"experiment {id} is held by {row['lease_holder']} for another "
                    f"{expires - epoch(now):.0f} s; wait or stop that holder"
                )
            lease = TrialLease(
                id, holder, row["lease_token"] + 1, now + timedelta(seconds=ttl_s), ttl_s
            )
            _write_lease(connection, lease)
        return lease

    def renew(self, lease: TrialLease) -> TrialLease:
        """Hold on to the lease for its time from now on.

        Raises:
            StaleToken: somebody else claimed it.
            ConflictError: the experiment is finished.
        """
        renewed = replace(lease, expires_at=self._clock.now() + timedelta(seconds=lease.ttl_s))
        with writing(self._engine) as connection:
            _refuse_finished(_owned(connection, lease))
            _write_lease(connection, renewed)
        return renewed

    def release(self, lease: TrialLease) -> None:
        """Give the lease back, so that another holder need not wait; a stale one is ignored."""
        with writing(self._engine) as connection:
            connection.execute(
                update(experiments)
                .where(experiments.c.id == lease.id, experiments.c.lease_token == lease.token)
                .values(lease_expires_at=0.0)
            )

    def record_look(self, lease: TrialLease, look: Look) -> None:
        """Store a look; the same look again changes nothing.

        Raises:
            StaleToken: somebody else claimed the experiment.
            ConflictError: it is finished, or this number stands for another look already.
        """
        body = look_to_json(look)
        with writing(self._engine) as connection:
            _refuse_finished(_owned(connection, lease))
            here = (looks.c.experiment_id == lease.id) & (looks.c.number == look.number)
            stored = connection.scalar(select(looks.c.body).where(here))
            if stored is not None and stored != body:
                raise ConflictError(
                    f"look {look.number} of experiment {lease.id} is recorded with other counts; "
                    "read the looks again and go on with the next number"
                )
            if stored is None:
                row = {"experiment_id": lease.id, "number": look.number, "body": body}
                connection.execute(insert(looks), row)

    def looks(self, id: str) -> list[Look]:  # noqa: A002
        """The looks of an experiment in their order."""
        query = select(looks.c.body).where(looks.c.experiment_id == id).order_by(looks.c.number)
        with reading(self._engine) as connection:
            return [look_from_json(body) for body in connection.scalars(query)]

    def finish(self, lease: TrialLease, verdict: TrialVerdict, reason: str) -> Experiment:
        """End an experiment; the same verdict again changes nothing.

        Raises:
            StaleToken: somebody else claimed it.
            ConflictError: it ended with another verdict.
        """
        with writing(self._engine) as connection:
            row = _owned(connection, lease)
            if row["state"] == ExperimentState.FINISHED and row["verdict"] != verdict:
                _refuse_finished(row)
            if row["state"] == ExperimentState.RUNNING:
                values = {
                    "state": ExperimentState.FINISHED.value,
                    "verdict": verdict.value,
                    "reason": reason,
                    "finished_at": epoch(self._clock.now()),
                    "lease_expires_at": 0.0,
                }
                connection.execute(
                    update(experiments).where(experiments.c.id == lease.id).values(**values)
                )
                body: Mapping[str, JsonValue] = {"verdict": verdict.value, "reason": reason}
                self._events.append(connection, "experiment_finished", lease.id, body)
            return experiment_from_row(_locked(connection, lease.id))

    def link(self, id: str, *, flow_run_id: str | None = None, run_id: str | None = None) -> None:  # noqa: A002
        """Note the Prefect flow run or the MLflow run of an experiment, for looking it up."""
        links = {"flow_run_id": flow_run_id, "run_id": run_id}
        values = {name: value for name, value in links.items() if value is not None}
        with writing(self._engine) as connection:
            _locked(connection, id)
            if values:
                connection.execute(
                    update(experiments).where(experiments.c.id == id).values(**values)
                )

    def _select(self, model: str | None, state: ExperimentState | None) -> list[Experiment]:
        query = select(experiments).order_by(experiments.c.started_at, experiments.c.id)
        if model is not None:
            query = query.where(experiments.c.model == model)
        if state is not None:
            query = query.where(experiments.c.state == state.value)
        with reading(self._engine) as connection:
            return [experiment_from_row(row) for row in connection.execute(query).mappings()]

    def _refuse_second(self, connection: Connection, experiment: Experiment) -> None:
        other = connection.scalar(
            select(experiments.c.id).where(
                experiments.c.model == experiment.model,
                experiments.c.state == ExperimentState.RUNNING.value,
            )
        )
        if other is not None:
            raise ConflictError(
                f"{experiment.model} is in experiment {other} already; wait for its end or "
                "cancel it"
            )


def _find(connection: Connection, id: str) -> Experiment | None:  # noqa: A002
    query = select(experiments).where(experiments.c.id == id)
    row = connection.execute(query).mappings().one_or_none()
    return experiment_from_row(row) if row is not None else None


def _same(known: Experiment, wanted: Experiment) -> Experiment:
    differing = [name for name in _SAME if getattr(known, name) != getattr(wanted, name)]
    if differing:
        raise ConflictError(
            f"experiment {known.id} exists with another {', '.join(differing)}; use a new test id"
        )
    return known


def _locked(connection: Connection, id: str) -> RowMapping:  # noqa: A002
    query = select(experiments).where(experiments.c.id == id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise InputError(f"there is no experiment {id}; list them to see which there are")
    return row


def _owned(connection: Connection, lease: TrialLease) -> RowMapping:
    row = _locked(connection, lease.id)
    if row["lease_token"] != lease.token:
        raise StaleToken(
            f"experiment {lease.id} was claimed by {row['lease_holder']} after {lease.holder}; "
            "leave it to that holder"
        )
    return row


def _refuse_finished(row: RowMapping) -> None:
    if row["state"] == ExperimentState.FINISHED:
        raise ConflictError(
            f"experiment {row['id']} has ended ({row['verdict']}: {row['reason']}); start a new one"
        )


def _write_lease(connection: Connection, lease: TrialLease) -> None:
    connection.execute(
        update(experiments)
        .where(experiments.c.id == lease.id)
        .values(
            lease_holder=lease.holder,
            lease_token=lease.token,
            lease_expires_at=epoch(lease.expires_at),
        )
    )
