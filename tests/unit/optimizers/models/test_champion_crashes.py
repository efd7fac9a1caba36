"""A promotion or rollback whose process dies at any point: the next one ends it the same way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from optimizers.execution import run_action
from optimizers.models.facts import TARGET, ModelFacts
from optimizers.models.watching import Quality
from registry.agent_records import ActionState, Proposal
from registry.records import Stage
from tests.services.model_actions import ModelActions
from tests.services.small_predictor import SmallPredictor, small_predictor
from tests.services.trial_world import MODEL, TrialWorld

# The points of the action, of the life-cycle's promotion, and of the mover of aliases.
ACTION = ("claimed", "intent", "prepared", "applying", "effect done", "applied", "verifying")
PROMOTION = ("checked", "promoting", "moved", "former retired", "crowned")
ROLLBACK = ("way back noted", "moved", "former retired", "crowned")
_MOVES = ("intent", "compared", "written", "verified", "done")
MOVER = tuple(f"champion:{point}" for point in _MOVES)


class Killed(BaseException):
    """The process is gone."""


class Trap:
    """Kills at one point, once."""

    def __init__(self, point: str) -> None:
        self.point: str | None = point

    def __call__(self, point: str) -> None:
        if point == self.point:
            self.point = None
            raise Killed


@pytest.fixture
def trap(request: pytest.FixtureRequest) -> Trap:
    return Trap(request.param)


def dies_at(*points: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("trap", points, indirect=True)


@pytest.fixture
def world(tmp_path: Path, trap: Trap) -> Iterator[TrialWorld]:
    made = TrialWorld(tmp_path, checkpoint=trap)
    made.registry.add(MODEL, 1)
    made.desk.lifecycle.put(MODEL, 1, None, Stage.ACCEPTED, "passed")
    yield made
    made.engine.dispose()


@pytest.fixture
def predictor(world: TrialWorld) -> Iterator[SmallPredictor]:
    with small_predictor(world.registry) as running:
        yield running


@dies_at(*ACTION, *PROMOTION, *MOVER)
@pytest.mark.parametrize("follows", [True, False], ids=["served", "not served"])
def test_the_next_process_ends_what_a_dead_one_began(
    world: TrialWorld, predictor: SmallPredictor, trap: Trap, follows: bool
) -> None:
    if not follows:
        predictor.stuck[MODEL] = 7
    actions = ModelActions(world, predictor)
    (proposal,) = actions.proposals()
    with pytest.raises(Killed):
        actions.run_on(replace(actions.desk(), checkpoint=trap), proposal)
    assert trap.point is None
    world.clock.advance(2 * actions.settings.agent.lease_seconds)
    done = run_action(actions.desk(), "action-1", "the next")
    if follows:
        assert done.state is ActionState.COMPLETED, done.reason
        assert world.registry.aliases(MODEL) == {"champion": 1}
        assert world.stage(1) is Stage.CHAMPION
    else:
        assert done.state is ActionState.ROLLED_BACK, done.reason
        assert world.registry.aliases(MODEL) == {}
        assert world.stage(1) is Stage.STOPPED
    assert not world.desk.moves.recover(MODEL)


@dies_at("intent", "effect done", *ROLLBACK, *MOVER, *(f"previous:{point}" for point in _MOVES))
@pytest.mark.parametrize("follows", [True, False], ids=["served", "not served"])
def test_a_rollback_that_died_swaps_the_two_versions_once(
    world: TrialWorld, predictor: SmallPredictor, trap: Trap, follows: bool
) -> None:
    actions = ModelActions(world, predictor)
    proposal = rollback_proposal(world, actions)
    if not follows:
        predictor.stuck[MODEL] = 7
    with pytest.raises(Killed):
        actions.run_on(replace(actions.desk(), checkpoint=trap), proposal)
    assert trap.point is None
    world.clock.advance(2 * actions.settings.agent.lease_seconds)
    done = run_action(actions.desk(), "action-1", "the next")
    stages = (world.stage(1), world.stage(2))
    if follows:
        assert done.state is ActionState.COMPLETED, done.reason
        assert world.registry.aliases(MODEL) == {"champion": 1, "previous": 2}
        assert stages == (Stage.CHAMPION, Stage.STOPPED)
    else:
        assert done.state is ActionState.ROLLED_BACK, done.reason
        assert world.registry.aliases(MODEL) == {"champion": 2, "previous": 1}
        assert stages == (Stage.STOPPED, Stage.CHAMPION)


def rollback_proposal(world: TrialWorld, actions: ModelActions) -> Proposal:
    """Version 2 leads, version 1 led before; late labels ask for the way back."""
    world.registry.add(MODEL, 2, champion=2, previous=1)
    world.desk.lifecycle.put(MODEL, 1, Stage.ACCEPTED, Stage.RETIRED, "replaced")
    world.desk.lifecycle.put(MODEL, 2, None, Stage.CHAMPION, "won")
    facts = actions.view().facts[TARGET]
    assert isinstance(facts, ModelFacts)
    worse = replace(facts.views[MODEL], quality=Quality(worse_than_former="worse on late labels"))
    (found,) = actions.proposals(replace(facts, views={MODEL: worse}))
    return found
