"""Flow `monitor`: one tick of the agent's loop of that name, for a look by hand or by schedule."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artefacts import done, show_table


@flow(name="monitor", flow_run_name="monitor", persist_result=False)
def monitor() -> State[None]:
    """Observe every target once and record what was seen."""
    from flows.resident.monitoring import monitor_once
    from flows.resident.world import open_world

    world = open_world()
    try:
        summary = monitor_once(world)
    finally:
        world.close()
    if summary.rows:
        show_table("monitor", summary.rows, summary.text)
    return done("Completed", summary.text)
