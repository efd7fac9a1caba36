"""Actions carried out for real: a ledger on disk, the real clock, real targets that are sampled."""

# ruff: noqa: ARG002 - the seams name the arguments

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from config.clock import SystemClock, epoch
from config.errors import UnavailableError
from config.settings import AgentSettings, Settings
from optimizers.capability import Capability, Job, JobState, Tools
from optimizers.execution import run_action
from optimizers.execution_desk import ActionDesk
from optimizers.targets.base import Target
from registry.agent_actions import ActionStore
from registry.agent_control import ControlStore
from registry.agent_learning import LearningStore
from registry.agent_records import Action, ActionState, Decision, Proposal
from registry.ledger.database import open_ledger

_DECISION = Decision(
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


class NoJobs:
    """Changes of knobs start no flow run."""

    def start(self, deployment: str, parameters: Mapping[str, object], key: str) -> Job:
        raise UnavailableError(f"{deployment} was started")

    def find(self, deployment: str, key: str) -> Job:
        return Job(JobState.UNKNOWN)

    def cancel(self, flow_run_id: str) -> None:
        raise UnavailableError(f"{flow_run_id} was cancelled")


class LiveActions:
    """Carries out the actions of one capability on real targets.

    Args:
        folder: where the ledger is.
        capability: whose actions.
        targets: what they touch, and what is sampled.
        at: by checkpoint, what happens there, once.
        settle_s: how long a change is left alone before its effect is measured.
    """

    def __init__(
        self,
        folder: Path,
        capability: Capability,
        targets: Sequence[Target],
        at: Mapping[str, Callable[[], object]] | None = None,
        *,
        settle_s: float = 0.0,
    ) -> None:
        self.clock = SystemClock()
        self.engine = open_ledger(f"sqlite:///{folder}/ledger.db")
        self.actions = ActionStore(self.engine, self.clock)
        self.control = ControlStore(self.engine, self.clock)
        self._capability = capability
        self._targets = {one.name: one for one in targets}
        self._at = dict(at or {})
        self._settle_s = settle_s

    def close(self) -> None:
        self.engine.dispose()

    def add(self, target: Target) -> None:
        """Have one more target to touch and sample."""
        self._targets[target.name] = target

    def when(self, point: str, call: Callable[[], object]) -> None:
        """Have something happen at a checkpoint, once."""
        self._at[point] = call

    def pause(self) -> None:
        """Pause the agent, as a person would."""
        self.control.pause("a person", "to see")

    def resume(self) -> None:
        """Let it go on."""
        self.control.resume("a person")

    def carry_out(self, proposal: Proposal, action_id: str = "action-1") -> Action:
        """Carry a proposal out to its end."""
        now = epoch(self.clock.now())
        self.actions.propose(
            Action(action_id, proposal, _DECISION, ActionState.SCHEDULED, "", now, now)
        )
        return run_action(self._desk(), action_id, "me")

    @property
    def tools(self) -> Tools:
        return Tools(self._targets, NoJobs(), self.clock, time.sleep, self._sample)

    def _desk(self) -> ActionDesk:
        return ActionDesk(
            actions=self.actions,
            control=self.control,
            learning=LearningStore(self.engine, self.clock),
            capabilities={self._capability.type: self._capability},
            tools=self.tools,
            settings=Settings(
                agent=AgentSettings(settle_seconds=self._settle_s, cooldown_seconds=0.0)
            ),
            clock=self.clock,
            paused=lambda: self.control.paused().paused,
            publish=lambda _action: None,
            checkpoint=self._checkpoint,
            poll_s=0.02,
            retry_s=0.02,
        )

    def _checkpoint(self, point: str) -> None:
        self._at.pop(point, lambda: None)()

    def _sample(self, target: str, metrics: Sequence[str]) -> dict[str, float]:
        observed = self._targets[target].observe(epoch(self.clock.now()), 5.0)
        return {
            one.metric: one.value
            for one in observed.observations
            if not one.labels and one.metric in metrics
        }
