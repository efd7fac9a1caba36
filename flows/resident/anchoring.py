"""Anchors the ledger's newest entry in MLflow, so that cutting its end off is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.audit import Audit
from registry.audit_anchor import AnchorTag

if TYPE_CHECKING:
    from flows.resident.world import AgentWorld

EVERY_S = 300.0


def anchor(world: AgentWorld) -> None:
    """Write the anchor anew, if the ledger has grown.

    Raises:
        UnavailableError: ledger or MLflow do not answer; the next tick tries again.
    """
    if "mlflow" not in world.plugins.addresses:
        return
    settings = world.settings.mlflow
    tag = AnchorTag(
        world.context.tracking_uri, settings.experiment, timeout_s=settings.timeout_seconds
    )
    try:
        Audit(world.context.engine, world.clock, tag).anchor()
    finally:
        tag.close()
