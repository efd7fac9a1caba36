"""The queueing model of the workers: against exact results, against simulation, and its shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import arrivals
from benchmarks.batching.traffic import bursty
from benchmarks.workers import Bursts, Load, Objective, choose, slow_share, utilisation
from benchmarks.workers_traffic import bursts_of, simulated

WANTED = Objective(0.7, 0.1)

rates = st.floats(0.0, 5000.0)
services = st.floats(1e-5, 0.2)
variabilities = st.floats(0.0, 4.0)
dispersions = st.lists(st.floats(0.1, 50.0), max_size=6)


def load_of(rate: float, service_s: float, variability: float, dispersion: list[float]) -> Load:
    seconds = tuple(0.01 * 2**i for i in range(len(dispersion)))
    return Load(rate, service_s, variability, Bursts(seconds, tuple(dispersion)))


loads = st.builds(load_of, rates, services, variabilities, dispersions)


@pytest.mark.parametrize("busy", [0.3, 0.5, 0.7, 0.9])
def test_one_worker_with_exponential_service_is_as_the_theory_has_it(busy: float) -> None:
    # M/M/1: the time in the system is exponential with mean s / (1 − ρ).
    load = Load(busy / 0.01, 0.01, 1.0)
    for latency_s in (0.05, 0.1):
        exact = math.exp(-(1.0 - busy) * latency_s / 0.01)
        found = slow_share(load, 1, latency_s)
        assert found is not None
        if exact > 1e-3:
            assert found == pytest.approx(exact, rel=0.5)


@given(loads, st.integers(1, 32))
def test_it_is_a_share_and_none_where_a_worker_cannot_keep_up(load: Load, workers: int) -> None:
    found = slow_share(load, workers, WANTED.latency_s)
    assert (found is None) == (utilisation(load, workers) >= 1.0)
    assert found is None or 0.0 <= found <= 1.0 + 1e-9


@given(loads, st.integers(1, 8), st.integers(0, 24))
def test_the_choice_is_within_bounds_and_keeps_to_the_utilisation(
    load: Load, low: int, more: int
) -> None:
    found = choose(load, WANTED, low, low + more)
    assert low <= found.workers <= low + more
    assert found.utilisation == pytest.approx(load.cores / found.workers)
    if found.enough:
        assert found.utilisation <= WANTED.utilisation + 1e-6


@given(loads, st.floats(1.0, 4.0))
def test_more_load_never_asks_for_fewer_workers(load: Load, times: float) -> None:
    more = Load(load.rate * times, load.service_s, load.variability, load.bursts)
    few, many = choose(load, WANTED, 1, 64), choose(more, WANTED, 1, 64)
    assert few.workers <= many.workers


@given(loads)
def test_more_bursts_never_ask_for_fewer_workers(load: Load) -> None:
    calm = Load(load.rate, load.service_s, load.variability)
    wild = Load(load.rate, load.service_s, load.variability, Bursts((0.01, 1.0), (5.0, 40.0)))
    assert choose(calm, WANTED, 1, 64).workers <= choose(wild, WANTED, 1, 64).workers


def test_no_load_needs_the_fewest_and_too_much_the_most() -> None:
    assert choose(Load(0.0, 0.0), WANTED, 2, 8).workers == 2
    found = choose(Load(1000.0, 0.1), WANTED, 1, 4)
    assert (found.workers, found.enough, found.by) == (4, False, "utilisation")


def test_where_one_request_alone_is_too_slow_utilisation_decides() -> None:
    found = choose(Load(1.0, 0.2, 0.1), WANTED, 1, 32)
    assert (found.workers, found.enough) == (1, False)


def test_bursts_are_seen_and_independent_users_have_none() -> None:
    rng = np.random.default_rng(4)
    calm = bursts_of(arrivals.poisson(500.0, 60.0, rng))
    assert all(0.5 < one < 1.8 for one in calm.dispersion)
    wild = bursts_of(bursty(20_000, rng, rate=500.0).at)
    assert max(wild.dispersion) > 5.0
    assert bursts_of(np.arange(10.0)) == Bursts()
    assert bursts_of(np.zeros(500)) == Bursts()


def test_the_simulation_agrees_with_the_mean_wait_of_the_theory() -> None:
    # M/D/1: the mean wait is ρ s / (2 (1 − ρ)).
    rng = np.random.default_rng(1)
    at = arrivals.poisson_count(70.0, 200_000, rng)
    times = simulated(at, np.full(at.size, 0.01), 1, rng)
    assert float(times.mean()) == pytest.approx(0.01 + 0.7 * 0.01 / 0.6, rel=0.05)


def test_split_over_workers_each_has_its_share() -> None:
    rng = np.random.default_rng(2)
    at = arrivals.poisson_count(280.0, 200_000, rng)
    times = simulated(at, np.full(at.size, 0.01), 4, rng)
    assert float(times.mean()) == pytest.approx(0.01 + 0.7 * 0.01 / 0.6, rel=0.05)
    assert simulated(np.empty(0), np.empty(0), 3, rng).size == 0
