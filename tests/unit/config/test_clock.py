from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from config.clock import ManualClock, SystemClock, epoch, from_epoch

_START = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_the_system_s_time_is_in_utc_and_its_monotonic_time_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 5  # noqa: DTZ005, RUF100
    times = [clock.monotonic() for _ in range(100)]
    assert times == sorted(times)


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(_START)
    assert (clock.now(), clock.monotonic()) == (_START, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (_START + timedelta(seconds=2.5), 2.5)


def test_a_step_of_the_wall_clock_leaves_monotonic_time_alone() -> None:
    clock = ManualClock(_START)
    clock.step_wall(-3600)
    assert (clock.now(), clock.monotonic()) == (_START - timedelta(hours=1), 0.0)


def test_time_does_not_go_backwards() -> None:
    with pytest.raises(ValueError, match="forwards"):
        ManualClock(_START).advance(-1)


def test_a_start_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        ManualClock(datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake to be caught


def test_another_time_zone_becomes_utc() -> None:
    east = datetime(2030, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert ManualClock(east).now().tzinfo is UTC
    assert ManualClock(east).now() == _START


def test_databases_get_seconds_since_1970_and_give_them_back() -> None:
    assert epoch(datetime(1970, 1, 2, tzinfo=UTC)) == 86_400.0
    assert from_epoch(epoch(_START)) == _START
    assert from_epoch(0.0).tzinfo is UTC
