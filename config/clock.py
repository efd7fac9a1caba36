"""Time as an argument: the only place of the project that reads the system's clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells wall time, for records, and monotonic time, for waiting and deadlines."""

    def now(self) -> datetime:
        """Return the wall time, timezone-aware in UTC; it may jump either way."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; it never goes back."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """Return the machine's wall time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic time in seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to: for tests and for replaying recorded time."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("ManualClock needs a timezone-aware start")
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the wall time as it was last set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` (≥ 0) pass on both clocks."""
        if seconds < 0:
            raise ValueError("time passes forwards; use step_wall for a clock step")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone, as an administrator or NTP may do."""
        self._now += timedelta(seconds=seconds)


def epoch(moment: datetime) -> float:
    """Return `moment` as seconds since 1970-01-01 UTC, the form databases hold it in."""
    return moment.timestamp()


def from_epoch(seconds: float) -> datetime:
    """Return the UTC time for seconds since 1970-01-01 UTC."""
    return datetime.fromtimestamp(seconds, UTC)
