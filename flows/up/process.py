"""One started server: its process, its log file, and whether it has ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.redaction import redact
from flows.up.services import Service, python

_TAIL_BYTES = 64 * 1024
_LOG_MODE = 0o600


@dataclass(slots=True)
class ServerProcess:
    """A server's process. `started_at` and the restarts are monotonic seconds."""

    service: Service
    log_file: Path
    popen: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    ready: bool = False
    deaths: list[float] = field(default_factory=list)

    def spawn(self, environment: Mapping[str, str], folder: Path, now: float) -> None:
        """Start the process, in a session of its own, so that Ctrl-C reaches only us."""
        descriptor = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _LOG_MODE)
        with os.fdopen(descriptor, "wb") as log:
            self.popen = subprocess.Popen(
                [*python("-m", "flows.up.launch"), str(os.getpid()), *self.service.command],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_at = now
        self.ready = False

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; nothing while it runs or before its start."""
        return None if self.popen is None else self.popen.poll()

    @property
    def alive(self) -> bool:
        """Whether the process was started and has not ended."""
        return self.popen is not None and self.popen.poll() is None

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self.popen is not None:
            self.popen.terminate()

    def kill(self) -> None:
        """End the process."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def log_tail(self, lines: int) -> str:
        """Return the last lines of the log, secrets masked."""
        with contextlib.suppress(OSError), self.log_file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
            return redact("\n".join([line for line in text.splitlines() if line.strip()][-lines:]))
        return ""


def fresh_log(folder: Path, name: str) -> Path:
    """Return the log file for a service; the one of the run before is kept as `.old`."""
    path = folder / f"{name.lower()}.log"
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_suffix(".log.old"))
    return path
