"""What a person or a monitoring system reads: /models and /openapi.json."""

from __future__ import annotations

from time import perf_counter

from serving.plans import Arm, Plan
from serving.state import ServingState

_MEGABYTE = 1024 * 1024


def models(state: ServingState) -> dict[str, object]:
    """Return what is served now, what is wrong, and which source gives old news."""
    return {
        "ready": state.ready,
        "models": {model: _plan(plan) for model, plan in sorted(state.plans.items())},
        "problems": state.problems,
        "stale": state.stale,
    }


def _plan(plan: Plan) -> dict[str, object]:
    want = plan.wanted
    return {
        "mode": want.mode.value,
        "weight": want.weight,
        "experiment_id": want.experiment_id,
        "arms": [_arm(arm) for arm in plan.arms],
    }


def _arm(arm: Arm) -> dict[str, object]:
    loaded = arm.loaded
    return {
        "variant": arm.variant.value,
        "version": arm.tally.version,
        "digest": loaded.file.digest,
        "batchable": loaded.batcher.batchable,
        "requests": arm.tally.total_count,
        "errors": arm.tally.total_errors,
        "loaded": not loaded.asleep,
        "idle_seconds": round(perf_counter() - loaded.used_at, 3),
        "file_mb": round(loaded.file_bytes / _MEGABYTE, 3),
        "knobs": loaded.knobs.shown(),
    }
