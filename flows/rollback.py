"""Flow `rollback`: brings the version behind @previous back."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from config.errors import ConflictError
from flows.artefacts import done, run_id
from flows.context import open_context
from flows.forms import ModelName, Reason
from flows.promote import show

Leaves = Annotated[
    int | None,
    Field(
        title="Version to leave",
        description="The champion to be replaced; empty: whichever it is. Named, a repeat of the "
        "run changes nothing.",
        ge=1,
    ),
]


@flow(name="rollback", flow_run_name="rollback-{model}", persist_result=False)
def rollback(
    model: ModelName, version: Leaves = None, reason: Reason = "asked for by a person"
) -> State[None]:
    """Make @previous the champion again and keep the present champion as @previous."""
    from optimizers.models.promotion import roll_back
    from optimizers.models.trial_plan import current_champion

    context = open_context()
    desk = context.desk()
    leaves = version or current_champion(desk, model)
    if leaves is None:
        raise ConflictError(f"{model} has no @champion; there is nothing to roll back")
    promotion = roll_back(
        desk, model, leaves, context.serving, actor="rollback", reason=reason, flow_run_id=run_id()
    )
    show(context, promotion, "rollback")
    return done("Rolled back", f"{promotion.reason}; {promotion.serving}")
