"""`prime-spark up` as a process, for what measures the whole system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_START_S = 240.0
_STOP_S = 60.0
_POLL_S = 0.5


@contextmanager
def running_up(folder: Path, variables: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start everything, wait until all servers answer, and end everything afterwards.

    Args:
        folder: where its output goes, and its working directory.
        variables: settings; nothing else of the environment's settings reaches it.
    """
    environ = {
        n: v for n, v in os.environ.items() if not n.startswith(("PRIME_SPARK_", "PREFECT_"))
    }
    output = folder / "up.out"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.cli", "up"],
            env=environ | dict(variables),
            cwd=folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        _await_answers(process, output)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_S)


def _await_answers(up: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + _START_S
    while "all servers answer" not in output.read_text(errors="replace"):
        if up.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"nothing to measure:\n{output.read_text(errors='replace')[-2000:]}")
        time.sleep(_POLL_S)
