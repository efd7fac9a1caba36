"""Electrical power in W: from RAPL energy counters, a hwmon sensor, or a discharging battery.

The figure is that of the whole package or machine while the load ran, not of one process. Where
there is no sensor, or it may not be read, the answer says so; it is never 0.

Sources: the kernel's documentation of the power capping framework (energy in µJ, wrapping at
``max_energy_range_uj``), of the hwmon sysfs interface (power in µW), and of the power supply class
(power in µW, current in µA, voltage in µV).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.measures import Measure, Reading, Unavailable
from config.clock import Clock

NAME = "power"
UNIT = "W"
SYSTEM_ROOT = Path("/sys/class")

Sample = tuple[float, ...]


class Sensor(Protocol):
    """Something that tells the energy used between two moments."""

    @property
    def source(self) -> str:
        """The sensor's name, for people."""
        ...

    def sample(self) -> Sample:
        """A sample to hand to :meth:`joules`.

        Raises:
            OSError: the sensor can no longer be read.
            ValueError: the sensor holds something that is not a number.
        """
        ...

    def joules(self, before: Sample, after: Sample, seconds: float) -> float:
        """Energy used between two samples that are ``seconds`` apart."""
        ...


@dataclass(frozen=True, slots=True)
class RaplSensor:
    """Intel's and AMD's running average power limit: counters of energy, one per package."""

    zones: tuple[Path, ...]
    source: str = "RAPL"

    def sample(self) -> Sample:
        """Energy counted so far in µJ, package by package."""
        return tuple(_number(zone / "energy_uj") for zone in self.zones)

    def joules(self, before: Sample, after: Sample, seconds: float) -> float:  # noqa: ARG002
        """The sum of the counters' growth; a counter that wrapped is put right once."""
        total = 0.0
        for zone, start, end in zip(self.zones, before, after, strict=True):
            wrapped = _number(zone / "max_energy_range_uj") if end < start else 0.0
            total += end - start + wrapped
        return total / 1e6


@dataclass(frozen=True, slots=True)
class GaugeSensor:
    """A sensor of momentary power in µW: one file, or current (µA) times voltage (µV)."""

    files: tuple[Path, ...]
    source: str

    def sample(self) -> Sample:
        """Momentary power in W."""
        first, *rest = (_number(file) / 1e6 for file in self.files)
        return (first * rest[0] if rest else first,)

    def joules(self, before: Sample, after: Sample, seconds: float) -> float:
        """The mean of both ends over the time between them."""
        return (before[0] + after[0]) / 2 * seconds


def find_sensor(root: Path = SYSTEM_ROOT) -> Sensor | Unavailable:
    """The best sensor below ``root`` (``/sys/class``), or why there is none."""
    candidates = [*_rapl(root), *_hwmon(root), *_batteries(root)]
    if not candidates:
        return Unavailable(
            NAME, UNIT, "this machine has no RAPL counter, power sensor or discharging battery"
        )
    problem = ""
    for sensor in candidates:
        try:
            sensor.sample()
        except (OSError, ValueError) as error:
            problem = problem or f"{sensor.source} cannot be read ({_why(error)})"
            continue
        return sensor
    return Unavailable(NAME, UNIT, problem)


def _rapl(root: Path) -> list[Sensor]:
    packages = sorted(
        zone
        for zone in root.glob("powercap/intel-rapl:*")
        if zone.name.count(":") == 1 and (zone / "energy_uj").exists()
    )
    return [RaplSensor(tuple(packages))] if packages else []


def _hwmon(root: Path) -> list[Sensor]:
    return [
        GaugeSensor((file,), f"hwmon {file.parent.name}/{file.name}")
        for name in ("power*_average", "power*_input")
        for file in sorted(root.glob(f"hwmon/hwmon*/{name}"))
    ]


def _batteries(root: Path) -> list[Sensor]:
    found: list[Sensor] = []
    for battery in sorted(root.glob("power_supply/*")):
        # On mains, a battery's figure is the charger's, not the machine's.
        if _text(battery / "status") != "Discharging":
            continue
        source = f"battery {battery.name}"
        if (battery / "power_now").exists():
            found.append(GaugeSensor((battery / "power_now",), source))
        elif (battery / "current_now").exists() and (battery / "voltage_now").exists():
            files = (battery / "current_now", battery / "voltage_now")
            found.append(GaugeSensor(files, source))
    return found


class PowerMeter:
    """Adds up energy and time over several stretches of work."""

    def __init__(self, sensor: Sensor | Unavailable, clock: Clock) -> None:
        self._sensor = sensor
        self._clock = clock
        self._joules = 0.0
        self._seconds = 0.0
        self._problem = ""

    @contextmanager
    def during(self) -> Iterator[None]:
        """Count the energy of what runs inside."""
        before = self._sample()
        start = self._clock.monotonic()
        yield
        seconds = self._clock.monotonic() - start
        after = self._sample()
        if before is not None and after is not None and not isinstance(self._sensor, Unavailable):
            self._joules += self._sensor.joules(before, after, seconds)
            self._seconds += seconds

    def reading(self) -> Reading:
        """Mean power in W over all stretches, or why it is not known."""
        if isinstance(self._sensor, Unavailable):
            return self._sensor
        if self._problem:
            return Unavailable(NAME, UNIT, self._problem)
        if self._joules <= 0 or self._seconds <= 0:
            return Unavailable(NAME, UNIT, f"{self._sensor.source} counted no energy")
        return Measure(NAME, self._joules / self._seconds, UNIT)

    def _sample(self) -> Sample | None:
        if isinstance(self._sensor, Unavailable):
            return None
        try:
            return self._sensor.sample()
        except (OSError, ValueError) as error:
            self._problem = f"{self._sensor.source} stopped answering ({_why(error)})"
            return None


def _number(file: Path) -> float:
    return float(file.read_text(encoding="ascii"))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or "no reason") if isinstance(error, OSError) else "not a number"
