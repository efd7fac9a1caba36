"""Whatever people, clocks, crashes and metrics do, in whatever order: an action's rules hold."""

from __future__ import annotations

import logging
import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import JsonValue

from config.clock import ManualClock, epoch
from config.errors import ConflictError
from config.ids import SeededIds
from optimizers.execution import run_action
from optimizers.execution_steps import STEPS
from registry.agent_records import Action, ActionState, Verdict
from registry.ledger.events import EventLog
from tests.property.agent_toys import (
    KNOB,
    MOST_AN_HOUR,
    MOST_RUNNING,
    Killed,
    Toys,
    ToyTarget,
    toy_action,
)

_NAMES = ("a", "b", "c", "d", "e")
_PAIRED = ("d", "e")
"""The targets whose actions are measured in pairs."""

_LEASE_S = 31.0
_targets = st.sampled_from(_NAMES)
_goals = st.sampled_from(["v_ms", "w_ms", "x_ms", "y_ms", "z_ms"])
_mostly = st.sampled_from([True, True, True, False])
# Half of the processes live; the others die at one of their first points, of which an action that
# goes well has some twenty, and one in pairs some sixty.
_deaths = st.one_of(st.just(0), st.integers(1, 24), st.just(0), st.integers(1, 60))


class AgentMachine(RuleBasedStateMachine):
    """The agent's actions, and everything that can happen around them."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.folder = Path(tempfile.mkdtemp(prefix="prime-spark-machine-"))
        self.clock = ManualClock(datetime(2025, 6, 1, tzinfo=UTC))
        self.ids = SeededIds(1)
        self.toys = Toys(self.folder, self.clock, _NAMES)
        self.values = 0
        self.approved: set[str] = set()
        self.paused_writes: int | None = None

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            self.toys.engine.dispose()
            shutil.rmtree(self.folder)
            logging.disable(logging.NOTSET)

    @rule(name=_targets, goal=_goals, dies_at=_deaths)
    def propose_and_begin(self, name: str, goal: str, dies_at: int) -> None:
        self.work_on(self.propose(name, goal, critical=False), dies_at)

    @rule(name=_targets, goal=_goals)
    def propose_what_is_critical(self, name: str, goal: str) -> None:
        self.propose(name, goal, critical=True)

    @precondition(lambda self: self.of(ActionState.WAITING_APPROVAL))
    @rule(data=st.data(), yes=_mostly, same=_mostly, dies_at=_deaths)
    def decide(self, data: st.DataObject, yes: bool, same: bool, dies_at: int) -> None:
        action = data.draw(st.sampled_from(self.of(ActionState.WAITING_APPROVAL)))
        digest = action.proposal.digest if same else "0" * 64
        with suppress(ConflictError):
            self.toys.approvals.decide(action.id, digest, yes, "a person", "cli", expires_s=3600)
            assert same, "a decision on another proposal was taken"
            assert action.id not in self.approved, "it was decided twice"
            if yes:
                self.approved.add(action.id)
        self.work_on(action.id, dies_at)

    @precondition(lambda self: self.of(*STEPS))
    @rule(data=st.data(), dies_at=_deaths, waits=_mostly)
    def tick(self, data: st.DataObject, dies_at: int, waits: bool) -> None:
        if waits:
            self.clock.advance(_LEASE_S)
        self.work_on(data.draw(st.sampled_from(self.of(*STEPS))).id, dies_at)

    @rule(name=_targets, does=st.sampled_from(["turn", "release", "pause", "resume", "resume"]))
    def person(self, name: str, does: str) -> None:
        control = self.toys.control
        match does:
            case "turn":
                self.toys.targets[name].value = self.new_value()
            case "release":
                control.release_knob(name, KNOB, "a person")
            case "pause":
                control.pause("a person", "to see")
                self.paused_writes = self.forward_writes()
            case _:
                control.resume("a person")
                self.paused_writes = None

    @rule(name=_targets, verdict=st.sampled_from([None, *Verdict]))
    def metric_moves(self, name: str, verdict: Verdict | None) -> None:
        self.toys.verdicts[name] = verdict

    @rule(seconds=st.sampled_from([1.0, 60.0, 900.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-7200.0, -30.0, 30.0, 7200.0]))
    def clock_jumps(self, seconds: float) -> None:
        self.clock.step_wall(seconds)

    @invariant()
    def limits_hold(self) -> None:
        running = [action for action in self.toys.actions.live() if action.state.in_flight]
        assert len(running) <= MOST_RUNNING
        domains = [domain for action in running for domain in action.proposal.domains]
        assert len(domains) == len(set(domains)), "two that conflict are in flight"
        hour_ago = epoch(self.clock.now()) - 3600
        assert self.toys.actions.started_since(hour_ago) <= MOST_AN_HOUR

    @invariant()
    def nothing_critical_began_without_its_approval(self) -> None:
        for action in self.all():
            if action.executed_at is not None and action.decision.approval:
                assert action.id in self.approved
                assert action.approval_id is not None

    @invariant()
    def a_pause_lets_nothing_new_happen(self) -> None:
        if self.paused_writes is not None:
            assert self.forward_writes() == self.paused_writes

    @invariant()
    def nothing_is_tried_on_what_a_person_has_set(self) -> None:
        assert [toy.complaints for toy in self.toys.targets.values() if toy.complaints] == []

    @invariant()
    def every_write_is_of_an_action_that_was_begun_and_is_made_once(self) -> None:
        made = [write for toy in self.toys.targets.values() for write in toy.writes]
        once = [write for toy in self.toys.targets.values() for write in _once(toy)]
        assert len(once) == len(set(once)), "a write was made twice"
        begun = [action for action in self.all() if action.executed_at is not None]
        changes = [action.proposal.change for action in begun]
        there = {(change.before, change.after) for change in changes if change is not None}
        assert set(made) <= there | {(after, before) for before, after in there}

    @invariant()
    def only_what_helped_is_kept(self) -> None:
        for action in self.all():
            if action.state is ActionState.COMPLETED:
                assert action.effect is not None
                assert action.effect.verdict is Verdict.IMPROVED
                assert len(self.writes_of(action)) % 2 == 1
            if action.state is ActionState.ROLLED_BACK:
                assert len(self.writes_of(action)) % 2 == 0
            if action.state in {ActionState.EXPIRED, ActionState.REJECTED}:
                assert self.writes_of(action) == []

    @invariant()
    def what_is_measured_in_pairs_is_switched_to_and_fro(self) -> None:
        for action in self.all():
            assert all(one != other for one, other in pairwise(self.writes_of(action)))

    def come_to_rest(self) -> None:
        """After two more ticks, undisturbed, nothing that was begun is still in the air."""
        for _ in range(2):
            self.clock.advance(_LEASE_S)
            for action in self.toys.actions.live():
                with suppress(ConflictError):
                    run_action(self.toys.desk(0), action.id, self.ids.new("holder"))
        assert [one for one in self.toys.actions.live() if one.state.in_flight] == []
        self.only_what_helped_is_kept()
        assert EventLog(self.toys.engine, self.clock).verify().ok

    def propose(self, name: str, goal: str, *, critical: bool) -> str:
        at, toy = epoch(self.clock.now()), self.toys.targets[name]
        new = self.ids.new("action")
        value, paired = self.new_value(), name in _PAIRED
        action = toy_action(new, toy, value, goal, at, critical=critical, paired=paired)
        return self.toys.actions.propose(action).id

    def work_on(self, action_id: str, dies_at: int) -> None:
        with suppress(ConflictError, Killed):
            run_action(self.toys.desk(dies_at), action_id, self.ids.new("holder"))

    def of(self, *states: ActionState) -> list[Action]:
        return [action for action in self.toys.actions.live() if action.state in states]

    def new_value(self) -> int:
        self.values += 1
        return self.values

    def all(self) -> list[Action]:
        return self.toys.actions.live() + self.toys.actions.finished_since(0.0)

    def writes_of(self, action: Action) -> list[tuple[JsonValue, JsonValue]]:
        """Its change, made and taken back; no other action has these values."""
        change = action.proposal.change
        assert change is not None
        made = self.toys.targets[action.proposal.target].writes
        there = (change.before, change.after)
        return [write for write in made if write in {there, there[::-1]}]

    def forward_writes(self) -> int:
        """How many writes were no way back: values only ever grow."""
        made = [write for toy in self.toys.targets.values() for write in toy.writes]
        return sum(int(str(after)) > int(str(before)) for before, after in made)


def _once(toy: ToyTarget) -> list[tuple[JsonValue, JsonValue]]:
    """The writes that may be made once only."""
    return [] if toy.name in _PAIRED else toy.writes


TestAgent = AgentMachine.TestCase
TestAgent.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
