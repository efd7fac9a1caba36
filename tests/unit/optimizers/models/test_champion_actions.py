"""Promotion and rollback as actions: what the registry, the stages and the predictor show after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.clock import epoch
from optimizers.models.facts import ModelFacts
from optimizers.models.watching import Quality
from registry.agent_records import ActionState, Proposal, Verdict
from registry.records import ExposureWindow, Stage, Variant
from tests.services.model_actions import ModelActions
from tests.services.small_predictor import SmallPredictor, small_predictor
from tests.services.trial_world import MODEL, TrialWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TrialWorld]:
    """A model whose first version was accepted; there is no champion yet."""
    made = TrialWorld(tmp_path)
    made.registry.add(MODEL, 2)
    made.desk.lifecycle.put(MODEL, 1, None, Stage.ACCEPTED, "passed")
    yield made
    made.engine.dispose()


@pytest.fixture
def predictor(world: TrialWorld) -> Iterator[SmallPredictor]:
    with small_predictor(world.registry) as running:
        yield running


def only(proposals: list[Proposal], type_: str) -> Proposal:
    (found,) = [one for one in proposals if one.type == type_]
    return found


def serve(world: TrialWorld, version: int, at: float, count: int, errors: int) -> None:
    minute = at - at % 60 + 60
    world.desk.exposures.upsert(
        [
            ExposureWindow(
                "w", MODEL, version, Variant.CHAMPION, None, minute, count, errors, 0, 1.0, 1.0, {}
            )
        ]
    )


def test_a_first_version_becomes_the_champion_and_is_seen_served(
    world: TrialWorld, predictor: SmallPredictor
) -> None:
    actions = ModelActions(world, predictor)
    done = actions.run(only(actions.proposals(), "model_promote"))
    assert (done.state, done.effect and done.effect.verdict) == (
        ActionState.COMPLETED,
        Verdict.IMPROVED,
    )
    assert world.registry.aliases(MODEL) == {"champion": 1}
    assert world.stage(1) is Stage.CHAMPION
    assert [one.type for one in actions.proposals()] == ["model_benchmark"]


def test_a_predictor_that_does_not_follow_takes_the_promotion_back_exactly(
    world: TrialWorld, predictor: SmallPredictor
) -> None:
    actions = ModelActions(world, predictor)
    predictor.stuck[MODEL] = 7
    done = actions.run(only(actions.proposals(), "model_promote"))
    assert done.state is ActionState.ROLLED_BACK
    assert world.registry.aliases(MODEL) == {}
    assert world.stage(1) is Stage.STOPPED


def test_without_a_predictor_nothing_is_verified_and_nothing_stays(world: TrialWorld) -> None:
    actions = ModelActions(world)
    done = actions.run(only(actions.proposals(), "model_promote"))
    assert done.state is ActionState.ROLLED_BACK
    assert done.effect is not None
    assert done.effect.verdict is Verdict.NO_DATA
    assert world.registry.aliases(MODEL) == {}


def test_a_person_who_moves_the_alias_first_is_left_alone(
    world: TrialWorld, predictor: SmallPredictor
) -> None:
    actions = ModelActions(world, predictor)
    proposal = only(actions.proposals(), "model_promote")
    world.registry.set_alias(MODEL, "champion", 2)
    done = actions.run(proposal)
    assert done.state in {ActionState.EXPIRED, ActionState.HANDED_OVER}
    assert world.registry.aliases(MODEL) == {"champion": 2}


def rollback_proposal(world: TrialWorld, actions: ModelActions) -> Proposal:
    """As the plan asks for it after late labels: version 2 leads, version 1 led before."""
    world.registry.set_alias(MODEL, "champion", 2)
    world.registry.set_alias(MODEL, "previous", 1)
    world.desk.lifecycle.put(MODEL, 1, Stage.ACCEPTED, Stage.RETIRED, "replaced")
    world.desk.lifecycle.put(MODEL, 2, None, Stage.CHAMPION, "won")
    facts = actions.view().facts["models"]
    assert isinstance(facts, ModelFacts)
    worse = replace(facts.views[MODEL], quality=Quality(worse_than_former="worse on late labels"))
    return only(actions.proposals(replace(facts, views={MODEL: worse})), "model_rollback")


def test_a_rollback_brings_the_former_champion_back(
    world: TrialWorld, predictor: SmallPredictor
) -> None:
    actions = ModelActions(world, predictor)
    done = actions.run(rollback_proposal(world, actions))
    assert done.state is ActionState.COMPLETED, done.reason
    assert world.registry.aliases(MODEL) == {"champion": 1, "previous": 2}
    assert (world.stage(1), world.stage(2)) == (Stage.CHAMPION, Stage.STOPPED)


def test_a_champion_that_fails_its_requests_is_taken_back(
    world: TrialWorld, predictor: SmallPredictor
) -> None:
    actions = ModelActions(world, predictor)
    proposal = rollback_proposal(world, actions)
    now = epoch(world.clock.now())
    serve(world, 2, now - 600, 2000, 2)
    serve(world, 1, now, 500, 100)
    done = actions.run(proposal)
    assert done.state is ActionState.ROLLED_BACK
    assert done.effect is not None
    assert done.effect.worsened == ("error_rate",)
    assert world.registry.aliases(MODEL) == {"champion": 2, "previous": 1}
    assert (world.stage(1), world.stage(2)) == (Stage.STOPPED, Stage.CHAMPION)


def test_a_pause_before_the_move_leaves_stages_and_aliases_as_they_were(
    world: TrialWorld, predictor: SmallPredictor
) -> None:
    actions = ModelActions(world, predictor)
    proposal = only(actions.proposals(), "model_promote")

    def pause_at(point: str) -> None:
        if point == "prepared":
            actions.control.pause("ana", "stop")

    done = actions.run_on(replace(actions.desk(), checkpoint=pause_at), proposal)
    assert done.state is ActionState.ROLLED_BACK
    assert world.registry.aliases(MODEL) == {}
    assert world.stage(1) is Stage.ACCEPTED
