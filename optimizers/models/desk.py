"""What the life-cycle's controllers work with: stores, registry, clock and waiting, in one hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Engine

from config.clock import Clock
from registry.aliases import AliasMover
from registry.experiments import ExperimentStore
from registry.exposures import ExposureStore
from registry.feedback import FeedbackStore
from registry.ledger.events import EventLog
from registry.lifecycle import LifecycleStore
from registry.records import (
    CHALLENGER_ALIAS,
    Experiment,
    ModelFile,
    ModelVersion,
    Stage,
    TrialVerdict,
    VersionStage,
)
from registry.routing import RouteStore

if TYPE_CHECKING:
    # Importing it for real costs two seconds and 80 MB: only those who publish pay for it.
    from registry.evaluation import EvaluationData
    from registry.mlflow_runs import RunRef


class Registry(Protocol):
    """What a controller reads of the registry; `registry.reader.RegistryReader` is the real one.

    Everything raises RegistryUnavailable when the registry does not answer.
    """

    def models(self) -> list[str]:
        """The names of the registered models."""
        ...

    def aliases(self, model: str) -> dict[str, int]:
        """Alias to version."""
        ...

    def versions(self, model: str) -> list[ModelVersion]:
        """The versions of a model, oldest first."""
        ...

    def version(self, model: str, version: int) -> ModelVersion:
        """One version. Raises UnknownVersion."""
        ...

    def fetch(self, model: str, version: int) -> ModelFile:
        """A version's file, checked. Raises ModelRefused."""
        ...

    def fetch_evaluation(self, model: str, version: int) -> EvaluationData:
        """A version's evaluation data. Raises InputError."""
        ...


class PublishTrial(Protocol):
    """Publishes the run of a decided test; the same test and decision give the same run."""

    def __call__(self, desk: Desk, experiment: Experiment, decision: Decision) -> RunRef:
        """Log it. Raises RegistryUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """How a test ends and why; in the ledger before any of it is carried out."""

    verdict: TrialVerdict
    reason: str


def _no_checkpoint(_step: str) -> None:
    """Go on: only crash tests stop anything here."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One controller's working place; nothing on it is opened or closed here.

    Attributes:
        moves: moves aliases under the ledger's lock.
        publish_trial: logs the run of a decided test.
        wait: lets seconds pass; an exception it raises (a termination signal) ends the controller.
        lease_s: seconds without a sign of life after which another controller may take over.
        patience_s: how long a server may be away at the end before the controller gives up and
            leaves the rest to the next one.
        checkpoint: called with the name of each step just done; a crash test stops there.
    """

    engine: Engine
    experiments: ExperimentStore
    lifecycle: LifecycleStore
    routes: RouteStore
    exposures: ExposureStore
    feedback: FeedbackStore
    events: EventLog
    registry: Registry
    moves: AliasMover
    publish_trial: PublishTrial
    clock: Clock
    wait: Callable[[float], None]
    lease_s: float = 30.0
    patience_s: float = 60.0
    checkpoint: Callable[[str], None] = _no_checkpoint


def move_stage(  # noqa: PLR0913 - these are the fields of a stage
    lifecycle: LifecycleStore,
    model: str,
    version: int,
    to: Stage,
    reason: str,
    *,
    flow_run_id: str | None = None,
    run_id: str | None = None,
) -> VersionStage:
    """Move a version to a stage from wherever it stands; the same again changes nothing.

    Raises:
        ConflictError: somebody else moved it at the same moment.
    """
    now = lifecycle.get(model, version)
    wanted = (to, reason, flow_run_id, run_id)
    if now is not None and (now.stage, now.reason, now.flow_run_id, now.run_id) == wanted:
        return now
    expected = now.stage if now else None
    return lifecycle.put(
        model, version, expected, to, reason, flow_run_id=flow_run_id, run_id=run_id
    )


def name_challenger(desk: Desk, model: str, to: int | None, reason: str) -> None:
    """Let @challenger name a version, or nothing; there already, it changes nothing.

    Raises:
        ConflictError: somebody else moves it at the same moment.
        RegistryUnavailable: try again.
    """
    # First what a killed controller left open: it may be this very move.
    desk.moves.recover(model)
    now = desk.registry.aliases(model).get(CHALLENGER_ALIAS)
    if now != to:
        desk.moves.move(
            model, CHALLENGER_ALIAS, expected=now, to=to, actor="ab_test", reason=reason
        )
