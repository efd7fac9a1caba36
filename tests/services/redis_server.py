"""A real Redis server for the test run, and one of its own for each test that configures it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from tests.services.processes import LOOPBACK, free_port, needed, started


@dataclass(frozen=True, slots=True)
class RunningRedis:
    """A server that answers on loopback."""

    port: int
    pid: int
    password: str = ""

    @property
    def url(self) -> str:
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}{LOOPBACK}:{self.port}"

    def client(self) -> Redis:
        return Redis(LOOPBACK, self.port, password=self.password or None, protocol=2)


@contextmanager
def running_redis(*options: str, password: str = "") -> Iterator[RunningRedis]:
    """Run a server until the block ends; nothing is written to disk.

    Args:
        options: as on its command line: `--maxmemory`, `8mb`.
        password: asked of every client; none by default.
    """
    program = needed("redis-server", "/usr/bin", "/usr/local/bin")
    folder = Path(tempfile.mkdtemp(prefix="prime-spark-redis-"))
    port = free_port()
    command = [program, "--port", str(port), "--bind", LOOPBACK, "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    if password:
        command += ["--requirepass", password]

    def ready() -> bool:
        with Redis(LOOPBACK, port, password=password or None, protocol=2) as client:
            return bool(client.ping())

    try:
        with started([*command, *options], ready=ready, log=folder / "server.out") as process:
            yield RunningRedis(port, process.pid, password)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_server() -> Iterator[RunningRedis]:
    """A Redis server with 8 MB, which drops what was used longest ago."""
    with running_redis("--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru") as server:
        yield server
