"""Users of a Redis server that is used as a cache: what is not there is fetched, and set.

A process of its own, so that what it computes takes nothing from what is measured. It reads its
orders as JSON from standard input, and stops when its standard input is closed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
from redis import Redis

# Keys that are asked for together; few, since a key asked for twice among them is missed twice.
_TOGETHER = 16
_DRAWN = 4096


@dataclass(frozen=True, slots=True)
class RedisUsers:
    """What is asked of a server.

    Attributes:
        keys: how many there are; the n-th is asked for in proportion to n to the power -exponent.
        value_bytes: of each value.
        seed: of the order of requests.
        rest_s: seconds between two requests for some keys together.
    """

    port: int
    keys: int
    exponent: float
    value_bytes: int
    seed: int
    rest_s: float = 0.0


@contextmanager
def redis_users(users: RedisUsers) -> Iterator[None]:
    """Let users ask until the block ends."""
    command = [sys.executable, "-m", "benchmarks.performance.redis_users"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    stdin = process.stdin
    assert stdin is not None
    try:
        stdin.write(json.dumps(asdict(users)) + "\n")
        stdin.flush()
        yield
    finally:
        stdin.close()
        process.wait(30.0)


def _ask(users: RedisUsers, stop: threading.Event) -> None:
    rng = np.random.default_rng(users.seed)
    chances = np.cumsum(np.arange(1, users.keys + 1) ** -users.exponent)
    value = b"x" * users.value_bytes
    with Redis("127.0.0.1", users.port, protocol=2) as client:
        while not stop.is_set():
            drawn = np.searchsorted(chances, rng.random(_DRAWN) * chances[-1])
            names = [b"user:%d" % key for key in drawn.tolist()]
            for start in range(0, _DRAWN, _TOGETHER):
                together = names[start : start + _TOGETHER]
                asking = client.pipeline(transaction=False)
                for name in together:
                    asking.get(name)
                found = asking.execute()
                setting = client.pipeline(transaction=False)
                for name, held in zip(together, found, strict=True):
                    if held is None:
                        setting.set(name, value)
                # A server that never evicts refuses them when it is full.
                setting.execute(raise_on_error=False)
                if stop.wait(users.rest_s):
                    return


def main() -> None:
    """Ask until standard input is closed."""
    users = RedisUsers(**json.loads(sys.stdin.readline()))
    stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    _ask(users, stop)


if __name__ == "__main__":
    main()
