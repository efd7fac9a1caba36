"""What the API reads and writes: the stores of one ledger, and the registry where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from config.clock import Clock
from config.paths import Home
from config.settings import Settings
from registry.agent_actions import ActionStore
from registry.agent_approvals import ApprovalStore
from registry.agent_control import ControlStore
from registry.agent_findings import FindingStore
from registry.agent_health import HealthStore
from registry.agent_learning import LearningStore
from registry.audit import Audit
from registry.audit_anchor import AnchorTag
from registry.catalog import Catalog
from registry.experiments import ExperimentStore
from registry.ledger.events import EventLog
from registry.lifecycle import LifecycleStore
from registry.observations import ObservationStore
from registry.routing import RouteStore


@dataclass(frozen=True, slots=True)
class AgentStores:
    """Where the agent's state is found; safe to share between threads.

    Attributes:
        catalog: the MLflow server's models; None when no server is set.
    """

    settings: Settings
    home: Home
    clock: Clock
    engine: Engine
    actions: ActionStore
    approvals: ApprovalStore
    control: ControlStore
    findings: FindingStore
    health: HealthStore
    learning: LearningStore
    observations: ObservationStore
    events: EventLog
    audit: Audit
    routes: RouteStore
    lifecycle: LifecycleStore
    experiments: ExperimentStore
    catalog: Catalog | None

    @classmethod
    def of(cls, engine: Engine, settings: Settings, clock: Clock) -> AgentStores:
        """Make the stores of an opened ledger."""
        uri = settings.mlflow.tracking_uri
        timeout_s = settings.mlflow.timeout_seconds
        return cls(
            settings=settings,
            home=settings.home_dir,
            clock=clock,
            engine=engine,
            actions=ActionStore(engine, clock),
            approvals=ApprovalStore(engine, clock),
            control=ControlStore(engine, clock),
            findings=FindingStore(engine, clock),
            health=HealthStore(engine, clock),
            learning=LearningStore(engine, clock),
            observations=ObservationStore(engine),
            events=EventLog(engine, clock),
            audit=Audit(engine, clock, _anchor_tag(settings)),
            routes=RouteStore(engine, clock),
            lifecycle=LifecycleStore(engine, clock),
            experiments=ExperimentStore(engine, clock),
            catalog=Catalog(uri, timeout_s=timeout_s) if uri else None,
        )


def _anchor_tag(settings: Settings) -> AnchorTag | None:
    mlflow = settings.mlflow
    if not mlflow.tracking_uri:
        return None
    return AnchorTag(mlflow.tracking_uri, mlflow.experiment, timeout_s=mlflow.timeout_seconds)
