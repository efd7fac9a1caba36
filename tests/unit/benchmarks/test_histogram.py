from __future__ import annotations

import numpy as np
import pytest

from benchmarks.histogram import HIGHEST_US, LatencyHistogram

SEED = 3


def test_percentiles_are_exact_to_three_digits() -> None:
    latencies = np.sort(np.random.default_rng(SEED).lognormal(1.0, 1.0, 10_000))
    histogram = LatencyHistogram(latencies)
    for percent in (50, 95, 99):
        exact = float(np.quantile(latencies, percent / 100, method="inverted_cdf"))
        assert histogram.percentile(percent) == pytest.approx(exact, rel=2e-3)


def test_no_data_is_not_a_latency_of_zero() -> None:
    assert LatencyHistogram().percentile(50) is None
    assert LatencyHistogram().buckets() == []


def test_merging_is_counting_both() -> None:
    one, two = LatencyHistogram([1.0, 2.0]), LatencyHistogram([2.0, 30.0])
    one.merge(two)
    assert one.buckets() == LatencyHistogram([1.0, 2.0, 2.0, 30.0]).buckets()
    assert one.count == 4


def test_what_is_off_the_scale_is_kept_at_its_end() -> None:
    histogram = LatencyHistogram([1e12, 0.0])
    assert histogram.count == 2
    assert histogram.percentile(100) == pytest.approx(HIGHEST_US / 1e3, rel=2e-3)
