"""A toy with one knob, its gauge, and jobs, all on disk: what actions of the crash tests work on.

Everything outlives the process that touches it, and each write notes what the ledger said of the
action at that very moment, so that a test can tell what was done before its intent was committed.
"""

# ruff: noqa: ARG002 - the seams name the arguments

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from config.clock import ManualClock, epoch
from config.errors import ConflictError, UnavailableError
from optimizers.capability import Job, JobState
from optimizers.targets.base import Guard, Observed
from registry.agent_records import ActionState, Change, Verdict

KNOB = "toy.size"
TARGET = "toy"
BEFORE, AFTER, PERSONS = 8, 16, 99
SWITCH_SETTLE_S = 2.0
UNCLEAN = -1.0
"""What the toy's gauge shows for a time in which it was not settled."""

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
        at: a checkpoint, and what happens there once: `edit`, `turn` (to the other of both values)
            or `pause`.
        lessons: how often it is learned from.
        pairs: its effect is measured in pairs.
        simulated: simulation mode was switched on after it had been scheduled.
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
    pairs: bool = False
    simulated: bool = False

    @property
    def is_job(self) -> bool:
        return self.kind == "job"


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
        # Nobody knows how long ago it was set by a process that is no more.
        self.touched_at = clock.monotonic()
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
        self.journal.add({"hand": hand, "before": self.value(), "after": value, "state": state})
        self.touched_at = self._clock.monotonic()

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


class Gauge:
    """Tells how large the toy was since the last look, as counters do: nothing at the first one.

    A time in which the knob was turned, or had not settled, gives a number that no sample may hold.
    """

    def __init__(self, knobs: Knobs, clock: ManualClock) -> None:
        self._knobs = knobs
        self._clock = clock
        self._last: tuple[float, int] | None = None

    def sample(self, _target: str, metrics: Sequence[str]) -> dict[str, float]:
        now, writes = self._clock.monotonic(), len(self._knobs.journal.lines())
        last, self._last = self._last, (now, writes)
        if last is None:
            return {}
        settled_at = self._knobs.touched_at + SWITCH_SETTLE_S
        clean = last[1] == writes and last[0] >= settled_at
        value = float(str(self._knobs.value())) if clean else UNCLEAN
        return dict.fromkeys(metrics, value)


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
