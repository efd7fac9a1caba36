"""Starts the demo's traffic in a process of its own, reads its counts, and ends it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flows.demo.counts import TrafficStatus, read_status
from flows.demo.traffic import TrafficPlan
from flows.demo.training import Digits

_END_SECONDS = 20.0


class Visitors:
    """The running traffic; it ends with `leave`, and by itself when this process is gone."""

    def __init__(self, plan: TrafficPlan, environment: Mapping[str, str], log: Path) -> None:
        self._status = plan.status
        plan.status.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "flows.demo.traffic", plan.model_dump_json()]
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, env=dict(environment)
            )
        self._log = log

    @property
    def status(self) -> TrafficStatus:
        """The counts as of a moment ago; all zero until the first ones are written."""
        return read_status(self._status) or TrafficStatus()

    @property
    def trouble(self) -> str | None:
        """Why there is no traffic any more, or None while there is."""
        code = self._process.poll()
        return None if code is None else f"the traffic ended with status {code}; see {self._log}"

    def leave(self) -> None:
        """Let the requests under way end, then the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def leave_when(self, stop: threading.Event) -> None:
        """Leave once the event is set, without holding up the caller."""

        def watch() -> None:
            stop.wait()
            self.leave()

        threading.Thread(target=watch, name="visitors", daemon=True).start()


def store_images(path: Path, digits: Digits) -> Path:
    """Write the images and labels to send, for `TrafficPlan.images`."""
    np.savez(path, images=digits.images, labels=digits.labels)
    return path
