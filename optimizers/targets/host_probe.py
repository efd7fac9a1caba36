"""What this machine tells of itself, by psutil and `/proc/pressure`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

_PRESSURE = Path("/proc/pressure")


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Seconds a core was busy, and in all, since the machine started."""

    busy: float
    total: float


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Use of memory and swap; `swap_percent` None where there is no swap."""

    percent: float
    available_bytes: float
    swap_percent: float | None


class HostProbe(Protocol):
    """The sources of a host's numbers; each raises OSError when its source fails."""

    def cores(self) -> Sequence[CoreTime]:
        """The time of each core."""
        ...

    def load_1m(self) -> float:
        """Processes running or waiting to run, averaged over a minute."""
        ...

    def memory(self) -> MemoryUse:
        """Use of memory and swap now."""
        ...

    def disk_percent(self, path: str) -> float:
        """How full the file system of a path is."""
        ...

    def traffic(self) -> Mapping[str, float]:
        """Counters of bytes: disk_read, disk_write, net_received, net_sent; those there are."""
        ...

    def temperatures(self) -> Mapping[str, float]:
        """Degrees Celsius by sensor; empty where there is none."""
        ...

    def pressure(self) -> Mapping[str, float]:
        """Percent of the last 10 s in which work stood still, by `cpu_some`, `io_full` and so on.

        Empty where the kernel has no pressure stall information. See
        https://docs.kernel.org/accounting/psi.html.
        """
        ...


class PsutilProbe:
    """The machine this process runs on."""

    def cores(self) -> list[CoreTime]:
        """Guest time is part of user time already, so it is not added."""
        found = []
        for one in psutil.cpu_times(percpu=True):
            idle = one.idle + getattr(one, "iowait", 0.0)
            guest = getattr(one, "guest", 0.0) + getattr(one, "guest_nice", 0.0)
            total = sum(one) - guest
            found.append(CoreTime(total - idle, total))
        return found

    def load_1m(self) -> float:
        """The load average of a minute."""
        return psutil.getloadavg()[0]

    def memory(self) -> MemoryUse:
        """Use of memory and swap now."""
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        used = float(swap.percent) if swap.total else None
        return MemoryUse(float(memory.percent), float(memory.available), used)

    def disk_percent(self, path: str) -> float:
        """How full the file system of a path is, as its users see it."""
        return float(psutil.disk_usage(path).percent)

    def traffic(self) -> dict[str, float]:
        """Bytes through all disks, and all network interfaces but loopback."""
        found: dict[str, float] = {}
        disk = psutil.disk_io_counters(nowrap=False)
        if disk is not None:
            found |= {"disk_read": disk.read_bytes, "disk_write": disk.write_bytes}
        nets = psutil.net_io_counters(pernic=True, nowrap=False)
        outside = [net for name, net in nets.items() if name != "lo"]
        if outside:
            found["net_received"] = sum(net.bytes_recv for net in outside)
            found["net_sent"] = sum(net.bytes_sent for net in outside)
        return found

    def temperatures(self) -> dict[str, float]:
        """The present temperature of every sensor."""
        read = getattr(psutil, "sensors_temperatures", None)
        chips = read() if read is not None else {}
        return {
            f"{chip} {one.label or number}": float(one.current)
            for chip, sensors in chips.items()
            for number, one in enumerate(sensors)
        }

    def pressure(self) -> dict[str, float]:
        """The averages over 10 s."""
        found: dict[str, float] = {}
        for resource in ("cpu", "memory", "io"):
            # Kernels without it, and containers that hide it, have no such file or refuse to read.
            with suppress(OSError):
                for line in (_PRESSURE / resource).read_text().splitlines():
                    kind, *parts = line.split()
                    averages = dict(part.split("=", 1) for part in parts)
                    found[f"{resource}_{kind}"] = float(averages["avg10"])
        return found
