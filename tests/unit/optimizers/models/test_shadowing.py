"""A challenger in the shadow: what it is asked, what it shows, and that it is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.clock import epoch
from config.errors import ConflictError
from optimizers.models.shadowing import ShadowReport, run_shadow
from registry.records import (
    ExperimentState,
    FeedbackItem,
    Route,
    RouteMode,
    ShadowScore,
    Stage,
    Variant,
)
from tests.services.trial_world import MODEL, TrialWorld, trial_config


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TrialWorld]:
    made = TrialWorld(tmp_path, rate=0).prepare()
    yield made
    made.close()


def shadow(world: TrialWorld) -> ShadowReport:
    return run_shadow(world.desk, trial_config(test_id="s", duration_seconds=60), "run")


def answer(world: TrialWorld, count: int, *, better: int) -> None:
    """Both versions answer; on `better` requests only the challenger is right."""
    now = epoch(world.clock.now())
    nonces = [f"n-{number}" for number in range(count)]
    world.desk.feedback.record_shadow(
        [
            ShadowScore(nonce, MODEL, 2, "s", "1", "0" if n < better else "1", False, 3.0, 2.0, now)
            for n, nonce in enumerate(nonces)
        ]
    )
    world.desk.feedback.record(
        [
            FeedbackItem(
                nonce, MODEL, 1, Variant.CHAMPION, "s", "accuracy", float(n >= better), "1", now
            )
            for n, nonce in enumerate(nonces)
        ]
    )


def test_every_request_is_copied_while_it_runs_and_none_afterwards(world: TrialWorld) -> None:
    seen: list[Route] = []
    world.later[30] = lambda: seen.append(world.desk.routes.current(MODEL))
    report = shadow(world)
    assert (seen[0].mode, seen[0].challenger, seen[0].weight) == (RouteMode.SHADOW, 2, 1.0)
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE
    found = world.desk.experiments.get(report.experiment.id)
    assert found is not None
    assert found.state is ExperimentState.FINISHED
    assert world.waited == pytest.approx(60)


def test_versions_are_compared_on_the_requests_both_answered(world: TrialWorld) -> None:
    world.later[30] = lambda: answer(world, 200, better=20)
    report = shadow(world)
    assert report.totals.n == 200
    assert report.comparison is not None
    assert report.comparison.difference == pytest.approx(0.1)
    assert "180 of 200 answers agree" in report.reason


def test_without_traffic_it_says_so(world: TrialWorld) -> None:
    assert "no traffic came" in shadow(world).reason


def test_it_moves_no_alias_and_no_stage(world: TrialWorld) -> None:
    shadow(world)
    assert world.registry.aliases(MODEL) == {"champion": 1}
    assert world.stage() is Stage.ACCEPTED


def test_a_shadow_that_is_interrupted_leaves_no_split(world: TrialWorld) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    world.later[30] = interrupt
    with pytest.raises(KeyboardInterrupt):
        shadow(world)
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE


def test_another_champion_than_named_is_refused(world: TrialWorld) -> None:
    world.registry.set_alias(MODEL, "champion", 2)
    with pytest.raises(ConflictError):
        shadow(world)
