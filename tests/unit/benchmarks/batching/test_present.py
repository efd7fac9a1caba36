"""For the traffic there is, the cheap among the nearly quickest is taken, and never a worse one."""

from __future__ import annotations

import pytest

from benchmarks.batching.present import Gain, Outcome, choose, outcome_of
from benchmarks.batching.replayed import Objective, Server
from benchmarks.batching.search import Best, search, tries_of
from benchmarks.batching.settings import BatchSetting, Bounds, Session, grid, sessions
from benchmarks.batching.traffic import poisson
from benchmarks.batching.trials import Scene, Trials
from tests.unit.benchmarks.batching.costs import curve
from tests.unit.benchmarks.batching.test_search import rng

BOUNDS = Bounds(64, 50.0, 2)
GRID = grid(BOUNDS)
ONE_BY_ONE = BatchSetting(1)
OBJECTIVE_MS = 50.0


def trials(rate: float, *, fixed_s: float = 5e-3, objective_ms: float = OBJECTIVE_MS) -> Trials:
    """A model whose runs cost the same for one row and for many; more threads only cost more."""
    curves = {
        one: curve(fixed_s / (1.0 if one.threads == 1 else 1.2), 1e-5, session=one)
        for one in sessions(BOUNDS)
    }
    recording = poisson(3000, rng(), rate=rate)
    return Trials(Scene(recording, Objective(objective_ms), Server(), curves, 3000))


def chosen(
    scene: Trials, setting: BatchSetting = ONE_BY_ONE
) -> tuple[Outcome, Best, Outcome | None, Gain | None]:
    found = search(scene, GRID, tries_of(GRID))
    current = outcome_of(scene, setting, found.step)
    return current, found, *choose(scene, found, GRID, current)


def test_the_cheapest_of_the_nearly_quickest_is_taken() -> None:
    scene = trials(160.0)
    current, found, live, gain = chosen(scene)
    assert live is not None
    assert gain is not None
    quickest = min((scene.replayed(one) for one, _ in found.order), key=lambda one: one.mean_ms)
    assert live.cpu_ms < 0.75 * min(current.cpu_ms, quickest.cpu_per_request_s * 1e3)
    assert live.mean_ms <= 2.0 * quickest.mean_ms
    assert live.p99_ms <= 0.8 * OBJECTIVE_MS
    kept = 1.0 - live.mean_ms / current.mean_ms
    assert kept >= 0.7 * (1.0 - quickest.mean_ms / current.mean_ms)
    assert gain.low <= gain.mean <= gain.high


def test_a_cheap_setting_keeps_the_mean_that_is_wanted() -> None:
    scene = trials(160.0)
    current, found, patient, _ = chosen(scene)
    assert patient is not None
    wanted_ms = 0.8 * patient.mean_ms
    live, _ = choose(scene, found, GRID, current, wanted_ms=wanted_ms)
    assert live is not None
    assert live.mean_ms <= wanted_ms
    assert live.cpu_ms > patient.cpu_ms


def test_where_waiting_would_cost_most_of_the_gain_nobody_waits() -> None:
    scene = trials(60.0)
    current, _, live, _ = chosen(scene)
    assert live is not None
    assert current.mean_ms < 7.5
    assert live.mean_ms < current.mean_ms
    assert live.setting.max_wait_ms <= 1.0


def test_it_stands_much_more_than_comes_and_no_less_than_before() -> None:
    scene = trials(160.0)
    current, found, live, _ = chosen(scene)
    assert live is not None
    assert live.rate is not None
    assert live.rate >= max(current.rate or 0.0, min(320.0, 0.9 * scene.rate(found.step)))


def test_what_is_cheap_is_given_up_only_for_what_is_quicker() -> None:
    scene = trials(160.0)
    _, _, live, _ = chosen(scene)
    assert live is not None
    _, _, again, gain = chosen(scene, live.setting)
    assert again is None or (gain is not None and again.mean_ms < live.mean_ms)


def test_nothing_is_chosen_where_no_setting_meets_the_objective() -> None:
    scene = trials(160.0, objective_ms=1.0)
    *_, live, gain = chosen(scene)
    assert (live, gain) == (None, None)


def test_without_time_only_what_is_known_already_is_looked_at() -> None:
    scene = trials(160.0)
    found = search(scene, GRID, tries_of(GRID))
    current = outcome_of(scene, ONE_BY_ONE, found.step)
    live, _ = choose(scene, found, GRID, current, go_on=lambda: False)
    assert live is None or live.setting in {one for one, _ in found.order}


@pytest.mark.parametrize("threads", [1, 2])
def test_only_settings_that_are_allowed_are_chosen(threads: int) -> None:
    scene = trials(160.0)
    allowed = [one for one in GRID if one.session == Session(threads)]
    found = search(scene, allowed, 4)
    current = outcome_of(scene, ONE_BY_ONE, found.step)
    live, _ = choose(scene, found, allowed, current)
    assert live is not None
    assert live.setting in allowed
