"""The settings that let a life-cycle of hours run in minutes, where the user has set no others.

Only the pace is changed: how often one looks and how much is gathered. Margins, error levels and
the improvement that is asked for are those of any other run.
"""

from __future__ import annotations

from collections.abc import Mapping

REQUESTS_PER_SECOND = 300.0

_PACE = {
    "PRIME_SPARK_EXPERIMENT__LOOK_SECONDS": "1.5",
    "PRIME_SPARK_EXPERIMENT__LOOKS": "14",
    "PRIME_SPARK_EXPERIMENT__PLANNED_SAMPLES": "7000",
    "PRIME_SPARK_EXPERIMENT__DURATION_SECONDS": "60",
    "PRIME_SPARK_GATE__SECONDS": "3",
    "PRIME_SPARK_SERVING__FLUSH_SECONDS": "0.5",
    # The story's steps are started by `watch_models`. The agent looks on: this capability has
    # nothing to do beside it, and no other changes what a chapter is about to show.
    "PRIME_SPARK_AGENT__CAPABILITIES": "model_benchmark",
}


def demo_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables to add for the demo; the user's own come first."""
    return {name: value for name, value in _PACE.items() if name not in environ}
