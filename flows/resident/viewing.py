"""Puts together what the agent knows at one moment, for detection and decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.resident.studying import known_studies
from optimizers.view import View
from registry.goals import default_goals, measure_goals, performance_score

if TYPE_CHECKING:
    from flows.resident.looking import Look
    from flows.resident.world import AgentWorld

_HISTORY_S = 3600.0
_DAY_S = 86_400.0


def view_of(world: AgentWorld, look: Look) -> View:
    """One consistent look at everything.

    Args:
        world: the stores.
        look: how the targets answered, and what they know besides numbers.

    Raises:
        LedgerUnavailable: the ledger does not answer.
    """
    stores, now = world.stores, world.now
    history = world.observations.history(now - _HISTORY_S, now)
    wanted = stores.control.goals(default_goals(world.settings.goals))
    goals = measure_goals(wanted, history, now)
    return View(
        at=now,
        history=history,
        health=look.health,
        facts=look.facts,
        goals=goals,
        score=performance_score(goals),
        findings=stores.findings.open(),
        actions=[*stores.actions.live(), *stores.actions.finished_since(now - _DAY_S)],
        learned=stores.learning.all(),
        held=stores.control.held(),
        declined=stores.control.all_declined(),
        studies=known_studies(world),
    )
