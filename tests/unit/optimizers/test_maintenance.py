"""Maintenance windows: read from text, open when they say, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ConfigError
from optimizers.maintenance import (
    closed_reason,
    is_open,
    next_opening,
    parse_window,
    parse_windows,
)
from registry.agent_records import Priority


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NIGHTS = parse_windows(["Mon-Fri 22:00-06:00"])
MONDAY, SATURDAY = "2026-01-05", "2026-01-10"


@pytest.mark.parametrize(
    ("moment", "is_so"),
    [
        (f"{MONDAY}T21:59:59", False),
        (f"{MONDAY}T22:00:00", True),
        ("2026-01-06T05:59:59", True),
        ("2026-01-06T06:00:00", False),
        (f"{MONDAY}T03:00:00", False),  # Sunday's night is not in it
        (f"{SATURDAY}T03:00:00", True),  # Friday's is, until Saturday morning
        (f"{SATURDAY}T22:30:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_it_begins(moment: str, is_so: bool) -> None:
    assert is_open(NIGHTS, at(moment)) is is_so


def test_without_windows_it_is_always_open() -> None:
    assert is_open((), at(f"{MONDAY}T12:00:00"))
    assert next_opening((), 5.0) == 5.0


def test_the_next_opening_is_the_start_of_the_next_window() -> None:
    assert next_opening(NIGHTS, at(f"{SATURDAY}T12:00:00")) == at("2026-01-12T22:00:00")
    assert next_opening(NIGHTS, at(f"{MONDAY}T23:00:00")) == at(f"{MONDAY}T23:00:00")
    weekly = parse_windows(["Mon 02:00-03:00"])
    assert next_opening(weekly, at(f"{MONDAY}T03:00:00")) == at("2026-01-12T02:00:00")


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("02:00-04:30", range(7), 120, 270),
        ("Sat,Sun 00:00-24:00", (5, 6), 0, 1440),
        ("fri-mon 1:00-2:00", (4, 5, 6, 0), 60, 120),
        (" Mon , Wed-Thu 22:15 - 06:00 ", (0, 2, 3), 1335, 1800),
    ],
)
def test_days_and_times_are_read(
    text: str, days: tuple[int, ...] | range, start: int, end: int
) -> None:
    window = parse_window(text)
    assert (window.days, window.start, window.end) == (frozenset(days), start, end)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "always",
        "Mon",
        "Mon 22:00",
        "Mon-Fri 25:00-26:00",
        "Mon 10:60-11:00",
        "Mon 10:00-24:30",
        "Mon 10:00-10:00",
        "Mon 24:00-06:00",
        "Mo 10:00-11:00",
        "Mon- 10:00-11:00",
        "Mon--Fri 10:00-11:00",
        "Mon 10:00-11:00 UTC",
        "Mon,,Tue 10:00-11:00",
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="Mon-Fri 22:00-06:00"):
        parse_window(text)


def test_outside_a_window_only_what_is_critical_may_begin() -> None:
    noon = at(f"{MONDAY}T12:00:00")
    assert closed_reason(Priority.HIGH, NIGHTS, noon) == (
        "outside the maintenance windows; the next opens 2026-01-05 22:00 UTC"
    )
    assert closed_reason(Priority.CRITICAL, NIGHTS, noon) == ""
    assert closed_reason(Priority.LOW, NIGHTS, at(f"{MONDAY}T22:00:00")) == ""
    assert closed_reason(Priority.LOW, (), noon) == ""


@given(
    st.integers(0, 6),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.integers(0, 8 * 1440),
)
def test_the_next_opening_is_open_and_nothing_before_it_is(
    day: int, start: int, end: int, minute: int
) -> None:
    name = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[day]
    clock = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    if start == end:
        return
    windows = parse_windows([f"{name} {clock}"])
    moment = at(f"{MONDAY}T00:00:00") + 60.0 * minute
    opening = next_opening(windows, moment)
    assert is_open(windows, opening)
    assert moment <= opening <= moment + 7 * 86_400.0
    if opening > moment:
        assert not is_open(windows, opening - 30.0)
        assert not is_open(windows, (moment + opening) / 2.0)
