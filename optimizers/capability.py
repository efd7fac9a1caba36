"""What every capability offers: detection and proposals, and how its actions touch the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from config.clock import Clock
from optimizers.targets.base import Guard, Target
from optimizers.view import View
from registry.agent_records import Action, Effect, Finding, Proposal


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of an action type before any of its actions was verified.

    Attributes:
        improvement: expected relative improvement of its goal metric, from the specification.
        risk: 0 to 1, from the specification.
        success: prior probability of success.
        weight: how many verified actions the prior counts for.
    """

    improvement: float
    risk: float
    success: float = 0.8
    weight: float = 4.0


class Sight(StrEnum):
    """What is seen of an action's effect in the world."""

    BEFORE = "before"
    AFTER = "after"
    UNDER_WAY = "under_way"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at what an action touches; `detail` is a sentence."""

    sight: Sight
    detail: str = ""
    value: JsonValue = None


class JobState(StrEnum):
    """What became of a job."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A job under its key: its flow run, state and last word."""

    state: JobState
    flow_run_id: str | None = None
    message: str = ""


class Jobs(Protocol):
    """Starts flow runs of deployments, once for each key. Raises UnavailableError."""

    def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str) -> Job:
        """Start a run, or return the one there is under this key."""
        ...

    def find(self, deployment: str, key: str) -> Job:
        """Return what is known under this key; state UNKNOWN when nothing is."""
        ...

    def cancel(self, flow_run_id: str) -> None:
        """Ask for a run to be cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What an action works with while it is carried out.

    Attributes:
        sample: looks at a target once, and returns the present values of some of its metrics;
            those that are missing are left out. Rates are those since the look before.
        extras: more tools by name, for the capabilities that know them (`desk`, `runs`, …).
    """

    targets: Mapping[str, Target]
    jobs: Jobs
    clock: Clock
    wait: Callable[[float], None]
    sample: Callable[[str, Sequence[str]], Mapping[str, float]]
    extras: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Switch:
    """What measuring an effect asks for before it goes on.

    Attributes:
        to: Sight.AFTER or Sight.BEFORE: how the world has to stand; where it stands so already,
            only the notes are kept.
        noted: what was measured and is to be kept in the action's progress.
    """

    to: Sight
    noted: Mapping[str, JsonValue] = field(default_factory=dict)


class Effects(Protocol):
    """How the actions of a capability touch the world; every method may be repeated.

    A process may die between `apply` and the note of what it returned: the others then have to do
    without that, from the proposal and its key alone. Both `apply` and `undo` are called under the
    ledger's lock of the target, so they are short and limited in time. `undo` is also called to
    make sure that nothing was applied: it accepts what is as before already, and leaves it so.

    All of them raise UnavailableError when the world does not answer. Their outcome is then
    unknown and is looked at, never assumed.
    """

    def look(self, action: Action, tools: Tools) -> Seen:
        """Read the world: is it still as before, already as wanted, or something else."""
        ...

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        """Bring the effect about; return what the next steps have to know.

        Raises:
            ConflictError: the world is not as expected; nothing was changed.
            StaleToken: somebody else works on the action now.
        """
        ...

    def verify(self, action: Action, tools: Tools) -> Effect | Switch | None:
        """Return whether it helped; None while that is not known yet. Called again and again.

        Those that are `Switching` may ask for a switch instead.
        """
        ...

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """Put back exactly what was there before; for a job under way, end it.

        Raises:
            ConflictError: the world is neither as before nor as applied.
            StaleToken: somebody else works on the action now.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """What effects may offer besides: noting, before the effect, what verifying it will need."""

    def prepare(self, action: Action, tools: Tools) -> Mapping[str, JsonValue] | None:
        """Return what to note in the action's progress; None while that is not known yet.

        Called again and again between intent and effect, and anew after a crash. It changes
        nothing in the world.

        Raises:
            ConflictError: the effect could not be verified, so it must not be brought about.
            UnavailableError: the world does not answer.
        """
        ...


@runtime_checkable
class Switching(Protocol):
    """What effects may offer besides: taking the change back and making it again while measuring.

    A switch lives as the action does: it is noted in the ledger before it is made, and as made
    afterwards (`optimizers.switching`). The world may stand at both sides only in between; at any
    other time it stands where the notes say, or somebody else has touched it.
    """

    def switch(self, action: Action, to: Sight, guard: Guard, tools: Tools) -> None:
        """Bring the world from one side to the other; called under the ledger's lock.

        It may be repeated, and accepts a world that stands at `to` already.

        Raises:
            ConflictError: the world is at neither side; nothing was changed.
            StaleToken: somebody else works on the action now.
            UnavailableError: the outcome has to be read.
        """
        ...


@runtime_checkable
class Studying(Protocol):
    """What a capability may offer besides: a closer look, for what cannot be read off the metrics.

    The optimise cycle asks for it before it plans, in a process of its own; what it returns is kept
    and is in the view as `view.study(type, subject)` while it is fresh.

    Attributes:
        study_fresh_s: how long a study is good for, seconds.
    """

    study_fresh_s: float

    def study(self, finding: Finding, view: View, tools: Tools, seconds: float) -> JsonValue | None:
        """Look closer at what a finding is about, within `seconds`; None when there is no data.

        It changes nothing in the world. The study is of `finding.subject`.

        Raises:
            UnavailableError: the world does not answer.
            InputError: what is there cannot be studied; the sentence says why.
        """
        ...


@runtime_checkable
class Capability(Protocol):
    """One kind of action: when it is called for, what it proposes, and how it is carried out.

    Attributes:
        type: the action type, such as `model_promote`.
        target: the name of the target it acts on; one that acts on several names the others in
            `targets`.
        prior: what is believed of it before anything was learned.
        effects: how its actions touch the world.
        deadline_s: longest time of one action from intent to verdict, seconds.
    """

    type: str
    target: str
    prior: Prior
    effects: Effects
    deadline_s: float

    def detect(self, view: View) -> Sequence[Finding]:
        """Return what calls for this capability. Pure; nothing without data."""
        ...

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """Return what it would do about one of its findings. Pure; same input, same advice id."""
        ...
