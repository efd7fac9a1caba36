"""The host target: this machine, and machines that lie or lack things."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from config.clock import ManualClock, SystemClock, epoch
from optimizers.targets.base import Observed, Target
from optimizers.targets.host import HostTarget
from optimizers.targets.host_probe import CoreTime, MemoryUse
from registry.agent_records import Observation


@dataclass
class ToldHost:
    """A machine that says what a test tells it to."""

    core_times: Sequence[CoreTime] = (CoreTime(0.0, 0.0), CoreTime(0.0, 0.0))
    used: MemoryUse = field(default_factory=lambda: MemoryUse(40.0, 1e9, None))
    disks: Mapping[str, float] = field(default_factory=lambda: {"/": 50.0})
    bytes_seen: Mapping[str, float] = field(default_factory=dict)
    sensors: Mapping[str, float] = field(default_factory=dict)
    stalls: Mapping[str, float] = field(default_factory=dict)
    sensor_looks: int = 0

    def cores(self) -> Sequence[CoreTime]:
        return self.core_times

    def load_1m(self) -> float:
        return 0.5

    def memory(self) -> MemoryUse:
        return self.used

    def disk_percent(self, path: str) -> float:
        if path not in self.disks:
            raise FileNotFoundError(2, "no such file", path)
        return self.disks[path]

    def traffic(self) -> Mapping[str, float]:
        return self.bytes_seen

    def temperatures(self) -> Mapping[str, float]:
        self.sensor_looks += 1
        return self.sensors

    def pressure(self) -> Mapping[str, float]:
        return self.stalls


def look(target: HostTarget, clock: ManualClock) -> Observed:
    clock.advance(10)
    return target.observe(epoch(clock.now()), 5.0)


def values(observed: Observed) -> dict[tuple[str, str], float]:
    def name(one: Observation) -> str:
        return one.labels[0][1] if one.labels else ""

    return {(one.metric, name(one)): one.value for one in observed.observations}


def test_this_machine_tells_sensible_numbers() -> None:
    clock = SystemClock()
    target = HostTarget(clock)
    assert isinstance(target, Target)
    first = target.observe(epoch(clock.now()), 5.0)
    end = clock.monotonic() + 0.3
    while clock.monotonic() < end:
        math.sqrt(2.0)
    observed = target.observe(epoch(clock.now()), 5.0)
    seen = values(observed)
    assert ("cpu_percent", "") not in values(first)
    assert 0 < seen["cpu_percent", ""] <= 100
    assert ("cpu_core_percent", "0") in seen
    assert 0 < seen["memory_percent", ""] < 100
    assert 0 < seen["disk_percent", ""] <= 100
    assert seen["load_1m", ""] >= 0
    assert seen["net_bytes_per_second", ""] >= 0
    assert list(observed.troubles) == []


def test_rates_come_from_what_was_counted_between_two_looks(clock: ManualClock) -> None:
    host = ToldHost(bytes_seen={"net_received": 1000.0, "net_sent": 10.0, "disk_read": 5.0})
    target = HostTarget(clock, ("/",), host)
    look(target, clock)
    host.core_times = (CoreTime(8.0, 10.0), CoreTime(1.0, 10.0))
    host.bytes_seen = {"net_received": 3000.0, "net_sent": 10.0, "disk_read": 0.0}
    seen = values(look(target, clock))
    assert seen["cpu_percent", ""] == pytest.approx(45.0)
    assert seen["cpu_core_percent", "0"] == pytest.approx(80.0)
    assert seen["net_bytes_per_second", "received"] == 200.0
    assert seen["net_bytes_per_second", "sent"] == 0.0
    assert seen["net_bytes_per_second", ""] == 200.0
    assert seen["disk_bytes_per_second", ""] == 0.0


def test_what_is_missing_is_missing(clock: ManualClock) -> None:
    host = ToldHost()
    target = HostTarget(clock, ("/",), host)
    for _ in range(3):
        seen = values(look(target, clock))
    assert {name for name, _ in seen} == {
        "load_1m",
        "memory_percent",
        "memory_available_bytes",
        "disk_percent",
    }
    assert host.sensor_looks == 1
    clock.advance(600)
    host.sensors = {"core": 55.0, "disk": 40.0}
    host.stalls = {"io_full": 12.0}
    seen = values(look(target, clock))
    assert seen["temperature_celsius", "core"] == 55.0
    assert seen["temperature_celsius", ""] == 55.0
    assert seen["psi_io_full_percent", ""] == 12.0


def test_one_source_that_fails_does_not_take_the_others_along(clock: ManualClock) -> None:
    observed = look(HostTarget(clock, ("/", "/gone"), ToldHost()), clock)
    assert ("memory_percent", "") in values(observed)
    assert "disks cannot be read" in observed.troubles[0]


def test_impossible_numbers_and_clock_steps_are_troubles(clock: ManualClock) -> None:
    host = ToldHost(used=MemoryUse(math.nan, -5.0, 300.0), sensors={"core": 9999.0})
    target = HostTarget(clock, ("/",), host)
    look(target, clock)
    host.core_times = (CoreTime(50.0, 10.0), CoreTime(0.0, 10.0))
    clock.step_wall(-3600)
    observed = look(target, clock)
    told = " ".join(observed.troubles)
    for word in ("memory_percent is nan", "swap_percent is 300", "9999", "cpu", "-3600 s"):
        assert word in told
    assert {"memory_percent", "swap_percent", "cpu_percent"}.isdisjoint(
        one.metric for one in observed.observations
    )
