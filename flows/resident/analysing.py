"""The analyse tick: what was seen becomes findings, and the goals are measured."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.resident.monitoring import Monitor
from flows.resident.summary import Row, Summary
from flows.resident.viewing import view_of
from optimizers.detection import find_troubles
from optimizers.proposals import gather
from registry.agent_records import Finding, Severity

if TYPE_CHECKING:
    from flows.resident.world import AgentWorld

# Missed goals belong to no target: they are found under this name.
_GOALS = "goals"

_log = logging.getLogger("prime_spark.agent")


@dataclass(slots=True)
class Analyst:
    """Turns what was seen into findings, again and again."""

    world: AgentWorld
    monitor: Monitor

    def tick(self) -> Summary:
        """Find what is wrong, or could be better, and record it.

        Raises:
            LedgerUnavailable: the ledger does not answer.
        """
        world, look = self.world, self.monitor.look()
        view = view_of(world, look)
        before = {one.id for one in view.findings}
        gathered = gather(view, world.capabilities.values())
        timeout_s = world.settings.agent.target_timeout_seconds
        found = find_troubles(view, look.troubles, timeout_s)
        findings = [*found, *gathered.findings]
        world.stores.findings.put(findings, view.at, targets=(*look.health, _GOALS))
        for one in findings:
            if one.id not in before:
                self._tell(one)
        for trouble in gathered.troubles:
            _log.warning("%s", trouble.text)
        return Summary(f"{len(findings)} findings", [_row(one) for one in findings])

    def _tell(self, one: Finding) -> None:
        level = logging.INFO if one.severity is Severity.INFO else logging.WARNING
        _log.log(level, "Found at %s: %s", one.target, one.text, extra={"target": one.target})
        if one.severity is not Severity.INFO:
            self.world.tell("finding", one.id, one.text, one.severity)


def analyze_once(world: AgentWorld) -> Summary:
    """One tick by itself, for the flow of that name."""
    return Analyst(world, Monitor(world)).tick()


def _row(one: Finding) -> Row:
    return {
        "target": one.target,
        "subject": one.subject,
        "severity": one.severity.value,
        "finding": one.text,
    }
