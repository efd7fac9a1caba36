"""Weights and memory bounds of the cgroup that a name of the settings has, of both versions.

Which version holds is read off the mounts, by controller: one mounted by itself is version 1, all
others are the unified hierarchy's (https://docs.kernel.org/admin-guide/cgroup-v1/,
https://docs.kernel.org/admin-guide/cgroup-v2.html).

| knob | version 1 | version 2 |
|---|---|---|
| `cpu_weight` | `cpu.shares`, 2 to 262144 | `cpu.weight`, 1 to 10000 |
| `memory_soft_limit` | `memory.soft_limit_in_bytes` | |
| `memory_high`, `memory_low` | | `memory.high`, `memory.low` |

Bounds are bytes, in whole pages, or "max". A cgroup is touched only while all processes in it, and
below it, are the name's: whoever else is there would be touched too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from config.errors import ConflictError, InputError, UnavailableError
from optimizers.targets.base import Guard
from optimizers.targets.processes_facts import CPU_WEIGHT
from registry.agent_records import Change

UNLIMITED = "max"

_MOUNTS = Path("/proc/self/mounts")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# What version 1 shows for no limit: the most whole pages that fit 63 bits.
_NO_LIMIT = (2**63 - 1) // _PAGE * _PAGE
_MOST_FOLDERS = 1000


@dataclass(frozen=True, slots=True)
class _Kind:
    """A file of a controller and the numbers it takes; `unlimited` is how it spells no bound."""

    controller: str
    version: int
    file: str
    low: int
    high: int
    whole: int = 1
    unlimited: str = ""


_MEMORY = (0, _NO_LIMIT - _PAGE, _PAGE)
_KINDS: dict[str, tuple[_Kind, ...]] = {
    CPU_WEIGHT: (
        _Kind("cpu", 1, "cpu.shares", 2, 262_144),
        _Kind("cpu", 2, "cpu.weight", 1, 10_000),
    ),
    "memory_soft_limit": (_Kind("memory", 1, "memory.soft_limit_in_bytes", *_MEMORY, "-1"),),
    "memory_high": (_Kind("memory", 2, "memory.high", *_MEMORY, "max"),),
    "memory_low": (_Kind("memory", 2, "memory.low", *_MEMORY, "max"),),
}
CGROUP_KINDS = tuple(_KINDS)


class CgroupKnob:
    """One file of one cgroup.

    Args:
        knob: the knob's whole name, for messages.
        file: where it is.
        kind: what it takes.
    """

    def __init__(self, knob: str, file: Path, kind: _Kind) -> None:
        self._knob = knob
        self._file = file
        self._kind = kind

    @property
    def bounds(self) -> tuple[int, int]:
        """The lowest and the highest number."""
        return self._kind.low, self._kind.high

    def read(self) -> JsonValue:
        """The value now.

        Raises:
            UnavailableError: the cgroup is gone, or cannot be read.
        """
        try:
            text = self._file.read_text().strip()
        except OSError as error:
            raise UnavailableError(f"{self._file} cannot be read: {error.strerror}") from error
        if self._kind.unlimited and (text == UNLIMITED or int(text) >= _NO_LIMIT):
            return UNLIMITED
        return int(text)

    def write(self, change: Change, own: Collection[int], guard: Guard) -> None:
        """Set it, unless it is neither as before nor as after, or others live in the cgroup.

        Args:
            change: of this knob.
            own: numbers of the processes that may be touched.
            guard: see :class:`optimizers.targets.base.Target`.

        Raises:
            ConflictError: it has another value, or the cgroup holds other processes.
            InputError: it takes no such value, or the kernel refuses it.
            UnavailableError: the cgroup is gone.
        """
        text = self._text(change.after)
        now = self.read()
        if now not in (change.before, change.after):
            raise ConflictError(
                f"{self._knob} is {now!r}, not {change.before!r}; somebody else has set it"
            )
        others = sorted(members(self._file.parent) - set(own))
        if others:
            raise ConflictError(
                f"the cgroup {self._file.parent} holds processes that are not named for "
                f"{self._knob}: {', '.join(map(str, others[:5]))}; give the named ones a cgroup "
                "of their own"
            )
        guard.check()
        if now != change.after:
            self._put(text, change)

    def _put(self, text: str, change: Change) -> None:
        try:
            self._file.write_text(text)
        except FileNotFoundError as error:
            raise UnavailableError(f"{self._file} is gone: the cgroup was removed") from error
        except OSError as error:
            raise InputError(
                f"{self._knob} cannot be set to {change.after!r}: {error.strerror}; run as root: "
                f"echo {text} > {self._file}"
            ) from error
        found = self.read()
        if found != change.after:
            raise InputError(f"the kernel made {found!r} of {change.after!r} for {self._knob}")

    def _text(self, value: JsonValue) -> str:
        kind = self._kind
        if kind.unlimited and value == UNLIMITED:
            return kind.unlimited
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not kind.low <= value <= kind.high or value % kind.whole:  # type: ignore[operator]
            pages = f" in steps of {kind.whole}, or {UNLIMITED!r}" if kind.unlimited else ""
            raise InputError(
                f"{self._knob} cannot be {value!r}: it takes {kind.low} to {kind.high}{pages}"
            )
        return str(value)


class Cgroups:
    """The cgroups of this machine; `mounts` lists what is mounted where."""

    def __init__(self, mounts: Path = _MOUNTS) -> None:
        self._mounts = mounts

    def knob(self, kind: str, name: str, path: str) -> CgroupKnob | None:
        """The knob of a cgroup; None where the machine, or the cgroup, has none of this kind.

        Raises:
            InputError: the path is the root of all, or leads out of the mount.
        """
        for one in _KINDS[kind]:
            folder = self._folder(one, path)
            if folder is not None and (folder / one.file).is_file():
                return CgroupKnob(f"{kind}:{name}", folder / one.file, one)
        return None

    def cpu_group(self, pid: int) -> str:
        """Who a process shares cores with by niceness: only members of one group do.

        That is the cgroup that divides the processor; of the outermost, the session, where the
        kernel groups sessions by themselves (`sched_autogroup_enabled`).
        """
        with suppress(OSError, ValueError):
            group = self._dividing(Path(f"/proc/{pid}/cgroup").read_text())
            if group != "/":
                return group
            session = Path(f"/proc/{pid}/autogroup").read_text().split()[0]
            grouped = Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
            return session if grouped else group
        return "/"

    def _dividing(self, lines: str) -> str:
        """The cgroup of the cpu controller, out of the lines of /proc/<pid>/cgroup."""
        parts = [line.split(":", 2) for line in lines.splitlines()]
        for _, controllers, path in parts:
            if "cpu" in controllers.split(","):
                return path
        mount = self._mounted("cpu", 2)
        path = next((found for number, _, found in parts if number == "0"), "/")
        while mount is not None and path != "/" and not (mount / path[1:] / "cpu.weight").exists():
            path = os.path.dirname(path)  # noqa: PTH120 - a name inside the hierarchy, not a file
        return path if mount is not None else "/"

    def _folder(self, kind: _Kind, path: str) -> Path | None:
        mount = self._mounted(kind.controller, kind.version)
        if mount is None:
            return None
        parts = parts_of(path)
        folder = mount.joinpath(*parts)
        if folder.resolve() != mount.resolve().joinpath(*parts):
            raise InputError(f"the cgroup {path!r} leads elsewhere by a link; name it directly")
        return folder

    def _mounted(self, controller: str, version: int) -> Path | None:
        for place, kind, options in self._all_mounts():
            if version == 1 and kind == "cgroup" and controller in options:
                return place
            if version == 2 and kind == "cgroup2":
                return place
        return None

    def _all_mounts(self) -> Iterator[tuple[Path, str, list[str]]]:
        try:
            lines = self._mounts.read_text().splitlines()
        except OSError:
            return
        for line in lines:
            _, place, kind, options, *_ = line.split()
            # Spaces and the like are written as octal numbers.
            plain = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), place)
            yield Path(plain), kind, options.split(",")


def parts_of(path: str) -> tuple[str, ...]:
    """The names on the way to a cgroup.

    Raises:
        InputError: it is the root of all, or leads out of the mount.
    """
    parts = Path(path.strip("/")).parts
    if not parts or ".." in parts:
        raise InputError(
            f"the cgroup {path!r} cannot be used: name one below the mount, without '..'"
        )
    return parts


def members(folder: Path) -> set[int]:
    """The processes in a cgroup and in those below it.

    Raises:
        UnavailableError: it cannot be read.
    """
    found: set[int] = set()
    for number, (place, _, _) in enumerate(os.walk(folder)):
        if number >= _MOST_FOLDERS:
            raise UnavailableError(f"{folder} has more than {_MOST_FOLDERS} cgroups below it")
        try:
            found |= {int(one) for one in (Path(place) / "cgroup.procs").read_text().split()}
        except OSError as error:
            raise UnavailableError(f"{place} cannot be read: {error.strerror}") from error
    return found
