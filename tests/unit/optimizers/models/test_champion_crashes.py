"""A promotion whose process dies at any point: the next one brings it to the same end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from optimizers.execution import run_action
from registry.agent_records import ActionState
from registry.records import Stage
from tests.services.model_actions import ModelActions
from tests.services.small_predictor import SmallPredictor, small_predictor
from tests.services.trial_world import MODEL, TrialWorld

# The points of the action, of the life-cycle's promotion, and of the mover of aliases.
ACTION = ("claimed", "intent", "prepared", "applying", "effect done", "applied", "verifying")
PROMOTION = ("checked", "promoting", "moved", "former retired", "crowned")
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


@pytest.fixture(params=[*ACTION, *PROMOTION, *MOVER])
def trap(request: pytest.FixtureRequest) -> Trap:
    return Trap(request.param)


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
