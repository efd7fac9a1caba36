"""Flow `optimize`: one tick of the agent's loop of that name, for a look by hand or by schedule."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artefacts import done, show_table


@flow(name="optimize", flow_run_name="optimize", persist_result=False)
def optimize() -> State[None]:
    """Turn findings into proposals, decide on them, and record what is to be done."""
    from flows.resident.optimising import optimize_once
    from flows.resident.world import open_world

    world = open_world()
    try:
        summary = optimize_once(world)
    finally:
        world.close()
    if summary.rows:
        show_table("optimize", summary.rows, summary.text)
    return done("Completed", summary.text)
