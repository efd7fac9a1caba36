"""The target Redis on the real server: its numbers, its knobs, and what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from redis import Redis

from config.clock import SystemClock
from config.errors import ConfigError, ConflictError, InputError, UnavailableError
from optimizers.targets.base import Observed
from optimizers.targets.redis import MEGABYTE, RedisFacts, RedisTarget
from optimizers.testing import FreeGuard, check_target
from registry.agent_records import Change
from tests.services.bad_servers import Behaviour, dripping, gibberish, hanging_up, misbehaving
from tests.services.bad_servers import silent as says_nothing
from tests.services.redis_server import RunningRedis, running_redis

SIZE, POLICY = "redis.maxmemory", "redis.maxmemory-policy"
SECRET = "s3cret/word"


def _target(url: str) -> RedisTarget:
    return RedisTarget("redis", url, SystemClock())


def _values(observed: Observed) -> dict[str, float]:
    return {one.metric: one.value for one in observed.observations}


def _fill(client: Redis, keys: int) -> None:
    batch = client.pipeline(transaction=False)
    for key in range(keys):
        batch.set(f"key:{key}", "x" * 100)
    batch.execute(raise_on_error=False)


@dataclass(slots=True)
class _Stepping:
    """A guard at whose check somebody else does something: between reading and writing."""

    step: Callable[[], object]

    def check(self) -> None:
        self.step()


def test_it_conforms(redis_server: RunningRedis) -> None:
    _fill(redis_server.client(), 100)
    check_target(_target(redis_server.url), others={SIZE: 16 * MEGABYTE, POLICY: "volatile-lru"})


def test_it_tells_hits_evictions_and_memory(redis_server: RunningRedis) -> None:
    client, target = redis_server.client(), _target(redis_server.url)
    _fill(client, 10)
    first = _values(target.observe(time.time(), 5.0))
    assert "cache_hit_rate" not in first
    assert (first["keys"], first["maxmemory_mb"]) == (10.0, 8.0)
    assert 0.5 < first["memory_mb"] < 8.0
    for key in range(40):
        client.get(f"key:{key}")
    _fill(client, 50_000)
    after = target.observe(time.time(), 5.0)
    found = _values(after)
    assert found["cache_hit_rate"] == pytest.approx(0.25)
    assert found["evicted_per_second"] > 0
    assert found["refused_writes_rps"] == 0.0
    assert isinstance(after.facts, RedisFacts)
    assert after.facts.policy == "allkeys-lru"
    assert after.facts.keys == found["keys"]


def test_without_a_limit_there_is_no_limit_to_tell() -> None:
    with running_redis() as server:
        assert "maxmemory_mb" not in _values(_target(server.url).observe(time.time(), 5.0))


def test_writes_that_are_refused_for_want_of_memory_are_told() -> None:
    with running_redis("--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as server:
        target = _target(server.url)
        target.observe(time.time(), 5.0)
        _fill(server.client(), 20_000)
        assert _values(target.observe(time.time(), 5.0))["refused_writes_rps"] > 0


def test_a_person_between_reading_and_writing_wins(redis_server: RunningRedis) -> None:
    client, target = redis_server.client(), _target(redis_server.url)
    theirs = _Stepping(lambda: client.config_set("maxmemory", 5 * MEGABYTE))
    with pytest.raises(ConflictError, match="somebody else"):
        target.write(Change(SIZE, 8 * MEGABYTE, 16 * MEGABYTE), theirs)
    assert target.read(SIZE) == 5 * MEGABYTE


def test_a_person_who_wanted_the_same_is_no_conflict(redis_server: RunningRedis) -> None:
    client, target = redis_server.client(), _target(redis_server.url)
    theirs = _Stepping(lambda: client.config_set("maxmemory", 16 * MEGABYTE))
    target.write(Change(SIZE, 8 * MEGABYTE, 16 * MEGABYTE), theirs)
    assert target.read(SIZE) == 16 * MEGABYTE


def test_resizing_under_load_loses_no_command(redis_server: RunningRedis) -> None:
    target, stop = _target(redis_server.url), threading.Event()
    answered, errors = 0, []

    def load() -> None:
        nonlocal answered
        client = redis_server.client()
        while not stop.is_set():
            try:
                client.set(f"key:{answered % 50_000}", "x" * 200)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                errors.append(error)
            answered += 1

    _fill(redis_server.client(), 30_000)
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            target.write(Change(SIZE, 8 * MEGABYTE, 16 * MEGABYTE), FreeGuard())
            target.write(Change(SIZE, 16 * MEGABYTE, 8 * MEGABYTE), FreeGuard())
    finally:
        stop.set()
        thread.join()
    assert (target.read(SIZE), errors) == (8 * MEGABYTE, [])
    assert answered > 10
    assert int(redis_server.client().info()["used_memory"]) <= 8.5 * MEGABYTE


@pytest.mark.parametrize(
    ("knob", "before", "after"),
    [
        (SIZE, 8 * MEGABYTE, "a lot"),
        (SIZE, 8 * MEGABYTE, -1),
        (SIZE, 8 * MEGABYTE, None),
        (POLICY, "allkeys-lru", "allkeys-best"),
        (POLICY, "allkeys-lru", 7),
    ],
)
def test_what_redis_does_not_take_changes_nothing(
    redis_server: RunningRedis, knob: str, before: object, after: object
) -> None:
    target = _target(redis_server.url)
    with pytest.raises(InputError, match="cannot be"):
        target.write(Change(knob, before, after), FreeGuard())  # type: ignore[arg-type]
    assert target.read(knob) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--rename-command", "CONFIG", ""),
        ("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-config"),
    ],
    ids=["renamed", "access control list"],
)
def test_one_that_refuses_config_is_still_observed(options: tuple[str, ...]) -> None:
    with running_redis(*options, "--maxmemory", "8mb") as server:
        target = _target(server.url)
        assert _values(target.observe(time.time(), 5.0))["maxmemory_mb"] == 8.0
        with pytest.raises(UnavailableError, match=r"refuses CONFIG GET.*by hand"):
            target.read(SIZE)
        with pytest.raises(UnavailableError, match="refuses CONFIG"):
            target.write(Change(SIZE, 8 * MEGABYTE, 16 * MEGABYTE), FreeGuard())


def test_one_that_only_refuses_to_set_says_so() -> None:
    acl = ("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-config|set")
    with running_redis(*acl, "--maxmemory", "8mb") as server:
        target = _target(server.url)
        assert target.read(SIZE) == 8 * MEGABYTE
        with pytest.raises(UnavailableError, match="refuses CONFIG SET"):
            target.write(Change(SIZE, 8 * MEGABYTE, 16 * MEGABYTE), FreeGuard())
        assert target.read(SIZE) == 8 * MEGABYTE


def test_the_keys_that_are_looked_up_are_heard(redis_server: RunningRedis) -> None:
    target, client = _target(redis_server.url), redis_server.client()
    heard, stop = [], threading.Event()

    def load() -> None:
        while not stop.is_set():
            client.set("a", "x")
            client.get("a")
            client.mget("b", 'c"d')
            client.delete("e")

    thread = threading.Thread(target=load)
    thread.start()
    try:
        heard.append(target.listen(0.6))
    finally:
        stop.set()
        thread.join()
    [stream] = heard
    assert stream.keys.size > 10
    assert len(set(stream.keys.tolist())) == 3
    assert len(set(stream.keys[:300:3].tolist())) == 1
    assert stream.commands > stream.keys.size
    assert 0.5 < stream.seconds < 2.0


def test_a_quiet_server_is_not_waited_for(redis_server: RunningRedis) -> None:
    stream = _target(redis_server.url).listen(0.3)
    assert stream.keys.tolist() == np.zeros(0).tolist()
    assert stream.seconds < 2.0


def test_one_that_refuses_monitor_says_so() -> None:
    acl = ("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-monitor")
    with (
        running_redis(*acl) as server,
        pytest.raises(UnavailableError, match=r"refuses MONITOR .*stay unknown"),
    ):
        _target(server.url).listen(1.0)


def test_the_password_is_used_and_never_told() -> None:
    url = "redis://:s3cret%2Fword@127.0.0.1:"
    with running_redis(password=SECRET) as server:
        assert "keys" in _values(_target(f"{url}{server.port}").observe(time.time(), 5.0))
        with pytest.raises(UnavailableError, match="refuses user or password") as wrong:
            _target(f"redis://:other-{SECRET[:3]}@127.0.0.1:{server.port}").observe(0.0, 5.0)
        with pytest.raises(UnavailableError):
            _target(f"redis://127.0.0.1:{server.port}").observe(0.0, 5.0)
    assert "other" not in str(wrong.value)


def test_a_password_that_a_server_repeats_is_masked() -> None:
    def repeats(connection: object) -> None:
        sent = connection.recv(2**16)  # type: ignore[attr-defined]
        said = sent.replace(b"\r\n", b" ")
        connection.sendall(b"-ERR unknown command, with args: " + said + b"\r\n")  # type: ignore[attr-defined]

    with misbehaving(repeats) as http:
        address = http.removeprefix("http://")
        with pytest.raises(UnavailableError, match="unknown command") as told:
            _target(f"redis://:s3cret%2Fword@{address}").observe(0.0, 2.0)
    assert "s3cret" not in str(told.value)
    assert told.value.__cause__ is None


def test_a_wrong_url_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="redis://") as told:
        _target(f"http://:{SECRET}@127.0.0.1:1")
    assert "s3cret" not in str(told.value)


def test_one_that_is_away_does_not_answer() -> None:
    with pytest.raises(UnavailableError, match="check that it is up"):
        _target("redis://127.0.0.1:1").observe(0.0, 1.0)


def _says(answer: bytes) -> Behaviour:
    def behave(connection: object) -> None:
        connection.recv(2**16)  # type: ignore[attr-defined]
        connection.sendall(answer)  # type: ignore[attr-defined]
        connection.recv(2**16)  # type: ignore[attr-defined]

    return behave


@pytest.mark.parametrize(
    "behave",
    [
        says_nothing,
        dripping,
        hanging_up,
        gibberish,
        _says(b"$5\r\nhello\r\n"),
        _says(b"*1\r\n:1\r\n"),
        _says(b"$26\r\nused_memory:lots\r\nkeys:x\r\n\r\n"),
        _says(b"-LOADING Redis is loading the dataset in memory\r\n"),
    ],
)
def test_whatever_answers_is_given_up_in_time(behave: Behaviour) -> None:
    with misbehaving(behave) as http:
        target, began = _target(http.replace("http:", "redis:")), time.monotonic()
        with pytest.raises(UnavailableError, match="not usable"):
            target.observe(0.0, 0.5)
        assert time.monotonic() - began < 1.5
