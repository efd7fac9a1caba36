"""Loops tick on the monotonic clock, make up for nothing, and outlive what goes wrong."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.clock import ManualClock
from config.errors import UnavailableError
from flows.resident.loops import Loop, Loops, next_time

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def run(
    ticks: list[float], clock: ManualClock, *, until: float, takes: dict[int, float] | None = None
) -> None:
    """Run one loop of 10 s by hand; the n-th tick takes `takes[n]` seconds."""
    stopping = threading.Event()

    def tick() -> None:
        ticks.append(clock.monotonic())
        clock.advance((takes or {}).get(len(ticks), 0.0))

    def rest(seconds: float) -> None:
        clock.advance(seconds)
        if clock.monotonic() >= until:
            stopping.set()

    loop = Loop("monitor", 10.0, tick)
    Loops([loop], clock, stopping, rest).run(loop)


def test_a_loop_ticks_at_multiples_of_its_interval() -> None:
    ticks: list[float] = []
    run(ticks, ManualClock(NOON), until=35.0, takes={2: 3.0})
    assert ticks == [0.0, 10.0, 20.0, 30.0]


def test_ticks_that_were_missed_are_not_made_up_for() -> None:
    ticks: list[float] = []
    run(ticks, ManualClock(NOON), until=85.0, takes={2: 47.0})
    assert ticks == [0.0, 10.0, 60.0, 70.0, 80.0]


def test_a_step_of_the_wall_clock_changes_nothing() -> None:
    clock = ManualClock(NOON)
    ticks: list[float] = []
    clock.step_wall(-86_400)
    run(ticks, clock, until=15.0)
    assert ticks == [0.0, 10.0]


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0.01, 1e4))
def test_the_next_tick_is_soon_and_never_in_the_past(
    planned: float, late: float, interval: float
) -> None:
    now = planned + late
    following = next_time(planned, now, interval)
    assert now - 1e-6 <= following <= now + interval * (1 + 1e-6) + 1e-6


def failing(errors: list[Exception | None]) -> Loops:
    """Loops with one that fails as told, ticked once for each entry."""
    clock = ManualClock(NOON)

    def tick() -> None:
        error = errors.pop(0)
        if error is not None:
            raise error

    loop = Loop("analyze", 60.0, tick)
    loops = Loops([loop], clock, threading.Event())
    for _ in range(len(errors)):
        loops.tick(loop)
    return loops


def test_a_failing_tick_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    away = UnavailableError("the ledger is away")
    with caplog.at_level(logging.INFO, "prime_spark.agent"):
        loops = failing([away, away, ValueError("a mistake"), None])
    assert [record.getMessage() for record in caplog.records] == [
        "the analyze loop failed and goes on: the ledger is away",
        "the analyze loop failed and goes on: ValueError: a mistake",
        "the analyze loop works again",
    ]
    assert loops.beats["analyze"].trouble == ""


def test_the_beat_says_what_failed() -> None:
    assert failing([UnavailableError("away")]).beats["analyze"].trouble == "away"


def test_a_tick_is_left_out_while_there_is_a_reason() -> None:
    ticked: list[int] = []
    loop = Loop("optimize", 300.0, lambda: ticked.append(1), skip=lambda: "paused in Prefect")
    loops = Loops([loop], ManualClock(NOON), threading.Event())
    loops.tick(loop)
    assert ticked == []
    assert loops.beats["optimize"].skipped == "paused in Prefect"


def test_stopping_ends_a_rest_at_once() -> None:
    from config.clock import SystemClock

    stopping, ticked = threading.Event(), threading.Event()
    loops = Loops([Loop("monitor", 3600.0, ticked.set)], SystemClock(), stopping)
    loops.start()
    assert ticked.wait(5.0)
    stopping.set()
    assert loops.join(5.0)
