"""The machine the agent runs on: processor, memory, disks, network, pressure, temperature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from config.clock import Clock
from optimizers.targets.base import Observed, ObserveOnly
from optimizers.targets.counters import Counters, Interval, WallClockWatch
from optimizers.targets.host_probe import CoreTime, HostProbe, MemoryUse, PsutilProbe
from optimizers.targets.readings import Readings

# Looking for sensors costs more than all the rest; a machine without any is asked rarely.
_SENSORS_S = 600.0
_LABELLED_CORES = 64


class HostTarget(ObserveOnly):
    """This machine.

    Args:
        clock: tells the time between two looks.
        disks: a path on each file system to watch.
        probe: where the numbers come from.
        name: the target's name.
    """

    def __init__(
        self,
        clock: Clock,
        disks: Sequence[str] = ("/",),
        probe: HostProbe | None = None,
        name: str = "host",
    ) -> None:
        self.name = name
        self._clock = clock
        self._disks = tuple(disks)
        self._probe = probe or PsutilProbe()
        self._counters: Counters[str] = Counters(clock)
        self._wall = WallClockWatch(clock)
        self._sensors_from = 0.0

    def observe(self, at: float, timeout_s: float) -> Observed:  # noqa: ARG002
        """Read the machine; see :class:`optimizers.targets.base.Target`."""
        readings = Readings(self.name, at)
        step = self._wall.step(at)
        if step:
            readings.trouble(f"the wall clock of this machine was stepped by {step:+.0f} s")
        counters: dict[str, float] = {}
        probe = self._probe
        for source, read in (
            ("processor", lambda: counters.update(_core_counters(probe.cores()))),
            ("traffic", lambda: counters.update(probe.traffic())),
            ("load", lambda: readings.add("load_1m", probe.load_1m())),
            ("memory", lambda: _add_memory(readings, probe.memory())),
            ("disks", lambda: self._add_disks(readings)),
            ("pressure", lambda: _add_pressure(readings, probe.pressure())),
            ("temperature", lambda: self._add_temperatures(readings)),
        ):
            _try(readings, source, read)
        interval = self._counters.advance(counters)
        if interval is not None:
            _add_cores(readings, interval)
            _add_traffic(readings, interval)
        return readings.observed()

    def _add_disks(self, readings: Readings) -> None:
        used = {path: self._probe.disk_percent(path) for path in self._disks}
        for path, percent in used.items():
            readings.add("disk_percent", percent, "%", {"path": path}, high=100.0)
        readings.add("disk_percent", max(used.values(), default=None), "%", high=100.0)

    def _add_temperatures(self, readings: Readings) -> None:
        now = self._clock.monotonic()
        if now < self._sensors_from:
            return
        found = self._probe.temperatures()
        if not found:
            self._sensors_from = now + _SENSORS_S
        named: list[tuple[dict[str, str], float]] = [
            ({"sensor": sensor}, degrees) for sensor, degrees in found.items()
        ]
        if found:
            named.append(({}, max(found.values())))
        for labels, degrees in named:
            readings.add("temperature_celsius", degrees, "°C", labels, low=-100.0, high=200.0)


def _try(readings: Readings, source: str, read: Callable[[], None]) -> None:
    try:
        read()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        readings.trouble(f"its {source} cannot be read: {error}")


def _core_counters(cores: Sequence[CoreTime]) -> dict[str, float]:
    found: dict[str, float] = {}
    for number, core in enumerate(cores):
        found[f"busy {number}"] = core.busy
        found[f"total {number}"] = core.total
    return found


def _add_cores(readings: Readings, interval: Interval[str]) -> None:
    gains = interval.gains
    busy_in_all = total_in_all = 0.0
    for number in range(sum(key.startswith("total ") for key in gains)):
        busy, total = gains.get(f"busy {number}"), gains.get(f"total {number}")
        if busy is None or not total:
            continue
        busy_in_all, total_in_all = busy_in_all + busy, total_in_all + total
        if number < _LABELLED_CORES:
            labels = {"core": str(number)}
            readings.add("cpu_core_percent", _percent(busy, total), "%", labels, high=100.0)
    if total_in_all:
        readings.add("cpu_percent", _percent(busy_in_all, total_in_all), "%", high=100.0)


def _percent(busy: float, total: float) -> float:
    """The kernel's two sums are rounded apart, so the share may come out a trace above 1."""
    share = busy / total
    return 100.0 if 1.0 < share < 1.01 else 100.0 * share


def _add_memory(readings: Readings, memory: MemoryUse) -> None:
    readings.add("memory_percent", memory.percent, "%", high=100.0)
    readings.add("memory_available_bytes", memory.available_bytes, "bytes")
    readings.add("swap_percent", memory.swap_percent, "%", high=100.0)


def _add_pressure(readings: Readings, pressure: Mapping[str, float]) -> None:
    for name, percent in pressure.items():
        readings.add(f"psi_{name}_percent", percent, "%", high=100.0)


def _add_traffic(readings: Readings, interval: Interval[str]) -> None:
    for metric, kinds in (
        ("disk_bytes_per_second", {"disk_read": "read", "disk_write": "write"}),
        ("net_bytes_per_second", {"net_received": "received", "net_sent": "sent"}),
    ):
        rates = {kind: interval.rate(key) for key, kind in kinds.items()}
        known = {kind: rate for kind, rate in rates.items() if rate is not None}
        for kind, rate in known.items():
            readings.add(metric, rate, "bytes/s", {"way": kind})
        readings.add(metric, sum(known.values()) if known else None, "bytes/s")
