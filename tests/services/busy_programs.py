"""Real processes to be found, weighed and touched: busy or idle ones, in cgroups of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.services.processes import wait_until

BUSY = "while True: pass"
IDLE = "import time; time.sleep(600)"
THREADS = (
    "import threading, time\n"
    "for _ in range(3): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    "time.sleep(600)"
)
NOBODYS = "import os, time\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\ntime.sleep(600)"
# Two processes on one core; the second has a mark of its own, and ends with the first.
RIVALS = """
import os, subprocess, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
code = "import os\\nfirst = os.getppid()\\nwhile os.getppid() == first: pass"
rival = subprocess.Popen([sys.executable, "-c", code, sys.argv[2]])
os.setpriority(os.PRIO_PROCESS, rival.pid, 1)
while True: pass
"""
V1 = Path("/sys/fs/cgroup")


def mark() -> str:
    """A part of a command line that no other process has."""
    return f"mark-{uuid4().hex}"


@contextmanager
def program(code: str, marked: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python code in a process whose command line holds the mark, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, marked, *arguments],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _has_begun(process.pid), 20.0, "the program to begin")
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def rivals() -> Iterator[tuple[tuple[str, str], tuple[int, ...]]]:
    """Two busy processes on one core, in one session: their marks and numbers.

    The second has a niceness of its own. None is left behind.
    """
    marks = (mark(), mark())
    with program(RIVALS, *marks) as process:
        try:
            wait_until(lambda: len(_family_of(process.pid)) == 2, 20.0, "the rival to begin")
            pids = _family_of(process.pid)
            wait_until(lambda: os.getpriority(os.PRIO_PROCESS, pids[1]) == 1, 20.0, "its niceness")
            yield marks, pids
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _family_of(pid: int) -> tuple[int, ...]:
    return (pid, *(one.pid for one in psutil.Process(pid).children()))


def _has_begun(pid: int) -> bool:
    """True once it is the program itself: until then it looks like the process it came from."""
    return b"mark-" in Path(f"/proc/{pid}/cmdline").read_bytes()


def threads(pid: int) -> list[int]:
    return sorted(int(one.name) for one in Path(f"/proc/{pid}/task").iterdir())


@contextmanager
def cgroup_v1(controller: str) -> Iterator[Path]:
    """A real cgroup of version 1, empty at first; skip where the kernel gives none."""
    folder = V1 / controller / f"prime-spark-{uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of version 1 can be made for {controller}: {error}")
    try:
        yield folder
    finally:
        _remove(folder)


@contextmanager
def crowd_of_cgroups(*names: str) -> Iterator[list[Path]]:
    """Real cgroups that divide a share of the processor among them, hardly disturbed by others."""
    with cgroup_v1("cpu") as outer:
        (outer / "cpu.shares").write_text("8192")
        folders = [outer / name for name in names]
        for folder in folders:
            folder.mkdir()
        try:
            yield folders
        finally:
            for folder in folders:
                _remove(folder)


def join(folder: Path, pid: int) -> None:
    """Put a process into a cgroup."""
    (folder / "cgroup.procs").write_text(str(pid))


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + 10.0
    while folder.exists() and time.monotonic() < deadline:
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (folder.parent / "cgroup.procs").write_text(pid)
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)


def needs_root() -> None:
    """Skip what only root can show."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to make processes of other users")
