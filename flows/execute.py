"""Flow `execute`: one tick of the agent's loop of that name, for a look by hand or by schedule."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artefacts import done, show_table


@flow(name="execute", flow_run_name="execute", persist_result=False)
def execute() -> State[None]:
    """Start what is due, and look after what is under way."""
    from flows.resident.executing import execute_once
    from flows.resident.world import open_world

    world = open_world()
    try:
        summary = execute_once(world)
    finally:
        world.close()
    if summary.rows:
        show_table("execute", summary.rows, summary.text)
    return done("Completed", summary.text)
