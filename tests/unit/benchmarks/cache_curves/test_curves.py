from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cache_curves.curves import StreamCurve, hit_curve
from benchmarks.cache_curves.sampling import sampled, sampled_at
from tests.unit.benchmarks.cache_curves.streams import lru_hits, zipf

_SIZES = (10, 100, 400, 1000, 2000)


@pytest.mark.parametrize("exponent", [0.7, 0.9, 1.1])
def test_a_window_foretells_the_hit_rate_of_the_next_one(exponent: float) -> None:
    keys = zipf(90_000, 8000, exponent, 3)
    curve = hit_curve([keys[30_000:60_000]])
    for size in _SIZES:
        realised = np.mean(lru_hits(keys.tolist(), size)[60_000:])
        assert curve.at(size) == pytest.approx(realised, abs=0.01), size


def test_cold_misses_of_the_window_are_not_taken_for_misses() -> None:
    keys = zipf(60_000, 8000, 0.9, 3)
    warm = np.mean(lru_hits(keys.tolist(), 3000)[40_000:])
    cold = np.mean(lru_hits(keys[20_000:40_000].tolist(), 3000))
    curve = hit_curve([keys[20_000:40_000]])
    assert cold < warm - 0.03
    assert curve.at(3000) == pytest.approx(warm, abs=0.01)


def test_a_loop_is_answered_as_soon_as_it_fits() -> None:
    curve = hit_curve([np.tile(np.arange(200, dtype=np.uint64), 6)])
    assert curve.at(199) == 0.0
    assert curve.at(200) == pytest.approx(1.0)
    assert curve.reach == 200


def test_a_scan_is_never_answered() -> None:
    curve = hit_curve([np.arange(5000, dtype=np.uint64)])
    assert curve.at(4000) == 0.0
    assert curve.known == 0.0


def test_nothing_recorded_says_nothing() -> None:
    curve = hit_curve([np.zeros(0, dtype=np.uint64)])
    assert (curve.requests, curve.reach, curve.at(10)) == (0, 0, 0.0)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300))
def test_a_larger_cache_never_answers_less(keys: list[int]) -> None:
    curve = StreamCurve(sampled(np.array(keys, dtype=np.uint64)))
    rates = [curve.at(size) for size in range(40)]
    assert all(0.0 <= low <= high <= 1.0 for low, high in pairwise(rates))


def test_the_interval_holds_the_hit_rate_of_most_other_windows() -> None:
    truth = hit_curve([zipf(400_000, 3000, 0.9, 0)]).at(500)
    rates = [hit_curve([zipf(10_000, 3000, 0.9, seed)]).rate(500) for seed in range(1, 41)]
    assert sum(rate.low <= truth <= rate.high for rate in rates) >= 35


def test_each_worker_counts_by_its_requests() -> None:
    easy, hard = np.zeros(3000, dtype=np.uint64), np.arange(1000, dtype=np.uint64)
    assert hit_curve([easy, hard]).at(10) == pytest.approx(0.75, abs=0.001)


def test_how_long_a_cache_takes_to_fill() -> None:
    keys = np.repeat(np.arange(100, dtype=np.uint64), 10)
    curve = hit_curve([keys])
    assert curve.warm_share(50) == pytest.approx(0.5, abs=0.011)
    assert curve.warm_share(1000) == 1.0


def test_a_tenth_of_the_keys_stands_for_all() -> None:
    keys = zipf(300_000, 60_000, 0.9, 5)
    whole = StreamCurve(sampled(keys))
    sizes = np.linspace(1, whole.reach, 200)
    for seed in range(3):
        part = StreamCurve(sampled_at(keys, 0.1, seed=seed))
        errors = [abs(whole.at(size) - part.at(size)) for size in sizes]
        assert np.mean(errors) <= 0.005


def test_samples_are_wrong_on_neither_side() -> None:
    keys = zipf(60_000, 20_000, 0.8, 6)
    whole = StreamCurve(sampled(keys))
    parts = [StreamCurve(sampled_at(keys, 0.1, seed=seed)) for seed in range(40)]
    for size in (2000, 5000, 10_000):
        errors = [part.at(size) - whole.at(size) for part in parts]
        doubt = np.std(errors) / np.sqrt(len(errors))
        assert abs(np.mean(errors)) <= 3 * doubt + 0.001, size


def test_long_streams_are_sampled_and_short_ones_are_not() -> None:
    keys = zipf(20_000, 5000, 0.8, 7)
    assert sampled(keys, most=20_000).share == 1.0
    assert sampled(keys, most=19_999).share == pytest.approx(0.08, abs=0.02)
    assert sampled(keys, most=1000).share == pytest.approx(0.05, abs=0.02)
