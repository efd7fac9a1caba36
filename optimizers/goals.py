"""Where each goal stands, and the weighted performance score; as the API shows them. Pure."""

from __future__ import annotations

from registry.goals import FRESH_S, History, current_value, measure_goals, performance_score

__all__ = ["FRESH_S", "History", "current_value", "measure_goals", "performance_score"]
