"""One `prime-spark up` for each home, and where the one that runs can be reached."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from config.errors import ConflictError
from config.paths import Home
from flows.up.session import Urls


@dataclass(frozen=True, slots=True)
class Running:
    """The run that holds a home; `urls` is missing until its servers answer."""

    pid: int
    up_id: str
    urls: Urls | None = None


def _lock_file(home: Home) -> Path:
    return home.run / "up.lock"


def _state_file(home: Home) -> Path:
    return home.run / "up.json"


@contextlib.contextmanager
def sole_run(home: Home) -> Iterator[None]:
    """Hold the home for one run; the kernel lets go of it when the process ends.

    Raises:
        ConflictError: another run holds it.
    """
    descriptor = _acquire(_lock_file(home))
    if descriptor is None:
        other = read_running(home)
        who = f" (process {other.pid})" if other else ""
        raise ConflictError(
            f"prime-spark up is already running on {home.root}{who}; stop it first, or set "
            "PRIME_SPARK_HOME to another directory"
        )
    try:
        yield
    finally:
        _state_file(home).unlink(missing_ok=True)
        _lock_file(home).unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # The holder before may have removed the file between our open and our lock: then we
        # hold a lock nobody else will ever see, and try again.
        if _same_file(descriptor, path):
            return descriptor
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def write_running(home: Home, running: Running) -> None:
    """Tell other processes of this user who runs here."""
    path = _state_file(home)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(running)), encoding="utf-8")
    draft.chmod(0o600)
    draft.replace(path)


def read_running(home: Home) -> Running | None:
    """Return who runs on this home now, or nothing if nobody does."""
    if not is_held(home):
        return None
    try:
        raw = json.loads(_state_file(home).read_text(encoding="utf-8"))
        urls = Urls(**raw["urls"]) if raw["urls"] else None
        return Running(int(raw["pid"]), str(raw["up_id"]), urls)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is just starting, or its file was damaged: nothing can be said


def is_held(home: Home) -> bool:
    """Tell whether a run holds this home."""
    try:
        descriptor = os.open(_lock_file(home), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
