"""What must hold for any traffic, any service times and any server."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.arrivals import constant, poisson
from benchmarks.histogram import LatencyHistogram
from benchmarks.inprocess import queue_waits
from benchmarks.load import Limits, LoadResult, RequestFailed, open_loop
from benchmarks.throughput import drive, search

times = st.floats(0.0, 5.0, allow_nan=False)


@given(st.floats(0.5, 500.0), st.floats(0.01, 20.0), st.integers(0, 2**32))
def test_arrivals_ascend_within_the_run(rate: float, seconds: float, seed: int) -> None:
    for offsets in (
        poisson(rate, seconds, np.random.default_rng(seed)),
        constant(rate, seconds),
    ):
        assert (np.diff(offsets) >= 0).all()
        assert ((offsets >= 0) & (offsets < seconds)).all()


@given(st.lists(st.tuples(times, times), min_size=1, max_size=50))
def test_waits_are_those_of_a_queue_played_event_by_event(pairs: list[tuple[float, float]]) -> None:
    arrivals = np.sort([arrival for arrival, _ in pairs])
    service = np.asarray([length for _, length in pairs])
    free, waits = 0.0, []
    for due, length in zip(arrivals, service, strict=True):
        begin = max(due, free)
        waits.append(begin - due)
        free = begin + length
    assert queue_waits(arrivals, service) == pytest.approx(np.asarray(waits), abs=1e-9)


@given(st.floats(0.2, 9e5), st.floats(0.01, 1e6))
def test_the_search_finds_any_capacity_to_ten_percent(capacity: float, guess: float) -> None:
    tries = 0

    def sustained(rate: float) -> bool:
        nonlocal tries
        tries += 1
        return rate <= capacity

    found = drive(search(guess, least=0.1, most=1e6), sustained)
    assert found is not None
    assert found.rate <= capacity
    assert capacity <= found.rate * 1.1 * (1 + 1e-9)
    assert tries <= 40


@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
def test_the_search_ends_on_a_server_of_moods(seed: int, kindness: float) -> None:
    rng = np.random.default_rng(seed)
    tries = 0

    def moody(_: float) -> bool:
        nonlocal tries
        tries += 1
        return bool(rng.random() < kindness)

    drive(search(100.0, least=10.0, most=1e5), moody)
    assert tries <= 40


@given(st.lists(st.floats(0.001, 1e5), min_size=1), st.lists(st.floats(0.001, 1e5)))
@settings(deadline=None, max_examples=30)
def test_merged_histograms_count_everything_once(one: list[float], two: list[float]) -> None:
    merged = LatencyHistogram(one)
    merged.merge(LatencyHistogram(two))
    assert merged.count == len(one) + len(two)
    assert sum(count for _, count in merged.buckets()) == merged.count
    largest = merged.percentile(100)
    assert largest is not None
    assert largest == pytest.approx(max(one + two), rel=2e-3, abs=1e-3)


@given(
    st.lists(st.sampled_from(["answer", "error", "never"]), min_size=1, max_size=20),
    st.integers(1, 20),
)
@settings(deadline=None, max_examples=25)
def test_every_arrival_is_accounted_for(fates: list[str], in_flight: int) -> None:
    async def send(index: int) -> None:
        if fates[index] == "error":
            raise RequestFailed("http 500")
        if fates[index] == "never":
            await asyncio.Event().wait()

    async def run() -> LoadResult:
        limits = Limits(in_flight, drain_s=0.005)
        return await open_loop(send, np.linspace(0, 0.005, len(fates)), limits=limits)

    result = asyncio.run(run())
    assert result.answered + sum(result.errors.values()) == result.offered == len(fates)
    assert result.latencies_ms.size == result.answered
    assert (result.latencies_ms >= 0).all()
    assert result.errors.get("unanswered", 0) <= in_flight
