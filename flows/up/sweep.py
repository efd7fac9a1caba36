"""Finds and ends the processes one run of `prime-spark up` has started, whatever became of it.

Every process started carries `PRIME_SPARK_UP_ID` in its environment, and so does everything it
starts in turn. A process is signalled only through a descriptor that was opened before its marker
was read, so a process number used again for something else is never hit.

Not promised: a process that starts with an emptied environment is not found.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config.variables import UP_VARIABLE

_PROC = Path("/proc")
TERM_GRACE_S = 4.0
KILL_GRACE_S = 3.0


def home_mark(home: Path) -> str:
    """Return the beginning that the ids of all runs on `home` share."""
    digest = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()
    return f"up-{digest[:16]}-"


def new_up_id(home: Path) -> str:
    """Return the id of a new run on `home`."""
    return home_mark(home) + secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Marked:
    """A living process that carries a marker; close `descriptor` after use."""

    pid: int
    descriptor: int
    command: str

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone by now is fine."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


def find_marked(accepts: Callable[[str], bool]) -> list[Marked]:
    """Return this user's living processes whose marker `accepts` takes, but not this process."""
    found = []
    for pid in _own_pids():
        try:
            descriptor = os.pidfd_open(pid)
        except (ProcessLookupError, OSError):
            continue
        marker = _marker(pid)
        if marker is not None and accepts(marker) and not _is_zombie(pid):
            found.append(Marked(pid, descriptor, _command(pid)))
        else:
            os.close(descriptor)
    return found


def marked_with(prefix: str) -> dict[int, str]:
    """Return process number and command of every living process whose marker starts so."""
    found = find_marked(lambda marker: marker.startswith(prefix))
    for process in found:
        process.close()
    return {process.pid: process.command for process in found}


def sweep(prefix: str, *, term_grace_s: float = TERM_GRACE_S) -> int:
    """End every process whose marker starts with `prefix`: TERM, then KILL.

    Returns:
        how many processes were found.
    """
    first = _round(prefix, signal.SIGTERM, term_grace_s)
    if first:
        # What was started while the first round ran is found by the next ones.
        deadline = time.monotonic() + KILL_GRACE_S
        while _round(prefix, signal.SIGKILL, KILL_GRACE_S) and time.monotonic() < deadline:
            pass
    return first


def _round(prefix: str, number: signal.Signals, wait_s: float) -> int:
    processes = find_marked(lambda marker: marker.startswith(prefix))
    for process in processes:
        process.signal(number)
    wait_gone([process.descriptor for process in processes], wait_s)
    for process in processes:
        process.close()
    return len(processes)


def wait_gone(descriptors: list[int], wait_s: float) -> bool:
    """Wait until the processes behind the descriptors have ended; tell whether all have."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left = len(descriptors)
    deadline = time.monotonic() + wait_s
    while left and (rest := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(rest * 1000):
            poll.unregister(descriptor)
            left -= 1
    return left == 0


def _own_pids() -> Iterator[int]:
    user = os.getuid()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == user:
                yield int(entry.name)


def _marker(pid: int) -> str | None:
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    name = UP_VARIABLE.encode() + b"="
    for variable in variables:
        if variable.startswith(name):
            return variable.removeprefix(name).decode(errors="replace")
    return None


def _is_zombie(pid: int) -> bool:
    try:
        state = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2]
    except OSError:
        return True
    return state.split()[0] in {"Z", "X"}


def _command(pid: int) -> str:
    try:
        parts = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(parts).decode(errors="replace").strip()[:200]
