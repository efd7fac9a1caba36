"""What the kernel counts for a network namespace: `/proc/net/snmp`, `netstat`, `sockstat`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.errors import UnavailableError

# `/proc/net` is that of the process; this one is that of the thread.
_NET = Path("/proc/thread-self/net")
_TCP_MEM = Path("/proc/sys/net/ipv4/tcp_mem")

COUNTERS = (
    "ActiveOpens",
    "PassiveOpens",
    "RetransSegs",
    "TCPOrigDataSent",
    "ListenOverflows",
    "ListenDrops",
    "TCPMemoryPressures",
)
"""The counters that are used, by their names in the kernel."""


def read_counters() -> dict[str, float]:
    """The counters of the calling thread's namespace; what the kernel does not count is left out.

    Raises:
        UnavailableError: they cannot be read.
    """
    found: dict[str, float] = {}
    for name, group in (("snmp", "Tcp"), ("netstat", "TcpExt")):
        values = parse_counters(_read(_NET / name), group)
        found |= {key: values[key] for key in COUNTERS if key in values}
    return found


def read_device_drops() -> float:
    """Packets that the machine dropped because the queue between card and stack was full."""
    lines = _read(_NET / "softnet_stat").splitlines()
    return float(sum(int(line.split()[1], 16) for line in lines))


def parse_counters(text: str, group: str) -> dict[str, float]:
    """The numbers of one group: a line of names, and a line of values.

    Raises:
        UnavailableError: the text has another form.
    """
    lines = [line.split() for line in text.splitlines() if line.startswith(f"{group}:")]
    try:
        names, values = lines
        pairs = zip(names[1:], values[1:], strict=True)
        return {name: float(value) for name, value in pairs}
    except ValueError as error:
        raise UnavailableError(
            f"the kernel's counters of {group} are not as expected: {error}"
        ) from error


@dataclass(frozen=True, slots=True)
class TcpMemory:
    """Memory of all TCP sockets of the machine, and where the kernel begins to save; pages."""

    used: int
    pressure: int

    @property
    def percent(self) -> float:
        """Use in percent of where the kernel begins to save."""
        return 100.0 * self.used / self.pressure if self.pressure > 0 else 0.0


def read_memory() -> TcpMemory | None:
    """TCP's memory; None outside of the machine's first namespace, which alone knows the bounds.

    Raises:
        UnavailableError: it cannot be read.
    """
    if not _TCP_MEM.exists():
        return None
    return TcpMemory(used_pages(_read(_NET / "sockstat")), int(_read(_TCP_MEM).split()[1]))


def used_pages(sockstat: str) -> int:
    """The pages that `/proc/net/sockstat` says TCP uses.

    Raises:
        UnavailableError: the text has another form.
    """
    for line in sockstat.splitlines():
        parts = line.split()
        fields: Mapping[str, str] = dict(zip(parts[1::2], parts[2::2], strict=False))
        if parts and parts[0] == "TCP:" and fields.get("mem", "").isdigit():
            return int(fields["mem"])
    raise UnavailableError("/proc/net/sockstat does not tell TCP's memory")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"{path} cannot be read: {error}") from error
