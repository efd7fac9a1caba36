"""Promotion and rollback killed with SIGKILL after each step, and started again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.aliases import AliasHistory
from registry.records import (
    Experiment,
    ExperimentState,
    MoveState,
    RouteMode,
    Stage,
    TrialVerdict,
)
from tests.crash.controllers import Job, promotion, rollback, run_until_killed
from tests.services.trial_world import MODEL, TrialWorld, trial_config

pytestmark = pytest.mark.crash

Prepare = Callable[[Path], None]
Check = Callable[[Path, int], None]

_MOST_STEPS = 40


def test_a_promotion_killed_after_any_step_is_made_once(tmp_path: Path) -> None:
    def check(folder: Path, step: int) -> None:
        world = TrialWorld(folder)
        assert world.registry.aliases(MODEL) == {"champion": 2, "previous": 1}, step
        assert (world.stage(1), world.stage(2)) == (Stage.RETIRED, Stage.CHAMPION), step
        assert moves_of_champion(world, 2) == [MoveState.DONE], f"killed after step {step}"
        world.close()

    assert sweep(tmp_path, won_trial, promotion, check) > 10


def test_a_rollback_killed_after_any_step_is_made_once(tmp_path: Path) -> None:
    def check(folder: Path, step: int) -> None:
        world = TrialWorld(folder)
        assert world.registry.aliases(MODEL) == {"champion": 1, "previous": 2}, step
        assert (world.stage(1), world.stage(2)) == (Stage.CHAMPION, Stage.STOPPED), step
        assert moves_of_champion(world, 1) == [MoveState.DONE], f"killed after step {step}"
        world.close()

    assert sweep(tmp_path, promoted, rollback, check) > 8


def sweep(tmp_path: Path, prepare: Prepare, job: Job, check: Check) -> int:
    """Kill the job after its first, second, … step, repeat it, and check; return the steps."""
    for step in range(1, _MOST_STEPS):
        folder = tmp_path / f"killed-after-{step}"
        folder.mkdir()
        prepare(folder)
        if not run_until_killed(folder, job, attempt=1, die_after=step):
            return step
        assert not run_until_killed(folder, job, attempt=2, die_after=0)
        # A third time, as a person might: nothing more may happen.
        assert not run_until_killed(folder, job, attempt=3, die_after=0)
        check(folder, step)
    raise AssertionError("it never ended")


def won_trial(folder: Path) -> None:
    """Version 2 has won its trial against version 1."""
    world = TrialWorld(folder).prepare()
    store, config = world.desk.experiments, trial_config()
    world.desk.lifecycle.put(MODEL, 2, Stage.ACCEPTED, Stage.TRIAL, "on trial")
    store.create(experiment(world))
    lease = store.claim(config.test_id, "controller", 30)
    store.finish(lease, TrialVerdict.PROMOTE, "it is better")
    world.desk.lifecycle.put(MODEL, 2, Stage.TRIAL, Stage.WON, "it is better")
    world.registry.set_alias(MODEL, "challenger", 2)
    world.close()


def promoted(folder: Path) -> None:
    won_trial(folder)
    assert not run_until_killed(folder, promotion, attempt=0, die_after=0)


def moves_of_champion(world: TrialWorld, to: int) -> list[MoveState]:
    history = AliasHistory(world.engine, world.clock)
    return [
        move.state
        for move in history.list(MODEL)
        if move.alias == "champion" and move.after == to and not move.outside
    ]


def experiment(world: TrialWorld) -> Experiment:
    config = trial_config()
    return Experiment(
        id=config.test_id,
        model=MODEL,
        champion=1,
        challenger=2,
        mode=RouteMode.AB,
        salt=config.test_id,
        weight=config.traffic_split,
        config=config,
        state=ExperimentState.RUNNING,
        verdict=None,
        reason="",
        started_at=world.clock.now(),
    )
