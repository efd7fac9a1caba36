"""The keys a Redis server is asked for, listened to with MONITOR for a limited time.

MONITOR repeats to us every command that the server carries out. That costs it work, and memory
when we do not keep up, so listening ends after so many seconds, commands or bytes, or as soon as we
fall behind. Of each command only a hash of the keys it looks up is kept; values are dropped as they
come. See https://redis.io/docs/latest/commands/monitor/.

What this does not promise: hits and misses. A key that has expired, or was deleted, is asked for
like any other.
"""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass

import numpy as np
from redis.connection import AbstractConnection
from redis.exceptions import TimeoutError as RedisTimeout

from benchmarks.cache_curves.distances import Keys
from config.clock import Clock, epoch
from config.errors import UnavailableError

_READS = frozenset(
    b"get getex getrange strlen getbit bitcount hget hmget hgetall hexists hlen hkeys hvals "
    b"hstrlen lindex llen lrange sismember smismember smembers scard srandmember zscore zmscore "
    b"zrange zrangebyscore zrevrange zcard zcount zrank zrevrank json.get".split()
)
_READS_OF_MANY = frozenset((b"mget", b"exists"))
# The time, "[", the database, the client, "]", then each word of the command in quotes.
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_HEAD = re.compile(rb'^([0-9]+\.[0-9]+) \[([0-9]+) [^"]*\] "')
_POLL_S = 0.2
_EVERY = 512
_BITS = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop listening.

    Attributes:
        seconds: after so long.
        commands: after so many commands, reads or not.
        megabytes: after so much that was repeated to us.
        behind_s: as soon as what we hear is older than this.
    """

    seconds: float
    commands: int
    megabytes: float = 256.0
    behind_s: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class KeyStream:
    """What was heard.

    Attributes:
        keys: hashes of the keys that were looked up, oldest first.
        seconds: for how long it was listened.
        commands: how many commands were heard, of all kinds.
        ended: why it ended before its time; empty when it did not.
    """

    keys: Keys
    seconds: float
    commands: int
    ended: str = ""

    @property
    def rate(self) -> float:
        """Keys looked up a second."""
        return self.keys.size / self.seconds if self.seconds > 0 else 0.0


def listen(connection: AbstractConnection, clock: Clock, limits: Limits) -> KeyStream:
    """Listen on a connection of its own, which is of no other use afterwards.

    Raises:
        redis.RedisError: the server refuses MONITOR, or does not answer.
        UnavailableError: what it says is no Redis server's.
    """
    connection.send_command("MONITOR")
    answer = connection.read_response(disable_decoding=True)
    if answer != b"OK":
        raise UnavailableError(f"it answers MONITOR with {str(answer)[:50]}")
    ear = _Ear(clock, limits)
    while not ear.full():
        try:
            line = connection.read_response(
                disable_decoding=True, timeout=_POLL_S, disconnect_on_error=False
            )
        except RedisTimeout:
            continue
        ear.hear(line)
    return ear.heard()


class _Ear:
    """What has been heard so far."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._began = clock.monotonic()
        self._keys = array("Q")
        self._commands = 0
        self._bytes = 0
        self._nearest = math.inf
        self._ended = ""

    def full(self) -> bool:
        """Whether it has been long enough."""
        return bool(self._ended) or self._clock.monotonic() - self._began >= self._limits.seconds

    def hear(self, line: object) -> None:
        """Take one line."""
        head = _HEAD.match(line) if isinstance(line, bytes) else None
        if not isinstance(line, bytes) or head is None:
            raise UnavailableError(f"its MONITOR says {str(line)[:50]}, which makes no sense")
        self._commands += 1
        self._bytes += len(line)
        for key in looked_up(line, head.end() - 1):
            self._keys.append(hash((head[2], key)) & _BITS)
        if self._commands >= self._limits.commands:
            self._ended = f"after {self._commands} commands"
        elif self._bytes >= self._limits.megabytes * 2**20:
            self._ended = f"after {self._limits.megabytes:g} MB"
        elif self._commands % _EVERY == 0:
            self._keep_up(float(head[1]))

    def _keep_up(self, said_at: float) -> None:
        """Stop when lines come ever later; the clocks of the two machines need not agree."""
        behind = epoch(self._clock.now()) - said_at
        self._nearest = min(self._nearest, behind)
        if behind - self._nearest > self._limits.behind_s:
            self._ended = "because listening could not keep up"

    def heard(self) -> KeyStream:
        """All of it."""
        seconds = self._clock.monotonic() - self._began
        keys = np.array(self._keys, dtype=np.uint64)
        return KeyStream(keys, seconds, self._commands, self._ended)


def looked_up(line: bytes, at: int = 0) -> list[bytes]:
    """The keys that a line of MONITOR looks up, as they are written there; `at`: its first word."""
    first = _WORD.search(line, at)
    if first is None:
        return []
    command = first[1].lower()
    if command in _READS_OF_MANY:
        return _WORD.findall(line, first.end())
    if command not in _READS:
        return []
    key = _WORD.search(line, first.end())
    return [] if key is None else [key[1]]
