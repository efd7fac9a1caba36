"""Ctrl-C and its kin, turned into a question the main loop asks."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Counts the requests to stop; the second one asks to hurry."""

    def __init__(self) -> None:
        self.count = 0
        self.last: signal.Signals | None = None

    def requested(self) -> bool:
        """Tell whether a stop was asked for."""
        return self.count > 0

    def hurry(self) -> bool:
        """Tell whether a stop was asked for twice."""
        return self.count > 1

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Take the signals over; the handlers before come back afterwards."""
        before = {number: signal.signal(number, self._note) for number in _STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        # Nothing but plain assignments: a handler may run in the middle of a lock's code.
        self.count += 1
        self.last = signal.Signals(number)
