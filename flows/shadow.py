"""Flow `shadow`: lets a version answer copies of live requests, unseen, and compares it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run

from flows.ab_test import close_split_of
from flows.artefacts import Row, done, run_id, show_link, show_table
from flows.context import Context, open_context
from flows.forms import ShadowTest

if TYPE_CHECKING:
    from optimizers.models.desk import Desk
    from registry.trial_config import ABTestConfig

# Every request is copied; as the share of a split, one would be none.
_ALL = 0.999


def _run_name() -> str:
    test = this_run.parameters["test"]
    fields = test if isinstance(test, dict) else test.model_dump()
    return f"shadow-{fields['model']}-v{fields['challenger']}"


@flow(
    name="shadow", flow_run_name=_run_name, persist_result=False, on_cancellation=[close_split_of]
)
def shadow(test: ShadowTest) -> State[None]:
    """Copy requests to a version for a while; users get the champion's answers all the time."""
    from optimizers.models.reports import shadow_run
    from optimizers.models.shadowing import run_shadow

    context = open_context()
    desk = context.desk()
    report = run_shadow(desk, configuration(context, desk, test), run_id())
    run = context.runs.log(shadow_run(report, run_id()))
    desk.experiments.link(report.experiment.id, run_id=run.run_id)
    name = f"shadow-{test.model}-v{test.challenger}"
    totals = report.totals
    row: Row = {
        "answered in the shadow": totals.scored,
        "errors": totals.challenger_errors,
        "compared": totals.compared,
        "alike": totals.agreed,
        "pairs": totals.n,
    }
    show_table(name, [row], report.reason)
    show_link(f"{name}-run", run, report.reason)
    return done("Compared", report.reason)


def configuration(context: Context, desk: Desk, test: ShadowTest) -> ABTestConfig:
    """The comparison as the ledger keeps it."""
    from config.errors import ConflictError
    from optimizers.models.trial_plan import current_champion
    from registry.trial_config import ABTestConfig

    champion = current_champion(desk, test.model)
    if champion is None:
        raise ConflictError(f"{test.model} has no @champion to compare with")
    return ABTestConfig(
        test_id=context.ids.new("shadow"),
        model=test.model,
        model_a=champion,
        model_b=test.challenger,
        traffic_split=_ALL,
        duration_seconds=test.duration_seconds,
        success_metric=test.metric,
    )
