"""Carrying an action out where nobody is killed; `tests/crash` kills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from config.clock import epoch
from config.errors import ConflictError, HandedOver, InputError, UnavailableError
from config.settings import AgentSettings, SafetySettings, Settings
from optimizers.capability import Seen, Tools
from optimizers.execution import ActionDesk, run_action
from optimizers.targets.base import Guard
from registry.agent_records import Action, ActionState, Change, Verdict
from tests.crash.agent_world import (
    ACTION,
    DECISION,
    AgentWorld,
    ScriptedKnob,
    ToyCapability,
    proposal_of,
)
from tests.crash.toys import AFTER, BEFORE, KNOB, PERSONS, TARGET, Case

PLAIN = Case("plain", frozenset())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AgentWorld]:
    (tmp_path / "world").mkdir()
    world = AgentWorld(tmp_path / "world", PLAIN)
    world.propose()
    yield world
    world.close()


def with_safety(desk: ActionDesk, **safety: bool) -> ActionDesk:
    return replace(desk, settings=Settings(safety=SafetySettings(**safety)))


def with_effects(desk: ActionDesk, effects: ScriptedKnob) -> ActionDesk:
    return replace(desk, capabilities={"toy_change": ToyCapability(effects)})


def test_an_unknown_action_is_an_error(world: AgentWorld) -> None:
    with pytest.raises(InputError, match="there is no action nowhere"):
        run_action(world.desk(), "nowhere", "me")


def test_the_intent_says_how_to_do_it_and_how_to_undo_it(world: AgentWorld) -> None:
    done = world.run("me")
    change = {"knob": KNOB, "before": BEFORE, "after": AFTER}
    assert done.intent["change"] == change
    assert done.intent["undo"] == {"knob": KNOB, "value": BEFORE}
    assert done.intent["digest"] == done.proposal.digest
    assert done.intent["deadline_at"] == done.deadline_at


def test_another_live_holder_keeps_the_action(world: AgentWorld) -> None:
    world.actions.claim(ACTION, "another", 60)
    with pytest.raises(ConflictError, match="is held by another"):
        world.run("me")
    assert world.knobs.value() == BEFORE


def test_simulation_changes_nothing_and_says_so(world: AgentWorld) -> None:
    done = run_action(with_safety(world.desk(), simulation_mode=True), ACTION, "me")
    assert done.state is ActionState.SIMULATED
    assert world.knobs.value() == BEFORE
    assert world.knobs.journal.lines() == []


def test_without_automatic_actions_even_a_scheduled_one_waits(world: AgentWorld) -> None:
    desk = with_safety(world.desk(), enable_automatic_actions=False)
    waiting = run_action(desk, ACTION, "me")
    assert waiting.state is ActionState.WAITING_APPROVAL
    assert run_action(desk, ACTION, "me").state is ActionState.WAITING_APPROVAL
    assert world.knobs.value() == BEFORE


def test_an_approval_that_came_late_waits_for_the_maintenance_window(world: AgentWorld) -> None:
    desk = world.desk()
    now = desk.clock.now()
    begin, end = now + timedelta(hours=2), now + timedelta(hours=3)
    agent = AgentSettings(maintenance_windows=(f"{begin:%H:%M}-{end:%H:%M}",))
    closed = replace(desk, settings=Settings(agent=agent))
    assert run_action(closed, ACTION, "me").state is ActionState.SCHEDULED
    assert world.knobs.value() == BEFORE


def test_a_paused_agent_begins_nothing(world: AgentWorld) -> None:
    world.control.pause("a person", "to see")
    assert world.run("me").state is ActionState.SCHEDULED
    world.control.resume("a person")
    assert world.run("me").state is ActionState.COMPLETED


def test_an_action_waits_for_its_time(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    world = AgentWorld(tmp_path / "world", PLAIN)
    now = epoch(world.clock.now())
    state = ActionState.SCHEDULED
    action = Action(ACTION, proposal_of(PLAIN), DECISION, state, "", now, now, due_at=now + 60)
    world.actions.propose(action)
    assert world.run("me").state is ActionState.SCHEDULED
    world.clock.advance(60)
    assert world.run("me").state is ActionState.COMPLETED
    world.close()


def test_an_action_waits_for_a_limit(world: AgentWorld) -> None:
    desk = world.desk()
    agent = desk.settings.agent.model_copy(update={"changes_per_hour": 0})
    full = replace(desk, settings=desk.settings.model_copy(update={"agent": agent}))
    assert run_action(full, ACTION, "me").state is ActionState.SCHEDULED
    assert world.knobs.value() == BEFORE


def test_a_knob_a_person_holds_is_left_alone(world: AgentWorld) -> None:
    world.control.hold_knob(TARGET, KNOB, "a person turned it")
    done = world.run("me")
    assert done.state is ActionState.EXPIRED
    assert "a person turned it" in done.reason


def test_what_somebody_else_has_done_already_is_not_ours(world: AgentWorld) -> None:
    world.knobs.turn(AFTER)
    done = world.run("me")
    assert done.state is ActionState.EXPIRED
    assert done.executed_at is None


def again(world: AgentWorld, before: int, after: int) -> Action:
    """Carry out a second action on the knob, proposed for the value it has now."""
    world.clock.advance(7200)
    now = epoch(world.clock.now())
    first = proposal_of(PLAIN)
    proposal = replace(first, advice_id="advice-2", change=Change(KNOB, before, after))
    state = ActionState.SCHEDULED
    world.actions.propose(Action("action-2", proposal, DECISION, state, "", now, now))
    return run_action(world.desk(), "action-2", "me")


def test_a_knob_the_agent_left_it_may_turn_again(world: AgentWorld) -> None:
    world.run("me")
    assert again(world, AFTER, 32).state is ActionState.COMPLETED
    assert world.knobs.value() == 32


def test_a_knob_a_person_turned_since_is_left_alone_until_released(world: AgentWorld) -> None:
    world.run("me")
    world.knobs.turn(PERSONS)
    done = again(world, PERSONS, 32)
    assert done.state is ActionState.EXPIRED
    assert "another hand has set it to 99 since" in done.reason
    assert world.knobs.value() == PERSONS
    assert (TARGET, KNOB) in world.control.held()


def test_a_knob_that_was_released_is_turned_again(world: AgentWorld) -> None:
    world.run("me")
    world.knobs.turn(PERSONS)
    world.control.hold_knob(TARGET, KNOB, "a person turned it")
    world.clock.advance(1)
    world.control.release_knob(TARGET, KNOB, "the person")
    assert again(world, PERSONS, 32).state is ActionState.COMPLETED


def test_without_its_capability_a_scheduled_action_fails(world: AgentWorld) -> None:
    done = run_action(replace(world.desk(), capabilities={}), ACTION, "me")
    assert done.state is ActionState.FAILED
    assert "no capability 'toy_change' is installed" in done.reason


def test_without_its_capability_an_action_in_flight_is_handed_over(world: AgentWorld) -> None:
    class Gone(BaseException):
        pass

    def die(point: str) -> None:
        if point == "applied":
            raise Gone

    with pytest.raises(Gone):
        run_action(replace(world.desk(), checkpoint=die), ACTION, "me")
    done = run_action(replace(world.desk(), capabilities={}), ACTION, "me")
    assert done.state is ActionState.HANDED_OVER
    assert world.knobs.value() == AFTER


def test_whatever_a_capability_raises_its_action_ends_safely(world: AgentWorld) -> None:
    class Broken(ScriptedKnob):
        def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
            super().apply(action, guard, tools)
            raise KeyError("a mistake of its author")

        def verify(self, action: Action, tools: Tools) -> None:  # noqa: ARG002 - as the seam
            raise ZeroDivisionError("another one")

    done = run_action(with_effects(world.desk(), Broken(PLAIN)), ACTION, "me")
    assert done.state is ActionState.ROLLED_BACK
    assert "ZeroDivisionError: another one" in done.reason
    assert world.knobs.value() == BEFORE


def test_effects_in_doubt_hand_the_action_over(world: AgentWorld) -> None:
    class Doubtful(ScriptedKnob):
        def look(self, action: Action, tools: Tools) -> Seen:
            if world.knobs.value() == AFTER:
                raise HandedOver("two values at once; a person has to look")
            return super().look(action, tools)

    done = run_action(with_effects(world.desk(), Doubtful(PLAIN)), ACTION, "me")
    assert (done.state, done.reason) == (
        ActionState.HANDED_OVER,
        "two values at once; a person has to look",
    )


def test_an_action_that_could_not_be_published_is_published_later(world: AgentWorld) -> None:
    def away(_action: Action) -> str:
        raise UnavailableError("MLflow is away")

    done = run_action(replace(world.desk(), publish=away), ACTION, "me")
    assert (done.state, done.run_id) == (ActionState.COMPLETED, None)
    assert world.run("me").run_id == f"run-of-{ACTION}"
    published = len(world.published.lines())
    world.run("me")
    assert len(world.published.lines()) == published


def test_the_lease_is_given_back_at_the_end(world: AgentWorld) -> None:
    world.control.pause("a person", "to see")
    left = world.run("me")
    found = world.actions.get(ACTION)
    assert left.state is ActionState.SCHEDULED
    assert found is not None
    assert found.holder is None


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_stepped_clock_neither_hangs_nor_harms_an_action(tmp_path: Path, step: float) -> None:
    (tmp_path / "world").mkdir()
    world = AgentWorld(tmp_path / "world", PLAIN)
    world.propose()

    def jump(point: str) -> None:
        if point == "applied":
            world.clock.step_wall(step)

    done = run_action(replace(world.desk(), checkpoint=jump), ACTION, "me")
    assert done.state is ActionState.COMPLETED
    assert done.effect is not None
    assert done.effect.verdict is Verdict.IMPROVED
    assert world.clock.monotonic() < 120
    world.close()
