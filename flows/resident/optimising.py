"""The optimise tick: findings to proposals to decisions, and what is to be done is recorded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from config.errors import ConflictError, DeadlineExceeded, PrimeSparkError
from flows.names import OPTIMIZE, deployment_of
from flows.resident.monitoring import Monitor
from flows.resident.plugging import has_prefect
from flows.resident.studying import with_studies
from flows.resident.summary import Row, Summary
from flows.resident.viewing import view_of
from optimizers.planning import CycleResult, plan_cycle
from registry.agent_records import Action, ActionState, Finding
from registry.ledger.database import exclusive

if TYPE_CHECKING:
    from flows.resident.looking import Look
    from flows.resident.world import AgentWorld

_log = logging.getLogger("prime_spark.agent")

CYCLE = "cycle"
"""The fact that tells how the last cycle went."""

_PAUSED = "the schedule of the deployment optimize is paused in Prefect"
_MOST_SKIPPED = 100
_LATE = 1.5


@dataclass(slots=True)
class Optimiser:
    """Decides again and again.

    Cycles are flow runs of the schedule of the deployment `optimize`: a person sees, starts and
    pauses them in Prefect. When none has come for one and a half intervals, as without Prefect or
    a worker, the agent does them by itself.
    """

    world: AgentWorld
    monitor: Monitor

    def skip(self) -> str:
        """Why there is no cycle to be done here now; empty when there is."""
        if self.world.paused():
            return "the agent is paused"
        if self._paused_in_prefect():
            return _PAUSED
        last = self.world.stores.control.fact(CYCLE)
        interval_s = self.world.settings.monitoring.optimization_interval_seconds
        if last is not None and 0 <= self.world.now - last.at < _LATE * interval_s:
            return "the cycle before this one is fresh"
        return ""

    def tick(self) -> Summary:
        """Do one cycle.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        return cycle(self.world, self.monitor.look())

    def _paused_in_prefect(self) -> bool:
        if not has_prefect(self.world.context):
            return False
        try:
            return self.world.context.prefect.schedule_paused(deployment_of(OPTIMIZE))
        except PrimeSparkError:
            return False  # nobody can tell; what is decided now is carried out by Prefect only


def cycle(world: AgentWorld, look: Look, *, study: bool = False) -> Summary:
    """One cycle over a look at the targets; of two processes at once, one does it.

    Args:
        world: the stores and capabilities.
        look: what was seen at the targets.
        study: look closer at what was found before deciding; not in the resident agent.

    Raises:
        LedgerUnavailable: the ledger does not answer.
    """
    try:
        with exclusive(world.context.engine, "optimise cycle", timeout_s=0.0):
            view = view_of(world, look)
            if study:
                view = with_studies(world, view)
            result = plan_cycle(
                view, world.capabilities.values(), world.settings, world.context.ids
            )
            proposed = [_proposed(world, action, result.findings) for action in result.actions]
            _note(world, result, [one.id for one in proposed])
    except DeadlineExceeded:
        return Summary("another process does this cycle")
    return _summary(result, proposed)


def optimize_once(world: AgentWorld) -> Summary:
    """One cycle by itself, for the flow of that name."""
    if world.paused():
        return Summary("the agent is paused: nothing was proposed")
    return cycle(world, Monitor(world).look(), study=True)


def _proposed(world: AgentWorld, action: Action, findings: Sequence[Finding]) -> Action:
    """Record an action; one that is under way for the same advice is that one."""
    try:
        kept = world.stores.actions.propose(action, findings=findings)
    except ConflictError as error:
        _log.info("%s is not proposed: %s", action.proposal.description, error)
        return action
    if kept.id == action.id:
        _say(world, kept)
    return kept


def _say(world: AgentWorld, action: Action) -> None:
    proposal = action.proposal
    extra = {
        "action": action.id,
        "type": proposal.type,
        "target": proposal.target,
        "state": action.state.value,
    }
    text = f"{proposal.description} ({action.state}: {action.reason})"
    _log.info("Proposed action %s: %s", action.id, text, extra=extra)
    if action.state is ActionState.WAITING_APPROVAL:
        world.tell("action", action.id, f"{proposal.description}: {action.reason}")


def _note(world: AgentWorld, result: CycleResult, proposed: list[str]) -> None:
    """Keep how the cycle went: it answers why nothing is being done."""
    skipped: list[JsonValue] = [
        {
            "type": one.proposal.type,
            "target": one.proposal.target,
            "description": one.proposal.description,
            "kind": one.kind.value,
            "reason": one.reason,
        }
        for one in result.skipped[:_MOST_SKIPPED]
    ]
    troubles: list[JsonValue] = [str(one) for one in result.troubles]
    value: dict[str, JsonValue] = {
        "findings": len(result.findings),
        "proposed": list(proposed),
        "skipped": skipped,
        "troubles": troubles,
    }
    world.stores.control.set_fact(CYCLE, value, world.holder)


def _summary(result: CycleResult, proposed: list[Action]) -> Summary:
    rows: list[Row] = [
        {
            "what": one.proposal.description,
            "outcome": one.state.value,
            "why": one.reason,
            "action": one.id,
        }
        for one in proposed
    ]
    rows += [
        {
            "what": one.proposal.description,
            "outcome": f"skipped: {one.kind}",
            "why": one.reason,
            "action": None,
        }
        for one in result.skipped[:_MOST_SKIPPED]
    ]
    text = (
        f"{len(result.findings)} findings, {len(proposed)} actions, {len(result.skipped)} left out"
    )
    return Summary(text, rows)
