"""A small world on disk for actions to work on: a knob, jobs, and a real ledger beside them.

Everything outlives the process that touches it, and each write notes what the ledger said of the
action at that very moment, so that a test can tell what was done before its intent was committed.
"""

# ruff: noqa: ARG002 - the seams name the arguments

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, event

from config.clock import ManualClock, epoch
from config.errors import ConflictError, UnavailableError
from config.settings import AgentSettings, SafetySettings, Settings
from optimizers import execution, execution_desk
from optimizers.capability import Effects, Job, JobState, Prior, Seen, Sight, Tools
from optimizers.knob_effects import KnobEffects
from optimizers.targets.base import Guard, Observed
from registry import agent_actions, agent_control, agent_learning
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Decision,
    Direction,
    Effect,
    Estimate,
    Finding,
    Priority,
    Proposal,
    Verdict,
)
from registry.ledger.database import open_ledger

ACTION = "action-1"
KNOB = "toy.size"
TARGET = "toy"
START = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
BEFORE, AFTER, PERSONS = 8, 16, 99
LEASE_S = 30.0
BETWEEN_ATTEMPTS_S = 40.0
DEADLINE_S = 900.0
JOB_S = 20.0

Checkpoint = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of action in one kind of world.

    Attributes:
        ends: how the action may end, however often its process is killed.
        kind: `atomic` (the target compares and sets), `plain` (it cannot), `final` (a change that
            cannot be undone) or `job`.
        verdict: what verifying says; None never says anything.
        trouble: what goes wrong with the target, see `Knobs`; a job's `hangs` never ends.
        at: a checkpoint, and what happens there once: `edit` or `pause`.
        lessons: how often it is learned from.
    """

    name: str
    ends: frozenset[ActionState]
    kind: str = "atomic"
    verdict: Verdict | None = Verdict.IMPROVED
    worsened: tuple[str, ...] = ()
    trouble: str = ""
    at: tuple[str, str] = ("", "")
    rollback: bool = True
    lessons: int = 1

    @property
    def is_job(self) -> bool:
        return self.kind == "job"


class NeverEnds(Exception):
    """An action has gone on far beyond all its deadlines."""


class Journal:
    """Lines of JSON that survive any process; one write appends one whole line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, line: Mapping[str, JsonValue]) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, json.dumps(dict(line)).encode() + b"\n")
        finally:
            os.close(descriptor)

    def lines(self) -> list[dict[str, JsonValue]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]


class Knobs:
    """A target with one knob, whose value is what was written last.

    Its troubles: `deaf` takes no write towards the new value, `lost` takes it and does not answer,
    `stuck` takes no write back, `sham` only says so, `blind` cannot be read while the new value
    holds.
    """

    name = TARGET

    def __init__(
        self, folder: Path, case: Case, clock: ManualClock, checkpoint: Checkpoint
    ) -> None:
        self.journal = Journal(folder / "knob.log")
        self._clock = clock
        self._lock = folder / "knob.lock"
        self._case = case
        self._checkpoint = checkpoint
        self.ledger_state: Callable[[], str] = lambda: "unknown"

    def observe(self, at: float, timeout_s: float) -> Observed:
        return Observed()

    def knobs(self) -> tuple[str, ...]:
        return (KNOB,)

    def read(self, knob: str) -> JsonValue:
        value = self.value()
        if self._case.trouble == "blind" and value == AFTER:
            raise UnavailableError("the toy cannot be read")
        return value

    def value(self) -> JsonValue:
        lines = self.journal.lines()
        return lines[-1]["after"] if lines else BEFORE

    def written_at(self) -> float:
        """When it was set last, by the wall clock."""
        at = self.journal.lines()[-1]["at"] if self.journal.lines() else 0.0
        assert isinstance(at, float)
        return at

    def write(self, change: Change, guard: Guard) -> None:
        forwards = change.after == AFTER
        if self._case.trouble == ("deaf" if forwards else "stuck"):
            guard.check()
            raise UnavailableError("the toy takes no writes")
        if self._case.trouble == "sham" and not forwards:
            return
        if self._case.kind == "plain":
            self._compare_and_write(change, guard)
        else:
            with self._locked():
                self._compare_and_write(change, guard)
        if self._case.trouble == "lost" and forwards:
            raise UnavailableError("the toy's answer was lost")

    def turn(self, value: JsonValue) -> None:
        """What a person does: sets the knob, asking nobody."""
        self._note("person", value, "")

    def _compare_and_write(self, change: Change, guard: Guard) -> None:
        guard.check()
        self._checkpoint("target checked")
        value = self.value()
        if value == change.after:
            return
        if value != change.before:
            raise ConflictError(f"{change.knob} is {value}, not {change.before}")
        state = self.ledger_state()
        self._checkpoint("target compared")
        self._note("agent", change.after, state)
        self._checkpoint("target written")

    def _note(self, hand: str, value: JsonValue, state: str) -> None:
        at = epoch(self._clock.now())
        line = {"hand": hand, "before": self.value(), "after": value, "state": state, "at": at}
        self.journal.add(line)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + 0.05
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise UnavailableError("the toy is busy") from None
                    os.sched_yield()
            yield
        finally:
            os.close(descriptor)


class FileJobs:
    """Starts whatever it is asked to, as often as it is asked: not starting twice is ours to do."""

    def __init__(
        self, folder: Path, clock: ManualClock, checkpoint: Checkpoint, job_s: float
    ) -> None:
        self.journal = Journal(folder / "jobs.log")
        self._clock = clock
        self._checkpoint = checkpoint
        self._job_s = job_s
        self.ledger_state: Callable[[], str] = lambda: "unknown"

    def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str) -> Job:
        state = self.ledger_state()
        self._checkpoint("job compared")
        at = epoch(self._clock.now())
        self.journal.add({"did": "start", "key": key, "at": at, "state": state})
        self._checkpoint("job started")
        return self.find(deployment, key)

    def find(self, deployment: str, key: str) -> Job:
        lines = [line for line in self.journal.lines() if line["key"] == key]
        started = [line for line in lines if line["did"] == "start"]
        if not started:
            return Job(JobState.UNKNOWN)
        if any(line["did"] == "cancel" for line in lines):
            return Job(JobState.CANCELLED, key)
        at = started[-1]["at"]
        assert isinstance(at, float)
        done = epoch(self._clock.now()) >= at + self._job_s
        return Job(JobState.DONE if done else JobState.RUNNING, key)

    def cancel(self, flow_run_id: str) -> None:
        self.journal.add({"did": "cancel", "key": flow_run_id, "state": self.ledger_state()})
        self._checkpoint("job cancelled")


@dataclass
class ScriptedKnob(KnobEffects):
    """Changes the knob for real; what the case says stands in for the judge."""

    case: Case = field(default_factory=lambda: Case("none", frozenset()))

    def __post_init__(self) -> None:
        super().__init__(samples=2, every_s=1.0)

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        if self.case.verdict is None or not isinstance(action.progress.get("before"), dict):
            return None
        return Effect(self.case.verdict, "as scripted", 0.1, 0.05, 0.15, self.case.worsened)


@dataclass
class ScriptedJob:
    """Starts a job, waits for it, and then says what the case says."""

    case: Case

    def look(self, action: Action, tools: Tools) -> Seen:
        match tools.jobs.find("work", action.proposal.key).state:
            case JobState.UNKNOWN:
                return Seen(Sight.BEFORE)
            case JobState.RUNNING:
                return Seen(Sight.UNDER_WAY)
        return Seen(Sight.AFTER)

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        guard.check()
        if self.case.trouble == "deaf":
            raise UnavailableError("no job can be started")
        tools.jobs.start("work", {}, action.proposal.key)
        if self.case.trouble == "lost":
            raise UnavailableError("the answer was lost")
        return {}

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        done = tools.jobs.find("work", action.proposal.key).state is JobState.DONE
        if not done or self.case.verdict is None:
            return None
        return Effect(self.case.verdict, "as scripted", 0.1, 0.05, 0.15, self.case.worsened)

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        guard.check()
        job = tools.jobs.find("work", action.proposal.key)
        if job.state is JobState.RUNNING and job.flow_run_id is not None:
            tools.jobs.cancel(job.flow_run_id)


@dataclass
class ToyCapability:
    """Carries out the one action there is."""

    effects: Effects
    type: str = "toy_change"
    target: str = TARGET
    prior: Prior = field(default_factory=lambda: Prior(0.1, 0.2))
    deadline_s: float = DEADLINE_S

    def detect(self, view: object) -> list[Finding]:
        return []

    def propose(self, finding: Finding, view: object) -> list[Proposal]:
        return []


def proposal_of(case: Case) -> Proposal:
    """What the case's action is to do."""
    return Proposal(
        type="toy_change",
        target=TARGET,
        advice_id="advice-1",
        key="key-1",
        priority=Priority.HIGH,
        description="make the toy larger",
        parameters={},
        expected=Estimate(0.1, 0.05, 0.15),
        risk=0.2,
        goal_metric="toy_ms",
        goal_direction=Direction.MINIMIZE,
        reversible=case.kind != "final",
        change=None if case.is_job else Change(KNOB, BEFORE, AFTER),
    )


DECISION = Decision(
    run=True,
    expected_improvement=0.1,
    success_probability=0.8,
    success_low=0.6,
    success_high=0.9,
    exposure=0.1,
    risk=0.2,
    expected_value=0.08,
    score=0.07,
)


_engines: dict[Path, Engine] = {}
_opened: list[Path] = []


def ledger_of(folder: Path) -> Engine:
    """The ledger in a folder, by the one engine of this bench, which has its statements compiled.

    Every place of a bench holds a copy of the same ledger; only one of them is open at a time.
    """
    _opened[:] = [folder / "ledger.db"]
    engine = _engines.get(folder.parent)
    if engine is None:
        engine = _engines[folder.parent] = open_ledger(f"sqlite:///{folder}/ledger.db")
        engine.dispose()

        @event.listens_for(engine, "do_connect")
        def _elsewhere(_dialect: object, _record: object, args: list[str], _rest: object) -> None:
            args[0] = str(_opened[0])

    return engine


class AgentWorld:
    """The ledger, the toy and a desk, as one process sees them.

    Args:
        folder: where everything is kept.
        case: what is to happen in it.
        attempt: how many processes worked on it before; each comes after the last one's lease.
        checkpoint: called at every named point, and before each commit of the ledger.
    """

    def __init__(
        self,
        folder: Path,
        case: Case,
        *,
        attempt: int = 0,
        checkpoint: Checkpoint = lambda _point: None,
    ) -> None:
        self.case = case
        self._checkpoint = checkpoint
        self.clock = ManualClock(START + timedelta(seconds=BETWEEN_ATTEMPTS_S * attempt))
        self.engine = ledger_of(folder)
        event.listen(self.engine, "commit", self._before_commit)
        self.actions = agent_actions.ActionStore(self.engine, self.clock)
        self.control = agent_control.ControlStore(self.engine, self.clock)
        self.learning = agent_learning.LearningStore(self.engine, self.clock)
        self.knobs = Knobs(folder, case, self.clock, self.checkpoint)
        job_s = 10 * DEADLINE_S if case.trouble == "hangs" else JOB_S
        self.jobs = FileJobs(folder, self.clock, self.checkpoint, job_s)
        self.knobs.ledger_state = self.jobs.ledger_state = self._state
        self.published = Journal(folder / "published.log")
        self.happened = Journal(folder / "happened.log")

    def close(self) -> None:
        event.remove(self.engine, "commit", self._before_commit)
        self.engine.dispose()

    def propose(self) -> None:
        """Schedule the case's action."""
        now = epoch(self.clock.now())
        self.actions.propose(
            Action(ACTION, proposal_of(self.case), DECISION, ActionState.SCHEDULED, "", now, now)
        )

    def run(self, holder: str) -> Action:
        """Let one process work on the action as long as it can."""
        return execution.run_action(self.desk(), ACTION, holder)

    def desk(self) -> execution_desk.ActionDesk:
        case = self.case
        effects: Effects = ScriptedJob(case) if case.is_job else ScriptedKnob(case)
        return execution_desk.ActionDesk(
            actions=self.actions,
            control=self.control,
            learning=self.learning,
            capabilities={"toy_change": ToyCapability(effects)},
            tools=Tools(
                targets={TARGET: self.knobs},
                jobs=self.jobs,
                clock=self.clock,
                wait=self._wait,
                sample=lambda _target, metrics: dict.fromkeys(metrics, 5.0),
            ),
            settings=Settings(
                agent=AgentSettings(lease_seconds=LEASE_S, settle_seconds=10.0),
                safety=SafetySettings(rollback_on_failure=case.rollback),
            ),
            clock=self.clock,
            paused=lambda: self.control.paused().paused,
            publish=self._publish,
            checkpoint=self.checkpoint,
            poll_s=60.0 if case.verdict is None or case.trouble == "hangs" else 5.0,
        )

    def checkpoint(self, point: str) -> None:
        """Let happen what happens at this point, undisturbed, then pass it on."""
        where, what = self.case.at
        if point == where and not self.happened.lines():
            passes, self._checkpoint = self._checkpoint, lambda _point: None
            if what == "edit":
                self.knobs.turn(PERSONS)
            else:
                self.control.pause("a person", "to see")
            self.happened.add({"what": what})
            self._checkpoint = passes
        self._checkpoint(point)

    def _wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.clock.monotonic() > 10 * DEADLINE_S:
            raise NeverEnds

    def _before_commit(self, connection: Connection) -> None:
        if connection.get_execution_options().get("ledger_write"):
            self._checkpoint("commit")

    def _state(self) -> str:
        action = self.actions.get(ACTION)
        return action.state.value if action else "none"

    def _publish(self, action: Action) -> str:
        self.published.add({"action": action.id, "state": action.state.value})
        return f"run-of-{action.id}"
