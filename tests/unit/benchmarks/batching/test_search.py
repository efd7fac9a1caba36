"""The search finds what trying everything finds; rates, traffic and costs are what they say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.batching.aimd import Watched, aimd
from benchmarks.batching.replayed import Objective, Server
from benchmarks.batching.run_costs import QUANTILES, CostCurve, RunCosts, quantiles_of
from benchmarks.batching.search import SHARE, exhaustive, search, tries_of
from benchmarks.batching.settings import BatchSetting, Bounds, Session, grid, sessions
from benchmarks.batching.traffic import Recording, bursty, busiest, poisson, recorded
from benchmarks.batching.trials import Scene, Trials, highest
from config.errors import InputError
from tests.unit.benchmarks.batching.costs import curve

BOUNDS = Bounds(64, 5.0, 2)
GRID = grid(BOUNDS)
TWO = Session(2, spinning=True)

MODELS: Mapping[str, Mapping[Session, CostCurve]] = {
    "gains by joining": {
        one: curve(3e-3 / one.threads, 1e-4, session=one) for one in sessions(BOUNDS)
    },
    "gains by threads": {
        one: curve(1e-4, 2e-3 / one.threads, session=one) for one in sessions(BOUNDS)
    },
    "loses by threads": {
        one: curve(1e-3 * one.threads, 3e-4, session=one) for one in sessions(BOUNDS)
    },
}


def scene(model: str, recording: Recording, objective_ms: float) -> Scene:
    return Scene(recording, Objective(objective_ms), Server(), MODELS[model], 2000)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [poisson, bursty])
def test_few_tries_find_nearly_what_all_of_them_find(model: str, kind: object) -> None:
    assert callable(kind)
    trials = Trials(scene(model, kind(1000, rng()), 20.0))
    found = search(trials, GRID, tries_of(GRID))
    assert found.setting is not None
    assert len(trials.tried) <= SHARE * len(GRID)
    assert trials.stands(found.setting, found.step)
    best = exhaustive(Trials(trials.scene), GRID)
    assert trials.rate(found.step) >= 0.95 * trials.rate(best.step)


def test_the_last_tries_go_to_the_neighbours_of_the_best() -> None:
    # The model takes the right setting, beside the best of the others, for half as good as it is.
    curves = {
        one: curve(1e-3, 2e-4 * (1.05 if one.threads == 2 else 1.0), session=one)
        for one in sessions(BOUNDS)
    }
    tight = Scene(bursty(1000, rng(2)), Objective(8.0), Server(3e-5, 3e-5, 3e-5), curves, 2000)
    found, best = search(Trials(tight), GRID, tries_of(GRID)), exhaustive(Trials(tight), GRID)
    trials = Trials(tight)
    assert trials.rate(found.step) >= 0.95 * trials.rate(best.step)


def test_threads_are_used_where_they_help_and_only_there() -> None:
    chosen = {
        model: search(Trials(scene(model, poisson(800, rng()), 20.0)), GRID, 6).setting
        for model in MODELS
    }
    helped, hurt = chosen["gains by threads"], chosen["loses by threads"]
    assert helped is not None
    assert helped.session.threads == 2
    assert hurt is not None
    assert hurt.session.threads == 1


def test_an_objective_below_one_run_is_met_by_nothing() -> None:
    found = search(Trials(scene("gains by joining", poisson(500, rng()), 0.5)), GRID, 8)
    assert (found.setting, found.order) == (None, ())


def test_a_search_that_has_no_more_time_ends() -> None:
    trials = Trials(scene("gains by joining", poisson(500, rng()), 20.0))
    search(trials, GRID, len(GRID), go_on=lambda: False)
    assert len(trials.tried) <= 4


@given(limit=st.integers(-600, 1100), guess=st.integers(-2000, 2000))
def test_the_highest_step_is_found_from_any_guess(limit: int, guess: int) -> None:
    assert highest(lambda step: step <= limit, guess) == limit


def test_what_never_holds_has_no_highest_step() -> None:
    assert highest(lambda _: False, 10) is None


@given(rate=st.floats(1.0, 1e4), seconds=st.floats(0.1, 50.0))
def test_traffic_keeps_its_pattern_at_another_rate(rate: float, seconds: float) -> None:
    recording = bursty(300, rng())
    traffic = recording.at_rate(rate, seconds, 3000)
    counted = len(traffic.at) - traffic.warm_up
    assert counted % 300 == 0
    assert traffic.at == sorted(traffic.at)
    gaps = np.diff(traffic.at[traffic.warm_up : traffic.warm_up + 300])
    assert gaps == pytest.approx(np.diff(recording.at) * recording.rate / rate, abs=1e-9)


def test_recordings_are_checked() -> None:
    with pytest.raises(InputError, match="fewer than 50"):
        recorded(np.arange(49.0))
    with pytest.raises(InputError, match="the same time"):
        recorded(np.zeros(60))
    with pytest.raises(InputError, match="one row or more"):
        recorded(np.arange(60.0), np.zeros(60, dtype=np.int64))
    slow, quick = recorded(np.arange(60.0)), recorded(np.arange(60.0) / 2)
    assert busiest([slow, quick]) is quick


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=100))
def test_quantiles_stay_within_what_was_measured(seconds: list[float]) -> None:
    found = quantiles_of(seconds)
    assert len(found) == QUANTILES
    assert list(found) == sorted(found)
    assert min(seconds) <= found[0]
    assert found[-1] <= max(seconds) + 1e-12


@given(st.integers(1, 400))
def test_runs_between_and_beyond_the_measured_sizes_follow_them(rows: int) -> None:
    costs = RunCosts(curve(1e-3, 1e-4, noise=0.0))
    assert costs.of(0, rows) == pytest.approx(1e-3 + 1e-4 * rows, rel=1e-6)
    assert costs.cpu_of(rows) == pytest.approx(1e-3 + 1e-4 * rows, rel=1e-6)


def test_the_grid_is_what_can_be_told_apart() -> None:
    assert len(set(GRID)) == len(GRID)
    assert {one.max_wait_ms for one in GRID if one.max_batch_size == 1} == {0.0}
    assert grid(Bounds(64, 10.0, 1), batchable=False) == [BatchSetting(1)]
    assert max(one.session.threads for one in grid(Bounds(8, 0.0, 6))) == 6
    with pytest.raises(InputError):
        grid(Bounds(0, 0.0, 1))


def test_the_controller_grows_its_batch_and_shrinks_it_again() -> None:
    recording, costs = poisson(3000, rng()), RunCosts(curve(2e-3, 3e-3, noise=0.0))
    traffic = recording.at_rate(290.0, 1.0, 3000)
    loose, tight = (
        aimd(
            traffic,
            BatchSetting(64),
            costs,
            Server(),
            within=Objective(limit_ms, share=0.0),
            watched=Watched.RUN,
        )
        for limit_ms in (1000.0, 12.0)
    )
    assert max(rows for _, rows, _ in loose.runs) > 6
    # A batch of 4 takes 14 ms: no longer within 12 ms, so the next may be no larger.
    assert max(rows for _, rows, _ in tight.runs[-100:]) <= 4
