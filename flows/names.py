"""The names under which the flows are deployed; light, for whoever only has to call them."""

from __future__ import annotations

DEPLOYMENT = "prime-spark"

BENCHMARK = "benchmark"
AB_TEST = "ab_test"
PROMOTE = "promote"
ROLLBACK = "rollback"
RETRAIN = "retrain"
SHADOW = "shadow"
WATCH_MODELS = "watch_models"
MODEL_UPDATE = "model_update"
MODEL_DEPLOY = "model_deploy"

MONITOR = "monitor"
ANALYZE = "analyze"
OPTIMIZE = "optimize"
EXECUTE = "execute"
ACTION = "action"

FLOWS = (
    BENCHMARK,
    AB_TEST,
    PROMOTE,
    ROLLBACK,
    RETRAIN,
    SHADOW,
    WATCH_MODELS,
    MODEL_UPDATE,
    MODEL_DEPLOY,
    MONITOR,
    ANALYZE,
    OPTIMIZE,
    EXECUTE,
    ACTION,
)


def deployment_of(flow: str) -> str:
    """The full name of a flow's deployment, as Prefect and its UI use it."""
    return f"{flow}/{DEPLOYMENT}"
