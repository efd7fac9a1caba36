"""Where a version stands after its test, as the verdict says."""

from __future__ import annotations

from optimizers.models.desk import Desk
from registry.records import Experiment, Stage, TrialVerdict

STAGE_AFTER = {
    TrialVerdict.PROMOTE: Stage.WON,
    TrialVerdict.KEEP_CHAMPION: Stage.KEPT,
    TrialVerdict.INCONCLUSIVE: Stage.KEPT,
    TrialVerdict.GUARDRAIL: Stage.STOPPED,
    TrialVerdict.CANCELLED: Stage.STOPPED,
    TrialVerdict.INVALIDATED: Stage.INVALIDATED,
}


def settle_stage(desk: Desk, experiment: Experiment) -> None:
    """Move the challenger on from its trial, as the verdict says; elsewhere it stays."""
    model, challenger = experiment.model, experiment.challenger
    now = desk.lifecycle.get(model, challenger)
    if experiment.verdict is None or now is None or now.stage is not Stage.TRIAL:
        return
    desk.lifecycle.put(
        model,
        challenger,
        Stage.TRIAL,
        STAGE_AFTER[experiment.verdict],
        experiment.reason,
        flow_run_id=experiment.flow_run_id,
        run_id=experiment.run_id,
    )
    desk.checkpoint("stage settled")
