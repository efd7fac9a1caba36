"""The target `models`: what it reports, and its knobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ConflictError, InputError, RegistryUnavailable, StaleToken
from optimizers.models.agent_target import ModelsTarget
from optimizers.models.facts import ModelFacts, Update
from optimizers.targets.base import Observed
from registry.agent_records import Change
from registry.records import Stage
from tests.services.model_actions import ModelActions
from tests.services.trial_world import MODEL, TrialWorld

KNOB = f"alias:{MODEL}@champion"


class Allowed:
    def check(self) -> None:
        pass


class Stale:
    """Allows the first look, and then another holder has the action."""

    def __init__(self) -> None:
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.asked > 1:
            raise StaleToken("another holder has the action")


@pytest.fixture
def actions(tmp_path: Path) -> Iterator[ModelActions]:
    world = TrialWorld(tmp_path)
    world.registry.add(MODEL, 3, champion=1)
    world.desk.lifecycle.put(MODEL, 1, None, Stage.CHAMPION, "the first")
    yield ModelActions(world)
    world.engine.dispose()


def look(actions: ModelActions, timeout_s: float = 5.0) -> Observed:
    return actions.target.observe(1.0, timeout_s)


def test_it_tells_every_model_and_counts_its_versions(actions: ModelActions) -> None:
    actions.world.registry.add("other", 1)
    seen = look(actions)
    assert isinstance(seen.facts, ModelFacts)
    assert sorted(seen.facts.views) == ["other", MODEL]
    counts = {one.labels: one.value for one in seen.observations if one.metric == "model_versions"}
    assert counts == {(("model", MODEL),): 3.0, (("model", "other"),): 1.0}


def test_what_there_was_no_time_for_comes_first_the_next_time(actions: ModelActions) -> None:
    actions.world.registry.add("other", 1)
    late = look(actions, 0.0)
    assert late.troubles == ("no time was left for 2 models",)
    assert late.observations == ()
    assert len(look(actions).observations) == 2


def test_a_registry_that_is_away_is_an_error(actions: ModelActions) -> None:
    actions.world.registry.fail()
    with pytest.raises(RegistryUnavailable):
        look(actions)


def test_an_alias_is_moved_from_the_value_expected_only(actions: ModelActions) -> None:
    assert actions.target.knobs() == [KNOB]
    actions.target.write(Change(KNOB, 1, 2), Allowed())
    actions.target.write(Change(KNOB, 1, 2), Allowed())
    assert actions.target.read(KNOB) == 2
    with pytest.raises(ConflictError):
        actions.target.write(Change(KNOB, 1, 3), Allowed())
    actions.target.write(Change(KNOB, 2, None), Allowed())
    assert actions.target.read(KNOB) is None


def test_whoever_loses_the_action_under_the_lock_moves_nothing(actions: ModelActions) -> None:
    with pytest.raises(StaleToken):
        actions.target.write(Change(KNOB, 1, 2), Stale())
    assert actions.target.read(KNOB) == 1
    assert actions.world.desk.moves.recover(MODEL) == []


def test_a_mark_is_set_and_taken_away(actions: ModelActions) -> None:
    knob = f"retired:{MODEL}/3"
    actions.target.write(Change(knob, False, True), Allowed())
    assert actions.target.read(knob) is True
    actions.target.write(Change(knob, True, False), Allowed())
    assert actions.target.read(knob) is False


@pytest.mark.parametrize("knob", ["", "alias:x", "alias:@champion", "retired:toy", "retired:toy/x"])
def test_other_knobs_are_refused(actions: ModelActions, knob: str) -> None:
    with pytest.raises(InputError):
        actions.target.read(knob)


def test_a_model_that_was_not_seen_has_no_updates(tmp_path: Path) -> None:
    world = TrialWorld(tmp_path)
    world.registry.add(MODEL, 1).add("other", 1)
    found = [Update(MODEL, "a", "folder:a", "a" * 64), Update("other", "b", "folder:b", "b" * 64)]
    actions = ModelActions(world)
    target = ModelsTarget(
        world.desk, actions.settings, lambda _ids: {}, find_updates=lambda _views: found
    )
    world.desk.lifecycle.put("other", 1, None, Stage.ACCEPTED, "passed")
    known = target.observe(1.0, 5.0).facts
    late = target.observe(1.0, 0.0).facts
    assert isinstance(known, ModelFacts)
    assert isinstance(late, ModelFacts)
    assert [one.model for one in known.updates] == [MODEL, "other"]
    assert late.updates == ()
    world.engine.dispose()
