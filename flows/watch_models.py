"""Flow `watch_models`: looks at every model and starts what has to be started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from config.errors import PrimeSparkError
from flows.artefacts import Row, done, run_id, show_table
from flows.context import Context, open_context
from flows.permission import Permission, permission

if TYPE_CHECKING:
    from optimizers.models.desk import Desk
    from optimizers.models.lifecycle import Step
    from optimizers.models.watching import ModelView


@flow(name="watch_models", flow_run_name="watch-models", persist_result=False)
def watch_models() -> State[None]:
    """Find new versions, degraded champions, tests without a controller, and moves by people.

    It reads the whole state each time and starts each step once, so a look that was missed is made
    up for by the next. While the agent is paused or only simulates, while automatic actions are
    off, or when the agent drives the life-cycle, it records what it sees and starts nothing.
    """
    from optimizers.models.housekeeping import tidy
    from optimizers.models.observing import watched_models

    context = open_context()
    desk = context.desk()
    may = permission(context)
    if may.no_starts:
        get_run_logger().info("nothing is started: %s", may.no_starts)
    rows: list[Row] = []
    troubles: list[str] = []
    for model in watched_models(desk, context.settings):
        try:
            rows += look_after(context, desk, model, may)
        except PrimeSparkError as error:
            # One model's trouble is not the others'.
            troubles.append(f"{model}: {error}")
            get_run_logger().warning("%s: %s", model, error)
    try:
        tidy(desk, context.settings)
    except PrimeSparkError as error:
        troubles.append(f"housekeeping: {error}")
    if rows:
        show_table("watch-models", rows, "What was found and done.")
    if troubles:
        raise PrimeSparkError("; ".join(troubles))
    return done("Completed", f"{len(rows)} things done" if rows else "nothing to do")


def look_after(context: Context, desk: Desk, model: str, may: Permission) -> list[Row]:
    """Correct what does not fit, then start what comes next; return both for the record."""
    from optimizers.models.observing import apply_fixes, observe, settle_finished
    from optimizers.models.watching import plan

    noted = note_aliases(context, model, may)
    rows = [_row(model, None, "record", words) for words in noted]
    states = context.prefect.run_states
    view = observe(desk, context.settings, model, states)
    adopted = [] if may.no_effects else adopt_champion(context, view)
    told = adopted + apply_fixes(desk, view) + settle_finished(desk, view)
    if told:
        rows += [_row(model, None, "correct", words) for words in told]
        view = observe(desk, context.settings, model, states)
    steps = [step for step in plan(view, context.settings.models) if allowed(step, may)]
    return rows + [take(context, desk, step) for step in steps]


def allowed(step: Step, may: Permission) -> bool:
    """Whether a step may be started now.

    What only finishes something that was begun, the end of a cancelled test or the record of an
    alias that has moved, is no new start.
    """
    from optimizers.models.lifecycle import StepKind

    finishes = step.kind is StepKind.CANCEL or (
        step.kind is StepKind.PROMOTE and step.champion == step.version
    )
    return not (may.no_effects if finishes else may.no_starts)


def note_aliases(context: Context, model: str, may: Permission) -> list[str]:
    """Finish moves that a dead process left open, and record those people made."""
    from registry.records import CHALLENGER_ALIAS, CHAMPION_ALIAS, PREVIOUS_ALIAS

    history = context.alias_history
    told = []
    if not may.no_effects and history.open_intents(model):
        told = [f"@{move.alias}: {move.state}" for move in context.mover.recover(model)]
    found = context.reader.aliases(model)
    names = (CHAMPION_ALIAS, CHALLENGER_ALIAS, PREVIOUS_ALIAS)
    history.observe(model, {name: found.get(name) for name in names}, "watch_models")
    return told


def adopt_champion(context: Context, view: ModelView) -> list[str]:
    """Pin the digest of a champion that was registered with plain MLflow: serving needs it."""
    plain = [one for one in view.versions if one.version == view.champion and one.digest is None]
    for version in plain:
        context.registry.adopt(view.model, version.version)
    return [f"{view.model} version {one.version}: digest pinned" for one in plain]


def take(context: Context, desk: Desk, step: Step) -> Row:
    """Start a step's flow, or end a test whose flow was cancelled."""
    from flows.starting import start_step
    from optimizers.models.lifecycle import StepKind
    from optimizers.models.trial_end import cancel_trial

    if step.kind is StepKind.CANCEL and step.test_id is not None:
        cancel_trial(desk, step.test_id, run_id(), step.reason)
        outcome = "ended"
    else:
        start = start_step(context, desk, step)
        outcome = f"{start.state}: flow run {start.flow_run_id}"
    get_run_logger().info(
        "%s version %s: %s (%s), %s", step.model, step.version, step.kind, step.reason, outcome
    )
    return _row(step.model, step.version, step.kind.value, f"{step.reason}; {outcome}")


def _row(model: str, version: int | None, what: str, why: str) -> Row:
    return {"model": model, "version": version, "what": what, "why": why}
