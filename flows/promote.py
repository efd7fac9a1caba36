"""Flow `promote`: makes a version that has its verdict the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.artefacts import Row, done, run_id, show_link, show_table
from flows.context import Context, open_context
from flows.forms import ModelName, Version

if TYPE_CHECKING:
    from optimizers.models.promotion import Promotion


@flow(name="promote", flow_run_name="promote-{model}-v{version}", persist_result=False)
def promote(model: ModelName, version: Version) -> State[None]:
    """Move @champion to a version that won its trial; the old champion stays as @previous.

    A version without a verdict is refused. Repeating it changes nothing.
    """
    context = open_context()
    promotion = move(context, model, version)
    show(context, promotion, "promote")
    return done("Promoted", f"{promotion.reason}; {promotion.serving}")


@task(name="move", retries=3, retry_delay_seconds=3, cache_policy=NO_CACHE, persist_result=False)
def move(context: Context, model: str, version: int) -> Promotion:
    """Move the aliases; safe to repeat, so repeated while registry or ledger are away."""
    from optimizers.models.at_work import working_on
    from optimizers.models.promotion import promote as promote_version

    desk = context.desk()
    with working_on(desk, model, version, patience_s=60.0):
        return promote_version(
            desk, model, version, context.serving, actor="promote", flow_run_id=run_id()
        )


def show(context: Context, promotion: Promotion, kind: str) -> None:
    """Log the MLflow run and show it and the change on the flow run's page."""
    from optimizers.models.reports import promotion_run

    run = context.runs.log(promotion_run(promotion, kind, run_id()))
    name = f"{kind}-{promotion.model}-v{promotion.version}"
    row: Row = {
        "model": promotion.model,
        "champion": promotion.version,
        "previous": promotion.former,
        "serving": promotion.serving,
    }
    show_table(name, [row], promotion.reason)
    show_link(f"{name}-run", run, promotion.reason)
