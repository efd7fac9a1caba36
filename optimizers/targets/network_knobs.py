"""The kernel's TCP settings that may be turned: an allow-list, each within the kernel's range.

A value is the text as the kernel prints it, without the end of line: what is put back is the same
text. The kernel has no compare-and-set, so a value is read, compared and written at once, by one
thread that waits for nothing in between.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.errors import ConflictError, InputError, UnavailableError
from registry.agent_records import Change

PREFIX = "sysctl:"
RMEM = "sysctl:net.ipv4.tcp_rmem"
WMEM = "sysctl:net.ipv4.tcp_wmem"
CONGESTION = "sysctl:net.ipv4.tcp_congestion_control"
SLOW_START = "sysctl:net.ipv4.tcp_slow_start_after_idle"
SYN_BACKLOG = "sysctl:net.ipv4.tcp_max_syn_backlog"
SOMAXCONN = "sysctl:net.core.somaxconn"
DEVICE_BACKLOG = "sysctl:net.core.netdev_max_backlog"

_SYS = Path("/proc/sys")
_INT_MAX = 2**31 - 1
_MAX_NAME = 15


@dataclass(frozen=True, slots=True)
class Numbers:
    """A setting of as many whole numbers, never falling, each from `low` to `high`."""

    count: int
    low: int
    high: int

    def fault(self, text: str) -> str:
        """What is wrong with a value, in words; empty when nothing is."""
        parts = text.split()
        if len(parts) != self.count or not all(one.isascii() and one.isdigit() for one in parts):
            return f"{self.count} whole number{'s' * (self.count > 1)} wanted"
        values = [int(one) for one in parts]
        if not all(self.low <= one <= self.high for one in values):
            return f"it goes from {self.low} to {self.high}"
        return "" if values == sorted(values) else "its numbers must not fall"


KNOBS: Mapping[str, Numbers | None] = {
    RMEM: Numbers(3, 1, _INT_MAX),
    WMEM: Numbers(3, 1, _INT_MAX),
    CONGESTION: None,
    SLOW_START: Numbers(1, 0, 1),
    SYN_BACKLOG: Numbers(1, 1, _INT_MAX),
    SOMAXCONN: Numbers(1, 0, _INT_MAX),
    DEVICE_BACKLOG: Numbers(1, 0, _INT_MAX),
}
"""The knobs and their ranges; a congestion control is one of those the kernel offers."""


def path_of(knob: str) -> Path:
    """The file of a knob below `/proc/sys`."""
    return _SYS / knob.removeprefix(PREFIX).replace(".", "/")


def assignment(knob: str, value: str) -> str:
    """The argument of `sysctl -w` that sets a knob."""
    return f"{knob.removeprefix(PREFIX)}='{' '.join(value.split())}'"


def present_knobs() -> tuple[str, ...]:
    """The knobs that the calling thread's namespace has a setting of its own for.

    What belongs to the whole machine is shown read-only in a namespace, or not at all.
    """
    return tuple(knob for knob in KNOBS if _is_own(path_of(knob)))


def writable() -> bool:
    """Whether the calling thread may write the settings of its namespace."""
    return os.access(path_of(CONGESTION), os.W_OK)


def read_knob(knob: str) -> str:
    """The value of a knob in the calling thread's namespace.

    Raises:
        InputError: no such knob.
        UnavailableError: it cannot be read.
    """
    if knob not in KNOBS:
        raise InputError(f"there is no knob {knob!r}; there are {', '.join(KNOBS)}")
    return _read(path_of(knob))


def settable_algorithms() -> tuple[str, ...]:
    """The congestion controls that can be set in the calling thread's namespace.

    Outside of the machine's first namespace they are only those that are allowed to everybody.
    """
    first = path_of("net.ipv4.tcp_mem").exists()  # only the first namespace has it
    name = "tcp_available_congestion_control" if first else "tcp_allowed_congestion_control"
    return tuple(_read(path_of(f"net.ipv4.{name}")).split())


def uses_syn_cookies() -> bool:
    """Whether the calling thread's namespace answers first packets without keeping them."""
    path = path_of("net.ipv4.tcp_syncookies")
    return path.exists() and _read(path) != "0"


def write_knob(change: Change) -> None:
    """Set a knob of the calling thread's namespace from `before` to `after`, or change nothing.

    Raises:
        InputError: no such knob, or a value that the kernel does not take.
        ConflictError: it has another value than expected, or could not be put back.
        UnavailableError: it cannot be read or written; the outcome has to be read.
    """
    present = read_knob(change.knob)
    if present not in (change.before, change.after):
        raise ConflictError(
            f"{change.knob} is {present!r}, not {change.before!r}; somebody else has set it"
        )
    if present == change.after:
        return
    after = _checked(change.knob, change.after, present)
    _write(path_of(change.knob), after)
    found = read_knob(change.knob)
    if found != after:
        raise UnavailableError(f"{change.knob} was set to {after!r} but reads {found!r}")


def _checked(knob: str, value: object, present: str) -> str:
    """A value that the kernel will take and print again as it is."""
    if not isinstance(value, str) or value != "\t".join(value.split()):
        raise InputError(f"{knob} cannot be {value!r}; give its text, with single tabs")
    numbers = KNOBS[knob]
    fault = _algorithm_fault(value) if numbers is None else numbers.fault(value)
    if fault:
        raise InputError(f"{knob} cannot be {value!r}: {fault}")
    if numbers is None and present not in settable_algorithms():
        raise ConflictError(
            f"{knob} stays {present!r}: it is not among those that may be set here "
            f"({', '.join(settable_algorithms())}), so it could not be put back; allow it with "
            "`sysctl -w net.ipv4.tcp_allowed_congestion_control=…` in the first namespace"
        )
    return value


def _algorithm_fault(name: str) -> str:
    known = settable_algorithms()
    fits = len(name) <= _MAX_NAME and name in known
    return "" if fits else f"it is one of {', '.join(known)}"


def _is_own(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o200)
    except OSError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"{path} cannot be read: {error}") from error


def _write(path: Path, value: str) -> None:
    """One write, which the kernel takes as a whole or refuses."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{value}\n".encode("ascii"))
        finally:
            os.close(descriptor)
    except PermissionError as error:
        raise InputError(f"{path} may not be written; that needs root or CAP_NET_ADMIN") from error
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise InputError(f"the kernel refuses {value!r} for {path}") from error
        raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
