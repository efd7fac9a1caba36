"""Exposures: absolute windows, written again without harm, summed and compacted without loss."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

from sqlalchemy import Engine

from registry.exposures import ExposureStore
from registry.ledger.database import open_ledger
from registry.records import ExposureTotals, ExposureWindow, Variant

HOUR = 3600.0
START = 1_750_003_200.0  # a whole hour


def _window(
    minute: int = 0,
    worker: str = "w1",
    variant: Variant = Variant.CHAMPION,
    count: int = 10,
    experiment_id: str | None = "exp-1",
) -> ExposureWindow:
    return ExposureWindow(
        worker=worker,
        model="digits",
        version=1 if variant is Variant.CHAMPION else 2,
        variant=variant,
        experiment_id=experiment_id,
        started_at=START + 60 * minute,
        count=count,
        errors=1,
        over_objective=2,
        latency_sum_ms=1.5 * count,
        latency_sumsq=3.0 * count,
        sketch={-3: 1, 40: count - 1},
    )


def test_windows_come_back_as_written(ledger: Engine) -> None:
    store = ExposureStore(ledger)
    windows = [_window(0), _window(1), _window(1, variant=Variant.CHALLENGER)]
    store.upsert(windows)
    assert sorted(store.series("exp-1"), key=lambda w: (w.started_at, w.variant)) == sorted(
        windows, key=lambda w: (w.started_at, w.variant)
    )


def test_the_same_window_again_counts_once_and_a_later_one_replaces_it(ledger: Engine) -> None:
    store = ExposureStore(ledger)
    for count in (10, 10, 25):
        store.upsert([_window(count=count)])
    assert store.totals("exp-1") == {Variant.CHAMPION: ExposureTotals.of([_window(count=25)])}


def test_totals_add_workers_and_minutes_by_variant(ledger: Engine) -> None:
    store = ExposureStore(ledger)
    champion = [_window(0), _window(2), _window(0, worker="w2")]
    challenger = [_window(1, variant=Variant.CHALLENGER, count=3)]
    store.upsert([*champion, *challenger])
    store.upsert([_window(experiment_id="exp-2"), _window(experiment_id=None)])
    totals = store.totals("exp-1")
    assert totals == {
        Variant.CHAMPION: ExposureTotals.of(champion),
        Variant.CHALLENGER: ExposureTotals.of(challenger),
    }
    both = totals[Variant.CHAMPION]
    assert (both.count, both.errors, both.sketch) == (30, 3, {-3: 3, 40: 27})
    assert (both.first_at, both.last_at) == (START, START + 120)
    assert store.totals("exp-3") == {}


def test_version_totals_look_back_to_a_time_and_over_experiments(ledger: Engine) -> None:
    store = ExposureStore(ledger)
    store.upsert([_window(0), _window(5), _window(6, experiment_id=None)])
    assert store.version_totals("digits", 1, START + 300).count == 20
    assert store.version_totals("digits", 1, 0).count == 30
    assert store.version_totals("digits", 9, 0) == ExposureTotals()


def test_nothing_to_write_is_fine(ledger: Engine) -> None:
    ExposureStore(ledger).upsert([])


def test_compaction_keeps_every_sum(ledger: Engine) -> None:
    store = ExposureStore(ledger)
    windows = [_window(minute, worker=w) for minute in range(150) for w in ("w1", "w2")]
    windows += [_window(minute, variant=Variant.CHALLENGER) for minute in range(150)]
    store.upsert(windows)
    before = store.totals("exp-1")
    saved = store.compact(START + 2 * HOUR + 600)
    after = store.totals("exp-1")
    assert saved == 3 * 120 - 4
    assert len(store.series("exp-1")) == 4 + 3 * 30
    for variant, total in before.items():
        # The last hour stays in minutes, so the last window still starts where it did.
        assert after[variant] == total
    assert store.compact(START + 2 * HOUR + 900) == 0


def test_a_flush_that_comes_after_compaction_is_not_counted_twice(ledger: Engine) -> None:
    store = ExposureStore(ledger)
    early, late = _window(0), _window(90)
    store.upsert([early, late])
    store.compact(START + HOUR)
    store.upsert([early, replace(late, count=11)])
    assert store.totals("exp-1")[Variant.CHAMPION].count == 21


def _flush(url: str, worker: str) -> None:
    store = ExposureStore(open_ledger(url))
    for round_number in range(1, 16):
        store.upsert([_window(minute, worker, count=round_number) for minute in range(3)])


def test_workers_flush_at_once(ledger: Engine, ledger_url: str) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_flush, args=(ledger_url, f"w{n}")) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert ExposureStore(ledger).totals("exp-1")[Variant.CHAMPION].count == 4 * 3 * 15
