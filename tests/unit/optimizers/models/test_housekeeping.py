"""Tidying keeps the ledger small and changes nothing that anybody still reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.clock import epoch
from config.loader import load_settings
from optimizers.models.housekeeping import tidy
from registry.records import (
    Experiment,
    ExperimentState,
    FeedbackItem,
    RouteMode,
    ShadowScore,
    TrialVerdict,
    Variant,
)
from tests.services.trial_world import MODEL, TrialWorld, trial_config

DAY_S = 86_400.0
WINDOW_DAYS = 2
SETTINGS = load_settings(environ={"PRIME_SPARK_SERVING__FEEDBACK_WINDOW_DAYS": str(WINDOW_DAYS)})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TrialWorld]:
    made = TrialWorld(tmp_path, rate=1).prepare()
    yield made
    made.close()


def begin(world: TrialWorld, mode: RouteMode) -> str:
    """Begin a test and let it have four minutes of traffic."""
    config = trial_config(duration_seconds=30 * DAY_S)
    experiment = world.desk.experiments.create(
        Experiment(
            id=config.test_id, model=MODEL, champion=1, challenger=2, mode=mode, salt="s",
            weight=0.5, config=config, state=ExperimentState.RUNNING, verdict=None, reason="",
            started_at=world.clock.now(), flow_run_id="run",
        )
    )  # fmt: skip
    world.desk.routes.put(
        MODEL, expected_revision=0, mode=mode, champion=1, challenger=2, weight=0.5,
        experiment_id=experiment.id, salt="s", by="test", reason="begun",
    )  # fmt: skip
    for _ in range(4):
        world.wait(60)
    return experiment.id


def test_a_running_split_keeps_its_sums_while_rows_go(world: TrialWorld) -> None:
    test = begin(world, RouteMode.AB)
    exposures, feedback = world.desk.exposures, world.desk.feedback
    before = exposures.totals(test), feedback.totals(test, "accuracy")
    rows = len(exposures.series(test))
    world.clock.advance(DAY_S / 2)
    assert (tidy(world.desk, SETTINGS).joined, len(exposures.series(test))) == (0, rows)
    world.clock.advance((WINDOW_DAYS + 1) * DAY_S)
    done = tidy(world.desk, SETTINGS)
    assert done.joined == rows - 2
    assert done.forgotten == sum(arm.count for arm in before[1].values())
    after = exposures.totals(test), feedback.totals(test, "accuracy")
    for variant in Variant.CHAMPION, Variant.CHALLENGER:
        assert after[0][variant].count == before[0][variant].count
        assert after[0][variant].sketch == before[0][variant].sketch
    assert after[1] == before[1]
    assert (tidy(world.desk, SETTINGS).joined, tidy(world.desk, SETTINGS).forgotten) == (0, 0)


def test_a_label_that_may_still_come_twice_is_not_forgotten(world: TrialWorld) -> None:
    now = epoch(world.clock.now())
    label = FeedbackItem("n", MODEL, 1, Variant.CHAMPION, None, "accuracy", 1.0, "1", now)
    world.desk.feedback.record([label])
    world.clock.advance(WINDOW_DAYS * DAY_S)
    assert tidy(world.desk, SETTINGS).forgotten == 0
    assert world.desk.feedback.record([label]).duplicate == 1


def test_the_watch_over_a_champion_keeps_what_it_looks_at(world: TrialWorld) -> None:
    far = load_settings(environ={"PRIME_SPARK_MODELS__DEGRADED_WINDOW_SECONDS": str(30 * DAY_S)})
    now = epoch(world.clock.now())
    world.desk.feedback.record(
        [FeedbackItem("n", MODEL, 1, Variant.CHAMPION, None, "accuracy", 1.0, "1", now)]
    )
    world.clock.advance(29 * DAY_S)
    tidy(world.desk, far)
    assert world.desk.feedback.version_totals(MODEL, 1, "accuracy", now).count == 1
    world.clock.advance(2 * DAY_S)
    tidy(world.desk, far)
    assert world.desk.feedback.version_totals(MODEL, 1, "accuracy", now).count == 0


def test_a_running_shadow_keeps_its_pairs_until_it_is_over(world: TrialWorld) -> None:
    test = begin(world, RouteMode.SHADOW)
    now = epoch(world.clock.now())
    world.desk.feedback.record_shadow(
        [ShadowScore("n", MODEL, 2, test, "1", "0", False, 3.0, 2.0, now)]
    )
    world.desk.feedback.record(
        [FeedbackItem("n", MODEL, 1, Variant.CHAMPION, test, "accuracy", 0.0, "1", now)]
    )
    world.clock.advance((WINDOW_DAYS + 2) * DAY_S)
    tidy(world.desk, SETTINGS)
    assert world.desk.feedback.paired(test, "accuracy").n == 1
    lease = world.desk.experiments.claim(test, "run", 30.0)
    world.desk.experiments.finish(lease, TrialVerdict.INCONCLUSIVE, "over")
    tidy(world.desk, SETTINGS)
    assert world.desk.feedback.paired(test, "accuracy").scored == 0
