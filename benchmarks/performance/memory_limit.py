"""A memory limit of the kernel around whatever is started inside it: a cgroup of version 1.

What is started while `inside` holds is born there, with all its memory. Where the kernel or its
rights give no such cgroup there is no limit, and kills are counted over the whole machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MEMORY = Path("/sys/fs/cgroup/memory")
_REMOVE_S = 10.0


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A cgroup, or None without one, and the kills of the machine before it was made."""

    folder: Path | None
    kills_before: int

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have processes that are started now born in the cgroup."""
        if self.folder is None:
            yield
            return
        home = _MEMORY / _own_group().lstrip("/")
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (home / "cgroup.procs").write_text(str(os.getpid()))

    def resident_bytes(self) -> int | None:
        """Memory inside that no file backs."""
        if self.folder is None:
            return None
        return _field(self.folder / "memory.stat", "total_rss")

    def set(self, most: int) -> None:
        """Let what is inside have no more than this, bytes."""
        if self.folder is not None:
            (self.folder / "memory.limit_in_bytes").write_text(str(most))

    def kills(self) -> int:
        """Processes killed for want of memory: inside, or on the machine since the beginning."""
        if self.folder is not None:
            return _field(self.folder / "memory.oom_control", "oom_kill")
        return _machine_kills() - self.kills_before

    def hits(self) -> int | None:
        """How often the limit was met, and pages had to be dropped."""
        return None if self.folder is None else int((self.folder / "memory.failcnt").read_text())


@contextmanager
def memory_limit() -> Iterator[MemoryLimit]:
    """Make a cgroup; it is taken away at the end, once all processes in it have ended."""
    folder: Path | None = _MEMORY / f"prime-spark-{os.getpid()}"
    try:
        folder.mkdir()  # type: ignore[union-attr]
    except OSError:
        folder = None
    try:
        yield MemoryLimit(folder, _machine_kills())
    finally:
        if folder is not None:
            _remove(folder)


def _remove(folder: Path) -> None:
    ends = time.monotonic() + _REMOVE_S
    while folder.exists() and time.monotonic() < ends:
        with suppress(OSError):
            folder.rmdir()
        time.sleep(0.05)


def _own_group() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path
    return "/"


def _machine_kills() -> int:
    return _field(Path("/proc/vmstat"), "oom_kill")


def _field(file: Path, name: str) -> int:
    found = (line.split() for line in file.read_text().splitlines())
    return next((int(parts[1]) for parts in found if parts[0] == name), 0)
