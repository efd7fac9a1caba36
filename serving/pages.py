"""What a person or a monitoring system reads: /models and /openapi.json."""

from __future__ import annotations

from serving.plans import Arm, Plan
from serving.state import ServingState


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
    loaded, knobs = arm.loaded, arm.loaded.knobs
    return {
        "variant": arm.variant.value,
        "version": arm.tally.version,
        "digest": loaded.file.digest,
        "batchable": loaded.batcher.batchable,
        "requests": arm.tally.total_count,
        "errors": arm.tally.total_errors,
        "knobs": {
            "max_batch_size": knobs.max_batch_size,
            "max_wait_ms": knobs.max_wait_ms,
            "cache_entries": knobs.cache_entries,
            "queue_limit": knobs.queue_limit,
        },
    }
