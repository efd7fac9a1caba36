"""A real asyncio event loop whose time is virtual: where it would wait, its clock jumps.

Real code for asyncio runs on it unchanged and at full speed. Code that asks the time itself has to
ask :meth:`VirtualLoop.time`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits by moving its clock on.

    Args:
        sharing: whether what a thread does stands still while the loop works.
    """

    def __init__(self, *, sharing: bool = False) -> None:
        self._now = 0.0
        self._sharing = sharing
        self._stolen_s: float | None = None
        self._in_thread: float | None = None
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds since the loop was made; in a run that a thread would do, the thread's."""
        return self._now if self._in_thread is None else self._in_thread

    def work(self, seconds: float) -> None:
        """Let whoever runs just now take this long."""
        if self._in_thread is None:
            self._now += seconds
            if self._stolen_s is not None:
                self._stolen_s += seconds
        else:
            self._in_thread += seconds

    def wait(self, seconds: float) -> None:
        """Let time pass in which nobody works on the loop."""
        self._now += seconds

    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401 - as asyncio has it
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Call back at the thread's own time, where a thread calls."""
        if self._in_thread is None:
            return super().call_soon_threadsafe(callback, *args, context=context)
        return self.call_at(self._in_thread, self._landed, callback, args)

    def _landed(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self._stolen_s:
            self.call_at(self._now + self._stolen_s, self._landed, callback, args)
            self._stolen_s = 0.0
            return
        self._stolen_s = None
        callback(*args)

    def in_thread(self, function: Callable[..., object], *args: object) -> None:
        """Do what a thread would do from now on, beside the loop; one at a time."""
        self._in_thread = self._now
        self._stolen_s = 0.0 if self._sharing else None
        try:
            function(*args)
        finally:
            self._in_thread = None


class _Jumping(selectors.SelectSelector):
    """Finds no event, and lets no real time pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Move the clock on by the time that would be waited."""
        if timeout is None:
            raise RuntimeError("nothing is left that could happen on the virtual loop")
        self._loop.wait(max(timeout, 0.0))
        return []
