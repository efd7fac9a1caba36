"""Reads the whole state of a model from registry and ledger, for `watching` to plan on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from config.clock import epoch
from config.settings import Settings
from optimizers.models.at_work import is_worked_on
from optimizers.models.desk import Desk
from optimizers.models.leases import read_lease
from optimizers.models.settling import settle_stage
from optimizers.models.watching import (
    AT_WORK,
    ModelView,
    Quality,
    RunState,
    Trial,
    fixes,
    promoted_at,
    unfinished,
    window_number,
)
from registry.records import (
    CHAMPION_ALIAS,
    PREVIOUS_ALIAS,
    Experiment,
    MetricTotals,
    TrialVerdict,
    Variant,
    VersionStage,
)

RETRAINED = "retrain_started"
ACCURACY = "accuracy"

# The chance of a false way back over a champion's whole life: it costs a good version.
_WORSE_ALPHA = 0.001

RunStates: TypeAlias = Callable[[Collection[str]], Mapping[str, RunState]]


def watched_models(desk: Desk, settings: Settings) -> list[str]:
    """The models to look after: those named in the settings, else all in the registry."""
    names = settings.models.names
    known = desk.registry.models()
    return [name for name in known if not names or name in names]


def observe(desk: Desk, settings: Settings, model: str, run_states: RunStates) -> ModelView:
    """Read everything the plan for a model depends on.

    Args:
        desk: stores and registry.
        settings: windows and thresholds.
        model: its name.
        run_states: asks Prefect what became of flow runs; ids it does not know are left out.

    Raises:
        UnavailableError: registry or ledger do not answer; nothing can be planned then.
    """
    aliases = desk.registry.aliases(model)
    versions = sorted(desk.registry.versions(model), key=lambda one: one.version)
    stages = {stage.version: stage for stage in desk.lifecycle.all(model)}
    trial = _trial(desk, model)
    champion = aliases.get(CHAMPION_ALIAS)
    return ModelView(
        model=model,
        champion=champion,
        versions=tuple(versions),
        stages=stages,
        trial=trial,
        quality=_quality(desk, settings, model, stages.get(champion or 0)),
        runs=dict(run_states(_runs_of_interest(stages, trial))),
        abandoned=frozenset(
            stage.version
            for stage in stages.values()
            if stage.stage in AT_WORK and not is_worked_on(desk, model, stage.version)
        ),
        previous=aliases.get(PREVIOUS_ALIAS),
    )


def apply_fixes(desk: Desk, view: ModelView) -> list[str]:
    """Correct the stages that do not fit the registry; return what was corrected, in words."""
    told = []
    for fix in fixes(view):
        desk.lifecycle.put(view.model, fix.version, fix.expected, fix.to, fix.reason)
        told.append(f"{view.model} version {fix.version}: {fix.to}, {fix.reason}")
    return told


def settle_finished(desk: Desk, view: ModelView) -> list[str]:
    """Move versions on whose test ended just before its controller died; return them in words."""
    left = unfinished(view)
    told = []
    for experiment in desk.experiments.all(view.model) if left else ():
        if experiment.challenger in left and experiment.verdict is not None:
            settle_stage(desk, experiment)
            told.append(f"{view.model} version {experiment.challenger}: {experiment.reason}")
    return told


def _trial(desk: Desk, model: str) -> Trial | None:
    running = desk.experiments.running(model)
    if not running:
        return None
    lease = read_lease(desk.engine, running[0].id)
    now = epoch(desk.clock.now())
    if lease is None or lease.holder is None:
        # Created a moment ago, or its controller died before claiming it.
        young = now - epoch(running[0].started_at) < desk.lease_s
        return Trial(running[0], held=young, token=0)
    return Trial(running[0], held=lease.alive(now, desk.lease_s), token=lease.token)


def _runs_of_interest(stages: Mapping[int, VersionStage], trial: Trial | None) -> set[str]:
    ids = {stage.flow_run_id for stage in stages.values() if stage.stage in AT_WORK}
    if trial is not None and not trial.held:
        ids.add(trial.experiment.flow_run_id)
    return {one for one in ids if one is not None}


def _quality(desk: Desk, settings: Settings, model: str, champion: VersionStage | None) -> Quality:
    since = promoted_at(champion)
    if champion is None or since is None:
        return Quality()
    now = epoch(desk.clock.now())
    start = max(since, now - settings.models.degraded_window_seconds)
    recent = desk.feedback.version_totals(model, champion.version, ACCURACY, start)
    return Quality(
        recent=recent,
        worse_than_former=_worse_than_former(desk, champion),
        retrained_recently=_retrained_recently(desk, settings, model, now),
        window=window_number(now, settings.models),
    )


def _retrained_recently(desk: Desk, settings: Settings, model: str, now: float) -> bool:
    started = desk.events.list(subject=model, kind=RETRAINED, limit=10_000)
    cooldown = settings.models.retrain_cooldown_seconds
    return bool(started) and now - epoch(started[-1].at) < cooldown


def _worse_than_former(desk: Desk, champion: VersionStage) -> str:
    """Compare a champion with the version it won against, on all labels of their test by now.

    Only answers given during the test count, however late their labels come: there chance alone
    decided who answered, so that a hard day does not look like a bad model. This can overturn a
    verdict that rested on the labels that came early.
    """
    trial = _won_trial(desk, champion)
    if trial is None:
        return ""
    totals = desk.feedback.totals(trial.id, ACCURACY)
    old, new = (totals.get(arm, MetricTotals()) for arm in (Variant.CHAMPION, Variant.CHALLENGER))
    # A cheap look first: what follows brings SciPy along, which is slow to import.
    if not old.count or not new.count or new.total * old.count >= old.total * new.count:
        return ""
    return _significantly_worse(new, old, trial)


def _significantly_worse(new: MetricTotals, old: MetricTotals, trial: Experiment) -> str:
    """Weigh on which arm the wrong answers fall, by a test that holds at every look.

    A wrong answer counts like a failed request in the guardrail of the test. A share of right
    answers between 0 and 1 is weighed by less than it deserves, never by more.
    """
    from benchmarks.significance import e_process, sample_ratio  # noqa: PLC0415 - slow to import

    labels = [e_process.Stage(trial.weight, old.count, new.count)]
    if e_process.e_value(sample_ratio.log_evidence(labels)) >= 1 / _WORSE_ALPHA:
        return ""  # the labels themselves fall on the arms in another way than the traffic did
    wrong = [e_process.Stage(trial.weight, _wrong(old), _wrong(new))]
    evidence = e_process.e_value(e_process.log_evidence(wrong, e_process.ERRORS))
    if evidence < 1 / _WORSE_ALPHA:
        return ""
    return (
        f"with the late labels of test {trial.id}, accuracy is {new.total / new.count:.3f} "
        f"({new.count} labels) against {old.total / old.count:.3f} ({old.count}) of version "
        f"{trial.champion} before it (evidence {evidence:.3g}, enough at {1 / _WORSE_ALPHA:.0f})"
    )


def _wrong(arm: MetricTotals) -> float:
    return max(0.0, arm.count - arm.total)  # sums of shares may miss zero by a rounding


def _won_trial(desk: Desk, champion: VersionStage) -> Experiment | None:
    trials = [
        one
        for one in desk.experiments.all(champion.model)
        if one.challenger == champion.version and one.verdict is TrialVerdict.PROMOTE
    ]
    return trials[-1] if trials else None
