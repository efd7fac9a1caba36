"""Maintenance windows: when actions may begin, in UTC. Pure.

A window is `[days] HH:MM-HH:MM`: `Mon-Fri 22:00-06:00`, `Sat,Sun 00:00-24:00`, `02:00-04:00`. One
that ends before it begins lasts into the next day and belongs to the day on which it begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from config.clock import epoch, from_epoch
from config.errors import ConfigError
from registry.agent_records import Priority

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 1440
_SHAPE = re.compile(r"(?:([A-Za-z,\- ]+?)\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Window:
    """Days of the week (0 is Monday) and minutes of the day; `end` may lie past midnight."""

    days: frozenset[int]
    start: int
    end: int

    def open_at(self, day: int, minute: int) -> bool:
        """Say whether it is open in a minute of a day of the week."""
        today = day in self.days and self.start <= minute < self.end
        late = (day - 1) % 7 in self.days and minute + _DAY_MINUTES < self.end
        return today or late


def parse_windows(texts: Sequence[str]) -> tuple[Window, ...]:
    """Return the windows of the settings.

    Raises:
        ConfigError: a text is no window; it says which and what one looks like.
    """
    return tuple(parse_window(text) for text in texts)


def parse_window(text: str) -> Window:
    """Return one window, such as `Mon-Fri 22:00-06:00`.

    Raises:
        ConfigError: the text is no window.
    """
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise _refused(text)
    days, *clock = found.groups()
    start_hour, start_minute, end_hour, end_minute = (int(part) for part in clock)
    start = _minutes(text, start_hour, start_minute)
    end = _minutes(text, end_hour, end_minute)
    if start in {end, _DAY_MINUTES}:
        raise _refused(text)
    return Window(_days(text, days), start, end if end > start else end + _DAY_MINUTES)


def is_open(windows: Sequence[Window], at: float) -> bool:
    """Say whether actions may begin at a time; without any window they always may."""
    moment = from_epoch(at)
    minute = moment.hour * 60 + moment.minute
    return not windows or any(one.open_at(moment.weekday(), minute) for one in windows)


def next_opening(windows: Sequence[Window], at: float) -> float:
    """Return when actions may begin next: `at` itself while they may, else a window's start."""
    if is_open(windows, at):
        return at
    midnight = from_epoch(at).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = (
        epoch(midnight + timedelta(days=ahead, minutes=one.start))
        for ahead in range(8)
        for one in windows
        if (midnight.weekday() + ahead) % 7 in one.days
    )
    return min(start for start in starts if start > at)


def closed_reason(priority: Priority, windows: Sequence[Window], at: float) -> str:
    """Return why an action may not begin at a time; empty when it may.

    A critical action waits for no window. To be asked again at the moment of beginning: an action
    may have been scheduled, or approved, while a window was open.
    """
    if priority is Priority.CRITICAL or is_open(windows, at):
        return ""
    opening = clock_text(next_opening(windows, at))
    return f"outside the maintenance windows; the next opens {opening}"


def clock_text(at: float) -> str:
    """Return a time for a person to read, in UTC."""
    return from_epoch(at).strftime("%Y-%m-%d %H:%M UTC")


def _minutes(text: str, hour: int, minute: int) -> int:
    if minute > 59 or hour * 60 + minute > _DAY_MINUTES:
        raise _refused(text)
    return hour * 60 + minute


def _days(text: str, days: str | None) -> frozenset[int]:
    if days is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in days.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in _DAYS or last not in _DAYS:
            raise _refused(text)
        start, end = _DAYS.index(first), _DAYS.index(last)
        found.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return frozenset(found)


def _refused(text: str) -> ConfigError:
    return ConfigError(
        f'agent.maintenance_windows: "{text}" is no window; write days and UTC times like '
        '"Mon-Fri 22:00-06:00" or "Sat,Sun 00:00-24:00"'
    )
