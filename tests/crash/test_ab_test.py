"""The controller of a test killed with SIGKILL after each of its steps, and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.trial_record import recompute
from registry.records import ExperimentState, RouteMode, Stage, TrialVerdict
from tests.crash.controllers import run_until_killed, trial
from tests.services.trial_world import MODEL, TrialWorld

pytestmark = pytest.mark.crash

# More steps than a test has; the sweep ends at the first number it survives.
_MOST_STEPS = 80


def test_a_test_killed_after_any_step_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    survived = 0
    for step in range(1, _MOST_STEPS):
        folder = tmp_path / f"killed-after-{step}"
        folder.mkdir()
        prepare(folder)
        if not run_until_killed(folder, trial, attempt=0, die_after=step):
            survived = step
            break
        assert not run_until_killed(folder, trial, attempt=1, die_after=0)
        check_the_end(folder, step)
    assert survived > 15, "the sweep met every step"


def test_a_test_killed_again_and_again_still_ends(tmp_path: Path) -> None:
    prepare(tmp_path)
    attempt = 0
    while run_until_killed(tmp_path, trial, attempt=attempt, die_after=6):
        attempt += 1
        assert attempt < 60, "it makes progress each time"
    assert attempt > 2
    check_the_end(tmp_path, attempt)


def prepare(folder: Path) -> None:
    TrialWorld(folder).prepare().close()


def check_the_end(folder: Path, step: int) -> None:
    world = TrialWorld(folder)
    trial = world.desk.experiments.get("toy-test")
    assert trial is not None
    assert trial.state is ExperimentState.FINISHED, step
    assert trial.verdict is TrialVerdict.PROMOTE, step
    looks = world.desk.experiments.looks(trial.id)
    assert [look.number for look in looks] == list(range(1, len(looks) + 1)), step
    requests = [sum(arm.exposures for arm in look.arms.values()) for look in looks]
    assert requests == sorted(requests), f"no count was lost (killed after step {step})"
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE, step
    assert world.registry.aliases(MODEL) == {"champion": 1}, step
    assert world.stage() is Stage.WON, step
    (record,) = world.published
    assert recompute(record).agrees, step
    finished = world.desk.events.list(subject=trial.id, kind="experiment_finished")
    assert len(finished) == 1, step
    world.close()
