"""What one process of the agent works with: stores, targets, capabilities, and who is told.

The resident agent and the processes of its flow runs open one each. Everything is made when it is
first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from config.clock import Clock, epoch
from config.settings import Settings
from flows.context import Context, open_context
from flows.resident.plugging import address, has_prefect, plugin_context
from optimizers.notifications.base import Event, Notices
from optimizers.plugins import Installed, PluginContext, load_all
from registry.agent_health import HealthStore
from registry.agent_leases import LeaseStore
from registry.agent_records import Action, Severity
from registry.observations import ObservationStore
from serving.api.stores import AgentStores

if TYPE_CHECKING:
    from optimizers.capability import Capability, Jobs
    from optimizers.targets.base import Target
    from registry.agent_people import PausedState

LOG = "log"
"""The notifier that writes to this process's log."""


class AgentWorld:
    """Everything one process of the agent needs.

    Args:
        context: settings, clock, ledger and servers.
        holder: the name under which this process holds actions; no other has it.
    """

    def __init__(self, context: Context, holder: str | None = None) -> None:
        self.context = context
        self.holder = holder or context.ids.new("agent")

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.context.settings

    @property
    def clock(self) -> Clock:
        """Wall and monotonic time."""
        return self.context.clock

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return epoch(self.clock.now())

    @cached_property
    def stores(self) -> AgentStores:
        """The agent's records in the ledger."""
        context = self.context
        return AgentStores.of(context.engine, self._located(), context.clock)

    @cached_property
    def observations(self) -> ObservationStore:
        """What was seen."""
        return ObservationStore(self.context.engine)

    @cached_property
    def leases(self) -> LeaseStore:
        """Who leads."""
        return LeaseStore(self.context.engine, self.clock)

    @cached_property
    def health(self) -> HealthStore:
        """How the targets answered last."""
        return HealthStore(self.context.engine, self.clock)

    @cached_property
    def plugins(self) -> PluginContext:
        """What targets, capabilities and notifiers are made with."""
        return plugin_context(self.context)

    @cached_property
    def installed(self) -> Installed:
        """Targets, capabilities and notifiers, as far as the settings name them.

        Raises:
            ConfigError: a setting names one that is not installed.
        """
        return load_all(self.plugins)

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """The targets in use, by name."""
        return self.installed.targets

    @cached_property
    def capabilities(self) -> Mapping[str, Capability]:
        """The capabilities in use, by action type."""
        return self.installed.capabilities

    @cached_property
    def jobs(self) -> Jobs:
        """Starts flow runs."""
        from flows.resident.jobs import NoJobs, PrefectJobs

        if has_prefect(self.context):
            return PrefectJobs(self.context.prefect)
        return NoJobs("prefect.api_url is not set")

    @cached_property
    def notices(self) -> Notices:
        """Tells people what happens; the agent's own log says all of it already."""
        others = [one for one in self.installed.notifiers.values() if one.name != LOG]
        return Notices(others)

    def tell(self, kind: str, subject: str, text: str, severity: Severity = Severity.INFO) -> None:
        """Tell people about something that happened; never waits, never fails."""
        self.notices.publish(Event(kind, subject, text, self.now, severity))

    def pause(self) -> PausedState:
        """The kill switch as it stands now, in the ledger and as a file."""
        return self.stores.control.paused(self.settings.home_dir.pause_file)

    def paused(self) -> bool:
        """Whether the agent may change nothing now."""
        return self.pause().paused

    def too_old(self, action: Action) -> bool:
        """Whether a proposal has waited for an approval longer than it may."""
        return self.now - action.created_at > self.settings.agent.approval_expires_seconds

    def cooling(self, action: Action) -> bool:
        """Whether an action of its type was begun on its target too short a time ago."""
        proposal = action.proposal
        last = self.stores.actions.last_started(proposal.type, proposal.target)
        return last is not None and self.now - last < self.settings.agent.cooldown_seconds

    def close(self) -> None:
        """Close what was opened; the world is of no use afterwards."""
        opened = vars(self)
        if "notices" in opened:
            self.notices.close()
        self.context.close()

    def _located(self) -> Settings:
        """The settings with the MLflow server filled in that the environment names."""
        uri = address(lambda: self.context.tracking_uri)
        mlflow = self.settings.mlflow.model_copy(update={"tracking_uri": uri})
        return self.settings.model_copy(update={"mlflow": mlflow})


def open_world(holder: str | None = None) -> AgentWorld:
    """The world of this process, from settings and environment.

    Raises:
        ConfigError: a setting is wrong.
    """
    return AgentWorld(open_context(), holder)
