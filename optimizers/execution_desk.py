"""What an action is carried out with, and how its effects are called.

Every effect on the world runs under the action's own lock and is refused to whoever has lost the
action's token. What an effect raises is caught here and comes back as a sentence: its outcome is
then unknown, and the next look at the world tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import JsonValue

from config.clock import Clock, epoch
from config.errors import ConflictError, HandedOver, InputError, StaleToken
from config.settings import Settings
from optimizers.capability import (
    Capability,
    Effects,
    Preparing,
    Seen,
    Sight,
    Switch,
    Switching,
    Tools,
)
from registry.agent_actions import ActionStore
from registry.agent_control import ControlStore
from registry.agent_learning import LearningStore
from registry.agent_records import Action, Effect, StartLimits

T = TypeVar("T")


def _nothing(_point: str) -> None:
    """Pass a checkpoint."""


@dataclass(frozen=True, slots=True)
class ActionDesk:
    """Everything one action needs while it is carried out.

    Attributes:
        capabilities: by action type.
        paused: the kill switch, read anew at each call.
        publish: publishes an action that has ended, under its id, and returns the id of its MLflow
            run; None when it is published elsewhere. It may raise UnavailableError, and is called
            again for an action that has no run yet.
        checkpoint: called with the name of each point that is reached; crash tests stop there.
        poll_s: between two looks at what is under way; the kill switch is seen within it.
        retry_s: between two attempts at what failed.
        step_s: longest time of one step; a process that hangs longer loses the action.
    """

    actions: ActionStore
    control: ControlStore
    learning: LearningStore
    capabilities: Mapping[str, Capability]
    tools: Tools
    settings: Settings
    clock: Clock
    paused: Callable[[], bool]
    publish: Callable[[Action], str | None]
    checkpoint: Callable[[str], None] = _nothing
    poll_s: float = 0.5
    retry_s: float = 5.0
    step_s: float = 120.0

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return epoch(self.clock.now())

    @property
    def limits(self) -> StartLimits:
        """What has to hold for an action to begin."""
        agent = self.settings.agent
        return StartLimits(
            max_concurrent=self.settings.thresholds.max_concurrent_actions,
            changes_per_hour=agent.changes_per_hour,
            changes_per_day=agent.changes_per_day,
            cooldown_s=agent.cooldown_seconds,
        )

    def overdue(self, action: Action) -> bool:
        """True when the action's deadline is over."""
        return action.deadline_at is not None and self.now >= action.deadline_at


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """What a call of an effect came to: its value, or the trouble there was, in a sentence.

    Attributes:
        refused: the trouble was a plain no, so trying again would not help.
    """

    value: T | None
    trouble: str = ""
    refused: bool = False


def attempt(call: Callable[[], T]) -> Attempt[T]:
    """Call something that touches the world.

    Raises:
        StaleToken: somebody else works on the action now.
        HandedOver: the effect itself says that a person has to look.
    """
    try:
        return Attempt(call())
    except (StaleToken, HandedOver):
        raise
    except Exception as error:  # noqa: BLE001 - a capability may be anybody's: whatever it raises, its action has to come to a safe end
        refused = isinstance(error, ConflictError | InputError)
        return Attempt(None, f"{type(error).__name__}: {error}", refused)


@dataclass(frozen=True, slots=True)
class Hands:
    """One action's effects, called the safe way."""

    desk: ActionDesk
    action: Action
    effects: Effects

    def look(self) -> Attempt[Seen]:
        """Read the world."""
        seen = attempt(lambda: self.effects.look(self.action, self.desk.tools))
        self.desk.checkpoint("looked")
        return seen

    def prepare(self) -> Attempt[Mapping[str, JsonValue] | None]:
        """Note what has to be known of the time before the effect; no value: not known yet."""
        effects = self.effects
        if not isinstance(effects, Preparing):
            return Attempt({})
        return attempt(lambda: effects.prepare(self.action, self.desk.tools))

    def apply(self) -> Attempt[Mapping[str, JsonValue]]:
        """Bring the effect about, unless the agent is paused or the deadline is over."""

        def effect() -> Mapping[str, JsonValue]:
            with self.desk.actions.holding(self.action, paused=self.desk.paused) as guard:
                self.desk.checkpoint("applying")
                return self.effects.apply(self.action, guard, self.desk.tools)

        applied = attempt(effect)
        self.desk.checkpoint("effect done")
        return applied

    def verify(self) -> Attempt[Effect | Switch | None]:
        """Ask whether it helped."""
        return attempt(lambda: self.effects.verify(self.action, self.desk.tools))

    def switch(self, to: Sight) -> Attempt[None]:
        """Bring the world to one side, unless the agent is paused or the deadline is over.

        Raises:
            HandedOver: the change is not one that can be switched.
        """
        effects = self.effects
        if not isinstance(effects, Switching) or not self.action.proposal.reversible:
            raise HandedOver(f"it was to be switched to {to}, which cannot be taken back")

        def effect() -> None:
            with self.desk.actions.holding(self.action, paused=self.desk.paused) as guard:
                self.desk.checkpoint("switching")
                effects.switch(self.action, to, guard, self.desk.tools)

        switched = attempt(effect)
        self.desk.checkpoint("switch done")
        return switched

    def undo(self) -> Attempt[None]:
        """Put back what was there; a pause does not stop it, for it leads to the safe state."""

        def effect() -> None:
            with self.desk.actions.holding(self.action, paused=lambda: False) as guard:
                self.desk.checkpoint("undoing")
                self.effects.undo(self.action, guard, self.desk.tools)

        undone = attempt(effect)
        self.desk.checkpoint("undo done")
        return undone
