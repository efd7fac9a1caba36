"""A real PostgreSQL server for the test run, and an empty database for each test."""

from __future__ import annotations

import getpass
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.services.processes import LOOPBACK, free_port, needed, started

_FOLDERS = tuple(
    str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
)
_USER = "prime_spark"
# It is thrown away afterwards: what makes it safe against power loss only makes it slow.
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=16MB")


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server in a directory of its own, TCP on loopback only; gives its address."""
    postgres, initdb = needed("postgres", *_FOLDERS), needed("initdb", *_FOLDERS)
    folder = Path(tempfile.mkdtemp(prefix="prime-spark-postgres-"))
    password = secrets.token_hex(8)
    try:
        _init(initdb, folder, password)
        port = free_port()
        address = f"postgresql://{_USER}:{password}@{LOOPBACK}:{port}"
        options = [f"port={port}", f"listen_addresses={LOOPBACK}", "unix_socket_directories="]
        command = [postgres, "-D", str(folder / "data")]
        for option in (*options, *_FAST):
            command += ["-c", option]

        def ready() -> bool:
            psycopg.connect(f"{address}/postgres", connect_timeout=2).close()
            return True

        quick = signal.SIGQUIT  # without writing back what is deleted right after
        log = folder / "server.out"
        with started(_as_nobody_special(command), ready=ready, log=log, stop_with=quick):
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """The address of the PostgreSQL server of this test run, without a database."""
    with postgres_server() as address:
        yield address


@pytest.fixture
def postgres_url(postgres_address: str) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"test_{secrets.token_hex(6)}"
    _administer(postgres_address, f"CREATE DATABASE {name}")
    yield f"{postgres_address}/{name}"
    _administer(postgres_address, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(address: str, statement: str) -> None:
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(statement.encode())


def _init(initdb: str, folder: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if os.geteuid() == 0:
        account = pwd.getpwnam(_account())
        for path in (folder, secret):
            os.chown(path, account.pw_uid, account.pw_gid)
    command = [initdb, "-D", str(folder / "data"), "-U", _USER, "--pwfile", str(secret)]
    command += ["--auth", "scram-sha-256", "--locale", "C", "--encoding", "UTF8", "--no-sync"]
    subprocess.run(_as_nobody_special(command), check=True, capture_output=True)


def _as_nobody_special(command: Sequence[str]) -> list[str]:
    """PostgreSQL refuses to run as root: use another account then."""
    if os.geteuid() != 0:
        return list(command)
    account = pwd.getpwnam(_account())
    setpriv = needed("setpriv")
    identity = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return [setpriv, *identity, *command]


def _account() -> str:
    if os.geteuid() != 0:
        return getpass.getuser()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
