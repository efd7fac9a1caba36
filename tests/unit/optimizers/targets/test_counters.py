"""Rates from counters: first looks, resets, restarts, clock steps, nonsense."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.clock import ManualClock, epoch
from optimizers.targets.counters import Counters, WallClockWatch

_START = datetime(2025, 6, 1, tzinfo=UTC)


def test_the_first_look_gives_nothing_and_the_second_a_rate(clock: ManualClock) -> None:
    counters: Counters[str] = Counters(clock)
    assert counters.advance({"a": 100.0}) is None
    clock.advance(30)
    found = counters.advance({"a": 160.0})
    assert found is not None
    assert (found.seconds, found.rate("a"), found.rate("b")) == (30.0, 2.0, None)


def test_a_reset_counts_from_0(clock: ManualClock) -> None:
    counters: Counters[str] = Counters(clock)
    counters.advance({"a": 1000.0})
    clock.advance(10)
    found = counters.advance({"a": 50.0})
    assert found is not None
    assert (found.rate("a"), found.resets) == (5.0, ("a",))


def test_a_step_of_the_wall_clock_changes_no_rate(clock: ManualClock) -> None:
    counters: Counters[str] = Counters(clock)
    counters.advance({"a": 0.0})
    clock.advance(10)
    clock.step_wall(-7200)
    found = counters.advance({"a": 20.0})
    assert found is not None
    assert found.rate("a") == 2.0


def test_new_counters_began_at_0_and_those_that_were_away_go_on(clock: ManualClock) -> None:
    counters: Counters[str] = Counters(clock)
    counters.advance({"old": 5.0, "away": 70.0})
    clock.advance(10)
    found = counters.advance({"old": 6.0, "new": 8.0})
    assert found is not None
    assert found.gains == {"old": 1.0, "new": 8.0}
    clock.advance(10)
    found = counters.advance({"old": 6.0, "new": 8.0, "away": 75.0})
    assert found is not None
    assert found.gains == {"old": 0.0, "new": 0.0, "away": 5.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_what_is_no_count_is_left_out_and_named(clock: ManualClock, value: float) -> None:
    counters: Counters[str] = Counters(clock)
    counters.advance({"a": 1.0, "b": 1.0})
    clock.advance(10)
    found = counters.advance({"a": value, "b": 2.0})
    assert found is not None
    assert found.gains == {"b": 1.0}
    assert found.unusable == ("a",)
    clock.advance(10)
    found = counters.advance({"a": 5.0, "b": 2.0})
    assert found is not None
    assert found.gains["a"] == 4.0


def test_two_looks_at_one_moment_give_no_rate(clock: ManualClock) -> None:
    counters: Counters[str] = Counters(clock)
    counters.advance({"a": 1.0})
    assert counters.advance({"a": 9.0}) is None
    clock.advance(4)
    found = counters.advance({"a": 9.0})
    assert found is not None
    assert found.rate("a") == 2.0


@given(
    values=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.floats(), max_size=3), min_size=2, max_size=6
    )
)
def test_whatever_is_counted_no_gain_is_below_0_or_no_number(
    values: list[dict[str, float]],
) -> None:
    clock = ManualClock(_START)
    counters: Counters[str] = Counters(clock)
    for one in values:
        clock.advance(30)
        found = counters.advance(one)
        if found is not None:
            assert all(math.isfinite(gain) and gain >= 0.0 for gain in found.gains.values())


def test_a_stepped_wall_clock_is_noticed_once(clock: ManualClock) -> None:
    watch = WallClockWatch(clock)
    assert watch.step(epoch(clock.now())) == 0.0
    clock.advance(30)
    clock.step_wall(2)
    assert watch.step(epoch(clock.now())) == 0.0
    clock.advance(30)
    clock.step_wall(-3600)
    assert watch.step(epoch(clock.now())) == pytest.approx(-3600.0)
    clock.advance(30)
    assert watch.step(epoch(clock.now())) == pytest.approx(0.0)
