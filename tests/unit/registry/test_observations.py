"""Observations: what was recorded is found again, joined with age, within a bounded space."""

from __future__ import annotations

import itertools
import math
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine, func, select, text

from registry.agent_records import Observation
from registry.ledger.agent_schema import blocks, ticks
from registry.observation_tidying import Limits
from registry.observations import ObservationStore

START = 1_699_488_000.0  # the start of a block of every length
HOUR, DAY = 3600.0, 86_400.0
LIMITS = Limits(raw_s=DAY, five_minute_s=7 * DAY, max_bytes=10e6)


def seen(value: float, at: float, metric: str = "cpu_percent", **labels: str) -> Observation:
    return Observation("host", metric, value, at, "%", tuple(sorted(labels.items())))


def values(found: Sequence[Observation]) -> list[float]:
    return [one.value for one in found]


def test_what_was_recorded_is_found_again(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    inside = seen(12.5, START, "temperature_celsius", sensor="core")
    assert store.record([seen(41.0, START), inside]).kept == 2
    store.record([seen(42.0, START + 30)])
    found = store.history(START, START + 60)
    assert found["host", "cpu_percent"] == [seen(41.0, START), seen(42.0, START + 30)]
    assert found["host", "temperature_celsius"] == [inside]
    assert store.history(START + 1, START + 60) == {
        ("host", "cpu_percent"): [seen(42.0, START + 30)]
    }
    assert store.history(START, START + 60, ["serving"]) == {}
    assert [(one.metric, one.unit) for one in store.series("host")] == [
        ("cpu_percent", "%"),
        ("temperature_celsius", "%"),
    ]


def test_another_store_reads_and_goes_on_with_the_same_series(ledger: Engine) -> None:
    ObservationStore(ledger).record([seen(1.0, START), seen(9.0, START, "load_1m")])
    ObservationStore(ledger).record([seen(2.0, START + 30, "load_1m"), seen(3.0, START + 30)])
    found = ObservationStore(ledger).history(0, START + 60)
    assert values(found["host", "cpu_percent"]) == [1.0, 3.0]
    assert values(found["host", "load_1m"]) == [9.0, 2.0]


def test_recording_the_same_again_changes_nothing(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    for _ in range(3):
        store.record([seen(1.0, START), seen(2.0, START, "load_1m")])
    store.record([seen(5.0, START)])
    found = store.history(0, START + 60)
    assert values(found["host", "cpu_percent"]) == [5.0]
    assert values(found["host", "load_1m"]) == [2.0]


def test_what_is_no_number_or_no_name_is_refused(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    bad = [
        seen(math.nan, START),
        seen(math.inf, START),
        seen(1.0, math.nan),
        seen(1.0, START, "a\x00b"),
        seen(1.0, START, "\ud800"),
        seen(1.0, START, "x" * 300),
        seen(1.0, START, "labelled", name="y" * 3000),
    ]
    recorded = store.record([*bad, seen(7.0, START)])
    assert (recorded.kept, recorded.refused) == (1, len(bad))
    odd = seen(2.0, START, "labelled", name="\x00\ud800 ü")
    assert store.record([odd]).kept == 1
    assert store.history(0, START)["host", "labelled"] == [odd]


def test_series_are_bounded_in_number(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.observation_series.MAX_SERIES", 5)
    store = ObservationStore(ledger)
    store.record([seen(1.0, START)])
    recorded = store.record([seen(1.0, START + 30, f"metric_{number}") for number in range(9)])
    assert (recorded.kept, recorded.refused) == (4, 5)
    assert store.record([seen(2.0, START + 60)]).kept == 1


def recorded_hours(store: ObservationStore, hours: float, step: float = 30.0) -> list[Observation]:
    noise = random.Random(3)
    made = []
    for number in range(int(hours * 3600 / step)):
        at = START + number * step
        tick = [seen(noise.gauss(50, 10), at), seen(1.0, at, "load_1m")]
        if number % 3 == 0:
            tick.append(seen(noise.lognormvariate(3, 1), at, "load_1m", core="1"))
        made += tick
    store.record(made)
    return made


def means(made: Sequence[Observation], step: int) -> list[tuple[float, ...]]:
    starts = sorted({one.at // step * step for one in made})
    found: list[tuple[float, ...]] = []
    for start in starts:
        held = [one.value for one in made if one.at // step * step == start]
        found.append((start, len(held), sum(held) / len(held), min(held), max(held)))
    return found


@pytest.mark.parametrize("raw_hours", [24.0, 2.0, 0.01])
def test_joining_keeps_count_mean_and_extremes(ledger: Engine, raw_hours: float) -> None:
    store = ObservationStore(ledger)
    made = [one for one in recorded_hours(store, 5.5) if one.metric == "cpu_percent"]
    now = made[-1].at
    limits = Limits(raw_hours * HOUR, 0.1 * DAY, 10e6)
    before = store.query("host", "cpu_percent", START, now, 3600)
    for _ in range(2):
        store.compact(now, limits)
    for step in (300, 3600):
        [found] = store.query("host", "cpu_percent", START, now, step)
        kept = [bucket[:5] for bucket in found.buckets]
        wanted = means(made, step)
        if len(kept) == len(wanted):  # else single hours are all that is left of the oldest
            assert kept == [pytest.approx(one, rel=1e-3) for one in wanted]
        assert sum(bucket[1] for bucket in kept) == len(made)
    [after] = store.query("host", "cpu_percent", START, now, 3600)
    assert [one[:5] for one in after.buckets] == [
        pytest.approx(one[:5], rel=1e-3) for one in before[0].buckets
    ]
    assert [one[5] for one in after.buckets] == pytest.approx(
        [one[5] for one in before[0].buckets], rel=1e-3
    )


def test_single_values_become_five_minutes_then_hours(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    recorded_hours(store, 3, step=60)
    limits = Limits(HOUR, 6 * HOUR, 10e6)

    def lengths() -> dict[int, int]:
        with ledger.connect() as connection:
            rows = connection.execute(
                select(blocks.c.step, func.count()).group_by(blocks.c.step).order_by(blocks.c.step)
            )
            return {row[0]: row[1] for row in rows}

    store.compact(START + 3 * 3600 + 61, limits)
    assert lengths() == {0: 1, 300: 1}
    store.compact(START + 4 * 3600 + 61, limits)
    assert lengths() == {300: 1}
    store.compact(START + 24 * 3600, limits)
    assert lengths() == {3600: 1}
    [found] = store.query("host", "cpu_percent", START, START + 86_400)
    assert [bucket[1] for bucket in found.buckets] == [60, 60, 60]


def test_late_values_join_what_is_packed_already(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    store.record([seen(1.0, START), seen(3.0, START + 60)])
    limits = Limits(HOUR, DAY, 10e6)
    store.compact(START + 2 * 3600 + 61, limits)
    store.record([seen(8.0, START + 90)])
    store.compact(START + 2 * 3600 + 61, limits)
    [found] = store.query("host", "cpu_percent", START, START + 3600)
    assert found.buckets == [(START, 3.0, 4.0, 1.0, 8.0, 8.0)]


def test_values_of_a_clock_gone_wrong_are_packed_too(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    ahead = START + 365 * 86_400
    store.record([seen(1.0, ahead), seen(2.0, START)])
    store.compact(START + 30, LIMITS)
    with ledger.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(ticks)) == 1
    assert values(store.history(START, START + 60)["host", "cpu_percent"]) == [2.0]
    assert values(store.history(ahead, ahead)["host", "cpu_percent"]) == [1.0]


@pytest.mark.parametrize("point", range(6))
def test_a_tidy_up_that_is_cut_off_loses_and_doubles_nothing(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    store = ObservationStore(ledger)
    recorded_hours(store, 4, step=60)
    now, limits = START + 4 * HOUR + 61, Limits(HOUR, DAY, 10e6)
    wanted = [one.buckets for one in store.query("host", "load_1m", 0, now, 3600)]
    merges = 0

    def cut_off(*_: object) -> bytes:
        nonlocal merges
        merges += 1
        if merges > point:
            raise KeyboardInterrupt
        return real(*_)  # type: ignore[arg-type]

    from registry.observation_codec import pack_block as real

    monkeypatch.setattr("registry.observation_tidying.pack_block", cut_off)
    with pytest.raises(KeyboardInterrupt):
        store.compact(now, limits)
    monkeypatch.undo()
    for _ in range(2):
        found = [one.buckets for one in store.query("host", "load_1m", 0, now, 3600)]
        assert [[one[:5] for one in buckets] for buckets in found] == [
            [pytest.approx(one[:5], rel=1e-3) for one in buckets] for buckets in wanted
        ]
        store.compact(now, limits)


TIDY_AND_DIE = """
import os, signal, sys
import registry.observation_tidying as tidying
from registry.ledger.database import open_ledger
from registry.observations import ObservationStore

url, now, raw_s, left = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
real = tidying._delete

def delete_or_die(*place):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*place)

tidying._delete = delete_or_die
ObservationStore(open_ledger(url)).compact(now, tidying.Limits(raw_s, 7 * 86_400, 10e6))
"""


@pytest.mark.parametrize("left", [0, 2])
def test_a_tidy_up_that_is_killed_loses_and_doubles_nothing(
    ledger: Engine, ledger_url: str, left: int
) -> None:
    """It dies with the new block written and the old one not yet deleted."""
    store = ObservationStore(ledger)
    store.record([seen(float(place % 7), START + 60.0 * place) for place in range(240)])
    now = START + 5 * HOUR
    command = [sys.executable, "-c", TIDY_AND_DIE, ledger_url, str(now), str(HOUR), str(left)]
    done = subprocess.run(command, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    for _ in range(2):
        [found] = store.query("host", "cpu_percent", START, now, 3600)
        assert [bucket[1] for bucket in found.buckets] == [60] * 4
        assert [bucket[5] for bucket in found.buckets] == [3.0, 0.0, 4.0, 1.0]
        store.compact(now, Limits(HOUR, DAY, 10e6))


def test_readers_writers_and_tidiers_at_once_see_everything_once(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    made = [seen(float(place % 7), START + 60.0 * place) for place in range(240)]
    store.record(made)
    limits, now = Limits(HOUR, 2 * HOUR, 10e6), START + 30 * HOUR
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        mine = ObservationStore(ledger)
        while not done.is_set():
            [found] = mine.query("host", "cpu_percent", START, START + 4 * HOUR, 3600)
            counts = [bucket[1] for bucket in found.buckets]
            if counts != [60] * 4:
                wrong.append(counts)

    def write() -> None:
        mine = ObservationStore(ledger)
        for place in range(60):
            mine.record([seen(1.0, now + place, f"m{place % 5}")])

    reader = threading.Thread(target=read)
    workers = [
        threading.Thread(target=ObservationStore(ledger).compact, args=(now, limits)),
        threading.Thread(target=ObservationStore(ledger).compact, args=(now, limits)),
        threading.Thread(target=write),
    ]
    reader.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    done.set()
    reader.join(60)
    assert wrong == []
    assert len(store.history(now, now + 60)["host", "m0"]) == 12


def test_series_without_points_are_forgotten_and_numbers_not_given_twice(ledger: Engine) -> None:
    store = ObservationStore(ledger)
    store.record([seen(float(number), START, f"m{number}") for number in range(50)])
    for week in range(1, 4):
        noise = random.Random(week)
        at = START + week * 7 * DAY
        store.record([seen(noise.random(), at + 600 * number, "m7") for number in range(300)])
    room = 10e6
    while len(store.series()) == 50:
        size = store.compact(START + 60 * DAY, Limits(HOUR, HOUR, room)).size_bytes
        room = min(room - 200, 2 * size)
    assert [one.metric for one in store.series()] == ["m49", "m7"]
    store.record([seen(1.0, START + 60 * DAY, "brand_new")])
    found = store.history(0, START + 60 * DAY)
    assert values(found["host", "brand_new"]) == [1.0]
    assert set(found) == {("host", "brand_new"), ("host", "m7")}


def real_size(engine: Engine) -> int:
    """Bytes of the observations' tables and indexes, as the database itself says."""
    if engine.dialect.name == "sqlite":
        query = (
            "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master "
            "WHERE tbl_name IN ('series', 'ticks', 'blocks'))"
        )
    else:
        query = (
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
            "WHERE relname IN ('series', 'ticks', 'blocks')"
        )
    with engine.connect() as connection:
        return int(connection.scalar(text(query)) or 0)


@pytest.mark.parametrize(("metrics", "max_bytes"), [(500, 10e6), (60, 1e6)])
def test_days_of_noise_at_30_s_stay_within_their_space(
    ledger: Engine, metrics: int, max_bytes: float
) -> None:
    """Of the days before the last one, which is whole, every 36th hour is recorded."""
    store = ObservationStore(ledger)
    made = random.Random(5)
    noise = itertools.cycle([made.gauss(50, 9) for _ in range(99_991)])
    names = [(f"target{number % 6}", f"metric{number}") for number in range(metrics)]
    limits = Limits(DAY, 7 * DAY, max_bytes)
    sizes = []
    for hour in (*range(0, 144, 36), *range(144, 169)):
        moments = [START + hour * HOUR + 30.0 * place for place in range(120)]
        store.record([Observation(*one, next(noise), at) for at in moments for one in names])
        tidied = store.compact(START + (hour + 1) * HOUR + 60, limits)
        sizes.append(real_size(ledger))
        assert tidied.size_bytes <= max_bytes
    assert max_bytes / 3 < max(sizes) <= max_bytes
    now = START + 169 * HOUR
    [last] = store.query("target0", "metric0", now - 2 * HOUR, now)
    assert len(last.buckets) == 240
    [all_] = store.query("target0", "metric0", START, now, 3600)
    assert [bucket[1] for bucket in all_.buckets] == [120] * len(all_.buckets)
