"""Opening the ledger and its transactions, on SQLite (default) or PostgreSQL (by URL).

Every writer of every process goes through :func:`writing`. On SQLite that takes the write lock at
the start (BEGIN IMMEDIATE), so a transaction never finds out half-way that it cannot write; on
PostgreSQL writers that must not overtake each other take a named lock with :func:`lock`.

What this does not promise: that a commit whose connection broke did not happen. Stores are built
so that doing the same again changes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sqlalchemy import (
    Connection,
    Engine,
    RootTransaction,
    Table,
    create_engine,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from config.errors import ConfigError, DeadlineExceeded, LedgerUnavailable
from registry.ledger import agent_schema, schema

_BUSY_TIMEOUT_S = 5.0
_LOCK_POLL_S = 0.02
_WRITE_OPTION = "ledger_write"
# The tables of the agent belong to the same ledger; importing them is what declares them.
_METADATA = agent_schema.actions.metadata


def open_ledger(url: str) -> Engine:
    """Open the ledger, making file, tables and triggers where they are missing.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.

    Raises:
        ConfigError: the URL is of another kind, or the ledger is of a newer version.
        LedgerUnavailable: the database does not answer.
    """
    parsed = _parse(url)
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    try:
        with _translated(engine):
            if not _is_current(engine):
                _create(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed at the end, undone by any exception.

    Raises:
        LedgerUnavailable: the database does not answer or stays locked.
    """
    with _translated(engine), engine.connect() as plain:
        connection = plain.execution_options(**{_WRITE_OPTION: True})
        transaction = _begin(connection)
        with transaction:
            yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read transaction, which sees one state of the database and blocks nobody.

    Raises:
        LedgerUnavailable: the database does not answer.
    """
    with _translated(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # By default each statement would see what was committed since the one before it.
            connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
        yield connection


def lock(connection: Connection, name: str) -> None:
    """Hold the lock `name` until the transaction of `connection` ends.

    On SQLite a write transaction is alone already. Take named locks before the event log's.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_key(name)})


def insert_into(connection: Connection, table: Table) -> postgresql.Insert:
    """An INSERT that may say what to do on conflict, in the words of this database."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return cast("postgresql.Insert", sqlite.insert(table))  # the two offer the same methods


@contextmanager
def exclusive(engine: Engine, name: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock `name` across processes for a short effect outside of the database.

    Other ledger transactions go on meanwhile, and the lock goes with its process, however that
    ends. It is apart from the locks of :func:`lock`.

    Raises:
        DeadlineExceeded: another process held it for `timeout_s`.
        LedgerUnavailable: the database does not answer.
    """
    deadline = time.monotonic() + timeout_s
    take = _file_lock if engine.dialect.name == "sqlite" else _advisory_lock
    with take(engine, name, deadline):
        yield


def describe(engine: Engine) -> str:
    """The address of the ledger without its password, for messages."""
    return engine.url.render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "ledger.url is not a database URL; use sqlite:///path or postgresql://user@host/name"
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise ConfigError(
            f"ledger.url names {parsed.drivername}; the ledger takes sqlite:///path or "
            "postgresql://user@host/name"
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError(
            "ledger.url names no file; several processes share the ledger, use sqlite:///path"
        )
    return parsed


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database)).expanduser().absolute()
    _claim_file(path)
    engine = create_engine(
        url.set(database=str(path)),
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
        pool_timeout=_BUSY_TIMEOUT_S,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: object, _entry: ConnectionPoolEntry) -> None:
        # The driver must not open transactions by itself: `_begin_sqlite` does.
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin_sqlite(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE_OPTION, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _claim_file(path: Path) -> None:
    """Make file and directory readable by their owner only."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise LedgerUnavailable(
            f"cannot open the ledger {path} ({error.strerror}); check the path and its permissions"
        ) from error


def _postgresql(url: URL) -> Engine:
    wait_ms = int(_BUSY_TIMEOUT_S * 1000)
    options = f"-c lock_timeout={wait_ms} -c statement_timeout={4 * wait_ms} -c timezone=UTC"
    return create_engine(
        url,
        connect_args={"connect_timeout": int(_BUSY_TIMEOUT_S), "options": options},
        pool_pre_ping=True,
        pool_timeout=_BUSY_TIMEOUT_S,
    )


def _is_current(engine: Engine) -> bool:
    with engine.connect() as connection:
        if not inspect(connection).has_table(schema.meta.name):
            return False
        found = connection.scalar(
            select(schema.meta.c.value).where(schema.meta.c.name == "schema_version")
        )
    if found is not None and int(found) > schema.SCHEMA_VERSION:
        raise ConfigError(
            f"the ledger {describe(engine)} has version {found}, this program knows up to "
            f"{schema.SCHEMA_VERSION}; use the newer program or another ledger"
        )
    return found is not None and int(found) == schema.SCHEMA_VERSION


def _create(engine: Engine) -> None:
    with writing(engine) as connection:
        lock(connection, "schema")
        _METADATA.create_all(connection)
        for statement in schema.APPEND_ONLY[engine.dialect.name]:
            connection.exec_driver_sql(statement)
        known = connection.scalar(
            select(schema.meta.c.value).where(schema.meta.c.name == "schema_version")
        )
        if known is None:
            connection.execute(
                schema.meta.insert(),
                [
                    {"name": "schema_version", "value": str(schema.SCHEMA_VERSION)},
                    {"name": schema.EXPOSURES_COMPACTED, "value": "0.0"},
                ],
            )
            connection.execute(schema.event_head.insert(), {"only": 1, "last_id": 0, "hash": ""})
        else:
            # Newer versions only add tables, which are there by now.
            connection.execute(
                schema.meta.update()
                .where(schema.meta.c.name == "schema_version")
                .values(value=str(schema.SCHEMA_VERSION))
            )


def _begin(connection: Connection) -> RootTransaction:
    try:
        return connection.begin()
    except OperationalError:
        # Many writers at once can starve one of them: it may stand in line a second time.
        return connection.begin()


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    """Turn the driver's words for "not now" into ours; mistakes in statements stay as they are."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise _unavailable(engine, error) from error
    except DatabaseError as error:
        # The driver raises the plain kind for a damaged file; its children mean other things.
        if type(error) is DatabaseError or error.connection_invalidated:
            raise _unavailable(engine, error) from error
        raise


def _unavailable(engine: Engine, error: SQLAlchemyError) -> LedgerUnavailable:
    cause = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    return LedgerUnavailable(
        f"the ledger {describe(engine)} does not answer ({cause}); check that it runs, has room "
        "and may be written",
        retry_after_s=1.0,
    )


def _lock_key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


@contextmanager
def _file_lock(engine: Engine, name: str, deadline: float) -> Iterator[None]:
    folder = Path(f"{engine.url.database}.locks")
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / hashlib.sha256(name.encode()).hexdigest()[:32]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_flock(descriptor):
            _wait(name, deadline)
        yield
    finally:
        os.close(descriptor)


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _advisory_lock(engine: Engine, name: str, deadline: float) -> Iterator[None]:
    statement = text("SELECT pg_try_advisory_xact_lock(:key)")
    key = _lock_key(f"exclusive {name}")
    with _translated(engine), engine.connect() as connection:
        while not connection.scalar(statement, {"key": key}):
            _wait(name, deadline)
        yield


def _wait(name: str, deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise DeadlineExceeded(
            f"another process has held the lock “{name}” for too long; nothing was changed, "
            "try again or look for a stopped process"
        )
    time.sleep(_LOCK_POLL_S)
