"""The rate at which one model keeps the predictor as busy as is wanted, found in a few steps."""

from __future__ import annotations

from benchmarks.performance.crowd import Users, send_crowd
from benchmarks.performance.stage import Stage, core_share
from benchmarks.serving_models import FEATURES

_STEPS = 4
_FASTEST_STEP = 1.4
_LOOK_S = 6.0


def busy_rate(stage: Stage, model: str, share: float, one_ms: float, seed: int) -> float:
    """Requests per second that use `share` of a core, as the predictor is set now.

    Args:
        stage: where the model is served.
        model: whose requests are sent.
        share: of one core, that all of the predictor uses.
        one_ms: what a run of one row takes: where to begin.
        seed: of the arrivals.
    """
    rate = 0.5 * 1000.0 / one_ms
    for _ in range(_STEPS):
        users = {model: Users(stage.url_of(model), rate, FEATURES)}
        crowd = send_crowd(users, _LOOK_S, slice_s=_LOOK_S + 1.0, seed=seed)
        crowd.await_begin()
        used = core_share(stage, _LOOK_S)
        crowd.result()
        # In small steps: beyond what it can stand, its share tells nothing about the rate.
        rate *= min(share / max(used, 0.05), _FASTEST_STEP)
    return rate
