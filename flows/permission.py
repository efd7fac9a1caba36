"""What the flows of the life-cycle may do by themselves at this moment.

Whatever a person starts by hand is not asked about here, and neither is an action of the agent: it
was decided upon, and is stopped by its own guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings

if TYPE_CHECKING:
    from flows.context import Context
    from registry.agent_people import PausedState


@dataclass(frozen=True, slots=True)
class Permission:
    """What may be done; an empty reason says that it may.

    Attributes:
        no_effects: why nothing may be changed anywhere but in the records.
        no_starts: why no step may be started that nobody asked for.
    """

    no_effects: str = ""
    no_starts: str = ""


def permission(context: Context) -> Permission:
    """What holds now, by the kill switch and the settings.

    Raises:
        LedgerUnavailable: the ledger does not answer.
    """
    from registry.agent_control import ControlStore

    control = ControlStore(context.engine, context.clock)
    return permission_of(control.paused(context.settings.home_dir.pause_file), context.settings)


def permission_of(paused: PausedState, settings: Settings) -> Permission:
    """The same from what was read."""
    if paused.paused:
        reason = f"paused by {paused.by or 'somebody'}"
        reason += f": {paused.reason}" if paused.reason else ""
        return Permission(reason, reason)
    if settings.safety.simulation_mode:
        reason = "safety.simulation_mode is on"
        return Permission(reason, reason)
    if settings.models.driver == "agent":
        return Permission(no_starts="the agent decides on it (models.driver)")
    if not settings.safety.enable_automatic_actions:
        return Permission(no_starts="safety.enable_automatic_actions is off")
    return Permission()
