"""Finds the processes that the settings name, and their threads.

A process belongs to the first name whose `command` is a part of its command line. Left out are:
this process and those it descends from; kernel threads; and, unless this process is root's, those
of other users. Nothing but these processes is ever looked at closer, or touched.

Threads are known by their number and the moment they began: a number that the kernel has given to
another thread since is not the same thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from config.clock import SystemClock, epoch
from config.performance_settings import ProcessSettings
from optimizers.targets.processes_facts import HOUSE, PREDICTOR, Thread

_ROLES = {
    PREDICTOR: ("serving.service:Predictor",),
    HOUSE: (
        *("-m flows.", "-m serving.api", "bin/prime-spark"),
        *("-m prefect", "prefect server", "prefect worker", "mlflow server", "mlflow.server"),
    ),
}
_PROC = Path("/proc")
_MOST_PROCESSES = 200
_MOST_THREADS = 2000


@dataclass(frozen=True, slots=True)
class Found:
    """A process of a name.

    Attributes:
        role: `predictor`, `house` for the agent and the servers around it, else empty.
    """

    process: psutil.Process
    role: str

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid


def find(named: Sequence[ProcessSettings]) -> dict[str, list[Found]]:
    """Return the processes of each name that run now; a name without any has an empty list."""
    found: dict[str, list[Found]] = {one.name: [] for one in named}
    kin = _kin()
    for pid in psutil.pids():
        command = _command(pid)
        name = next((one.name for one in named if one.command in command), None)
        if name is None or pid in kin or len(found[name]) >= _MOST_PROCESSES:
            continue
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if _may_touch(process.uids()):
                found[name].append(Found(process, _role(command)))
    return found


def threads_of(pids: Iterable[int]) -> list[Thread]:
    """Return the threads of processes; one that has ended meanwhile is left out."""
    found: list[Thread] = []
    for pid in pids:
        with suppress(OSError):
            tids = sorted(int(one.name) for one in (_PROC / str(pid) / "task").iterdir())
            began = {tid: began_at(pid, tid) for tid in tids[: _MOST_THREADS - len(found)]}
            found += [Thread(pid, tid, at) for tid, at in began.items() if at is not None]
    return found


def began_at(pid: int, tid: int) -> int | None:
    """When a thread began, in clock ticks since the boot; None when it is gone."""
    try:
        text = (_PROC / str(pid) / "task" / str(tid) / "stat").read_text(errors="replace")
        # The second field, the name, may hold anything; what follows its bracket is numbers.
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: field 22.
        fields = text.rpartition(")")[2].split()
        state, began = fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
    return None if state in {"Z", "X"} else began


def epoch_of(began: int) -> float:
    """A moment in clock ticks since the boot as seconds since the epoch, to a tick.

    The kernel's own `btime` is in whole seconds: a process that began within one of a change would
    be taken for one that came after it.
    """
    booted = epoch(SystemClock().now()) - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + began / os.sysconf("SC_CLK_TCK")


def waits(thread: Thread) -> Mapping[str, float]:
    """What a thread has gone through since it began: `waited` seconds for a core, `switched_out`.

    It is switched out when the kernel takes its core away while it would go on. Missing where the
    kernel does not count it, or the thread is gone.
    """
    folder = _PROC / str(thread.pid) / "task" / str(thread.tid)
    found: dict[str, float] = {}
    with suppress(OSError, ValueError, IndexError):
        # https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat
        found["waited"] = int((folder / "schedstat").read_text().split()[1]) / 1e9
    with suppress(OSError, ValueError):
        for line in (folder / "status").read_text(errors="replace").splitlines():
            if line.startswith("nonvoluntary_ctxt_switches:"):
                found["switched_out"] = float(line.split()[1])
    return found


def _kin() -> set[int]:
    own = psutil.Process()
    return {own.pid, 1, *(parent.pid for parent in own.parents())}


def _command(pid: int) -> str:
    """A process's command line; empty for kernel threads, and for what is gone or hidden."""
    try:
        return (
            (_PROC / str(pid) / "cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
        )
    except OSError:
        return ""


def _may_touch(uids: tuple[int, int, int]) -> bool:
    """Root may touch anybody's; others their own: real and effective user are theirs."""
    mine = os.geteuid()
    return mine == 0 or uids[:2] == (mine, mine)


def _role(command: str) -> str:
    return next((role for role, parts in _ROLES.items() if any(p in command for p in parts)), "")
