"""A Redis server that is used as a cache: hit rate, memory, evictions, and its two memory knobs.

Numbers come from INFO (https://redis.io/docs/latest/commands/info/), counts as what happened since
the last look. The knobs `<name>.maxmemory` (bytes; 0: no limit) and `<name>.maxmemory-policy` are
read and written with CONFIG; they last until the server is restarted, unless CONFIG REWRITE makes
them stay.

CONFIG has no compare-and-set, and scripts may not use it. So a write exchanges: one transaction
reads the value and sets the new one. If what it read was not the value expected, somebody else has
set it a moment before, and that value is put back the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from config.clock import Clock
from config.errors import ConflictError, HandedOver, InputError, UnavailableError
from optimizers.plugins import PluginContext
from optimizers.targets.base import Guard, Observed
from optimizers.targets.counters import Counters
from optimizers.targets.readings import Readings
from optimizers.targets.redis_server import CommandRefused, RedisServer, refused
from registry.agent_records import Change

if TYPE_CHECKING:
    from redis import Redis

    from benchmarks.cache_curves.redis_keys import KeyStream

MAXMEMORY = "maxmemory"
POLICY = "maxmemory-policy"

MEGABYTE = 2**20
MOST_HEARD = 2_000_000
_KNOB_S = 5.0
_MOST_EXCHANGES = 5
_COUNTERS = ("keyspace_hits", "keyspace_misses", "evicted_keys")
_REFUSED_WRITES = "errorstat_OOM"
_FULL = "when used memory > 'maxmemory'"


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What a server says of its memory.

    Attributes:
        maxmemory: bytes; 0 for no limit.
        policy: what it evicts then.
        used_bytes: of all it holds.
        fixed_bytes: of these, what is no key's: itself and its clients.
        keys, expires: how many it has, and how many of them expire.
        replica: it follows another server, and evicts nothing by itself.
    """

    maxmemory: int
    policy: str
    used_bytes: int
    fixed_bytes: int
    keys: int
    expires: int
    replica: bool


class RedisTarget:
    """One Redis server.

    Args:
        name: the target's name, as in the settings.
        url: its address; user and password may stand in it.
        clock: tells the time between two looks.
        most_heard: commands after which listening ends.
    """

    def __init__(self, name: str, url: str, clock: Clock, *, most_heard: int = MOST_HEARD) -> None:
        self._most_heard = most_heard
        self.name = name
        self._server = RedisServer(name, url)
        self._clock = clock
        self._counters: Counters[str] = Counters(clock)

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Read INFO; see :class:`optimizers.targets.base.Target`."""
        began = self._clock.monotonic()
        info = self._info(timeout_s)
        readings = Readings(self.name, at)
        readings.add("answer_ms", (self._clock.monotonic() - began) * 1000.0, "ms")
        facts = self._facts(info)
        readings.add("memory_mb", facts.used_bytes / MEGABYTE, "MB")
        if facts.maxmemory > 0:
            readings.add("maxmemory_mb", facts.maxmemory / MEGABYTE, "MB")
        readings.add("keys", float(facts.keys))
        self._add_rates(readings, info)
        return readings.observed(facts)

    def knobs(self) -> Sequence[str]:
        """How much memory it may use, and what it evicts then."""
        return (f"{self.name}.{MAXMEMORY}", f"{self.name}.{POLICY}")

    def read(self, knob: str) -> JsonValue:
        """Return a knob's value now: bytes, or the name of a policy.

        Raises:
            CommandRefused: the server does not let us.
        """
        option = self._option(knob)
        with self._server.talk(_KNOB_S) as client:
            return self._present(client, option)

    def write(self, change: Change, guard: Guard) -> None:
        """Set a knob by an exchange; see the module.

        Raises:
            CommandRefused: the server does not let us.
            ConflictError: it has another value; that one stands.
            InputError: no such knob, or no value of it.
            HandedOver: others keep setting it at the same time; what it is now is theirs or ours.
        """
        option = self._option(change.knob)
        known = (change.before, change.after)
        with self._server.talk(_KNOB_S) as client:
            present = self._present(client, option)
            if present not in known:
                raise self._conflict(change, present)
            _check_value(change.knob, option, change.after)
            guard.check()
            if present == change.after:
                return
            found = self._exchange(client, option, change.after)
            if found not in known:
                self._put_back(client, option, ours=change.after, theirs=found)
                raise self._conflict(change, found)

    def listen(self, seconds: float) -> KeyStream:
        """Listen to the keys that are looked up; see `benchmarks.cache_curves.redis_keys`.

        Raises:
            UnavailableError: the server is away, or refuses MONITOR.
        """
        # Imported here: it brings NumPy, which the resident agent does without.
        from benchmarks.cache_curves.redis_keys import Limits, listen  # noqa: PLC0415

        limits = Limits(seconds, commands=self._most_heard)
        with self._server.listening() as connection:
            try:
                heard, why = refused(lambda: listen(connection, self._clock, limits))
            except UnavailableError as error:
                raise self._server.unusable(str(error)) from None
            if heard is None:
                raise self._server.unusable(
                    f"it refuses MONITOR ({why}); without it the keys it is asked for stay unknown"
                )
            return heard

    def _info(self, timeout_s: float) -> Mapping[str, Any]:
        with self._server.talk(timeout_s) as client:
            found = client.info()
            if not isinstance(found, dict) or "used_memory" not in found:
                raise self._server.unusable("its answer to INFO is no Redis server's")
            if found.get("loading"):
                raise self._server.unusable("it is loading its data; it answers when that is done")
            return found

    def _facts(self, info: Mapping[str, Any]) -> RedisFacts:
        try:
            return _facts(info)
        except (ValueError, TypeError) as error:
            raise self._server.unusable("its INFO tells no numbers of its memory") from error

    def _add_rates(self, readings: Readings, info: Mapping[str, Any]) -> None:
        counts = {name: _number(info.get(name)) for name in _COUNTERS}
        refusals = info.get(_REFUSED_WRITES)
        counts[_REFUSED_WRITES] = _number(refusals.get("count") if refusals else 0)
        interval = self._counters.advance(counts)
        if interval is None:
            return
        if interval.unusable:
            readings.trouble(f"its {', '.join(sorted(interval.unusable))} are no numbers")
        hits, misses = (interval.gains.get(f"keyspace_{one}") for one in ("hits", "misses"))
        if hits is not None and misses is not None and hits + misses > 0:
            readings.add("cache_hit_rate", hits / (hits + misses), high=1.0)
            readings.add("lookups_rps", (hits + misses) / interval.seconds, "1/s")
        readings.add("evicted_per_second", interval.rate("evicted_keys"), "1/s")
        readings.add("refused_writes_rps", interval.rate(_REFUSED_WRITES), "1/s")

    def _option(self, knob: str) -> str:
        name, _, option = knob.rpartition(".")
        if name != self.name or option not in (MAXMEMORY, POLICY):
            raise InputError(
                f"{self.name} has no knob {knob!r}; it has {' and '.join(self.knobs())}"
            )
        return option

    def _present(self, client: Redis, option: str) -> JsonValue:
        found, why = refused(lambda: client.config_get(option))
        if found is None:
            raise self._refuses("GET", option, why)
        return self._value(option, found)

    def _exchange(self, client: Redis, option: str, value: JsonValue) -> JsonValue:
        """Set an option and return what it was right before."""
        answers, why = _asked(client, option, value, transaction=True)
        if answers is None and _FULL in why:
            # Full and evicting nothing, it takes no transactions. Sent as one piece the two are
            # carried out one after the other as well, unless the network tears them apart.
            answers, why = _asked(client, option, value, transaction=False)
        if answers is None:
            raise self._refuses("SET", option, why)
        found, done = answers
        if isinstance(done, Exception) and "argument" in str(done).lower():
            raise InputError(f"{self.name}.{option} cannot be {value!r}: {done}")
        for one in (done, found):
            if isinstance(one, Exception):
                raise self._refuses("SET", option, str(one))
        return self._value(option, found)

    def _refuses(self, verb: str, option: str, why: str) -> CommandRefused:
        cause = f"it refuses CONFIG {verb} {option} ({why}); allow it, or set it there by hand"
        return CommandRefused(str(self._server.unusable(cause)))

    def _put_back(self, client: Redis, option: str, *, ours: JsonValue, theirs: JsonValue) -> None:
        """Give others their value back; if they set it anew meanwhile, that one."""
        for _ in range(_MOST_EXCHANGES):
            found = self._exchange(client, option, theirs)
            if found in (ours, theirs):
                return
            ours, theirs = theirs, found
        raise HandedOver(f"{self.name}.{option} is set by others at the same time; it is {theirs}")

    def _value(self, option: str, found: Mapping[str | None, str | None]) -> JsonValue:
        text = found.get(option)
        if text is None:
            raise self._server.unusable(f"it has no option {option}")
        if option == POLICY:
            return text
        if not text.isdecimal():
            raise self._server.unusable(f"its {option} is {text[:50]!r}, which is no number")
        return int(text)

    def _conflict(self, change: Change, present: JsonValue) -> ConflictError:
        return ConflictError(
            f"{change.knob} is {present}, not {change.before}; somebody else has set it"
        )


def make(context: PluginContext) -> Sequence[RedisTarget]:
    """Entry point `redis`: one target for each server in the settings."""
    return [RedisTarget(one.name, one.url, context.clock) for one in context.settings.redis]


def _facts(info: Mapping[str, Any]) -> RedisFacts:
    spaces = [one for name, one in info.items() if name.startswith("db") and "keys" in one]
    fixed = info.get("used_memory_startup", 0) + info.get("mem_clients_normal", 0)
    return RedisFacts(
        maxmemory=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "")),
        used_bytes=int(info["used_memory"]),
        fixed_bytes=int(fixed),
        keys=sum(int(one["keys"]) for one in spaces),
        expires=sum(int(one.get("expires", 0)) for one in spaces),
        replica=info.get("role") == "slave",
    )


def _asked(
    client: Redis, option: str, value: JsonValue, *, transaction: bool
) -> tuple[list[Any] | None, str]:
    """Ask for an option and set it; return both answers, or why they were refused."""
    both = client.pipeline(transaction=transaction)
    both.config_get(option)
    both.config_set(option, str(value))
    return refused(lambda: both.execute(raise_on_error=False))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _check_value(knob: str, option: str, value: JsonValue) -> None:
    if option == POLICY and isinstance(value, str) and value:
        return
    if option == MAXMEMORY and type(value) is int and value >= 0:
        return
    raise InputError(
        f"{knob} cannot be {value!r}; maxmemory is bytes from 0 up, a policy is a name"
    )
