"""The supervisor of the workers, circus' arbiter: how it is found, and what is used of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Protocol


class Process(Protocol):
    """A worker; `started` is in seconds since the epoch."""

    pid: int
    started: float

    def is_alive(self) -> bool:
        """Whether it runs."""
        ...


class Watcher(Protocol):
    """The group of all workers; `numprocesses` is how many circus keeps running."""

    numprocesses: int

    @property
    def processes(self) -> Mapping[int, Process]:
        """The workers by process id, those that have ended but were not reaped among them."""
        ...

    def reap_process(self, pid: int) -> None:
        """Forget a process that has ended."""
        ...

    def set_opt(self, key: str, val: int) -> int:
        """Set an option, such as `numprocesses`; ConflictError while circus is busy."""
        ...

    def spawn_process(self) -> object:
        """Start one more."""
        ...

    def send_signal(self, pid: int, signum: int) -> None:
        """Send a signal to a process of the group."""
        ...

    def status(self) -> str:
        """`starting`, `active`, `stopping` or `stopped`."""
        ...


class Loop(Protocol):
    """The event loop that an arbiter does everything on."""

    def add_callback(self, callback: Callable[..., None], *args: object) -> None:
        """Have something called on the loop; may be called from any thread."""
        ...


class Arbiter(Protocol):
    """The supervisor itself."""

    running: bool
    loop: Loop

    def get_watcher(self, name: str) -> Watcher:
        """The group of that name."""
        ...


def find_arbiter() -> Arbiter | None:
    """The arbiter of this process; None while there is none.

    BentoML makes it after it has called our hook and hands it to nobody, but circus has every
    SIGHUP come to it: the handler of that signal leads to it.
    """
    from circus.arbiter import Arbiter as CircusArbiter  # type: ignore[import-untyped]  # noqa: PLC0415

    handler = getattr(signal.getsignal(signal.SIGHUP), "__self__", None)
    found = getattr(getattr(handler, "controller", None), "arbiter", None)
    arbiter: Arbiter | None = found if isinstance(found, CircusArbiter) else None
    return arbiter
