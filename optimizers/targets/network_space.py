"""Working inside a network namespace: `/proc/sys/net` is that of the namespace of the thread.

A named namespace is entered by a thread that lives for one call and dies with it, so no thread of
the agent is ever left in a strange namespace. Programs started from that thread are in it too.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from config.errors import UnavailableError

T = TypeVar("T")

NAMED = Path("/run/netns")
"""Where `ip netns` keeps named namespaces."""

_CLONE_NEWNET = 0x40000000


class Namespace:
    """A network namespace by its name as in `ip netns`; None is the agent's own."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def __str__(self) -> str:
        return "the agent's network namespace" if self.name is None else f"namespace {self.name}"

    def run(self, call: Callable[[], T]) -> T:
        """Call something inside the namespace and return what it returns, or raise what it raises.

        Raises:
            UnavailableError: there is no such namespace, or it may not be entered.
        """
        if self.name is None:
            return call()
        door = self._door()
        try:
            return _in_a_thread(lambda: self._inside(door, call))
        finally:
            os.close(door)

    def _door(self) -> int:
        try:
            return os.open(NAMED / str(self.name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise UnavailableError(
                f"there is no network namespace {self.name}; make it with `ip netns add "
                f"{self.name}` or take it out of performance.tcp_tuning.namespaces"
            ) from None
        except OSError as error:
            raise UnavailableError(f"{self} cannot be opened: {error.strerror}") from error

    def _inside(self, door: int, call: Callable[[], T]) -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(door, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise UnavailableError(
                f"{self} cannot be entered ({reason}); that needs root or CAP_SYS_ADMIN"
            )
        return call()


def _in_a_thread(call: Callable[[], T]) -> T:
    """Call something in a thread of its own; the thread has ended when this returns."""
    done: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised again where it was asked for
            failed.append(error)

    thread = threading.Thread(target=work, name="in a network namespace", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
