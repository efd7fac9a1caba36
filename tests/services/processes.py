"""Starting real servers for tests: ready when they answer, and gone with all their children."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

LOOPBACK = "127.0.0.1"

_POLL_S = 0.05
_STOP_S = 10.0


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll until `ready`; fail the test with `what` when it never is."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(_POLL_S)


@contextmanager
def started(
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    log: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    stop_with: int = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own until the block ends.

    Args:
        command: program and arguments.
        ready: asked again and again until it is true; connection errors count as false.
        log: takes what the command prints; its end is shown when it does not get ready.
        env: set beside this process's own environment.
        timeout_s: how long getting ready may take, in seconds.
        stop_with: the signal that asks it to end.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        _await(process, ready, log, timeout_s)
        yield process
    finally:
        stop_group(process, stop_with)


def stop_group(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    """End a process and everything in its group, by force if it takes too long."""
    _signal_group(process, how)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def needed(program: str, *folders: str) -> str:
    """The path of a program, or skip the test; on CI a missing program is a failure."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
    found = shutil.which(program, path=path)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed, and CI has to run every test")
        pytest.skip(f"{program} is not installed")
    return found


def _signal_group(process: subprocess.Popen[bytes], how: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)


def _await(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while not _is_ready(ready):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-3000:]
            pytest.fail(f"{process.args!r} did not get ready in {timeout_s:g} s:\n{tail}")
        time.sleep(_POLL_S)


def _is_ready(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except Exception:  # noqa: BLE001 - each client has its own words for "not yet"
        return False
