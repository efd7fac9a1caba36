"""The memory of this process and of the machine around it: what is used, free, and given back.

Where to look is an argument, so that it can be tried on any tree of files. What cannot be read is
not known (None); nobody is refused for that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_KB = 1024


@dataclass(frozen=True, slots=True)
class MemoryFiles:
    """Where the kernel says how much memory there is."""

    proc: Path = Path("/proc")
    cgroups: Path = Path("/sys/fs/cgroup")


def available_bytes(files: MemoryFiles) -> int | None:
    """Return what may still be taken: of the machine, and of every control group around us.

    `MemAvailable` is the kernel's own estimate (proc(5)). A group has its limit less what it uses
    and could not drop: its file pages count as droppable, those in active use by half.
    """
    found = [*_machine(files.proc), *_groups(files)]
    return max(0, min(found)) if found else None


def own_bytes(files: MemoryFiles) -> int | None:
    """Return this process's unique set: what the system would get back if it ended."""
    rollup = _fields(files.proc / "self" / "smaps_rollup")
    private = [rollup.get(name) for name in ("Private_Clean", "Private_Dirty")]
    return sum(part for part in private if part is not None) * _KB if any(private) else None


def trim_heap() -> bool:
    """Give freed memory back to the system; False where the C library cannot (not glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


def drop_cached(paths: Iterable[Path]) -> None:
    """Ask the kernel to forget the pages of files that are read no more."""
    for path in paths:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _machine(proc: Path) -> Iterator[int]:
    available = _fields(proc / "meminfo").get("MemAvailable")
    if available is not None:
        yield available * _KB


def _groups(files: MemoryFiles) -> Iterator[int]:
    """What each control group that holds us leaves, in version 1 and 2."""
    for line in _text(files.proc / "self" / "cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            root, names = files.cgroups, ("memory.max", "memory.current", "")
            if not (root / "cgroup.controllers").exists():
                root = files.cgroups / "unified"
        elif "memory" in controllers.split(","):
            root = files.cgroups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        yield from _levels(root, path, names)


def _levels(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """What is left on the way from the group to the root; any level may have a limit."""
    limit_name, usage_name, prefix = names
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    for depth in range(len(parts), -1, -1):
        folder = root.joinpath(*parts[:depth])
        limit, usage = _number(folder / limit_name), _number(folder / usage_name)
        if limit is not None and usage is not None:
            stat = _fields(folder / "memory.stat")
            active = stat.get(f"{prefix}active_file", 0)
            yield limit - usage + stat.get(f"{prefix}inactive_file", 0) + active // 2


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file with one name and one number a line."""
    found: dict[str, int] = {}
    for line in _text(path).splitlines():
        parts = line.replace(":", " ", 1).split()
        if len(parts) > 1 and parts[1].isascii() and parts[1].isdigit():
            found[parts[0]] = int(parts[1])
    return found


def _number(path: Path) -> int | None:
    """A file's one number; None for `max` too, which is no limit."""
    text = _text(path).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
