"""What was measured: the present value of a metric, its series and their history."""

from __future__ import annotations

from serving.api.stores import AgentStores


def current_value(stores: AgentStores, metric: str, since: float) -> float | None:
    """Return a metric's newest value since then, over all that have it; None if it is missing."""
    return None
