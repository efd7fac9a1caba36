"""Random lives of actions on a real ledger, and what must hold after each of their steps.

A schedule is a random sequence of planning, approving, starting, ending and waiting, by the real
planner and the real stores, on a fresh set of actions. After each step the ledger is read.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Engine, delete

from config.clock import ManualClock, epoch
from config.errors import ConflictError
from config.ids import SeededIds
from config.settings import AgentSettings, Settings
from optimizers.planning import plan_cycle
from optimizers.view import View
from registry.agent_actions import ActionStore
from registry.agent_approvals import ApprovalStore
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Estimate,
    Priority,
    Proposal,
    StartLimits,
)
from registry.ledger.agent_schema import actions, approvals
from registry.ledger.database import writing
from tests.services.agent_samples import SampleCapability, proposal

S = ActionState
MOST_RUNNING = 3
STEPS = 14
_START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
_IN_FLIGHT = [state for state in S if state.in_flight]


@dataclass
class Tally:
    """What a run of schedules came to; `violations` are sentences."""

    schedules: int = 0
    steps: int = 0
    planned: int = 0
    started: int = 0
    approved: int = 0
    most_running: int = 0
    started_with_approval: int = 0
    violations: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


class RandomWorld:
    """One ledger on which schedules are played, one after the other."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._random = random.Random(seed)
        self._clock = ManualClock(_START)
        self._ids = SeededIds(seed)
        self._store = ActionStore(engine, self._clock)
        self._approvals = ApprovalStore(engine, self._clock)
        self._settings = Settings(agent=AgentSettings(cooldown_seconds=600.0, changes_per_hour=3))
        self._limits = _limits(self._settings)
        self._known: dict[str, Action] = {}
        self.tally = Tally()

    def play(self) -> None:
        """Play one schedule on an empty set of actions."""
        with writing(self._engine) as connection:
            connection.execute(delete(actions))
            connection.execute(delete(approvals))
        self._known.clear()
        steps = (self._plan, self._approve, self._begin, self._end, self._wait)
        self._plan()
        for _ in range(STEPS):
            # Many want to begin and few end, so that every limit is run into.
            self._random.choices(steps, (2, 4, 5, 2, 1))[0]()
            self.tally.steps += 1
        self.tally.schedules += 1

    def _plan(self) -> None:
        now = epoch(self._clock.now())
        capability = SampleCapability(
            [_some_proposal(self._random) for _ in range(self._random.randint(1, 6))]
        )
        result = plan_cycle(
            View(at=now, actions=list(self._known.values())),
            [capability],
            self._settings,
            self._ids,
        )
        for one in result.actions:
            self._keep(self._store.propose(one))
        self.tally.planned += len(result.actions)
        self.tally.left_out.update(one.kind.value for one in result.skipped)

    def _keep(self, action: Action | None) -> None:
        if action is not None:
            self._known[action.id] = action

    def _in(self, *states: ActionState) -> list[Action]:
        return [one for one in self._known.values() if one.state in states]

    def _approve(self) -> None:
        waiting = self._in(S.WAITING_APPROVAL)
        if not waiting:
            return
        one = self._random.choice(waiting)
        digest = one.proposal.digest if self._random.random() < 0.9 else "0" * 64
        yes = self._random.random() < 0.8
        try:
            self._approvals.decide(one.id, digest, yes, "ada", "cli")
        except ConflictError:
            return
        self.tally.approved += yes
        self._keep(self._store.get(one.id))

    def _begin(self) -> None:
        early = self._random.random() < 0.1  # also what a person has not approved
        ready = self._in(S.WAITING_APPROVAL) if early else self._in(S.SCHEDULED)
        if not ready:
            return
        try:
            begun = self._store.begin(self._random.choice(ready), self._limits)
        except ConflictError as error:
            self.tally.refused[_limit_in(str(error))] += 1
            return
        self._keep(begun)
        self.tally.started += 1
        self.tally.started_with_approval += begun.approval_id is not None
        self._check()

    def _check(self) -> None:
        running = self._store.list(_IN_FLIGHT)
        self.tally.most_running = max(self.tally.most_running, len(running))
        if len(running) > MOST_RUNNING:
            self.tally.violations.append(f"{len(running)} actions run")
        taken: dict[str, str] = {}
        for one in running:
            for domain in one.proposal.domains:
                if domain in taken:
                    self.tally.violations.append(f"{one.id} and {taken[domain]} share {domain}")
                taken[domain] = one.id
            self._check_approval(one)

    def _check_approval(self, one: Action) -> None:
        if one.proposal.priority is not Priority.CRITICAL and one.proposal.risk <= 0.7:
            return
        found = self._approvals.get(one.approval_id) if one.approval_id else None
        if found is None or not found.approved or found.digest != one.proposal.digest:
            self.tally.violations.append(f"{one.id} is critical and runs without approval")

    def _end(self) -> None:
        running = self._in(*_IN_FLIGHT)
        if running:
            one = self._random.choice(running)
            self._keep(self._store.move(one, S.HANDED_OVER, "the schedule ends it"))

    def _wait(self) -> None:
        self._clock.advance(self._random.choice((1.0, 30.0, 90.0, 900.0, 5000.0)))


def _limits(settings: Settings) -> StartLimits:
    return StartLimits(
        max_concurrent=settings.thresholds.max_concurrent_actions,
        changes_per_hour=settings.agent.changes_per_hour,
        changes_per_day=settings.agent.changes_per_day,
        cooldown_s=settings.agent.cooldown_seconds,
    )


def _limit_in(text: str) -> str:
    limits = ("max_concurrent_actions", "shares", "changes_per_hour", "cooldown", "not scheduled")
    return next((limit for limit in limits if limit in text), "other")


def _some_proposal(random_: random.Random) -> Proposal:
    gain = random_.uniform(0.0, 0.9)
    return proposal(
        target=f"target-{random_.randrange(8)}",
        advice_id=f"advice-{random_.randrange(40)}",
        key=f"key-{random_.randrange(40)}",
        priority=random_.choice(list(Priority)),
        risk=random_.uniform(0.0, 1.0),
        expected=Estimate(gain, gain, gain),
        goal_metric=f"metric-{random_.randrange(12)}",
        reversible=random_.random() < 0.8,
        change=Change(f"knob-{random_.randrange(12)}", 0, 1) if random_.random() < 0.7 else None,
        conflicts=tuple(random_.sample(("cpu", "disk", "models"), random_.choice((0, 0, 0, 1)))),
    )
