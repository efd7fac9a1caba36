"""Model actions carried out for real: ledger and registry on disk, time that moves by waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from config.clock import epoch
from config.settings import Settings
from optimizers.capability import Capability, Job, JobState, Tools
from optimizers.execution import run_action
from optimizers.execution_desk import ActionDesk
from optimizers.models.agent_target import ModelsTarget
from optimizers.models.capabilities.ab_test import AbTest
from optimizers.models.capabilities.model_benchmark import ModelBenchmark
from optimizers.models.capabilities.model_deploy import ModelDeploy
from optimizers.models.capabilities.model_promote import ModelPromote
from optimizers.models.capabilities.model_retire import ModelRetire
from optimizers.models.capabilities.model_retrain import ModelRetrain
from optimizers.models.capabilities.model_rollback import ModelRollback
from optimizers.models.capabilities.model_update import ModelUpdate
from optimizers.models.facts import TARGET, ModelFacts
from optimizers.models.model_tools import EXTRA, ModelTools
from optimizers.models.promotion import Serving
from optimizers.view import View
from registry.agent_actions import ActionStore
from registry.agent_control import ControlStore
from registry.agent_learning import LearningStore
from registry.agent_records import Action, ActionState, Decision, Proposal
from tests.services.small_predictor import SmallPredictor
from tests.services.trial_world import TrialWorld

DECISION = Decision(
    run=True,
    expected_improvement=0.1,
    success_probability=0.8,
    success_low=0.4,
    success_high=1.0,
    exposure=0.1,
    risk=0.4,
    expected_value=0.08,
    score=0.06,
)


def all_capabilities(settings: Settings) -> list[Capability]:
    """The model actions for these settings."""
    return [
        ModelRollback(settings),
        ModelPromote(settings),
        AbTest(settings),
        ModelBenchmark(settings),
        ModelRetrain(settings),
        ModelDeploy(settings),
        ModelUpdate(settings),
        ModelRetire(settings),
    ]


@dataclass(slots=True)
class ScriptedJobs:
    """Flow runs that end as they are told to, at once or when they are looked at the next time."""

    ends: JobState = JobState.DONE
    started: dict[str, tuple[str, Mapping[str, JsonValue]]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str) -> Job:
        self.started.setdefault(key, (deployment, parameters))
        return Job(JobState.RUNNING, key)

    def find(self, deployment: str, key: str) -> Job:  # noqa: ARG002
        if key in self.cancelled:
            return Job(JobState.CANCELLED, key, "cancelled")
        return (
            Job(self.ends, key, "its last word") if key in self.started else Job(JobState.UNKNOWN)
        )

    def cancel(self, flow_run_id: str) -> None:
        self.cancelled.append(flow_run_id)


@dataclass(slots=True)
class ModelActions:
    """Finds, proposes and carries out model actions in a `TrialWorld`."""

    world: TrialWorld
    predictor: SmallPredictor | None = None
    overrides: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    jobs: ScriptedJobs = field(default_factory=ScriptedJobs)
    settings: Settings = field(init=False)
    control: ControlStore = field(init=False)
    actions: ActionStore = field(init=False)
    target: ModelsTarget = field(init=False)

    def __post_init__(self) -> None:
        port = int(self.predictor.url.rsplit(":", 1)[1]) if self.predictor else 0
        defaults: dict[str, Mapping[str, object]] = {
            "models": {"driver": "agent"},
            "serving": {"port": port},
            "agent": {"cooldown_seconds": 0, "verify_seconds": 60},
        }
        merged = {
            name: {**values, **self.overrides.get(name, {})} for name, values in defaults.items()
        }
        self.settings = Settings.model_validate({"home": Path(self.world.folder), **merged})
        self.control = ControlStore(self.world.engine, self.world.clock)
        self.actions = ActionStore(self.world.engine, self.world.clock)
        self.target = ModelsTarget(
            self.world.desk,
            self.settings,
            lambda _ids: {},
            retirement=self.world.registry,
            predictor_url=self.predictor.url if self.predictor else None,
        )

    def view(self, facts: ModelFacts | None = None) -> View:
        """What there is to decide on now."""
        at = epoch(self.world.clock.now())
        return View(at=at, facts={TARGET: facts or self.target.observe(at, 5.0).facts})

    def proposals(self, facts: ModelFacts | None = None) -> list[Proposal]:
        """What the capabilities would do now."""
        view = self.view(facts)
        return [
            proposal
            for one in all_capabilities(self.settings)
            for finding in one.detect(view)
            for proposal in one.propose(finding, view)
        ]

    def run(self, proposal: Proposal, id_: str = "action-1") -> Action:
        """Carry a proposal out, as far as it goes."""
        return self.run_on(self.desk(), proposal, id_)

    def run_on(self, desk: ActionDesk, proposal: Proposal, id_: str = "action-1") -> Action:
        """The same on a desk that differs in something."""
        now = epoch(self.world.clock.now())
        action = Action(id_, proposal, DECISION, ActionState.SCHEDULED, "decided", now, now)
        self.actions.propose(action)
        return run_action(desk, id_, "tester")

    def desk(self) -> ActionDesk:
        """What actions are carried out with."""
        own = ModelTools(self.world.desk, self.settings, self._serving())
        capabilities: dict[str, Capability] = {
            one.type: one for one in all_capabilities(self.settings)
        }
        return ActionDesk(
            actions=self.actions,
            control=self.control,
            learning=LearningStore(self.world.engine, self.world.clock),
            capabilities=capabilities,
            tools=Tools(
                targets={TARGET: self.target},
                jobs=self.jobs,
                clock=self.world.clock,
                wait=self.world.clock.advance,
                sample=lambda _target, _metrics: {},
                extras={EXTRA: own},
            ),
            settings=self.settings,
            clock=self.world.clock,
            paused=lambda: self.control.paused().paused,
            publish=lambda _action: None,
            poll_s=5.0,
        )

    def _serving(self) -> Serving:
        return Serving(self.predictor.url if self.predictor else None, deadline_s=10.0)
