"""Runs a controller in a process of its own and kills it at its n-th step."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from optimizers.models.promotion import Serving, promote, roll_back
from optimizers.models.trial import run_trial
from optimizers.models.trial_end import conclude_trial
from tests.services.scripted_traffic import Behaviour
from tests.services.trial_world import MODEL, TrialWorld, trial_config

BEHAVIOURS = {1: Behaviour(accuracy=0.7), 2: Behaviour(accuracy=0.97)}
NOWHERE = Serving(None)

Job = Callable[[TrialWorld], object]


class Death:
    """Kills this process when the `after`-th step is done; 0 never does."""

    def __init__(self, after: int) -> None:
        self._left = after

    def __call__(self, _step: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def trial(world: TrialWorld) -> None:
    """Run the test, or go on with it, to its end."""
    run_trial(world.desk, trial_config(), world.worker)
    conclude_trial(world.desk, trial_config().test_id, world.worker)


def promotion(world: TrialWorld) -> None:
    """Make version 2 the champion."""
    promote(world.desk, MODEL, 2, NOWHERE, actor="promote", flow_run_id=world.worker)


def rollback(world: TrialWorld) -> None:
    """Bring version 1 back."""
    roll_back(
        world.desk, MODEL, 2, NOWHERE, actor="rollback", reason="a test", flow_run_id=world.worker
    )


def run_until_killed(folder: Path, job: Job, *, attempt: int, die_after: int) -> bool:
    """Run a job in a child process; return whether it was killed.

    Each attempt comes five minutes after the one before, so that leases have run out.
    """
    child = os.fork()
    if child == 0:
        _child(folder, job, attempt, die_after)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the controller failed; see its traceback above"
    return False


def _child(folder: Path, job: Job, attempt: int, die_after: int) -> None:
    """Never returns: a forked process has no business in the test's own cleaning up."""
    code = 1
    try:
        world = TrialWorld(
            folder,
            behaviours=BEHAVIOURS,
            rate=40.0,
            worker=f"controller-{attempt}",
            checkpoint=Death(die_after),
            start_s=300.0 * attempt,
        )
        job(world)
        code = 0
    except BaseException:  # noqa: BLE001 - shown by the parent's capture, then the exit code tells
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
