"""What is read of a model's state, from real stores."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.clock import epoch
from config.settings import ModelSettings, Settings
from optimizers.models.at_work import is_worked_on, working_on
from optimizers.models.lifecycle import StepKind
from optimizers.models.observing import RETRAINED, apply_fixes, observe, settle_finished
from optimizers.models.trial import run_trial
from optimizers.models.trial_end import conclude_trial
from optimizers.models.watching import ModelView, plan
from registry.records import FeedbackItem, Stage, Variant
from tests.services.scripted_traffic import Behaviour
from tests.services.trial_world import MODEL, TrialWorld, trial_config

SETTINGS = Settings(models=ModelSettings(retrain_entrypoint="mine:train", degraded_min_labels=50))
WINS = {1: Behaviour(accuracy=0.7), 2: Behaviour(accuracy=0.97)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TrialWorld]:
    made = TrialWorld(tmp_path, behaviours=WINS).prepare()
    yield made
    made.close()


def seen(world: TrialWorld) -> ModelView:
    return observe(world.desk, SETTINGS, MODEL, lambda _ids: {})


def labels(
    world: TrialWorld, version: int, right: int, wrong: int, test_id: str | None = None
) -> None:
    """Let labels of a version come in now, of answers given during a test or outside of any."""
    now = epoch(world.clock.now())
    values = [1.0] * right + [0.0] * wrong
    world.desk.feedback.record(
        [
            FeedbackItem(
                f"late-{version}-{now}-{number}",
                MODEL,
                version,
                Variant.CHALLENGER if test_id and version == 2 else Variant.CHAMPION,
                test_id,
                "accuracy",
                value,
                None,
                now,
            )
            for number, value in enumerate(values)
        ]
    )


def win(world: TrialWorld) -> None:
    """Let version 2 win its trial and become the champion."""
    run_trial(world.desk, trial_config(), "run")
    conclude_trial(world.desk, trial_config().test_id, "run")
    world.desk.lifecycle.put(MODEL, 2, Stage.WON, Stage.CHAMPION, "it won")
    world.desk.lifecycle.put(MODEL, 1, Stage.CHAMPION, Stage.RETIRED, "replaced")
    world.registry.set_alias(MODEL, "champion", 2)
    world.registry.set_alias(MODEL, "previous", 1)


def test_late_labels_can_demote_a_promoted_version(world: TrialWorld) -> None:
    win(world)
    assert seen(world).quality.worse_than_former == ""
    split = trial_config().traffic_split
    late = trial_config().test_id
    labels(world, 1, right=round(5000 * (1 - split)), wrong=0, test_id=late)
    labels(world, 2, right=0, wrong=round(5000 * split), test_id=late)
    (step,) = plan(seen(world), SETTINGS.models)
    assert step.kind is StepKind.ROLLBACK
    assert "of version 1 before it" in step.reason


def test_labels_that_come_for_one_arm_more_than_the_other_demote_nobody(world: TrialWorld) -> None:
    win(world)
    labels(world, 2, right=0, wrong=3000, test_id=trial_config().test_id)
    assert seen(world).quality.worse_than_former == ""


def test_a_bad_day_after_the_test_does_not_make_the_former_version_look_better(
    world: TrialWorld,
) -> None:
    win(world)
    labels(world, 2, right=100, wrong=900)
    assert seen(world).quality.worse_than_former == ""


def test_late_labels_that_agree_demote_nobody(world: TrialWorld) -> None:
    win(world)
    labels(world, 2, right=950, wrong=50)
    assert plan(seen(world), SETTINGS.models) == ()


def test_a_degraded_champion_is_retrained_and_then_left_for_the_cool_down(
    world: TrialWorld,
) -> None:
    world.registry.add(MODEL, 1, champion=1)
    world.clock.advance(120)
    labels(world, 1, right=10, wrong=90)
    (step,) = plan(seen(world), SETTINGS.models)
    assert step.kind is StepKind.RETRAIN
    world.desk.events.append(None, RETRAINED, MODEL, {"reason": step.reason})
    assert plan(seen(world), SETTINGS.models) == ()
    world.clock.advance(SETTINGS.models.retrain_cooldown_seconds + 1)
    labels(world, 1, right=10, wrong=90)
    assert [one.kind for one in plan(seen(world), SETTINGS.models)] == [StepKind.RETRAIN]


def test_a_person_s_move_is_written_into_the_stages(world: TrialWorld) -> None:
    world.registry.set_alias(MODEL, "champion", 2)
    assert len(apply_fixes(world.desk, seen(world))) == 2
    assert (world.stage(1), world.stage(2)) == (Stage.RETIRED, Stage.CHAMPION)
    assert apply_fixes(world.desk, seen(world)) == []


def test_a_version_left_at_trial_by_a_dead_controller_is_moved_on(world: TrialWorld) -> None:
    run_trial(world.desk, trial_config(), "run")
    conclude_trial(world.desk, trial_config().test_id, "run")
    world.desk.lifecycle.put(MODEL, 2, Stage.WON, Stage.TRIAL, "as if killed before settling")
    assert len(settle_finished(world.desk, seen(world))) == 1
    assert world.stage(2) is Stage.WON


def test_a_benchmark_whose_process_was_killed_is_found_at_once(world: TrialWorld) -> None:
    world.desk.lifecycle.put(MODEL, 2, Stage.ACCEPTED, Stage.BENCHMARKING, "measuring")
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with working_on(world.desk, MODEL, 2):
            os.write(tell, b"x")
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    assert is_worked_on(world.desk, MODEL, 2)
    assert plan(seen(world), SETTINGS.models) == ()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not is_worked_on(world.desk, MODEL, 2)
    (step,) = plan(seen(world), SETTINGS.models)
    assert step.kind is StepKind.BENCHMARK
    os.close(ready)
    os.close(tell)
