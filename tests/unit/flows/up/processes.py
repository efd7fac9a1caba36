"""Small processes to start and to look for: stand-ins for the servers, not for our own code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from config.variables import UP_VARIABLE

SLEEPER = "import time; time.sleep(600)"
# Starts a child of its own, in a session of its own, and tells its number.
NESTED = (
    "import subprocess, sys, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)\n"
)
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)


def start(code: str, up_id: str | None) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if name != UP_VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environ | ({UP_VARIABLE: up_id} if up_id else {}),
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def eventually(met: Callable[[], object], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if met():
            return True
        time.sleep(0.02)
    return bool(met())


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - a line of the kernel's
            return stat.read().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True
