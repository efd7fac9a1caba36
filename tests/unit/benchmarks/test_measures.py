from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measures import Measure, Unavailable, latency_measures, share_measure

SEED = 9


def test_a_measure_is_never_nan() -> None:
    with pytest.raises(ValueError, match="not a measurement"):
        Measure("latency_p95", float("nan"), "ms")


def test_latency_intervals_hold_the_true_quantile_as_often_as_they_say() -> None:
    rng = np.random.default_rng(SEED)
    truth, hits = -np.log(0.05), 0
    for _ in range(1000):
        p95 = latency_measures(rng.exponential(1.0, 400))[2]
        assert isinstance(p95, Measure)
        assert p95.low is not None
        assert p95.high is not None
        hits += p95.low <= truth <= p95.high
    # 95 % less three standard errors of 1000 runs.
    assert hits >= 929, f"seed {SEED}"


def test_a_small_sample_has_no_upper_bound_for_its_tail() -> None:
    p99 = latency_measures(np.arange(1.0, 21.0))[3]
    assert isinstance(p99, Measure)
    assert p99.high is None


def test_no_latencies_are_unavailable_and_not_zero() -> None:
    for reading in latency_measures(np.empty(0)):
        assert isinstance(reading, Unavailable)
        assert "value" not in reading.to_dict()
        assert str(reading) == "not available: no request was answered"


def test_a_share_has_an_interval_even_when_all_are_right() -> None:
    share = share_measure("accuracy", 50, 50)
    assert isinstance(share, Measure)
    assert share.low == pytest.approx(0.9287, abs=1e-3)
    assert isinstance(share_measure("accuracy", 0, 0), Unavailable)
