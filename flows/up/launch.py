"""Runs a command that dies with its parent: `python -m flows.up.launch PARENT_PID COMMAND…`.

The wish to die survives `exec`, so the command itself needs no knowledge of it. A step of its own,
since doing this between fork and exec of a process with threads may hang.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send `number` to this process when the process `parent` ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != parent:  # it ended before the kernel knew
        raise SystemExit(0)


def main() -> None:
    """Become the command given."""
    parent, *command = sys.argv[1:]
    end_with_parent(int(parent))
    os.umask(0o077)  # databases, artefacts and logs are the user's alone
    os.execvp(command[0], command)  # noqa: S606 - the command is the caller's, no shell reads it


if __name__ == "__main__":
    main()
