"""The TCP of a network namespace: target `network` (the agent's own), or one for each named one.

Its knobs are the kernel's settings of that namespace (`optimizers.targets.network_knobs`). What is
told of connections is what they came to since the last look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from config.clock import Clock
from config.errors import UnavailableError
from optimizers.plugins import PluginContext
from optimizers.targets import network_flows as measures
from optimizers.targets import network_knobs as knobs
from optimizers.targets.base import Guard, Observed, Target
from optimizers.targets.counters import Counters, Interval
from optimizers.targets.network_counters import read_counters, read_device_drops, read_memory
from optimizers.targets.network_facts import NetworkFacts, namespaces_of
from optimizers.targets.network_flows import Connection
from optimizers.targets.network_sockets import Listener, read_connections, read_listeners
from optimizers.targets.network_space import Namespace
from optimizers.targets.readings import Readings
from registry.agent_records import Change

NAME = "network"

# How long the speed of what comes in is watched for; a round trip fits in several times.
_BURST_S = 0.25
# A share of fewer segments says nothing.
_LEAST_SEGMENTS = 100.0
_DEVICE_DROPS = "device drops"

RATES = {
    "RetransSegs": "retransmits_per_second",
    "ListenOverflows": "listen_overflows_per_second",
    "TCPMemoryPressures": "memory_pressures_per_second",
    _DEVICE_DROPS: "device_drops_per_second",
}
"""The kernel's counters and the metrics they become."""


@dataclass(frozen=True, slots=True)
class _Glance:
    """Everything that is read inside the namespace at one look.

    Attributes:
        later: the connections at its end, `burst_s` after `connections`; None when unknown.
    """

    counters: dict[str, float]
    connections: tuple[Connection, ...]
    later: tuple[Connection, ...] | None
    burst_s: float
    facts: NetworkFacts
    troubles: tuple[str, ...]


class NetworkTarget:
    """One network namespace.

    Args:
        clock: tells the time between two looks.
        slow_ms: a round trip longer than this is slow.
        namespace: its name as in `ip netns`; None for the agent's own.
        wait: lets seconds pass.
    """

    def __init__(
        self,
        clock: Clock,
        slow_ms: float,
        namespace: str | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = NAME if namespace is None else f"{NAME}-{namespace}"
        self._clock = clock
        self._slow_ms = slow_ms
        self._space = Namespace(namespace)
        self._wait = wait
        self._counters: Counters[str] = Counters(clock)
        self._before: tuple[Connection, ...] | None = None

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Look once; see :class:`optimizers.targets.base.Target`."""
        glance = self._space.run(lambda: self._glance(timeout_s / 4))
        readings = Readings(self.name, at)
        for trouble in glance.troubles:
            readings.trouble(trouble)
        interval = self._counters.advance(glance.counters)
        if interval is not None:
            _add_rates(readings, interval)
        _add_memory(readings)
        if glance.later is not None:
            self._add_connections(readings, glance, glance.later)
        self._before = glance.later
        return readings.observed(glance.facts)

    def knobs(self) -> Sequence[str]:
        """The settings of this namespace that may be turned; none while it is gone."""
        try:
            return self._space.run(knobs.present_knobs)
        except UnavailableError:
            return ()

    def read(self, knob: str) -> str:
        """A setting's text, as the kernel prints it."""
        return self._space.run(lambda: knobs.read_knob(knob))

    def write(self, change: Change, guard: Guard) -> None:
        """Turn a setting; see :class:`optimizers.targets.base.Target`."""
        guard.check()
        self._space.run(lambda: knobs.write_knob(change))

    def _add_connections(
        self, readings: Readings, glance: _Glance, now: tuple[Connection, ...]
    ) -> None:
        readings.add("connections", float(len(now)))
        if self._before is not None:
            self._add_flows(readings, measures.flows_between(self._before, now), glance)
        burst = measures.flows_between(glance.connections, now)
        rate = measures.receive_rate(burst, glance.burst_s)
        readings.add("receive_bytes_per_second", rate, "bytes/s")
        largest = glance.facts.values.get(knobs.RMEM, "").split()
        if len(largest) == 3:
            share = measures.receive_limited(burst, int(largest[2]), glance.burst_s)
            readings.add("receive_limited_share", share, "share")

    def _add_flows(
        self, readings: Readings, flows: tuple[measures.Flow, ...], glance: _Glance
    ) -> None:
        """What connections came to since the last look."""
        algorithm = glance.facts.values.get(knobs.CONGESTION, "")
        trips = measures.round_trips(flows)
        least = measures.weighted_quantile(measures.least_round_trips(flows), 0.5)
        for metric, value, unit in (
            ("goodput_bytes_per_second", measures.goodput(flows, algorithm), "bytes/s"),
            ("send_limited_share", measures.send_limited(flows), "share"),
            ("peer_limited_share", measures.peer_limited(flows), "share"),
            ("fresh_traffic_share", measures.fresh_share(flows), "share"),
            ("network_latency_ms", measures.weighted_quantile(trips, 0.5), "ms"),
            ("network_latency_p90_ms", measures.weighted_quantile(trips, 0.9), "ms"),
            ("network_latency_least_ms", least, "ms"),
            ("delayed_traffic_share", measures.delayed_share(flows, self._slow_ms), "share"),
        ):
            readings.add(metric, value, unit)

    def _glance(self, timeout_s: float) -> _Glance:
        """Read everything; it runs inside the namespace."""
        troubles: list[str] = []
        values = {knob: knobs.read_knob(knob) for knob in knobs.present_knobs()}
        counters = read_counters()
        if knobs.DEVICE_BACKLOG in values:
            counters[_DEVICE_DROPS] = read_device_drops()
        listeners: tuple[Listener, ...] = ()
        connections: tuple[Connection, ...] = ()
        later: tuple[Connection, ...] | None = None
        burst_s = 0.0
        try:
            listeners = read_listeners(timeout_s)
            connections = read_connections(timeout_s)
            later, burst_s = self._watched(connections, timeout_s)
        except UnavailableError as error:
            troubles.append(str(error))
        most = values.get(knobs.SOMAXCONN, "")
        facts = NetworkFacts(
            namespace=self._space.name,
            values=values,
            algorithms=knobs.settable_algorithms(),
            writable=knobs.writable(),
            syn_cookies=knobs.uses_syn_cookies(),
            clamped=tuple(one.address for one in listeners if str(one.backlog) == most),
        )
        return _Glance(counters, connections, later, burst_s, facts, tuple(troubles))

    def _watched(
        self, connections: tuple[Connection, ...], timeout_s: float
    ) -> tuple[tuple[Connection, ...], float]:
        """The connections a little later, and how much later; at once where none receives."""
        if not any(one.received > one.acked for one in connections):
            return connections, 0.0
        begun = self._clock.monotonic()
        self._wait(_BURST_S)
        later = read_connections(timeout_s)
        return later, self._clock.monotonic() - begun


def make(context: PluginContext) -> Sequence[Target]:
    """Entry point `network`: the agent's own namespace, or those that the settings name.

    Raises:
        ConfigError: a name cannot be used.
    """
    settings = context.settings.performance.tcp_tuning
    names: tuple[str | None, ...] = namespaces_of(settings) or (None,)
    return [NetworkTarget(context.clock, settings.latency_ms, name) for name in names]


def _add_memory(readings: Readings) -> None:
    """TCP's memory is the machine's, whatever the namespace."""
    try:
        memory = read_memory()
    except UnavailableError as error:
        readings.trouble(str(error))
        return
    if memory is not None:
        readings.add("tcp_memory_percent", memory.percent, "%")


def _add_rates(readings: Readings, interval: Interval[str]) -> None:
    for counter, metric in RATES.items():
        readings.add(metric, interval.rate(counter), "1/s")
    opened = [interval.rate(name) for name in ("ActiveOpens", "PassiveOpens")]
    known = [rate for rate in opened if rate is not None]
    readings.add("connections_opened_per_second", sum(known) if known else None, "1/s")
    drops, overflows = interval.rate("ListenDrops"), interval.rate("ListenOverflows")
    if drops is not None and overflows is not None:
        # Every overflow is a drop too; the others are first packets that found no room.
        readings.add("syn_drops_per_second", max(0.0, drops - overflows), "1/s")
    readings.add("segments_per_second", interval.rate("TCPOrigDataSent"), "1/s")
    sent, again = interval.gains.get("TCPOrigDataSent"), interval.gains.get("RetransSegs")
    if sent is not None and again is not None and sent + again >= _LEAST_SEGMENTS:
        readings.add("retransmit_share", again / (sent + again), "share", high=1.0)
