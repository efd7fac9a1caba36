"""Starts the steps the life-cycle asks for, each as a run of its deployment."""

from __future__ import annotations

from config.errors import ConfigError, UnavailableError
from flows.context import Context
from flows.names import deployment_of
from flows.permission import permission
from flows.prefect_rest import Start, StartState
from optimizers.models.desk import Desk, move_stage
from optimizers.models.lifecycle import Nothing, Situation, Step, next_step
from optimizers.models.step_parameters import parameters_of
from registry.records import CHAMPION_ALIAS, Stage

_HOPELESS = {
    StartState.GIVEN_UP: "given up after {attempts} attempts; the last said: {message}",
    StartState.CANCELLED: "cancelled by a person ({message}); start the flow by hand to try again",
}
_HELD_UP = {None, Stage.FOUND, Stage.BENCHMARKING, Stage.ACCEPTED, Stage.WON, Stage.PROMOTING}


def start_step(context: Context, desk: Desk, step: Step) -> Start:
    """Start a step's flow, once for its key.

    A version whose step a person cancelled, or which failed too often, is marked as failed: it
    waits for a person and holds nobody else up.
    """
    start = context.prefect.start(
        deployment_of(step.kind.value),
        parameters_of(step),
        key=step.key,
        tags=("prime-spark", step.model, f"v{step.version}"),
    )
    hopeless = _HOPELESS.get(start.state)
    if hopeless is not None:
        _mark_failed(desk, step, start, hopeless)
    return start


def start_next(context: Context, desk: Desk, model: str, version: int) -> str:
    """Start what comes after a version's last step; return what that is, in words.

    The step just done is safe in the ledger: what cannot be started now is started by the next
    `watch_models`.
    """
    try:
        held_back = permission(context).no_starts
        if held_back:
            return f"what follows is not started: {held_back}"
        step = next_step(
            Situation(
                model=model,
                version=version,
                stage=desk.lifecycle.get(model, version),
                champion=desk.registry.aliases(model).get(CHAMPION_ALIAS),
                busy="another test is running" if desk.experiments.running(model) else "",
                auto_promote=context.settings.models.auto_promote,
            )
        )
        if isinstance(step, Nothing):
            return f"nothing follows: {step.reason}"
        start = start_step(context, desk, step)
    except (UnavailableError, ConfigError) as error:
        return f"what follows is left to watch_models ({error})"
    return f"{step.kind} follows ({start.state}, flow run {start.flow_run_id}): {step.reason}"


def _mark_failed(desk: Desk, step: Step, start: Start, words: str) -> None:
    stage = desk.lifecycle.get(step.model, step.version)
    if (stage.stage if stage else None) not in _HELD_UP:
        return
    told = words.format(attempts="all", message=start.message or "nothing")
    reason = f"{step.kind}: {told}"
    move_stage(
        desk.lifecycle,
        step.model,
        step.version,
        Stage.FAILED,
        reason,
        flow_run_id=start.flow_run_id,
    )
