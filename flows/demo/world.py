"""What the story sees and does: servers, ledger, registry and traffic, each by its front door.

Every wait has a deadline, ends when the user stops, and fails the chapter with what it was for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx

from config.clock import Clock, epoch
from config.errors import PrimeSparkError
from flows.demo.counts import TrafficStatus
from flows.demo.training import DemoData, Recipe, TrainedModel, train
from flows.demo.visitors import Visitors
from flows.up.screen import Screen
from flows.up.session import UpSession
from registry.aliases import AliasHistory
from registry.experiments import ExperimentStore
from registry.lifecycle import LifecycleStore
from registry.records import AliasMove, Experiment, Look, Stage, VersionStage

if TYPE_CHECKING:
    from registry.mlflow_models import ModelRegistry

_POLL_SECONDS = 0.2
_REQUEST_SECONDS = 10.0
_ENDS = frozenset(
    (Stage.REJECTED, Stage.KEPT, Stage.STOPPED, Stage.INVALIDATED, Stage.CHAMPION, Stage.FAILED)
)

T = TypeVar("T")


class ChapterFailed(PrimeSparkError):
    """A chapter did not come out as told; the text says what was seen instead."""


class Stopped(PrimeSparkError):
    """The user asked to stop, or a server ended."""


@dataclass(slots=True)
class Told:
    """What later chapters need to know of earlier ones: version numbers by the story's names."""

    accuracy: dict[int, float]
    visitors: Visitors | None = None


@dataclass(frozen=True, slots=True)
class World:
    """Eyes and hands of the story."""

    session: UpSession
    screen: Screen
    clock: Clock
    model: str
    folder: Path
    data: DemoData
    registry: ModelRegistry
    lifecycle: LifecycleStore
    experiments: ExperimentStore
    aliases: AliasHistory
    told: Told

    @property
    def traffic(self) -> TrafficStatus:
        """The traffic's own counts, as of a moment ago."""
        visitors = self.told.visitors
        if visitors is None:
            return TrafficStatus()
        if visitors.trouble:
            raise ChapterFailed(visitors.trouble)
        return visitors.status

    def wait(self, what: str, seconds: float, find: Callable[[], T | None]) -> T:
        """Return what `find` gives as soon as it gives something.

        Raises:
            ChapterFailed: it gave nothing for `seconds`.
            Stopped: the user stopped meanwhile.
        """
        deadline = self.clock.monotonic() + seconds
        while True:
            found = find()
            if found is not None:
                return found
            if self.session.stop.is_set():
                raise Stopped("stopped before the story's end")
            if self.clock.monotonic() > deadline:
                raise ChapterFailed(f"{what}: nothing for {seconds:.0f} s")
            self.session.stop.wait(_POLL_SECONDS)

    def pause(self, seconds: float) -> None:
        """Let some traffic pass."""
        until = self.clock.monotonic() + seconds
        self.wait("a pause", seconds + 5, lambda: True if self.clock.monotonic() >= until else None)

    def register(self, recipe: Recipe) -> int:
        """Train a model and register it; everything else has to find it by itself."""
        from registry.evaluation import EvaluationData

        self.screen.status(f"training: {recipe.description}")
        trained = train(recipe, self.data, self.folder)
        self.screen.status("registering it in MLflow")
        version = self.registry.register(
            self.model,
            trained.path,
            evaluation=EvaluationData(self.data.evaluation.images, self.data.evaluation.labels),
            metrics={"accuracy": trained.accuracy},
            description=trained.description,
            tags={"recipe": trained.name},
        ).version
        self.told.accuracy[version] = trained.accuracy
        self.screen.line(_registered(version, trained))
        return version

    def reach(self, version: int, wanted: Stage, seconds: float) -> VersionStage:
        """Follow a version through its stages until it stands at the wanted one.

        Raises:
            ChapterFailed: it ended elsewhere, or did not get there in time.
        """
        follow = _Follow(self, version)
        end = self.wait(
            f"version {version} on its way to {wanted.value}", seconds, lambda: follow.end(wanted)
        )
        if end.stage is not wanted:
            raise ChapterFailed(
                f"version {version} became {end.stage.value} instead of {wanted.value}: "
                f"{end.reason}"
            )
        return end

    def trial(self, version: int) -> tuple[Experiment, Look]:
        """Return the finished trial of a version and its last look."""
        for experiment in reversed(self.experiments.all(self.model)):
            looks = self.experiments.looks(experiment.id)
            if experiment.challenger == version and looks:
                return experiment, looks[-1]
        raise ChapterFailed(f"the ledger has no trial of version {version} with a look")

    def champion_move(self, to: int, *, outside: bool) -> AliasMove | None:
        """Return the last recorded move of @champion to a version, if there is one."""
        moves = [
            move
            for move in self.aliases.list(self.model)
            if move.alias == "champion" and move.after == to and move.outside == outside
        ]
        return max(moves, key=lambda move: move.id, default=None)

    def served(self) -> bool:
        """Tell whether the predictor has loaded the model."""
        url = f"{self.session.urls.predictor}/v2/models/{self.model}/ready"
        return httpx.get(url, timeout=_REQUEST_SECONDS).status_code == httpx.codes.OK

    def champion(self) -> int:
        """Ask MLflow which version holds @champion."""
        answer = self._mlflow("GET", {"name": self.model, "alias": "champion"})
        version: str = answer.json()["model_version"]["version"]
        return int(version)

    def move_champion_by_hand(self, version: int) -> float:
        """Move @champion as MLflow's own page does, past Prime Spark; return when (epoch)."""
        body = {"name": self.model, "alias": "champion", "version": str(version)}
        self._mlflow("POST", body)
        return epoch(self.clock.now())

    def run_link(self, run_id: str | None) -> str:
        """Return the address of an MLflow run's page."""
        if run_id is None:
            return f"{self.session.urls.mlflow}/#/models/{self.model}"
        url = f"{self.session.urls.mlflow}/api/2.0/mlflow/runs/get"
        answer = httpx.get(url, params={"run_id": run_id}, timeout=_REQUEST_SECONDS)
        experiment = answer.raise_for_status().json()["run"]["info"]["experiment_id"]
        return f"{self.session.urls.mlflow}/#/experiments/{experiment}/runs/{run_id}"

    def flow_link(self, flow_run_id: str | None) -> str:
        """Return the address of a Prefect flow run's page."""
        return f"{self.session.urls.prefect}/runs/flow-run/{flow_run_id}"

    def _mlflow(self, method: str, fields: dict[str, str]) -> httpx.Response:
        url = f"{self.session.urls.mlflow}/api/2.0/mlflow/registered-models/alias"
        given = {"params": fields} if method == "GET" else {"json": fields}
        answer = httpx.request(method, url, timeout=_REQUEST_SECONDS, **given)  # type: ignore[arg-type]
        return answer.raise_for_status()


class _Follow:
    """Shows each new stage of a version once, and the looks of its trial as they come."""

    def __init__(self, world: World, version: int) -> None:
        self._world = world
        self._version = version
        self._seen: Stage | None = None
        self._reason = ""

    def end(self, wanted: Stage) -> VersionStage | None:
        """Return the stage the version has come to rest at, if it has."""
        now = self._world.lifecycle.get(self._world.model, self._version)
        if now is None:
            self._world.screen.status("waiting for watch_models to find it")
            return None
        if now.stage is not self._seen:
            self._seen = now.stage
            self._world.screen.line(self._shown(now))
        self._world.screen.status(self._doing(now))
        return now if now.stage is wanted or now.stage in _ENDS else None

    def _shown(self, now: VersionStage) -> str:
        """Return the stage with its reason, unless that was the reason for the stage before."""
        name = f"v{self._version} {now.stage.value}"
        if now.reason == self._reason:
            return name
        self._reason = now.reason
        said = now.reason.removeprefix(f"{now.stage.value.capitalize()}: ")
        return f"{name}: {said}"

    def _doing(self, now: VersionStage) -> str:
        if now.stage is not Stage.TRIAL:
            return f"v{self._version} is {now.stage.value}"
        running = self._world.experiments.running(self._world.model)
        looks = self._world.experiments.looks(running[0].id) if running else []
        if not looks:
            return f"v{self._version} is on trial; no look yet"
        return f"v{self._version} is on trial; {shown_look(looks[-1])}"


def shown_look(look: Look) -> str:
    """Return a look's evidence in a line."""
    values = sum(arm.metric.count for arm in look.arms.values())
    if look.z is None or look.boundary is None:
        return f"look {look.number}: {values:,} labels"
    return f"look {look.number}: {values:,} labels, z {look.z:.2f} (needs {look.boundary:.2f})"


def _registered(version: int, trained: TrainedModel) -> str:
    return (
        f"v{version} registered: {trained.description}; trained in {trained.seconds:.1f} s, "
        f"{trained.accuracy:.1%} right on its evaluation data"
    )
