"""A small world for controllers: a ledger, a registry, traffic, and time that tests move.

Waiting lets traffic come in and time pass, so a test of an hour takes a second, and whatever is to
happen in the middle of it happens at its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from config.clock import ManualClock
from optimizers.models.desk import Decision, Desk, PublishTrial
from optimizers.models.trial_report import decision_record
from registry.aliases import AliasMover
from registry.experiments import ExperimentStore, LifecycleStore
from registry.exposures import ExposureStore
from registry.feedback import FeedbackStore
from registry.ledger.database import open_ledger
from registry.ledger.events import EventLog
from registry.mlflow_runs import RunRef
from registry.records import Experiment, Stage
from registry.routing import RouteStore
from registry.trial_config import ABTestConfig, Guardrail, GuardrailKind
from tests.services.scripted_traffic import Behaviour, ScriptedTraffic
from tests.services.small_registry import SmallRegistry

MODEL = "toy"
START = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
RAILS = (
    Guardrail(kind=GuardrailKind.ERRORS, alpha=0.01),
    Guardrail(kind=GuardrailKind.LATENCY, alpha=0.01, objective_ms=100.0),
    Guardrail(kind=GuardrailKind.SAMPLE_RATIO, alpha=0.001),
)


def trial_config(**changes: object) -> ABTestConfig:
    """Version 2 against version 1 at 30 % for ten minutes."""
    fields: dict[str, object] = {
        "test_id": "toy-test",
        "model": MODEL,
        "model_a": 1,
        "model_b": 2,
        "traffic_split": 0.3,
        "duration_seconds": 600,
        "success_metric": "accuracy",
        "min_improvement": 0.05,
        "look_seconds": 10,
        "planned_samples": 4000,
        "guardrails": RAILS,
    }
    return ABTestConfig.model_validate(fields | changes)


@dataclass(slots=True)
class TrialWorld:
    """Version 1 is the champion of `toy`, version 2 has passed its benchmark.

    Attributes:
        rate: requests per second.
        publisher: publishes runs; without one, records are kept as files.
        later: what happens once so many seconds have been waited, at the next wait.
    """

    folder: Path
    behaviours: Mapping[int, Behaviour] = field(default_factory=dict)
    rate: float = 20.0
    metric: str = "accuracy"
    worker: str = "scripted"
    checkpoint: Callable[[str], None] = lambda _step: None
    later: dict[float, Callable[[], object]] = field(default_factory=dict)
    start_s: float = 0.0
    publisher: PublishTrial | None = None
    clock: ManualClock = field(init=False)
    engine: Engine = field(init=False)
    registry: SmallRegistry = field(init=False)
    desk: Desk = field(init=False)
    traffic: ScriptedTraffic = field(init=False)
    waited: float = 0.0

    def __post_init__(self) -> None:
        self.clock = ManualClock(START + timedelta(seconds=self.start_s))
        self.engine = open_ledger(f"sqlite:///{self.folder}/ledger.db")
        self.registry = SmallRegistry(self.folder / "registry.json")
        self.desk = self._desk()
        self.traffic = ScriptedTraffic(
            self.engine, MODEL, 1, self.behaviours, worker=self.worker, metric=self.metric,
            clock=self.clock,
        )  # fmt: skip

    @property
    def published(self) -> list[str]:
        """The decision records published, one for each run."""
        return [file.read_text() for file in sorted(self.folder.glob("run-*.json"))]

    def prepare(self) -> TrialWorld:
        """Register both versions; call it once for a folder."""
        self.registry.add(MODEL, 2, champion=1)
        self.desk.lifecycle.put(MODEL, 1, None, Stage.CHAMPION, "the first")
        self.desk.lifecycle.put(MODEL, 2, None, Stage.ACCEPTED, "passed")
        return self

    def stage(self, version: int = 2) -> Stage | None:
        """Where a version stands."""
        found = self.desk.lifecycle.get(MODEL, version)
        return found.stage if found else None

    def wait(self, seconds: float) -> None:
        """Let requests be answered and time pass, then let happen what is due."""
        self.traffic.send(round(self.rate * seconds))
        self.clock.advance(seconds)
        self.waited += seconds
        for due in sorted(at for at in self.later if at <= self.waited):
            self.later.pop(due)()

    def close(self) -> None:
        """Close the ledger."""
        self.engine.dispose()

    def _desk(self) -> Desk:
        engine, clock = self.engine, self.clock
        return Desk(
            engine=engine,
            experiments=ExperimentStore(engine, clock),
            lifecycle=LifecycleStore(engine, clock),
            routes=RouteStore(engine, clock),
            exposures=ExposureStore(engine),
            feedback=FeedbackStore(engine),
            events=EventLog(engine, clock),
            registry=self.registry,
            moves=AliasMover(engine, clock, self.registry, checkpoint=self.checkpoint),
            publish_trial=self.publisher or self._publish,
            clock=clock,
            wait=self.wait,
            lease_s=30.0,
            patience_s=60.0,
            checkpoint=self.checkpoint,
        )

    def _publish(self, desk: Desk, experiment: Experiment, decision: Decision) -> RunRef:
        """Keep the record as MLflow would: the same key is the same run."""
        self.registry.models()
        file = self.folder / f"run-{experiment.id}-{decision.verdict}.json"
        record = decision_record(experiment, decision, desk.experiments.looks(experiment.id))
        file.write_text(record)
        return RunRef(file.stem, file.as_uri())
