from __future__ import annotations

import numpy as np
import pytest

from benchmarks.arrivals import constant
from benchmarks.inprocess import PacedRun, queue_waits
from benchmarks.throughput import Sustained, drive, search, sustains

OBJECTIVE_MS = 100.0


def _server(rate: float, service_s: float, seconds: float = 0.1) -> PacedRun:
    """What a server with a constant service time makes of evenly spaced arrivals."""
    arrivals = constant(rate, seconds)
    service = np.full(arrivals.size, service_s)
    latency = queue_waits(arrivals, service) + service
    return PacedRun(latency * 1e3, service * 1e3, np.zeros(arrivals.size), 0.0)


@pytest.mark.parametrize("capacity", [3.0, 70.0, 998.0, 50_000.0])
@pytest.mark.parametrize("guess", [1.0, 1000.0])
def test_the_search_ends_next_below_the_capacity(capacity: float, guess: float) -> None:
    found = drive(search(guess, least=0.1, most=1e6), lambda rate: rate <= capacity)
    assert found is not None
    assert found.limit is not None
    assert capacity / 1.1 <= found.rate <= capacity <= found.limit


def test_a_server_that_sustains_nothing_has_no_throughput() -> None:
    assert drive(search(10.0, least=0.5, most=1e6), lambda _: False) is None


def test_a_server_without_a_limit_in_reach_is_reported_without_one() -> None:
    assert drive(search(10.0, least=0.5, most=500.0), lambda _: True) == Sustained(500.0, None)


def test_one_lucky_trial_is_not_believed() -> None:
    tried: list[float] = []

    def lucky_once(rate: float) -> bool:
        tried.append(rate)
        return rate <= 100.0 or len(tried) == 1

    found = drive(search(400.0, least=0.1, most=1e6), lucky_once)
    assert found is not None
    assert found.rate <= 100.0


def test_a_queue_that_grows_is_noticed_before_it_breaks_the_objective() -> None:
    # 20 % too many requests for 0.1 s: the longest wait is only 20 ms, far within the objective.
    assert sustains(_server(800.0, 1e-3), OBJECTIVE_MS, 0.1)
    overloaded = _server(1200.0, 1e-3)
    assert float(overloaded.latency_ms.max()) < OBJECTIVE_MS
    assert not sustains(overloaded, OBJECTIVE_MS, 0.1)


def test_a_server_slower_than_the_objective_sustains_nothing() -> None:
    assert not sustains(_server(1.0, 0.2, 5.0), OBJECTIVE_MS, 5.0)


def test_one_pause_at_the_end_is_not_a_queue() -> None:
    calm = _server(500.0, 1e-3)
    calm.latency_ms[-1] += 30.0
    assert sustains(calm, OBJECTIVE_MS, 0.1)
