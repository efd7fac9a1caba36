from __future__ import annotations

from registry.records import Variant
from registry.sketch import quantile
from serving.tally import Tally

MINUTE = 1_700_000_040.0


def tally() -> Tally:
    return Tally("digits", 3, Variant.CHALLENGER, "exp", objective_ms=10.0)


def test_a_window_holds_everything_of_its_minute() -> None:
    counts = tally()
    counts.add(2.0, failed=False)
    counts.add(20.0, failed=True)
    (window,) = counts.collect("w", MINUTE + 5)
    assert (window.model, window.version, window.variant) == ("digits", 3, Variant.CHALLENGER)
    assert (window.experiment_id, window.started_at, window.worker) == ("exp", MINUTE, "w")
    assert (window.count, window.errors, window.over_objective) == (2, 1, 1)
    assert (window.latency_sum_ms, window.latency_sumsq) == (22.0, 404.0)
    assert quantile(window.sketch, 0.0) is not None


def test_windows_are_absolute_and_written_only_when_they_changed() -> None:
    counts = tally()
    counts.add(1.0, failed=False)
    assert counts.collect("w", MINUTE)[0].count == 1
    assert counts.collect("w", MINUTE + 1) == []
    counts.add(1.0, failed=False)
    assert counts.collect("w", MINUTE + 2)[0].count == 2


def test_a_new_minute_begins_at_nothing_and_the_totals_go_on() -> None:
    counts = tally()
    counts.add(1.0, failed=False)
    assert counts.collect("w", MINUTE + 59)[0].started_at == MINUTE
    counts.collect("w", MINUTE + 60)
    counts.add(1.0, failed=True)
    (window,) = counts.collect("w", MINUTE + 61)
    assert (window.started_at, window.count, window.errors) == (MINUTE + 60, 1, 1)
    assert (counts.total_count, counts.total_errors, sum(counts.total_sketch.values())) == (2, 1, 2)


def test_a_clock_stepped_back_never_overwrites_an_earlier_minute() -> None:
    counts = tally()
    counts.add(1.0, failed=False)
    counts.collect("w", MINUTE)
    counts.add(1.0, failed=False)
    (window,) = counts.collect("w", MINUTE - 3600)
    assert (window.started_at, window.count) == (MINUTE, 2)


def test_a_tally_is_settled_only_when_its_last_minute_is_over_and_collected() -> None:
    counts = tally()
    counts.add(1.0, failed=False)
    assert not counts.settled(MINUTE + 600)
    counts.collect("w", MINUTE)
    assert not counts.settled(MINUTE + 30)
    assert counts.settled(MINUTE + 120)
