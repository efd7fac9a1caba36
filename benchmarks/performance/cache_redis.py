"""A real Redis that is too small: the agent sizes it; beside it the common rule, to double it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from benchmarks.performance.cache_outcome import TARGET, Outcome, outcome_of
from benchmarks.performance.redis_users import RedisUsers, redis_users
from benchmarks.performance.stage import tune_now
from benchmarks.serving_field import free_port

_MEGABYTE = 2**20
_START_S = 10.0
# Users that are answered sooner ask no faster, so the server is no busier afterwards.
_REST_S = 0.001
_PROGRAMS = "/usr/bin:/usr/local/bin"


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, its users, and how long it is looked at."""

    start_mb: int
    keys: int
    value_bytes: int
    listen_s: float
    measure_s: float
    verify_s: float
    seed: int


def scene(seed: int, *, quick: bool) -> Scene:
    """Users whose favourites fill 15 of 100 MB, to two hits of three."""
    if quick:
        return Scene(4, 12_000, 1200, 12.0, 5.0, 20.0, seed)
    return Scene(15, 30_000, 2400, 40.0, 20.0, 60.0, seed)


def resize(found: Scene) -> Outcome:
    """Let the agent tune the server once, then measure; afterwards double it instead.

    Raises:
        RuntimeError: the server or the agent failed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="prime-spark-redis-") as folder,
        _server(Path(folder), found.start_mb) as port,
        Redis(port=port, protocol=2) as client,
        redis_users(RedisUsers(port, found.keys, 0.9, found.value_bytes, found.seed, _REST_S)),
    ):
        _fill(client)
        before = _hit_rate(client, found.measure_s)
        answer = _tuned(Path(folder) / "home", port, found)
        realised = _hit_rate(client, found.measure_s)
        size = int(client.config_get("maxmemory")["maxmemory"])
        changes, rival_mb = _doubled(client, found)
    return outcome_of(
        "Redis",
        answer,
        before=before,
        realised=realised,
        sizes=(found.start_mb, size / _MEGABYTE, rival_mb),
        rival_changes=changes,
    )


def _tuned(home: Path, port: int, found: Scene) -> dict[str, Any]:
    servers = json.dumps([{"name": "redis", "url": f"redis://127.0.0.1:{port}"}])
    values = {
        "HOME": home,
        "REDIS": servers,
        "AGENT__VERIFY_SECONDS": found.verify_s,
        "AGENT__SETTLE_SECONDS": 1,
        "AGENT__COOLDOWN_SECONDS": 0,
        "AGENT__STUDY_SECONDS": 4 * found.listen_s,
        "PERFORMANCE__CACHE_RESIZE__REDIS_SECONDS": found.listen_s,
    }
    environment = {f"PRIME_SPARK_{name}": str(value) for name, value in values.items()}
    return tune_now("cache_resize", environment, home.parent, looks=5, every_s=5.0)


def _doubled(client: Redis, found: Scene) -> tuple[int, float]:
    """Double it until its hit rate is enough; return how often that took, and the size in MB."""
    client.flushall()
    size, changes = found.start_mb * _MEGABYTE, 0
    client.config_set("maxmemory", size)
    while True:
        _fill(client)
        rate = _hit_rate(client, found.measure_s)
        if rate >= TARGET or changes > 10:
            return changes, size / _MEGABYTE
        size, changes = 2 * size, changes + 1
        client.config_set("maxmemory", size)


def _fill(client: Redis) -> None:
    """Wait until it drops keys, or has all that its users ask for."""
    dropped, keys, calm = client.info("stats")["evicted_keys"], 0, 0
    while client.info("stats")["evicted_keys"] == dropped and calm < 5:
        time.sleep(1.0)
        now = client.dbsize()
        calm, keys = (calm + 1 if now - keys < keys / 500 else 0), now
    # What was there first has to be as likely to be used as what comes.
    time.sleep(2.0)


def _hit_rate(client: Redis, seconds: float) -> float:
    before = client.info("stats")
    time.sleep(seconds)
    after = client.info("stats")
    hits, misses = (after[name] - before[name] for name in ("keyspace_hits", "keyspace_misses"))
    return float(hits / (hits + misses))


@contextmanager
def _server(folder: Path, megabytes: int) -> Iterator[int]:
    program = shutil.which("redis-server", path=f"{_PROGRAMS}:{os.environ.get('PATH', '')}")
    if program is None:
        raise RuntimeError("redis-server is not installed; Debian's package redis-server has it")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--maxmemory", f"{megabytes}mb", "--maxmemory-policy", "allkeys-lru"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, time.monotonic() + _START_S)
        yield port
    finally:
        process.terminate()
        process.wait(10.0)


def _await(port: int, deadline: float) -> None:
    with Redis(port=port, protocol=2) as client:
        while True:
            try:
                client.ping()
            except RedisError:
                if time.monotonic() > deadline:
                    raise RuntimeError("the Redis server did not start") from None
                time.sleep(0.1)
            else:
                return
