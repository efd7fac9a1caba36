"""The execute tick: starts the flow runs of actions that are due, and looks after those there are.

It reads the ledger and Prefect anew each time and starts each run once for its key, so it may be
repeated, or done by another agent, at any moment. The key holds the action's token, which grows
with every process that works on the action: one that died is replaced as soon as its lease is over.
What it selects is an offer only: the ledger checks every limit again when an action begins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.errors import ConflictError, PrimeSparkError
from flows.names import ACTION, deployment_of
from flows.prefect_rest import StartState
from flows.resident.jobs import TAGS
from flows.resident.summary import Summary
from optimizers.maintenance import closed_reason, parse_windows
from optimizers.priority import ordered
from registry.agent_records import Action, ActionState, Severity

if TYPE_CHECKING:
    from flows.resident.world import AgentWorld

_log = logging.getLogger("prime_spark.agent")

PERSON = "a person in Prefect"
"""Who answered there without giving a name."""

_NOT_IN_TIME = {
    ActionState.WAITING_APPROVAL: "nobody approved it in time (agent.approval_expires_seconds)",
    ActionState.SCHEDULED: "it could not begin in time (agent.approval_expires_seconds)",
}
CANCELLED = "a person cancelled its flow run in Prefect"
_SUSPENDED = "PAUSED"
_OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED", "CANCELLING"}
_ENDED = ("Action ended: %s: %s", Severity.INFO, logging.INFO)
_FAILED = ("Action failed: %s: %s", Severity.WARNING, logging.WARNING)
_ENDS = {
    ActionState.COMPLETED: ("Action completed: %s: %s", Severity.INFO, logging.INFO),
    ActionState.FAILED: _FAILED,
    ActionState.ROLLED_BACK: _FAILED,
    ActionState.HANDED_OVER: ("Action failed: %s: %s", Severity.CRITICAL, logging.ERROR),
}


def key_of(action: Action, purpose: str) -> str:
    """The key under which the next process that works on an action is started."""
    return f"action:{action.id}:{action.token}:{purpose}"


# A run that asks for approval is suspended; whatever is approved another way gets a run of its own,
# so that nothing but a person's answer is ever given to the one that asks.
_ASK, _DO = "ask", "do"


@dataclass(slots=True)
class Executor:
    """Carries actions on; `since` is when it last told what came of them, epoch seconds."""

    world: AgentWorld
    since: float
    _told: set[str] = field(default_factory=set)

    def tick(self) -> Summary:
        """Expire, start, resume, replace and tell, once.

        Raises:
            UnavailableError: ledger or Prefect do not answer.
        """
        self._tell_finished()
        live = self.world.stores.actions.live()
        words = [self._expired(action) for action in live]
        words += [self._carried_on(action) for action in self._due(live)]
        return Summary.of([one for one in words if one], empty="nothing is due")

    def _due(self, live: Iterable[Action]) -> list[Action]:
        """The actions for which a process has to run, the most urgent first."""
        world, now = self.world, self.world.now
        held = world.paused() or world.settings.safety.simulation_mode
        fresh, chosen = [], []
        for action in live:
            if not _abandoned(action, now):
                continue
            if action.state.in_flight:
                # Also while the agent is paused: it has to be brought to a safe state.
                chosen.append(action)
            elif not held and not world.too_old(action):
                fresh.append(action)
        waiting = [one for one in fresh if one.state is ActionState.WAITING_APPROVAL]
        scheduled = [one for one in fresh if one.state is ActionState.SCHEDULED]
        return chosen + waiting + self._admitted(scheduled, live)

    def _admitted(self, scheduled: list[Action], live: Iterable[Action]) -> list[Action]:
        """Those that may begin beside what is in flight; spares processes that would only wait."""
        world = self.world
        windows = parse_windows(world.settings.agent.maintenance_windows)
        running = [one for one in live if one.state.in_flight]
        domains = {domain for one in running for domain in one.proposal.domains}
        by_proposal = {one.proposal.digest: one for one in scheduled}
        admitted: list[Action] = []
        for proposal, _ in ordered([(one.proposal, one.decision) for one in scheduled]):
            action = by_proposal[proposal.digest]
            full = len(running) + len(admitted) >= world.settings.thresholds.max_concurrent_actions
            due = action.due_at is None or action.due_at <= world.now
            closed = closed_reason(proposal.priority, windows, world.now)
            if full or not due or closed or domains & proposal.domains or world.cooling(action):
                continue
            admitted.append(action)
            domains |= proposal.domains
        return admitted

    def _expired(self, action: Action) -> str:
        reason = _NOT_IN_TIME.get(action.state)
        if reason is None or not self.world.too_old(action):
            return ""
        return self._moved(action, ActionState.EXPIRED, reason)

    def _carried_on(self, action: Action) -> str:
        try:
            return self._start(action)
        except ConflictError as error:
            # Somebody else was faster; the next tick sees what they did.
            return f"{action.id}: {error}"

    def _start(self, action: Action) -> str:
        prefect = self.world.context.prefect
        asks = action.state is ActionState.WAITING_APPROVAL
        if not asks and action.approval_id is not None and self._answered_there(action):
            return ""
        start = prefect.start(
            deployment_of(ACTION),
            {"action_id": action.id},
            key=key_of(action, _ASK if asks else _DO),
            tags=(*TAGS, action.id),
        )
        if start.state is StartState.CANCELLED:
            return cancel(self.world, action, CANCELLED)
        if start.state is StartState.GIVEN_UP:
            # Whoever is asked in vain in Prefect can still be asked by API and command line.
            return "" if asks else self._hopeless(action, start.message)
        if start.state is not StartState.STARTED:
            return ""
        self._say("Asking about action %s: %s" if asks else "Executing action %s: %s", action)
        return f"{action.id}: flow run {start.flow_run_id} started"

    def _answered_there(self, action: Action) -> bool:
        """Whether the run that asked goes on by itself; one still suspended is ended."""
        run = self.world.context.prefect.find(key_of(action, _ASK))
        if run is None or run.state in _OVER:
            return False
        if run.state != _SUSPENDED:
            return True
        self.world.context.prefect.cancel(run.id)
        return False

    def _hopeless(self, action: Action, message: str) -> str:
        reason = f"its flow run failed again and again; the last said: {message or 'nothing'}"
        if not action.state.in_flight:
            return self._moved(action, ActionState.FAILED, reason)
        actions = self.world.stores.actions
        claimed = actions.claim(
            action.id, self.world.holder, self.world.settings.agent.lease_seconds
        )
        return self._moved(claimed, ActionState.HANDED_OVER, reason)

    def _moved(self, action: Action, to: ActionState, reason: str) -> str:
        try:
            self.world.stores.actions.move(action, to, reason)
        except ConflictError as error:
            return f"{action.id}: {error}"
        return f"{action.id}: {to}, {reason}"

    def _tell_finished(self) -> None:
        """Log what came of actions, and end suspended runs of those decided elsewhere."""
        finished = self.world.stores.actions.finished_since(self.since)
        for action in finished:
            if action.id in self._told:
                continue
            self._told.add(action.id)
            self._tell_one(action)
            self._end_suspended(action)
        if finished:
            self.since = max(one.finished_at or self.since for one in finished)
            self._told &= {one.id for one in finished}

    def _tell_one(self, action: Action) -> None:
        words, severity, level = _ENDS.get(action.state, _ENDED)
        self._say(words, action, level)
        text = f"{action.proposal.description}: {action.state}, {action.reason}"
        self.world.tell("action", action.id, text, severity)

    def _end_suspended(self, action: Action) -> None:
        if action.flow_run_id is None or action.executed_at is not None:
            return
        try:
            run = self.world.context.prefect.find(key_of(action, _ASK))
            if run is not None and run.state == _SUSPENDED:
                self.world.context.prefect.cancel(run.id)
        except PrimeSparkError as error:
            _log.info("the suspended flow run of action %s stays: %s", action.id, error)

    def _say(self, words: str, action: Action, level: int = logging.INFO) -> None:
        proposal = action.proposal
        text = proposal.description
        if action.state.final:
            text = f"{text} ({action.state}: {action.reason})"
        extra = {
            "action": action.id,
            "type": proposal.type,
            "target": proposal.target,
            "state": action.state.value,
        }
        _log.log(level, words, action.id, text, extra=extra)


def cancel(world: AgentWorld, action: Action, reason: str) -> str:
    """End an action as a person asked: not begun, it is rejected; begun, it is undone.

    Either way its advice is declined: the agent does not begin again what a person has stopped.

    Raises:
        ConflictError: another process is at work on it, or it has moved.
    """
    actions = world.stores.actions
    if action.state is ActionState.WAITING_APPROVAL:
        digest = action.proposal.digest
        world.stores.approvals.decide(action.id, digest, False, PERSON, "prefect", reason)
        return f"{action.id}: rejected, {reason}"
    if not action.state.in_flight:
        actions.move(action, ActionState.REJECTED, reason)
        _decline(world, action)
        return f"{action.id}: rejected, {reason}"
    claimed = actions.claim(action.id, world.holder, world.settings.agent.lease_seconds)
    if claimed.state is not ActionState.ROLLING_BACK:
        claimed = actions.move(claimed, ActionState.ROLLING_BACK, reason)
        _decline(world, action)
    actions.release(claimed)
    return f"{action.id}: rolling back, {reason}"


def _decline(world: AgentWorld, action: Action) -> None:
    proposal = action.proposal
    world.stores.control.decline(proposal.advice_id, proposal.expected.mean, PERSON)


def execute_once(world: AgentWorld) -> Summary:
    """One tick by itself, for the flow of that name."""
    return Executor(world, since=world.now).tick()


def _abandoned(action: Action, now: float) -> bool:
    """Nobody is at work on it: its holder let go of it, or has shown no sign of life."""
    return action.holder is None or (action.lease_expires_at or 0.0) <= now
