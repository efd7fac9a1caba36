"""Flow `ab_test`: an A/B test on live traffic, with everything needed to cancel and resume it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import Flow, flow, get_run_logger
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run as this_run

from flows.artefacts import Row, done, run_id, show_link, show_table
from flows.context import Context, open_context
from flows.forms import ABTest

if TYPE_CHECKING:
    from optimizers.models.desk import Desk
    from optimizers.models.trial_end import TrialEnd
    from registry.trial_config import ABTestConfig

_CANCELLED = "cancelled by a person in Prefect"


def _run_name() -> str:
    test = this_run.parameters["test"]
    return f"ab-test-{_field(test, 'model')}-v{_field(test, 'model_b')}"


def _field(test: object, name: str) -> object:
    return test.get(name) if isinstance(test, dict) else getattr(test, name)


def close_split_of(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Give traffic back when a run was cancelled; runs in the worker, so it does only that.

    Usually the flow run has ended its test by itself before. This is for one that was stopped the
    hard way; `watch_models` then ends its test in the ledger.
    """
    from optimizers.models.trial_end import close_split

    desk = open_context().desk()
    for experiment in desk.experiments.running():
        if experiment.flow_run_id == str(flow_run.id):
            close_split(desk, experiment.id, _CANCELLED)


@flow(
    name="ab_test",
    flow_run_name=_run_name,
    persist_result=False,
    on_cancellation=[close_split_of],
)
def ab_test(test: ABTest) -> State[None]:
    """Split live traffic between champion and challenger until the sequential tests decide.

    The challenger is promoted only if it is significantly better by the minimum improvement and no
    guardrail speaks. Cancelling gives all traffic back to the champion. A run that died is
    replaced, and the test goes on with its counts.
    """
    from flows.starting import start_next
    from optimizers.models.trial import run_trial
    from optimizers.models.trial_end import cancel_trial, conclude_trial

    context = open_context()
    desk = context.desk()
    config = configuration(context, desk, test)
    get_run_logger().info("test %s: version %s against version %s", config.test_id,
                          config.model_b, config.model_a)  # fmt: skip
    context.preload_publishing()
    try:
        decision = run_trial(desk, config, run_id())
        get_run_logger().info("%s: %s", decision.verdict, decision.reason)
        end = conclude_trial(desk, config.test_id, run_id())
    except TerminationSignal:
        if cancellation_asked(context):
            cancel_trial(desk, config.test_id, run_id(), _CANCELLED)
        raise
    get_run_logger().info(start_next(context, desk, config.model, config.model_b))
    show(desk, end)
    return done(end.decision.verdict.value.replace("_", " ").capitalize(), end.decision.reason)


def configuration(context: Context, desk: Desk, test: ABTest) -> ABTestConfig:
    """The stored configuration of a test that was begun, else a new one from form and settings."""
    from config.errors import ConflictError
    from optimizers.models.trial_plan import current_champion, with_planned_samples

    known = desk.experiments.get(test.test_id) if test.test_id else None
    if known is not None:
        return known.config
    champion = test.model_a or current_champion(desk, test.model)
    if champion is None:
        raise ConflictError(
            f"{test.model} has no @champion to compare with; promote a first version instead"
        )
    test_id = test.test_id or context.ids.new("test")
    return with_planned_samples(desk, test.to_config(context.settings, champion, test_id))


def cancellation_asked(context: Context) -> bool:
    """Whether this run is being cancelled, rather than shut down along with its worker."""
    from config.errors import UnavailableError
    from optimizers.models.watching import RunState

    try:
        return context.prefect.run_states([run_id()]).get(run_id()) is RunState.CANCELLED
    except UnavailableError:
        return False


def show(desk: Desk, end: TrialEnd) -> None:
    """Show the last counts and the MLflow run on the flow run's page."""
    experiment = end.experiment
    looks = desk.experiments.looks(experiment.id)
    rows: list[Row] = [
        {
            "arm": arm.value,
            "requests": counts.exposures,
            "errors": counts.errors,
            "slow": counts.over_objective,
            "values": counts.metric.count,
            experiment.config.success_metric: (
                counts.metric.total / counts.metric.count if counts.metric.count else None
            ),
        }
        for arm, counts in (looks[-1].arms.items() if looks else ())
    ]
    name = f"ab-test-{experiment.model}-v{experiment.challenger}"
    show_table(name, rows, f"{end.decision.verdict}: {end.decision.reason}")
    if end.run is not None:
        show_link(f"{name}-run", end.run, end.decision.reason)
