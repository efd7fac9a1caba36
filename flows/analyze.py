"""Flow `analyze`: one tick of the agent's loop of that name, for a look by hand or by schedule."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artefacts import done, show_table


@flow(name="analyze", flow_run_name="analyze", persist_result=False)
def analyze() -> State[None]:
    """Turn what was seen into findings."""
    from flows.resident.analysing import analyze_once
    from flows.resident.world import open_world

    world = open_world()
    try:
        summary = analyze_once(world)
    finally:
        world.close()
    if summary.rows:
        show_table("analyze", summary.rows, summary.text)
    return done("Completed", summary.text)
