"""Reads where every version of a model stands and plans what to start: pure, level-triggered.

The plan depends on the state alone: seen twice, it is the same steps under the same keys. What was
missed while nobody watched is therefore found at the next look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from config.clock import epoch
from config.settings import ModelSettings
from optimizers.models.lifecycle import Situation, Step, StepKind, key_of, next_step
from registry.records import (
    Experiment,
    MetricTotals,
    ModelVersion,
    RouteMode,
    Stage,
    VersionStage,
)

AT_WORK = (Stage.BENCHMARKING, Stage.PROMOTING)


class RunState(StrEnum):
    """What Prefect knows of a flow run."""

    ALIVE = "alive"
    OVER = "over"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Trial:
    """A test that takes traffic, and whether anybody is looking after it.

    Attributes:
        held: a controller's lease is alive.
        token: the lease's token; grows with every controller.
    """

    experiment: Experiment
    held: bool
    token: int


@dataclass(frozen=True, slots=True)
class Quality:
    """How the champion does on live labels.

    Attributes:
        recent: its accuracy over the last `models.degraded_window_seconds`.
        worse_than_former: why it is significantly worse than the version it replaced, on labels
            since they were compared; empty when it is not.
        retrained_recently: a retraining was started less than the cool-down ago.
        window: number of the window; a champion is retrained once in each at the most.
    """

    recent: MetricTotals = field(default_factory=MetricTotals)
    worse_than_former: str = ""
    retrained_recently: bool = False
    window: int = 0


@dataclass(frozen=True, slots=True)
class ModelView:
    """Everything the plan for one model depends on.

    Attributes:
        champion: the version behind @champion.
        previous: the version behind @previous.
        runs: what Prefect says of the flow runs that matter here.
        abandoned: versions at a stage of work on which no process works.
    """

    model: str
    champion: int | None
    versions: tuple[ModelVersion, ...]
    stages: dict[int, VersionStage]
    trial: Trial | None = None
    quality: Quality = field(default_factory=Quality)
    runs: dict[str, RunState] = field(default_factory=dict)
    abandoned: frozenset[int] = frozenset()
    previous: int | None = None


@dataclass(frozen=True, slots=True)
class StageFix:
    """A version whose recorded stage is not what the registry shows."""

    version: int
    expected: Stage | None
    to: Stage
    reason: str


def plan(view: ModelView, settings: ModelSettings) -> tuple[Step, ...]:
    """Return the steps to start now, the most urgent first."""
    steps = [*_trial_steps(view), *_champion_steps(view, settings)]
    begun = ""
    for version in _candidates(view):
        busy = begun or _busy(view, version.version, settings)
        step = next_step(_situation(view, version, settings, busy))
        if isinstance(step, Step):
            steps.append(step)
            begun = begun or f"{step.kind} of version {step.version} comes first"
    return tuple(steps)


def fixes(view: ModelView) -> tuple[StageFix, ...]:
    """Return the stages to correct: what people did in the registry, and what is history."""
    found = [_cancelled(view, stage) for stage in view.stages.values()]
    if view.champion is not None:
        found += [_misplaced(view, version.version, view.champion) for version in view.versions]
    return tuple(fix for fix in found if fix is not None)


def unfinished(view: ModelView) -> set[int]:
    """Versions that stand at TRIAL although their test is over: its controller died just then."""
    on_trial = {number for number, stage in view.stages.items() if stage.stage is Stage.TRIAL}
    return on_trial - ({view.trial.experiment.challenger} if view.trial else set())


def _cancelled(view: ModelView, stage: VersionStage) -> StageFix | None:
    """A version whose run a person cancelled: it stays where it is, until a person asks again."""
    run = view.runs.get(stage.flow_run_id or "")
    if stage.stage not in AT_WORK or run is not RunState.CANCELLED:
        return None
    if stage.version == view.champion:
        return None
    reason = f"cancelled while {stage.stage}; start the flow by hand to try again"
    return StageFix(stage.version, stage.stage, Stage.FAILED, reason)


def _misplaced(view: ModelView, version: int, champion: int) -> StageFix | None:
    """A version whose stage does not fit where @champion is."""
    stage = view.stages.get(version)
    now = stage.stage if stage else None
    if version == champion:
        if now in {Stage.CHAMPION, Stage.PROMOTING}:
            return None
        reason = "found as @champion: moved there by a person, or before it was watched"
        return StageFix(version, now, Stage.CHAMPION, reason)
    if now is Stage.CHAMPION:
        return StageFix(version, now, Stage.RETIRED, f"@champion is version {champion} now")
    if now is None and version < champion:
        reason = f"older than @champion, version {champion}, when it was first seen"
        return StageFix(version, None, Stage.RETIRED, reason)
    return None


def _candidates(view: ModelView) -> list[ModelVersion]:
    """Versions on their way, and new ones: all newer than the champion, or the newest without one.

    A registry that is watched for the first time may hold years of versions; only what came after
    the champion is meant to replace it.
    """
    unseen = [v for v in view.versions if v.version not in view.stages and not v.retired]
    if view.champion is None:
        unseen = unseen[-1:] if not view.stages else unseen
    else:
        unseen = [v for v in unseen if v.version > view.champion]
    fresh = {version.version for version in unseen}
    return [
        version
        for version in view.versions
        if not version.retired and (version.version in view.stages or version.version in fresh)
    ]


def _busy(view: ModelView, version: int, settings: ModelSettings) -> str:
    """What the model is busy with apart from this version; one version at a time is on its way."""
    if view.trial is not None:
        experiment = view.trial.experiment
        return f"version {experiment.challenger} is in test {experiment.id}"
    for other in view.stages.values():
        if other.version != version and _comes_first(view, other, version, settings):
            return f"version {other.version} is {other.stage}"
    return ""


def _comes_first(
    view: ModelView, other: VersionStage, version: int, settings: ModelSettings
) -> bool:
    if other.stage in AT_WORK:
        return other.version not in view.abandoned
    if other.stage is Stage.WON:
        return settings.auto_promote
    if other.stage is not Stage.ACCEPTED:
        return False
    own = view.stages.get(version)
    return own is None or own.stage is not Stage.ACCEPTED or other.version < version


def _situation(
    view: ModelView, version: ModelVersion, settings: ModelSettings, busy: str
) -> Situation:
    stage = view.stages.get(version.version)
    return Situation(
        model=view.model,
        version=version.version,
        stage=stage,
        champion=view.champion,
        busy=busy,
        abandoned=version.version in view.abandoned,
        auto_promote=settings.auto_promote,
    )


def _trial_steps(view: ModelView) -> list[Step]:
    """Go on with a test whose controller died; end one whose run was cancelled."""
    if view.trial is None or view.trial.held:
        return []
    experiment = view.trial.experiment
    cancelled = view.runs.get(experiment.flow_run_id or "") is RunState.CANCELLED
    if cancelled:
        kind, reason = StepKind.CANCEL, "its flow run was cancelled"
    elif experiment.mode is RouteMode.SHADOW:
        kind, reason = StepKind.CANCEL, "its flow run ended before the shadow did"
    else:
        kind, reason = StepKind.AB_TEST, "its controller died; going on with the same counts"
    key = f"{kind}:{experiment.id}:{view.trial.token}"
    return [
        Step(
            kind,
            view.model,
            experiment.challenger,
            reason,
            key,
            champion=experiment.champion,
            test_id=experiment.id,
        )
    ]


def _champion_steps(view: ModelView, settings: ModelSettings) -> list[Step]:
    """Roll a champion back that does worse than the one it replaced; retrain a degraded one."""
    champion, quality = view.champion, view.quality
    if champion is None or view.trial is not None:
        return []
    stage = view.stages.get(champion)
    if quality.worse_than_former:
        key = key_of(StepKind.ROLLBACK, view.model, champion, stage)
        reason = quality.worse_than_former
        return [Step(StepKind.ROLLBACK, view.model, champion, reason, key, champion)]
    reason = _degraded(quality.recent, settings)
    if not reason or settings.retrain_entrypoint is None or quality.retrained_recently:
        return []
    key = f"{StepKind.RETRAIN}:{view.model}:{champion}:{quality.window}"
    return [Step(StepKind.RETRAIN, view.model, champion, reason, key, champion)]


def _degraded(recent: MetricTotals, settings: ModelSettings) -> str:
    if recent.count < settings.degraded_min_labels:
        return ""
    accuracy = recent.total / recent.count
    if accuracy >= settings.accuracy_threshold:
        return ""
    return (
        f"accuracy {accuracy:.3f} on {recent.count} labels of the last "
        f"{settings.degraded_window_seconds:g} s is below {settings.accuracy_threshold:g}"
    )


def window_number(now_s: float, settings: ModelSettings) -> int:
    """The number of the cool-down period that a time (epoch seconds) falls into."""
    return int(now_s // settings.retrain_cooldown_seconds)


def promoted_at(stage: VersionStage | None) -> float | None:
    """When a champion became one, epoch seconds; None when it is not recorded as one."""
    return epoch(stage.at) if stage is not None and stage.stage is Stage.CHAMPION else None
