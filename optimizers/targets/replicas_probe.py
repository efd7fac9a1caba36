"""What the system tells of the predictor's workers: time, memory, and the room they have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from optimizers.targets.replicas_facts import Room

_MEGABYTE = 2**20
_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class WorkerUse:
    """A worker: processor seconds since it began, and the memory that is its alone, MB."""

    cpu_s: float
    memory_mb: float


def use_of(pid: int) -> WorkerUse | None:
    """What a process uses; None when it has ended or cannot be looked at."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return WorkerUse(times.user + times.system, process.memory_full_info().uss / _MEGABYTE)
    except psutil.Error:
        return None


def alive(pid: int) -> bool:
    """Whether a process runs."""
    with suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def room_of(pids: Sequence[int], root: Path = _ROOT) -> Room:
    """What these processes may use; they all have the same bounds, so the first will do."""
    memory = psutil.virtual_memory()
    host = os.cpu_count() or 1
    cores, available = float(host), float(memory.available)
    for pid in pids[:1]:
        with suppress(OSError, ValueError):
            cores = float(len(os.sched_getaffinity(pid)))
            folders = list(_cgroups(Path(f"/proc/{pid}/cgroup").read_text(), root))
            cores = min([cores, *(one for one in map(_quota, folders) if one is not None)])
            available = min(
                [available, *(one for one in map(_memory_left, folders) if one is not None)]
            )
    return Room(cores, host, available / _MEGABYTE, memory.total / _MEGABYTE)


def _cgroups(lines: str, root: Path) -> Iterator[Path]:
    """The folders of a process' cgroups and of those around them, of both versions."""
    for line in lines.splitlines():
        _, controllers, path = line.split(":", 2)
        mounts = [root / one for one in controllers.split(",")] if controllers else [root]
        for mount in (*mounts, root / controllers):
            folder = mount / path.strip("/")
            while mount in (folder, *folder.parents):
                yield folder
                folder = folder.parent


def _quota(folder: Path) -> float | None:
    """Cores by the quota of a cgroup; None without one."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        micros = int((folder / "cpu.cfs_quota_us").read_text())
        return micros / int((folder / "cpu.cfs_period_us").read_text()) if micros > 0 else None
    return None


def _memory_left(folder: Path) -> float | None:
    """Bytes that a cgroup may still take; None without a bound."""
    for bound, used in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            left = int((folder / bound).read_text()) - int((folder / used).read_text())
            return float(max(0, left))
    return None
