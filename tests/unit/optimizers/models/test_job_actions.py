"""Benchmarks, A/B tests, retraining, updates, deployments and retirement as actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from optimizers.capability import JobState
from optimizers.models.capabilities.model_deploy import DEPLOYED
from optimizers.models.facts import ModelFacts, Placed, PlaceState, Update
from optimizers.models.watching import Quality
from registry.agent_records import ActionState, Proposal, Verdict
from registry.records import MetricTotals, Stage
from tests.services.model_actions import ModelActions
from tests.services.small_predictor import SmallPredictor, small_predictor
from tests.services.trial_world import MODEL, TrialWorld

NEWER = "d" * 64


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TrialWorld]:
    """Version 1 leads; version 2 is new."""
    made = TrialWorld(tmp_path)
    made.registry.add(MODEL, 2, champion=1)
    made.desk.lifecycle.put(MODEL, 1, None, Stage.CHAMPION, "the first")
    yield made
    made.engine.dispose()


@pytest.fixture
def predictor(world: TrialWorld) -> Iterator[SmallPredictor]:
    with small_predictor(world.registry) as running:
        yield running


def the_one(proposals: list[Proposal]) -> Proposal:
    (found,) = proposals
    return found


def facts_with(actions: ModelActions, **changes: object) -> ModelFacts:
    facts = actions.view().facts["models"]
    assert isinstance(facts, ModelFacts)
    return replace(facts, **changes)  # type: ignore[arg-type]


def test_a_new_version_is_benchmarked_and_its_rejection_is_no_failure(world: TrialWorld) -> None:
    actions = ModelActions(world)
    proposal = the_one(actions.proposals())
    assert (proposal.type, proposal.subject) == ("model_benchmark", MODEL)
    world.desk.lifecycle.put(MODEL, 2, None, Stage.BENCHMARKING, "measured")
    world.desk.lifecycle.put(MODEL, 2, Stage.BENCHMARKING, Stage.REJECTED, "too slow")
    actions.jobs.start("", {}, proposal.key)
    done = actions.run(proposal)
    assert done.state is ActionState.COMPLETED
    assert done.effect is not None
    assert done.effect.reason == "version 2 is rejected: too slow"
    assert done.effect.gain is None


def test_a_job_gets_the_parameters_of_its_flow_under_the_key_of_the_step(world: TrialWorld) -> None:
    actions = ModelActions(world)
    proposal = the_one(actions.proposals())
    actions.run(proposal)
    assert actions.jobs.started == {
        proposal.key: ("benchmark/prime-spark", {"model": MODEL, "version": 2})
    }


def test_a_job_nobody_needs_any_more_is_not_started(world: TrialWorld) -> None:
    actions = ModelActions(world)
    proposal = the_one(actions.proposals())
    world.desk.lifecycle.put(MODEL, 2, None, Stage.ACCEPTED, "benchmarked by hand")
    done = actions.run(proposal)
    assert done.state is ActionState.EXPIRED
    assert actions.jobs.started == {}


def test_a_failed_job_teaches_and_a_cancelled_one_does_not(world: TrialWorld) -> None:
    actions = ModelActions(world)
    proposal = the_one(actions.proposals())
    actions.jobs.ends = JobState.FAILED
    failed = actions.run(proposal)
    assert failed.effect is not None
    assert failed.effect.verdict is Verdict.INCONCLUSIVE
    actions.jobs.started.clear()
    actions.jobs.ends = JobState.CANCELLED
    cancelled = actions.run(proposal, "action-2")
    assert cancelled.effect is not None
    assert cancelled.effect.verdict is Verdict.NO_DATA


def test_a_pause_ends_a_job_under_way(world: TrialWorld) -> None:
    actions = ModelActions(world)
    proposal = the_one(actions.proposals())
    actions.jobs.ends = JobState.RUNNING
    desk = actions.desk()

    def pause_soon(seconds: float) -> None:
        world.clock.advance(seconds)
        if actions.jobs.started:
            actions.control.pause("ana", "stop")

    paused = replace(desk, tools=replace(desk.tools, wait=pause_soon))
    done = actions.run_on(paused, proposal)
    assert done.state is ActionState.ROLLED_BACK
    assert actions.jobs.cancelled == [proposal.key]


def test_an_accepted_version_goes_on_trial(world: TrialWorld) -> None:
    world.desk.lifecycle.put(MODEL, 2, None, Stage.ACCEPTED, "passed")
    actions = ModelActions(world)
    proposal = the_one(actions.proposals())
    assert proposal.type == "ab_test"
    assert proposal.parameters["traffic_split"] == 0.1
    done = actions.run(proposal)
    assert done.effect is not None
    assert done.effect.reason.startswith("the test has no verdict")


def test_a_degraded_champion_is_retrained_only_with_somebody_to_train_it(
    world: TrialWorld,
) -> None:
    world.desk.lifecycle.put(MODEL, 2, None, Stage.REJECTED, "too slow")
    low = Quality(recent=MetricTotals(200, 100.0, 100.0))
    for entrypoint, wanted in ((None, []), ("train:me", ["model_retrain"])):
        models = {"driver": "agent", "retrain_entrypoint": entrypoint}
        actions = ModelActions(world, overrides={"models": models})
        views = facts_with(actions).views
        facts = facts_with(actions, views={MODEL: replace(views[MODEL], quality=low)})
        assert [one.type for one in actions.proposals(facts)] == wanted
    proposal = the_one(actions.proposals(facts))
    vain = actions.run(proposal)
    assert vain.effect is not None
    assert vain.effect.verdict is Verdict.INCONCLUSIVE
    world.registry.add(MODEL, 3, champion=1)
    made = actions.run(proposal, "action-2")
    assert made.state is ActionState.COMPLETED


def test_with_watch_models_driving_the_life_cycle_steps_are_left_to_it(world: TrialWorld) -> None:
    actions = ModelActions(world, overrides={"models": {"driver": "watch"}})
    assert actions.proposals() == []


def test_a_refused_file_is_a_finding_and_no_proposal(world: TrialWorld) -> None:
    actions = ModelActions(world, overrides={"models": {"driver": "watch"}})
    refused = Update(MODEL, "drop/toy/a.pkl", "drop/toy/a.pkl", "", "a.pkl is a pickle, not ONNX")
    good = Update(MODEL, "drop/toy/b.onnx", "drop/toy/b.onnx", NEWER)
    facts = facts_with(actions, updates=(refused, good))
    proposal = the_one(actions.proposals(facts))
    assert proposal.type == "model_update"
    assert proposal.parameters["digest"] == NEWER
    done = actions.run(proposal)
    assert done.effect is not None
    assert done.effect.verdict is Verdict.INCONCLUSIVE


def test_a_place_that_cannot_be_reached_is_told_and_left(world: TrialWorld) -> None:
    actions = ModelActions(world, overrides={"models": {"driver": "watch"}})
    away = Placed("berlin", MODEL, 1, None, PlaceState.UNREACHABLE, "no answer")
    behind = Placed("kiel", MODEL, 1, None, PlaceState.BEHIND, "has nothing yet")
    proposal = the_one(actions.proposals(facts_with(actions, places=(away, behind))))
    assert (proposal.type, proposal.parameters["place"]) == ("model_deploy", "kiel")
    world.desk.events.append(
        None, DEPLOYED, MODEL, {"place": "kiel", "version": 1, "reason": "it serves version 1"}
    )
    done = actions.run(proposal)
    assert done.state is ActionState.COMPLETED


def test_the_oldest_spare_version_is_retired_once_nobody_serves_it(
    world: TrialWorld, predictor: SmallPredictor
) -> None:
    world.registry.add(MODEL, 6, champion=6, previous=5)
    models = {"driver": "watch", "keep_versions": 2}
    actions = ModelActions(world, predictor, overrides={"models": models})
    for version in range(2, 6):
        world.desk.lifecycle.put(MODEL, version, None, Stage.RETIRED, "replaced")
    world.desk.lifecycle.put(MODEL, 6, None, Stage.CHAMPION, "won")
    world.desk.lifecycle.put(MODEL, 1, Stage.CHAMPION, Stage.RETIRED, "replaced")
    proposal = the_one(actions.proposals())
    assert proposal.change is not None
    assert proposal.change.knob == f"retired:{MODEL}/1"
    done = actions.run(proposal)
    assert done.state is ActionState.COMPLETED, done.reason
    assert [v for v in range(1, 7) if world.registry.is_retired(MODEL, v)] == [1]
    predictor.stuck[MODEL] = 2
    assert actions.proposals() == []
